//! The file that the log is written to, and the thread that prepares it.
//!
//! Where a commit of the database can make the file durable too ([`Blocks`]), the thread fills it with zeros ahead
//! of the writer, so that frames overwrite what is there. Elsewhere it syncs frames while the writer commits.
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::blocks::{BLOCK, Blocks};
use crate::essential::{self, Step};

/// Bytes that are filled at a time, while fewer than half of them are left.
const AHEAD: u64 = 1 << 20;
const AHEAD_BYTES: usize = 1 << 20;

/// When a frame is to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    /// Before anybody is answered.
    Now,
    /// With the next.
    Later,
}

/// One file of the log, open for writing.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) tail: u64,
    /// Whether its name is durable.
    is_entered: bool,
    file: Arc<File>,
    /// `None`: frames go through the kernel's cache.
    blocks: Option<Blocks>,
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Where the writer is.
    tail: u64,
    /// Up to where it is durable.
    durable: u64,
    /// Up to where the file has zeros, and up to where they are durable.
    filled: u64,
    zeros: u64,
    is_filling: bool,
    /// Where the writer must be before filling is tried again.
    fills_from: u64,
    /// Up to where it is to be synced, and up to where that was done.
    wanted: u64,
    done: u64,
    failed: Option<String>,
    is_closed: bool,
}

