//! Files of which bytes that S3 does not have are on a cache disk that is not there.
//!
//! They are neither read nor written until the disk is back: a byte written elsewhere would make two files
//! of one. Filled once, at the start; as many as the disk has.
use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::CacheStore;
use crate::ids::Ino;

/// Those files.
#[derive(Debug, Default)]
pub(super) struct OutOfReach {
    /// Whether there are any: most gateways have none, and need not look.
    any: AtomicBool,
    files: Mutex<HashMap<Ino, Held>>,
}

#[derive(Debug)]
struct Held {
    disk: Arc<str>,
    bytes: u64,
}

impl OutOfReach {
    /// # Errors
    /// The file is out of reach.
    pub(super) fn check(&self, ino: Ino) -> io::Result<()> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.lock().get(&ino) {
            Some(held) => Err(io::Error::other(format!(
                "the cache disk {} has bytes of it and is missing: attach it again",
                held.disk
            ))),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, Held>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheStore {
    /// `bytes` that S3 does not have of the file are on `disk`, which is missing: from here on everything that
    /// is asked of the file fails.
    pub fn put_out_of_reach(&self, ino: Ino, disk: &Arc<str>, bytes: u64) {
        let reach = &self.inner.reach;
        reach.lock().insert(ino, Held { disk: Arc::clone(disk), bytes });
        reach.any.store(true, Ordering::Release);
    }

    /// Whether bytes of the file are on a disk that is missing.
    pub fn is_out_of_reach(&self, ino: Ino) -> bool {
        self.inner.reach.check(ino).is_err()
    }

    /// The missing disks that have bytes which S3 does not have, each with how many files those are of.
    pub fn missing_disks(&self) -> BTreeMap<Arc<str>, u64> {
        let mut missing = BTreeMap::new();
        if self.inner.reach.any.load(Ordering::Acquire) {
            for held in self.inner.reach.lock().values() {
                *missing.entry(Arc::clone(&held.disk)).or_default() += 1;
            }
        }
        missing
    }

    /// How many bytes that S3 does not have are on disks that are missing.
    pub fn out_of_reach_bytes(&self) -> u64 {
        if !self.inner.reach.any.load(Ordering::Acquire) {
            return 0;
        }
        self.inner.reach.lock().values().map(|held| held.bytes).sum()
    }

    /// No byte of the file that is on a missing disk means anything any more.
    pub(super) fn back_in_reach(&self, ino: Ino) {
        if self.inner.reach.any.load(Ordering::Acquire) {
            self.inner.reach.lock().remove(&ino);
        }
    }
}
