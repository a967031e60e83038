//! Transitions of the tree: create, remove, rename.
use rusqlite::{Connection, params};

use super::{
    Catalog, alias,
    content::{Touches, mark_dirty},
    depth, done,
    error::CatalogError,
    flush, inode, journal, range,
    types::{Inode, NewInode, NewKind, Stamp},
    writer::Txn,
};
use crate::{
    clock::Timestamp,
    ids::{FileKind, Ino},
    object::OBJECT_KEY_BYTES_MAX,
};

/// A new entry.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its row.
    pub inode: Inode,
    /// The directory's row, right before.
    pub dir_before: Inode,
    /// The directory's row, after.
    pub dir: Inode,
}

/// What may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveKind {
    /// Anything but a directory (REMOVE).
    NotDirectory,
    /// An empty directory (RMDIR).
    EmptyDirectory,
}

/// What was removed.
#[derive(Clone, Debug)]
pub struct Removed {
    /// Its row, before. Its cache file is nobody's any more.
    pub inode: Inode,
    /// The directory's row, right before.
    pub dir_before: Inode,
    /// The directory's row, after.
    pub dir: Inode,
}

/// From where to where.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the names say")]
pub struct RenameSpec {
    pub from_dir: Ino,
    pub from_name: String,
    pub to_dir: Ino,
    pub to_name: String,
}

/// What a rename did.
#[derive(Clone, Debug)]
pub struct Renamed {
    /// The entry that moved, after.
    pub inode: Inode,
    /// What had the new name before. Its cache file is nobody's any more.
    pub replaced: Option<Inode>,
    /// The old directory's row, after.
    pub from_dir: Inode,
    /// The new directory's row, after.
    pub to_dir: Inode,
    /// Entries below a directory that were looked at, for keys that would get too long.
    pub looked_at: usize,
}

