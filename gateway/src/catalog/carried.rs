//! The carried table: bytes of small files, durable with their row before their cache file is.
//!
//! A commit of a small file would wait for three syncs: of the cache file, of the directory that
//! names it, of this database. It carries the bytes here instead, and waits for one, which it shares
//! with everybody else's. [`Catalog::carried_until`], a sync of the whole cache disk, and
//! [`Catalog::forget_carried`] follow in the background; after a crash recovery writes the bytes to
//! the cache files first of all ([`Catalog::carried`]).
use rusqlite::{Connection, OptionalExtension, params};

use super::{Catalog, error::CatalogError};
use crate::ids::{DiskId, Ino};

/// Most bytes of a file that are carried. As many operations as may wait for the writer hold 16 MiB.
pub const CARRIED_BYTES_MAX: u64 = 16 * 1024;
/// Rows removed in one transaction.
const FORGET_ROWS: u64 = 1024;

/// One file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its place in the order of commits.
    pub seq: u64,
    /// Whose bytes.
    pub ino: Ino,
    /// The disk of its cache file.
    pub disk: DiskId,
    /// From the file's beginning; not longer than the file.
    pub bytes: Vec<u8>,
}

/// Puts `bytes` in the place of what is carried of `ino`.
pub(super) fn set(db: &Connection, ino: Ino, bytes: &[u8]) -> Result<(), CatalogError> {
    db.prepare_cached("INSERT OR REPLACE INTO carried (ino, bytes) VALUES (?1, ?2)")?
        .execute(params![ino.0, bytes])?;
    Ok(())
}

/// The cache file of `ino` has what is carried up to `seq`. What came later is newer than that, and
/// stays.
pub(super) fn forget(db: &Connection, ino: Ino, seq: Option<u64>) -> Result<(), CatalogError> {
    if let Some(seq) = seq {
        db.prepare_cached("DELETE FROM carried WHERE ino = ?1 AND seq <= ?2")?
            .execute(params![ino.0, seq])?;
    }
    Ok(())
}

/// What is carried of `ino` means nothing any more.
pub(super) fn clear(db: &Connection, ino: Ino) -> Result<(), CatalogError> {
    db.prepare_cached("DELETE FROM carried WHERE ino = ?1")?.execute([ino.0])?;
    Ok(())
}

/// The file is cut to `size` bytes.
pub(super) fn truncate(db: &Connection, ino: Ino, size: u64) -> Result<(), CatalogError> {
    db.prepare_cached(
        "UPDATE carried SET bytes = substr(bytes, 1, ?2) WHERE ino = ?1 AND length(bytes) > ?2",
    )?
    .execute(params![ino.0, size])?;
    Ok(())
}

impl Catalog {
    /// The number up to which bytes are carried; `None` when none are. All of them have been written
    /// to their cache files: sync those, then call [`Catalog::forget_carried`].
    ///
    /// # Errors
    /// Of the database only.
    pub async fn carried_until(&self) -> Result<Option<u64>, CatalogError> {
        self.read(|db| {
            Ok(db
                .prepare_cached("SELECT max(seq) FROM carried")?
                .query_row([], |row| row.get(0))?)
        })
        .await
    }

    /// The cache files have all that is carried up to `until`, durably.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn forget_carried(&self, until: u64) -> Result<(), CatalogError> {
        loop {
            let forgotten = self
                .write(move |txn| {
                    Ok(txn
                        .db
                        .prepare_cached(
                            "DELETE FROM carried WHERE seq IN
                                 (SELECT seq FROM carried WHERE seq <= ?1 ORDER BY seq LIMIT ?2)",
                        )?
                        .execute(params![until, FORGET_ROWS])?)
                })
                .await?;
            if (forgotten as u64) < FORGET_ROWS {
                return Ok(());
            }
        }
    }

    /// The same of the files on one disk.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn forget_carried_on(&self, disk: DiskId, until: u64) -> Result<(), CatalogError> {
        loop {
            let forgotten = self
                .write(move |txn| {
                    Ok(txn
                        .db
                        .prepare_cached(
                            "DELETE FROM carried WHERE seq IN
                                 (SELECT carried.seq FROM carried JOIN inode USING (ino)
                                  WHERE carried.seq <= ?1 AND inode.disk = ?3
                                  ORDER BY carried.seq LIMIT ?2)",
                        )?
                        .execute(params![until, FORGET_ROWS, disk.0])?)
                })
                .await?;
            if (forgotten as u64) < FORGET_ROWS {
                return Ok(());
            }
        }
    }

    /// Under which number bytes of `ino` are carried now.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn carried_of(&self, ino: Ino) -> Result<Option<u64>, CatalogError> {
        self.read(move |db| {
            Ok(db
                .prepare_cached("SELECT seq FROM carried WHERE ino = ?1")?
                .query_row([ino.0], |row| row.get(0))
                .optional()?)
        })
        .await
    }

    /// The first bytes carried after `seq`, in the order of commits.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn carried(&self, seq: u64) -> Result<Option<Carried>, CatalogError> {
        self.read(move |db| {
            Ok(db
                .prepare_cached(
                    "SELECT seq, ino, bytes, coalesce(
                         (SELECT disk FROM inode WHERE inode.ino = carried.ino), 0)
                     FROM carried WHERE seq > ?1 ORDER BY seq LIMIT 1",
                )?
                .query_row([seq], |row| {
                    Ok(Carried {
                        seq: row.get(0)?,
                        ino: Ino(row.get(1)?),
                        bytes: row.get(2)?,
                        disk: DiskId(row.get(3)?),
                    })
                })
                .optional()?)
        })
        .await
    }
}