impl State {
    fn wants_filling(&self) -> bool {
        self.filled < self.tail + AHEAD / 2 && self.tail >= self.fills_from && !self.is_closed
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogFile {
    /// Makes a new file, which is there after a power cut.
    ///
    /// # Errors
    /// Of the disk.
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        let zeros = fill(&file, 0)?;
        let blocks = Blocks::open(&path, 0)?;
        Self::of(path, file, (0, zeros), blocks)
    }

    /// The same for one that is written through the kernel's cache wherever it is.
    #[cfg(test)]
    pub(super) fn create_cached(path: PathBuf) -> Self {
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let zeros = fill(&file, 0).unwrap();
        Self::of(path, file, (0, zeros), None).unwrap()
    }

    /// Goes on in a file from `tail` on.
    ///
    /// # Errors
    /// Of the disk.
    pub(super) fn resume(path: PathBuf, tail: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(&path)?;
        // What a cut-off write has left there must not be taken for damage later.
        file.set_len(tail)?;
        let zeros = fill(&file, tail)?;
        let blocks = Blocks::open(&path, tail)?;
        // Its name too: whoever made it may have been cut off before that.
        Self::of(path, file, (tail, zeros), blocks)
    }

    fn of(
        path: PathBuf,
        file: File,
        (tail, zeros): (u64, u64),
        blocks: Option<Blocks>,
    ) -> io::Result<Self> {
        let filled = (tail + AHEAD).next_multiple_of(BLOCK);
        let (file, shared) = (Arc::new(file), Arc::new(Shared::default()));
        {
            let mut state = shared.lock();
            (state.tail, state.durable, state.filled, state.zeros) = (tail, tail, filled, zeros);
            (state.wanted, state.done) = (tail, tail);
        }
        let (of_thread, shares, is_direct) =
            (Arc::clone(&file), Arc::clone(&shared), blocks.is_some());
        let thread = thread::Builder::new()
            .name("dirty log".to_owned())
            .spawn(move || prepare(&of_thread, &shares, is_direct))?;
        let thread = Some(thread);
        let mut of = Self { path, tail, is_entered: false, file, blocks, shared, thread };
        of.enter()?;
        Ok(of)
    }

    /// Makes its name durable.
    fn enter(&mut self) -> io::Result<()> {
        if !essential::is_left_out(Step::DirtyLogEntrySync) {
            sync_directory(&self.path)?;
            self.is_entered = true;
        }
        Ok(())
    }

    /// Gives the file its name, durably.
    ///
    /// # Errors
    /// Of the disk.
    pub(super) fn rename(&mut self, path: PathBuf) -> io::Result<()> {
        fs::rename(&self.path, &path)?;
        (self.path, self.is_entered) = (path, false);
        self.enter()
    }

    /// Up to where it is durable.
    pub(super) fn durable(&self) -> u64 {
        self.shared.lock().durable
    }

    /// Writes a frame of a transaction that is to be committed next. After an error the next frame takes its place,
    /// unless a sync has failed ([`LogFile::has_failed`]).
    ///
    /// # Errors
    /// Of the disk.
    pub(super) fn append(&mut self, frame: &[u8], sync: Synced) -> io::Result<()> {
        let end = self.tail + frame.len() as u64;
        let filled = {
            let mut state = self.shared.lock();
            while end > state.filled && state.is_filling {
                state = self.shared.wait(state);
            }
            let filled = state.filled;
            state.filled = filled.max(end.next_multiple_of(BLOCK));
            filled
        };
        if let Err(error) = self.write(frame, end <= filled) {
            let mut state = self.shared.lock();
            while state.is_filling {
                state = self.shared.wait(state);
            }
            // What comes next must not be taken for something that overwrites zeros.
            state.filled = state.filled.min(filled);
            return Err(error);
        }
        self.tail = end;
        let mut state = self.shared.lock();
        state.tail = end;
        if sync == Synced::Now {
            state.wanted = end;
        }
        if self.blocks.is_some() {
            state.done = end;
        }
        if state.done < state.wanted || state.wants_filling() {
            drop(state);
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    /// Writes a frame at the tail; where zeros are not ahead of it (`is_ahead`), the file grows.
    fn write(&mut self, frame: &[u8], is_ahead: bool) -> io::Result<()> {
        let Some(blocks) =
            self.blocks.as_mut().filter(|_| !essential::is_left_out(Step::DirtyLogSync))
        else {
            return self.file.write_all_at(frame, self.tail);
        };
        blocks.append(frame, self.tail)?;
        if is_ahead || essential::is_left_out(Step::DirtyLogGrowthSync) {
            return Ok(());
        }
        // No flush makes that durable.
        let synced = self.file.sync_data();
        let mut state = self.shared.lock();
        match &synced {
            // Whole blocks were written.
            Ok(()) => {
                state.zeros = (self.tail + frame.len() as u64).next_multiple_of(BLOCK);
            }
            Err(error) => state.failed = Some(error.to_string()),
        }
        synced
    }

    /// Whether a sync has failed: nothing that is written here counts any more.
    pub(super) fn has_failed(&self) -> bool {
        self.shared.lock().failed.is_some()
    }

    /// The transaction is committed, durably: returns when its frame is durable too, if it was to be.
    ///
    /// # Errors
    /// A sync has failed: what was written since the one before may be lost.
    pub(super) fn committed(&self) -> io::Result<()> {
        let mut state = self.shared.lock();
        while state.done < state.wanted && state.failed.is_none() {
            state = self.shared.wait(state);
        }
        if let Some(words) = &state.failed {
            return Err(io::Error::other(words.clone()));
        }
        if self.blocks.is_some() && !essential::is_left_out(Step::DirtyLogSync) {
            state.durable = state.tail;
        }
        Ok(())
    }

    /// Syncs all that was written.
    ///
    /// # Errors
    /// Of the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Whether what was to be synced is durable, and the file's name.
    #[cfg(test)]
    pub(super) fn is_durable(&self) -> bool {
        let state = self.shared.lock();
        let is_there = self.blocks.is_none() || state.zeros >= state.tail;
        state.durable >= state.wanted && is_there && self.is_entered
    }

    /// Whether all of it was to be synced.
    #[cfg(test)]
    pub(super) fn is_wanted(&self) -> bool {
        self.shared.lock().wanted == self.tail
    }

    /// Whether it is written past the kernel's cache.
    #[cfg(test)]
    pub(super) fn is_direct(&self) -> bool {
        self.blocks.is_some()
    }

    /// Whether it takes writes from here on.
    #[cfg(test)]
    pub(super) fn take_writes(&mut self, takes: bool) {
        let file = || File::options().read(true).write(takes).open(&self.path).unwrap();
        match &mut self.blocks {
            Some(_) if takes => self.blocks = Blocks::open(&self.path, self.tail).unwrap(),
            Some(blocks) => blocks.refuse(file()),
            None => self.file = Arc::new(file()),
        }
    }

    /// From here on its syncs fail.
    #[cfg(test)]
    pub(super) fn fail(&self) {
        self.shared.lock().failed = Some("a test says so".to_owned());
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
        // It panics nowhere; and nobody would be helped by a panic here.
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

/// Fills a file that ends at `tail` with zeros behind that, durably; answers up to where.
fn fill(file: &File, tail: u64) -> io::Result<u64> {
    let end = (tail + AHEAD).next_multiple_of(BLOCK);
    let zeros = vec![0; usize::try_from(end - tail).map_err(io::Error::other)?];
    file.write_all_at(&zeros, tail)?;
    if essential::is_left_out(Step::DirtyLogFillSync) {
        return Ok(tail);
    }
    file.sync_all()?;
    Ok(end)
}

/// What the thread does: syncs what is to be synced, and fills the file ahead.
fn prepare(file: &File, shared: &Shared, is_direct: bool) {
    let mut state = shared.lock();
    loop {
        if state.done < state.wanted {
            let tail = state.tail;
            drop(state);
            let synced = match essential::is_left_out(Step::DirtyLogSync) {
                true => Ok(()),
                false => file.sync_data(),
            };
            state = shared.lock();
            state.done = tail;
            match synced {
                Ok(()) if essential::is_left_out(Step::DirtyLogSync) => {}
                Ok(()) => state.durable = tail,
                Err(error) => state.failed = Some(error.to_string()),
            }
            shared.changed.notify_all();
        } else if state.wants_filling() {
            let from = state.filled;
            state.is_filling = true;
            drop(state);
            let written = file.write_all_at(&vec![0; AHEAD_BYTES], from);
            // Overwriting needs no sync of its own only where that was durable.
            let is_synced = is_direct && !essential::is_left_out(Step::DirtyLogFillSync);
            let filled = if is_synced { written.and_then(|()| file.sync_data()) } else { written };
            state = shared.lock();
            state.is_filling = false;
            match filled {
                Ok(()) => {
                    state.filled = from + AHEAD;
                    if is_synced {
                        state.zeros = state.filled;
                    }
                }
                // Without room the frames still find theirs, or say so.
                Err(_) => state.fills_from = state.tail + AHEAD / 2,
            }
            shared.changed.notify_all();
        } else if state.is_closed {
            return;
        } else {
            state = shared.wait(state);
        }
    }
}

/// Makes it durable that a file has come, gone or got another name.
///
/// # Errors
/// Of the disk.
pub(in crate::catalog) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes files, durably.
///
/// # Errors
/// Of the disk.
pub(super) fn remove(paths: &[PathBuf]) -> io::Result<()> {
    for path in paths {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    paths.first().map_or(Ok(()), |path| sync_directory(path))
}
