//! The journal table: what is enqueued, and how the movers report what they did.
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Catalog, changed, content,
    error::CatalogError,
    inode,
    multipart::abandon,
    range,
    types::{Expected, Inode, OpId},
    writer::Txn,
};
use crate::{
    clock::Timestamp,
    essential::{self, Step},
    ids::{FileKind, Ino, ShareId},
    object::{ETag, ObjectKey},
};

/// Not before somebody says so: an open burst of writes.
pub(super) const NEVER: Timestamp = Timestamp::MAX;

pub(super) const KIND_SYNC: u8 = 0;
pub(super) const KIND_DELETE: u8 = 1;
pub(super) const KIND_MOVE: u8 = 2;
pub(super) const KIND_ABORT: u8 = 3;

/// The next number of the sequence that listings are compared with.
pub(super) fn next_seq(db: &Connection) -> Result<u64, CatalogError> {
    Ok(db
        .prepare_cached("UPDATE meta SET value = value + 1 WHERE name = 'seq' RETURNING value")?
        .query_row([], |row| row.get(0))?)
}

/// Journals the inode's upload, or moves the one journalled to `due`.
pub(super) fn enqueue_sync(
    txn: &mut Txn<'_>,
    ino: Ino,
    due: Timestamp,
) -> Result<(), CatalogError> {
    let inode = inode::get(txn.db, ino)?;
    enqueue(txn, &inode, due)
}

/// The same for a row that is at hand.
pub(super) fn enqueue(
    txn: &mut Txn<'_>,
    inode: &Inode,
    due: Timestamp,
) -> Result<(), CatalogError> {
    let ino = inode.ino;
    if inode.parent == ino && inode::share_prefix(txn.db, inode.share)?.is_empty() {
        // The root of a whole bucket has no key that could carry its attributes: they stay local.
        txn.db.prepare_cached("UPDATE inode SET dirty = 0 WHERE ino = ?1")?.execute([ino.0])?;
        return Ok(());
    }
    let latest = txn.state.latest.of(due);
    let due = if inode.writing { NEVER } else { due };
    let (awaited, at) = txn.state.awaited.latest().unwrap_or_default();
    // What comes while an upload is under way has the time that is set at its end.
    let is_bound = latest < NEVER && !txn.state.claims.has_upload_of(ino);
    txn.db
        .prepare_cached(
            "INSERT INTO journal (kind, share, ino, not_before, since, born, gaps, latest)
             VALUES (0, ?1, ?2, iif(?8, min(?3, ?7), ?3),
                 CAST(unixepoch('subsec') * 1000 AS INTEGER),
                 (SELECT value FROM meta WHERE name = 'seq'), '1-' || next_version(0), ?7)
             ON CONFLICT (ino) WHERE kind = 0 DO UPDATE SET
                 latest = min(latest, excluded.latest),
                 not_before = CASE WHEN born < ?4 THEN iif(not_before < ?6, not_before, ?5)
                                   WHEN NOT ?8 OR ?3 <= min(latest, excluded.latest) THEN ?3
                                   WHEN ?3 = ?6 AND not_before < ?6
                                       THEN max(not_before, min(latest, excluded.latest))
                                   WHEN not_before < ?6
                                       THEN iif(attempts > 0, not_before, min(not_before, ?3))
                                   ELSE min(latest, excluded.latest) END",
        )?
        .execute(params![
            inode.share.0,
            ino.0,
            due.as_nanos(),
            awaited,
            at.as_nanos(),
            NEVER.as_nanos(),
            latest.as_nanos(),
            is_bound
        ])?;
    txn.state.journal_changed = true;
    Ok(())
}

/// An object to be deleted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deletion<'a> {
    key: &'a str,
    etag: Option<&'a ETag>,
    sent_by: Option<Ino>,
    is_moved: bool,
    born: Option<u64>,
}

impl<'a> Deletion<'a> {
    /// Of the object at `key` that has this tag.
    pub(super) fn of(key: &'a str, etag: Option<&'a ETag>) -> Self {
        Self { key, etag, sent_by: None, is_moved: false, born: None }
    }

    /// Of whatever an upload of `ino` may have left at `key`.
    pub(super) fn left_by(ino: Ino, key: &'a str) -> Self {
        Self { key, etag: None, sent_by: Some(ino), is_moved: false, born: None }
    }

    /// And of what an upload of this inode, if it is one, may have put in its place.
    pub(super) fn or_left_by(self, ino: Option<Ino>) -> Self {
        Self { sent_by: ino, ..self }
    }

