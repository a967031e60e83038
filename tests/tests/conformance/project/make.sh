# A project in /tmp/project, the same every time: C in many small files, shell scripts, documents and
# a few large assets. Run by bash. Everything in loops is done by the shell itself: a process takes an
# emulated machine longer than a file.
set -e
mkdir -p /tmp/project/{include,tools,docs/guide/deep/er,docs/empty,assets} /tmp/project/src/module{1..24}
cd /tmp/project
table=$(seq -s ', ' 1 600)
calls=
for module in {1..24}; do
    header=
    for file in {1..5}; do
        name=step_${module}_$file
        header+="int $name(int count);
"
        calls+="    count = $name(count);
"
        printf '%s\n' "#include \"module$module.h\"" "static const int table[] = { $table, $module, $file };" \
            "int $name(int count)" '{' '    return count + (table[count] > 0);' '}' \
            > "src/module$module/$name.c"
    done
    printf '%s' "$header" > "include/module$module.h"
    includes+="#include \"module$module.h\"
"
    printf '%s\n' '#!/bin/sh' "for each in 1 2 3; do" "    case \$each in" "    2) echo tool $module ;;" \
        "    *) : ;;" "    esac" "done" > "tools/tool$module.sh"
    printf '%s\n' "# Module $module" "$table" > "docs/guide/module $module.md"
done
# Linux's exit(2), as there is no C library: 0 if every step was taken once.
printf '%s\n' "$includes" 'void _start(void)' '{' '    int count = 0;' "$calls" \
    '    long code = count == 120 ? 0 : 1;' \
    '    __asm__ volatile ("syscall" : : "a" (60L), "D" (code));' '}' > src/main.c
printf 'deep\n' > docs/guide/deep/er/leaf.txt
printf 'report\n' > 'docs/보고서 100%.txt'
: > docs/nothing
ln -s module1.h include/first.h
ln -s src/module24 latest
ln -s ../no/such/file docs/dangling
chmod 755 tools/*.sh
chmod 600 'docs/보고서 100%.txt'
chmod 444 docs/nothing
chmod 750 docs/guide/deep
chown 1000:1000 docs/guide/deep docs/guide/deep/er/leaf.txt
touch -d '2020-02-03 04:05:06.789012345 UTC' src/main.c docs/guide/deep
# Different at each place, so that bytes in a wrong place are found.
for asset in {1..6}; do
    seq "${asset}00000001" "${asset}09999999" | head -c $((asset == 6 ? 18 << 20 : 7 << 20)) > assets/asset$asset.bin
done
find . -type f -printf '%s\n' | { bytes=0; while read -r size; do bytes=$((bytes + size)); done; echo $bytes; }
