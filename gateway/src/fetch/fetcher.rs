//! Makes a range of a file present in the cache.
use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    single_flight::{Block, Lead, SingleFlight},
    window::Window,
};
use crate::{
    budget::MemoryBudget,
    cache::{CacheError, CacheStore, RangeSet},
    catalog::{Catalog, CatalogError, ChangedObject, Inode},
    clock::Clock,
    ids::Ino,
    locks::InodeLocks,
    share::Share,
    store::{StoreError, StoreErrorKind},
    sums::{self, BlockSums},
    tasks::Tasks,
};

/// A fetch is done in blocks of this many bytes.
pub(super) const BLOCK_BYTES: u64 = 1 << 20;
/// Readers whose place is remembered.
const READERS_MAX: usize = 4096;
/// Blocks of one call under way at once.
const BLOCKS_AT_ONCE: usize = 16;

/// Why bytes could not be brought.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The store failed.
    #[error("{message}")]
    Store {
        /// How.
        kind: StoreErrorKind,
        /// In words.
        message: String,
    },
    /// The object is another one now; its file's attributes have been brought up to date.
    #[error("the object has changed")]
    Changed,
    /// The file is gone.
    #[error("the file is gone")]
    Gone,
    /// The cache disk or the catalog failed.
    #[error("{0}")]
    Local(String),
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        Self::Store { kind: error.kind, message: error.to_string() }
    }
}

impl From<CatalogError> for FetchError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Gone(_) => Self::Gone,
            CatalogError::Changed => Self::Changed,
            other => Self::Local(other.to_string()),
        }
    }
}

impl From<CacheError> for FetchError {
    fn from(error: CacheError) -> Self {
        Self::Local(error.to_string())
    }
}

/// Fetches for one share. Cloning gives another handle to the same fetcher.
#[derive(Clone, Debug)]
pub struct Fetcher {
    inner: Arc<Inner>,
}

/// What a fetcher works with.
#[derive(Debug)]
pub(crate) struct Inner {
    share: Arc<Share>,
    catalog: Catalog,
    cache: CacheStore,
    locks: InodeLocks,
    clock: Arc<dyn Clock>,
    budget: MemoryBudget,
    tasks: Tasks,
    flights: SingleFlight<Result<(), FetchError>>,
    readers: Mutex<HashMap<Ino, Window>>,
}

impl Fetcher {
    /// A fetcher of `share`'s objects into `cache`.
    pub fn new(
        share: Arc<Share>,
        catalog: Catalog,
        cache: CacheStore,
        locks: InodeLocks,
        clock: Arc<dyn Clock>,
        budget: MemoryBudget,
        tasks: Tasks,
    ) -> Self {
        let flights = SingleFlight::default();
        let readers = Mutex::default();
        Self {
            inner: Arc::new(Inner {
                share,
                catalog,
                cache,
                locks,
                clock,
                budget,
                tasks,
                flights,
                readers,
            }),
        }
    }

    /// Returns when every byte of `range` (as far as the file goes) is in the cache. Reads ahead in
    /// the background when the file is read on. Cancel safe: blocks under way still arrive.
    ///
    /// # Errors
    /// [`FetchError`]; [`FetchError::Changed`] when the object keeps changing: ask again later.
    pub async fn fetch(&self, ino: Ino, range: Range<u64>) -> Result<(), FetchError> {
        match self.fetch_once(ino, range.clone()).await {
            // The file's attributes are new now, the object's tag among them.
            Err(FetchError::Changed) => self.fetch_once(ino, range).await,
            done => done,
        }
    }

    async fn fetch_once(&self, ino: Ino, range: Range<u64>) -> Result<(), FetchError> {
        let (inode, ranges) = self.inner.catalog.inode_and_ranges(ino).await?;
        let range = range.start..range.end.min(inode.size);
        if range.is_empty() || ranges.covers(&range) {
            return Ok(());
        }
        let ahead = self.inner.window(ino, &range);
        let wanted = blocks(&ranges.missing(range));
        let ahead = blocks(&ranges.missing(ahead.start..ahead.end.min(inode.size)));
        let mut batches = wanted.chunks(BLOCKS_AT_ONCE).peekable();
        while let Some(batch) = batches.next() {
            let flights: Vec<_> = batch.iter().map(|block| self.fly(&inode, *block)).collect();
            if batches.peek().is_none() {
                // Their errors show when somebody asks for these bytes.
                ahead.iter().for_each(|block| drop(self.fly(&inode, *block)));
            }
            for flight in flights {
                flight.await?;
            }
        }
        Ok(())
    }

    /// Starts or joins the fetch of a block; the answer may be awaited or not.
    fn fly(
        &self,
        inode: &Inode,
        number: u64,
    ) -> impl Future<Output = Result<(), FetchError>> + use<> {
        let block = Block { ino: inode.ino, number, etag: inode.etag.clone() };
        let (waiting, lead) = self.inner.flights.join(block.clone());
        if let Some(lead) = lead {
            let inner = Arc::clone(&self.inner);
            self.inner.tasks.spawn("fetch block", inner.lead(block, lead));
        }
        async move { waiting.result().await.unwrap_or(Err(FetchError::Changed)) }
    }
}

