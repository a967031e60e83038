//! What a log has told: its batches, one after the other, made one state.
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::{
    entry::{Dir, Disk, Entry, Op, Record, Share},
    file_name,
    frame::{Batch, Reader, Source},
    mark, number_of,
};
use crate::ranges::RangeSet;

/// Where carried bytes are in the log.
#[derive(Clone, Debug)]
pub(in crate::catalog) struct CarriedAt {
    generation: u64,
    at: u64,
    len: u64,
}

/// A dirty inode.
#[derive(Clone, Debug)]
pub(in crate::catalog) struct Dirty {
    pub(in crate::catalog) record: Record,
    pub(in crate::catalog) ranges: RangeSet,
    pub(in crate::catalog) carried: Option<CarriedAt>,
    /// Directories of other keys that it has in the bucket.
    pub(in crate::catalog) beside: Vec<u64>,
    /// The file of the log that says all of it.
    pub(super) told_in: u64,
}

/// A deletion or a move that is not done.
#[derive(Clone, Debug)]
pub(in crate::catalog) struct Undone {
    pub(in crate::catalog) op: Op,
    /// The directory of its key.
    pub(in crate::catalog) dir: Option<u64>,
    /// The file of the log that says so.
    pub(super) told_in: u64,
}

/// How a catalog stands to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::catalog) enum Stand {
    /// It has what the log tells.
    Even,
    /// It has more: a power cut has taken the log's end, of which nobody was told, or which was of new, empty files; or a
    /// kill came before what S3 says again was told.
    Ahead,
    /// It lacks so many transactions that were committed.
    Behind(u64),
}

/// The state that the log tells of.
#[derive(Debug, Default)]
pub(in crate::catalog) struct Told {
    /// The cache directory.
    cache: PathBuf,
    /// The catalog's number and schema.
    pub(in crate::catalog) head: Option<(u64, u32)>,
    pub(in crate::catalog) shares: Vec<Share>,
    pub(in crate::catalog) disks: Vec<Disk>,
    /// No ino above it was given out; 0: the log does not say.
    pub(in crate::catalog) inos: u64,
    pub(in crate::catalog) dirs: HashMap<u64, Dir>,
    pub(in crate::catalog) dirty: BTreeMap<u64, Dirty>,
    pub(in crate::catalog) ops: BTreeMap<u64, Undone>,
    /// The last batch: whether its transaction was committed the catalog must say.
    pending: Option<(u64, Batch)>,
    /// The last batch that counts.
    pub(in crate::catalog) seq: u64,
    /// The highest number that a batch has had, whatever became of it.
    highest: u64,
    /// One that is known to have been committed.
    marked: u64,
    /// It is to be told anew: the catalog has more, since a power cut has taken the log's end, or says so.
    pub(super) is_stale: bool,
    /// The log's files, by number.
    pub(super) generations: Vec<u64>,
    /// The file without which they do not tell everything.
    rests_on: Option<u64>,
    /// Files of which something was read.
    said: Vec<u64>,
    /// Where the last of them ends.
    pub(super) tail: u64,
    /// Bytes in the middle of the log that are no frames, and batches that are missing.
    pub(super) damaged: u64,
    /// Whether the disk could not read some of it, which may pass.
    pub(in crate::catalog) is_unreadable: bool,
}

impl Told {
    /// Reads the log in the directory `cache`; `None` when there is none, or nothing in it.
    ///
    /// # Errors
    /// Of the disk; also when a newer gateway has written it. What the disk cannot read of a file is damage.
    pub(in crate::catalog) fn read(cache: &Path) -> io::Result<Option<Self>> {
        Self::read_from(cache, File::open)
    }

