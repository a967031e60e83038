//! Unfinished uploads in parts: the upload of a journal operation, and its parts that hold what the
//! file holds.
//!
//! A part is noted before its bytes are read and again when S3 has taken it. Whatever changes bytes that
//! it covers takes it out in between or later (`changed.rs`): a part that is noted as taken is good,
//! whatever version of the file it was sent of.
use std::{collections::HashSet, ops::Range};

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Catalog, changed,
    error::CatalogError,
    journal,
    types::{MultipartState, OpId, PartRecord},
    writer::Txn,
};
use crate::{
    ids::ShareId,
    object::{ETag, ObjectKey},
};

/// Turns the multipart upload of `op`, if it has one, into an operation that aborts it.
pub(super) fn abandon(txn: &mut Txn<'_>, op: OpId) -> Result<(), CatalogError> {
    txn.db
        .prepare_cached(
            "INSERT INTO journal (kind, share, key, upload_id, not_before)
             SELECT 3, share, upload_key, upload_id, 0 FROM journal
             WHERE op = ?1 AND upload_id IS NOT NULL",
        )?
        .execute([op.0])?;
    forget(txn.db, op)
}

pub(super) fn forget(db: &Connection, op: OpId) -> Result<(), CatalogError> {
    db.prepare_cached("DELETE FROM part WHERE op = ?1")?.execute([op.0])?;
    db.prepare_cached(
        "UPDATE journal SET upload_id = NULL, upload_key = NULL, upload_version = NULL,
             upload_tag = NULL, upload_early = 0
         WHERE op = ?1",
    )?
    .execute([op.0])?;
    Ok(())
}

/// S3's id of the multipart upload of `op`, if it has one.
pub(super) fn id_of(db: &Connection, op: OpId) -> Result<Option<String>, CatalogError> {
    Ok(db
        .prepare_cached("SELECT upload_id FROM journal WHERE op = ?1")?
        .query_row([op.0], |row| row.get(0))
        .optional()?
        .flatten())
}

