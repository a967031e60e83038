//! Transitions of one inode: writes, attributes, what HEAD tells.
use rusqlite::params;

use super::{
    Catalog, carried, changed, defaults, disk, done,
    error::CatalogError,
    inode, journal, range, sums,
    types::{AttrChange, DurableBytes, HeadAttr, Inode, Stamp, WriteCommit},
    writer::{Durable, Txn},
};
use crate::{
    clock::Timestamp,
    ids::{FileKind, Ino},
    object::{ObjectKey, Stored, VersionId},
    sums::BLOCK_BYTES,
};

/// Setuid and setgid.
const SET_ID: u32 = 0o6000;

/// What [`Catalog::begin_write`] gives.
#[derive(Clone, Debug)]
pub struct WriteBegun {
    /// Names the burst to [`Catalog::commit_write`].
    pub version: u64,
    /// The row before any byte of the burst.
    pub inode: Inode,
}

/// Whether a change is of the bytes too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touches {
    Content,
    Metadata,
}

/// Makes the inode dirty with a new version and journals its upload for `due`.
pub(super) fn mark_dirty(
    txn: &mut Txn<'_>,
    ino: Ino,
    touches: Touches,
    due: Timestamp,
) -> Result<(), CatalogError> {
    let content = touches == Touches::Content;
    let before = inode::get(txn.db, ino)?;
    // What a clean file has matches its sums: only a write from here on may leave it in doubt.
    txn.db
        .prepare_cached(
            "UPDATE inode SET dirty = 1, version = next_version(version),
                 unsure = CASE WHEN dirty = 1 THEN unsure ELSE 0 END,
                 content_version = CASE WHEN ?2 THEN next_version(version) ELSE content_version END
             WHERE ino = ?1",
        )?
        .execute(params![ino.0, content])?;
    journal::enqueue(txn, &before, due)?;
    if content && before.kind == FileKind::File && !before.content_dirty {
        changed::begin(txn.db, &before)?;
    }
    Ok(())
}

/// Ends the burst of this version if it is open: the file may be uploaded when it is `due`.
fn close(txn: &mut Txn<'_>, ino: Ino, version: u64, due: Timestamp) -> Result<(), CatalogError> {
    let closed = txn
        .db
        .prepare_cached("UPDATE inode SET writing = 0 WHERE ino = ?1 AND writing = ?2")?
        .execute(params![ino.0, version])?;
    if closed > 0 { journal::enqueue_sync(txn, ino, due) } else { Ok(()) }
}

/// No burst of the file is open that the catalog knows of.
pub(super) fn forget_burst(txn: &Txn<'_>, ino: Ino) -> Result<(), CatalogError> {
    txn.db
        .prepare_cached("UPDATE inode SET writing = 0 WHERE ino = ?1 AND writing <> 0")?
        .execute([ino.0])?;
    Ok(())
}

impl Catalog {
    /// Begins a burst of writes: the file is durably dirty before the first of its bytes changes
    /// (I3), and not uploaded until [`Catalog::commit_write`] closes the burst, or it has its turn
    /// ([`Job::Still`](super::Job::Still)), which it is not to wait for longer than if it were `due` then.
    /// Beginning again while a burst is open starts another that takes its place.
    ///
    /// # Errors
    /// [`CatalogError::Gone`]; [`CatalogError::IsDirectory`] for anything but a file.
    pub async fn begin_write(&self, ino: Ino, due: Timestamp) -> Result<WriteBegun, CatalogError> {
        self.write(move |txn| {
            let before = inode::get(txn.db, ino)?;
            if before.kind != FileKind::File {
                return Err(CatalogError::IsDirectory);
            }
            txn.db
                .prepare_cached("UPDATE inode SET writing = next_version(version) WHERE ino = ?1")?
                .execute([ino.0])?;
            mark_dirty(txn, ino, Touches::Content, due)?;
            let version = txn.state.epoch.next(before.version);
            Ok(WriteBegun { version, inode: before })
        })
        .await
    }