    /// The same, of files that are opened so.
    pub(super) fn read_from<F: Source>(
        cache: &Path,
        open: impl Fn(PathBuf) -> io::Result<F>,
    ) -> io::Result<Option<Self>> {
        let marked = mark::read(cache)?;
        let mut told = Self { cache: cache.to_owned(), marked, ..Self::default() };
        for entry in fs::read_dir(cache)? {
            told.generations.extend(number_of(&entry?.file_name()));
        }
        if told.generations.is_empty() {
            return Ok(None);
        }
        told.generations.sort_unstable();
        for generation in told.generations.clone() {
            let file = open(cache.join(file_name(generation)))?;
            let mut reader = Reader::new(&file, generation)?;
            loop {
                match reader.next() {
                    Ok(Some(batch)) => told.take(generation, batch),
                    Ok(None) => break,
                    Err(error) if is_unreadable(&error) => {
                        tracing::error!("the log of what is not in S3, file {generation}: {error}");
                        told.damaged += 1;
                        told.is_unreadable = true;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            told.damaged += reader.damaged;
            told.tail = reader.end;
            if reader.end > 0 {
                told.said.push(generation);
            }
        }
        // What was committed is missing at the end.
        told.damaged += u64::from(told.marked > told.last());
        // A file that says nothing was being begun.
        Ok((told.last() > 0 || told.damaged > 0).then_some(told))
    }

    /// The highest number that a batch in the files has, whether it counts or not.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether something of it is missing, as far as its batches count ([`Told::compare_with`], [`Told::take_pending`]).
    pub(in crate::catalog) fn is_damaged(&self) -> bool {
        self.damaged > 0 || self.rests_on.is_some_and(|on| !self.said.contains(&on))
    }

    /// The number of the last batch, whether its transaction was committed or not.
    pub(super) fn last(&self) -> u64 {
        self.pending.as_ref().map_or(self.seq, |(_, batch)| batch.seq)
    }

    /// The next batch: the one before is committed, unless this one takes its place.
    fn take(&mut self, generation: u64, batch: Batch) {
        let is_anew = |entry: &Entry| matches!(entry, Entry::Head { is_anew: true, .. });
        if batch.entries.iter().any(is_anew) {
            let (cache, generations) =
                (std::mem::take(&mut self.cache), std::mem::take(&mut self.generations));
            let (marked, highest) = (self.marked, self.highest);
            *self = Self { cache, generations, marked, highest, ..Self::default() };
        }
        self.highest = self.highest.max(batch.seq);
        let last = self.last();
        if last > 0 && batch.seq != last && batch.seq != last + 1 {
            // Batches are missing between.
            self.damaged += 1;
        }
        if batch.seq != last {
            self.take_pending();
        }
        self.pending = Some((generation, batch));
    }

    /// The last batch counts.
    pub(in crate::catalog) fn take_pending(&mut self) {
        if let Some((generation, batch)) = self.pending.take() {
            self.apply(generation, batch);
        }
    }

    /// How a catalog stands to the log that has the transactions of all batches up to number `committed`, and, if it
    /// says so (`is_untold`), others of which no batch tells; the log then says what that one should have, unless it stands
    /// otherwise.
    pub(in crate::catalog) fn compare_with(&mut self, committed: u64, is_untold: bool) -> Stand {
        let last = self.last();
        if committed < self.marked || committed + 1 < last {
            return Stand::Behind(self.marked.max(last) - committed);
        }
        if committed > last || is_untold {
            self.is_stale = true;
            return Stand::Ahead;
        }
        if committed == last {
            self.take_pending();
        } else {
            // Cut off between the log and the commit: nobody was answered.
            self.pending = None;
        }
        Stand::Even
    }

    /// Whether the log tells of a catalog of this schema.
    pub(in crate::catalog) fn is_of_schema(&self, schema: u32) -> bool {
        self.head.is_some_and(|(_, of)| of == schema)
    }

    fn apply(&mut self, generation: u64, batch: Batch) {
        self.seq = batch.seq;
        let mut at = batch.carried_at;
        for entry in batch.entries {
            match entry {
                Entry::Head { catalog, schema, is_anew: _, rests_on } => {
                    (self.head, self.rests_on) = (Some((catalog, schema)), rests_on);
                }
                Entry::Places { shares, disks } => (self.shares, self.disks) = (shares, disks),
                Entry::Inos(inos) => self.inos = self.inos.max(inos),
                Entry::Dir(dir) => {
                    self.dirs.insert(dir.ino, dir);
                }
                Entry::Dirty { record, ranges, carried, beside } => {
                    let carried = carried.map(|len| {
                        let carried = CarriedAt { generation, at, len };
                        at += len;
                        carried
                    });
                    let ranges = ranges.map(|all| all.into_iter().map(|(a, b)| a..b).collect());
                    self.take_dirty(generation, *record, ranges, (carried, beside));
                }
                Entry::Range { ino, start, end, is_here } => {
                    if let Some(dirty) = self.dirty.get_mut(&ino) {
                        if is_here {
                            dirty.ranges.insert(start..end);
                        } else {
                            dirty.ranges.remove(start..end);
                        }
                    }
                }
                Entry::Clean(ino) => {
                    self.dirty.remove(&ino);
                }
                Entry::NoDir(ino) => {
                    self.dirs.remove(&ino);
                }
                Entry::Op { op, dir } => {
                    self.ops.insert(op.op, Undone { op, dir, told_in: generation });
                }
                Entry::Done(op) => {
                    self.ops.remove(&op);
                }
            }
        }
    }

    fn take_dirty(
        &mut self,
        generation: u64,
        record: Record,
        ranges: Option<RangeSet>,
        (carried, beside): (Option<CarriedAt>, Vec<u64>),
    ) {
        if record.kind == 1 {
            let Record { ino, share, parent, mode, uid, gid, mtime, .. } = record;
            let (name, part) = (record.name.clone(), record.part.clone());
            let dir = Dir { ino, share, parent, name, part, mode, uid, gid, mtime };
            self.dirs.insert(ino, dir);
        }
        let before = self.dirty.remove(&record.ino);
        let (ranges, told_in) = match (ranges, before) {
            (Some(ranges), _) => (ranges, generation),
            (None, Some(before)) => (before.ranges, before.told_in),
            (None, None) => (RangeSet::new(), generation),
        };
        self.dirty.insert(record.ino, Dirty { record, ranges, carried, beside, told_in });
    }

    /// Carried bytes, which the log still has.
    ///
    /// # Errors
    /// Of the disk.
    pub(in crate::catalog) fn carried(&self, carried: &CarriedAt) -> io::Result<Vec<u8>> {
        let file = File::open(self.cache.join(file_name(carried.generation)))?;
        let mut bytes = vec![0; usize::try_from(carried.len).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, carried.at)?;
        Ok(bytes)
    }

    /// The path of the directory `ino` below its share's root; `None` where the log does not tell.
    pub(in crate::catalog) fn path_of_dir(&self, ino: u64) -> Option<String> {
        let mut names = Vec::new();
        let mut at = self.dirs.get(&ino)?;
        while at.parent != at.ino {
            names.push(at.name.as_str());
            at = self.dirs.get(&at.parent).filter(|_| names.len() <= self.dirs.len())?;
        }
        names.reverse();
        Some(names.join("/"))
    }

    /// The path of what `record` is of.
    pub(in crate::catalog) fn path_of(&self, record: &Record) -> String {
        match self.path_of_dir(record.parent) {
            Some(dir) if dir.is_empty() => record.name.clone(),
            Some(dir) => format!("{dir}/{}", record.name),
            None => format!("?/{} (inode {})", record.name, record.ino),
        }
    }

    /// The name of a share.
    pub(in crate::catalog) fn share(&self, id: u32) -> &str {
        self.shares.iter().find(|share| share.id == id).map_or("?", |share| share.name.as_str())
    }
}

/// Whether the disk cannot read what it has.
fn is_unreadable(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::IO | Errno::UCLEAN | Errno::BADMSG))
}
