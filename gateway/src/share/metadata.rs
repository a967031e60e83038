//! POSIX attributes in user metadata: written in one form, read in every form met in the wild. Pure.
//!
//! Written as AWS documents for FSx for Lustre, File Cache and S3 Files: `file-owner` and `file-group`
//! decimal, `file-permissions` octal `st_mode` with seven digits, times in nanoseconds with `ns`.
//! Read besides: DataSync (four-digit or six-digit modes, `sec/nsec`), bare numbers, s3fs (`mode` in
//! decimal, `uid`, `gid`, times in seconds), rclone (`mode` in octal, RFC 3339 times).
use crate::{
    catalog::{HeadAttr, Inode, ListDefaults},
    clock::Timestamp,
    ids::FileKind,
    store::UserMeta,
};

/// Key of the generation tag.
pub const GENERATION: &str = "tidegate-gen";

const TYPE_MASK: u32 = 0o170_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_SYMLINK: u32 = 0o120_000;
/// Of foreign metadata, setuid and setgid are dropped: whoever writes the bucket is not whom the
/// clients trust with them.
const FOREIGN_MODE_MASK: u32 = 0o1777;
const OWN_MODE_MASK: u32 = 0o7777;

/// The metadata of an object made of `inode`.
pub fn of_inode(inode: &Inode, generation: &str) -> UserMeta {
    let kind = match inode.kind {
        FileKind::File => TYPE_FILE,
        FileKind::Directory => TYPE_DIRECTORY,
        FileKind::Symlink => TYPE_SYMLINK,
    };
    let entry = |key: &str, value: String| (key.to_owned(), value);
    UserMeta::from([
        entry("file-owner", inode.uid.to_string()),
        entry("file-group", inode.gid.to_string()),
        entry("file-permissions", format!("{:07o}", kind | inode.mode)),
        entry("file-mtime", format!("{}ns", inode.mtime.as_nanos())),
        entry("file-atime", format!("{}ns", inode.atime.as_nanos())),
        entry("user-agent", "tidegate".to_owned()),
        entry(GENERATION, generation.to_owned()),
    ])
}

/// The attributes that `user` metadata tells; what it does not tell comes from the share's defaults
/// and the object's LastModified.
pub fn to_attr(
    user: &UserMeta,
    kind: FileKind,
    defaults: ListDefaults,
    last_modified: Timestamp,
) -> HeadAttr {
    let get = |names: &[&str]| names.iter().find_map(|name| user.get(*name)).map(String::as_str);
    let ours = user.contains_key(GENERATION);
    let default_mode = match kind {
        FileKind::Directory => defaults.directory_mode,
        FileKind::File | FileKind::Symlink => defaults.file_mode,
    };
    let mode = st_mode(user)
        .map_or(default_mode, |mode| mode & if ours { OWN_MODE_MASK } else { FOREIGN_MODE_MASK });
    let number = |names: &[&str]| get(names).and_then(|text| text.trim().parse::<u32>().ok());
    let mtime = get(&["file-mtime", "mtime"]).and_then(time).unwrap_or(last_modified);
    HeadAttr {
        mode,
        uid: number(&["file-owner", "uid"]).unwrap_or(defaults.uid),
        gid: number(&["file-group", "gid"]).unwrap_or(defaults.gid),
        atime: get(&["file-atime", "atime"]).and_then(time).unwrap_or(mtime),
        mtime,
    }
}

/// Whether the object is a symlink and its content the target, as FSx and S3 Files store them.
pub fn is_symlink(user: &UserMeta) -> bool {
    st_mode(user).is_some_and(|mode| mode & TYPE_MASK == TYPE_SYMLINK)
}

/// The mode with the file type, where it is told.
fn st_mode(user: &UserMeta) -> Option<u32> {
    user.get("file-permissions")
        .and_then(|text| octal(text))
        .or_else(|| user.get("mode").and_then(|text| either_base(text)))
}

/// `0644`, `100755`, `0100664`: octal.
fn octal(text: &str) -> Option<u32> {
    let mode = u32::from_str_radix(text.trim(), 8).ok()?;
    (mode <= TYPE_MASK | OWN_MODE_MASK).then_some(mode)
}

/// The key `mode`: rclone writes octal with a leading zero, s3fs decimal (`33188` = `0100644`).
fn either_base(text: &str) -> Option<u32> {
    let text = text.trim();
    if !text.starts_with('0')
        && let Ok(decimal) = text.parse::<u32>()
        && matches!(decimal & TYPE_MASK, TYPE_DIRECTORY | TYPE_FILE | TYPE_SYMLINK)
        && decimal <= TYPE_MASK | OWN_MODE_MASK
    {
        return Some(decimal);
    }
    octal(text)
}