    /// Ends the burst that the catalog knows of, if there is one, where nobody writes the file: what began it was told
    /// that it had failed. Its upload is due as it was before.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn end_lost_burst(&self, ino: Ino) -> Result<(), CatalogError> {
        if !self.inode(ino).await?.writing {
            return Ok(());
        }
        self.write(move |txn| forget_burst(txn, ino)).await
    }

    /// Ends the burst of this version, in which nothing was written; a later one goes on.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn end_burst(
        &self,
        ino: Ino,
        version: u64,
        due: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(move |txn| close(txn, ino, version, due)).await
    }

    /// Makes what was written the file's content: size, time and ranges in one transaction with the
    /// row that promises the upload (I2). The bytes must have been `fdatasync`ed, or come along (I1).
    /// Bytes between the old size and the new that nobody wrote are zero and present. Commits of one file
    /// may come in any order: an older one takes nothing back. One newer than all changes sets the
    /// time, even if a client had set it to the future.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn commit_write(&self, ino: Ino, commit: WriteCommit) -> Result<Inode, CatalogError> {
        self.write(move |txn| {
            let before = inode::get(txn.db, ino)?;
            range::insert(txn.db, ino, before.size..commit.size)?;
            for written in &commit.ranges {
                range::insert(txn.db, ino, written.start..written.end.min(commit.size))?;
            }
            let size = before.size.max(commit.size);
            let known = sums::of_present(txn.db, ino, size, &commit)?;
            sums::replace(txn.db, ino, &commit.ranges, &known)?;
            let mode = if commit.clear_set_id { before.mode & !SET_ID } else { before.mode };
            txn.db
                .prepare_cached(
                    "UPDATE inode SET size = max(size, ?2), ctime = max(ctime, ?3), mode = ?4,
                         disk = ?5,
                         mtime = CASE WHEN ?3 > ctime THEN ?3 ELSE max(mtime, ?3) END
                     WHERE ino = ?1",
                )?
                .execute(params![
                    ino.0,
                    commit.size,
                    commit.mtime.as_nanos(),
                    mode,
                    commit.disk.0
                ])?;
            match &commit.bytes {
                DurableBytes::Synced(carried) => carried::forget(txn.db, ino, *carried)?,
                DurableBytes::Carried(bytes) => carried::set(txn.db, ino, bytes)?,
            }
            match commit.noted {
                // While it is held, the time that this sets is of no use yet. A burst that is noted nobody has any more,
                // and one that has ended already may have been uploaded: an earlier commit was made, though it was
                // answered with an error.
                None => {
                    forget_burst(txn, ino)?;
                    mark_dirty(txn, ino, Touches::Content, commit.due)?;
                }
                Some(_) if !before.writing => {
                    mark_dirty(txn, ino, Touches::Content, commit.due)?;
                }
                Some(version) if commit.closes => close(txn, ino, version, commit.due)?,
                Some(_) => {}
            }
            // After the first change has begun to be followed.
            let grown = std::iter::once(before.size..commit.size);
            changed::note(txn, ino, size, grown.chain(commit.ranges.iter().cloned()))?;
            inode::get(txn.db, ino)
        })
        .await
    }

    /// Sets attributes. A smaller size takes the ranges beyond it away: cut the cache file after
    /// this and before the answer. A larger one makes the bytes in between present: they must be
    /// zero in the cache file (beyond the old size it must end) before anybody reads.
    ///
    /// # Errors
    /// [`CatalogError::Gone`]; [`CatalogError::IsDirectory`] for a size of anything but a file;
    /// [`CatalogError::Changed`] as [`AttrChange::told`] says: what S3 tells later would go over them.
    pub async fn set_attr(
        &self,
        ino: Ino,
        change: AttrChange,
        stamp: Stamp,
    ) -> Result<Inode, CatalogError> {
        self.write(move |txn| {
            let before = inode::get(txn.db, ino)?;
            if change.size.is_some() && before.kind != FileKind::File {
                return Err(CatalogError::IsDirectory);
            }
            if change.told && before.needs_head {
                return Err(CatalogError::Changed);
            }
            let size = change.size.unwrap_or(before.size);
            txn.db
                .prepare_cached(
                    "UPDATE inode SET mode = ?2, uid = ?3, gid = ?4, size = ?5, atime = ?6,
                         mtime = ?7, ctime = ?8, defaulted = defaulted AND ?9 WHERE ino = ?1",
                )?
                .execute(params![
                    ino.0,
                    change.mode.unwrap_or(before.mode),
                    change.uid.unwrap_or(before.uid),
                    change.gid.unwrap_or(before.gid),
                    size,
                    change.atime.unwrap_or(before.atime).as_nanos(),
                    change.mtime.unwrap_or(before.mtime).as_nanos(),
                    stamp.now.as_nanos(),
                    change.mode.is_none() && change.uid.is_none() && change.gid.is_none(),
                ])?;
            if let Some(at) = change.disk {
                disk::set(txn.db, ino, at)?;
            }
            if change.publishes() {
                let touches =
                    if size == before.size { Touches::Metadata } else { Touches::Content };
                mark_dirty(txn, ino, touches, stamp.due)?;
            }
            if size != before.size {
                let longest = size.max(before.size);
                let beyond = std::iter::once(size.min(before.size)..u64::MAX);
                changed::note(txn, ino, longest, beyond)?;
            }
            if size < before.size {
                let of_this = change.end_sum.filter(|end| end.version == before.version);
                range::truncate(txn.db, ino, size, of_this.map(|end| end.sum))?;
            } else {
                range::insert(txn.db, ino, before.size..size)?;
                let hole = before.size.next_multiple_of(BLOCK_BYTES)..size;
                sums::replace(txn.db, ino, std::slice::from_ref(&hole), &[])?;
            }
            done::note(txn, stamp, Some(ino))?;
            inode::get(txn.db, ino)
        })
        .await
    }

    /// Takes the attributes that HEAD told. For a directory `None` says that it has no marker
    /// object. Whatever has been set here meanwhile stays, and so do the times of bytes that were written here.
    ///
    /// # Errors
    /// [`CatalogError::Changed`] when a file's object is not the one that was asked about
    /// ([`Catalog::mark_changed`] then); [`CatalogError::Gone`].
    pub async fn apply_head(
        &self,
        ino: Ino,
        object: Option<(Stored, HeadAttr)>,
    ) -> Result<Inode, CatalogError> {
        self.head_applied(Durable::Soon, ino, object).await
    }

    /// The same, durably: what is sent to S3 with these attributes must not be taken, after a power cut, for what
    /// the catalog had without them.
    ///
    /// # Errors
    /// As [`Catalog::apply_head`].
    pub async fn apply_head_to_send(
        &self,
        ino: Ino,
        object: (Stored, HeadAttr),
    ) -> Result<Inode, CatalogError> {
        self.head_applied(Durable::Now, ino, Some(object)).await
    }

    async fn head_applied(
        &self,
        durable: Durable,
        ino: Ino,
        object: Option<(Stored, HeadAttr)>,
    ) -> Result<Inode, CatalogError> {
        self.commit(durable, move |txn| {
            let before = inode::get(txn.db, ino)?;
            if !before.needs_head {
                return Ok(before);
            }
            let key = match (&object, before.kind, &before.object_key) {
                (Some((Stored { etag, .. }, _)), FileKind::File | FileKind::Symlink, _)
                | (Some((Stored { etag, .. }, _)), FileKind::Directory, Some(_))
                    if before.etag.as_ref() != Some(etag) =>
                {
                    return Err(CatalogError::Changed);
                }
                (None, FileKind::File | FileKind::Symlink, _) => {
                    return Err(CatalogError::Changed);
                }
                (_, FileKind::Directory, None) => ObjectKey::new(inode::key_of(txn.db, &before)?),
                (_, _, key) => key.clone(),
            };
            let (stored, key) = match &object {
                Some((stored, attr)) => {
                    let defaults = defaults::in_force(txn.db, before.share, attr.defaults)?;
                    let (mode, uid, gid) = attr.filled(before.kind, defaults);
                    txn.db
                        .prepare_cached(
                            "UPDATE inode SET mode = ?2, uid = ?3, gid = ?4, defaulted = NOT ?8,
                                 atime = CASE WHEN ?7 THEN atime ELSE ?5 END,
                                 mtime = CASE WHEN ?7 THEN mtime ELSE ?6 END
                             WHERE ino = ?1",
                        )?
                        .execute(params![
                            ino.0,
                            mode,
                            uid,
                            gid,
                            attr.atime.as_nanos(),
                            attr.mtime.as_nanos(),
                            before.content_dirty,
                            attr.is_told()
                        ])?;
                    (Some(stored), key)
                }
                None => (None, None),
            };
            txn.db
                .prepare_cached(
                    "UPDATE inode SET needs_head = 0, etag = ?2, object_key = ?3, version_id = ?4
                     WHERE ino = ?1",
                )?
                .execute(params![
                    ino.0,
                    stored.map(|stored| stored.etag.as_str()),
                    key.as_ref().map(ObjectKey::as_str),
                    stored.and_then(|stored| stored.version.as_ref()).map(VersionId::as_str),
                ])?;
            inode::get(txn.db, ino)
        })
        .await
    }
}
