//! The dirty log: what S3 does not have, a second time, in files of its own (I12, ADR 31).
//!
//! Every transaction that changes what waits for S3 writes a batch of entries here before it is committed, and
//! is answered when both are on the disk. So the catalog can be made anew without losing anything of that
//! when its own files are gone or damaged. The batch is with the disk before COMMIT, whose sync is its own too.
//! Batches have numbers, and the catalog has the number of its last one: so it shows which of the two is behind.
//!
//! A file of the log grows until it is large against what it tells; then a new one is begun, in which
//! everything that still waits is told again, a few entries with each batch; then the old one is removed.
//!
//! Owns: `dirty-N.log` and `dirty.mark` in the cache directory. Knows the tables; must not know who changes them: triggers tell.
mod blocks;
mod compare;
mod entry;
mod file;
mod frame;
mod mark;
mod noted;
mod tell;
#[cfg(test)]
mod tests;
mod told;

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension};

use super::{error::CatalogError, schema};
use entry::Entry;
use file::{LogFile, Synced};
use mark::Mark;
use noted::Notes;

#[cfg(test)]
pub(super) use entry::carried as carried_of;
pub(super) use entry::{Record, Upload};
pub(super) use file::sync_directory;
pub(super) use noted::Noted;
pub(super) use told::{Stand, Told};

/// Bytes of a file of the log, beyond twice what it took to tell everything, before the next is begun.
const GENERATION_BYTES: u64 = 16 << 20;
/// How long what was committed without a batch waits for the next one that has one.
const SETTLE_AFTER: Duration = Duration::from_millis(100);
/// Pause after a transaction that could not be committed while something was put off.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);
/// Entries told again with each batch.
const AGAIN_ENTRIES: usize = 4;
/// The same while nobody waits for the batch.
const ALL_ENTRIES: usize = 1000;
/// The name of a file of the log that does not tell everything so far.
const BEGUN: &str = "dirty.new";

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Ino(u64),
    Op(u64),
}

/// How much of it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Nothing that counts.
    Nothing,
    /// All but which bytes are here: S3 has them too.
    Row,
    /// All.
    All,
}

/// In which file of the log it was told, and how much.
#[derive(Clone, Copy, Debug)]
struct Known {
    generation: u64,
    extent: Extent,
    /// The first version that an attempt which S3 may have may be of.
    since: u64,
}

/// The log's writing end; the catalog's writer has it.
#[derive(Debug)]
pub(super) struct DirtyLog {
    cache: PathBuf,
    noted: Noted,
    file: LogFile,
    mark: Mark,
    generation: u64,
    /// The last batch whose transaction was committed: the catalog has the same number, or a lower one while a file is
    /// begun anew.
    seq: u64,
    known: HashMap<Key, Known>,
    /// Directories whose place this file tells.
    dirs: HashSet<u64>,
    /// No ino above it was promised.
    inos: u64,
    /// To be told again, before `older` can go.
    again: Vec<Key>,
    older: Vec<PathBuf>,
    /// The older file without which this one does not tell everything, as it said last.
    rested_on: Option<u64>,
    /// Bytes that it took to tell everything.
    whole_bytes: u64,
    /// What the batch under way tells.
    telling: Vec<Key>,
    is_open: bool,
    /// Shares and disks are to be told, whether they have changed or not.
    is_headless: bool,
    /// The file is new, and nothing that older ones tell counts.
    is_anew: bool,
    /// The file cannot be trusted: a sync has failed, or what was to be told is not known any more.
    is_broken: bool,
    /// Since when the catalog has changes that no batch tells of. It says so itself.
    untold: Option<Instant>,
    /// Whether the transaction under way ends that.
    is_settling: bool,
    settle_after: Duration,
}

/// A batch that is being made.
#[derive(Debug, Default)]
struct Batch {
    entries: Vec<Entry>,
    carried: Vec<u8>,
    /// How many of the entries tell for the first time of a file, which is bare.
    new_files: usize,
}

impl Batch {
    /// Whether it tells of no more than files that have come, and where: such a batch is not synced by itself, and the
    /// log may lack it after a power cut. When a file gets bytes all of it is told again, and synced: so a small file
    /// costs one sync here, not two.
    fn is_of_new_files(&self) -> bool {
        let ways = self.entries.iter().filter(|entry| matches!(entry, Entry::Dir(_))).count();
        self.new_files + ways == self.entries.len()
    }
}

