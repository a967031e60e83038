//! Emptying a cache disk that was released: file by file, beside what clients do.
//!
//! What S3 has is dropped. What it does not have is moved to another disk, or waits for its upload where that is
//! more than [`MOVE_BYTES_MAX`]: a file that is being moved keeps its clients waiting. What is left is found in the
//! disk's directories, so a round that was broken off, by a restart too, is just begun anew.
use std::sync::{Arc, atomic::Ordering};

use super::{FsError, write_back::WriteBack};
use crate::{
    cache::{CacheDisk, RangeSet},
    catalog::{CatalogError, Inode},
    ids::{DiskId, Ino},
};

/// Most bytes of a file that are moved: a few seconds' work for a slow disk.
const MOVE_BYTES_MAX: u64 = 256 << 20;

/// What one round has left on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Files that left.
    pub gone: u64,
    /// Files that are still there.
    pub left: u64,
}

/// What came of a file on such a disk.
enum Left {
    /// It is on another disk, or nowhere.
    Gone,
    /// It is there for now: so many bytes that S3 does not have.
    Stays { dirty_bytes: u64 },
}

impl WriteBack {
    /// One round over all disks that are to be emptied. A file that cannot leave is left for the next, and a
    /// disk that fails keeps no other from being emptied.
    ///
    /// # Errors
    /// Of the first disk that failed, or of the catalog; what has left stays away.
    pub async fn drain(self: &Arc<Self>) -> Result<Drained, FsError> {
        let mut all = Ok(Drained::default());
        for disk in self.cache.disks().iter().filter(|disk| disk.is_draining()) {
            let one = self.drain_disk(disk).await;
            all = match (all, one) {
                (Ok(all), Ok(one)) => {
                    Ok(Drained { gone: all.gone + one.gone, left: all.left + one.left })
                }
                (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            };
        }
        all
    }

    async fn drain_disk(self: &Arc<Self>, disk: &CacheDisk) -> Result<Drained, FsError> {
        let mut drained = Drained::default();
        let mut bytes = 0_u64;
        for shard in 0..=u8::MAX {
            for ino in self.cache.list(disk.id(), shard).await? {
                if !disk.is_draining() {
                    return Ok(drained);
                }
                // Whatever becomes of who waits for it: half a move must not be seen.
                let (this, id) = (Arc::clone(self), disk.id());
                let drained_file = tokio::spawn(async move { this.drain_file(id, ino).await });
                match drained_file.await.unwrap_or_else(|died| {
                    tracing::error!(ino = ino.0, "moving it off {} died: {died}", disk.name());
                    Err(FsError::Io)
                }) {
                    Ok(Left::Gone) => drained.gone += 1,
                    Ok(Left::Stays { dirty_bytes }) => {
                        drained.left += 1;
                        bytes = bytes.saturating_add(dirty_bytes);
                    }
                    Err(error) => {
                        tracing::warn!(ino = ino.0, "stays on {} for now: {error}", disk.name());
                        drained.left += 1;
                    }
                }
            }
        }
        disk.note_left(bytes);
        let empty = drained.gone + drained.left == 0;
        if empty && !disk.is_empty() {
            tracing::info!("cache disk {} is empty: it can be taken away", disk.name());
        }
        disk.note_empty(empty);
        Ok(drained)
    }

    async fn drain_file(&self, disk: DiskId, ino: Ino) -> Result<Left, FsError> {
        let _held = self.locks.exclusive(ino).await;
        if self.cache.overlay().has(ino) {
            self.commit(ino).await?;
        }
        let row = match self.catalog.inode(ino).await {
            Ok(row) => row,
            Err(CatalogError::Gone(_)) => {
                self.cache.remove_on(disk, ino).await?;
                return Ok(Left::Gone);
            }
            Err(error) => return Err(error.into()),
        };
        if self.catalog.with_bytes_on(disk, vec![ino]).await?.is_empty() {
            if self.catalog.ranges(ino).await?.is_empty() {
                // None of it means anything, wherever it is.
                self.cache.take_off(ino).await?;
            } else {
                // The catalog says which of two copies is the file, and this one is not.
                let is = self.catalog.disk_of(ino).await?;
                self.cache.only_on(ino, (disk, is)).await?;
            }
            return Ok(Left::Gone);
        }
        if self.catalog.drop_ranges(ino).await? {
            self.cache.take_off(ino).await?;
            return Ok(Left::Gone);
        }
        if self.move_file(disk, &row).await? {
            return Ok(Left::Gone);
        }
        Ok(Left::Stays { dirty_bytes: row.size })
    }

    /// Forgets what the cache has of a file of which the catalog knows nothing any more.
    pub async fn forget_file(&self, ino: Ino) {
        if let Err(error) = self.cache.remove(ino).await {
            tracing::warn!(ino = ino.0, "cache file of a lost file stays for now: {error}");
        }
    }

    /// Moves a file that S3 does not have completely. Call with the inode's exclusive lock held and nothing
    /// uncommitted.
    async fn move_file(&self, from: DiskId, row: &Inode) -> Result<bool, FsError> {
        let ino = row.ino;
        if self.cache.losses().has(from) {
            // What the disk gives may be holes where carried bytes belong: they are written again first.
            return Ok(false);
        }
        let ranges = self.catalog.ranges(ino).await?;
        let Some(to) = self.cache.disk_instead_of(from) else { return Ok(false) };
        let bytes = ranges.bytes();
        if bytes > MOVE_BYTES_MAX || !has_room(to, bytes)? {
            // Its upload comes, or somebody else's.
            return Ok(false);
        }
        let copied = self.cache.copy_to(ino, ranges.clone(), (from, to.id())).await;
        if let Err(error) = copied {
            self.cache.remove_on(to.id(), ino).await?;
            return Err(error.into());
        }
        self.settle_move(ino, (from, to.id()), &ranges).await
    }

    /// Lets the catalog say where the file is, and goes by that whatever came of it.
    async fn settle_move(
        &self,
        ino: Ino,
        (from, to): (DiskId, DiskId),
        ranges: &RangeSet,
    ) -> Result<bool, FsError> {
        let said = self.catalog.move_to_disk(ino, to).await;
        // A commit that failed may have been made.
        if self.catalog.disk_of(ino).await? == to {
            self.moved.fetch_add(1, Ordering::AcqRel);
            self.cache.moved(ino, (from, to), ranges).await?;
            return Ok(true);
        }
        self.cache.remove_on(to, ino).await?;
        said?;
        Ok(false)
    }
}

fn has_room(disk: &CacheDisk, bytes: u64) -> Result<bool, FsError> {
    disk.space().admit(bytes).map_err(|error| super::evict::not_told(disk, &error))
}
