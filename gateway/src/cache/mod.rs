//! The cache disks: one sparse file per inode, holding the bytes that are here.
//!
//! Owns: `DIR/data/XX/INO` of each disk. Which of a file's bytes mean something is the catalog's to know; what was
//! written and not committed is in the [`overlay`]. Must not know: the catalog, S3, names.
//!
//! Lock rank: a file's own state, below the inode locks. Blocking work runs on the blocking pool.
mod buffers;
pub mod disk;
mod disks;
pub mod evict;
mod fresh;
pub mod losses;
mod moving;
mod open;
pub mod overlay;
mod places;
mod reach;
pub mod recency;
#[cfg(any(test, feature = "testing"))]
pub mod sim_disk;
#[cfg(any(test, feature = "testing"))]
pub mod small_disk;
pub mod space;
mod sync;
mod watch;
mod written;

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use tokio::task::{self, JoinError};

pub use disk::{DiskIo, DiskSpace, HostDisk};
pub use disks::{CacheDisk, DISKS_MAX, DiskAt, Unopened};
pub use overlay::Overlay;
pub use space::{Space, Spaces};
pub use watch::Watch;

pub use crate::ranges::{self, RangeSet};
use crate::{
    blocking,
    essential::{self, Step},
    ids::Ino,
    sums::{self, BlockSums},
};
use buffers::{Buffer, Buffers};
use disks::Disks;
use fresh::Fresh;
use losses::Losses;
use open::OpenFiles;
use reach::OutOfReach;
use watch::Watches;

/// Bytes that are copied from memory where they are asked for: the most that one READ gives. More, or
/// what is not in memory, is read on the blocking pool.
const READ_AT_ONCE_BYTES_MAX: usize = 1 << 20;
/// Bytes that are written where they came, if nobody else waits there.
const WRITE_AT_ONCE_BYTES_MAX: usize = 64 * 1024;

/// What the cache can refuse.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The disk refused.
    #[error("cache file {}: {action} failed: {source}", ino.0)]
    Disk {
        /// Whose file.
        ino: Ino,
        /// What was attempted.
        action: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// The file ends before bytes that should be there.
    #[error("cache file {} ends before byte {end}", ino.0)]
    Short {
        /// Whose file.
        ino: Ino,
        /// The first byte that was not asked for.
        end: u64,
    },
    /// Bytes are not those that were written.
    #[error("cache file {}: {} blocks of 4 KiB from block {first} on are not what was written", ino.0, count)]
    Damaged {
        /// Whose file.
        ino: Ino,
        /// The first block.
        first: u64,
        /// How many.
        count: usize,
    },
    /// The directory of cache files cannot be used.
    #[error("cache directory {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// The catalog refused (said in its words).
    #[error("catalog: {0}")]
    Catalog(String),
}

impl CacheError {
    /// Whether the disk is full.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Disk { source, .. } | Self::Directory { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Short { .. } | Self::Damaged { .. } | Self::Catalog(_) => false,
        }
    }
}

/// The cache files. Cloning gives another handle to the same cache.
#[derive(Clone, Debug)]
pub struct CacheStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disks: Disks,
    reach: OutOfReach,
    open: OpenFiles,
    overlay: Overlay,
    watches: Watches,
    losses: Losses,
    buffers: Buffers,
    /// Files that have no cache file for certain.
    fresh: Fresh,
}

impl CacheStore {
    /// Opens a cache of one disk, in the directory `cache`, making what is missing. Blocks.
    ///
    /// # Errors
    /// [`CacheError::Directory`].
    pub fn open(disk: Arc<dyn DiskIo>, cache: &Path) -> Result<Self, CacheError> {
        Self::open_all(vec![DiskAt::primary(disk, cache)])
    }

    /// The same of several disks, [`DISKS_MAX`] at most, the primary first.
    ///
    /// # Errors
    /// [`CacheError::Directory`] of the first that does not open.
    pub fn open_all(disks: Vec<DiskAt>) -> Result<Self, CacheError> {
        let (cache, unopened) = Self::open_those_that_open(disks)?;
        unopened.into_iter().next().map_or(Ok(cache), |(_, error)| Err(error))
    }

