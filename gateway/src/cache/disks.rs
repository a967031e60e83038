//! The disks of a cache: each a directory of cache files on a file system of its own.
//!
//! A file is on one disk, chosen when its cache file is made: the one with most room for its size of those
//! that take new files. Which disk that is, its directory says; the catalog keeps it for disks that are not
//! there. The first disk is the primary: it has the catalog as well.
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    CacheError, Space,
    disk::{DiskFile, DiskIo, DiskSpace, FileSystem, shard_of},
    places::Places,
    reach::OutOfReach,
    recency::Recency,
    space::reserve_bytes,
};
use crate::{
    essential::{self, Step},
    ids::{DiskId, Ino},
};

/// Most disks of one cache: what is known of recent use takes 12 MiB of memory for each.
pub const DISKS_MAX: usize = 8;
/// Files that may be made side by side.
const TURNS: usize = 64;

/// A disk that is to be used.
#[derive(Clone, Debug)]
pub struct DiskAt {
    /// Its number in the catalog.
    pub id: DiskId,
    /// Its name for people.
    pub name: String,
    /// Where it is.
    pub dir: PathBuf,
    /// What it is.
    pub io: Arc<dyn DiskIo>,
    /// Whether it takes no new files.
    pub draining: bool,
}

impl DiskAt {
    /// The disk that has the catalog.
    pub fn primary(io: Arc<dyn DiskIo>, dir: &Path) -> Self {
        let name = gateway_api::disks::PRIMARY.to_owned();
        Self { id: DiskId::PRIMARY, name, dir: dir.to_owned(), io, draining: false }
    }
}

/// A disk that is in use.
#[derive(Debug)]
pub struct CacheDisk {
    id: DiskId,
    name: String,
    dir: PathBuf,
    data: PathBuf,
    pub(super) io: Arc<dyn DiskIo>,
    pub(super) file_system: Arc<dyn FileSystem>,
    space: Space,
    recency: Mutex<Recency>,
    draining: AtomicBool,
    empty: AtomicBool,
    /// Bytes that S3 does not have, found when it was last looked at while it was being emptied.
    left: AtomicU64,
}

/// A file by which it is found out whether a disk takes any.
const SCRATCH_NAME: &str = "scratch";

/// Whether files can be made on the disk: the file system may have come up read-only.
fn takes_files(io: &dyn DiskIo, scratch: &Path) -> io::Result<()> {
    drop(io.open(scratch, true)?);
    io.remove(scratch)
}

