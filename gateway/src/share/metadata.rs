//! POSIX attributes in user metadata: written in one form, read in every form met in the wild. Pure.
//!
//! Written as AWS documents for FSx for Lustre, File Cache and S3 Files: `file-owner` and `file-group`
//! decimal, `file-permissions` octal `st_mode` with seven digits, times in nanoseconds with `ns`.
//! Read besides: DataSync (four-digit or six-digit modes, `sec/nsec`), bare numbers, s3fs (`mode` in
//! decimal, `uid`, `gid`, times in seconds), rclone (`mode` in octal, RFC 3339 times).
//!
//! Read leniently: each value counts by itself, and one that says nothing sensible (garbage, out of
//! range, the mode of another kind of file) is as one that is missing.
use crate::{
    catalog::{HeadAttr, Inode, ListDefaults},
    clock::Timestamp,
    ids::FileKind,
    store::UserMeta,
};

/// Key of the generation tag.
pub const GENERATION: &str = "tidegate-gen";

/// Key of what tells of which object a conflict copy is: that one's tag.
pub const CONFLICT_OF: &str = "tidegate-conflict-of";

/// Names of what tells attributes of a file in any of the forms, or who has written the object: a new object of
/// the file says it in ours.
const ATTRIBUTES: [&str; 14] = [
    "file-owner",
    "file-group",
    "file-permissions",
    "file-mtime",
    "file-atime",
    "uid",
    "gid",
    "mode",
    "mtime",
    "atime",
    "user-agent",
    "user-agent-id",
    GENERATION,
    CONFLICT_OF,
];

const TYPE_MASK: u32 = 0o170_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_SYMLINK: u32 = 0o120_000;
/// Of foreign metadata, setuid and setgid are dropped: whoever writes the bucket is not whom the
/// clients trust with them.
const FOREIGN_MODE_MASK: u32 = 0o1777;
const OWN_MODE_MASK: u32 = 0o7777;

/// Whether user metadata of this name is about what a new object says by itself.
pub(super) fn is_attribute(name: &str) -> bool {
    ATTRIBUTES.contains(&name)
}

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
    let ours = user.contains_key(GENERATION);
    let mode = st_mode(user)
        .filter(|mode| is_of_kind(*mode, kind))
        .map(|mode| mode & if ours { OWN_MODE_MASK } else { FOREIGN_MODE_MASK });
    let mtime = first(user, &["file-mtime", "mtime"], time).unwrap_or(last_modified);
    HeadAttr {
        mode,
        uid: first(user, &["file-owner", "uid"], owner),
        gid: first(user, &["file-group", "gid"], owner),
        atime: first(user, &["file-atime", "atime"], time).unwrap_or(mtime),
        mtime,
        defaults,
    }
}

/// What the first of `names` that says something sensible says.
fn first<T>(user: &UserMeta, names: &[&str], read: fn(&str) -> Option<T>) -> Option<T> {
    names.iter().filter_map(|name| user.get(*name)).find_map(|text| read(text.trim()))
}

/// A user's or group's number. The highest one means nobody in particular to every POSIX system.
fn owner(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX)
}

/// Whether a mode, if it tells a file type, tells one of this kind: the mode of a file would lock a
/// directory. Whether an object is a file or a symbolic link is told apart elsewhere.
fn is_of_kind(mode: u32, kind: FileKind) -> bool {
    let told = mode & TYPE_MASK;
    match kind {
        FileKind::Directory => matches!(told, 0 | TYPE_DIRECTORY),
        FileKind::File | FileKind::Symlink => matches!(told, 0 | TYPE_FILE | TYPE_SYMLINK),
    }
}

/// Whether the object is a symlink and its content the target, as FSx and S3 Files store them.
pub fn is_symlink(user: &UserMeta) -> bool {
    st_mode(user).is_some_and(|mode| mode & TYPE_MASK == TYPE_SYMLINK)
}

/// The mode with the file type, where it is told.
fn st_mode(user: &UserMeta) -> Option<u32> {
    first(user, &["file-permissions"], octal).or_else(|| first(user, &["mode"], either_base))
}

/// `0644`, `100755`, `0100664`: octal.
fn octal(text: &str) -> Option<u32> {
    // Only digits: a sign is no mode.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| digits)?;
    (mode <= TYPE_MASK | OWN_MODE_MASK).then_some(mode)
}

/// The key `mode`: rclone writes octal with a leading zero, s3fs decimal (`33188` = `0100644`).
fn either_base(text: &str) -> Option<u32> {
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
/// fraction, RFC 3339 in UTC or with an offset. None of a time that nanoseconds since 1970 cannot tell.
fn time(text: &str) -> Option<Timestamp> {
    if let Some(nanos) = text.strip_suffix("ns") {
        return nanos.parse().ok().map(Timestamp::from_nanos);
    }
    if let Some((seconds, nanos)) = text.split_once('/') {
        let nanos = nanos.parse::<u32>().ok().filter(|n| *n < 1_000_000_000)?;
        return moment(seconds.parse().ok()?, i64::from(nanos));
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
    fraction(text).or_else(|| rfc3339(text))
}

fn moment(seconds: i64, nanos: i64) -> Option<Timestamp> {
    let whole = seconds.checked_mul(1_000_000_000)?;
    whole.checked_add(nanos).map(Timestamp::from_nanos)
}

/// Seconds with a fraction of which nine digits count: `1700000000.5`, `-0.25`.
fn fraction(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.')?;
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: i64 = digits.parse().ok()?;
    moment(seconds.parse().ok()?, if seconds.starts_with('-') { -nanos } else { nanos })
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    let parsed = text.parse::<jiff::Timestamp>().ok()?;
    i64::try_from(parsed.as_nanosecond()).ok().map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests;
