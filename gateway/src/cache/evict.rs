//! Making room: whole clean files leave the cache, the least recently used of a sample first (I5).
//!
//! Order per file (D5): its ranges leave the catalog, durably; then its cache file is unlinked.
use std::sync::Mutex;

use async_trait::async_trait;

use super::{CacheError, CacheStore};
use crate::{ids::Ino, locks::InodeLocks};

/// Files looked at to choose from.
const SAMPLE_FILES: usize = 256;
/// One in this many of a sample leaves before the next is taken.
const SAMPLE_SHARE: usize = 4;

/// What evicting asks of the catalog.
#[async_trait]
pub trait CleanFiles: Send + Sync {
    /// At most `limit` clean files above `after` that have cached bytes, by ino.
    async fn clean_cached(&self, after: Ino, limit: usize) -> Result<Vec<Ino>, CacheError>;
    /// Forgets, durably, that bytes of the file are cached; `false` if it is dirty by now.
    async fn forget_cached(&self, ino: Ino) -> Result<bool, CacheError>;
}

/// Evicts from one cache.
#[derive(Debug, Default)]
pub struct Evictor {
    /// Where the next sample begins.
    position: Mutex<Option<Ino>>,
}

impl Evictor {
    /// Frees at least `bytes`, or all that can be freed; answers how many bytes were.
    ///
    /// # Errors
    /// Of the catalog or the disk; what was evicted before stays evicted.
    pub async fn free(
        &self,
        cache: &CacheStore,
        locks: &InodeLocks,
        index: &dyn CleanFiles,
        bytes: u64,
    ) -> Result<u64, CacheError> {
        let mut freed = 0;
        let mut wrapped = 0;
        while freed < bytes && wrapped < 2 {
            let after = self.take_position();
            let mut sample = index.clean_cached(after.unwrap_or(Ino(0)), SAMPLE_FILES).await?;
            let end = sample.last().copied().filter(|_| sample.len() == SAMPLE_FILES);
            if end.is_none() {
                wrapped += 1;
            }
            self.set_position(end);
            sample.sort_by_key(|ino| cache.last_used(*ino));
            let most =
                if wrapped == 2 { sample.len() } else { sample.len().div_ceil(SAMPLE_SHARE) };
            for ino in sample.into_iter().take(most) {
                if freed >= bytes {
                    break;
                }
                freed += evict(cache, locks, index, ino).await?;
            }
        }
        Ok(freed)
    }

    fn take_position(&self) -> Option<Ino> {
        *self.position.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn set_position(&self, position: Option<Ino>) {
        *self.position.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = position;
    }
}

async fn evict(
    cache: &CacheStore,
    locks: &InodeLocks,
    index: &dyn CleanFiles,
    ino: Ino,
) -> Result<u64, CacheError> {
    let _held = locks.exclusive(ino).await;
    if cache.overlay().get(ino).is_some() || !index.forget_cached(ino).await? {
        return Ok(0);
    }
    let bytes = cache.len(ino).await?;
    cache.remove(ino).await?;
    Ok(bytes)
}
