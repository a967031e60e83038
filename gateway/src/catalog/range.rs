//! The range table: which bytes of a cache file are the inode's content.
use std::{ops::Range, sync::Arc};

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Catalog, Inode, carried, changed, disk, error::CatalogError, inode, journal, multipart,
    namespace, sums, types::OpId, writer::Txn,
};
use crate::{
    essential::{self, Step},
    ids::{DiskId, FileKind, Ino},
    object::{ETag, ObjectKey},
    ranges::RangeSet,
    sums::{BLOCK_BYTES, BlockSums, bytes_of},
};

/// The ranges of `ino`.
pub(super) fn of(db: &Connection, ino: Ino) -> Result<RangeSet, CatalogError> {
    let mut query = db.prepare_cached("SELECT start, end FROM range WHERE ino = ?1")?;
    let rows = query.query_map([ino.0], |row| Ok(row.get::<_, u64>(0)?..row.get::<_, u64>(1)?))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Of the ranges that begin at `at` or before, the last.
fn last_begun(db: &Connection, ino: Ino, at: u64) -> Result<Option<(u64, u64)>, CatalogError> {
    let mut query = db.prepare_cached(
        "SELECT start, end FROM range WHERE ino = ?1 AND start <= ?2 ORDER BY start DESC LIMIT 1",
    )?;
    Ok(query.query_row(params![ino.0, at], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Adds one range, merged with what it touches.
pub(super) fn insert(db: &Connection, ino: Ino, range: Range<u64>) -> Result<(), CatalogError> {
    if range.is_empty() {
        return Ok(());
    }
    let before = last_begun(db, ino, range.start)?.filter(|(_, end)| *end >= range.start);
    if before.is_some_and(|(_, end)| end >= range.end) {
        return Ok(());
    }
    let start = before.map_or(range.start, |(start, _)| start);
    let last_end: Option<u64> = db
        .prepare_cached("SELECT max(end) FROM range WHERE ino = ?1 AND start BETWEEN ?2 AND ?3")?
        .query_row(params![ino.0, start, range.end], |row| row.get(0))?;
    db.prepare_cached("DELETE FROM range WHERE ino = ?1 AND start BETWEEN ?2 AND ?3")?
        .execute(params![ino.0, start, range.end])?;
    db.prepare_cached("INSERT INTO range (ino, start, end) VALUES (?1, ?2, ?3)")?
        .execute(params![ino.0, start, last_end.unwrap_or(0).max(range.end)])?;
    Ok(())
}

/// Takes one range out.
pub(super) fn remove(db: &Connection, ino: Ino, range: Range<u64>) -> Result<(), CatalogError> {
    if range.is_empty() {
        return Ok(());
    }
    let across: Option<(u64, u64)> = db
        .prepare_cached(
            "SELECT start, end FROM range WHERE ino = ?1 AND start < ?2 ORDER BY start DESC LIMIT 1",
        )?
        .query_row(params![ino.0, range.start], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .filter(|(_, end)| *end > range.start);
    let last_end: Option<u64> = db
        .prepare_cached("SELECT max(end) FROM range WHERE ino = ?1 AND start >= ?2 AND start < ?3")?
        .query_row(params![ino.0, range.start, range.end], |row| row.get(0))?;
    db.prepare_cached("DELETE FROM range WHERE ino = ?1 AND start >= ?2 AND start < ?3")?
        .execute(params![ino.0, range.start, range.end])?;
    if let Some((start, _)) = across {
        db.prepare_cached("UPDATE range SET end = ?3 WHERE ino = ?1 AND start = ?2")?
            .execute(params![ino.0, start, range.start])?;
    }
    let end = across.map_or(0, |(_, end)| end).max(last_end.unwrap_or(0));
    insert(db, ino, range.end..end.max(range.end))
}

/// Whether all of `range` is here.
pub(super) fn covers(db: &Connection, ino: Ino, range: &Range<u64>) -> Result<bool, CatalogError> {
    // Ranges that touch are one: of those that begin before it, only the last can have all of it.
    Ok(last_begun(db, ino, range.start)?.is_some_and(|(_, end)| end >= range.end))
}

/// Takes everything from `size` on out. The block that ends there has other bytes from now on: `end_sum` is theirs, if
/// it is known and they are here.
pub(super) fn truncate(
    db: &Connection,
    ino: Ino,
    size: u64,
    end_sum: Option<u32>,
) -> Result<(), CatalogError> {
    db.prepare_cached("DELETE FROM range WHERE ino = ?1 AND start >= ?2")?
        .execute(params![ino.0, size])?;
    db.prepare_cached("UPDATE range SET end = ?2 WHERE ino = ?1 AND end > ?2")?
        .execute(params![ino.0, size])?;
    let block = size / BLOCK_BYTES;
    let left = bytes_of(block, size);
    let mut known = BlockSums::new();
    if let Some(sum) = end_sum
        && !left.is_empty()
        && covers(db, ino, &left)?
    {
        known.push((block, sum));
    }
    sums::replace(db, ino, std::slice::from_ref(&(size..u64::MAX / 2)), &known)?;
    carried::truncate(db, ino, size)
}

/// Takes everything out; whether there was anything.
pub(super) fn clear(db: &Connection, ino: Ino) -> Result<bool, CatalogError> {
    carried::clear(db, ino)?;
    changed::clear(db, ino)?;
    sums::clear(db, ino)?;
    Ok(db.prepare_cached("DELETE FROM range WHERE ino = ?1")?.execute([ino.0])? > 0)
}

impl Catalog {
    /// Which bytes of the cache file are the content, as far as committed.
    ///
    /// # Errors
    /// Of the database only; an ino that is gone has no ranges.
    pub async fn ranges(&self, ino: Ino) -> Result<RangeSet, CatalogError> {
        self.read(move |db| of(db, ino)).await
    }

    /// The inode's row and its ranges, of one moment.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn inode_and_ranges(
        &self,
        ino: Ino,
    ) -> Result<(Arc<super::Inode>, Arc<RangeSet>), CatalogError> {
        let rows = &self.inner.rows;
        if let Some(known) = rows.get_with_ranges(ino) {
            return Ok(known);
        }
        let since = rows.since();
        let (row, ranges) = self.read(move |db| Ok((inode::get(db, ino)?, of(db, ino)?))).await?;
        let (row, ranges) = (Arc::new(row), Arc::new(ranges));
        rows.keep(since, &row, Some(&ranges));
        Ok((row, ranges))
    }

    /// Marks fetched bytes of the object `etag`, on the disk `at`, present. They must have been `fdatasync`ed (I1). `known`
    /// are the sums of blocks that are here as a whole from now on.
    ///
    /// # Errors
    /// [`CatalogError::Changed`] when `etag` is not the base object's (I6); [`CatalogError::Gone`].
    pub async fn add_clean_ranges(
        &self,
        ino: Ino,
        etag: &ETag,
        at: DiskId,
        ranges: Vec<Range<u64>>,
        known: BlockSums,
    ) -> Result<(), CatalogError> {
        let etag = etag.clone();
        self.write_soon(move |txn| {
            let inode = inode::get(txn.db, ino)?;
            if inode.etag.as_ref() != Some(&etag) {
                return Err(CatalogError::Changed);
            }
            disk::set(txn.db, ino, at)?;
            sums::replace(txn.db, ino, &ranges, &known)?;
            for range in ranges {
                insert(txn.db, ino, range.start..range.end.min(inode.size))?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets the cached bytes of a clean file, before its cache file is removed (D5). Answers
    /// `false`, and changes nothing, for a file that S3 does not have completely (I5).
    ///
    /// # Errors
    /// Of the database only; an ino that is gone has nothing to forget (`true`).
    pub async fn drop_ranges(&self, ino: Ino) -> Result<bool, CatalogError> {
        self.write(move |txn| match inode::find(txn.db, ino)? {
            None => Ok(true),
            Some(inode) if inode.dirty || inode.writing => Ok(false),
            Some(_) => clear(txn.db, ino).map(|_| true),
        })
        .await
    }

    /// Forgets that `ranges` of a file are cached, which are damaged, lost or to be taken off the disk (D5). Answers
    /// `false`, and changes nothing, where S3 does not have its bytes (I5); of a name or attributes it may be behind.
    ///
    /// # Errors
    /// Of the database only; an ino that is gone has nothing to forget (`true`).
    pub async fn drop_some(&self, ino: Ino, ranges: Vec<Range<u64>>) -> Result<bool, CatalogError> {
        self.write(move |txn| match inode::find(txn.db, ino)? {
            None => Ok(true),
            Some(inode) if inode.content_dirty || inode.writing => Ok(false),
            Some(inode)
                if inode.dirty && inode.etag.as_ref().and(inode.object_key.as_ref()).is_none() =>
            {
                Ok(false)
            }
            Some(_) => {
                sums::replace(txn.db, ino, &ranges, &[])?;
                carried::clear(txn.db, ino)?;
                for range in ranges {
                    remove(txn.db, ino, range)?;
                }
                Ok(true)
            }
        })
        .await
    }

    /// Forgets that `range` of a clean file is cached, before it is taken off the disk (D5). Answers how
    /// many bytes that were, and whether the file has others; `None`, and nothing changes, for a file that
    /// S3 does not have completely (I5).
    ///
    /// # Errors
    /// Of the database only; an ino that is gone has no bytes, and no others.
    pub async fn evict(
        &self,
        ino: Ino,
        range: Range<u64>,
    ) -> Result<Option<(u64, bool)>, CatalogError> {
        self.write(move |txn| {
            let Some(inode) = inode::find(txn.db, ino)? else { return Ok(Some((0, false))) };
            if (inode.dirty || inode.writing) && !essential::is_left_out(Step::EvictCheck) {
                return Ok(None);
            }
            let mut present = of(txn.db, ino)?;
            let bytes = present.overlapping(&range).iter().map(|part| part.end - part.start).sum();
            present.remove(range.clone());
            if present.is_empty() {
                clear(txn.db, ino)?;
            } else {
                carried::clear(txn.db, ino)?;
                sums::replace(txn.db, ino, std::slice::from_ref(&range), &[])?;
                remove(txn.db, ino, range)?;
            }
            Ok(Some((bytes, !present.is_empty())))
        })
        .await
    }

    /// At most `limit` clean files above `after` that have cached bytes on the disk `at`, by ino: candidates
    /// for eviction.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn clean_cached(
        &self,
        at: DiskId,
        after: Ino,
        limit: usize,
    ) -> Result<Vec<Ino>, CatalogError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT DISTINCT range.ino FROM range JOIN inode USING (ino)
                 WHERE range.ino > ?1 AND inode.dirty = 0 AND inode.disk = ?3
                 ORDER BY range.ino LIMIT ?2",
            )?;
            let rows =
                query.query_map(params![after.0, limit, at.0], |row| Ok(Ino(row.get(0)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The object behind a clean file is another one now (412 on GET, or a HEAD that differs): takes
    /// its tag, size and time over and forgets the cached bytes. `seen` is the file as it was when its
    /// object was asked about. Nothing happens to a dirty file, or to one that is not so any more
    /// (`false`): it may have its object at another key by now, with the same tag.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn mark_changed(
        &self,
        seen: &Inode,
        is: ChangedObject,
    ) -> Result<bool, CatalogError> {
        let seen = Seen::of(seen);
        self.write(move |txn| {
            let inode = inode::get(txn.db, seen.ino)?;
            if !seen.is(&inode) {
                return Ok(false);
            }
            replace_object(txn, &inode, &is)?;
            Ok(true)
        })
        .await
    }

    /// The object `at` behind a file whose name or attributes are to be published, but not its bytes,
    /// is another one now: takes its tag, size and time over, forgets the cached bytes, and leaves the
    /// publish in the journal. `false`, and nothing happens, when the bytes are changed here as well or
    /// the object is at another key by now. Call with the inode's exclusive lock held.
    ///
    /// # Errors
    /// [`CatalogError::NoEntry`] when the operation is gone.
    pub async fn rebase(
        &self,
        op: OpId,
        at: &ObjectKey,
        is: ChangedObject,
    ) -> Result<bool, CatalogError> {
        let at = at.clone();
        self.write(move |txn| {
            let ino = journal::ino_of(txn.db, op)?.ok_or(CatalogError::NoEntry)?;
            let inode = inode::get(txn.db, ino)?;
            if inode.content_dirty || inode.writing || inode.object_key.as_ref() != Some(&at) {
                return Ok(false);
            }
            clear(txn.db, ino)?;
            // Its parts, if any were copied, are of the object that is gone. So is what an attempt before
            // may have made, or may yet make: it is no earlier state of what the file has from here on.
            multipart::abandon(txn, op)?;
            txn.db
                .prepare_cached("UPDATE journal SET sent_version = NULL WHERE op = ?1")?
                .execute([op.0])?;
            // A marker's bytes are not its directory's, and its time is that of no entry.
            let (size, mtime) = match inode.kind {
                FileKind::Directory => (inode.size, inode.mtime),
                FileKind::File | FileKind::Symlink => (is.size, is.last_modified),
            };
            txn.db
                .prepare_cached(
                    "UPDATE inode SET size = ?2, etag = ?3, mtime = ?4, ctime = ?5,
                         version = next_version(version)
                     WHERE ino = ?1",
                )?
                .execute(params![
                    ino.0,
                    size,
                    is.etag.as_str(),
                    mtime.as_nanos(),
                    is.now.as_nanos()
                ])?;
            Ok(true)
        })
        .await
    }

    /// The object behind a clean entry is gone (404): removes the entry and answers `true`. `seen` is the
    /// entry as it was when its object was asked about, `now` the time of its directory's change. Nothing
    /// happens to a dirty one, or to one that is not so any more.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn mark_gone(
        &self,
        seen: &Inode,
        now: crate::clock::Timestamp,
    ) -> Result<bool, CatalogError> {
        let seen = Seen::of(seen);
        self.write(move |txn| {
            let inode = inode::get(txn.db, seen.ino)?;
            if !seen.is(&inode) || inode.kind == FileKind::Directory {
                return Ok(false);
            }
            clear(txn.db, inode.ino)?;
            txn.db.prepare_cached("DELETE FROM inode WHERE ino = ?1")?.execute([inode.ino.0])?;
            namespace::touch(txn.db, inode.parent, now)?;
            Ok(true)
        })
        .await
    }
}

/// A file as it was when S3 was asked about its object. What is heard of that says nothing of any other: a
/// file that was renamed meanwhile has a copy, which may have the same tag.
struct Seen {
    ino: Ino,
    version: u64,
    etag: Option<ETag>,
    object_key: Option<ObjectKey>,
}

impl Seen {
    fn of(inode: &Inode) -> Self {
        let Inode { ino, version, .. } = *inode;
        Self { ino, version, etag: inode.etag.clone(), object_key: inode.object_key.clone() }
    }

    /// Whether it is clean, has an object, and is as it was.
    fn is(&self, inode: &Inode) -> bool {
        let is_same = !inode.dirty
            && (inode.version, &inode.object_key) == (self.version, &self.object_key)
            || essential::is_left_out(Step::SeenCheck);
        is_same && inode.etag.is_some() && inode.etag == self.etag
    }
}

/// An object that took another's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedObject {
    /// Bytes.
    pub size: u64,
    /// Its tag.
    pub etag: ETag,
    /// When S3 took it.
    pub last_modified: crate::clock::Timestamp,
    /// The time of finding out: the file's ctime.
    pub now: crate::clock::Timestamp,
}

/// Gives a clean inode its new object. The version moves on, so that a reader who has begun with the
/// old content notices.
pub(super) fn replace_object(
    txn: &mut Txn<'_>,
    inode: &super::Inode,
    is: &ChangedObject,
) -> Result<(), CatalogError> {
    clear(txn.db, inode.ino)?;
    txn.db
        .prepare_cached(
            "UPDATE inode SET size = ?2, etag = ?3, mtime = ?4, ctime = ?5, needs_head = 1,
                 version = next_version(version), content_version = next_version(version),
                 synced_version = next_version(version)
             WHERE ino = ?1",
        )?
        .execute(params![
            inode.ino.0,
            is.size,
            is.etag.as_str(),
            is.last_modified.as_nanos(),
            is.now.as_nanos()
        ])?;
    Ok(())
}
