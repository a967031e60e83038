//! What a transaction changes of that which the log tells: noted by triggers, so that no path by which rows
//! change can forget it.
use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, functions::FunctionFlags};

use crate::catalog::error::CatalogError;

/// Ranges are noted of every file: whether they matter is decided at the commit.
const TRIGGERS: &str = "
    CREATE TEMP TRIGGER log_inode_comes AFTER INSERT ON main.inode
    BEGIN SELECT log_given(NEW.ino); END;
    CREATE TEMP TRIGGER log_inode_comes_dirty AFTER INSERT ON main.inode WHEN NEW.dirty = 1
    BEGIN SELECT log_inode(NEW.ino); END;
    CREATE TEMP TRIGGER log_inode_changes AFTER UPDATE OF parent, name, key_part, mode, uid, gid, size, mtime,
        dirty, version, content_version, synced_version, etag, object_key, needs_head, disk
        ON main.inode
    WHEN (OLD.dirty = 1 OR NEW.dirty = 1) AND (NEW.kind <> 1 OR OLD.mtime IS NEW.mtime
        OR OLD.version <> NEW.version OR OLD.dirty <> NEW.dirty)
    BEGIN SELECT log_inode(NEW.ino); END;
    CREATE TEMP TRIGGER log_inode_goes AFTER DELETE ON main.inode WHEN OLD.dirty = 1
    BEGIN SELECT log_inode(OLD.ino); END;
    CREATE TEMP TRIGGER log_directory_goes AFTER DELETE ON main.inode WHEN OLD.kind = 1
    BEGIN SELECT log_no_dir(OLD.ino); END;
    CREATE TEMP TRIGGER log_range_comes AFTER INSERT ON main.range
    BEGIN SELECT log_range(NEW.ino, NEW.start, NEW.end, 1); END;
    CREATE TEMP TRIGGER log_range_changes AFTER UPDATE ON main.range
    BEGIN
        SELECT log_range(OLD.ino, OLD.start, OLD.end, 0);
        SELECT log_range(NEW.ino, NEW.start, NEW.end, 1);
    END;
    CREATE TEMP TRIGGER log_range_goes AFTER DELETE ON main.range
    BEGIN SELECT log_range(OLD.ino, OLD.start, OLD.end, 0); END;
    CREATE TEMP TRIGGER log_op_comes AFTER INSERT ON main.journal WHEN NEW.kind IN (1, 2)
    BEGIN SELECT log_op(NEW.op); END;
    CREATE TEMP TRIGGER log_op_changes AFTER UPDATE OF share, ino, key, etag, uncertain, moved ON main.journal
    WHEN NEW.kind IN (1, 2)
    BEGIN SELECT log_op(NEW.op); END;
    CREATE TEMP TRIGGER log_op_goes AFTER DELETE ON main.journal WHEN OLD.kind IN (1, 2)
    BEGIN SELECT log_op(OLD.op); END;
    CREATE TEMP TRIGGER log_publish_changes AFTER UPDATE OF expect_key, expect_etag, expect_seen, moved,
        incomplete, upload_id, upload_key, upload_version, upload_tag, upload_early ON main.journal
    WHEN NEW.kind = 0 AND (OLD.expect_key IS NOT NEW.expect_key OR OLD.expect_etag IS NOT NEW.expect_etag
        OR OLD.expect_seen <> NEW.expect_seen OR OLD.moved <> NEW.moved
        OR OLD.incomplete <> NEW.incomplete OR OLD.upload_id IS NOT NEW.upload_id
        OR OLD.upload_key IS NOT NEW.upload_key OR OLD.upload_version IS NOT NEW.upload_version
        OR OLD.upload_tag IS NOT NEW.upload_tag OR OLD.upload_early <> NEW.upload_early)
    BEGIN SELECT log_inode(NEW.ino); END;
    CREATE TEMP TRIGGER log_share_comes AFTER INSERT ON main.share BEGIN SELECT log_places(); END;
    CREATE TEMP TRIGGER log_share_changes AFTER UPDATE ON main.share BEGIN SELECT log_places(); END;
    CREATE TEMP TRIGGER log_disk_comes AFTER INSERT ON main.disk BEGIN SELECT log_places(); END;
    CREATE TEMP TRIGGER log_disk_changes AFTER UPDATE ON main.disk BEGIN SELECT log_places(); END;
    CREATE TEMP TRIGGER log_disk_goes AFTER DELETE ON main.disk BEGIN SELECT log_places(); END;
";

/// One range that came or went.
#[derive(Clone, Debug)]
pub(super) struct RangeNote {
    pub(super) ino: u64,
    pub(super) range: Range<u64>,
    pub(super) is_here: bool,
}

/// What the transaction under way has changed.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Inodes that are dirty, or were.
    pub(super) inos: BTreeSet<u64>,
    /// Directories that are gone.
    pub(super) gone_dirs: Vec<u64>,
    /// Ranges, in the order in which they changed.
    pub(super) ranges: Vec<RangeNote>,
    /// Deletions and moves.
    pub(super) ops: BTreeSet<u64>,
    /// Whether shares or disks have changed.
    pub(super) places: bool,
    /// The highest ino that was given out.
    pub(super) last_ino: u64,
    /// Whether an operation was undone: what is said of ranges may be too much.
    pub(super) undone: bool,
}

/// Notes what a connection changes.
#[derive(Clone, Debug, Default)]
pub(in crate::catalog) struct Noted(Arc<Mutex<Notes>>);

impl Noted {
    /// Notes what is changed through `connection` from now on.
    pub(super) fn watch(connection: &Connection) -> Result<Self, CatalogError> {
        let noted = Self::default();
        let flags = FunctionFlags::SQLITE_UTF8;
        let notes = noted.clone();
        connection.create_scalar_function("log_inode", 1, flags, move |call| {
            notes.lock().inos.insert(call.get(0)?);
            Ok(false)
        })?;
        let notes = noted.clone();
        connection.create_scalar_function("log_given", 1, flags, move |call| {
            let mut notes = notes.lock();
            notes.last_ino = notes.last_ino.max(call.get(0)?);
            Ok(false)
        })?;
        let notes = noted.clone();
        connection.create_scalar_function("log_range", 4, flags, move |call| {
            let range = call.get::<u64>(1)?..call.get::<u64>(2)?;
            let note = RangeNote { ino: call.get(0)?, range, is_here: call.get(3)? };
            notes.lock().ranges.push(note);
            Ok(false)
        })?;
        let notes = noted.clone();
        connection.create_scalar_function("log_no_dir", 1, flags, move |call| {
            notes.lock().gone_dirs.push(call.get(0)?);
            Ok(false)
        })?;
        let notes = noted.clone();
        connection.create_scalar_function("log_op", 1, flags, move |call| {
            notes.lock().ops.insert(call.get(0)?);
            Ok(false)
        })?;
        let notes = noted.clone();
        connection.create_scalar_function("log_places", 0, flags, move |_| {
            notes.lock().places = true;
            Ok(false)
        })?;
        connection.execute_batch(TRIGGERS)?;
        Ok(noted)
    }

    /// An operation of the transaction was undone.
    pub(in crate::catalog) fn undone(&self) {
        self.lock().undone = true;
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&Notes) -> T) -> T {
        look(&self.lock())
    }

    pub(super) fn take(&self) -> Notes {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
