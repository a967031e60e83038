//! A disk in memory that forgets what was not synced when the power is cut.
//!
//! After [`SimDisk::cut_power`] a file holds what its last `sync_data` saw, with any of the 512-byte
//! sectors written since, chosen by the seed; and it is there only if its directory was synced (or
//! the seed says that the entry happened to reach the disk).
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::disk::{DiskFile, DiskIo, DiskSpace, FileSystem};

const SECTOR: usize = 512;
/// What space is given out in.
const BLOCK: usize = 4096;

/// The simulated disk. Cloning gives another handle to the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_read_only: bool,
    files: BTreeMap<PathBuf, Shared>,
    /// Files removed whose directory was not synced since.
    removed: BTreeMap<PathBuf, Shared>,
    available: u64,
    /// Its size, if what is written uses it up.
    total: Option<u64>,
    fail_syncs: u32,
    fail_writes: u32,
    fail_cuts: u32,
    /// Whether those that fail find no room.
    writes_find_no_room: bool,
    /// Where file syncs wait.
    gate: Option<Arc<Gate>>,
    /// Where syncs of the whole disk wait.
    whole_gate: Option<Arc<Gate>>,
    /// Where removals wait.
    remove_gate: Option<Arc<Gate>>,
    /// Where those wait who have opened a file and do not know yet.
    open_gate: Option<Arc<Gate>>,
    syncs: u64,
    /// How often a file was asked for that is not there.
    misses: u64,
    /// Handles opened before the last power cut are dead.
    power: u64,
    /// Directories that were made, and those of which the name may be lost.
    dirs: BTreeSet<PathBuf>,
    dirs_unsynced: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug, Default)]
struct SimFile {
    now: Vec<u8>,
    synced: Vec<u8>,
    entry_synced: bool,
    /// Sectors that the next sync brings to the disk. A failed sync forgets them.
    dirty: BTreeSet<usize>,
}

/// A file lives as long as it has a name or is open. Its lock comes after the disk's.
type Shared = Arc<Mutex<SimFile>>;

/// Where calls wait until somebody lets them go on.
#[derive(Debug, Default)]
struct Gate {
    /// How many have come, and whether it is open.
    state: Mutex<(u64, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(_, open)| !*open));
    }
}

/// Calls that wait. Dropping it lets them go on.
#[derive(Debug)]
pub struct Held(Arc<Gate>);

impl Held {
    /// Returns when so many have come.
    ///
    /// # Panics
    /// When they do not, for a minute.
    pub async fn come(self, calls: u64) -> Self {
        let wait = move || {
            let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            let minute = Duration::from_secs(60);
            let waited =
                self.0.changed.wait_timeout_while(state, minute, |(come, _)| *come < calls);
            let (state, limit) = waited.unwrap_or_else(PoisonError::into_inner);
            drop(state);
            (self, limit.timed_out())
        };
        let (held, in_vain) = tokio::task::spawn_blocking(wait).await.expect("waiting works");
        assert!(!in_vain, "{calls} calls have not come");
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.0.changed.notify_all();
    }
}

/// Puts up a gate.
fn hold(place: &mut Option<Arc<Gate>>) -> Held {
    Held(Arc::clone(place.insert(Arc::default())))
}

impl State {
    fn available(&self) -> u64 {
        let Some(total) = self.total else { return self.available };
        let used: u64 = self.files.values().map(|file| of(file).used()).sum();
        total.saturating_sub(used)
    }
}

impl SimFile {
    fn used(&self) -> u64 {
        let blocks = self.now.chunks(BLOCK).filter(|block| block.iter().any(|byte| *byte != 0));
        (blocks.count() * BLOCK) as u64
    }

    fn touch(&mut self, bytes: Range<usize>) {
        self.dirty.extend(bytes.start / SECTOR..bytes.end.div_ceil(SECTOR));
    }

    fn sync(&mut self) {
        self.synced.resize(self.now.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let start = (sector * SECTOR).min(self.now.len());
            let end = (start + SECTOR).min(self.now.len());
            self.synced[start..end].copy_from_slice(&self.now[start..end]);
        }
    }
}

#[derive(Debug)]
struct Handle {
    disk: SimDisk,
    file: Shared,
    power: u64,
}

impl Default for SimDisk {
    fn default() -> Self {
        Self { state: Arc::new(Mutex::new(State { available: 1 << 40, ..State::default() })) }
    }
}

