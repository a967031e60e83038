//! Installs the bytes that have come: whoever holds the file's lock takes all that have come of it by then.
//!
//! Bytes are present only when they are on the disk (I1), which takes a sync of the file. A reader that reads on has many
//! GETs under way: while the bytes of one are being synced, those of others arrive, and go together with the next sync.
//! Nobody has the file's lock meanwhile: it is read, and what has come is written, while the disk works. So it is
//! looked again, before the bytes count, whether they are still what was written.
use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::fetcher::{FetchError, Inner};
use crate::{
    cache::{RangeSet, Watch},
    catalog::Inode,
    failpoint::{self, Point},
    ids::Ino,
    object::ETag,
    sums::{self, BlockSums},
};

/// Bytes that are installed together, at most, besides those of the last GET: so long is the file's lock held.
const TOGETHER_BYTES_MAX: u64 = 16 << 20;

/// What one GET has brought.
#[derive(Debug)]
struct Arrived {
    /// Where it belongs.
    hull: Range<u64>,
    bytes: Bytes,
    done: oneshot::Sender<Result<(), FetchError>>,
}

/// What has been written of what has come.
struct Written {
    /// The file when it was; `None`: nothing was written, and all have been told why.
    row: Option<Arc<Inode>>,
    /// What has come, and the parts of it that were missing.
    arrived: Vec<(Arrived, Vec<Range<u64>>)>,
}

impl Arrived {
    fn end(self, result: Result<(), FetchError>) {
        // Nobody waits any more when the gateway stops.
        drop(self.done.send(result));
    }
}

/// What has come and is not installed, of each object. Its memory is reserved by those who wait.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Mutex<HashMap<(Ino, ETag), Vec<Arrived>>>);

impl Arrivals {
    fn push(&self, object: (Ino, ETag), arrived: Arrived) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(object).or_default().push(arrived);
    }

    /// The longest there first. Each call takes one at least, if there is any; so when each who has pushed one has
    /// called once after that, none is left.
    fn take(&self, object: &(Ino, ETag)) -> Vec<Arrived> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = all.get_mut(object) else { return Vec::new() };
        let mut bytes = 0;
        let fits = |arrived: &&Arrived| {
            let before = bytes;
            bytes += arrived.hull.end - arrived.hull.start;
            before < TOGETHER_BYTES_MAX
        };
        let count = waiting.iter().take_while(fits).count();
        let taken: Vec<Arrived> = waiting.drain(..count).collect();
        if waiting.is_empty() {
            all.remove(object);
        }
        taken
    }
}

impl Inner {
    /// Returns when the bytes at `hull` of the object `etag` are in the cache, or newer ones.
    pub(super) async fn installed(
        &self,
        ino: Ino,
        etag: &ETag,
        hull: Range<u64>,
        bytes: Bytes,
    ) -> Result<(), FetchError> {
        let object = (ino, etag.clone());
        let (done, result) = oneshot::channel();
        self.arrivals.push(object.clone(), Arrived { hull, bytes, done });
        let held = self.locks.exclusive(ino).await;
        // Nothing, if somebody who held the lock before has taken it.
        let arrived = self.arrivals.take(&object);
        if arrived.is_empty() {
            drop(held);
        } else {
            let written = self.write_all(ino, etag, arrived).await;
            let watch = self.cache.watch(ino);
            drop(held);
            self.count(written, etag, watch).await;
        }
        // Whoever took it and went away has left nothing that counts.
        result.await.unwrap_or(Err(FetchError::Changed))
    }

    /// Has what was written counted when it is on the disk. Call without the inode's lock.
    async fn count(&self, written: Written, etag: &ETag, watch: Watch) {
        let Written { row: Some(row), arrived } = written else { return };
        let synced = self.synced(row.ino, &arrived).await;
        let _held = self.locks.exclusive(row.ino).await;
        // A sync of a file that is gone says nothing of the next one's.
        let is_there = watch.has_all() && (synced.is_err() || self.is_as_before(&row).await);
        if !is_there {
            if let Err(error) = &synced {
                tracing::warn!(ino = row.ino.0, "bytes from S3 are written once more: {error}");
            }
            let arrived = arrived.into_iter().map(|(arrived, _)| arrived).collect();
            return self.install(row.ino, etag, arrived).await;
        }
        let result = match synced {
            Ok(()) => self.note(&row, etag, &arrived).await,
            Err(error) => Err(error),
        };
        arrived.into_iter().for_each(|(arrived, _)| arrived.end(result.clone()));
    }