impl Catalog {
    /// Creates a file, directory or symlink with all its attributes and journals its upload.
    ///
    /// # Errors
    /// [`CatalogError::Exists`], [`CatalogError::KeyTooLong`], [`CatalogError::NotDirectory`],
    /// [`CatalogError::Gone`] for the parent.
    pub async fn create(&self, new: NewInode, stamp: Stamp) -> Result<Placed, CatalogError> {
        self.write(move |txn| {
            let dir = inode::get_directory(txn.db, new.parent)?;
            if inode::child(txn.db, dir.ino, &new.name)?.is_some() {
                return Err(CatalogError::Exists);
            }
            let (kind, verifier, target, listed_at) = match &new.kind {
                NewKind::File { verifier } => (FileKind::File, *verifier, None, None),
                // Nothing is below a name that did not exist: the new directory needs no listing.
                NewKind::Directory => (FileKind::Directory, None, None, Some(stamp.now.as_nanos())),
                NewKind::Symlink(target) => (FileKind::Symlink, None, Some(target.clone()), None),
            };
            let size = target.as_ref().map_or(0, Vec::len);
            let version = txn.state.epoch.next(0);
            txn.db
                .prepare_cached(
                    "INSERT INTO inode (share, parent, name, kind, mode, uid, gid, size, atime,
                         mtime, ctime, target, verifier, dirty, version, content_version,
                         synced_version, listed_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 1, ?15, ?15, 0,
                         ?14)",
                )?
                .execute(params![
                    dir.share.0,
                    dir.ino.0,
                    new.name,
                    inode::kind_number(kind),
                    new.mode,
                    new.uid,
                    new.gid,
                    size,
                    new.atime.as_nanos(),
                    new.mtime.as_nanos(),
                    stamp.now.as_nanos(),
                    target,
                    verifier,
                    listed_at,
                    version,
                ])?;
            let ino = Ino(u64::try_from(txn.db.last_insert_rowid())
                .map_err(|_| CatalogError::Corrupt("a negative ino".to_owned()))?);
            let created = inode::get(txn.db, ino)?;
            if inode::key_of(txn.db, &created)?.len() > OBJECT_KEY_BYTES_MAX {
                return Err(CatalogError::KeyTooLong);
            }
            depth::came(txn.db, dir.ino, depth::bytes(&new.name, kind == FileKind::Directory))?;
            journal::enqueue_sync(txn, ino, stamp.due)?;
            touch(txn.db, dir.ino, stamp.now)?;
            done::note(txn, stamp, Some(ino))?;
            let after = inode::get(txn.db, dir.ino)?;
            Ok(Placed { inode: created, dir_before: dir, dir: after })
        })
        .await
    }

    /// Removes the entry `name` and journals the deletion of its object.
    ///
    /// # Errors
    /// [`CatalogError::NoEntry`]; [`CatalogError::IsDirectory`], [`CatalogError::NotDirectory`] or
    /// [`CatalogError::NotEmpty`] as `kind` says; [`CatalogError::Gone`] for the directory.
    pub async fn remove(
        &self,
        dir: Ino,
        name: &str,
        kind: RemoveKind,
        stamp: Stamp,
    ) -> Result<Removed, CatalogError> {
        let name = name.to_owned();
        self.write(move |txn| {
            let dir_before = inode::get_directory(txn.db, dir)?;
            let entry = inode::child(txn.db, dir, &name)?.ok_or(CatalogError::NoEntry)?;
            match (kind, entry.kind) {
                (RemoveKind::NotDirectory, FileKind::Directory) => {
                    return Err(CatalogError::IsDirectory);
                }
                (RemoveKind::EmptyDirectory, FileKind::File | FileKind::Symlink) => {
                    return Err(CatalogError::NotDirectory);
                }
                (RemoveKind::NotDirectory, FileKind::File | FileKind::Symlink)
                | (RemoveKind::EmptyDirectory, FileKind::Directory) => {}
            }
            if entry.kind == FileKind::Directory && inode::has_child(txn.db, entry.ino)? {
                return Err(CatalogError::NotEmpty);
            }
            bury(txn, &entry, stamp)?;
            alias::directory_left(txn.db, &entry)?;
            touch(txn.db, dir, stamp.now)?;
            keep_directory(txn, dir, stamp)?;
            done::note(txn, stamp, None)?;
            Ok(Removed { inode: entry, dir_before, dir: inode::get(txn.db, dir)? })
        })
        .await
    }

    /// Renames, replacing an existing entry of the same kind (a directory only if empty). For a
    /// directory everything below is moved in S3 by the journal, in bounded steps.
    ///
    /// # Errors
    /// [`CatalogError::NoEntry`], [`CatalogError::NotEmpty`], [`CatalogError::IsDirectory`],
    /// [`CatalogError::NotDirectory`], [`CatalogError::IntoItself`], [`CatalogError::KeyTooLong`]
    /// (of any descendant, or where a bounded look at them does not tell), [`CatalogError::Gone`].
    /// All before any effect.
    pub async fn rename(&self, spec: RenameSpec, stamp: Stamp) -> Result<Renamed, CatalogError> {
        self.write(move |txn| rename(txn, &spec, stamp)).await
    }
}

fn rename(txn: &mut Txn<'_>, spec: &RenameSpec, stamp: Stamp) -> Result<Renamed, CatalogError> {
    let db = txn.db;
    let from_dir = inode::get_directory(db, spec.from_dir)?;
    let to_dir = inode::get_directory(db, spec.to_dir)?;
    let entry = inode::child(db, from_dir.ino, &spec.from_name)?.ok_or(CatalogError::NoEntry)?;
    let target = inode::child(db, to_dir.ino, &spec.to_name)?;
    if target.as_ref().is_some_and(|target| target.ino == entry.ino) {
        return Ok(Renamed { inode: entry, replaced: None, from_dir, to_dir, looked_at: 0 });
    }
    let is_directory = entry.kind == FileKind::Directory;
    if is_directory && is_at_or_below(db, to_dir.ino, entry.ino)? {
        return Err(CatalogError::IntoItself);
    }
    let mut replaced = None;
    if let Some(target) = &target {
        match (is_directory, target.kind == FileKind::Directory) {
            (true, false) => return Err(CatalogError::NotDirectory),
            (false, true) => return Err(CatalogError::IsDirectory),
            (true, true) if inode::has_child(db, target.ino)? => {
                return Err(CatalogError::NotEmpty);
            }
            (true, true) | (false, false) => {}
        }
        replaced = bury(txn, target, stamp)?;
    }
    let old_key = inode::key_of(db, &entry)?;
    // Under its new name its key is what the name says, whatever it was.
    db.prepare_cached(
        "UPDATE inode SET parent = ?2, name = ?3, key_part = NULL, ctime = ?4 WHERE ino = ?1",
    )?
    .execute(params![entry.ino.0, to_dir.ino.0, spec.to_name, stamp.now.as_nanos()])?;
    alias::directory_left(db, &entry)?;
    let new_key = inode::key_of(db, &entry)?;
    let looked_at = depth::check(db, entry.ino, old_key.len(), new_key.len())?;
    let below = depth::below(db, entry.ino)?;
    depth::came(db, to_dir.ino, depth::bytes(&spec.to_name, is_directory) + below)?;
    mark_dirty(txn, entry.ino, Touches::Metadata, stamp.due)?;
    if let Some(born) = replaced {
        // Until this one is published S3 has neither what it replaced nor what it is.
        let is_awaited = txn.state.awaited.has(born);
        flush::stems_from(db, entry.ino, born, is_awaited, stamp.now)?;
    }
    if is_directory {
        journal::enqueue_move(txn, &entry, &old_key, stamp.due)?;
    }
    touch(db, from_dir.ino, stamp.now)?;
    touch(db, to_dir.ino, stamp.now)?;
    keep_directory(txn, from_dir.ino, stamp)?;
    done::note(txn, stamp, Some(entry.ino))?;
    Ok(Renamed {
        inode: inode::get(db, entry.ino)?,
        replaced: target,
        from_dir: inode::get(db, from_dir.ino)?,
        to_dir: inode::get(db, to_dir.ino)?,
        looked_at,
    })
}

