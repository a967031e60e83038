//! Making room: parts of clean files leave the cache, the coldest first (I5).
//!
//! Which is the coldest, [`super::recency`] knows; what it does not know was not used for long, and leaves
//! before all that. Order per part (D5): its ranges leave the catalog, durably; then its bytes are taken off
//! the disk.
//!
//! One evicts at a time. Whoever comes meanwhile waits, and asks the disk then: what that one has freed is for
//! all of them, and what it has found not to be free to leave none of them looks at again.
use std::{fmt, future::poll_fn, io, ops::Range, task::Poll};

use async_trait::async_trait;
use tokio::sync::Mutex;

pub use super::recency::Stays;
use super::{
    CacheDisk, CacheError, CacheStore, DISKS_MAX, RangeSet, Space,
    recency::{Looked, PART_BYTES, Part},
};
use crate::{
    failpoint::{self, Point},
    ids::{DiskId, Ino},
    locks::{ExclusiveGuard, InodeLocks},
};

/// Files looked at in one step of the walk through what is not known.
const STEP_FILES: usize = 256;
/// Steps of one call: it goes on where it stopped.
const STEPS_MAX: usize = 64;
/// Parts that leave side by side: small files share a commit of the catalog.
const PARTS_AT_ONCE: usize = 16;

/// How much room is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// So many bytes, whatever the disk has.
    Bytes(u64),
    /// As much as a write of so many bytes lacks, and some for those that come after it.
    Write(u64),
    /// As much as what is kept free for writes to come lacks, so many bytes at most.
    Spare(u64),
}

impl Need {
    /// How many bytes that is by now.
    fn bytes(self, space: &Space) -> Result<u64, CacheError> {
        let asked = match self {
            Self::Bytes(bytes) => return Ok(bytes),
            Self::Write(len) => space.short_of_write(len),
            Self::Spare(most) => space.short_of_spare().map(|short| short.min(most)),
        };
        asked.map_err(|source| CacheError::Directory { path: space.root().to_owned(), source })
    }
}

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
    /// It cannot.
    Stays(Stays),
    /// The catalog knows nothing of it any more. It had so many bytes.
    Part(u64),
    /// The same, and the file has no other.
    Last(u64),
}

/// What evicting asks of the catalog.
#[async_trait]
pub trait CleanFiles: fmt::Debug + Send + Sync {
    /// At most `limit` clean files above `after` that have cached bytes on `disk`, by ino.
    async fn clean_cached(
        &self,
        disk: DiskId,
        after: Ino,
        limit: usize,
    ) -> Result<Vec<Ino>, CacheError>;
    /// The cached bytes of a file.
    async fn cached(&self, ino: Ino) -> Result<RangeSet, CacheError>;
    /// Why no byte of the file can leave, as far as that is known without its lock; `None`: it may be free to.
    async fn stays(&self, ino: Ino, pinned: Pinned) -> Result<Option<Stays>, CacheError>;
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
    /// Of each disk, by its number in the row of disks: held by the one who evicts from it.
    turns: [Mutex<Walks>; DISKS_MAX],
}

/// The walks through the files of which nothing is known.
#[derive(Debug, Default)]
struct Walks {
    /// While pinned files stay.
    unpinned: Walk,
    /// While they may leave.
    all: Walk,
}

#[derive(Debug, Default)]
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

/// What evicting from one disk works on.
#[derive(Clone, Copy, Debug)]
struct FilesOn<'a> {
    files: Files<'a>,
    disk: &'a CacheDisk,
}

impl Evictor {
    /// Frees as much as is needed on each disk, one after the other; answers how many bytes were. So many bytes,
    /// whatever the disks have, are of all of them together. Call without locks. Cancel safe.
    ///
    /// # Errors
    /// Of the catalog or a disk; what was evicted before stays evicted.
    pub async fn free(
        &self,
        from: Files<'_>,
        need: Need,
        pinned: Pinned,
    ) -> Result<u64, CacheError> {
        let mut freed = 0;
        for disk in from.cache.disks() {
            let need = match need {
                Need::Bytes(bytes) => Need::Bytes(bytes.saturating_sub(freed)),
                Need::Write(_) | Need::Spare(_) => need,
            };
            freed += self.free_on(disk.id(), from, need, pinned).await?;
        }
        Ok(freed)
    }