impl Inner {
    fn window(&self, ino: Ino, range: &Range<u64>) -> Range<u64> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() >= READERS_MAX && !readers.contains_key(&ino) {
            readers.clear();
        }
        readers.entry(ino).or_default().miss(range)
    }

    async fn lead(self: Arc<Self>, block: Block, lead: Lead<Result<(), FetchError>>) {
        let result = self.block(block).await;
        lead.done(result);
    }

    /// Brings what is missing of one block.
    async fn block(&self, block: Block) -> Result<(), FetchError> {
        let Block { ino, number, etag } = block;
        let (inode, ranges) = self.catalog.inode_and_ranges(ino).await?;
        if inode.etag != etag {
            return Err(FetchError::Changed);
        }
        let whole = number * BLOCK_BYTES..((number + 1) * BLOCK_BYTES).min(inode.size);
        if whole.is_empty() {
            return Ok(());
        }
        let missing = ranges.missing(whole);
        let (Some(first), Some(last)) = (missing.first(), missing.last()) else { return Ok(()) };
        let hull = first.start..last.end;
        let (Some(etag), Some(key)) = (inode.etag.clone(), inode.object_key.clone()) else {
            return Err(FetchError::Local(format!("inode {} has no object to read from", ino.0)));
        };
        let _memory = self.budget.reserve(hull.end - hull.start).await;
        let bytes = match self.share.store.get(&key, hull.clone(), &etag).await {
            Ok(bytes) => bytes,
            Err(error) => return Err(self.look(&inode, error).await),
        };
        self.share.health.answered();
        let _held = self.locks.exclusive(ino).await;
        let (now, ranges) = self.catalog.inode_and_ranges(ino).await?;
        if now.etag != inode.etag {
            return Err(FetchError::Changed);
        }
        // What was written here meanwhile, committed or not, is newer than the object.
        let mut present = Arc::unwrap_or_clone(ranges);
        present.extend(&self.cache.overlay().ranges(ino));
        let install = present.missing(hull.start..hull.end.min(now.size));
        for part in &install {
            let from = usize::try_from(part.start - hull.start).expect("within the block");
            let to = usize::try_from(part.end - hull.start).expect("within the block");
            self.cache.write_at(ino, part.start, bytes.slice(from..to)).await?;
        }
        if !install.is_empty() {
            self.cache.sync(ino).await?;
            install.iter().for_each(|part| present.insert(part.clone()));
            let sums = self.sums(&now, (&hull, &bytes), &install, &present).await?;
            self.catalog.add_clean_ranges(ino, &etag, install, sums).await?;
        }
        Ok(())
    }

    /// The sums of the blocks that `install` has filled, of the bytes that S3 sent; where the rest of a
    /// block was here already, of what the disk has. `sent` are those bytes and where they begin. Call
    /// with the inode's exclusive lock held.
    async fn sums(
        &self,
        now: &Inode,
        (at, sent): (&Range<u64>, &[u8]),
        install: &[Range<u64>],
        present: &RangeSet,
    ) -> Result<BlockSums, FetchError> {
        let (mut known, mut mixed) = (BlockSums::new(), Vec::new());
        for block in install.iter().flat_map(sums::blocks) {
            let bytes = sums::bytes_of(block, now.size);
            if install.iter().any(|part| part.start <= bytes.start && part.end >= bytes.end) {
                let from = usize::try_from(bytes.start - at.start).expect("within the block");
                let to = usize::try_from(bytes.end - at.start).expect("within the block");
                known.push((block, sums::of_block(&sent[from..to])));
            } else if present.covers(&bytes) {
                mixed.push((block, sums::UNKNOWN));
            }
        }
        // What is written and not committed gets its sum with its commit.
        let written = self.cache.overlay().touched(now.ino, &mixed);
        let mut mixed: Vec<u64> = mixed.into_iter().map(|(block, _)| block).collect();
        mixed.retain(|block| !written.contains(block));
        mixed.dedup();
        known.extend(self.cache.sums_of(now.ino, mixed, now.size).await?);
        Ok(known)
    }

    /// A GET was refused: finds out what the object is now.
    async fn look(&self, inode: &Inode, error: StoreError) -> FetchError {
        self.share.health.failed(&error, self.clock.now());
        let (Some(etag), Some(key)) = (&inode.etag, &inode.object_key) else {
            return error.into();
        };
        let found = match error.kind {
            StoreErrorKind::NotFound => None,
            StoreErrorKind::Changed => match self.share.store.head(key).await {
                Ok(head) => Some(head),
                Err(head) if head.kind == StoreErrorKind::NotFound => None,
                Err(head) => return head.into(),
            },
            _ => return error.into(),
        };
        let settled = match found {
            None => self.catalog.mark_gone(inode.ino, etag).await,
            Some(head) => {
                let is = ChangedObject {
                    size: head.size,
                    etag: head.etag,
                    last_modified: head.last_modified,
                    now: self.clock.now(),
                };
                self.catalog.mark_changed(inode.ino, etag, is).await
            }
        };
        match settled {
            Ok(_) if inode.dirty => FetchError::Store {
                kind: StoreErrorKind::Changed,
                message: format!("object {key} changed while its file was being changed here"),
            },
            Ok(_) => FetchError::Changed,
            Err(error) => error.into(),
        }
    }
}

/// The blocks that hold any of `ranges`, each once, in order.
fn blocks(ranges: &[Range<u64>]) -> Vec<u64> {
    let touched: BTreeSet<u64> = ranges
        .iter()
        .filter(|range| !range.is_empty())
        .flat_map(|range| range.start / BLOCK_BYTES..=(range.end - 1) / BLOCK_BYTES)
        .collect();
    touched.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_touch_each_of_their_blocks_once() {
        assert_eq!(blocks(&[0..1, 2..BLOCK_BYTES, BLOCK_BYTES..BLOCK_BYTES + 1]), [0, 1]);
        assert_eq!(blocks(&[5..5, 7..7]), Vec::<u64>::new());
        let across = BLOCK_BYTES - 1..3 * BLOCK_BYTES;
        assert_eq!(blocks(std::slice::from_ref(&across)), [0, 1, 2]);
    }
}
