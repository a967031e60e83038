//! How much of the cache disk the files take whose content S3 does not have: a figure that is always at hand, as the
//! pace of writers asks for it.
//!
//! It is kept in a table of the writer's connection, by triggers, so that no path can forget it and whatever is
//! rolled back is rolled back here as well; after each commit it is told to whoever asks.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rusqlite::Connection;

use super::{Catalog, changed::LARGE_FILE_BYTES, error::CatalogError};
use crate::ids::Ino;

/// What a file takes of the disk besides its blocks: an inode of the file system (512 on XFS), the rows of the catalog
/// and the dirty log.
pub const FILE_BESIDES_BYTES: u64 = 2560;

const _: () = assert!(LARGE_FILE_BYTES == 16_777_216, "the index and its query say so");

/// Files of any size count with all of it, in whole blocks, and with what each takes besides, which is most of it for
/// very small ones.
fn kept() -> String {
    let lacks =
        |row: &str| format!("{row}dirty = 1 AND {row}content_version > {row}synced_version");
    let room = |row: &str| format!("(({row}size + 4095) / 4096 * 4096 + {FILE_BESIDES_BYTES})");
    let [(any, any_room), (old, old_room), (new, new_room)] =
        ["", "OLD.", "NEW."].map(|row| (lacks(row), room(row)));
    format!(
        "CREATE TEMP TABLE unsent (room INTEGER NOT NULL);
         INSERT INTO temp.unsent SELECT coalesce(sum({any_room}), 0) FROM main.inode WHERE {any};
         CREATE TEMP TRIGGER unsent_comes AFTER INSERT ON main.inode WHEN {new}
         BEGIN UPDATE unsent SET room = room + {new_room}; END;
         CREATE TEMP TRIGGER unsent_changes
         AFTER UPDATE OF dirty, size, content_version, synced_version ON main.inode
         WHEN ({old}) OR ({new})
         BEGIN UPDATE unsent SET room = room - iif({old}, {old_room}, 0) + iif({new}, {new_room}, 0);
         END;
         CREATE TEMP TRIGGER unsent_goes AFTER DELETE ON main.inode WHEN {old}
         BEGIN UPDATE unsent SET room = room - {old_room}; END;"
    )
}

/// The figure as of the last commit.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsent(Arc<AtomicU64>);

impl Unsent {
    /// Counts once, and keeps the figure from here on.
    pub(super) fn keep(connection: &Connection) -> Result<Self, CatalogError> {
        connection.execute_batch(&kept())?;
        let unsent = Self::default();
        unsent.committed(connection)?;
        Ok(unsent)
    }

    /// The connection has committed.
    pub(super) fn committed(&self, connection: &Connection) -> rusqlite::Result<()> {
        let room = connection
            .prepare_cached("SELECT room FROM temp.unsent")?
            .query_row([], |row| row.get(0))?;
        self.0.store(room, Ordering::Relaxed);
        Ok(())
    }
}

impl Catalog {
    /// The `most` largest files of which S3 lacks bytes and that are larger than [`LARGE_FILE_BYTES`], with their
    /// sizes: [`Catalog::unsent_room`] counts all of them, whatever of it is on the disk.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn largest_unsent(&self, most: usize) -> Result<Vec<(Ino, u64)>, CatalogError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT ino, size FROM inode INDEXED BY inode_large
                 WHERE dirty = 1 AND size > 16777216 AND content_version > synced_version
                 ORDER BY size DESC LIMIT ?1",
            )?;
            let rows = query.query_map([most], |row| Ok((Ino(row.get(0)?), row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Bytes of the disk that files take whose content S3 does not have, of all shares, without asking the database.
    pub fn unsent_room(&self) -> u64 {
        self.inner.unsent.0.load(Ordering::Relaxed)
    }
}
