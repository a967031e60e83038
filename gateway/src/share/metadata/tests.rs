//! The forms of metadata met in the wild, as tables: who writes it, what it says, what it must become.
use super::*;

const DEFAULTS: ListDefaults =
    ListDefaults { file_mode: 0o666, directory_mode: 0o777, uid: 65534, gid: 65533 };
/// LastModified of every object here.
const MODIFIED: Timestamp = Timestamp::from_nanos(77_000_000_000);

fn meta(pairs: &[(&str, &str)]) -> UserMeta {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn read(pairs: &[(&str, &str)]) -> HeadAttr {
    to_attr(&meta(pairs), FileKind::File, DEFAULTS, MODIFIED)
}

/// Mode, owner and group of a file.
fn filled(attr: HeadAttr) -> (u32, u32, u32) {
    attr.filled(FileKind::File, DEFAULTS)
}

/// Mode, owner, group, modification and access time in nanoseconds.
type Expected = (u32, u32, u32, i64, i64);
/// Whose, what it is the metadata of, the metadata, what it must become.
type Row<'t> = (&'t str, FileKind, &'t [(&'t str, &'t str)], Expected);

/// Whole objects as each writer leaves them.
#[test]
fn objects_of_every_writer_are_read() {
    use FileKind::{Directory, File, Symlink};
    let table: [Row<'_>; 19] = [
        (
            "File Gateway: four digits",
            File,
            &[
                ("file-owner", "1000"),
                ("file-group", "1001"),
                ("file-permissions", "0644"),
                ("file-mtime", "1734968895000"),
                ("user-agent", "aws-storage-gateway"),
            ],
            (0o644, 1000, 1001, 1_734_968_895_000_000_000, 1_734_968_895_000_000_000),
        ),
        (
            "File Gateway: a directory",
            Directory,
            &[
                ("file-owner", "1000"),
                ("file-group", "1001"),
                ("file-permissions", "0755"),
                ("file-mtime", "1734968895000"),
                ("user-agent", "aws-storage-gateway"),
                ("user-agent-id", "sgw-01234567"),
            ],
            (0o755, 1000, 1001, 1_734_968_895_000_000_000, 1_734_968_895_000_000_000),
        ),
        (
            "DataSync: st_mode without a leading zero, seconds and nanoseconds",
            File,
            &[
                ("file-owner", "0"),
                ("file-group", "0"),
                ("file-permissions", "100755"),
                ("file-mtime", "1602647222/222919600"),
                ("file-atime", "1602647223/0"),
                ("user-agent", "aws-datasync"),
            ],
            (0o755, 0, 0, 1_602_647_222_222_919_600, 1_602_647_223_000_000_000),
        ),
        (
            "DataSync: four digits",
            File,
            &[("file-permissions", "0755"), ("file-mtime", "1602647222/5")],
            (0o755, 65534, 65533, 1_602_647_222_000_000_005, 1_602_647_222_000_000_005),
        ),
        (
            "FSx for Lustre: a file",
            File,
            &[
                ("file-owner", "500"),
                ("file-group", "500"),
                ("file-permissions", "0100664"),
                ("file-mtime", "1595002920000000000ns"),
                ("file-atime", "1595002921000000001ns"),
                ("user-agent", "aws-fsx-lustre"),
            ],
            (0o664, 500, 500, 1_595_002_920_000_000_000, 1_595_002_921_000_000_001),
        ),
        (
            "FSx for Lustre: a directory",
            Directory,
            &[("file-permissions", "0040755"), ("file-owner", "500")],
            (0o755, 500, 65533, 77_000_000_000, 77_000_000_000),
        ),
        (
            "FSx for Lustre, File Cache: a symbolic link",
            Symlink,
            &[("file-permissions", "0120777"), ("file-owner", "500"), ("file-group", "501")],
            (0o777, 500, 501, 77_000_000_000, 77_000_000_000),
        ),
        (
            "File Cache: setuid is not taken over",
            File,
            &[("file-permissions", "0104755"), ("file-mtime", "1595002920000000000ns")],
            (0o755, 65534, 65533, 1_595_002_920_000_000_000, 1_595_002_920_000_000_000),
        ),
        (
            "S3 Files: a file",
            File,
            &[
                ("file-owner", "1000"),
                ("file-group", "1000"),
                ("file-permissions", "0100640"),
                ("file-mtime", "1700000000123456789ns"),
                ("file-atime", "1700000001000000000ns"),
                ("file-btime", "1600000000000000000ns"),
                ("user-agent", "aws-s3-files"),
            ],
            (0o640, 1000, 1000, 1_700_000_000_123_456_789, 1_700_000_001_000_000_000),
        ),
        (
            "S3 Files: a symbolic link, with a birth time that nobody here keeps",
            Symlink,
            &[
                ("file-permissions", "0120777"),
                ("file-mtime", "1595002920000000000ns"),
                ("file-btime", "1595002920000000000ns"),
                ("user-agent", "aws-s3-files fs-0123"),
            ],
            (0o777, 65534, 65533, 1_595_002_920_000_000_000, 1_595_002_920_000_000_000),
        ),
        (
            "s3fs: a file, mode in decimal",
            File,
            &[("mode", "33188"), ("uid", "1000"), ("gid", "100"), ("mtime", "1700000000")],
            (0o644, 1000, 100, 1_700_000_000_000_000_000, 1_700_000_000_000_000_000),
        ),
        (
            "s3fs: a directory, times with a fraction",
            Directory,
            &[("mode", "16877"), ("uid", "0"), ("gid", "0"), ("mtime", "1700000000.123456789")],
            (0o755, 0, 0, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        ),
        (
            "s3fs: a symbolic link",
            Symlink,
            &[("mode", "41471"), ("uid", "1"), ("gid", "2")],
            (0o777, 1, 2, 77_000_000_000, 77_000_000_000),
        ),
        (
            "rclone: mode in octal, RFC 3339",
            File,
            &[
                ("mode", "0100640"),
                ("uid", "1000"),
                ("gid", "1000"),
                ("mtime", "2023-11-14T22:13:20.5Z"),
                ("atime", "2023-11-15T07:13:20+09:00"),
                ("btime", "2023-11-14T22:13:20Z"),
            ],
            (0o640, 1000, 1000, 1_700_000_000_500_000_000, 1_700_000_000_000_000_000),
        ),
        (
            "rclone: a directory",
            Directory,
            &[("mode", "0040750"), ("uid", "1000"), ("mtime", "2023-11-14T22:13:20.123456789Z")],
            (0o750, 1000, 65533, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        ),
        (
            "rclone: a symbolic link",
            Symlink,
            &[("mode", "0120777"), ("gid", "5")],
            (0o777, 65534, 5, 77_000_000_000, 77_000_000_000),
        ),
        (
            "Transfer Family: who wrote it, and nothing else",
            File,
            &[("user-agent", "AWSTransfer"), ("user-agent-id", "s-0123456789abcdef0")],
            (0o666, 65534, 65533, 77_000_000_000, 77_000_000_000),
        ),
        (
            "rclone: mtime alone, as it writes without metadata: seconds with a fraction",
            File,
            &[("mtime", "1700000000.000000001")],
            (0o666, 65534, 65533, 1_700_000_000_000_000_001, 1_700_000_000_000_000_001),
        ),
        ("nobody", Directory, &[], (0o777, 65534, 65533, 77_000_000_000, 77_000_000_000)),
    ];
    for (writer, kind, pairs, expected) in table {
        let attr = to_attr(&meta(pairs), kind, DEFAULTS, MODIFIED);
        let (mode, uid, gid) = attr.filled(kind, DEFAULTS);
        let found = (mode, uid, gid, attr.mtime.as_nanos(), attr.atime.as_nanos());
        assert_eq!(found, expected, "{writer}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let attr = read(&[
        ("file-owner", "4294967294"),
        ("file-group", "0"),
        ("file-permissions", "0106755"),
        ("file-mtime", "-1ns"),
        ("file-atime", "1ns"),
        (GENERATION, "g:1:1"),
    ]);
    assert_eq!(filled(attr), (0o6755, u32::MAX - 1, 0));
    assert_eq!((attr.mtime.as_nanos(), attr.atime.as_nanos()), (-1, 1));
}

#[test]
fn modes_are_read_in_every_form() {
    for (key, text, mode) in [
        ("file-permissions", "0644", 0o644),
        ("file-permissions", "644", 0o644),
        ("file-permissions", "0100664", 0o664),
        ("file-permissions", "100755", 0o755),
        ("file-permissions", " 0755 ", 0o755),
        ("file-permissions", "0", 0),
        ("file-permissions", "01777", 0o1777),
        ("mode", "33188", 0o644),
        ("mode", "33261", 0o755),
        ("mode", "0100640", 0o640),
        ("mode", "100640", 0o640),
        ("mode", "0644", 0o644),
        // setuid, setgid of others are dropped; the sticky bit is not.
        ("file-permissions", "0104755", 0o755),
        ("file-permissions", "0107755", 0o1755),
        ("mode", "35309", 0o755),
        // Nothing sensible: the share's default.
        ("file-permissions", "", 0o666),
        ("file-permissions", "rw-r--r--", 0o666),
        ("file-permissions", "9", 0o666),
        ("file-permissions", "-644", 0o666),
        ("file-permissions", "+644", 0o666),
        ("file-permissions", "7777777", 0o666),
        ("file-permissions", "99999999999999999999", 0o666),
        ("mode", "65536", 0o666),
        // Of another kind of file: a directory, a device, a socket.
        ("file-permissions", "0040755", 0o666),
        ("file-permissions", "0020600", 0o666),
        ("file-permissions", "0140600", 0o666),
        ("mode", "16877", 0o666),
    ] {
        assert_eq!(filled(read(&[(key, text)])).0, mode, "{key}: {text:?}");
    }
    let marker = meta(&[("file-permissions", "0100644")]);
    let attr = to_attr(&marker, FileKind::Directory, DEFAULTS, MODIFIED);
    assert_eq!(attr.mode, None, "a file's mode would lock a directory");
}

#[test]
fn symlinks_are_told_by_the_file_type() {
    for (key, text, is) in [
        ("file-permissions", "0120777", true),
        ("file-permissions", "120777", true),
        ("mode", "41471", true),
        ("mode", "0120777", true),
        ("file-permissions", "0100777", false),
        ("file-permissions", "0777", false),
        ("file-permissions", "link", false),
    ] {
        assert_eq!(is_symlink(&meta(&[(key, text)])), is, "{key}: {text}");
    }
    assert!(!is_symlink(&UserMeta::new()));
}

#[test]
fn times_are_read_in_every_form() {
    for (text, seconds, nanos) in [
        ("1595002920000000000ns", 1_595_002_920, 0),
        ("-1ns", -1, 999_999_999),
        ("1602647222/222919600", 1_602_647_222, 222_919_600),
        ("-5/250000000", -5, 250_000_000),
        ("1700000000", 1_700_000_000, 0),
        ("1734968895000", 1_734_968_895, 0),
        ("1734968895000123", 1_734_968_895, 123_000),
        ("1700000000123456789", 1_700_000_000, 123_456_789),
        ("1700000000.5", 1_700_000_000, 500_000_000),
        ("1700000000.1234567899", 1_700_000_000, 123_456_789),
        ("-0.25", -1, 750_000_000),
        ("-1.5", -2, 500_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000, 0),
        ("2023-11-14T22:13:20.123456789Z", 1_700_000_000, 123_456_789),
        ("2023-11-15T07:13:20+09:00", 1_700_000_000, 0),
        (" -5 ", -5, 0),
    ] {
        assert_eq!(read(&[("mtime", text)]).mtime, Timestamp::new(seconds, nanos), "{text:?}");
    }
    for nonsense in [
        "",
        "ns",
        "yesterday",
        "1/2/3",
        "1/1000000000",
        "1/-1",
        "1.",
        ".5",
        "1.5e9",
        "0x10",
        "99999999999999999999ns",
        // More than 292 years from 1970.
        "99999999999/0",
        "99999999999",
        "99999999999.5",
        "9999-01-01T00:00:00Z",
        "2023-11-14",
        "2023-11-14T22:13:20",
    ] {
        assert_eq!(read(&[("mtime", nonsense)]).mtime, MODIFIED, "{nonsense:?}");
    }
}

#[test]
fn each_value_counts_by_itself_and_the_next_name_stands_in() {
    let attr = read(&[
        ("file-owner", "root"),
        ("uid", "7"),
        ("file-group", "-1"),
        ("file-permissions", "?"),
        ("mode", "0600"),
        ("file-mtime", "?"),
        ("mtime", "5"),
        ("file-atime", "?"),
    ]);
    assert_eq!(filled(attr), (0o600, 7, 65533));
    assert_eq!((attr.mtime.seconds(), attr.atime.seconds()), (5, 5));
    for none in ["4294967295", "4294967296", "1.5", "0x1", "", "1000 x"] {
        assert_eq!(read(&[("file-owner", none)]).uid, None, "{none:?}");
    }
}
