//! What a publish that S3 has taken does to its inode and to its row of the journal.
use rusqlite::params;

use super::{
    Catalog, changed,
    error::CatalogError,
    inode,
    journal::{Deletion, born, delete_op, enqueue_delete, ino_of, next_seq},
    multipart,
    types::{Finish, OpId},
    writer::Txn,
};
use crate::{
    clock::Timestamp,
    essential::{self, Step},
    ids::Ino,
    object::{ObjectKey, Stored, VersionId},
};

/// An object that S3 has taken.
#[derive(Clone, Debug)]
pub struct Published {
    /// The inode's, when the job was claimed.
    pub version: u64,
    /// Its key.
    pub key: ObjectKey,
    /// Its tag and version.
    pub object: Stored,
    /// By now.
    pub now: Timestamp,
    /// What it is made of.
    pub made: Made,
}

/// What the object has of its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Bytes and attributes.
    Whole,
    /// Its bytes, and attributes of an earlier one: they are published next, by a copy on the server.
    Bytes,
    /// Its attributes, and so many bytes of it or of a later one.
    Earlier {
        /// Bytes.
        size: u64,
    },
}

impl Made {
    /// Whether the object has the bytes that the file had when it was claimed.
    fn is_of_claim(self) -> bool {
        matches!(self, Self::Whole | Self::Bytes)
    }
}

impl Catalog {
    /// A publish has succeeded: `key` now has this object, made of the inode at `version`. The
    /// inode becomes clean only if nothing has changed since (I4); the deletion of the object's old
    /// key is journalled. The claim ends.
    ///
    /// # Errors
    /// [`CatalogError::NoEntry`] for an operation that was not claimed.
    pub async fn finish_sync(
        &self,
        op: OpId,
        version: u64,
        key: &ObjectKey,
        object: impl Into<Stored>,
        now: Timestamp,
    ) -> Result<Finish, CatalogError> {
        let (key, object) = (key.clone(), object.into());
        self.finish(op, Published { version, key, object, now, made: Made::Whole }).await
    }

    /// The same for an object of `size` bytes that an earlier attempt of `op` has made of `version`, or
    /// that an upload in parts has made that was begun of it: the file has changed since. What S3 has of
    /// it is not sent again.
    ///
    /// # Errors
    /// As [`Catalog::finish_sync`].
    pub async fn finish_earlier(
        &self,
        op: OpId,
        (version, size): (u64, u64),
        key: &ObjectKey,
        object: impl Into<Stored>,
        now: Timestamp,
    ) -> Result<Finish, CatalogError> {
        let (key, object) = (key.clone(), object.into());
        let made = Made::Earlier { size };
        self.finish(op, Published { version, key, object, now, made }).await
    }

    /// The same for an object that may have been made of less than that, or of more.
    ///
    /// # Errors
    /// As [`Catalog::finish_sync`].
    pub async fn finish(&self, op: OpId, done: Published) -> Result<Finish, CatalogError> {
        self.note_progress();
        self.write_soon(move |txn| {
            let share = txn.state.claims.share_of(op).ok_or(CatalogError::NoEntry)?;
            let finish = match ino_of(txn.db, op)? {
                Some(ino) => published(txn, op, ino, &done)?,
                None => {
                    // Removed while the upload ran: what has landed must go again (F42).
                    let key = done.key.as_str();
                    let landed = Deletion::of(key, Some(&done.object.etag));
                    enqueue_delete(txn, share, landed, done.now)?;
                    txn.db
                        .prepare_cached(
                            "UPDATE journal SET uncertain = 0, not_before = ?3
                             WHERE kind = 1 AND share = ?1 AND key = ?2",
                        )?
                        .execute(params![share.0, key, done.now.as_nanos()])?;
                    Finish::Removed
                }
            };
            txn.state.claims.release(op);
            txn.state.journal_changed = true;
            Ok(finish)
        })
        .await
    }
}

fn published(
    txn: &mut Txn<'_>,
    op: OpId,
    ino: Ino,
    done: &Published,
) -> Result<Finish, CatalogError> {
    let before = inode::get(txn.db, ino)?;
    if let Some(old) = before.object_key.as_ref().filter(|old| **old != done.key) {
        let moved = Deletion::of(old.as_str(), before.etag.as_ref()).moved(true);
        let moved = moved.born(born(txn.db, op)?);
        enqueue_delete(txn, before.share, moved, done.now)?;
    }
    let seq = next_seq(txn.db)?;
    txn.db
        .prepare_cached(
            "UPDATE inode SET object_key = ?2, etag = ?3, synced_version = ?4, synced_seq = ?5,
                 needs_head = 0, version_id = ?6, defaulted = 0
             WHERE ino = ?1",
        )?
        .execute(params![
            ino.0,
            done.key.as_str(),
            done.object.etag.as_str(),
            done.version,
            seq,
            done.object.version.as_ref().map(VersionId::as_str),
        ])?;
    let has_version =
        before.version == done.version || essential::is_left_out(Step::FinishVersionCheck);
    let has_key = inode::key_of(txn.db, &before)? == done.key.as_str();
    let current = has_version && !before.writing && has_key;
    let (is_whole, same_to) = match done.made {
        Made::Whole => (true, 0),
        Made::Bytes => (false, 0),
        Made::Earlier { size } => (false, multipart::taken_to(txn.db, op)?.min(size)),
    };
    // It has ended, whatever comes of it.
    let begun = multipart::id_of(txn.db, op)?.map_or(0, |id| txn.state.begun.take(&id));
    if current && is_whole {
        delete_op(txn.db, op)?;
        changed::clear(txn.db, ino)?;
        txn.db.prepare_cached("UPDATE inode SET dirty = 0 WHERE ino = ?1")?.execute([ino.0])?;
        return Ok(Finish::Clean);
    }
    let again = match done.made {
        // At another key nobody knows whether a flush waits for others.
        _ if !has_key => 0,
        Made::Whole => txn.state.claims.since(op),
        // Its attributes are as old as its upload.
        Made::Bytes => txn.state.claims.since(op).min(begun),
        // Nor is it known of bytes that an earlier attempt has sent.
        Made::Earlier { .. } => 0,
    };
    let latest = txn.state.latest.of(done.now);
    multipart::forget(txn.db, op)?;
    match txn.state.claims.changed_since(op).filter(|_| done.made.is_of_claim()) {
        Some(since) => changed::restart(txn.db, ino, &done.object.etag, &since)?,
        None => changed::is_of(txn.db, ino, &done.object.etag, same_to)?,
    }
    txn.db
        .prepare_cached(
            "UPDATE journal SET expect_key = NULL, expect_etag = NULL, sent_key = NULL,
                 sent_version = NULL, incomplete = 0, attempts = 0, last_error = NULL,
                 since = CAST(unixepoch('subsec') * 1000 AS INTEGER), born = max(born, ?2),
                 latest = ?3, not_before = min(not_before, ?3)
             WHERE op = ?1",
        )?
        .execute(params![op.0, again, latest.as_nanos()])?;
    Ok(Finish::Superseded)
}