    /// The same without further disks that do not open; tells which these are.
    ///
    /// # Errors
    /// [`CacheError::Directory`] of the primary.
    pub fn open_those_that_open(disks: Vec<DiskAt>) -> Result<(Self, Unopened), CacheError> {
        let (disks, unopened) = Disks::open(disks)?;
        let cache = Self {
            inner: Arc::new(Inner {
                disks,
                reach: OutOfReach::default(),
                open: OpenFiles::default(),
                overlay: Overlay::default(),
                watches: Watches::default(),
                losses: Losses::default(),
                buffers: Buffers::default(),
                fresh: Fresh::default(),
            }),
        };
        Ok((cache, unopened))
    }

    /// What has been written and not committed.
    pub fn overlay(&self) -> &Overlay {
        &self.inner.overlay
    }

    /// The syncs that have failed.
    pub fn losses(&self) -> &Losses {
        &self.inner.losses
    }

    /// The file has come in this run: it has no cache file.
    pub fn has_come(&self, ino: Ino) {
        self.inner.fresh.note(ino);
    }

    /// Whether a burst of writes that begins is the first that the file gets a cache file for. `false` if nobody knows:
    /// what an earlier run or a longer object has left beyond its end must be cut off then.
    pub fn is_first_write(&self, ino: Ino) -> bool {
        self.inner.fresh.take(ino)
    }

