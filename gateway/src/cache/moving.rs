//! Files that change disks, and what is asked of one disk alone.
//!
//! Order of a move, with the inode locked exclusively and nothing uncommitted: the bytes are durable on the
//! other disk ([`CacheStore::copy_to`]) → the catalog says so → [`CacheStore::moved`]. After a crash the
//! catalog tells which of two copies is the file; the next start removes the other.
use std::{io, sync::Arc};

use bytes::Bytes;
use tokio::task;

use super::{CacheDisk, CacheError, CacheStore, Inner, RangeSet, told};
use crate::{
    essential::{self, Step},
    ids::{DiskId, Ino},
};

/// What is copied at a time.
const PIECE_BYTES: usize = 1 << 20;

impl CacheStore {
    /// The disks in use, the primary first.
    pub fn disks(&self) -> &[CacheDisk] {
        self.inner.disks.all()
    }

    /// The disk of this number, if it is in use.
    pub fn disk(&self, id: DiskId) -> Option<&CacheDisk> {
        self.disks().iter().find(|disk| disk.id() == id)
    }

    /// The disk that has the file, or that it will be made on.
    ///
    /// # Errors
    /// [`CacheError::Disk`].
    pub async fn disk_of(&self, ino: Ino) -> Result<&CacheDisk, CacheError> {
        let open = self.inner.open.slot_of(ino);
        let slot = match open.or_else(|| self.inner.disks.known(ino)) {
            Some(slot) => slot,
            None => self.short(ino, "look", move |inner| inner.disks.look_up(ino)).await?,
        };
        Ok(&self.disks()[slot])
    }

    /// The same without waiting: a guess, for a file that was not used for long.
    pub fn likely_disk_of(&self, ino: Ino) -> &CacheDisk {
        &self.disks()[self.inner.disks.place(ino)]
    }

    /// Another disk for a file that leaves `from`; `None` when no other takes files.
    pub fn disk_instead_of(&self, from: DiskId) -> Option<&CacheDisk> {
        let slot = self.inner.disks.choose_but(self.inner.disks.slot(from))?;
        Some(&self.disks()[slot])
    }

    /// Copies `ranges` of the file from one disk to the other, durably. Call with the inode locked exclusively and
    /// nothing uncommitted. The file is still where it was.
    ///
    /// # Errors
    /// [`CacheError::Disk`]; `to` may have a part of it then.
    pub async fn copy_to(
        &self,
        ino: Ino,
        ranges: RangeSet,
        (from, to): (DiskId, DiskId),
    ) -> Result<(), CacheError> {
        self.blocking(ino, "move", move |inner| {
            let is = inner.disks.slot(from);
            inner.is_on(ino, is);
            let copied = inner.copy(ino, &ranges, (from, to));
            // Whoever looked for it meanwhile may have found the copy.
            inner.is_on(ino, is);
            copied
        })
        .await
    }

    /// The catalog says that the file, of which `ranges` are here, is on `to`: it is used there from here on,
    /// and removed from `from`.
    ///
    /// # Errors
    /// [`CacheError::Disk`]: the old copy could not be removed, and is at the next start.
    pub async fn moved(
        &self,
        ino: Ino,
        (from, to): (DiskId, DiskId),
        ranges: &RangeSet,
    ) -> Result<(), CacheError> {
        let removed = self.only_on(ino, (from, to)).await;
        if self.inner.disks.slot(to).is_some() {
            for range in ranges.iter() {
                self.note_use(ino, &range);
            }
        }
        removed
    }

    /// The file is on the disk `is`, whatever was thought of it; what `old` has under its name is removed. Call with
    /// the inode locked exclusively and nothing uncommitted.
    ///
    /// # Errors
    /// [`CacheError::Disk`]: the old copy could not be removed.
    pub async fn only_on(&self, ino: Ino, (old, is): (DiskId, DiskId)) -> Result<(), CacheError> {
        self.inner.watches.taken(ino);
        self.blocking(ino, "remove", move |inner| {
            let is = inner.disks.slot(is);
            inner.is_on(ino, is);
            let removed = inner.remove_from(ino, old);
            // Whoever looked for it in between may have found the old copy.
            inner.is_on(ino, is);
            removed
        })
        .await
    }

    /// Removes what the disk has under the name of this file, which is on another or nowhere.
    ///
    /// # Errors
    /// [`CacheError::Disk`].
    pub async fn remove_on(&self, disk: DiskId, ino: Ino) -> Result<(), CacheError> {
        self.inner.watches.taken(ino);
        self.blocking(ino, "remove", move |inner| inner.remove_from(ino, disk)).await
    }

