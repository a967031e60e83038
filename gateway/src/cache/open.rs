//! Cache files that are open: one for each file, so that all who sync it share its syncs and are told of its failures.
//!
//! Files are opened without the inode's lock, too, to be measured or synced. A file that is taken off its disk just then
//! must not be kept here: what is written to it afterwards would go to a file without a name, and with it when it
//! is closed.
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use super::{Inner, disk::DiskFile, sync::SyncQueue};
use crate::ids::Ino;

/// Most that are kept open while nobody uses them.
const OPEN_FILES_MAX: usize = 512;
/// How often a file is opened, if it is taken off its disk meanwhile each time.
const TRIES: usize = 16;

/// An open cache file.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: Arc<dyn DiskFile>,
    /// Which of the disks it is on.
    pub(super) slot: usize,
    /// Whether the directory that names the file was synced since this process opened it.
    pub(super) entry_synced: AtomicBool,
    pub(super) syncs: Arc<SyncQueue>,
}

/// Those that are open.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    files: HashMap<Ino, Arc<OpenFile>>,
    /// Those that somebody is opening.
    opening: HashMap<Ino, Opening>,
}

#[derive(Debug, Default)]
struct Opening {
    openers: usize,
    /// How often it was taken off a disk since the first of them began.
    taken_off: u64,
}

impl OpenFiles {
    /// The file, if it is open.
    pub(super) fn get(&self, ino: Ino) -> Option<Arc<OpenFile>> {
        self.lock().files.get(&ino).map(Arc::clone)
    }

    /// The disk of the file, if it is open.
    pub(super) fn slot_of(&self, ino: Ino) -> Option<usize> {
        self.lock().files.get(&ino).map(|open| open.slot)
    }

    /// The file; or, for whoever opens it now and calls [`State::opened`] after that, how often it was taken off so far.
    fn look(&self, ino: Ino) -> Result<Arc<OpenFile>, u64> {
        let mut state = self.lock();
        if let Some(open) = state.files.get(&ino) {
            return Ok(Arc::clone(open));
        }
        let opening = state.opening.entry(ino).or_default();
        opening.openers += 1;
        Err(opening.taken_off)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One who has opened the file is done with that: whether it was not taken off since it was looked for.
    fn opened(&mut self, ino: Ino, taken_off: u64) -> bool {
        let Some(opening) = self.opening.get_mut(&ino) else { return false };
        let is_there = opening.taken_off == taken_off;
        opening.openers -= 1;
        if opening.openers == 0 {
            self.opening.remove(&ino);
        }
        is_there
    }
}

impl Inner {
    /// The file, made if need be. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn opened(&self, ino: Ino) -> io::Result<Arc<OpenFile>> {
        self.fresh.take(ino);
        self.open(ino, true)
    }

    /// The file, if it is there. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn existing(&self, ino: Ino) -> io::Result<Option<Arc<OpenFile>>> {
        match self.open(ino, false) {
            Ok(open) => Ok(Some(open)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open(&self, ino: Ino, create: bool) -> io::Result<Arc<OpenFile>> {
        for _ in 0..TRIES {
            let taken_off = match self.open.look(ino) {
                Ok(open) => return Ok(open),
                Err(taken_off) => taken_off,
            };
            // Opened and closed without the lock: both may wait for the disk.
            let opened = self.disks.open_file(&self.reach, ino, create).map(|(file, slot)| {
                let entry_synced = AtomicBool::new(false);
                Arc::new(OpenFile { file, slot, entry_synced, syncs: Arc::default() })
            });
            match opened {
                Ok(file) => {
                    if let Some(kept) = self.keep_open(ino, file, taken_off) {
                        return Ok(kept);
                    }
                }
                // While it moved it was on neither disk when that was looked at.
                Err(error) => {
                    let is_there = self.open.lock().opened(ino, taken_off);
                    if is_there || error.kind() != io::ErrorKind::NotFound {
                        return Err(error);
                    }
                }
            }
        }
        Err(io::Error::other("it was taken off its disk again and again while it was opened"))
    }

    /// Keeps the file open, unless it was taken off since it was looked for.
    fn keep_open(&self, ino: Ino, file: Arc<OpenFile>, taken_off: u64) -> Option<Arc<OpenFile>> {
        let mut closed = Vec::new();
        let mut open = self.open.lock();
        if !open.opened(ino, taken_off) {
            drop(open);
            return None;
        }
        if open.files.len() >= OPEN_FILES_MAX {
            // Those in use stay: their sync queue must stay the only one of the file. So do those
            // with uncommitted writes: a file opened anew may not be told of an earlier failure.
            let is_idle = |ino: &Ino, file: &mut Arc<OpenFile>| {
                Arc::strong_count(file) == 1 && !self.overlay.has(*ino)
            };
            closed.extend(open.files.extract_if(is_idle));
        }
        // Whoever came first has the file's only sync queue.
        let kept = Arc::clone(open.files.entry(ino).or_insert_with(|| Arc::clone(&file)));
        self.disks.set_place(ino, kept.slot);
        drop(open);
        drop((closed, file));
        Some(kept)
    }

    /// The file was removed from the disk `slot`, or (`None`) from all: what was opened of it there is not the file any
    /// more. Call after the removal, whatever came of it.
    pub(super) fn taken_off(&self, ino: Ino, slot: Option<usize>) {
        self.not_on(ino, slot, None);
    }

    /// The file is on the disk `is` from here on, wherever it was thought to be. Call with the inode locked exclusively.
    pub(super) fn is_on(&self, ino: Ino, is: Option<usize>) {
        self.not_on(ino, None, is);
    }

    /// What was opened of the file on `slot`, or anywhere, is not the file; it is on `is`, if that is known.
    fn not_on(&self, ino: Ino, slot: Option<usize>, is: Option<usize>) {
        let mut open = self.open.lock();
        if let Some(opening) = open.opening.get_mut(&ino) {
            opening.taken_off += 1;
        }
        match is {
            Some(is) => self.disks.set_place(ino, is),
            None => self.disks.forget_place(ino, slot),
        }
        let goes =
            open.files.get(&ino).is_some_and(|file| slot.is_none_or(|slot| slot == file.slot));
        let closed = if goes { open.files.remove(&ino) } else { None };
        drop(open);
        // Without the lock: that may wait for the disk.
        drop(closed);
    }

    /// The file is not there, and there are uncommitted writes to it: they are lost, and fenced.
    pub(super) fn not_there(&self, ino: Ino) -> io::Error {
        self.overlay.sync_failed(ino);
        io::Error::new(io::ErrorKind::NotFound, "the file is gone")
    }
}
