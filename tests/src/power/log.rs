//! The log of a disk's writes, as QEMU's `blklogwrites` and Linux's dm-log-writes make it: one sector that says
//! what it is, then for each request one sector that says what was asked, with the bytes behind it. All numbers
//! are little-endian.
use std::{
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

/// Of the logged disk and of the log.
pub const SECTOR: u64 = 512;
/// `WRITE_LOG_MAGIC` of Linux's dm-log-writes.
const MAGIC: u64 = 0x6a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// Most bytes of one request that are believed.
const REQUEST_BYTES_MAX: u64 = 64 << 20;

/// What the disk was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To take bytes, which may stay in the disk's own memory unless they are `forced` (FUA).
    Write {
        /// Where on the disk they begin.
        at: u64,
        /// Where in the log they are.
        bytes: Range<u64>,
        /// Durable when the request is done.
        forced: bool,
    },
    /// To make durable what it has taken.
    Flush,
}

/// A request and where the log has it: whatever was told to anybody when the log was no longer than that was
/// told before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Bytes of the log before it.
    pub offset: u64,
    /// What was asked.
    pub request: Request,
}

/// A log that is read while it grows.
#[derive(Debug)]
pub struct WriteLog {
    file: File,
    path: PathBuf,
    next: u64,
}

impl WriteLog {
    /// Opens one from its first request on.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        Ok(Self { file, path: path.to_owned(), next: SECTOR })
    }

    /// The same log from the request on that begins at `position`.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub fn from(&self, position: u64) -> Result<Self> {
        Ok(Self { file: self.file.try_clone()?, path: self.path.clone(), next: position })
    }

    /// Bytes of it so far. A request that is done is among them.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn len(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether nothing was logged.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? <= SECTOR)
    }

    /// Where the next request is or will be.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Checks that it is such a log: after the first flush it says so.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self) -> Result<()> {
        let [magic, version, _requests, sector] = self.numbers(0)?;
        let is_log = magic == MAGIC && version == VERSION && sector & 0xffff_ffff == SECTOR;
        ensure!(is_log, "{} is no log of writes by {SECTOR} bytes", self.path.display());
        Ok(())
    }

    /// The next request that begins before `end`. Call it when nothing up to there is under way any more.
    ///
    /// # Errors
    /// When the log holds something else.
    pub fn next(&mut self, end: u64) -> Result<Option<Logged>> {
        if self.next >= end {
            return Ok(None);
        }
        let offset = self.next;
        let [sector, sectors, flags, _length] = self.numbers(offset)?;
        let bytes = sectors * SECTOR;
        let at = || format!("byte {offset} of {}", self.path.display());
        ensure!(bytes <= REQUEST_BYTES_MAX, "{bytes} bytes in one request at {}", at());
        ensure!(flags & DISCARD == 0, "a discard, which nobody asks for, at {}", at());
        ensure!(flags & FLUSH != 0 || bytes > 0, "nothing is logged at {}", at());
        ensure!(flags & FLUSH == 0 || bytes == 0, "a flush with bytes at {}", at());
        let data = offset + SECTOR..offset + SECTOR + bytes;
        self.next = data.end;
        let request = if flags & FLUSH != 0 {
            Request::Flush
        } else {
            Request::Write { at: sector * SECTOR, bytes: data, forced: flags & FUA != 0 }
        };
        Ok(Some(Logged { offset, request }))
    }

    /// The bytes at `range` of the log.
    ///
    /// # Errors
    /// When they are not there.
    pub fn bytes(&self, range: &Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start)?];
        self.file
            .read_exact_at(&mut bytes, range.start)
            .with_context(|| self.path.display().to_string())?;
        Ok(bytes)
    }

    fn numbers(&self, offset: u64) -> Result<[u64; 4]> {
        let bytes = self.bytes(&(offset..offset + 32))?;
        let mut numbers = [0; 4];
        for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into()?);
        }
        Ok(numbers)
    }
}

/// A log as QEMU would write it, for tests.
#[cfg(test)]
pub(super) fn written(requests: &[(u64, &[u8], u64)]) -> tempfile::NamedTempFile {
    let sector_of = |numbers: [u64; 4]| {
        let mut sector: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        sector.resize(512, 0);
        sector
    };
    let mut log = sector_of([MAGIC, VERSION, requests.len() as u64, SECTOR]);
    for (sector, bytes, flags) in requests {
        log.extend(sector_of([*sector, bytes.len() as u64 / SECTOR, *flags, 0]));
        log.extend(*bytes);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), log).unwrap();
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_in_order_with_their_places() {
        let file = written(&[(8, &[1; 1024], 0), (0, &[], FLUSH), (2, &[3; 512], FUA)]);
        let mut log = WriteLog::open(file.path()).unwrap();
        log.check().unwrap();
        let end = log.len().unwrap();
        let write = log.next(end).unwrap().unwrap();
        let bytes = 1024..2048;
        let request = Request::Write { at: 4096, bytes: bytes.clone(), forced: false };
        assert_eq!(write, Logged { offset: 512, request });
        assert_eq!(log.bytes(&bytes).unwrap(), [1; 1024]);
        assert_eq!(log.next(end).unwrap(), Some(Logged { offset: 2048, request: Request::Flush }));
        assert_eq!(log.next(2560).unwrap(), None, "not before that");
        let forced = log.next(end).unwrap().unwrap();
        assert!(matches!(forced.request, Request::Write { at: 1024, forced: true, .. }));
        assert_eq!(log.next(end).unwrap(), None);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let file = written(&[(0, &[], 0)]);
        let mut log = WriteLog::open(file.path()).unwrap();
        let end = log.len().unwrap();
        log.next(end).unwrap_err();
        std::fs::write(file.path(), [0; 1024]).unwrap();
        log.check().unwrap_err();
    }
}
