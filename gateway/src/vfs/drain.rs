//! Emptying a cache disk that was released: file by file, beside what clients do.
//!
//! What S3 has is dropped. What it does not have is moved to another disk, or waits for its upload where that is
//! more than [`MOVE_BYTES_MAX`]: a file that is being moved keeps its clients waiting. What is left is found in the
//! disk's directories, so a round that was broken off, by a restart too, is just begun anew.
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

impl WriteBack {
    /// One round over all disks that are to be emptied. A file that cannot leave is left for the next.
    ///
    /// # Errors
    /// Of a disk or the catalog; what has left stays away.
    pub async fn drain(&self) -> Result<Drained, FsError> {
        let mut all = Drained::default();
        for disk in self.cache.disks().iter().filter(|disk| disk.is_draining()) {
            let one = self.drain_disk(disk).await?;
            all = Drained { gone: all.gone + one.gone, left: all.left + one.left };
        }
        Ok(all)
    }

    async fn drain_disk(&self, disk: &CacheDisk) -> Result<Drained, FsError> {
        let mut drained = Drained::default();
        for shard in 0..=u8::MAX {
            for ino in self.cache.list(disk.id(), shard).await? {
                if !disk.is_draining() {
                    return Ok(drained);
                }
                match self.drain_file(disk.id(), ino).await {
                    Ok(true) => drained.gone += 1,
                    Ok(false) => drained.left += 1,
                    Err(error) => {
                        tracing::warn!(ino = ino.0, "stays on {} for now: {error}", disk.name());
                        drained.left += 1;
                    }
                }
            }
        }
        let empty = drained.gone + drained.left == 0;
        if empty && !disk.is_empty() {
            tracing::info!("cache disk {} is empty: it can be taken away", disk.name());
        }
        disk.note_empty(empty);
        Ok(drained)
    }

    /// Whether the file has left the disk.
    async fn drain_file(&self, disk: DiskId, ino: Ino) -> Result<bool, FsError> {
        let _held = self.locks.exclusive(ino).await;
        if self.cache.overlay().has(ino) {
            self.commit(ino).await?;
        }
        let row = match self.catalog.inode(ino).await {
            Ok(row) => row,
            Err(CatalogError::Gone(_)) => {
                self.cache.remove_on(disk, ino).await?;
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        };
        if self.catalog.with_bytes_on(disk, vec![ino]).await?.is_empty() {
            // Nothing of it means anything, or it is on another disk by now.
            let elsewhere = self.cache.disk_of(ino).await?.id() != disk;
            if elsewhere {
                self.cache.remove_on(disk, ino).await?;
            } else {
                self.cache.take_off(ino).await?;
            }
            return Ok(true);
        }
        if self.catalog.drop_ranges(ino).await? {
            self.cache.take_off(ino).await?;
            return Ok(true);
        }
        self.move_file(disk, &row).await
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
        if self.losses.has(from) {
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
        let copied = self.cache.copy_to(ino, ranges.clone(), to.id()).await;
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