    /// Frees as much as is needed on this disk when its turn comes, or all that can be freed; answers how many
    /// bytes were. Call without locks. Cancel safe.
    ///
    /// # Errors
    /// Of the catalog or the disk; what was evicted before stays evicted.
    pub async fn free_on(
        &self,
        disk: DiskId,
        from: Files<'_>,
        need: Need,
        pinned: Pinned,
    ) -> Result<u64, CacheError> {
        let all = from.cache.disks().iter().zip(&self.turns);
        let Some((disk, turn)) = all.into_iter().find(|(one, _)| one.id() == disk) else {
            return Ok(0);
        };
        let mut walks = turn.lock().await;
        let from = FilesOn { files: from, disk };
        let bytes = need.bytes(disk.space())?;
        if bytes == 0 {
            return Ok(0);
        }
        let mut freed = free(from, bytes, Pinned::Stay, &mut walks.unpinned).await?;
        if freed < bytes && pinned == Pinned::MayLeave {
            freed += free(from, bytes - freed, Pinned::MayLeave, &mut walks.all).await?;
        }
        Ok(freed)
    }
}

async fn free(
    from: FilesOn<'_>,
    bytes: u64,
    pinned: Pinned,
    walk: &mut Walk,
) -> Result<u64, CacheError> {
    let mut freed = free_unknown(from, bytes, pinned, walk).await?;
    // Each part is looked at once: then it has left, or is set aside.
    while freed < bytes {
        let batch = Look::at_coldest(from.disk, bytes - freed, pinned);
        if batch.is_empty() {
            break;
        }
        let mut evicting = Vec::with_capacity(batch.len());
        for look in &batch {
            evicting.push(evict(from.files, look.looked.part, pinned));
        }
        let evicted = all(evicting).await;
        for (look, done) in batch.into_iter().zip(evicted) {
            match done? {
                Forgotten::Stays(why) => look.stays(why),
                Forgotten::Part(bytes) | Forgotten::Last(bytes) => {
                    freed += bytes;
                    look.left();
                }
            }
        }
    }
    Ok(freed)
}

/// What all of them answer, in their order, when the last has.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        let mut is_done = true;
        for (future, answer) in running.iter_mut().filter(|(_, answer)| answer.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(answered) => *answer = Some(answered),
                Poll::Pending => is_done = false,
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, answer)| answer).collect()
}

/// Frees what was not used for so long that it is not known any more.
async fn free_unknown(
    from: FilesOn<'_>,
    bytes: u64,
    pinned: Pinned,
    walk: &mut Walk,
) -> Result<u64, CacheError> {
    let mut freed = 0;
    let dropped = from.disk.recency().dropped();
    for _ in 0..STEPS_MAX {
        if freed >= bytes || walk.nothing_since == Some(dropped) {
            break;
        }
        let after = Ino(walk.after);
        let files = from.files.index.clean_cached(from.disk.id(), after, STEP_FILES).await?;
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
        if done == files.len() && files.len() < STEP_FILES {
            let nothing_since = (!walk.found).then_some(dropped);
            *walk = Walk { after: 0, nothing_since, found: false };
            break;
        }
    }
    Ok(freed)
}

/// A part that is being looked at. One whose look comes to no end is as it was.
struct Look<'a> {
    disk: &'a CacheDisk,
    looked: Looked,
    ended: bool,
}

impl<'a> Look<'a> {
    /// The coldest parts that together have `bytes`, or as many as may leave at once.
    fn at_coldest(disk: &'a CacheDisk, bytes: u64, pinned: Pinned) -> Vec<Self> {
        let mut recency = disk.recency();
        let (mut batch, mut has) = (Vec::new(), 0);
        while batch.len() < PARTS_AT_ONCE && has < bytes {
            let looked = match pinned {
                Pinned::Stay => recency.look(),
                Pinned::MayLeave => recency.look().or_else(|| recency.look_at_pinned()),
            };
            let Some(looked) = looked else { break };
            has += u64::from(looked.bytes);
            batch.push(Self { disk, looked, ended: false });
        }
        batch
    }

