# What one does with a project on the share, run by bash: it is copied there, linted, compiled, archived
# and compared. Before each step that reads, the client forgets what it has, so that the gateway is asked.
set -e
cold() {
    sync
    echo 3 > /proc/sys/vm/drop_caches
}
said() {
    echo "$1: $((SECONDS - begun)) s"
    begun=$SECONDS
}
attributes() {
    cd "$1"
    find . -type d -printf '%P %m %U %G %T@\n' -o -printf '%P %y %m %U %G %T@ %s %l\n' | sort
}
begun=$SECONDS
cd /mnt/sales
cp -a /tmp/project .
cold
said copied
for script in project/tools/*.sh; do
    sh -n "$script"
done
said linted
mkdir build
for source in project/src/main.c project/src/*/*.c; do
    object=${source##*/}
    tcc -nostdinc -Iproject/include -c "$source" -o "build/$object.o"
done
tcc -nostdlib -static -o build/program build/*.o
build/program
said compiled
cold
mkdir archives
# An archive for each folder and each asset: none is larger than the cache.
for part in project/{docs,include,latest,src,tools} project/assets/*; do
    tar -cf "archives/${part//\//-}.tar" "$part"
done
said archived
cold
for archive in archives/*; do
    tar --compare -f "$archive"
done
said 'compared with the archives'
cold
diff -r --no-dereference /tmp/project project
said 'compared with the source'
(attributes /tmp/project) > /tmp/attributes
(attributes project) | diff /tmp/attributes -
said 'attributes compared'
