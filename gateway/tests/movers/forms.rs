//! Objects as other programs leave them in the bucket, and the files that clients see of them, through the
//! whole stack. Every form of every value: `src/share/metadata/tests.rs`.
use gateway::{
    ids::FileKind,
    object::ObjectKey,
    store::{Expect, PutOptions},
    vfs::ShareFs,
};

use crate::{listing::root_user, world::World};

/// Whose object, its key below the prefix, its content, its metadata, and what it is as a file: kind, mode,
/// owner, group, seconds of its modification.
type Row = (
    &'static str,
    &'static str,
    &'static [u8],
    &'static [(&'static str, &'static str)],
    (FileKind, u32, u32, u32, i64),
);

const TABLE: &[Row] = &[
    (
        "File Gateway",
        "fgw",
        b"x",
        &[
            ("file-owner", "1000"),
            ("file-group", "1001"),
            ("file-permissions", "0644"),
            ("file-mtime", "1734968895000"),
            ("user-agent", "aws-storage-gateway"),
        ],
        (FileKind::File, 0o644, 1000, 1001, 1_734_968_895),
    ),
    (
        "DataSync, a directory",
        "datasync/",
        b"",
        &[
            ("file-owner", "3"),
            ("file-group", "4"),
            ("file-permissions", "40750"),
            ("file-mtime", "1602647222/222919600"),
            ("user-agent", "aws-datasync"),
        ],
        (FileKind::Directory, 0o750, 3, 4, 1_602_647_222),
    ),
    (
        "FSx for Lustre, a symbolic link",
        "fsx",
        b"../target",
        &[("file-permissions", "0120777"), ("file-mtime", "1595002920000000000ns")],
        (FileKind::Symlink, 0o777, 65534, 65534, 1_595_002_920),
    ),
    (
        "S3 Files, with setuid",
        "s3files",
        b"x",
        &[("file-permissions", "0104755"), ("file-mtime", "1700000000000000000ns")],
        (FileKind::File, 0o755, 65534, 65534, 1_700_000_000),
    ),
    (
        "s3fs, a directory",
        "s3fs/",
        b"",
        &[("mode", "16877"), ("uid", "1000"), ("gid", "100"), ("mtime", "1700000000")],
        (FileKind::Directory, 0o755, 1000, 100, 1_700_000_000),
    ),
    (
        "s3fs, a symbolic link",
        "s3fslink",
        b"there",
        &[("mode", "41471"), ("uid", "1"), ("gid", "2"), ("mtime", "1700000000")],
        (FileKind::Symlink, 0o777, 1, 2, 1_700_000_000),
    ),
    (
        "rclone",
        "rclone",
        b"x",
        &[("mode", "0100640"), ("uid", "7"), ("gid", "8"), ("mtime", "2023-11-14T22:13:20.5Z")],
        (FileKind::File, 0o640, 7, 8, 1_700_000_000),
    ),
    (
        "a directory with the mode of a file, which would lock it",
        "odd/",
        b"",
        &[("file-permissions", "0100644"), ("file-mtime", "1700000000000000000ns")],
        (FileKind::Directory, 0o777, 65534, 65534, 1_700_000_000),
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_every_writer_are_the_files_that_they_mean() {
    let w = World::new().await;
    let store = w.store();
    for (_, key, body, pairs, _) in TABLE {
        let user = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let options = PutOptions { user: user.collect(), ..PutOptions::default() };
        let key = ObjectKey::new(format!("p/{key}")).unwrap();
        store.put(&key, (*body).into(), &options, &Expect::Absent).await.unwrap();
    }
    let (fs, who) = (w.mount(), root_user());
    for (writer, key, body, _, expected) in TABLE {
        let name = key.trim_end_matches('/');
        let attr = fs.lookup(&who, w.share.root, name.as_bytes()).await.unwrap();
        let found = (attr.kind, attr.mode, attr.uid, attr.gid, attr.mtime.seconds());
        assert_eq!(found, *expected, "{writer}");
        if attr.kind == FileKind::Symlink {
            assert_eq!(fs.readlink(&who, attr.ino).await.unwrap().0, *body, "{writer}");
        }
    }
    w.drain().await;
    let written = w.requests("CopyObject") + w.requests("DeleteObject");
    assert_eq!((written, w.requests("PutObject")), (0, TABLE.len() as u64), "nothing is touched");
}