/// The name of the log's file number `generation`.
fn file_name(generation: u64) -> String {
    format!("dirty-{generation:08}.log")
}

/// The number of the log's file of this name.
fn number_of(name: &OsStr) -> Option<u64> {
    let number = name.to_str()?.strip_prefix("dirty-")?.strip_suffix(".log")?;
    if number.len() >= 8 { number.parse().ok() } else { None }
}

fn io_error(error: &io::Error) -> CatalogError {
    CatalogError::Commit(format!("the log of what is not in S3: {error}"))
}

impl DirtyLog {
    /// Goes on with the log that was read, or begins one, for the catalog that is open as `db`. Everything that
    /// waits for S3 is told, durably, when this returns.
    ///
    /// # Errors
    /// Of the disk or the database.
    pub(super) fn open(
        cache: &Path,
        db: &Connection,
        told: Option<&Told>,
    ) -> Result<Self, CatalogError> {
        let good = told.filter(|told| {
            !told.is_damaged() && !told.is_stale && told.is_of_schema(schema::SCHEMA_VERSION)
        });
        // In a log that is told anew no batch has the number of one before, which may be of a transaction that was never
        // committed: cut off before the new file is there, a start would take the catalog for one that has that.
        let marked = mark::read(cache).map_err(|error| io_error(&error))?;
        let used = told.map_or(0, Told::highest).max(marked);
        // Nor one of what cannot be read, which is not known and may be the next.
        let unread = u64::from(told.is_some_and(|told| told.is_unreadable));
        let seq = if good.is_some() { number(db)? } else { number(db)?.max(used) + unread };
        let last = last_file(cache).map_err(|error| io_error(&error))?;
        let (generation, file) = match good {
            Some(told) => (last, LogFile::resume(cache.join(file_name(last)), told.tail)),
            None => (last + 1, begin(cache)),
        };
        let mut log = Self {
            cache: cache.to_owned(),
            noted: Noted::watch(db)?,
            file: file.map_err(|error| io_error(&error))?,
            mark: Mark::open(cache).map_err(|error| io_error(&error))?,
            generation,
            seq,
            known: HashMap::new(),
            dirs: HashSet::new(),
            inos: 0,
            again: Vec::new(),
            older: Vec::new(),
            rested_on: None,
            whole_bytes: 0,
            telling: Vec::new(),
            is_open: false,
            is_headless: true,
            is_anew: good.is_none(),
            is_broken: false,
            untold: is_untold(db)?.then(Instant::now),
            is_settling: false,
            settle_after: SETTLE_AFTER,
        };
        match good {
            Some(told) => {
                log.take_up(told);
                log.older = log.files_before()?;
                log.tell_whose(db, 0)?;
                if log.again.is_empty() {
                    log.forget_older()?;
                }
            }
            None => log.tell_all(db)?,
        }
        Ok(log)
    }

    /// Whether what was answered is on the disk, and the file's name.
    #[cfg(test)]
    pub(super) fn is_durable(&self) -> bool {
        self.file.is_durable()
    }

    /// Whether the last batch was to be synced by itself.
    #[cfg(test)]
    pub(super) fn is_wanted(&self) -> bool {
        self.file.is_wanted()
    }

    /// Whether a commit of the database makes it durable too.
    #[cfg(test)]
    pub(super) fn is_direct(&self) -> bool {
        self.file.is_direct()
    }

    /// From here on syncs of the file fail.
    #[cfg(test)]
    pub(super) fn fail(&self) {
        self.file.fail();
    }

    /// Notes what is changed from here on.
    pub(super) fn noted(&self) -> Noted {
        self.noted.clone()
    }

    /// Remembers what was told already. Not up to where inos are promised: an older file may have said that, which goes.
    fn take_up(&mut self, told: &Told) {
        for (ino, dirty) in &told.dirty {
            let extent = if dirty.record.has_bytes() { Extent::All } else { Extent::Row };
            let known = Known { generation: dirty.told_in, extent, since: dirty.record.since };
            self.known.insert(Key::Ino(*ino), known);
        }
        for (op, undone) in &told.ops {
            let known = Known { generation: undone.told_in, extent: Extent::All, since: 0 };
            self.known.insert(Key::Op(*op), known);
        }
        self.again = self.left();
    }

