//! Making room: parts of clean files leave the cache, the coldest first (I5).
//!
//! Which is the coldest, [`super::recency`] knows; what it does not know was not used for long, and leaves
//! before all that. Order per part (D5): its ranges leave the catalog, durably; then its bytes are taken off
//! the disk.
use std::{
    fmt,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    CacheError, CacheStore, RangeSet,
    recency::{PART_BYTES, Part},
};
use crate::{ids::Ino, locks::InodeLocks};

/// Files looked at in one step of the walk through what is not known.
const STEP_FILES: usize = 256;
/// Steps of one call: it goes on where it stopped.
const STEPS_MAX: usize = 64;
/// Parts of one call that cannot leave (dirty, pinned, being written), after which it gives up.
const SPARED_MAX: usize = 2048;

/// Whether pinned files may leave, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// They stay.
    Stay,
    /// They may: a writer needs the room, and there is no other.
    MayLeave,
}

/// What became of a range that should leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// It is dirty or pinned: it stays.
    Stays,
    /// The catalog knows nothing of it any more. It had so many bytes.
    Part(u64),
    /// The same, and the file has no other.
    Last(u64),
}

/// What evicting asks of the catalog.
#[async_trait]
pub trait CleanFiles: fmt::Debug + Send + Sync {
    /// At most `limit` clean files above `after` that have cached bytes, by ino.
    async fn clean_cached(&self, after: Ino, limit: usize) -> Result<Vec<Ino>, CacheError>;
    /// The cached bytes of a file.
    async fn cached(&self, ino: Ino) -> Result<RangeSet, CacheError>;
    /// Forgets, durably, that `range` of the file is cached, if it may leave.
    async fn forget(
        &self,
        ino: Ino,
        range: Range<u64>,
        pinned: Pinned,
    ) -> Result<Forgotten, CacheError>;
}

/// Evicts from one cache.
#[derive(Debug, Default)]
pub struct Evictor {
    walk: Mutex<Walk>,
}

/// The walk through the files of which nothing is known.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    /// The ino after which it goes on.
    after: u64,
    /// What [`super::recency::Recency::dropped`] said when a lap found nothing; until it says more there is
    /// nothing to be found.
    nothing_since: Option<u64>,
    /// Whether this lap has found anything.
    found: bool,
}

/// What evicting works on.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// The files.
    pub cache: &'a CacheStore,
    /// Their locks.
    pub locks: &'a InodeLocks,
    /// What is known of them.
    pub index: &'a dyn CleanFiles,
}

impl Evictor {
    /// Frees at least `bytes`, or all that can be freed; answers how many bytes were.
    ///
    /// # Errors
    /// Of the catalog or the disk; what was evicted before stays evicted.
    pub async fn free(
        &self,
        from: Files<'_>,
        bytes: u64,
        pinned: Pinned,
    ) -> Result<u64, CacheError> {
        let mut freed = self.free_unknown(from, bytes, pinned).await?;
        let mut spared = 0;
        while freed < bytes && spared < SPARED_MAX {
            let Some(part) = from.cache.recency().coldest() else { break };
            match evict(from, part, pinned).await? {
                Forgotten::Stays => {
                    spared += 1;
                    from.cache.recency().spared(part);
                }
                Forgotten::Part(bytes) | Forgotten::Last(bytes) => {
                    freed += bytes;
                    from.cache.recency().left(part);
                }
            }
        }
        Ok(freed)
    }

    /// Frees what was not used for so long that it is not known any more.
    async fn free_unknown(
        &self,
        from: Files<'_>,
        bytes: u64,
        pinned: Pinned,
    ) -> Result<u64, CacheError> {
        let mut freed = 0;
        let dropped = from.cache.recency().dropped();
        for _ in 0..STEPS_MAX {
            let mut walk = *self.lock();
            if freed >= bytes || (walk.nothing_since == Some(dropped) && pinned == Pinned::Stay) {
                break;
            }
            let files = from.index.clean_cached(Ino(walk.after), STEP_FILES).await?;
            let mut done = 0;
            for ino in &files {
                if freed >= bytes {
                    break;
                }
                freed += evict_unknown(from, *ino, pinned).await?;
                walk.after = ino.0;
                done += 1;
            }
            walk.found |= freed > 0;
            let is_lap = done == files.len() && files.len() < STEP_FILES;
            if is_lap {
                let nothing_since = (!walk.found).then_some(dropped);
                walk = Walk { after: 0, nothing_since, found: false };
            }
            *self.lock() = walk;
            if is_lap {
                break;
            }
        }
        Ok(freed)
    }

    fn lock(&self) -> MutexGuard<'_, Walk> {
        self.walk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn evict_unknown(from: Files<'_>, ino: Ino, pinned: Pinned) -> Result<u64, CacheError> {
    let mut freed = 0;
    let mut last = None;
    for range in from.index.cached(ino).await?.iter() {
        for number in numbers(&range) {
            let part = Part { ino, number };
            if last == Some(part) || from.cache.recency().knows(part) {
                continue;
            }
            last = Some(part);
            match evict(from, part, pinned).await? {
                Forgotten::Stays => return Ok(freed),
                Forgotten::Part(bytes) | Forgotten::Last(bytes) => freed += bytes,
            }
        }
    }
    Ok(freed)
}

/// The numbers of the parts that hold any of `range`.
pub(super) fn numbers(range: &Range<u64>) -> Range<u32> {
    if range.is_empty() {
        return 0..0;
    }
    let number = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
    number(range.start / PART_BYTES)..number(range.end.div_ceil(PART_BYTES))
}

async fn evict(from: Files<'_>, part: Part, pinned: Pinned) -> Result<Forgotten, CacheError> {
    let Files { cache, locks, index } = from;
    let ino = part.ino;
    let _held = locks.exclusive(ino).await;
    if cache.overlay().has(ino) {
        return Ok(Forgotten::Stays);
    }
    let start = u64::from(part.number) * PART_BYTES;
    let range = start..start + PART_BYTES;
    let forgotten = index.forget(ino, range.clone(), pinned).await?;
    match forgotten {
        Forgotten::Stays => {}
        Forgotten::Part(_) => cache.punch(ino, range).await?,
        Forgotten::Last(_) => cache.remove(ino).await?,
    }
    Ok(forgotten)
}