    /// Writes, syncs and counts what has come with the inode's exclusive lock held from the beginning to the end.
    async fn install(&self, ino: Ino, etag: &ETag, arrived: Vec<Arrived>) {
        let Written { row: Some(row), arrived } = self.write_all(ino, etag, arrived).await else {
            return;
        };
        let result = match self.synced(ino, &arrived).await {
            Ok(()) => self.note(&row, etag, &arrived).await,
            Err(error) => Err(error),
        };
        arrived.into_iter().for_each(|(arrived, _)| arrived.end(result.clone()));
    }

    /// Writes what is missing to the cache file. Call with the inode's exclusive lock held.
    async fn write_all(&self, ino: Ino, etag: &ETag, arrived: Vec<Arrived>) -> Written {
        let (row, mut present) = match self.still(ino, etag).await {
            Ok(still) => still,
            Err(error) => {
                arrived.into_iter().for_each(|arrived| arrived.end(Err(error.clone())));
                return Written { row: None, arrived: Vec::new() };
            }
        };
        let mut written = Vec::with_capacity(arrived.len());
        for arrived in arrived {
            match self.write(&row, &arrived, &mut present).await {
                Ok(install) => written.push((arrived, install)),
                Err(error) => arrived.end(Err(error)),
            }
        }
        Written { row: Some(row), arrived: written }
    }

    /// Returns when what was written is on the disk.
    async fn synced(
        &self,
        ino: Ino,
        written: &[(Arrived, Vec<Range<u64>>)],
    ) -> Result<(), FetchError> {
        if written.iter().all(|(_, install)| install.is_empty()) {
            return Ok(());
        }
        failpoint::passed(Point::FetchAfterWrite);
        self.cache.sync(ino).await?;
        failpoint::passed(Point::FetchAfterSync);
        Ok(())
    }

    /// Whether nobody has written to the file since `row` was read, or has begun to. A burst that was open then may have been
    /// committed since, which gives the file no other version. Call with the inode's exclusive lock held.
    async fn is_as_before(&self, row: &Inode) -> bool {
        let now = self.catalog.inode(row.ino).await;
        let is_same = now.is_ok_and(|now| now.version == row.version && now.etag == row.etag);
        is_same && !row.writing && !self.cache.overlay().has(row.ino)
    }

    /// The file, if it is still that object's, and what of it is here. What was written here meanwhile, committed or
    /// not, is newer than the object.
    async fn still(&self, ino: Ino, etag: &ETag) -> Result<(Arc<Inode>, RangeSet), FetchError> {
        let (now, ranges) = self.catalog.inode_and_ranges(ino).await?;
        if now.etag.as_ref() != Some(etag) {
            return Err(FetchError::Changed);
        }
        let mut present = Arc::unwrap_or_clone(ranges);
        present.extend(&self.cache.overlay().ranges(ino));
        Ok((now, present))
    }

    /// Writes what is missing of it to the cache file, and notes it in `present`.
    async fn write(
        &self,
        now: &Inode,
        Arrived { hull, bytes, .. }: &Arrived,
        present: &mut RangeSet,
    ) -> Result<Vec<Range<u64>>, FetchError> {
        let install = present.missing(hull.start..hull.end.min(now.size));
        for part in &install {
            let from = usize::try_from(part.start - hull.start).expect("within the block");
            let to = usize::try_from(part.end - hull.start).expect("within the block");
            self.cache.write_at(now.ino, part.start, bytes.slice(from..to)).await?;
        }
        install.iter().for_each(|part| present.insert(part.clone()));
        Ok(install)
    }

    /// Notes in the catalog what was written and is on the disk (I1). Call with the inode's exclusive lock held.
    async fn note(
        &self,
        now: &Inode,
        etag: &ETag,
        written: &[(Arrived, Vec<Range<u64>>)],
    ) -> Result<(), FetchError> {
        if written.iter().all(|(_, install)| install.is_empty()) {
            return Ok(());
        }
        let (_, mut present) = self.still(now.ino, etag).await?;
        let installed = || written.iter().flat_map(|(_, install)| install.iter().cloned());
        installed().for_each(|part| present.insert(part));
        let mut sums = BlockSums::new();
        for (Arrived { hull, bytes, .. }, install) in written {
            sums.extend(self.sums(now, (hull, bytes), install, &present).await?);
        }
        // Of a block that two have filled, both say the same: what the disk has.
        sums.sort_unstable();
        sums.dedup();
        let disk = self.cache.disk_of(now.ino).await?.id();
        let ranges = installed().collect();
        self.catalog.add_clean_ranges(now.ino, etag, disk, ranges, sums).await?;
        failpoint::passed(Point::FetchAfterCatalog);
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
}

#[cfg(test)]
mod tests;