    /// It stems from a change that was made when the sequence had this value, and not from one that is made here.
    pub(super) fn born(self, born: impl Into<Option<u64>>) -> Self {
        Self { born: born.into(), ..self }
    }

    /// Its bytes are a file's that does not need it any more.
    pub(super) fn moved(self, is_moved: bool) -> Self {
        Self { is_moved, ..self }
    }
}

/// Journals the deletion of an object. One key has one row: where uploads of two inodes may have left
/// something, it does not tell them apart.
pub(super) fn enqueue_delete(
    txn: &mut Txn<'_>,
    share: ShareId,
    object: Deletion<'_>,
    due: Timestamp,
) -> Result<(), CatalogError> {
    let Deletion { key, etag, sent_by, is_moved, born } = object;
    txn.db
        .prepare_cached(
            "INSERT INTO journal (kind, share, key, etag, uncertain, ino, not_before, moved, born)
             VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7,
                 coalesce(?8, (SELECT value FROM meta WHERE name = 'seq')))
             ON CONFLICT (share, key) WHERE kind = 1 DO UPDATE SET
                 born = min(born, excluded.born),
                 etag = coalesce(excluded.etag, etag),
                 moved = CASE WHEN excluded.etag IS NULL THEN moved ELSE excluded.moved END,
                 ino = CASE WHEN excluded.uncertain = 0 THEN ino
                            WHEN uncertain = 0 OR ino = excluded.ino THEN excluded.ino END,
                 uncertain = max(uncertain, excluded.uncertain)",
        )?
        .execute(params![
            share.0,
            key,
            etag.map(ETag::as_str),
            sent_by.is_some(),
            sent_by.map(|ino| ino.0),
            due.as_nanos(),
            is_moved,
            born
        ])?;
    txn.state.journal_changed = true;
    Ok(())
}

/// Journals the walk over everything whose object is below `old_prefix`, because `dir` has been renamed.
pub(super) fn enqueue_move(
    txn: &mut Txn<'_>,
    dir: &Inode,
    old_prefix: &str,
    due: Timestamp,
) -> Result<(), CatalogError> {
    txn.db
        .prepare_cached(
            "INSERT INTO journal (kind, share, ino, key, cursor, not_before, born)
             VALUES (2, ?1, ?2, ?3, ?3, ?4, (SELECT value FROM meta WHERE name = 'seq'))",
        )?
        .execute(params![dir.share.0, dir.ino.0, old_prefix, due.as_nanos()])?;
    txn.state.journal_changed = true;
    Ok(())
}

/// An upload that was taken out of the journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Dropped {
    /// The key at which an attempt may have landed.
    pub(super) sent: Option<String>,
    /// When the oldest change was made that S3 may lack, by the sequence: what comes in the file's place stems from it.
    pub(super) born: Option<u64>,
}

/// Takes the inode's upload out of the journal because the inode is going. What it had taken over is to be
/// deleted again; what it has found stays.
pub(super) fn drop_sync(
    txn: &mut Txn<'_>,
    inode: &Inode,
    due: Timestamp,
) -> Result<Dropped, CatalogError> {
    type Row = (u64, Option<String>, Option<String>, Option<String>, bool, bool, u64);
    let row: Option<Row> = txn
        .db
        .prepare_cached(
            "SELECT op, sent_key, expect_key, expect_etag, expect_seen, moved, born FROM journal
             WHERE kind = 0 AND ino = ?1",
        )?
        .query_row([inode.ino.0], |row| {
            let (op, sent, key, etag) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok((op, sent, key, etag, row.get(4)?, row.get(5)?, row.get(6)?))
        })
        .optional()?;
    let Some((op, sent, expect_key, expect_etag, is_seen, is_moved, born)) = row else {
        return Ok(Dropped::default());
    };
    abandon(txn, OpId(op))?;
    if let Some(key) = expect_key.filter(|_| !is_seen) {
        let may_have_sent = sent.as_deref() == Some(key.as_str());
        let etag = expect_etag.map(ETag::new);
        let taken = Deletion::of(&key, etag.as_ref()).moved(is_moved).born(born);
        let taken = taken.or_left_by(may_have_sent.then_some(inode.ino));
        enqueue_delete(txn, inode.share, taken, due)?;
    }
    delete_op(txn.db, OpId(op))?;
    Ok(Dropped { sent, born: Some(born) })
}