    /// The space of all disks that take files.
    pub fn space(&self) -> Spaces<'_> {
        Spaces(self.disks())
    }

    /// Bytes `range` of the file.
    ///
    /// # Errors
    /// [`CacheError::Short`] when the file does not reach that far, [`CacheError::Disk`].
    pub async fn read_at(&self, ino: Ino, range: Range<u64>) -> Result<Bytes, CacheError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let short = CacheError::Short { ino, end: range.end };
        let Ok(count) = usize::try_from(range.end - range.start) else { return Err(short) };
        let mut buffer = self.inner.buffers.take(count);
        if count <= READ_AT_ONCE_BYTES_MAX
            && let Some(open) = self.inner.open.get(ino)
        {
            let read = open.file.read_cached(&mut buffer, range.start);
            let failed = |source| CacheError::Disk { ino, action: "read", source };
            if read.map_err(failed)? == Some(count) {
                return Ok(buffer.freeze());
            }
        }
        let found = self
            .long(ino, "read", move |inner| {
                let Some(open) = inner.existing(ino)? else { return Ok(None) };
                let read = open.file.read_at(&mut buffer, range.start)?;
                Ok((read == count).then_some(buffer))
            })
            .await?;
        found.map(Buffer::freeze).ok_or(short)
    }

    /// The sums of `blocks` of a file of `size` bytes, as the disk has them. Those that the file does not
    /// reach are left out.
    ///
    /// # Errors
    /// [`CacheError::Disk`].
    pub async fn sums_of(
        &self,
        ino: Ino,
        blocks: Vec<u64>,
        size: u64,
    ) -> Result<BlockSums, CacheError> {
        if blocks.is_empty() {
            return Ok(BlockSums::new());
        }
        self.short(ino, "read", move |inner| {
            let Some(open) = inner.existing(ino)? else { return Ok(BlockSums::new()) };
            let mut buffer = vec![0; sums::BLOCK];
            let mut found = BlockSums::with_capacity(blocks.len());
            for block in blocks {
                let bytes = sums::bytes_of(block, size);
                let wanted = usize::try_from(bytes.end - bytes.start).map_err(io::Error::other)?;
                if wanted > 0 && open.file.read_at(&mut buffer[..wanted], bytes.start)? == wanted {
                    found.push((block, sums::of_block(&buffer[..wanted])));
                }
            }
            Ok(found)
        })
        .await
    }

    /// Writes `data` at `offset`, making the file if need be. Durable after [`CacheStore::sync`].
    ///
    /// # Errors
    /// [`CacheError::Disk`]; the bytes in the range may then be anything.
    pub async fn write_at(&self, ino: Ino, offset: u64, data: Bytes) -> Result<(), CacheError> {
        let range = offset..offset + data.len() as u64;
        let small = data.len() <= WRITE_AT_ONCE_BYTES_MAX;
        let write = move |inner: &Inner| inner.opened(ino)?.file.write_all_at(&data, offset);
        let written = if small {
            self.short(ino, "write", write).await
        } else {
            self.blocking(ino, "write", write).await
        };
        // After the write: it is known which disk has the file.
        self.note_use(ino, &range);
        written
    }

    /// Cuts the file to `size`, or extends it with zeros that use no space. Whatever it held beyond
    /// `keep` bytes is zero afterwards.
    ///
    /// # Errors
    /// [`CacheError::Disk`].
    pub async fn set_len(&self, ino: Ino, keep: u64, size: u64) -> Result<(), CacheError> {
        self.inner.watches.taken(ino);
        self.blocking(ino, "truncate", move |inner| {
            let open = inner.opened(ino)?;
            if open.file.size()? > keep.min(size) {
                open.file.set_len(keep.min(size))?;
            }
            open.file.set_len(size)
        })
        .await
    }

    /// Bytes of its disk that the file takes; a file that is not there takes none.
    ///
    /// # Errors
    /// [`CacheError::Disk`].
    pub async fn occupied(&self, ino: Ino) -> Result<u64, CacheError> {
        self.blocking(ino, "measure", move |inner| match inner.existing(ino)? {
            Some(open) => open.file.occupied(),
            None => Ok(0),
        })
        .await
    }

    /// Cuts the file to `size` if it is longer; a file that is not there stays so. Of one that is cut to
    /// nothing it does not matter which disk is missing.
    ///
    /// # Errors
    /// [`CacheError::Disk`].
    pub async fn cut(&self, ino: Ino, size: u64) -> Result<(), CacheError> {
        if size == 0 {
            self.back_in_reach(ino);
        }
        self.inner.watches.taken(ino);
        self.blocking(ino, "truncate", move |inner| match inner.existing(ino)? {
            Some(open) if open.file.size()? > size => open.file.set_len(size),
            Some(_) | None => Ok(()),
        })
        .await
    }

    /// Takes `range` off the disk, which nobody may ask for any more: it holds no space then. Not synced, as
    /// [`CacheStore::remove`].
    ///
    /// # Errors
    /// [`CacheError::Disk`].
    pub async fn punch(&self, ino: Ino, range: Range<u64>) -> Result<(), CacheError> {
        self.inner.watches.taken(ino);
        self.blocking(ino, "free a part", move |inner| match inner.existing(ino)? {
            Some(open) => open.file.punch(range),
            None => Ok(()),
        })
        .await
    }

    /// Returns when all earlier writes of the file, and its name in its directory, are on the disk.
    /// Callers share syncs. A file that is not there has nothing to sync, unless something was written to it.
    ///
    /// # Errors
    /// [`CacheError::Disk`]: writes may be lost, [`Losses`] knows of it, and the overlay has fenced all that
    /// were not committed. Never call again and take success for it: the kernel forgets failed pages (D7).
    pub async fn sync(&self, ino: Ino) -> Result<(), CacheError> {
        let failed = |source| CacheError::Disk { ino, action: "sync", source };
        let mut found = self.short(ino, "open", move |inner| inner.existing(ino)).await?;
        if found.is_none() && !self.inner.overlay.ranges(ino).is_empty() {
            // Made since, where whoever asks has not locked the inode; else it is lost.
            found = self.short(ino, "open", move |inner| inner.existing(ino)).await?;
            if found.is_none() {
                return Err(failed(self.inner.not_there(ino)));
            }
        }
        let Some(open) = found else { return Ok(()) };
        let inner = Arc::clone(&self.inner);
        let disk = inner.disks.all()[open.slot].id();
        let fence = move || {
            inner.losses.note(disk);
            inner.overlay.sync_failed(ino);
            // Bytes that others have written meanwhile may be among the lost ones, and the next sync says nothing.
            inner.watches.taken(ino);
        };
        open.syncs.sync(Arc::clone(&open.file), fence).await.map_err(failed)?;
        if !open.entry_synced.load(Ordering::Acquire) {
            let slot = open.slot;
            self.blocking(ino, "sync the directory", move |inner| {
                if essential::is_left_out(Step::CacheEntrySync) {
                    return Ok(());
                }
                let disk = &inner.disks.all()[slot];
                disk.io.sync_dir(&disk.shard(ino)).inspect_err(|_| {
                    inner.losses.note(disk.id());
                    inner.overlay.sync_failed(ino);
                })
            })
            .await?;
            open.entry_synced.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Bytes from the file's start to its end; 0 when it is not there.
    ///
    /// # Errors
    /// [`CacheError::Disk`].
    pub async fn len(&self, ino: Ino) -> Result<u64, CacheError> {
        self.blocking(ino, "stat", move |inner| match inner.existing(ino)? {
            Some(open) => open.file.size(),
            None => Ok(0),
        })
        .await
    }

    /// Whether the file is there.
    ///
    /// # Errors
    /// [`CacheError::Disk`].
    pub async fn exists(&self, ino: Ino) -> Result<bool, CacheError> {
        self.blocking(ino, "open", move |inner| Ok(inner.existing(ino)?.is_some())).await
    }

    /// Removes the file and forgets what was pending of it. Not synced: after a power cut it may be
    /// there again, of no inode or without ranges, and recovery removes it.
    ///
    /// # Errors
    /// [`CacheError::Disk`].
    pub async fn remove(&self, ino: Ino) -> Result<(), CacheError> {
        self.inner.overlay.forget(ino);
        self.disks().iter().for_each(|disk| disk.recency().removed(ino));
        self.back_in_reach(ino);
        self.take_off(ino).await
    }

    /// Takes the whole file off the disk, which nobody may ask for any more, as [`CacheStore::punch`] does a
    /// part: when it was used is still known.
    pub async fn take_off(&self, ino: Ino) -> Result<(), CacheError> {
        self.inner.watches.taken(ino);
        self.blocking(ino, "remove", move |inner| {
            let removed = inner.disks.remove(ino);
            inner.taken_off(ino, None);
            removed
        })
        .await
    }

    /// Notes that a client has used `range`: what was not used for longest leaves the cache first. Writing
    /// is noted by itself.
    pub fn note_use(&self, ino: Ino, range: &Range<u64>) {
        let mut recency = self.recency_of(ino).recency();
        for (part, bytes) in evict::parts(ino, range) {
            recency.used(part, bytes);
        }
    }

    /// Notes that S3 has the file, of which `ranges` are here: it may leave, and nobody who made room was told
    /// so when it asked. That is no use of it.
    pub fn note_clean(&self, ino: Ino, ranges: &RangeSet) {
        let mut recency = self.recency_of(ino).recency();
        let mut last = None;
        for (part, bytes) in ranges.iter().flat_map(|range| evict::parts(ino, &range)) {
            // Once for a part with holes.
            if last.replace(part) != Some(part) && !recency.is_clean(part, bytes) {
                return;
            }
        }
    }

    /// The same for a file of `size` bytes of which all parts are known to be here, so that nobody needs to look up what
    /// is; `false`, and perhaps only some of it noted, for another one.
    pub fn note_known_clean(&self, ino: Ino, size: u64) -> bool {
        let mut recency = self.recency_of(ino).recency();
        evict::parts(ino, &(0..size)).all(|(part, _)| recency.is_known_clean(part))
    }

    /// Notes that other files are pinned from now on.
    pub fn note_pins(&self) {
        self.disks().iter().for_each(|disk| disk.recency().pins_changed());
    }

    /// The disk that is to know when the file was used. What another one knows of it costs nobody anything but
    /// a look.
    fn recency_of(&self, ino: Ino) -> &CacheDisk {
        &self.disks()[self.inner.disks.known(ino).unwrap_or(0)]
    }

    /// As [`CacheStore::blocking`], for what is done in a moment.
    async fn short<T, F>(&self, ino: Ino, action: &'static str, act: F) -> Result<T, CacheError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        told(ino, action, blocking::short(move || act(&inner)).await)
    }

    /// The same where whoever asks may wait for the disk himself.
    async fn long<T, F>(&self, ino: Ino, action: &'static str, act: F) -> Result<T, CacheError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        told(ino, action, blocking::long(move || act(&inner)).await)
    }

    async fn blocking<T, F>(&self, ino: Ino, action: &'static str, act: F) -> Result<T, CacheError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        told(ino, action, task::spawn_blocking(move || act(&inner)).await)
    }
}

/// What came of `action` on a file.
fn told<T>(
    ino: Ino,
    action: &'static str,
    done: Result<io::Result<T>, JoinError>,
) -> Result<T, CacheError> {
    done.unwrap_or_else(|_| Err(io::Error::other("the disk thread panicked")))
        .map_err(|source| CacheError::Disk { ino, action, source })
}

#[cfg(test)]
mod tests;