impl SimDisk {
    /// Cuts the power: unsynced writes are lost or not as `seed` says, and open files are dead.
    pub fn cut_power(&self, seed: u64) {
        let mut random = SplitMix(seed);
        let mut state = self.lock();
        state.power += 1;
        let removed = std::mem::take(&mut state.removed);
        for (path, file) in removed {
            let is_known = of(&file).entry_synced;
            if is_known && random.next().is_multiple_of(2) {
                state.files.entry(path).or_insert(file);
            }
        }
        state.files.retain(|_, file| of(file).entry_synced || random.next().is_multiple_of(2));
        state.dirs_unsynced.retain(|_| random.next().is_multiple_of(2));
        let gone = std::mem::take(&mut state.dirs_unsynced);
        state.files.retain(|path, _| !gone.iter().any(|dir| path.starts_with(dir)));
        state.dirs.retain(|dir| !gone.iter().any(|gone| dir.starts_with(gone)));
        for file in state.files.values() {
            let mut file = of(file);
            let (now, mut kept) = (std::mem::take(&mut file.now), file.synced.clone());
            if now.len() != kept.len() && random.next().is_multiple_of(2) {
                kept.resize(now.len(), 0);
            }
            for start in (0..kept.len().min(now.len())).step_by(SECTOR) {
                let end = (start + SECTOR).min(kept.len()).min(now.len());
                if random.next().is_multiple_of(2) {
                    kept[start..end].copy_from_slice(&now[start..end]);
                }
            }
            file.synced.clone_from(&kept);
            file.now = kept;
            file.dirty.clear();
            file.entry_synced = true;
        }
    }

    /// Lets the next `count` syncs fail; what they should have made durable is not, and no later sync
    /// does it, until it is written again (as Linux marks pages clean after a failed write-back).
    pub fn fail_syncs(&self, count: u32) {
        self.lock().fail_syncs = count;
    }

    /// Holds the syncs of files until the answer is dropped.
    pub fn hold_syncs(&self) -> Held {
        hold(&mut self.lock().gate)
    }

    /// Holds the syncs of the whole disk until the answer is dropped.
    pub fn hold_whole_syncs(&self) -> Held {
        hold(&mut self.lock().whole_gate)
    }

    /// Holds the removals of files until the answer is dropped.
    pub fn hold_removals(&self) -> Held {
        hold(&mut self.lock().remove_gate)
    }

    /// Holds those who have opened a file, before they know, until the answer is dropped.
    pub fn hold_opens(&self) -> Held {
        hold(&mut self.lock().open_gate)
    }

    /// From here on no file can be made, or opened for writing.
    pub fn make_read_only(&self) {
        self.lock().is_read_only = true;
    }

    /// The next `count` writes fail; the bytes stay as they were.
    pub fn fail_writes(&self, count: u32) {
        let mut state = self.lock();
        (state.fail_writes, state.writes_find_no_room) = (count, false);
    }

    /// The next `count` changes of a file's length fail; it stays as it was.
    pub fn fail_cuts(&self, count: u32) {
        self.lock().fail_cuts = count;
    }

    /// The next `count` writes find no room, whatever the disk has said before (ENOSPC).
    pub fn fail_writes_for_room(&self, count: u32) {
        let mut state = self.lock();
        (state.fail_writes, state.writes_find_no_room) = (count, true);
    }

    /// Makes it a disk of `total` bytes that fills up: blocks of 4 KiB that hold nothing but zeros take no room,
    /// and a write that finds none fails.
    pub fn set_total(&self, total: u64) {
        self.lock().total = Some(total);
    }

    /// Sets the bytes that can still be written.
    pub fn set_available(&self, bytes: u64) {
        self.lock().available = bytes;
    }

    /// How many file syncs there have been.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// How often a file was asked for that is not there.
    pub fn misses(&self) -> u64 {
        self.lock().misses
    }

    /// Turns one bit of a file around, as an ageing disk does without a word.
    pub fn flip_bit(&self, path: &Path, at: usize) {
        let state = self.lock();
        let mut file = of(state.files.get(path).expect("the file is there"));
        file.now[at] ^= 1;
        if let Some(byte) = file.synced.get_mut(at) {
            *byte ^= 1;
        }
    }