    fn stays(mut self, why: Stays) {
        self.disk.recency().stays(self.looked, Some(why));
        self.ended = true;
    }

    fn left(mut self) {
        self.disk.recency().left(self.looked.part);
        self.ended = true;
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.disk.recency().stays(self.looked, None);
        }
    }
}

async fn evict_unknown(from: FilesOn<'_>, ino: Ino, pinned: Pinned) -> Result<u64, CacheError> {
    let mut freed = 0;
    let mut last = None;
    for range in from.files.index.cached(ino).await?.iter() {
        for number in numbers(&range) {
            let part = Part { ino, number };
            if last == Some(part) || from.disk.recency().knows(part) {
                continue;
            }
            last = Some(part);
            match evict(from.files, part, pinned).await? {
                Forgotten::Stays(_) => return Ok(freed),
                Forgotten::Part(bytes) | Forgotten::Last(bytes) => freed += bytes,
            }
        }
    }
    Ok(freed)
}

/// The numbers of the parts that hold any of `range`.
fn numbers(range: &Range<u64>) -> Range<u32> {
    if range.is_empty() {
        return 0..0;
    }
    let number = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
    number(range.start / PART_BYTES)..number(range.end.div_ceil(PART_BYTES))
}

/// The parts that hold any of `range`, and how many bytes each has at least.
pub(super) fn parts(ino: Ino, range: &Range<u64>) -> impl Iterator<Item = (Part, u32)> + use<> {
    let end = range.end;
    numbers(range).map(move |number| {
        let bytes = end.saturating_sub(u64::from(number) * PART_BYTES).min(PART_BYTES);
        (Part { ino, number }, u32::try_from(bytes).unwrap_or(u32::MAX))
    })
}

async fn evict(from: Files<'_>, part: Part, pinned: Pinned) -> Result<Forgotten, CacheError> {
    let Files { cache, locks, index } = from;
    let ino = part.ino;
    // Most of what stays is told without waiting for whoever has the file.
    if let Some(why) = index.stays(ino, pinned).await? {
        return Ok(Forgotten::Stays(why));
    }
    let held = locks.exclusive(ino).await;
    if cache.overlay().has(ino) {
        // Its commit makes it dirty, and its upload says so here.
        return Ok(Forgotten::Stays(Stays::Dirty));
    }
    let start = u64::from(part.number) * PART_BYTES;
    let range = start..start + PART_BYTES;
    let forgotten = index.forget(ino, range.clone(), pinned).await?;
    match forgotten {
        Forgotten::Stays(_) => {}
        Forgotten::Part(_) => {
            failpoint::passed(Point::EvictAfterCatalog);
            let cache = cache.clone();
            whatever_becomes_of_the_caller(ino, held, async move { cache.punch(ino, range).await })
                .await?;
            failpoint::passed(Point::EvictAfterPunch);
        }
        Forgotten::Last(_) => {
            failpoint::passed(Point::EvictAfterCatalog);
            let cache = cache.clone();
            whatever_becomes_of_the_caller(ino, held, async move { cache.take_off(ino).await })
                .await?;
            failpoint::passed(Point::EvictAfterRemove);
        }
    }
    Ok(forgotten)
}

/// Takes bytes off the disk with the file's lock held until the disk has done it, also where nobody waits for that any
/// more: it would take those of whoever writes the file next.
async fn whatever_becomes_of_the_caller(
    ino: Ino,
    held: ExclusiveGuard,
    takes: impl Future<Output = Result<(), CacheError>> + Send + 'static,
) -> Result<(), CacheError> {
    let taken = tokio::spawn(async move {
        let _held = held;
        takes.await
    });
    taken.await.unwrap_or_else(|died| {
        Err(CacheError::Disk { ino, action: "free", source: io::Error::other(died) })
    })
}

#[cfg(test)]
mod tests;
