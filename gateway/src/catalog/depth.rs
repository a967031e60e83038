//! How long the keys below a directory are, so that its rename is refused before a key gets longer than
//! S3 takes, without a look at each of millions of entries.
//!
//! Each directory knows a bound: no key below it has more bytes beyond the directory's own. Entries that
//! come raise it, up the tree as far as it is passed; entries that go leave it. So a rename that the
//! bound allows is right at once, and one that it forbids looks for the key, only where it could be.
use rusqlite::{Connection, OptionalExtension, params};

use super::error::CatalogError;
use crate::{ids::Ino, object::OBJECT_KEY_BYTES_MAX};

/// Entries that a rename looks at for the longest key, in its transaction: a tenth of a second.
const LOOKED_AT_MAX: usize = 100_000;

/// Bytes of a part of a key, the slash of a directory included.
pub(super) fn bytes(part: &str, is_directory: bool) -> usize {
    part.len() + usize::from(is_directory)
}

/// The bound of `dir`.
pub(super) fn below(db: &Connection, dir: Ino) -> Result<usize, CatalogError> {
    Ok(db
        .prepare_cached("SELECT deepest FROM inode WHERE ino = ?1")?
        .query_row([dir.0], |row| row.get(0))?)
}

/// Something has come into `dir` whose key, or the longest key below it, has so many bytes beyond the
/// directory's own.
pub(super) fn came(db: &Connection, dir: Ino, bytes: usize) -> Result<(), CatalogError> {
    let mut raise = db.prepare_cached(
        "UPDATE inode SET deepest = ?2 WHERE ino = ?1 AND deepest < ?2
         RETURNING parent, octet_length(coalesce(key_part, name))",
    )?;
    let (mut at, mut bytes) = (dir, bytes);
    loop {
        let raised = raise
            .query_row(params![at.0, bytes], |row| Ok((Ino(row.get(0)?), row.get::<_, usize>(1)?)));
        match raised.optional()? {
            Some((parent, own)) if parent != at => (at, bytes) = (parent, bytes + own + 1),
            Some(_) | None => return Ok(()),
        }
    }
}

/// Checks that the keys at and below `dir`, whose own key has `new` bytes and had `old`, are as short as
/// S3 wants them. Answers how many entries it had to look at.
///
/// # Errors
/// [`CatalogError::KeyTooLong`], also where [`LOOKED_AT_MAX`] entries do not tell.
pub(super) fn check(
    db: &Connection,
    dir: Ino,
    old: usize,
    new: usize,
) -> Result<usize, CatalogError> {
    let room = OBJECT_KEY_BYTES_MAX.checked_sub(new).ok_or(CatalogError::KeyTooLong)?;
    // Keys that do not grow stay as good as they are.
    if new <= old || below(db, dir)? <= room {
        return Ok(0);
    }
    look(db, dir, room)
}

/// Looks for a key that has more than `room` bytes beyond that of `dir`. What it has learnt without
/// finding one are better bounds.
fn look(db: &Connection, dir: Ino, room: usize) -> Result<usize, CatalogError> {
    let mut children = db.prepare_cached(
        "SELECT ino, octet_length(coalesce(key_part, name)) + (kind = 1), kind = 1, deepest
         FROM inode WHERE parent = ?1 AND ino <> ?1",
    )?;
    let mut looked_at = 0;
    let mut open = vec![(dir, room)];
    let mut seen = Vec::new();
    while let Some((at, room)) = open.pop() {
        let mut rows = children.query([at.0])?;
        while let Some(row) = rows.next()? {
            let bytes: usize = row.get(1)?;
            if looked_at == LOOKED_AT_MAX || bytes > room {
                return Err(CatalogError::KeyTooLong);
            }
            looked_at += 1;
            if row.get(2)? && bytes + row.get::<_, usize>(3)? > room {
                open.push((Ino(row.get(0)?), room - bytes));
            }
        }
        seen.push((at, room));
    }
    let mut lower =
        db.prepare_cached("UPDATE inode SET deepest = ?2 WHERE ino = ?1 AND deepest > ?2")?;
    for (at, room) in seen {
        lower.execute(params![at.0, room])?;
    }
    Ok(looked_at)
}