    /// The older file without which this one does not tell everything.
    fn rests_on(&self) -> Option<u64> {
        if self.again.is_empty() || self.file.path.ends_with(BEGUN) {
            return None;
        }
        self.older.iter().filter_map(|path| number_of(path.file_name()?)).max()
    }

    /// What is told in older files only.
    fn left(&self) -> Vec<Key> {
        let current = self.generation;
        let old = self.known.iter().filter(|(_, known)| known.generation < current);
        old.map(|(key, _)| *key).collect()
    }

    /// Tells everything that waits in a new file, which has its name when it does: half a log would belie the catalog.
    fn tell_all(&mut self, db: &Connection) -> Result<(), CatalogError> {
        self.tell_everything(db)?;
        self.name_file().map_err(|error| io_error(&error))?;
        self.whole_bytes = self.file.tail;
        self.forget_older()
    }

    fn tell_everything(&mut self, db: &Connection) -> Result<(), CatalogError> {
        let (inos, ops) = entry::keys(db)?;
        let keys = inos.into_iter().map(Key::Ino).chain(ops.into_iter().map(Key::Op));
        self.again = keys.collect();
        for key in &self.again {
            let nothing = Known { generation: 0, extent: Extent::Nothing, since: 0 };
            self.known.entry(*key).and_modify(|known| known.generation = 0).or_insert(nothing);
        }
        self.older = self.files_before()?;
        loop {
            self.tell_whose(db, ALL_ENTRIES)?;
            if self.again.is_empty() {
                return Ok(());
            }
        }
    }

    /// The file that was begun counts from here on.
    fn name_file(&mut self) -> io::Result<()> {
        self.file.rename(self.cache.join(file_name(self.generation)))?;
        self.set_mark();
        Ok(())
    }

    fn set_mark(&self) {
        // Without it the next batch says the same; a disk that does not take it does not take that either.
        drop(self.mark.set(self.seq));
    }

    /// Tells whose log it is and where its shares and disks are, if the file does not, and some of what only an
    /// older one tells; in a transaction of its own.
    fn tell_whose(&mut self, db: &Connection, entries: usize) -> Result<(), CatalogError> {
        db.execute_batch("BEGIN IMMEDIATE")?;
        let places = std::mem::take(&mut self.is_headless);
        let mut batch = Batch::default();
        self.tell(db, &mut batch, Notes::default())?;
        self.tell_again(db, &mut batch, entries)?;
        self.tell_head(db, &mut batch, places)?;
        if self.again.is_empty() {
            self.note_told(db)?;
        }
        self.write(db, &batch)?;
        db.execute_batch("COMMIT")?;
        self.committed().map_err(CatalogError::Commit)
    }

    /// Makes a log that cannot be trusted anew. To be asked before each transaction.
    ///
    /// # Errors
    /// Of the disk or the database: there can be no transaction.
    pub(super) fn mend(&mut self, db: &Connection) -> Result<(), CatalogError> {
        if !self.is_broken {
            return Ok(());
        }
        self.begin_anew().map_err(|error| io_error(&error))?;
        let told = self.tell_all(db);
        if told.is_err() && !db.is_autocommit() {
            db.execute_batch("ROLLBACK")?;
            self.failed();
        }
        self.is_broken = told.is_err();
        told
    }

    /// A new file, which has no name yet, takes the place of the one that cannot be trusted.
    fn begin_anew(&mut self) -> io::Result<()> {
        self.file = begin(&self.cache)?;
        self.generation += 1;
        // The old file may have a batch of this number whose transaction was not committed.
        self.seq += 1;
        self.dirs.clear();
        (self.inos, self.is_headless, self.is_anew) = (0, true, true);
        Ok(())
    }