/// Whether `ino` is `ancestor` or below it.
fn is_at_or_below(db: &Connection, ino: Ino, ancestor: Ino) -> Result<bool, CatalogError> {
    let mut at = ino;
    loop {
        if at == ancestor {
            return Ok(true);
        }
        let parent = inode::get(db, at)?.parent;
        if parent == at {
            return Ok(false);
        }
        at = parent;
    }
}

/// An entry came or went: the directory's times (POSIX). Not published by itself.
pub(super) fn touch(db: &Connection, dir: Ino, now: Timestamp) -> Result<(), CatalogError> {
    // Later than the change before, whatever the clock says: clients tell changes apart by it.
    db.prepare_cached(
        "UPDATE inode SET mtime = max(?2, ctime + 1), ctime = max(?2, ctime + 1) WHERE ino = ?1",
    )?
    .execute(params![dir.0, now.as_nanos()])?;
    Ok(())
}

/// A directory that exists in S3 only by what is below it would vanish with its last entry: it gets
/// a marker object of its own.
pub(super) fn keep_directory(
    txn: &mut Txn<'_>,
    dir: Ino,
    stamp: Stamp,
) -> Result<(), CatalogError> {
    let row = inode::get(txn.db, dir)?;
    let is_root = row.parent == row.ino;
    if !is_root && row.object_key.is_none() && !row.dirty && !inode::has_child(txn.db, dir)? {
        mark_dirty(txn, dir, Touches::Metadata, stamp.due)?;
    }
    Ok(())
}

/// Takes an inode out of the tree, for good: its row, its ranges, its journal entry; and journals
/// the deletion of whatever S3 has, or may get, of it.
/// Answers when the oldest change was made that S3 may lack of it, by the sequence.
fn bury(txn: &mut Txn<'_>, entry: &Inode, stamp: Stamp) -> Result<Option<u64>, CatalogError> {
    let journal::Dropped { sent, born } = journal::drop_sync(txn, entry, stamp.due)?;
    if let Some(key) = &entry.object_key {
        let etag = entry.etag.as_ref();
        let may_have_sent = sent.as_deref() == Some(key.as_str());
        let object = journal::Deletion::of(key.as_str(), etag);
        let object = object.or_left_by(may_have_sent.then_some(entry.ino)).born(born);
        journal::enqueue_delete(txn, entry.share, object, stamp.due)?;
    }
    if let Some(key) = sent
        && entry.object_key.as_ref().is_none_or(|object| object.as_str() != key)
    {
        let left = journal::Deletion::left_by(entry.ino, &key).born(born);
        journal::enqueue_delete(txn, entry.share, left, stamp.due)?;
    }
    range::clear(txn.db, entry.ino)?;
    txn.db.prepare_cached("DELETE FROM inode WHERE ino = ?1")?.execute([entry.ino.0])?;
    Ok(born)
}

/// Whether the inode has a journal entry of its own.
pub(super) fn has_sync(db: &Connection, ino: Ino) -> Result<bool, CatalogError> {
    Ok(journal::op_of(db, ino)?.is_some())
}
