//! Syncs that have failed, by cache disk, whoever asked for them: bytes that the catalog carries may be missing in their
//! cache files, and until they have been written again no sync of that disk takes them away.
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::ids::DiskId;

/// How many there were of each disk, and how many of them have been made good.
#[derive(Debug, Default)]
pub struct Losses(Mutex<BTreeMap<DiskId, Of>>);

#[derive(Clone, Copy, Debug, Default)]
struct Of {
    seen: u64,
    made_good: u64,
}

impl Losses {
    /// A sync of the disk has failed. To be called before the next sync of what it was of begins.
    pub fn note(&self, disk: DiskId) {
        self.lock().entry(disk).or_default().seen += 1;
    }

    /// How many there were of the disk.
    pub fn seen(&self, disk: DiskId) -> u64 {
        self.lock().get(&disk).map_or(0, |of| of.seen)
    }

    /// Carried bytes have been written again to the disk since there were `seen`.
    pub fn made_good(&self, disk: DiskId, seen: u64) {
        let mut all = self.lock();
        let of = all.entry(disk).or_default();
        of.made_good = of.made_good.max(seen);
    }

    /// Whether some of the disk have not been made good.
    pub fn has(&self, disk: DiskId) -> bool {
        self.lock().get(&disk).is_some_and(|of| of.seen != of.made_good)
    }

    /// The same of any.
    pub fn has_any(&self) -> bool {
        self.lock().values().any(|of| of.seen != of.made_good)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DiskId, Of>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