    /// Writes what the transaction that is open on `db` changes of that which waits for S3. It may be committed
    /// then, and must be followed by [`DirtyLog::committed`] or [`DirtyLog::failed`].
    ///
    /// # Errors
    /// Of the disk or the database: the transaction must not be committed.
    pub(super) fn before_commit(&mut self, db: &Connection) -> Result<(), CatalogError> {
        let notes = self.noted.take();
        self.note_told(db)?;
        if !self.is_news(&notes) {
            return Ok(());
        }
        let limit = GENERATION_BYTES + 2 * self.whole_bytes;
        if self.file.tail > limit && self.older.is_empty() {
            self.begin_next().map_err(|error| io_error(&error))?;
        }
        let places = std::mem::take(&mut self.is_headless) || notes.places;
        let mut batch = Batch::default();
        self.tell(db, &mut batch, notes)?;
        self.tell_again(db, &mut batch, AGAIN_ENTRIES)?;
        self.tell_head(db, &mut batch, places)?;
        // What was noted may have been undone.
        if batch.entries.is_empty() { Ok(()) } else { self.write(db, &batch) }
    }

    /// The transaction that is open on `db` is to be committed without a sync, and so without a batch: what it changes
    /// is told with the next one that is synced. Until then, if it `is_changed` by anything, the catalog says that the
    /// log may lack something. So the next one that is synced has something to write, and is.
    ///
    /// # Errors
    /// Of the database: the transaction must not be committed.
    pub(super) fn put_off(
        &mut self,
        db: &Connection,
        is_changed: bool,
    ) -> Result<(), CatalogError> {
        if self.untold.is_some() {
            return Ok(());
        }
        if !self.noted.with(|notes| self.is_news(notes)) {
            self.noted.take();
        }
        if is_changed {
            say_untold(db, true)?;
            self.untold = Some(Instant::now());
        }
        Ok(())
    }

    /// How long what was put off may wait for the next transaction that has a batch; `None`: everything is told.
    pub(super) fn settles_in(&self) -> Option<Duration> {
        self.untold
            .map(|since| (since + self.settle_after).saturating_duration_since(Instant::now()))
    }

    /// Whether the next transaction has to have a batch.
    pub(super) fn must_settle(&self) -> bool {
        self.is_broken || self.settles_in().is_some_and(|left| left.is_zero())
    }

    /// How long what is put off waits from here on.
    #[cfg(test)]
    pub(super) fn settle_after(&mut self, wait: Duration) {
        self.settle_after = wait;
    }

    /// The transaction that is open on `db` has a batch that tells everything.
    fn note_told(&mut self, db: &Connection) -> Result<(), CatalogError> {
        self.is_settling = self.untold.is_some();
        if self.is_settling { say_untold(db, false) } else { Ok(()) }
    }

    fn is_news(&self, notes: &Notes) -> bool {
        !notes.inos.is_empty()
            || !notes.ops.is_empty()
            || !notes.gone_dirs.is_empty()
            || notes.places
            || notes.last_ino > self.inos
            || notes.ranges.iter().any(|note| self.has_bytes(note.ino))
    }