    /// Drops a file, as a damaged file system does.
    pub fn lose(&self, path: &Path) {
        self.lock().files.remove(path);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    fn with<T>(&self, act: impl FnOnce(&mut State, &Shared) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.lock();
        if state.power != self.power {
            return Err(io::Error::other("the power was cut"));
        }
        act(&mut state, &self.file)
    }
}

fn of(file: &Shared) -> MutexGuard<'_, SimFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

impl DiskFile for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|_, file| {
            let now = &of(file).now;
            let start = index(offset)?.min(now.len());
            let count = buffer.len().min(now.len() - start);
            buffer[..count].copy_from_slice(&now[start..start + count]);
            Ok(count)
        })
    }

    fn read_cached(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        self.read_at(buffer, offset).map(Some)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.with(|state, file| {
            if state.fail_writes > 0 {
                state.fail_writes -= 1;
                if state.writes_find_no_room {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                return Err(io::Error::other("injected write failure"));
            }
            if state.total.is_some() && state.available() < data.len() as u64 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let mut file = of(file);
            let (start, before) = (index(offset)?, file.now.len());
            let end = start + data.len();
            file.now.resize(before.max(end), 0);
            file.now[start..end].copy_from_slice(data);
            file.touch(start.min(before)..end);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|state, file| {
            if state.fail_cuts > 0 {
                state.fail_cuts -= 1;
                return Err(io::Error::other("injected truncate failure"));
            }
            let mut file = of(file);
            let (len, before) = (index(len)?, file.now.len());
            file.now.resize(len, 0);
            file.touch(before.min(len)..before.max(len));
            Ok(())
        })
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.with(|_, file| {
            let mut file = of(file);
            let (start, end) = (index(range.start)?, index(range.end)?.min(file.now.len()));
            if start < end {
                file.now[start..end].fill(0);
                file.touch(start..end);
            }
            Ok(())
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.with(|_, file| Ok(of(file).now.len() as u64))
    }

    fn occupied(&self) -> io::Result<u64> {
        self.with(|_, file| Ok(of(file).used()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let gate = self.disk.lock().gate.clone();
        if let Some(gate) = gate {
            gate.pass();
        }
        self.with(|state, file| {
            state.syncs += 1;
            if state.fail_syncs > 0 {
                state.fail_syncs -= 1;
                of(file).dirty.clear();
                return Err(io::Error::other("injected sync failure"));
            }
            of(file).sync();
            Ok(())
        })
    }
}

impl FileSystem for SimDisk {
    fn sync_all(&self) -> io::Result<()> {
        let gate = self.lock().whole_gate.clone();
        if let Some(gate) = gate {
            gate.pass();
        }
        let mut state = self.lock();
        let failed = state.fail_syncs > 0;
        state.fail_syncs = state.fail_syncs.saturating_sub(1);
        for file in state.files.values() {
            let mut file = of(file);
            if failed {
                file.dirty.clear();
            } else {
                file.sync();
                file.entry_synced = true;
            }
        }
        if failed { Err(io::Error::other("the disk failed")) } else { Ok(()) }
    }
}

impl DiskIo for SimDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        if state.is_read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if !state.files.contains_key(path) {
            if !create {
                state.misses += 1;
                return Err(io::ErrorKind::NotFound.into());
            }
            state.files.insert(path.to_owned(), Shared::default());
        }
        let file = Arc::clone(&state.files[path]);
        let (power, gate) = (state.power, state.open_gate.clone());
        drop(state);
        if let Some(gate) = gate {
            gate.pass();
        }
        Ok(Arc::new(Handle { disk: self.clone(), file, power }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let gate = self.lock().remove_gate.clone();
        if let Some(gate) = gate {
            gate.pass();
        }
        let mut state = self.lock();
        let file = state.files.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.removed.insert(path.to_owned(), file);
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.dirs.insert(path.to_owned()) {
            state.dirs_unsynced.insert(path.to_owned());
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let here = |file: &Path| file.parent() == Some(path);
        state.removed.retain(|file, _| !here(file));
        state.dirs_unsynced.retain(|dir| !here(dir));
        for (_, file) in state.files.iter().filter(|(file, _)| here(file)) {
            of(file).entry_synced = true;
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        let here = state.files.keys().filter(|file| file.parent() == Some(path));
        Ok(here.filter_map(|file| Some(file.file_name()?.to_str()?.to_owned())).collect())
    }

    fn file_system(&self, _path: &Path) -> io::Result<Arc<dyn FileSystem>> {
        Ok(Arc::new(self.clone()))
    }

    fn space(&self, _path: &Path) -> io::Result<DiskSpace> {
        let state = self.lock();
        let (total, available) = (state.total.unwrap_or(1 << 40), state.available());
        Ok(DiskSpace { total, available, files_total: 1 << 20, files_free: 1 << 19 })
    }
}

/// SplitMix64: a small generator with a seed (Steele, Lea, Flood 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
