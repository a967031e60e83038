//! How many bytes S3 does not have: a figure that is always at hand, as the pace of writers asks for it.
//!
//! It is kept in a table of the writer's connection, by triggers, so that no path can forget it and whatever is
//! rolled back is rolled back here as well; after each commit it is told to whoever asks.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rusqlite::Connection;

use super::{Catalog, error::CatalogError};

/// The same rows and bytes that [`Catalog::pending`] counts.
const KEPT: &str = "
    CREATE TEMP TABLE unsent (bytes INTEGER NOT NULL);
    INSERT INTO temp.unsent
        SELECT coalesce(sum(size), 0) FROM main.inode
        WHERE dirty = 1 AND content_version > synced_version;
    CREATE TEMP TRIGGER unsent_comes AFTER INSERT ON main.inode
    WHEN NEW.dirty = 1 AND NEW.content_version > NEW.synced_version
    BEGIN UPDATE unsent SET bytes = bytes + NEW.size; END;
    CREATE TEMP TRIGGER unsent_changes
    AFTER UPDATE OF dirty, size, content_version, synced_version ON main.inode
    WHEN (OLD.dirty = 1 AND OLD.content_version > OLD.synced_version)
        OR (NEW.dirty = 1 AND NEW.content_version > NEW.synced_version)
    BEGIN UPDATE unsent SET bytes = bytes
        - iif(OLD.dirty = 1 AND OLD.content_version > OLD.synced_version, OLD.size, 0)
        + iif(NEW.dirty = 1 AND NEW.content_version > NEW.synced_version, NEW.size, 0);
    END;
    CREATE TEMP TRIGGER unsent_goes AFTER DELETE ON main.inode
    WHEN OLD.dirty = 1 AND OLD.content_version > OLD.synced_version
    BEGIN UPDATE unsent SET bytes = bytes - OLD.size; END;
";

/// The figure as of the last commit.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsent(Arc<AtomicU64>);

impl Unsent {
    /// Counts once, and keeps the figure from here on.
    pub(super) fn keep(connection: &Connection) -> Result<Self, CatalogError> {
        connection.execute_batch(KEPT)?;
        let unsent = Self::default();
        unsent.committed(connection)?;
        Ok(unsent)
    }

    /// The connection has committed.
    pub(super) fn committed(&self, connection: &Connection) -> rusqlite::Result<()> {
        let bytes = connection
            .prepare_cached("SELECT bytes FROM temp.unsent")?
            .query_row([], |row| row.get(0))?;
        self.0.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Catalog {
    /// Bytes of files whose content S3 does not have, of all shares: what [`Catalog::pending`] counts, without
    /// asking the database.
    pub fn unsent_bytes(&self) -> u64 {
        self.inner.unsent.0.load(Ordering::Relaxed)
    }
}
