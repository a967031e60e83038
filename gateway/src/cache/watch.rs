//! Whether what was written to a cache file is still there when it is to count.
//!
//! Who brings bytes from S3 writes them with the file's lock held, lets go of it while the disk syncs them, and takes
//! it again to have them counted. Whoever takes bytes off the disk in between, for room or for a shorter file, tells
//! it here.
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::CacheStore;
use crate::ids::Ino;

/// The files that somebody watches: as many as fetches are under way at most.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<HashMap<Ino, Watched>>);

#[derive(Debug, Default)]
struct Watched {
    watchers: usize,
    /// How often bytes were taken off the disk.
    taken: u64,
}

/// Watches a file from its making on.
#[derive(Debug)]
pub struct Watch {
    cache: CacheStore,
    ino: Ino,
    taken: u64,
}

impl Watches {
    /// Bytes of the file are taken off its disk, or the file is another one.
    pub(super) fn taken(&self, ino: Ino) {
        if let Some(watched) = self.lock().get_mut(&ino) {
            watched.taken += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheStore {
    /// Watches the file. Call, and ask, with the inode's exclusive lock held.
    pub fn watch(&self, ino: Ino) -> Watch {
        let mut watches = self.inner.watches.lock();
        let watched = watches.entry(ino).or_default();
        watched.watchers += 1;
        Watch { cache: self.clone(), ino, taken: watched.taken }
    }
}

impl Watch {
    /// Whether nothing was taken off the disk since then. What was written over is not noted here.
    pub fn has_all(&self) -> bool {
        let watches = self.cache.inner.watches.lock();
        watches.get(&self.ino).is_some_and(|watched| watched.taken == self.taken)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watches = self.cache.inner.watches.lock();
        if let Some(watched) = watches.get_mut(&self.ino) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                watches.remove(&self.ino);
            }
        }
    }
}
