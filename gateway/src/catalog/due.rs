//! Rows of the journal, as claims are made of them.
use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{epoch::gaps, error::CatalogError, types::OpId, writer::Txn};
use crate::{
    clock::Timestamp,
    ids::{Ino, ShareId},
    object::ETag,
};

/// Rows looked at beyond those claimed, so that waiting ones do not hide ready ones.
const LOOK_AHEAD_ROWS: usize = 256;

/// A journal row that is due.
pub(super) struct Due {
    pub(super) op: OpId,
    pub(super) kind: u8,
    pub(super) share: ShareId,
    pub(super) ino: Option<Ino>,
    pub(super) key: Option<String>,
    pub(super) etag: Option<ETag>,
    pub(super) uncertain: bool,
    pub(super) taken_over: Option<(String, String)>,
    /// It was found there, and is not this file's to delete.
    pub(super) is_seen: bool,
    /// Its bytes are another file's, elsewhere.
    pub(super) is_moved: bool,
    pub(super) not_before: Timestamp,
    /// How far the walk over those that it waits for has come: the next file, and the least one so far.
    pub(super) walk: Option<(Ino, Ino)>,
    pub(super) sent_key: Option<String>,
    pub(super) sent_version: Option<u64>,
    /// Versions that another course of events may have given.
    pub(super) gaps: Vec<Range<u64>>,
    pub(super) attempts: u32,
    pub(super) upload_id: Option<String>,
    pub(super) upload_key: Option<String>,
    pub(super) is_incomplete: bool,
    /// When the oldest change was made that S3 may lack of it, by the sequence.
    pub(super) born: u64,
    /// When it is due although its file is written on and on.
    pub(super) latest: Timestamp,
}

/// What [`due_row`] reads.
macro_rules! due_columns {
    () => {
        "op, kind, share, ino, key, etag, uncertain, expect_key, expect_etag, sent_key, attempts,
         upload_id, upload_key, sent_version, incomplete, expect_seen, not_before,
         walk_at, walk_least, moved, gaps, born, latest"
    };
}

fn due_row(row: &Row<'_>) -> rusqlite::Result<Due> {
    let both = |a: Option<String>, b: Option<String>| a.zip(b);
    Ok(Due {
        op: OpId(row.get(0)?),
        kind: row.get(1)?,
        share: ShareId(row.get(2)?),
        ino: row.get::<_, Option<u64>>(3)?.map(Ino),
        key: row.get(4)?,
        etag: row.get::<_, Option<String>>(5)?.map(ETag::new),
        uncertain: row.get(6)?,
        taken_over: both(row.get(7)?, row.get(8)?),
        sent_key: row.get(9)?,
        attempts: row.get(10)?,
        upload_id: row.get(11)?,
        upload_key: row.get(12)?,
        sent_version: row.get(13)?,
        is_incomplete: row.get(14)?,
        gaps: gaps(row.get::<_, Option<String>>(20)?.as_deref()),
        is_seen: row.get(15)?,
        not_before: Timestamp::from_nanos(row.get(16)?),
        walk: row
            .get::<_, Option<u64>>(17)?
            .zip(row.get::<_, Option<u64>>(18)?)
            .map(|(at, least)| (Ino(at), Ino(least))),
        is_moved: row.get(19)?,
        born: row.get(21)?,
        latest: Timestamp::from_nanos(row.get(22)?),
    })
}

/// What is due at `now` and is not out, the longest due first, as far as `limit` claims may take it. Of the index
/// alone: most of it is not reached.
pub(super) fn due_ops(
    txn: &Txn<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<OpId>, CatalogError> {
    // Of a key that a job works on, its deletion and two files may wait: they hide nobody.
    let claims = &txn.state.claims;
    let rows_max = limit + claims.len() + 3 * claims.keys() + LOOK_AHEAD_ROWS;
    let mut query = txn.db.prepare_cached(
        "SELECT op FROM journal INDEXED BY journal_due
         WHERE kind <> 2 AND not_before <= ?1 ORDER BY not_before, op LIMIT ?2",
    )?;
    let ops = query.query_map(params![now.as_nanos(), rows_max], |row| Ok(OpId(row.get(0)?)))?;
    let is_out = |op: &rusqlite::Result<OpId>| op.as_ref().is_ok_and(|op| claims.has(*op));
    Ok(ops.filter(|op| !is_out(op)).collect::<Result<_, _>>()?)
}

/// Other publishes of which an attempt may have landed at `key`, or that have taken over what was there.
pub(super) fn others_at(db: &Connection, due: &Due, key: &str) -> Result<Vec<Due>, CatalogError> {
    let mut query = db.prepare_cached(concat!(
        "SELECT ",
        due_columns!(),
        " FROM journal WHERE kind = 0 AND op <> ?3 AND op IN (
              SELECT op FROM journal WHERE share = ?1 AND sent_key = ?2
              UNION SELECT op FROM journal WHERE share = ?1 AND expect_key = ?2)"
    ))?;
    let rows = query.query_map(params![due.share.0, key, due.op.0], due_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The row of the file's upload.
pub(super) fn sync_of(db: &Connection, ino: Ino) -> Result<Option<Due>, CatalogError> {
    let mut query = db.prepare_cached(concat!(
        "SELECT ",
        due_columns!(),
        " FROM journal WHERE kind = 0 AND ino = ?1"
    ))?;
    Ok(query.query_row([ino.0], due_row).optional()?)
}

/// The row of one operation, due or not.
pub(super) fn of_op(db: &Connection, op: OpId) -> Result<Option<Due>, CatalogError> {
    let find = concat!("SELECT ", due_columns!(), " FROM journal WHERE op = ?1");
    Ok(db.prepare_cached(find)?.query_row([op.0], due_row).optional()?)
}
