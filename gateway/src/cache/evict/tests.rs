//! Who looks at what, and how often, while there is nothing to be freed; over an index that counts.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::*;
use crate::cache::sim_disk::SimDisk;

/// Files with what of them is cached, and what is asked about them.
#[derive(Debug, Default)]
struct Index {
    cached: Mutex<BTreeMap<Ino, RangeSet>>,
    dirty: Mutex<BTreeSet<Ino>>,
    pinned: Mutex<BTreeSet<Ino>>,
    looks: AtomicU64,
    /// Looks under way, and the most of them.
    under_way: AtomicU64,
    at_once: AtomicU64,
    steps: AtomicU64,
}

impl Index {
    fn why(&self, ino: Ino, pinned: Pinned) -> Option<Stays> {
        if self.dirty.lock().unwrap().contains(&ino) {
            return Some(Stays::Dirty);
        }
        let is_pinned = self.pinned.lock().unwrap().contains(&ino);
        (pinned == Pinned::Stay && is_pinned).then_some(Stays::Pinned)
    }

    /// How often it was asked about a file, and for files, since this was last asked.
    fn asked(&self) -> (u64, u64) {
        (self.looks.swap(0, Ordering::SeqCst), self.steps.swap(0, Ordering::SeqCst))
    }
}

#[async_trait]
impl CleanFiles for Index {
    async fn clean_cached(
        &self,
        _disk: DiskId,
        after: Ino,
        limit: usize,
    ) -> Result<Vec<Ino>, CacheError> {
        self.steps.fetch_add(1, Ordering::SeqCst);
        let (cached, dirty) = (self.cached.lock().unwrap(), self.dirty.lock().unwrap());
        let clean = cached.keys().filter(|ino| **ino > after && !dirty.contains(ino));
        Ok(clean.copied().take(limit).collect())
    }

    async fn cached(&self, ino: Ino) -> Result<RangeSet, CacheError> {
        Ok(self.cached.lock().unwrap().get(&ino).cloned().unwrap_or_default())
    }

    async fn stays(&self, ino: Ino, pinned: Pinned) -> Result<Option<Stays>, CacheError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        // Others come in between, as they do at a real catalog.
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.at_once.fetch_max(under_way, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        Ok(self.why(ino, pinned))
    }

    async fn forget(
        &self,
        ino: Ino,
        range: Range<u64>,
        pinned: Pinned,
    ) -> Result<Forgotten, CacheError> {
        if let Some(why) = self.why(ino, pinned) {
            return Ok(Forgotten::Stays(why));
        }
        let mut all = self.cached.lock().unwrap();
        let Some(cached) = all.get_mut(&ino) else { return Ok(Forgotten::Last(0)) };
        let bytes = cached.overlapping(&range).iter().map(|part| part.end - part.start).sum();
        cached.remove(range);
        if !cached.is_empty() {
            return Ok(Forgotten::Part(bytes));
        }
        all.remove(&ino);
        Ok(Forgotten::Last(bytes))
    }
}

struct Fixture {
    cache: CacheStore,
    disk: SimDisk,
    locks: InodeLocks,
    index: Index,
    evictor: Evictor,
}

const SIZE: u64 = 1000;

impl Fixture {
    fn new() -> Self {
        let disk = SimDisk::default();
        let cache = CacheStore::open(Arc::new(disk.clone()), Path::new("/cache")).unwrap();
        let (locks, index, evictor) = Default::default();
        Self { cache, disk, locks, index, evictor }
    }

    async fn file(&self, ino: u64) -> Ino {
        let ino = Ino(ino);
        self.cache
            .write_at(ino, 0, Bytes::from(vec![1; usize::try_from(SIZE).unwrap()]))
            .await
            .unwrap();
        let cached = std::iter::once(0..SIZE).collect();
        self.index.cached.lock().unwrap().insert(ino, cached);
        ino
    }

    async fn dirty_file(&self, ino: u64) -> Ino {
        let ino = self.file(ino).await;
        self.index.dirty.lock().unwrap().insert(ino);
        ino
    }

    /// As after its upload.
    fn clean(&self, ino: Ino) {
        self.index.dirty.lock().unwrap().remove(&ino);
        let cached = self.index.cached.lock().unwrap()[&ino].clone();
        self.cache.note_clean(ino, &cached);
    }

