//! The disk table, and which disk has which file's bytes.
//!
//! A file's disk is written with whatever makes bytes of it the content, in one transaction. So a file that
//! lies elsewhere, as after a crash in the middle of a move, is known for no file's.
use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Catalog, error::CatalogError, inode, range, types::Inode};
use crate::ids::{DiskId, Ino};

/// Files changed in one transaction.
const STEP_FILES: usize = 500;

/// A cache disk besides the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskRow {
    /// Its number.
    pub id: DiskId,
    /// Its name.
    pub name: String,
    /// Where it was last.
    pub path: String,
    /// Whether it takes no new files.
    pub draining: bool,
}

/// What a disk has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Files of which bytes are here.
    pub files: u64,
    /// Those bytes.
    pub cached_bytes: u64,
    /// Of these files, those whose content S3 does not have.
    pub dirty_files: u64,
    /// Their sizes.
    pub dirty_bytes: u64,
}

fn row(row: &Row<'_>) -> rusqlite::Result<DiskRow> {
    Ok(DiskRow {
        id: DiskId(row.get(0)?),
        name: row.get(1)?,
        path: row.get(2)?,
        draining: row.get(3)?,
    })
}

/// The bytes of `ino` are on `disk`.
pub(super) fn set(db: &Connection, ino: Ino, disk: DiskId) -> Result<(), CatalogError> {
    db.prepare_cached("UPDATE inode SET disk = ?2 WHERE ino = ?1 AND disk <> ?2")?
        .execute(params![ino.0, disk.0])?;
    Ok(())
}

impl Catalog {
    /// The disks besides the primary, in the order of their first use.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn disks(&self) -> Result<Vec<DiskRow>, CatalogError> {
        self.read(|db| {
            let mut query =
                db.prepare_cached("SELECT id, name, path, draining FROM disk ORDER BY id")?;
            let rows = query.query_map([], row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The disk of this name, made if it is new; it is at `path` from here on.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn ensure_disk(&self, name: &str, path: &str) -> Result<DiskRow, CatalogError> {
        let (name, path) = (name.to_owned(), path.to_owned());
        self.write(move |txn| {
            txn.db.execute(
                "INSERT INTO disk (name, path) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET path = ?2",
                [&name, &path],
            )?;
            Ok(txn.db.query_row(
                "SELECT id, name, path, draining FROM disk WHERE name = ?1",
                [&name],
                row,
            )?)
        })
        .await
    }

    /// Changes whether the disk takes new files.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn set_draining(&self, disk: DiskId, draining: bool) -> Result<(), CatalogError> {
        self.write(move |txn| {
            txn.db.execute(
                "UPDATE disk SET draining = ?2 WHERE id = ?1",
                params![disk.0, draining],
            )?;
            Ok(())
        })
        .await
    }

    /// Forgets a disk on which nothing is any more. Its number is not given out again.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn forget_disk(&self, disk: DiskId) -> Result<(), CatalogError> {
        self.write(move |txn| {
            txn.db.execute("DELETE FROM disk WHERE id = ?1", [disk.0])?;
            Ok(())
        })
        .await
    }

    /// The disk that has the bytes of `ino`; says nothing of a file that has none.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn disk_of(&self, ino: Ino) -> Result<DiskId, CatalogError> {
        self.read(move |db| {
            let disk: Option<u32> = db
                .prepare_cached("SELECT disk FROM inode WHERE ino = ?1")?
                .query_row([ino.0], |row| row.get(0))
                .optional()?;
            disk.map(DiskId).ok_or(CatalogError::Gone(ino))
        })
        .await
    }

    /// The bytes of `ino` are on `disk` from here on, durably.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn move_to_disk(&self, ino: Ino, disk: DiskId) -> Result<(), CatalogError> {
        self.write(move |txn| set(txn.db, ino, disk)).await
    }

    /// Of `inos`, those of which some bytes are the content and on `disk`.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn with_bytes_on(
        &self,
        disk: DiskId,
        inos: Vec<Ino>,
    ) -> Result<Vec<Ino>, CatalogError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT 1 FROM inode WHERE ino = ?1 AND disk = ?2
                     AND EXISTS (SELECT 1 FROM range WHERE range.ino = inode.ino)",
            )?;
            let mut found = Vec::new();
            for ino in inos {
                if query.exists(params![ino.0, disk.0])? {
                    found.push(ino);
                }
            }
            Ok(found)
        })
        .await
    }

    /// Forgets the cached bytes of all files on `disk`, which is not the primary, whose content S3 has. Answers
    /// of how many files.
    ///
    /// # Errors
    /// Of the database only; what was forgotten stays so.
    pub async fn forget_clean_on(&self, disk: DiskId) -> Result<u64, CatalogError> {
        let (mut after, mut forgotten) = (Ino(0), 0);
        loop {
            let (last, count) = self
                .write(move |txn| {
                    let found: Vec<(u64, bool)> = txn
                        .db
                        .prepare_cached(
                            "SELECT ino, EXISTS (SELECT 1 FROM range WHERE range.ino = inode.ino)
                                 AND content_version <= synced_version AND writing = 0
                             FROM inode INDEXED BY inode_disk
                             WHERE disk = ?1 AND disk <> 0 AND ino > ?2 ORDER BY ino LIMIT ?3",
                        )?
                        .query_map(params![disk.0, after.0, STEP_FILES], |row| {
                            Ok((row.get(0)?, row.get(1)?))
                        })?
                        .collect::<Result<_, _>>()?;
                    let mut count = 0;
                    for (ino, _) in found.iter().filter(|(_, clean)| *clean) {
                        range::clear(txn.db, Ino(*ino))?;
                        count += 1;
                    }
                    Ok((found.last().map(|(ino, _)| Ino(*ino)), count))
                })
                .await?;
            forgotten += count;
            match last {
                Some(last) => after = last,
                None => return Ok(forgotten),
            }
        }
    }

    /// At most `limit` files above `after`, by ino, of which bytes are on `disk` and whose content S3 does not
    /// have.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn dirty_on(
        &self,
        disk: DiskId,
        after: Ino,
        limit: usize,
    ) -> Result<Vec<Inode>, CatalogError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(concat!(
                "SELECT ",
                inode::columns!(),
                " FROM inode WHERE disk = ?1 AND dirty = 1 AND content_version > synced_version
                      AND ino > ?2 AND EXISTS (SELECT 1 FROM range WHERE range.ino = inode.ino)
                  ORDER BY ino LIMIT ?3"
            ))?;
            let rows = query.query_map(params![disk.0, after.0, limit], inode::from_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// What each disk has. Reads the row of every file that is cached.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn disk_counts(&self) -> Result<BTreeMap<DiskId, DiskCounts>, CatalogError> {
        self.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT inode.disk, count(*), sum(cached.bytes),
                     sum(inode.dirty = 1 AND inode.content_version > inode.synced_version),
                     sum(iif(inode.dirty = 1 AND inode.content_version > inode.synced_version,
                         inode.size, 0))
                 FROM (SELECT ino, sum(end - start) AS bytes FROM range GROUP BY ino) AS cached
                     JOIN inode USING (ino)
                 GROUP BY inode.disk",
            )?;
            let rows = query.query_map([], |row| {
                let counts = DiskCounts {
                    files: row.get(1)?,
                    cached_bytes: row.get(2)?,
                    dirty_files: row.get(3)?,
                    dirty_bytes: row.get(4)?,
                };
                Ok((DiskId(row.get(0)?), counts))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}
