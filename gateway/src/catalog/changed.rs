//! What differs between a large file and its object, so that only that is sent again; and which parts
//! of an unfinished upload still hold what the file holds.
//!
//! Kept from the first change after a publish: the journal row names the object that the ranges are
//! about, and ranges are added in the transactions that change the bytes. Where nothing is known, every
//! byte counts as changed.
use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, params};

use super::{error::CatalogError, types::Inode, writer::Txn};
use crate::{ids::Ino, object::ETag, ranges::RangeSet};

/// Files up to this size go to S3 as a whole: nothing is kept of them here.
pub const LARGE_FILE_BYTES: u64 = 16 << 20;
/// Separate ranges kept of one file; with more of them the whole file counts as changed.
const RANGES_MAX: u64 = 10_000;

/// Begins with a file whose bytes are those of its object. Its journal row is there.
pub(super) fn begin(db: &Connection, inode: &Inode) -> Result<(), CatalogError> {
    if inode.size <= LARGE_FILE_BYTES {
        return Ok(());
    }
    clear(db, inode.ino)?;
    db.prepare_cached("UPDATE journal SET changed_of = ?2 WHERE kind = 0 AND ino = ?1")?
        .execute(params![inode.ino.0, inode.etag.as_ref().map(ETag::as_str)])?;
    Ok(())
}

/// Notes that bytes of a file that is, or was, `size` bytes long have changed.
pub(super) fn note(
    txn: &mut Txn<'_>,
    ino: Ino,
    size: u64,
    ranges: impl IntoIterator<Item = Range<u64>>,
) -> Result<(), CatalogError> {
    let db = txn.db;
    // A file of just so many bytes may have been longer, and its first part is as long as it is.
    if size < LARGE_FILE_BYTES {
        return Ok(());
    }
    let row: Option<(u64, bool)> = db
        .prepare_cached(
            "SELECT op, changed_of IS NOT NULL FROM journal WHERE kind = 0 AND ino = ?1",
        )?
        .query_row([ino.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((op, is_followed)) = row else { return Ok(()) };
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        // To the end of what a column holds: a truncated file's parts beyond it are worth nothing either.
        let end = range.end.min(i64::MAX.unsigned_abs());
        txn.state.claims.note_change(ino, &(range.start..end));
        db.prepare_cached("DELETE FROM part WHERE op = ?1 AND start < ?3 AND end > ?2")?
            .execute(params![op, range.start, end])?;
        if is_followed {
            insert(db, ino, range.start..end)?;
        }
    }
    if is_followed && kept(db, ino)? > RANGES_MAX {
        forget_base(db, ino)?;
    }
    Ok(())
}

fn kept(db: &Connection, ino: Ino) -> Result<u64, CatalogError> {
    Ok(db
        .prepare_cached("SELECT count(*) FROM changed WHERE ino = ?1")?
        .query_row([ino.0], |row| row.get(0))?)
}

fn insert(db: &Connection, ino: Ino, range: Range<u64>) -> Result<(), CatalogError> {
    let touching = "ino = ?1 AND start <= ?3 AND end >= ?2";
    let (start, end): (Option<u64>, Option<u64>) = db
        .prepare_cached(&format!("SELECT min(start), max(end) FROM changed WHERE {touching}"))?
        .query_row(params![ino.0, range.start, range.end], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let merged = start.map_or(range.start, |start| start.min(range.start))
        ..end.map_or(range.end, |end| end.max(range.end));
    db.prepare_cached(&format!("DELETE FROM changed WHERE {touching}"))?.execute(params![
        ino.0,
        range.start,
        range.end
    ])?;
    db.prepare_cached("INSERT INTO changed (ino, start, end) VALUES (?1, ?2, ?3)")?
        .execute(params![ino.0, merged.start, merged.end])?;
    Ok(())
}

/// Every byte of files that may have been in the middle of a write counts as changed: what their cache
/// files hold was not said.
pub(super) fn forget_bases_of_unsure(db: &Connection) -> Result<(), CatalogError> {
    let unsure = "(SELECT ino FROM inode WHERE unsure = 1)";
    db.execute(&format!("DELETE FROM changed WHERE ino IN {unsure}"), [])?;
    db.execute(
        &format!(
            "UPDATE journal SET changed_of = NULL
             WHERE kind = 0 AND changed_of IS NOT NULL AND ino IN {unsure}"
        ),
        [],
    )?;
    Ok(())
}

/// Every byte counts as changed from here on.
pub(super) fn forget_base(db: &Connection, ino: Ino) -> Result<(), CatalogError> {
    clear(db, ino)?;
    db.prepare_cached("UPDATE journal SET changed_of = NULL WHERE kind = 0 AND ino = ?1")?
        .execute([ino.0])?;
    Ok(())
}

/// The object is of a later state of the file: what has changed since is among what had changed. Where
/// nothing was known of that, it is all that is behind `same_to`.
pub(super) fn is_of(
    db: &Connection,
    ino: Ino,
    etag: &ETag,
    same_to: u64,
) -> Result<(), CatalogError> {
    let followed = db
        .prepare_cached(
            "UPDATE journal SET changed_of = ?2
             WHERE kind = 0 AND ino = ?1 AND changed_of IS NOT NULL",
        )?
        .execute(params![ino.0, etag.as_str()])?;
    if followed == 0 && same_to > 0 {
        clear(db, ino)?;
        insert(db, ino, same_to..i64::MAX.unsigned_abs())?;
        db.prepare_cached("UPDATE journal SET changed_of = ?2 WHERE kind = 0 AND ino = ?1")?
            .execute(params![ino.0, etag.as_str()])?;
    }
    Ok(())
}

/// The object has all bytes of the file but for those that have changed since its publish was claimed.
pub(super) fn restart(
    db: &Connection,
    ino: Ino,
    etag: &ETag,
    since: &RangeSet,
) -> Result<(), CatalogError> {
    clear(db, ino)?;
    for range in since.iter() {
        insert(db, ino, range)?;
    }
    db.prepare_cached("UPDATE journal SET changed_of = ?2 WHERE kind = 0 AND ino = ?1")?
        .execute(params![ino.0, etag.as_str()])?;
    Ok(())
}

/// What has changed against the inode's object; `None`: nothing is known, all of it.
pub(super) fn of(db: &Connection, inode: &Inode) -> Result<Option<RangeSet>, CatalogError> {
    let Some(etag) = &inode.etag else { return Ok(None) };
    let is_followed = db
        .prepare_cached("SELECT 1 FROM journal WHERE kind = 0 AND ino = ?1 AND changed_of = ?2")?
        .exists(params![inode.ino.0, etag.as_str()])?;
    if !is_followed {
        return Ok(None);
    }
    let mut query = db.prepare_cached("SELECT start, end FROM changed WHERE ino = ?1")?;
    let rows =
        query.query_map([inode.ino.0], |row| Ok(row.get::<_, u64>(0)?..row.get::<_, u64>(1)?))?;
    Ok(Some(rows.collect::<Result<_, _>>()?))
}

/// Nothing is kept of the file.
pub(super) fn clear(db: &Connection, ino: Ino) -> Result<(), CatalogError> {
    db.prepare_cached("DELETE FROM changed WHERE ino = ?1")?.execute([ino.0])?;
    Ok(())
}
