//! Bodies: bytes in memory or in numbered files, shared by copies and by completed uploads, streamed in and out.
//!
//! A [`Body`] is a list of slices of blobs, so that completing an upload or copying an object moves no bytes. A blob
//! in a file is removed when its last user goes, unless the store is closing. Nothing here knows keys or S3.

mod read;
mod receive;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use receive::{ReceiveError, Received, receive};

/// The bytes of one blob.
#[derive(Debug)]
enum Blob {
    Memory(Bytes),
    File { directory: Arc<BlobDirectory>, number: u64 },
}

impl Drop for Blob {
    fn drop(&mut self) {
        match self {
            Self::File { directory, number } if !directory.closing.load(Ordering::Acquire) => {
                // A blob that cannot be removed now is swept at the next start.
                drop(std::fs::remove_file(directory.file(*number)));
            }
            Self::File { .. } | Self::Memory(_) => {}
        }
    }
}

/// The folder of blob files.
#[derive(Debug)]
struct BlobDirectory {
    path: PathBuf,
    next: AtomicU64,
    closing: AtomicBool,
}

impl BlobDirectory {
    fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}"))
    }
}

/// A slice of a blob.
#[derive(Debug, Clone)]
struct Segment {
    blob: Arc<Blob>,
    offset: u64,
    length: u64,
}

/// The bytes of an object, a version or a part. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    segments: Vec<Segment>,
}

/// A slice of a numbered blob file, as the journal names it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SegmentRecord {
    blob: u64,
    offset: u64,
    length: u64,
}

/// A body in memory cannot be named in a journal; or a journal names a blob that is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("blob file {path} is missing or shorter than {bytes} bytes")]
    Missing { path: PathBuf, bytes: u64 },
    #[error("a body in memory was to be written to a journal")]
    InMemory,
}

impl Body {
    /// A body in memory.
    pub(crate) fn from_bytes(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        Self { segments: vec![Segment { blob: Arc::new(Blob::Memory(bytes)), offset: 0, length }] }
    }

    /// The bodies one after another.
    pub(crate) fn join(bodies: Vec<Self>) -> Self {
        Self { segments: bodies.into_iter().flat_map(|body| body.segments).collect() }
    }

    /// The bytes `range` of this body; what lies past its end is left out.
    pub(crate) fn slice(&self, range: std::ops::Range<u64>) -> Self {
        let mut segments = Vec::new();
        let mut start = 0_u64;
        for segment in &self.segments {
            let end = start + segment.length;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                segments.push(Segment {
                    blob: Arc::clone(&segment.blob),
                    offset: segment.offset + (from - start),
                    length: to - from,
                });
            }
            start = end;
        }
        Self { segments }
    }

    /// Names the body for the journal.
    ///
    /// # Errors
    /// `InMemory`.
    pub(crate) fn record(&self) -> Result<Vec<SegmentRecord>, BodyError> {
        let record = |segment: &Segment| match &*segment.blob {
            Blob::Memory(_) => Err(BodyError::InMemory),
            Blob::File { number, .. } => {
                Ok(SegmentRecord { blob: *number, offset: segment.offset, length: segment.length })
            }
        };
        self.segments.iter().map(record).collect()
    }
}

/// Where new bodies go.
#[derive(Debug, Clone)]
pub(crate) enum BlobHome {
    /// Bodies live in this process.
    Memory,
    /// Bodies are files.
    Directory(BlobFiles),
}

/// The blob files of one store directory.
#[derive(Debug, Clone)]
pub(crate) struct BlobFiles {
    directory: Arc<BlobDirectory>,
}

impl BlobFiles {
    /// Opens or makes the folder `path`.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let mut next = 0;
        for entry in std::fs::read_dir(path)? {
            let name = entry?.file_name();
            let number = name
                .to_str()
                .and_then(|name| u64::from_str_radix(name.split('.').next()?, 16).ok());
            next = next.max(number.map_or(0, |number| number + 1));
        }
        let directory = BlobDirectory {
            path: path.to_owned(),
            next: AtomicU64::new(next),
            closing: AtomicBool::new(false),
        };
        Ok(Self { directory: Arc::new(directory) })
    }

    /// From now on blob files are kept when their last user goes: the journal still names them.
    pub(crate) fn close(&self) {
        self.directory.closing.store(true, Ordering::Release);
    }

    /// Reads bodies back as the journal names them.
    pub(crate) fn restore(&self) -> Restore<'_> {
        Restore { files: self, known: HashMap::new() }
    }
}

/// Turns journal records back into bodies; a blob named twice is shared.
#[derive(Debug)]
pub(crate) struct Restore<'a> {
    files: &'a BlobFiles,
    known: HashMap<u64, Weak<Blob>>,
}

impl Restore<'_> {
    /// The body that `records` name.
    ///
    /// # Errors
    /// `Missing` where a blob file is not there or too short.
    pub(crate) fn body(&mut self, records: Vec<SegmentRecord>) -> Result<Body, BodyError> {
        let segments = records.into_iter().map(|record| {
            let blob = self.blob(record.blob, record.offset + record.length)?;
            Ok(Segment { blob, offset: record.offset, length: record.length })
        });
        Ok(Body { segments: segments.collect::<Result<_, BodyError>>()? })
    }

    fn blob(&mut self, number: u64, bytes: u64) -> Result<Arc<Blob>, BodyError> {
        let directory = &self.files.directory;
        let path = directory.file(number);
        if std::fs::metadata(&path).map_or(0, |metadata| metadata.len()) < bytes || !path.exists() {
            return Err(BodyError::Missing { path, bytes });
        }
        if let Some(blob) = self.known.get(&number).and_then(Weak::upgrade) {
            return Ok(blob);
        }
        let blob = Arc::new(Blob::File { directory: Arc::clone(directory), number });
        self.known.insert(number, Arc::downgrade(&blob));
        Ok(blob)
    }

    /// Removes the files that nothing names: uploads cut short, bodies deleted while the store was closing.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn sweep(self) -> std::io::Result<()> {
        let kept = |name: &str| {
            u64::from_str_radix(name, 16).is_ok_and(|number| {
                self.known.get(&number).is_some_and(|blob| blob.strong_count() > 0)
            })
        };
        for entry in std::fs::read_dir(&self.files.directory.path)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(kept) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}