impl CacheDisk {
    /// Makes what is missing of its directories. Blocks.
    fn open(at: DiskAt) -> Result<Self, CacheError> {
        let DiskAt { id, name, dir, io, draining } = at;
        let data = dir.join("data");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CacheError::Directory { path, source }
        };
        io.create_dir(&data).map_err(failed(&data))?;
        for shard in 0..=0xff {
            let path = shard_of(&data, shard);
            io.create_dir(&path).map_err(failed(&path))?;
        }
        for path in [data.as_path(), &dir] {
            if !essential::is_left_out(Step::CacheDirectoriesSync) {
                io.sync_dir(path).map_err(failed(path))?;
            }
        }
        let scratch = data.join(SCRATCH_NAME);
        if let Err(error) = takes_files(&*io, &scratch).map_err(failed(&scratch))
            // One that is full takes none now, and is in use all the same.
            && !error.is_no_space()
        {
            return Err(error);
        }
        let file_system = io.file_system(&data).map_err(failed(&data))?;
        Ok(Self {
            space: Space::new(Arc::clone(&io), data.clone()),
            recency: Mutex::default(),
            draining: AtomicBool::new(draining),
            empty: AtomicBool::new(false),
            left: AtomicU64::new(0),
            id,
            name,
            dir,
            data,
            io,
            file_system,
        })
    }

    /// Its number in the catalog.
    pub fn id(&self) -> DiskId {
        self.id
    }

    /// Its name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where its cache files are.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Its space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Whether it takes no new files.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Changes whether it takes new files. The catalog must know already.
    pub fn set_draining(&self, draining: bool) {
        self.empty.store(false, Ordering::Release);
        self.left.store(0, Ordering::Release);
        self.draining.store(draining, Ordering::Release);
    }

    /// Whether it takes no new files and nothing was found on it when it was last looked at.
    pub fn is_empty(&self) -> bool {
        self.is_draining() && self.empty.load(Ordering::Acquire)
    }

    /// Notes what a look at all of it has found.
    pub fn note_empty(&self, empty: bool) {
        self.empty.store(empty, Ordering::Release);
    }

    /// Notes how many bytes that S3 does not have a look at all of it has found.
    pub fn note_left(&self, dirty_bytes: u64) {
        self.left.store(dirty_bytes, Ordering::Release);
    }

    /// Bytes that S3 does not have, on a disk that takes no new files; 0 before it was looked at.
    pub fn left_bytes(&self) -> u64 {
        if self.is_draining() { self.left.load(Ordering::Acquire) } else { 0 }
    }

    pub(super) fn path(&self, ino: Ino) -> PathBuf {
        self.shard(ino).join(ino.0.to_string())
    }

    pub(super) fn shard(&self, ino: Ino) -> PathBuf {
        shard_of(&self.data, ino.0)
    }

    /// What was used lately of what it has.
    pub(super) fn recency(&self) -> MutexGuard<'_, Recency> {
        self.recency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file that is gone is gone.
    pub(super) fn remove(&self, ino: Ino) -> io::Result<()> {
        match self.io.remove(&self.path(ino)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// How many of a million of its bytes may still be written.
    fn room(&self) -> io::Result<u64> {
        let DiskSpace { total, available, .. } = self.space.now()?;
        let kept = reserve_bytes(total).saturating_add(self.space.expected());
        let room = u128::from(available.saturating_sub(kept)) * 1_000_000;
        Ok(u64::try_from(room / u128::from(total.max(1))).unwrap_or(u64::MAX))
    }
}

/// Disks that do not open, by name.
pub type Unopened = Vec<(String, CacheError)>;

/// All disks.
#[derive(Debug)]
pub(super) struct Disks {
    all: Vec<CacheDisk>,
    places: Places,
    /// Held, one for several files, while a file is made: it must not come into being on two disks.
    turns: [Mutex<()>; TURNS],
}

impl Disks {
    /// Opens the primary, which is the first, and the others; tells by name which of these do not open. Blocks.
    pub(super) fn open(disks: Vec<DiskAt>) -> Result<(Self, Unopened), CacheError> {
        assert!((1..=DISKS_MAX).contains(&disks.len()), "the caller counts disks");
        let (mut all, mut unopened) = (Vec::new(), Vec::new());
        for at in disks {
            let name = at.name.clone();
            match CacheDisk::open(at) {
                Ok(disk) => all.push(disk),
                // Without the primary there is nothing.
                Err(error) if all.is_empty() => return Err(error),
                Err(error) => unopened.push((name, error)),
            }
        }
        let (places, turns) = (Places::default(), std::array::from_fn(|_| Mutex::default()));
        Ok((Self { all, places, turns }, unopened))
    }

    /// All of them, the primary first.
    pub(super) fn all(&self) -> &[CacheDisk] {
        &self.all
    }

    pub(super) fn slot(&self, id: DiskId) -> Option<usize> {
        self.all.iter().position(|disk| disk.id == id)
    }

    /// Where the file is, as far as it is known at once.
    pub(super) fn known(&self, ino: Ino) -> Option<usize> {
        if self.all.len() == 1 { Some(0) } else { self.places.get(ino) }
    }

    /// Where the file is or is to be made. May be wrong of a file that was not opened for long; whoever opens
    /// it finds out.
    pub(super) fn place(&self, ino: Ino) -> usize {
        if self.all.len() == 1 { 0 } else { self.places.get_or_set(ino, || self.choose()) }
    }

    /// The same, having looked on all of them. Blocks.
    pub(super) fn look_up(&self, ino: Ino) -> io::Result<usize> {
        match self.known(ino) {
            Some(slot) => Ok(slot),
            None => Ok(match self.find(ino)? {
                // Never over what a move has said since.
                Some((_, slot)) => self.places.get_or_set(ino, || slot),
                None => self.place(ino),
            }),
        }
    }

    /// From here on the file is there.
    pub(super) fn set_place(&self, ino: Ino, slot: usize) {
        // With one disk there is nothing to know.
        if self.all.len() > 1 {
            self.places.set(ino, slot);
        }
    }

    /// The disk for a file that is made: that with most room for its size.
    fn choose(&self) -> usize {
        self.choose_but(None).unwrap_or(0)
    }

    /// The same without this one; `None`: there is no other that takes files.
    pub(super) fn choose_but(&self, but: Option<usize>) -> Option<usize> {
        let takes = |(slot, disk): &(usize, &CacheDisk)| Some(*slot) != but && !disk.is_draining();
        let room = |(slot, disk): (usize, &CacheDisk)| {
            let room = disk.room().unwrap_or_else(|error| {
                tracing::error!("cannot ask the cache disk {} for its space: {error}", disk.name);
                0
            });
            (room, std::cmp::Reverse(slot))
        };
        let best = self.all.iter().enumerate().filter(takes).max_by_key(|one| room(*one));
        best.map(|(slot, _)| slot)
    }

    /// Opens the file where it is, or makes it. Where that is, is not noted: whoever keeps it open does so. Blocks.
    pub(super) fn open_file(
        &self,
        reach: &OutOfReach,
        ino: Ino,
        create: bool,
    ) -> io::Result<(Arc<dyn DiskFile>, usize)> {
        reach.check(ino)?;
        if let [only] = &self.all[..] {
            return Ok((only.io.open(&only.path(ino), create)?, 0));
        }
        if let Some(found) = self.find(ino)? {
            return Ok(found);
        }
        if !create {
            return Err(io::ErrorKind::NotFound.into());
        }
        let turn = usize::try_from(ino.0 % TURNS as u64).expect("a small number");
        let _turn = self.turns[turn].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = self.find(ino)? {
            return Ok(found);
        }
        let planned = self.places.get(ino).filter(|slot| !self.all[*slot].is_draining());
        let slot = planned.unwrap_or_else(|| self.choose());
        Ok((self.all[slot].io.open(&self.all[slot].path(ino), true)?, slot))
    }

    /// Looks for the file on every disk. One that cannot be asked counts only if no other has it.
    fn find(&self, ino: Ino) -> io::Result<Option<(Arc<dyn DiskFile>, usize)>> {
        let known = self.places.get(ino);
        let others = (0..self.all.len()).filter(|slot| Some(*slot) != known);
        let mut failure = None;
        for slot in known.into_iter().chain(others) {
            match self.all[slot].io.open(&self.all[slot].path(ino), false) {
                Ok(file) => return Ok(Some((file, slot))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// Where the file is is not known from here on, if it was thought to be there, or (`None`) at all.
    pub(super) fn forget_place(&self, ino: Ino, slot: Option<usize>) {
        match slot {
            Some(slot) => self.places.is_not(ino, slot),
            None => self.places.forget(ino),
        }
    }

    /// Removes the file wherever it is. Blocks.
    pub(super) fn remove(&self, ino: Ino) -> io::Result<()> {
        let mut removed = Ok(());
        for disk in &self.all {
            removed = removed.and(disk.remove(ino));
        }
        removed
    }
}

#[cfg(test)]
mod tests;