pub(super) fn delete_op(db: &Connection, op: OpId) -> Result<(), CatalogError> {
    db.prepare_cached("DELETE FROM part WHERE op = ?1")?.execute([op.0])?;
    db.prepare_cached("DELETE FROM journal WHERE op = ?1")?.execute([op.0])?;
    Ok(())
}

/// The operation that publishes the inode.
pub(super) fn op_of(db: &Connection, ino: Ino) -> Result<Option<OpId>, CatalogError> {
    Ok(db
        .prepare_cached("SELECT op FROM journal WHERE kind = 0 AND ino = ?1")?
        .query_row([ino.0], |row| Ok(OpId(row.get(0)?)))
        .optional()?)
}

/// When the oldest change was made that S3 may lack of what the operation is about, by the sequence.
pub(super) fn born(db: &Connection, op: OpId) -> Result<u64, CatalogError> {
    Ok(db
        .prepare_cached("SELECT born FROM journal WHERE op = ?1")?
        .query_row([op.0], |row| row.get(0))?)
}

/// The key of the operation's multipart upload, if it has one.
pub(super) fn upload_key(db: &Connection, op: OpId) -> Result<Option<String>, CatalogError> {
    Ok(db
        .prepare_cached("SELECT upload_key FROM journal WHERE op = ?1")?
        .query_row([op.0], |row| row.get(0))
        .optional()?
        .flatten())
}

pub(super) fn ino_of(db: &Connection, op: OpId) -> Result<Option<Ino>, CatalogError> {
    Ok(db
        .prepare_cached("SELECT ino FROM journal WHERE op = ?1 AND kind = 0")?
        .query_row([op.0], |row| Ok(Ino(row.get(0)?)))
        .optional()?)
}

/// The inode of the claimed publish, if that is still of its current bytes and attributes.
pub(super) fn current(
    db: &Connection,
    op: OpId,
    version: u64,
) -> Result<Option<Inode>, CatalogError> {
    let Some(ino) = ino_of(db, op)? else { return Ok(None) };
    let is_current = |inode: &Inode| inode.version == version && !inode.writing;
    let passes = |inode: &Inode| is_current(inode) || essential::is_left_out(Step::CurrentCheck);
    Ok(inode::find(db, ino)?.filter(passes))
}

/// Ends the claim of an operation that is not done: it may be claimed again when it is due, at its latest time, but not
/// before `retry_at`.
pub(super) fn release(
    txn: &mut Txn<'_>,
    op: OpId,
    retry_at: Timestamp,
) -> Result<(), CatalogError> {
    txn.db
        .prepare_cached(
            "UPDATE journal SET not_before = max(min(not_before, latest), ?2) WHERE op = ?1",
        )?
        .execute(params![op.0, retry_at.as_nanos()])?;
    txn.state.claims.release(op);
    txn.state.journal_changed = true;
    Ok(())
}

impl Catalog {
    /// Whether the claimed publish is still of the inode's current bytes and attributes: ask before
    /// CompleteMultipartUpload (I4).
    ///
    /// # Errors
    /// Of the database only.
    pub async fn is_current(&self, op: OpId, version: u64) -> Result<bool, CatalogError> {
        Ok(self.read(move |db| current(db, op, version)).await?.is_some())
    }

    /// A deletion (or an abort) is done. The claim ends.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn finish_delete(&self, op: OpId) -> Result<(), CatalogError> {
        self.write_soon(move |txn| {
            let row: Option<(u8, u32, String)> = txn
                .db
                .prepare_cached("SELECT kind, share, key FROM journal WHERE op = ?1")?
                .query_row([op.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            if let Some((kind, share, key)) = row {
                delete_op(txn.db, op)?;
                if kind == KIND_DELETE {
                    let seq = next_seq(txn.db)?;
                    txn.state.listings.deleted((ShareId(share), key), seq);
                }
            }
            txn.state.claims.release(op);
            txn.state.journal_changed = true;
            Ok(())
        })
        .await
    }

    /// The job failed: it is tried again at `retry_at`, forever, and the failure shows in the
    /// status. The claim ends.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn fail_job(
        &self,
        op: OpId,
        message: &str,
        retry_at: Timestamp,
    ) -> Result<(), CatalogError> {
        let message = message.to_owned();
        self.write_soon(move |txn| {
            let seq = next_seq(txn.db)?;
            txn.db
                .prepare_cached(
                    "UPDATE journal SET attempts = attempts + 1, last_error = ?2, failed_at = ?3,
                         not_before = CASE WHEN not_before = ?5 AND latest = ?5 THEN ?5 ELSE ?4 END
                     WHERE op = ?1",
                )?
                .execute(params![op.0, message, seq, retry_at.as_nanos(), NEVER.as_nanos()])?;
            txn.state.claims.release(op);
            txn.state.journal_changed = true;
            Ok(())
        })
        .await
    }