    /// The transaction is committed: returns when its batch is durable too.
    ///
    /// # Errors
    /// In words, when it may not be.
    pub(super) fn committed(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.is_settling) {
            self.untold = None;
        }
        if !self.is_open {
            return Ok(());
        }
        (self.is_open, self.seq) = (false, self.seq + 1);
        self.telling.clear();
        if let Err(error) = self.file.committed() {
            self.is_broken = true;
            return Err(io_error(&error).to_string());
        }
        // Without its name the file does not count: the one before stays, and must not be missing anything.
        if self.file.path.ends_with(BEGUN) {
            return Ok(());
        }
        self.set_mark();
        if self.again.is_empty() && !self.older.is_empty() {
            self.whole_bytes = self.file.tail;
            self.forget_older().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The transaction was not committed: the next batch takes the place of its own.
    pub(super) fn failed(&mut self) {
        self.noted.take();
        (self.is_open, self.is_settling) = (false, false);
        if let Some(since) = &mut self.untold {
            // What was put off was noted there, too. A disk that is full or failing is given a pause.
            self.is_broken = true;
            *since = Instant::now() + SETTLE_PAUSE;
        }
        for key in self.telling.drain(..) {
            let nothing = Known { generation: 0, extent: Extent::Nothing, since: 0 };
            let known = self.known.entry(key).or_insert(nothing);
            (known.generation, known.extent) = (0, Extent::Nothing);
            self.again.push(key);
        }
        self.dirs.clear();
        (self.inos, self.is_headless) = (0, true);
    }

    fn has_bytes(&self, ino: u64) -> bool {
        self.known.get(&Key::Ino(ino)).is_some_and(|known| known.extent != Extent::Row)
    }

    /// Writes a batch of the transaction that is open on `db`, which has its number from there on.
    fn write(&mut self, db: &Connection, batch: &Batch) -> Result<(), CatalogError> {
        self.is_open = true;
        let seq = self.seq + 1;
        db.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'log'")?.execute([seq])?;
        let sync = if batch.is_of_new_files() { Synced::Later } else { Synced::Now };
        let head = frame::Head { generation: self.generation, seq, durable: self.file.durable() };
        let frame = frame::encode(head, &batch.entries, &batch.carried);
        let written = frame.and_then(|frame| self.file.append(&frame, sync));
        self.is_broken |= self.file.has_failed();
        written.map_err(|error| io_error(&error))
    }

    /// The next file of the log.
    fn begin_next(&mut self) -> io::Result<()> {
        self.file.sync()?;
        let generation = self.generation + 1;
        let path = self.cache.join(file_name(generation));
        // An attempt that failed may have left it; there is nothing in it.
        file::remove(std::slice::from_ref(&path))?;
        let next = LogFile::create(path)?;
        let before = std::mem::replace(&mut self.file, next);
        self.older.push(before.path.clone());
        self.generation = generation;
        self.dirs.clear();
        (self.inos, self.is_headless) = (0, true);
        self.again = self.left();
        Ok(())
    }

    fn files_before(&self) -> Result<Vec<PathBuf>, CatalogError> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.cache).map_err(|e| io_error(&e))? {
            let entry = entry.map_err(|e| io_error(&e))?;
            if number_of(&entry.file_name()).is_some_and(|number| number < self.generation) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    fn forget_older(&mut self) -> Result<(), CatalogError> {
        let removed = file::remove(&self.older);
        // One that is gone tells nothing any more, whether that is durable or not.
        self.older.retain(|path| path.exists());
        removed.map_err(|error| io_error(&error))
    }
}

/// The number of the last batch whose transaction the catalog has.
pub(super) fn number(db: &Connection) -> Result<u64, CatalogError> {
    let number = "SELECT value FROM meta WHERE name = 'log'";
    Ok(db.query_row(number, [], |row| row.get(0))?)
}

/// Whether the catalog has changes that no batch tells of: it was cut off before that. A gateway that was killed has
/// left them; a power cut may have taken them, and this with them.
pub(super) fn is_untold(db: &Connection) -> Result<bool, CatalogError> {
    let mut said = db.prepare("SELECT value FROM meta WHERE name = 'untold'")?;
    Ok(said.query_row([], |row| row.get(0)).optional()?.unwrap_or(false))
}

/// Notes whether it has.
///
/// # Errors
/// Of the database.
pub(super) fn say_untold(db: &Connection, is_untold: bool) -> Result<(), CatalogError> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES ('untold', ?1)")?
        .execute([is_untold])?;
    Ok(())
}

/// A file that has no number yet.
fn begin(cache: &Path) -> io::Result<LogFile> {
    let path = cache.join(BEGUN);
    file::remove(std::slice::from_ref(&path))?;
    LogFile::create(path)
}

/// The number of the log's last file, 0 when there is none.
fn last_file(cache: &Path) -> io::Result<u64> {
    let mut last = 0;
    for entry in std::fs::read_dir(cache)? {
        last = last.max(number_of(&entry?.file_name()).unwrap_or(0));
    }
    Ok(last)
}

/// Whether there is a log in `cache`.
///
/// # Errors
/// Of the disk.
pub(super) fn is_there(cache: &Path) -> io::Result<bool> {
    Ok(last_file(cache)? > 0)
}

/// The first difference between what `db` has and what was told; `None` when there is none.
///
/// # Errors
/// Of the database.
pub(super) fn difference(db: &Connection, told: &Told) -> Result<Option<String>, CatalogError> {
    compare::difference(db, told)
}
