//! Large files that are being written: when what is new of them may go ahead to S3.
//!
//! What counts is how much was written since the last publish or offer, committed or not: some clients
//! commit every second, some never before the end.
use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{FsError, write_back::WriteBack};
use crate::{
    cache::overlay::{Burst, Overlay},
    catalog::CatalogError,
    ids::Ino,
};

/// A large file is offered for upload after so many new bytes: four parts of an upload.
const GROWN_BYTES: u64 = 64 << 20;
/// Files that are counted. With more of them all counts begin anew.
const FILES_MAX: usize = 4096;

/// How much of which large files has been committed since it was last offered.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// Size from which on files count; 0: never.
    least: AtomicU64,
    committed: Mutex<HashMap<Ino, u64>>,
}

impl Growth {
    pub(super) fn set_least(&self, bytes: u64) {
        self.least.store(bytes, Ordering::Relaxed);
    }

    /// `bytes` of a file that has `size` were committed.
    pub(super) fn committed(&self, ino: Ino, size: u64, bytes: u64) {
        if !self.counts(size) {
            return;
        }
        let mut committed = self.lock();
        if committed.len() >= FILES_MAX && !committed.contains_key(&ino) {
            committed.clear();
        }
        // How much was new of it before it was that large nobody has counted: it is offered at once, and what
        // goes ahead is seen then.
        let so_far = committed.entry(ino).or_insert(GROWN_BYTES);
        *so_far = so_far.saturating_add(bytes);
    }

    /// Nothing of the file is new that was not offered or published.
    fn offered(&self, ino: Ino) {
        let mut committed = self.lock();
        if committed.len() < FILES_MAX || committed.contains_key(&ino) {
            committed.insert(ino, 0);
        }
    }

    /// The files of which enough is new.
    fn grown(&self, overlay: &Overlay) -> Vec<Ino> {
        let least = self.least.load(Ordering::Relaxed);
        if least == 0 {
            return Vec::new();
        }
        let mut new = self.lock().clone();
        for (ino, bytes) in overlay.large(least) {
            let so_far = new.entry(ino).or_default();
            *so_far = so_far.saturating_add(bytes);
        }
        let grown = new.into_iter().filter(|(_, bytes)| *bytes >= GROWN_BYTES);
        // What is fenced cannot be committed.
        grown.map(|(ino, _)| ino).filter(|ino| !overlay.is_fenced(*ino)).collect()
    }

    fn counts(&self, size: u64) -> bool {
        let least = self.least.load(Ordering::Relaxed);
        least > 0 && size >= least
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, u64>> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteBack {
    /// Changes from what size on files are uploaded while they are written; 0: never.
    pub fn set_early_upload_bytes(&self, bytes: u64) {
        self.growth.set_least(bytes);
    }

    /// Commits what has been written of large files that are still being written, and offers them for
    /// upload. Run it about every second.
    pub async fn flush_growing(&self) {
        for ino in self.growth.grown(self.cache.overlay()) {
            let _held = self.locks.shared(ino).await;
            match self.offer(ino).await {
                Ok(true) => self.growth.offered(ino),
                // It is held back in memory again: in a second.
                Ok(false) => {}
                Err(error) => tracing::warn!(ino = ino.0, "an early upload is put off: {error}"),
            }
        }
    }

    /// Offers the file; `false` where that must wait. Call with the inode locked.
    async fn offer(&self, ino: Ino) -> Result<bool, FsError> {
        self.commit(ino).await?;
        match self.catalog.inode(ino).await {
            Ok(row) if row.dirty => {}
            // All of it was published meanwhile, or it is gone.
            Ok(_) | Err(CatalogError::Gone(_)) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        self.note_burst(ino).await?;
        Ok(self.catalog.offer_early(ino).await?)
    }

    /// Lets the catalog know of a burst that was held back in memory: parts of the file go to S3, and
    /// after a crash in it they must not be taken for what the cache file holds.
    async fn note_burst(&self, ino: Ino) -> Result<(), FsError> {
        let overlay = self.cache.overlay();
        let _gate = self.bursts.exclusive(ino).await;
        if matches!(overlay.burst(ino), Some(Burst::Held(_))) {
            let begun = self.catalog.begin_write(ino, self.due()).await?;
            overlay.rename_burst(ino, Burst::Noted(begun.version));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, sums::WrittenSums};

    const INO: Ino = Ino(20);

    fn write(overlay: &Overlay, range: std::ops::Range<u64>) {
        let begun = overlay.begin(INO, Burst::Noted(1), range.start, &range);
        let sums = WrittenSums::default();
        overlay.wrote(INO, begun, (&range, &sums), Timestamp::new(5, 0), false).unwrap();
    }

    #[test]
    fn what_is_new_counts_whether_it_is_committed_or_not() {
        let (growth, overlay) = (Growth::default(), Overlay::default());
        growth.committed(INO, u64::MAX, GROWN_BYTES);
        assert!(growth.grown(&overlay).is_empty(), "switched off");
        growth.set_least(1 << 30);
        growth.committed(INO, (1 << 30) - 1, GROWN_BYTES);
        assert!(growth.grown(&overlay).is_empty(), "too small");
        growth.committed(INO, 1 << 30, 1);
        assert_eq!(growth.grown(&overlay), [INO], "it has come to that size");
        growth.offered(INO);
        for _ in 0..63 {
            growth.committed(INO, 1 << 30, 1 << 20);
        }
        assert!(growth.grown(&overlay).is_empty(), "63 MiB");
        write(&overlay, (1 << 30)..(1 << 30) + (1 << 20));
        assert_eq!(growth.grown(&overlay), [INO], "63 MiB committed, and more that is not");
        overlay.sync_failed(INO);
        assert!(growth.grown(&overlay).is_empty(), "what is fenced cannot be committed");
        overlay.forget(INO);
        growth.committed(INO, 1 << 30, 1 << 20);
        assert_eq!(growth.grown(&overlay), [INO]);
        growth.offered(INO);
        assert!(growth.grown(&overlay).is_empty());
    }

    #[test]
    fn files_that_are_counted_are_bounded() {
        let growth = Growth::default();
        growth.set_least(1);
        for ino in 0..2 * FILES_MAX as u64 {
            growth.committed(Ino(ino), 1, 1);
        }
        assert!(growth.lock().len() <= FILES_MAX);
    }
}