    /// The job was not begun, or not to its end, through no fault of its own (the inode changed, the
    /// gateway stops): it may be claimed again from `retry_at` on. The claim ends.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn release_job(&self, op: OpId, retry_at: Timestamp) -> Result<(), CatalogError> {
        self.write_soon(move |txn| release(txn, op, retry_at)).await
    }

    /// The object that a publish was to replace, or that is to be moved, is not what the catalog
    /// believes: takes over what HEAD says (`None`: it is gone), so that the next attempt expects
    /// that. Call it only when nothing of anybody else would be lost by it. What was found is not the
    /// file's before it is replaced: a file that leaves the key before that leaves it there.
    ///
    /// # Errors
    /// [`CatalogError::NoEntry`] when the operation is gone.
    pub async fn adopt_object(
        &self,
        op: OpId,
        key: &ObjectKey,
        found: Option<ETag>,
    ) -> Result<(), CatalogError> {
        let key = key.clone();
        self.write(move |txn| {
            let ino = ino_of(txn.db, op)?.ok_or(CatalogError::NoEntry)?;
            let etag = found.as_ref().map(ETag::as_str);
            let inode = inode::get(txn.db, ino)?;
            txn.db
                .prepare_cached(
                    "UPDATE journal SET expect_key = CASE WHEN ?3 IS NULL THEN NULL ELSE ?2 END,
                         expect_etag = ?3, expect_seen = ?3 IS NOT NULL
                     WHERE op = ?1 AND (expect_key = ?2 OR (?3 IS NOT NULL AND expect_key IS NULL))",
                )?
                .execute(params![op.0, key.as_str(), etag])?;
            // Bytes that are only in the object that the file came from must never be taken from
            // another one.
            let is_here = inode.kind != FileKind::File
                || range::of(txn.db, ino)?.covers(&(0..inode.size));
            if inode.object_key.as_ref() == Some(&key) && (found.is_none() || is_here) {
                changed::forget_base(txn.db, ino)?;
                txn.db
                    .prepare_cached(
                        "UPDATE inode SET etag = NULL, object_key = NULL, needs_head = 0,
                             content_version = version
                         WHERE ino = ?1",
                    )?
                    .execute([ino.0])?;
            }
            Ok(())
        })
        .await
    }

    /// Nothing of earlier attempts has landed: their upload in parts is journalled to be aborted.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn settle(&self, op: OpId) -> Result<(), CatalogError> {
        self.write(move |txn| {
            abandon(txn, op)?;
            txn.db
                .prepare_cached(
                    "UPDATE journal SET sent_key = NULL, sent_version = NULL WHERE op = ?1",
                )?
                .execute([op.0])?;
            txn.state.journal_changed = true;
            Ok(())
        })
        .await
    }
}

/// Cuts the inode off its object, whose deletion is journalled; `false` when bytes are missing.
pub(super) fn detach(
    txn: &mut Txn<'_>,
    inode: &Inode,
    now: Timestamp,
) -> Result<bool, CatalogError> {
    if inode.kind == FileKind::File && !range::of(txn.db, inode.ino)?.covers(&(0..inode.size)) {
        return Ok(false);
    }
    if let Some(key) = &inode.object_key {
        let object = Deletion::of(key.as_str(), inode.etag.as_ref()).moved(true);
        let born = match op_of(txn.db, inode.ino)? {
            Some(op) => Some(born(txn.db, op)?),
            None => None,
        };
        enqueue_delete(txn, inode.share, object.born(born), now)?;
    }
    txn.db
        .prepare_cached("UPDATE inode SET object_key = NULL, etag = NULL WHERE ino = ?1")?
        .execute([inode.ino.0])?;
    content::mark_dirty(txn, inode.ino, content::Touches::Content, now)?;
    Ok(true)
}

/// The condition of a publish to `key`.
pub(super) fn expected(inode: &Inode, key: &str, taken_over: Option<(String, String)>) -> Expected {
    if let Some((_, etag)) = taken_over.filter(|(taken, _)| taken == key) {
        return Expected::Tag(ETag::new(etag));
    }
    match (&inode.object_key, &inode.etag) {
        (Some(object), Some(etag)) if object.as_str() == key => Expected::Tag(etag.clone()),
        _ => Expected::Absent,
    }
}
