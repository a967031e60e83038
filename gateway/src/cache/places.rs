//! Which cache disk has a file, as far as that was asked lately: saves looking on every disk.
//!
//! A hint: whoever opens a file looks on the others as well. Bounded: two generations of files; what was not
//! asked for while the younger filled up is forgotten.
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::ids::Ino;

/// Files of one generation: a megabyte of them, about.
const GENERATION_FILES_MAX: usize = 64 * 1024;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Ino, usize>,
    old: HashMap<Ino, usize>,
}

impl Places {
    /// The disk of `ino`, by its place among the disks.
    pub(super) fn get(&self, ino: Ino) -> Option<usize> {
        let mut known = self.lock();
        if let Some(slot) = known.young.get(&ino) {
            return Some(*slot);
        }
        let slot = known.old.remove(&ino)?;
        known.keep(ino, slot);
        Some(slot)
    }

    /// The file is on this one.
    pub(super) fn set(&self, ino: Ino, slot: usize) {
        self.lock().keep(ino, slot);
    }

    /// The disk of `ino`: this one, if nothing else is known.
    pub(super) fn get_or_set(&self, ino: Ino, slot: impl FnOnce() -> usize) -> usize {
        // Asking a disk for its room may take a while.
        if let Some(known) = self.get(ino) {
            return known;
        }
        let slot = slot();
        let mut known = self.lock();
        if let Some(known) = known.young.get(&ino).or_else(|| known.old.get(&ino)) {
            return *known;
        }
        known.keep(ino, slot);
        slot
    }

    /// The file is not on this one.
    pub(super) fn is_not(&self, ino: Ino, slot: usize) {
        let mut known = self.lock();
        let Generations { young, old } = &mut *known;
        for generation in [young, old] {
            if generation.get(&ino) == Some(&slot) {
                generation.remove(&ino);
            }
        }
    }

    /// The file is nowhere.
    pub(super) fn forget(&self, ino: Ino) {
        let mut known = self.lock();
        known.young.remove(&ino);
        known.old.remove(&ino);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn keep(&mut self, ino: Ino, slot: usize) {
        if self.young.len() >= GENERATION_FILES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&ino);
        self.young.insert(ino, slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_bounded() {
        let places = Places::default();
        places.set(Ino(1), 3);
        for ino in 2..3 * GENERATION_FILES_MAX as u64 {
            places.set(Ino(ino), 0);
            if ino % 1000 == 0 {
                assert_eq!(places.get(Ino(1)), Some(3));
            }
        }
        assert_eq!(places.get(Ino(2)), None);
        let known = places.lock();
        assert!(known.young.len() + known.old.len() <= 2 * GENERATION_FILES_MAX);
        drop(known);
        places.forget(Ino(1));
        assert_eq!(places.get(Ino(1)), None);
    }
}