    async fn free(&self, need: Need, pinned: Pinned) -> u64 {
        let from = Files { cache: &self.cache, locks: &self.locks, index: &self.index };
        self.evictor.free(from, need, pinned).await.unwrap()
    }

    /// Many writers at once who find no room.
    async fn all_free(&self, writers: usize, need: Need, pinned: Pinned) -> u64 {
        let calls = (0..writers).map(|_| Box::pin(self.free(need, pinned)));
        let mut calls: Vec<_> = calls.map(Some).collect();
        let mut freed = 0;
        std::future::poll_fn(|cx| {
            for call in &mut calls {
                if let Some(running) = call
                    && let std::task::Poll::Ready(bytes) = running.as_mut().poll(cx)
                {
                    freed += bytes;
                    *call = None;
                }
            }
            if calls.iter().all(Option::is_none) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
        freed
    }
}

/// Goal: with everything dirty, waiting writers cost one look at each file, all together, and nothing when they
/// come again, until something has become clean; then that is found at once.
#[tokio::test]
async fn while_everything_is_dirty_each_file_is_looked_at_once_whoever_waits() {
    let f = Fixture::new();
    for ino in 1..=500 {
        f.dirty_file(ino).await;
    }
    assert_eq!(f.all_free(50, Need::Bytes(1), Pinned::MayLeave).await, 0);
    assert_eq!(f.index.asked(), (500, 2), "a walk without pinned files and one with them");
    assert_eq!(f.all_free(50, Need::Bytes(1), Pinned::MayLeave).await, 0);
    assert_eq!(f.index.asked(), (0, 0));

    f.clean(Ino(321));
    assert_eq!(f.all_free(50, Need::Bytes(1), Pinned::Stay).await, SIZE);
    assert_eq!(f.index.asked(), (1, 0));
    assert!(!f.cache.exists(Ino(321)).await.unwrap());
    // What is written again is looked at again.
    f.dirty_file(7).await;
    assert_eq!(f.free(Need::Bytes(1), Pinned::Stay).await, 0);
    assert_eq!(f.index.asked(), (1, 0));
}

#[tokio::test]
async fn what_one_has_freed_is_for_all_who_wait() {
    let f = Fixture::new();
    for ino in 1..=8 {
        f.file(ino).await;
    }
    let (total, write) = (1 << 40, 10);
    let enough = crate::cache::space::reserve_bytes(total) + (64 << 20) + write;
    f.disk.set_available(enough - 1);
    // The simulated disk does not say that it has more: the first frees what it can.
    assert_eq!(f.free(Need::Write(write), Pinned::Stay).await, SIZE);
    f.disk.set_available(enough);
    f.index.asked();
    assert_eq!(f.all_free(20, Need::Write(write), Pinned::Stay).await, 0, "there is room by now");
    assert_eq!(f.index.asked(), (0, 0));
}

/// What is used again and again does not hide behind what cannot leave.
#[tokio::test]
async fn kept_parts_leave_when_all_on_trial_are_dirty() {
    let f = Fixture::new();
    let kept = f.file(1).await;
    for _ in 0..5000 {
        f.cache.note_use(kept, &(0..SIZE));
    }
    for ino in 2..=9 {
        f.dirty_file(ino).await;
    }
    assert_eq!(f.free(Need::Bytes(1), Pinned::Stay).await, SIZE);
    assert!(!f.cache.exists(kept).await.unwrap());
}

/// Goal: a file that was dirty when the gateway started, of which nothing is known then, leaves after its
/// upload, although a lap through the catalog has found nothing before.
#[tokio::test]
async fn a_file_that_was_dirty_at_the_start_leaves_after_its_upload() {
    let f = Fixture::new();
    let (large, small) = (Ino(1), Ino(2));
    for (ino, cached) in [(large, 5..3 * PART_BYTES), (small, 0..SIZE)] {
        f.index.cached.lock().unwrap().insert(ino, std::iter::once(cached).collect());
        f.index.dirty.lock().unwrap().insert(ino);
    }
    assert_eq!(f.free(Need::Bytes(1), Pinned::Stay).await, 0);
    f.clean(large);
    f.clean(small);
    assert_eq!(f.free(Need::Bytes(u64::MAX), Pinned::Stay).await, 3 * PART_BYTES - 5 + SIZE);
}

#[tokio::test]
async fn pinned_files_leave_after_all_others_and_are_looked_at_once_too() {
    let f = Fixture::new();
    for ino in 1..=4 {
        let file = f.file(ino).await;
        f.index.pinned.lock().unwrap().insert(file);
    }
    for ino in 5..=6 {
        f.file(ino).await;
    }
    assert_eq!(f.free(Need::Bytes(u64::MAX), Pinned::Stay).await, 2 * SIZE);
    f.index.asked();
    assert_eq!(f.all_free(9, Need::Bytes(1), Pinned::Stay).await, 0);
    assert_eq!(f.index.asked(), (0, 0));
    let last = f.file(7).await;
    assert_eq!(f.free(Need::Bytes(2 * SIZE), Pinned::MayLeave).await, 2 * SIZE);
    assert!(!f.cache.exists(last).await.unwrap() && !f.cache.exists(Ino(1)).await.unwrap());
    assert!(f.cache.exists(Ino(2)).await.unwrap());
    // Nothing is pinned any more.
    f.index.pinned.lock().unwrap().clear();
    f.cache.note_pins();
    assert_eq!(f.free(Need::Bytes(u64::MAX), Pinned::Stay).await, 3 * SIZE);
}

/// Goal: small files leave side by side, so that their commits are one, and no more of them than are needed.
#[tokio::test]
async fn small_files_leave_side_by_side_and_no_more_than_needed() {
    let f = Fixture::new();
    for ino in 1..=100 {
        f.file(ino).await;
    }
    assert_eq!(f.free(Need::Bytes(40 * SIZE - 5), Pinned::Stay).await, 40 * SIZE);
    assert!(f.index.at_once.load(Ordering::SeqCst) >= 16);
    assert!(!f.cache.exists(Ino(40)).await.unwrap() && f.cache.exists(Ino(41)).await.unwrap());
}

/// Goal: what people work with next overtakes what was read once: a file that has left and is asked for again is
/// kept, although it is a whole one.
#[tokio::test]
async fn a_file_that_has_left_and_comes_back_outlives_those_that_were_used_once() {
    let f = Fixture::new();
    let again = f.file(1).await;
    for ino in 2..=9 {
        f.file(ino).await;
    }
    assert_eq!(f.free(Need::Bytes(1), Pinned::Stay).await, SIZE);
    assert!(!f.cache.exists(again).await.unwrap());
    f.file(1).await;
    for ino in 10..=12 {
        f.file(ino).await;
    }
    assert_eq!(f.free(Need::Bytes(11 * SIZE), Pinned::Stay).await, 11 * SIZE);
    assert!(f.cache.exists(again).await.unwrap());
}

/// A look that is given up leaves its part where it can be found.
#[tokio::test]
async fn who_goes_away_while_evicting_takes_nothing_along() {
    let f = Fixture::new();
    f.file(1).await;
    let mut call = Box::pin(f.free(Need::Bytes(1), Pinned::Stay));
    while f.index.looks.load(Ordering::SeqCst) == 0 {
        std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
    }
    drop(call);
    assert_eq!(f.free(Need::Bytes(1), Pinned::Stay).await, SIZE);
}

/// Goal: what is taken off the disk is not what others write after whoever made room has gone away. Method: the disk is
/// slow to remove, and nobody waits for it.
#[tokio::test]
async fn the_file_stays_locked_until_the_disk_has_taken_it_off() {
    let f = Fixture::new();
    f.file(1).await;
    let held = f.disk.hold_removals();
    let mut call = Box::pin(f.free(Need::Bytes(1), Pinned::Stay));
    let held = tokio::select! {
        biased;
        freed = &mut call => panic!("the disk has not done it: {freed}"),
        held = held.come(1) => held,
    };
    drop(call);
    let lock = tokio::time::timeout(Duration::ZERO, f.locks.exclusive(Ino(1))).await;
    assert!(lock.is_err(), "whoever writes it waits for the disk");
    drop(held);
    drop(f.locks.exclusive(Ino(1)).await);
    assert!(!f.cache.exists(Ino(1)).await.unwrap());
}

/// Goal: the parts of a large file that was removed are not gone through when room is made.
#[tokio::test]
async fn of_a_removed_file_nothing_is_looked_at() {
    let f = Fixture::new();
    f.cache.note_use(Ino(1), &(0..5000 * PART_BYTES));
    f.file(2).await;
    f.cache.remove(Ino(1)).await.unwrap();
    assert_eq!(f.free(Need::Bytes(u64::MAX), Pinned::Stay).await, SIZE);
    assert_eq!(f.index.asked().0, 1);
}
