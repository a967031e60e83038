//! Renamed directories: the walk over the objects that are still under the old prefix, and how far
//! their move is.
//!
//! The rename itself is one row's change. What follows is the background's: the walk journals an
//! upload for each object in steps, each upload is a copy on the server, and each copy's end journals
//! the deletion of the old object. The walk's row stays until nothing waits under the old prefix.
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Catalog,
    content::{Touches, mark_dirty},
    error::CatalogError,
    flush, inode,
    journal::delete_op,
    namespace::has_sync,
    types::{Inode, OpId, RenameProgress},
    writer::Txn,
};
use crate::{
    clock::Timestamp,
    failpoint::{self, Point},
    ids::{Ino, ShareId},
};

/// Rows of a directory move looked at in one step.
const STEP_ROWS: usize = 200;
/// How long a walk that has come to its end leaves the copies alone before it looks again, in
/// milliseconds.
const LOOK_MILLIS: u64 = 1000;
/// Renames told of in the status.
const TOLD_MAX: usize = 20;
/// Objects counted for one rename in the status; more are told as this many.
const COUNTED_MAX: u64 = 100_000;

/// A move's row.
struct Walk {
    op: OpId,
    share: ShareId,
    prefix: String,
    /// The last object looked at; `None` when all have been.
    cursor: Option<String>,
    /// When the directory was renamed, by the sequence.
    born: u64,
}

/// Takes one step of the directory move that is due first.
pub(super) fn step(txn: &mut Txn<'_>, now: Timestamp) -> Result<(), CatalogError> {
    let walk = txn
        .db
        .prepare_cached(
            "SELECT op, share, key, cursor, born FROM journal INDEXED BY journal_moves
             WHERE kind = 2 AND not_before <= ?1 ORDER BY not_before, op LIMIT 1",
        )?
        .query_row([now.as_nanos()], |row| {
            Ok(Walk {
                op: OpId(row.get(0)?),
                share: ShareId(row.get(1)?),
                prefix: row.get(2)?,
                cursor: row.get(3)?,
                born: row.get(4)?,
            })
        })
        .optional()?;
    let Some(walk) = walk else { return Ok(()) };
    match &walk.cursor {
        Some(cursor) => walk_on(txn, &walk, cursor, now)?,
        None if is_waiting(txn.db, &walk)? => {
            txn.db
                .prepare_cached("UPDATE journal SET not_before = ?2 WHERE op = ?1")?
                .execute(params![walk.op.0, now.plus_millis(LOOK_MILLIS).as_nanos()])?;
        }
        None => delete_op(txn.db, walk.op)?,
    }
    txn.state.journal_changed = true;
    Ok(())
}

/// Journals the upload of the next inodes whose object is still below the old prefix. The position is
/// an object key, so that a restart goes on where it was.
fn walk_on(
    txn: &mut Txn<'_>,
    walk: &Walk,
    cursor: &str,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let below: Vec<Inode> = txn
        .db
        .prepare_cached(concat!(
            "SELECT ",
            inode::columns!(),
            " FROM inode WHERE share = ?1 AND object_key > ?2 AND object_key < ?3
              ORDER BY object_key LIMIT ?4"
        ))?
        .query_map(
            params![walk.share.0, cursor, inode::after_prefix(&walk.prefix), STEP_ROWS],
            inode::from_row,
        )?
        .collect::<Result<_, _>>()?;
    let (mut found, mut asked) = (0, 0);
    for inode in &below {
        let key = inode::key_of(txn.db, inode)?;
        if inode.object_key.as_ref().is_some_and(|at| at.as_str() == key) {
            continue;
        }
        found += 1;
        asked += u64::from(inode.needs_head || !inode.content_dirty);
        if !has_sync(txn.db, inode.ino)? {
            mark_dirty(txn, inode.ino, Touches::Metadata, now)?;
        }
        let is_awaited = txn.state.awaited.has(walk.born);
        flush::stems_from(txn.db, inode.ino, walk.born, is_awaited, now)?;
    }
    let last = below.last().and_then(|last| last.object_key.as_ref());
    let cursor = last.filter(|_| below.len() == STEP_ROWS).map(|key| key.as_str());
    txn.db
        .prepare_cached(
            "UPDATE journal SET cursor = ?2, total = total + ?3, asked = asked + ?4 WHERE op = ?1",
        )?
        .execute(params![walk.op.0, cursor, found, asked])?;
    failpoint::passed(Point::RenameAfterStep);
    Ok(())
}

/// Whether objects are still to leave the old prefix: those of files whose uploads stem from the rename. Files that
/// have come to live there since are not meant.
fn is_waiting(db: &Connection, walk: &Walk) -> Result<bool, CatalogError> {
    let dirty: Vec<Inode> = db
        .prepare_cached(concat!(
            "SELECT ",
            inode::columns!(),
            " FROM inode WHERE share = ?1 AND object_key > ?2 AND object_key < ?3 AND dirty = 1
                 AND EXISTS (SELECT 1 FROM journal
                     WHERE journal.ino = inode.ino AND kind = 0 AND born <= ?5)
              LIMIT ?4"
        ))?
        .query_map(
            params![
                walk.share.0,
                walk.prefix,
                inode::after_prefix(&walk.prefix),
                STEP_ROWS,
                walk.born
            ],
            inode::from_row,
        )?
        .collect::<Result<_, _>>()?;
    if dirty.len() == STEP_ROWS {
        return Ok(true);
    }
    for inode in &dirty {
        let key = inode::key_of(db, inode)?;
        if inode.object_key.as_ref().is_some_and(|at| at.as_str() != key) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Objects below `prefix` that are to be published anew, elsewhere as a rule; `most` at most.
fn waiting(db: &Connection, share: ShareId, prefix: &str, most: u64) -> Result<u64, CatalogError> {
    Ok(db
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM inode
                 WHERE share = ?1 AND object_key > ?2 AND object_key < ?3 AND dirty = 1 LIMIT ?4)",
        )?
        .query_row(params![share.0, prefix, inode::after_prefix(prefix), most], |row| row.get(0))?)
}

impl Catalog {
    /// Directories whose rename S3 does not have yet, the oldest first, twenty at most.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn renames(&self) -> Result<Vec<RenameProgress>, CatalogError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT share, ino, key, cursor IS NULL, total, asked
                 FROM journal INDEXED BY journal_moves WHERE kind = 2 ORDER BY op LIMIT ?1",
            )?;
            let mut rows = query.query([TOLD_MAX])?;
            let mut renames = Vec::new();
            while let Some(row) = rows.next()? {
                let share = ShareId(row.get(0)?);
                let from: String = row.get(2)?;
                let to = match row.get::<_, Option<u64>>(1)? {
                    Some(ino) => match inode::find(db, Ino(ino))? {
                        Some(dir) => Some(inode::key_of(db, &dir)?),
                        None => None,
                    },
                    None => None,
                };
                renames.push(RenameProgress {
                    share,
                    objects_left: waiting(db, share, &from, COUNTED_MAX)?,
                    from,
                    to,
                    all_found: row.get(3)?,
                    objects: row.get(4)?,
                    asked: row.get(5)?,
                });
            }
            Ok(renames)
        })
        .await
    }
}
