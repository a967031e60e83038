//! Who may do what: POSIX mode bits against squashed credentials. Pure.
//!
//! The owner of a file may always read and write it (RFC 1813 §4.4: a file may be made unreadable
//! after it was opened, and NFS has no open).
use super::{Credentials, FileKind, FsError, SetAttr, SetTime, access};
use crate::catalog::Inode;

/// Read permission.
pub const READ: u32 = 4;
/// Write permission.
pub const WRITE: u32 = 2;
/// Execute (of a directory: search) permission.
pub const EXECUTE: u32 = 1;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

/// Whether the caller is in the group.
pub fn is_in_group(who: &Credentials, gid: u32) -> bool {
    who.gid == gid || who.groups.contains(&gid)
}

/// Whether the mode bits give the caller all of `want`.
pub fn allows(inode: &Inode, who: &Credentials, want: u32) -> bool {
    if who.uid == 0 {
        let any_execute = inode.mode & 0o111 != 0;
        return want & EXECUTE == 0 || inode.kind == FileKind::Directory || any_execute;
    }
    let shift = if who.uid == inode.uid {
        6
    } else if is_in_group(who, inode.gid) {
        3
    } else {
        0
    };
    (inode.mode >> shift) & want == want
}

/// [`allows`] or [`FsError::Access`].
///
/// # Errors
/// [`FsError::Access`].
pub fn check(inode: &Inode, who: &Credentials, want: u32) -> Result<(), FsError> {
    if allows(inode, who, want) { Ok(()) } else { Err(FsError::Access) }
}

/// Whether the caller may read or write the file's bytes.
///
/// # Errors
/// [`FsError::Access`].
pub fn check_data(inode: &Inode, who: &Credentials, want: u32) -> Result<(), FsError> {
    // Running a program needs its bytes: execute permission is enough to read (RFC 1813 §4.4).
    let runs = want == READ && allows(inode, who, EXECUTE);
    if who.uid == inode.uid || runs || allows(inode, who, want) {
        Ok(())
    } else {
        Err(FsError::Access)
    }
}

/// Whether the caller may change the entries of the directory.
///
/// # Errors
/// [`FsError::Access`].
pub fn check_entries(dir: &Inode, who: &Credentials) -> Result<(), FsError> {
    check(dir, who, WRITE | EXECUTE)
}

/// Whether the caller may take `entry` out of `dir`: in a sticky directory only the owner of either.
///
/// # Errors
/// [`FsError::Access`], [`FsError::NotOwner`].
pub fn check_removal(dir: &Inode, entry: &Inode, who: &Credentials) -> Result<(), FsError> {
    check_entries(dir, who)?;
    let owns = who.uid == 0 || who.uid == dir.uid || who.uid == entry.uid;
    if dir.mode & STICKY != 0 && !owns { Err(FsError::NotOwner) } else { Ok(()) }
}

/// Whether the caller may set these attributes.
///
/// # Errors
/// [`FsError::NotOwner`] for what only the owner or the superuser may, [`FsError::Access`].
pub fn check_set(inode: &Inode, who: &Credentials, set: &SetAttr) -> Result<(), FsError> {
    let is_root = who.uid == 0;
    let is_owner = who.uid == inode.uid;
    if set.mode.is_some() && !(is_root || is_owner) {
        return Err(FsError::NotOwner);
    }
    if set.uid.is_some_and(|uid| !(is_root || (is_owner && uid == inode.uid))) {
        return Err(FsError::NotOwner);
    }
    let may_give = |gid: u32| is_root || (is_owner && (gid == inode.gid || is_in_group(who, gid)));
    if set.gid.is_some_and(|gid| !may_give(gid)) {
        return Err(FsError::NotOwner);
    }
    if set.size.is_some() {
        check_data(inode, who, WRITE)?;
    }
    for time in [set.atime, set.mtime] {
        match time {
            SetTime::Keep => {}
            SetTime::To(_) if !(is_root || is_owner) => return Err(FsError::NotOwner),
            SetTime::Now if !(is_root || is_owner) => check(inode, who, WRITE)?,
            SetTime::To(_) | SetTime::Now => {}
        }
    }
    Ok(())
}

/// The mode that results from `set`: setuid and setgid go when the owner, the group or the size
/// changes, and setgid when the caller sets it for a group that is not his (POSIX chmod, chown).
/// `None` when the mode stays.
pub fn mode_after(inode: &Inode, who: &Credentials, set: &SetAttr) -> Option<u32> {
    let is_directory = inode.kind == FileKind::Directory;
    let mode = match set.mode {
        Some(mode) => {
            let gid = set.gid.unwrap_or(inode.gid);
            let foreign = who.uid != 0 && !is_in_group(who, gid) && !is_directory;
            if foreign { mode & 0o7777 & !SETGID } else { mode & 0o7777 }
        }
        None if is_directory => inode.mode,
        None => {
            let chown = set.uid.is_some() || set.gid.is_some();
            let cut = set.size.is_some() && who.uid != 0;
            if chown || cut { without_set_id(inode.mode) } else { inode.mode }
        }
    };
    (mode != inode.mode).then_some(mode)
}

/// The mode without setuid and, where the group may execute, setgid.
pub fn without_set_id(mode: u32) -> u32 {
    mode & !(SETUID | SETGID)
}

/// Whether a write by the caller takes setuid and setgid away.
pub fn write_clears_set_id(inode: &Inode, who: &Credentials) -> bool {
    who.uid != 0 && inode.mode & (SETUID | SETGID) != 0
}

/// Which of the asked permissions the caller has (RFC 1813 §3.3.4): what the mode bits say. That
/// READ and WRITE let the owner pass is no permission, and is not told (§4.4): clients decide by
/// this whether a file may be opened.
pub fn granted(inode: &Inode, who: &Credentials, ask: u32, read_only: bool) -> u32 {
    let mut granted = 0;
    let is_directory = inode.kind == FileKind::Directory;
    if allows(inode, who, READ) {
        granted |= access::READ;
    }
    if is_directory {
        if allows(inode, who, EXECUTE) {
            granted |= access::LOOKUP;
        }
        if allows(inode, who, WRITE | EXECUTE) {
            granted |= access::MODIFY | access::EXTEND | access::DELETE;
        }
    } else {
        if allows(inode, who, WRITE) {
            granted |= access::MODIFY | access::EXTEND;
        }
        if allows(inode, who, EXECUTE) {
            granted |= access::EXECUTE;
        }
    }
    if read_only {
        granted &= !(access::MODIFY | access::EXTEND | access::DELETE);
    }
    granted & ask
}
