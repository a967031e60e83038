//! The journal: every change as one JSON line, replayed at start, rewritten shorter when it has grown.
//!
//! A change is durable against the end of the process when it is written; a half-written last line is dropped at the
//! next start. Owns the file `journal` of the store's directory; knows nothing of S3.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::blob::{BlobFiles, Body, BodyError, SegmentRecord};
use crate::model::{Catalog, Change};

/// Lines beyond twice the live ones before the journal is rewritten.
const SPARE_LINES: usize = 10_000;

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    lines: usize,
    bytes: u64,
    rewrite_at: usize,
    /// Held so that two stores never share a directory.
    _lock: File,
}

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("cannot {what} {path}: {source}; check the directory's permissions and free space")]
    Disk {
        /// What was attempted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A line other than the last is not a change.
    #[error(
        "line {line} of {path} is damaged: {reason}; restore the directory or start afresh with an empty one"
    )]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the line is not.
        reason: String,
    },
    /// Another store uses the directory.
    #[error("{path} is in use by another s3-store; stop it or name another directory")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
}

fn disk(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Disk { what, path, source }
}

impl Journal {
    /// Opens the store kept in `directory`, or makes an empty one.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(crate) fn open(directory: &Path) -> Result<(Self, Catalog<Body>, BlobFiles), JournalError> {
        std::fs::create_dir_all(directory).map_err(disk("make", directory))?;
        let lock_path = directory.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(disk("open", &lock_path))?;
        lock.try_lock().map_err(|_| JournalError::InUse { path: lock_path })?;
        let blobs_path = directory.join("blobs");
        let files = BlobFiles::open(&blobs_path).map_err(disk("open", &blobs_path))?;
        let path = directory.join("journal");
        let mut catalog = Catalog::new();
        let mut restore = files.restore();
        for change in read_changes(&path)? {
            let without_body = change.without_body();
            match change.with_body(|records| restore.body(records)) {
                Ok(change) => catalog.apply(change),
                // Released by a later change, or lost with the machine's power before it reached the disk: either
                // way there is no such body to serve.
                Err(BodyError::Missing { .. }) => {
                    without_body.into_iter().for_each(|change| catalog.apply(change))
                }
                Err(error @ BodyError::InMemory) => {
                    return Err(JournalError::Damaged { path, line: 0, reason: error.to_string() });
                }
            }
        }
        restore.sweep().map_err(disk("sweep", &blobs_path))?;
        let (file, lines, bytes) = rewrite(&path, &catalog)?;
        let journal =
            Self { path, file, lines, bytes, rewrite_at: lines * 2 + SPARE_LINES, _lock: lock };
        Ok((journal, catalog, files))
    }

    /// Writes one change. Returns after the system has it.
    ///
    /// # Errors
    /// `Disk`; the change must then not be applied.
    pub(crate) fn append(&mut self, change: &Change<Body>) -> Result<(), JournalError> {
        let line = line(change).map_err(disk("encode for", &self.path))?;
        if let Err(error) = self.file.write_all(&line) {
            // Half a line must not be continued by the next one. If this fails too, the next start names the line.
            drop(self.file.set_len(self.bytes));
            return Err(disk("write", &self.path)(error));
        }
        self.bytes += line.len() as u64;
        self.lines += 1;
        Ok(())
    }

    /// Rewrites the journal where most of its lines are history.
    ///
    /// # Errors
    /// `Disk`; the old journal is still whole then.
    pub(crate) fn shorten(&mut self, catalog: &Catalog<Body>) -> Result<(), JournalError> {
        if self.lines < self.rewrite_at {
            return Ok(());
        }
        let (file, lines, bytes) = rewrite(&self.path, catalog)?;
        self.file = file;
        self.bytes = bytes;
        self.lines = lines;
        self.rewrite_at = lines * 2 + SPARE_LINES;
        Ok(())
    }
}

fn line(change: &Change<Body>) -> std::io::Result<Vec<u8>> {
    let record = change.clone().with_body(|body| body.record()).map_err(std::io::Error::other)?;
    let mut line = serde_json::to_vec(&record)?;
    line.push(b'\n');
    Ok(line)
}

fn read_changes(path: &Path) -> Result<Vec<Change<Vec<SegmentRecord>>>, JournalError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(disk("read", path)(error)),
    };
    let mut reader = BufReader::new(file);
    let mut changes = Vec::new();
    let mut text = Vec::new();
    loop {
        text.clear();
        if reader.read_until(b'\n', &mut text).map_err(disk("read", path))? == 0
            || !text.ends_with(b"\n")
        {
            return Ok(changes);
        }
        let change = serde_json::from_slice(&text).map_err(|error| JournalError::Damaged {
            path: path.to_owned(),
            line: changes.len() + 1,
            reason: error.to_string(),
        })?;
        changes.push(change);
    }
}

/// An empty file that every write extends at its end.
fn fresh(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    file.set_len(0)?;
    Ok(file)
}

fn rewrite(path: &Path, catalog: &Catalog<Body>) -> Result<(File, usize, u64), JournalError> {
    let next = path.with_extension("new");
    let changes = catalog.snapshot();
    let mut bytes = 0;
    let mut writer = BufWriter::new(fresh(&next).map_err(disk("make", &next))?);
    for change in &changes {
        let line = line(change).map_err(disk("encode for", &next))?;
        writer.write_all(&line).map_err(disk("write", &next))?;
        bytes += line.len() as u64;
    }
    let file = writer.into_inner().map_err(|error| disk("write", &next)(error.into_error()))?;
    file.sync_all().map_err(disk("sync", &next))?;
    std::fs::rename(&next, path).map_err(disk("replace", path))?;
    Ok((file, changes.len(), bytes))
}
