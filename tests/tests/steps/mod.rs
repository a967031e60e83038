//! What a user does on the mounted share, and what the bucket must come to: steps that hold in the
//! appliance as on a laptop.
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use e2e::{
    bucket::{Bucket, FOREIGN, LIST_TREE, UPLOAD_LIMIT, parse_tree},
    client_vm::ClientVm,
    numbers::{numbers, sha256},
};

/// One shell script in the emulated client, copying 100 MiB included.
pub(crate) const SCRIPT_LIMIT: Duration = Duration::from_secs(600);
const BIG_BYTES: usize = 100 << 20;

const MAKE_TREE: &str = r#"set -e
mkdir -p /tmp/tree/docs/deep/er /tmp/tree/empty
cd /tmp/tree
echo 'read me' > docs/readme.txt
echo leaf > docs/deep/er/leaf.txt
echo old > docs/old.txt
touch -d '2020-02-03 04:05:06.789012345 UTC' docs/old.txt
printf '#!/bin/sh\necho runs\n' > docs/script.sh
chmod 755 docs/script.sh
chmod 600 docs/readme.txt
echo utf-8 > '보고서 2026.txt'
echo odd > 'plus+percent%20&question?.txt'
seq 1 20000000 | head -c 104857600 > big.bin
"#;

/// The share's tree, in the words of [`parse_tree`], and the bucket equal to it. `written` is when
/// the client's last change returned.
pub(crate) fn settle(
    client: &mut ClientVm,
    bucket: Bucket<'_>,
    what: &str,
    written: SystemTime,
) -> Result<()> {
    let listing = client.sh(&format!("cd /mnt/sales\n{LIST_TREE}"), SCRIPT_LIMIT)?;
    bucket.wait_until_equal(&parse_tree(&listing)?)?;
    let seconds = bucket.seconds_behind(written);
    println!("{what}: the last object was written within {seconds} s of the last change");
    Ok(())
}

/// The story's own words: two commands, three files.
pub(crate) fn touch_and_echo(client: &mut ClientVm, bucket: Bucket<'_>) -> Result<()> {
    client.sh(
        r#"cd /mnt/sales
touch "a name with spaces" > me.txt
echo "test storage gateway mount" > mount_test.txt"#,
        SCRIPT_LIMIT,
    )?;
    let written = SystemTime::now();
    bucket.wait_for("a name with spaces", b"")?;
    bucket.wait_for("me.txt", b"")?;
    bucket.wait_for("mount_test.txt", b"test storage gateway mount\n")?;
    settle(client, bucket, "touch and echo", written)
}

pub(crate) fn copy_and_read_back(client: &mut ClientVm, bucket: Bucket<'_>) -> Result<()> {
    client.sh(MAKE_TREE, SCRIPT_LIMIT)?;
    // The share squashes root, so ownership cannot be kept.
    client.sh("cp -r --preserve=mode,timestamps /tmp/tree /mnt/sales/", SCRIPT_LIMIT)?;
    let written = SystemTime::now();
    bucket.wait_for_key("tree/big.bin")?;
    let listed = client.sh("cd /mnt/sales/tree && find . -type f | wc -l", SCRIPT_LIMIT)?;
    ensure!(listed.trim() == "7", "{listed} files are listed");
    let read_back = client.sh(
        "diff -r /tmp/tree /mnt/sales/tree && echo 3 > /proc/sys/vm/drop_caches && \
         sha256sum < /mnt/sales/tree/big.bin",
        SCRIPT_LIMIT,
    )?;
    let expected = sha256(&numbers(BIG_BYTES));
    ensure!(read_back.starts_with(&expected), "read back {read_back}, expected {expected}");
    bucket.wait_for("tree/big.bin", &numbers(BIG_BYTES))?;
    settle(client, bucket, "a tree with 100 MiB", written)
}

pub(crate) fn change_everything(client: &mut ClientVm, bucket: Bucket<'_>) -> Result<()> {
    client.sh(
        r#"set -e
cd /mnt/sales
mv tree/docs/readme.txt tree/docs/LIESMICH.txt
mv tree/docs tree/papers
mv me.txt tree/empty/
echo "and one more line" >> mount_test.txt
truncate -s 70000000 tree/big.bin
printf X | dd of=tree/big.bin bs=1 seek=12345678 conv=notrunc status=none
chmod 640 tree/papers/script.sh
rm "a name with spaces" tree/papers/old.txt
mkdir tree/gone && rmdir tree/gone
ln -s mount_test.txt link 2>/dev/null && rm link || true
[ "$(tail -n 1 mount_test.txt)" = "and one more line" ]
[ "$(stat -c %s tree/big.bin)" = 70000000 ]
[ ! -e "a name with spaces" ]"#,
        SCRIPT_LIMIT,
    )?;
    let written = SystemTime::now();
    let mut expected = numbers(70_000_000);
    expected[12_345_678] = b'X';
    bucket.wait_for("tree/big.bin", &expected)?;
    settle(client, bucket, "renames, appends, truncates, deletions", written)?;
    let paths = bucket.paths();
    ensure!(!paths.iter().any(|path| path.starts_with("tree/docs/")), "{paths:?}");
    Ok(())
}

pub(crate) fn an_object_by_another_client_appears(
    client: &mut ClientVm,
    bucket: Bucket<'_>,
) -> Result<()> {
    bucket.put(&format!("{FOREIGN}report.txt"), b"made by another S3 client\n");
    let read = client.sh_until(
        "the other client's object as a file",
        &format!("cat '/mnt/sales/{FOREIGN}report.txt'"),
        UPLOAD_LIMIT,
    )?;
    ensure!(read == "made by another S3 client\n", "{read:?}");
    Ok(())
}