/// A time in any of the forms: `…ns`, `sec/nsec`, a number whose size tells its unit, seconds with a
/// fraction, RFC 3339 in UTC or with an offset.
fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Some(nanos) = text.strip_suffix("ns") {
        return nanos.parse().ok().map(Timestamp::from_nanos);
    }
    if let Some((seconds, nanos)) = text.split_once('/') {
        let nanos = nanos.parse::<u32>().ok().filter(|n| *n < 1_000_000_000)?;
        return Some(Timestamp::new(seconds.parse().ok()?, nanos));
    }
    if let Ok(number) = text.parse::<i64>() {
        let nanos_per_unit = match number.unsigned_abs() {
            100_000_000_000_000_000.. => 1,
            100_000_000_000_000.. => 1_000,
            100_000_000_000.. => 1_000_000,
            _ => 1_000_000_000,
        };
        return number.checked_mul(nanos_per_unit).map(Timestamp::from_nanos);
    }
    if let Some((seconds, fraction)) = text.split_once('.')
        && !fraction.is_empty()
        && fraction.len() <= 9
        && fraction.bytes().all(|b| b.is_ascii_digit())
        && let Ok(seconds) = seconds.parse::<i64>()
    {
        let nanos = format!("{fraction:0<9}").parse().ok()?;
        return Some(Timestamp::new(seconds, nanos));
    }
    rfc3339(text)
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    let parsed = text.parse::<jiff::Timestamp>().ok()?;
    i64::try_from(parsed.as_nanosecond()).ok().map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: ListDefaults =
        ListDefaults { file_mode: 0o666, directory_mode: 0o777, uid: 65534, gid: 65533 };

    fn read(pairs: &[(&str, &str)]) -> HeadAttr {
        let user = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        to_attr(&user, FileKind::File, DEFAULTS, Timestamp::new(77, 0))
    }

    #[test]
    fn modes_are_read_in_every_form() {
        for (key, text, mode) in [
            ("file-permissions", "0644", 0o644),
            ("file-permissions", "0100664", 0o664),
            ("file-permissions", "100755", 0o755),
            ("file-permissions", "0755", 0o755),
            ("mode", "33188", 0o644),
            ("mode", "16877", 0o755),
            ("mode", "0100640", 0o640),
            ("mode", "100640", 0o640),
            ("file-permissions", "0104755", 0o755),
            ("file-permissions", "rw-r--r--", 0o666),
            ("file-permissions", "9", 0o666),
        ] {
            assert_eq!(read(&[(key, text)]).mode, mode, "{key}: {text}");
        }
    }

    #[test]
    fn symlinks_are_told_by_the_file_type() {
        for (key, text, is) in [
            ("file-permissions", "0120777", true),
            ("file-permissions", "120777", true),
            ("mode", "41471", true),
            ("file-permissions", "0100777", false),
            ("file-permissions", "0777", false),
            ("file-permissions", "link", false),
        ] {
            let user = UserMeta::from([(key.to_owned(), text.to_owned())]);
            assert_eq!(is_symlink(&user), is, "{key}: {text}");
        }
        assert!(!is_symlink(&UserMeta::new()));
    }

    #[test]
    fn times_are_read_in_every_form() {
        for (text, seconds, nanos) in [
            ("1595002920000000000ns", 1_595_002_920, 0),
            ("1734968895000", 1_734_968_895, 0),
            ("1602647222/222919600", 1_602_647_222, 222_919_600),
            ("1700000000", 1_700_000_000, 0),
            ("1700000000.5", 1_700_000_000, 500_000_000),
            ("1700000000123456789", 1_700_000_000, 123_456_789),
            ("2023-11-14T22:13:20Z", 1_700_000_000, 0),
            ("2023-11-15T07:13:20+09:00", 1_700_000_000, 0),
            ("-5", -5, 0),
        ] {
            assert_eq!(read(&[("mtime", text)]).mtime, Timestamp::new(seconds, nanos), "{text}");
        }
        for nonsense in ["", "yesterday", "1/2/3", "1.", "99999999999999999999ns"] {
            assert_eq!(read(&[("mtime", nonsense)]).mtime, Timestamp::new(77, 0), "{nonsense}");
        }
    }

    #[test]
    fn what_is_not_told_comes_from_the_share() {
        let attr = read(&[]);
        assert_eq!((attr.mode, attr.uid, attr.gid), (0o666, 65534, 65533));
        assert_eq!(attr.mtime, Timestamp::new(77, 0));
    }

    #[test]
    fn setuid_counts_only_in_what_a_gateway_wrote() {
        let ours = read(&[("file-permissions", "0104755"), (GENERATION, "g:1:1")]);
        assert_eq!(ours.mode, 0o4755);
    }
}