    /// Writes `data` at the beginning of the file on this disk, whatever other disks have, and makes it at
    /// least `size` bytes long. For the start, before anything is open. Durable after
    /// [`CacheStore::sync_all`].
    ///
    /// # Errors
    /// [`CacheError::Disk`].
    pub async fn write_on(
        &self,
        disk: DiskId,
        ino: Ino,
        data: Bytes,
        size: u64,
    ) -> Result<(), CacheError> {
        self.blocking(ino, "write", move |inner| {
            let slot = inner.disks.slot(disk);
            let disk = inner.disk(disk)?;
            let file = disk.io.open(&disk.path(ino), true)?;
            file.write_all_at(&data, 0)?;
            if file.size()? < size {
                file.set_len(size)?;
            }
            slot.into_iter().for_each(|slot| inner.disks.set_place(ino, slot));
            Ok(())
        })
        .await
    }

    /// The files of one of 256 shards of a disk, as inos; names that are no inos are left alone.
    ///
    /// # Errors
    /// [`CacheError::Directory`].
    pub async fn list(&self, disk: DiskId, shard: u8) -> Result<Vec<Ino>, CacheError> {
        let inner = Arc::clone(&self.inner);
        let name = Ino(u64::from(shard));
        let listed = task::spawn_blocking(move || {
            let disk = inner.disk(disk)?;
            disk.io.list(&disk.shard(name))
        });
        let names = told(name, "list", listed.await).map_err(|error| match error {
            CacheError::Disk { source, .. } => {
                let path = self.disk(disk).map(|disk| disk.shard(name)).unwrap_or_default();
                CacheError::Directory { path, source }
            }
            other => other,
        })?;
        Ok(names.iter().filter_map(|name| name.parse().ok().map(Ino)).collect())
    }

    /// Returns when all earlier writes of all files, and their names, are on the disks.
    ///
    /// # Errors
    /// [`CacheError::Directory`]: some may be lost, and nobody knows which. Files with uncommitted
    /// writes find out by themselves ([`CacheStore::sync`]).
    pub async fn sync_all(&self) -> Result<(), CacheError> {
        self.sync_each().await.into_iter().try_for_each(|(_, synced)| synced)
    }

    /// The same, with what came of it on each disk.
    pub async fn sync_each(&self) -> Vec<(DiskId, Result<(), CacheError>)> {
        let mut syncs = Vec::with_capacity(self.disks().len());
        for slot in 0..self.disks().len() {
            let inner = Arc::clone(&self.inner);
            syncs.push(task::spawn_blocking(move || {
                let disk = &inner.disks.all()[slot];
                disk.file_system.sync_all().inspect_err(|_| inner.sync_of_disk_failed(slot))
            }));
        }
        let mut synced = Vec::with_capacity(syncs.len());
        for (disk, sync) in self.disks().iter().zip(syncs) {
            let done = sync
                .await
                .unwrap_or_else(|_| {
                    self.inner.losses.note(disk.id());
                    Err(io::Error::other("the disk thread panicked"))
                })
                .map_err(|source| CacheError::Directory { path: disk.data().to_owned(), source });
            synced.push((disk.id(), done));
        }
        synced
    }
}

impl Inner {
    /// Nobody knows what that has lost. What is written there and not committed cannot be committed any more, from
    /// here on: a sync of one file would say that all is well.
    fn sync_of_disk_failed(&self, slot: usize) {
        self.losses.note(self.disks.all()[slot].id());
        for ino in self.overlay.inos() {
            if self.disks.known(ino).is_none_or(|at| at == slot) {
                self.overlay.sync_failed(ino);
            }
        }
    }

    fn copy(&self, ino: Ino, ranges: &RangeSet, (from, to): (DiskId, DiskId)) -> io::Result<()> {
        let (from, to) = (self.disk(from)?, self.disk(to)?);
        // Of this disk, whatever is thought of where the file is.
        let from = from.io.open(&from.path(ino), false)?;
        let copy = to.io.open(&to.path(ino), true)?;
        copy.set_len(0)?;
        copy.set_len(from.size()?)?;
        let mut buffer = vec![0; PIECE_BYTES];
        for range in ranges.iter() {
            let mut at = range.start;
            while at < range.end {
                let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
                let piece = &mut buffer[..left.min(PIECE_BYTES)];
                if from.read_at(piece, at)? < piece.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                copy.write_all_at(piece, at)?;
                at += piece.len() as u64;
            }
        }
        if !essential::is_left_out(Step::MoveSync) {
            copy.sync_data()?;
        }
        if !essential::is_left_out(Step::MoveEntrySync) {
            to.io.sync_dir(&to.shard(ino))?;
        }
        Ok(())
    }

    fn remove_from(&self, ino: Ino, disk: DiskId) -> io::Result<()> {
        let slot = self.disks.slot(disk);
        let disk = self.disk(disk)?;
        disk.recency().removed(ino);
        let removed = disk.remove(ino);
        self.taken_off(ino, slot);
        removed
    }

    fn disk(&self, id: DiskId) -> io::Result<&CacheDisk> {
        let missing = || io::Error::other("its cache disk is missing");
        self.disks.all().iter().find(|disk| disk.id() == id).ok_or_else(missing)
    }
}