/// The multipart upload of `op`, if it has one.
pub(super) fn of(db: &Connection, op: OpId) -> Result<Option<MultipartState>, CatalogError> {
    type Begun = (String, u64, String, Option<String>, bool);
    let begun: Option<Begun> = db
        .prepare_cached(
            "SELECT upload_id, upload_version, upload_key, upload_tag, upload_early FROM journal
             WHERE op = ?1 AND upload_id IS NOT NULL",
        )?
        .query_row([op.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let Some((upload_id, version, key, tag, is_early)) = begun else { return Ok(None) };
    let key = ObjectKey::new(key.as_str())
        .ok_or_else(|| CatalogError::Corrupt(format!("upload {} has key {key:?}", op.0)))?;
    let mut query = db.prepare_cached(
        "SELECT number, etag, start, end FROM part WHERE op = ?1 AND etag <> '' ORDER BY number",
    )?;
    let rows = query.query_map([op.0], |row| {
        Ok(PartRecord {
            number: row.get(0)?,
            etag: ETag::new(row.get::<_, String>(1)?),
            range: row.get(2)?..row.get(3)?,
        })
    })?;
    let parts = rows.collect::<Result<_, _>>()?;
    Ok(Some(MultipartState { upload_id, key, version, tag, is_early, parts }))
}

/// Up to where, from the file's beginning, the parts of `op` that S3 has taken follow one another. If the
/// upload was completed, the object has these bytes as the file has them: S3 completes an upload only of
/// the parts that it has by then, so each of these is the one that was named for its place.
pub(super) fn taken_to(db: &Connection, op: OpId) -> Result<u64, CatalogError> {
    let mut query = db.prepare_cached(
        "SELECT start, end FROM part WHERE op = ?1 AND etag <> '' ORDER BY start",
    )?;
    let mut rows = query.query([op.0])?;
    let mut to = 0;
    while let Some(row) = rows.next()? {
        if row.get::<_, u64>(0)? != to {
            break;
        }
        to = row.get(1)?;
    }
    Ok(to)
}

/// After a crash: bytes of files that were being written may have changed without a word, so parts of
/// them are worth nothing.
pub(super) fn drop_parts_of_bursts(db: &Connection) -> Result<(), CatalogError> {
    db.execute(
        "DELETE FROM part WHERE op IN (SELECT op FROM journal WHERE kind = 0 AND ino IN
             (SELECT ino FROM inode WHERE writing <> 0))",
        [],
    )?;
    Ok(())
}

impl Catalog {
    /// Records a multipart upload begun for `op`, before its first part; one recorded earlier is
    /// journalled to be aborted.
    ///
    /// # Errors
    /// [`CatalogError::NoEntry`] when the operation is gone: abort the upload.
    pub async fn record_multipart(
        &self,
        op: OpId,
        begun: &MultipartState,
    ) -> Result<(), CatalogError> {
        let MultipartState { upload_id, key, version, tag, is_early, parts: _ } = begun.clone();
        self.write(move |txn| {
            abandon(txn, op)?;
            let changed = txn
                .db
                .prepare_cached(
                    "UPDATE journal SET upload_id = ?2, upload_key = ?3, upload_version = ?4,
                         upload_tag = ?5, upload_early = ?6
                     WHERE op = ?1 AND kind = 0",
                )?
                .execute(params![op.0, upload_id, key.as_str(), version, tag, is_early])?;
            if changed == 0 {
                return Err(CatalogError::NoEntry);
            }
            // Its attributes are those of the file at the claim, or later.
            let since = txn.state.claims.since(op);
            txn.state.begun.note(&upload_id, since);
            Ok(())
        })
        .await
    }

    /// Notes that a part is to be sent: call it before its bytes are read.
    ///
    /// # Errors
    /// [`CatalogError::NoEntry`] when the operation is gone, or has another upload by now.
    pub async fn begin_part(
        &self,
        op: OpId,
        upload_id: &str,
        number: u32,
        bytes: Range<u64>,
    ) -> Result<(), CatalogError> {
        let upload_id = upload_id.to_owned();
        self.write(move |txn| {
            let added = txn
                .db
                .prepare_cached(
                    "INSERT OR REPLACE INTO part (op, number, etag, start, end)
                     SELECT op, ?3, '', ?4, ?5 FROM journal WHERE op = ?1 AND upload_id = ?2",
                )?
                .execute(params![op.0, upload_id, number, bytes.start, bytes.end])?;
            if added == 0 { Err(CatalogError::NoEntry) } else { Ok(()) }
        })
        .await
    }

    /// Records a part that S3 has taken.
    ///
    /// # Errors
    /// [`CatalogError::NoEntry`] when the operation is gone, has another upload by now, or bytes of the
    /// part have changed since [`Catalog::begin_part`].
    pub async fn record_part(
        &self,
        op: OpId,
        upload_id: &str,
        number: u32,
        etag: &ETag,
        bytes: Range<u64>,
    ) -> Result<(), CatalogError> {
        let (upload_id, etag) = (upload_id.to_owned(), etag.clone());
        self.note_progress();
        self.write(move |txn| {
            let noted = txn
                .db
                .prepare_cached(
                    "UPDATE part SET etag = ?4 WHERE op = ?1 AND number = ?3 AND start = ?5
                         AND end = ?6 AND etag = ''
                         AND EXISTS (SELECT 1 FROM journal WHERE op = ?1 AND upload_id = ?2)",
                )?
                .execute(params![op.0, upload_id, number, etag.as_str(), bytes.start, bytes.end])?;
            if noted == 0 { Err(CatalogError::NoEntry) } else { Ok(()) }
        })
        .await
    }

    /// The upload in parts that `op` has at this moment, with the parts that are good; `None`: it has none.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn upload_of(&self, op: OpId) -> Result<Option<MultipartState>, CatalogError> {
        self.read(move |db| of(db, op)).await
    }

    /// The object that the file came from is not what it was: all of the file is sent.
    ///
    /// # Errors
    /// [`CatalogError::NoEntry`] when the operation is gone.
    pub async fn forget_base(&self, op: OpId) -> Result<(), CatalogError> {
        self.write(move |txn| {
            let ino = journal::ino_of(txn.db, op)?.ok_or(CatalogError::NoEntry)?;
            changed::forget_base(txn.db, ino)
        })
        .await
    }

    /// The ids of the share's uploads that somebody will complete or abort.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn known_uploads(&self, share: ShareId) -> Result<HashSet<String>, CatalogError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT upload_id FROM journal WHERE share = ?1 AND upload_id IS NOT NULL",
            )?;
            let rows = query.query_map([share.0], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Gives up the multipart upload of `op`: its abort is journalled.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn abandon_multipart(&self, op: OpId) -> Result<(), CatalogError> {
        self.write(move |txn| {
            abandon(txn, op)?;
            txn.state.journal_changed = true;
            Ok(())
        })
        .await
    }

    /// The object of `op` was made by the upload `made_by`, or by none: another one that is noted is
    /// journalled to be aborted, and its parts are forgotten.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn abandon_other_multipart(
        &self,
        op: OpId,
        made_by: Option<String>,
    ) -> Result<(), CatalogError> {
        self.write(move |txn| {
            if of(txn.db, op)?.is_some_and(|noted| Some(noted.upload_id) != made_by) {
                abandon(txn, op)?;
                txn.state.journal_changed = true;
            }
            Ok(())
        })
        .await
    }
}
