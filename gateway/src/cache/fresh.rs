//! Files that have come in this run and have no cache file: none is looked for before their first bytes, which would be a
//! call of the disk for each small file.
//!
//! In memory and bounded. A file that is forgotten is looked for, as every other one.
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::ids::Ino;

/// Files that are remembered: those that come and are never written must not take the others' place for long.
const FILES_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Fresh(Mutex<HashSet<Ino>>);

impl Fresh {
    /// The file has come.
    pub(super) fn note(&self, ino: Ino) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= FILES_MAX {
            files.clear();
        }
        files.insert(ino);
    }

    /// The file gets a cache file: whether it had none for certain.
    pub(super) fn take(&self, ino: Ino) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&ino)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_fresh_once_and_those_remembered_are_bounded() {
        let fresh = Fresh::default();
        fresh.note(Ino(7));
        assert!(fresh.take(Ino(7)) && !fresh.take(Ino(7)));
        for ino in 0..=FILES_MAX as u64 {
            fresh.note(Ino(ino));
        }
        assert!(fresh.take(Ino(FILES_MAX as u64)) && !fresh.take(Ino(0)));
        assert!(fresh.0.lock().unwrap().len() < FILES_MAX);
    }
}
