//! Making room in the cache: in the background before anybody needs it, or when somebody does. The catalog as
//! the evictor sees it: which leaf knows the other is decided here.
use std::{ops::Range, sync::PoisonError};

use async_trait::async_trait;

use super::{FsError, write_back::WriteBack};
use crate::{
    cache::{
        CacheDisk, CacheError, RangeSet,
        evict::{CleanFiles, Files, Forgotten, Need, Pinned, Stays},
    },
    catalog::{CatalogError, Inode},
    essential::{self, Step},
    ids::{DiskId, Ino},
};

/// Most bytes freed at a time in the background, so that a stop is not waited for.
const STEP_BYTES: u64 = 256 << 20;

fn in_words(error: CatalogError) -> CacheError {
    CacheError::Catalog(error.to_string())
}

/// The disk does not tell its space.
pub(super) fn not_told(disk: &CacheDisk, error: &std::io::Error) -> FsError {
    tracing::error!("cannot ask the cache disk {} for its space: {error}", disk.name());
    FsError::Io
}

#[async_trait]
impl CleanFiles for WriteBack {
    async fn clean_cached(
        &self,
        disk: DiskId,
        after: Ino,
        limit: usize,
    ) -> Result<Vec<Ino>, CacheError> {
        self.catalog.clean_cached(disk, after, limit).await.map_err(in_words)
    }

    async fn cached(&self, ino: Ino) -> Result<RangeSet, CacheError> {
        self.catalog.ranges(ino).await.map_err(in_words)
    }

    async fn stays(&self, ino: Ino, pinned: Pinned) -> Result<Option<Stays>, CacheError> {
        match self.catalog.inode(ino).await {
            Ok(row) if (row.dirty || row.writing) && !essential::is_left_out(Step::EvictCheck) => {
                Ok(Some(Stays::Dirty))
            }
            Ok(row) if pinned == Pinned::Stay && self.is_pinned(&row).await? => {
                Ok(Some(Stays::Pinned))
            }
            Ok(_) | Err(CatalogError::Gone(_)) => Ok(None),
            Err(error) => Err(in_words(error)),
        }
    }

    async fn forget(
        &self,
        ino: Ino,
        range: Range<u64>,
        pinned: Pinned,
    ) -> Result<Forgotten, CacheError> {
        // Again, with the lock: without a change of the database where there is nothing to change.
        if let Some(why) = self.stays(ino, pinned).await? {
            return Ok(Forgotten::Stays(why));
        }
        Ok(match self.catalog.evict(ino, range).await.map_err(in_words)? {
            None => Forgotten::Stays(Stays::Dirty),
            Some((bytes, true)) => Forgotten::Part(bytes),
            Some((bytes, false)) => Forgotten::Last(bytes),
        })
    }
}

impl WriteBack {
    async fn is_pinned(&self, row: &Inode) -> Result<bool, CacheError> {
        let pins = {
            let pins = self.pins.read().unwrap_or_else(PoisonError::into_inner);
            pins.get(&row.share).filter(|pins| !pins.is_empty()).cloned()
        };
        let Some(pins) = pins else { return Ok(false) };
        match self.catalog.path(row.ino).await {
            Ok(path) => Ok(pins.covers(&path)),
            Err(CatalogError::Gone(_)) => Ok(false),
            Err(error) => Err(in_words(error)),
        }
    }

    /// Evicts what is needed of all disks, or all that may leave; answers how many bytes did.
    #[cfg(test)]
    pub(super) async fn evict(&self, need: Need, pinned: Pinned) -> Result<u64, FsError> {
        let from = Files { cache: &self.cache, locks: &self.locks, index: self };
        Ok(self.evictor.free(from, need, pinned).await?)
    }

    /// The same of one disk.
    pub(super) async fn evict_on(
        &self,
        disk: DiskId,
        need: Need,
        pinned: Pinned,
    ) -> Result<u64, FsError> {
        let from = Files { cache: &self.cache, locks: &self.locks, index: self };
        Ok(self.evictor.free_on(disk, from, need, pinned).await?)
    }

    /// Evicts what was not used for longest, if little is free, so that writers and readers need not wait for
    /// that. Run it about every second; answers how many bytes it freed.
    ///
    /// # Errors
    /// Of the disk or the catalog.
    pub async fn evict_ahead(&self) -> Result<u64, FsError> {
        let mut freed = Ok(0);
        for disk in self.cache.disks() {
            // One that fails does not keep the others full.
            match (freed, self.evict_ahead_on(disk).await) {
                (Ok(before), Ok(more)) => freed = Ok(before + more),
                (Err(error), _) | (Ok(_), Err(error)) => freed = Err(error),
            }
        }
        freed
    }

    async fn evict_ahead_on(&self, disk: &CacheDisk) -> Result<u64, FsError> {
        let mut freed = 0;
        loop {
            let short = disk.space().short_of_spare().map_err(|error| not_told(disk, &error))?;
            if short == 0 {
                return Ok(freed);
            }
            let step = self.evict_on(disk.id(), Need::Spare(STEP_BYTES), Pinned::Stay).await?;
            freed += step;
            // What is left is dirty, or a disk that does not tell at once what it has free.
            if step < short.min(STEP_BYTES) || freed >= short {
                return Ok(freed);
            }
        }
    }
}
