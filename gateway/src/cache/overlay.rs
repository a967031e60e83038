//! What has been written to cache files and not been committed: ranges, size and time, in memory.
//!
//! The file system drives it; a fetcher asks [`Overlay::ranges`] so that bytes from S3 never replace
//! bytes written here. Bounded: the file system commits at once when [`Overlay::is_full`].
use std::{
    collections::HashMap,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{clock::Timestamp, ids::Ino, ranges::RangeSet};

/// Files with uncommitted writes.
const FILES_MAX: usize = 4096;
/// Separate ranges of one file.
const RANGES_MAX: usize = 4096;

/// One file's uncommitted writes.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Bytes written since the last commit.
    pub ranges: RangeSet,
    /// Bytes whose sync failed: lost unless written again (D7).
    pub fenced: RangeSet,
    /// Size as clients see it.
    pub size: u64,
    /// Modification time as clients see it.
    pub mtime: Timestamp,
    /// Whether a write took setuid and setgid away.
    pub clear_set_id: bool,
    /// The burst that the catalog knows; `None` when the next write must begin one.
    pub burst: Option<u64>,
    /// Writes that have begun and not ended.
    pub in_flight: u32,
    /// Counts writes.
    pub writes: u64,
}

/// What a commit is to make durable, as taken at its beginning.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as in Pending")]
pub struct Taken {
    pub ranges: RangeSet,
    pub size: u64,
    pub mtime: Timestamp,
    pub clear_set_id: bool,
    writes: u64,
}

/// All files' uncommitted writes.
#[derive(Debug, Default)]
pub struct Overlay {
    files: Mutex<HashMap<Ino, Pending>>,
}

impl Overlay {
    /// What is pending for `ino`.
    pub fn get(&self, ino: Ino) -> Option<Pending> {
        self.lock().get(&ino).cloned()
    }

    /// Size and modification time, where a write has changed them, and whether setuid and setgid
    /// are gone.
    pub fn attr(&self, ino: Ino) -> Option<(u64, Timestamp, bool)> {
        self.lock().get(&ino).map(|pending| (pending.size, pending.mtime, pending.clear_set_id))
    }

    /// Bytes written and not committed: newer than anything that S3 has. Complete only while the
    /// inode is locked exclusively, so that no write is under way.
    pub fn ranges(&self, ino: Ino) -> RangeSet {
        self.lock().get(&ino).map(|pending| pending.ranges.clone()).unwrap_or_default()
    }

    /// Files with uncommitted writes.
    pub fn inos(&self) -> Vec<Ino> {
        self.lock().keys().copied().collect()
    }

    /// Whether writes must be committed at once because too many files have uncommitted ones, or
    /// this one is too scattered.
    pub fn is_full(&self, ino: Ino) -> bool {
        let files = self.lock();
        files.len() > FILES_MAX
            || files.get(&ino).is_some_and(|pending| pending.ranges.len() > RANGES_MAX)
    }

    /// Joins the open burst, if there is one: the write may begin.
    pub fn join(&self, ino: Ino) -> bool {
        match self.lock().get_mut(&ino) {
            Some(pending) if pending.burst.is_some() => {
                pending.in_flight += 1;
                true
            }
            _ => false,
        }
    }

    /// Notes a burst that the catalog has begun; the write may begin.
    pub fn begin(&self, ino: Ino, burst: u64, size: u64, mtime: Timestamp) {
        let mut files = self.lock();
        let pending = files.entry(ino).or_insert_with(|| Pending {
            ranges: RangeSet::new(),
            fenced: RangeSet::new(),
            size,
            mtime,
            clear_set_id: false,
            burst: None,
            in_flight: 0,
            writes: 0,
        });
        pending.burst = Some(burst);
        pending.in_flight += 1;
    }

    /// Notes the end of a write. A hole that it leaves behind the old end counts as written.
    pub fn wrote(&self, ino: Ino, range: &Range<u64>, mtime: Timestamp, clear_set_id: bool) {
        if let Some(pending) = self.lock().get_mut(&ino) {
            pending.in_flight = pending.in_flight.saturating_sub(1);
            pending.writes += 1;
            let grown = pending.size..range.end;
            pending.ranges.insert(grown);
            pending.ranges.insert(range.clone());
            pending.size = pending.size.max(range.end);
            pending.mtime = pending.mtime.max(mtime);
            pending.clear_set_id |= clear_set_id;
            pending.fenced.remove(range.clone());
        }
    }

    /// Notes that a write failed: the bytes may be anything until they are written again.
    pub fn write_failed(&self, ino: Ino, range: &Range<u64>) {
        if let Some(pending) = self.lock().get_mut(&ino) {
            pending.in_flight = pending.in_flight.saturating_sub(1);
            pending.writes += 1;
            pending.fenced.insert(range.clone());
        }
    }

    /// What a commit that begins now is to make durable; `None` when nothing is pending.
    pub fn take(&self, ino: Ino) -> Option<Taken> {
        self.lock().get(&ino).map(|pending| Taken {
            ranges: pending.ranges.clone(),
            size: pending.size,
            mtime: pending.mtime,
            clear_set_id: pending.clear_set_id,
            writes: pending.writes,
        })
    }

    /// Whether bytes of `ino` are fenced: commits must fail until they are written again (D7).
    pub fn is_fenced(&self, ino: Ino) -> bool {
        self.lock().get(&ino).is_some_and(|pending| !pending.fenced.is_empty())
    }

    /// The sync of `taken` failed: its bytes are lost unless written again.
    pub fn fence(&self, ino: Ino, taken: &Taken) {
        if let Some(pending) = self.lock().get_mut(&ino) {
            pending.fenced.extend(&taken.ranges);
        }
    }

    /// Ends the burst if nothing was written since `taken`, and answers which: the next write begins
    /// another.
    pub fn close(&self, ino: Ino, taken: &Taken) -> Option<u64> {
        match self.lock().get_mut(&ino) {
            Some(pending) if pending.writes == taken.writes && pending.in_flight == 0 => {
                pending.burst.take()
            }
            _ => None,
        }
    }

    /// The commit that was to close `burst` failed: it is still open.
    pub fn reopen(&self, ino: Ino, burst: u64) {
        if let Some(pending) = self.lock().get_mut(&ino) {
            pending.burst.get_or_insert(burst);
        }
    }

    /// `taken` is committed: forgets the file if nothing was written since.
    pub fn committed(&self, ino: Ino, taken: &Taken) {
        let mut files = self.lock();
        if files.get(&ino).is_some_and(|pending| {
            pending.writes == taken.writes && pending.in_flight == 0 && pending.burst.is_none()
        }) {
            files.remove(&ino);
        }
    }

    /// Forgets the file: it was removed.
    pub fn forget(&self, ino: Ino) {
        self.lock().remove(&ino);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, Pending>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
