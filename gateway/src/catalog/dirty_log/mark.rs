//! How far the catalog is known to have come: the number of the last batch whose transaction was committed.
//!
//! Written when it was, and never synced: a kill leaves it, a power cut may take it back. A catalog that has less
//! than it says has lost something; without it that could not be told from a transaction that was cut off before its
//! commit.
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

/// Its name in the cache directory.
const FILE: &str = "dirty.mark";

/// The mark, open for writing.
#[derive(Debug)]
pub(super) struct Mark(File);

impl Mark {
    /// Opens it; what it says stays.
    ///
    /// # Errors
    /// Of the disk.
    pub(super) fn open(cache: &Path) -> io::Result<Self> {
        let mut options = File::options();
        Ok(Self(options.create(true).truncate(false).write(true).open(cache.join(FILE))?))
    }

    /// The transaction of batch number `seq` is committed.
    ///
    /// # Errors
    /// Of the disk.
    pub(super) fn set(&self, seq: u64) -> io::Result<()> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&seq.to_le_bytes());
        bytes[8..].copy_from_slice(&checksum(&seq.to_le_bytes()).to_le_bytes());
        self.0.write_all_at(&bytes, 0)
    }
}

fn checksum(number: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, number)
}

/// What the mark in `cache` says; 0 where there is none, or none that was written whole.
///
/// # Errors
/// Of the disk.
pub(super) fn read(cache: &Path) -> io::Result<u64> {
    let bytes = match fs::read(cache.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let Some((number, sum)) = bytes.first_chunk::<8>().zip(bytes.get(8..16)) else { return Ok(0) };
    let is_whole = checksum(number).to_le_bytes() == *sum;
    Ok(if is_whole { u64::from_le_bytes(*number) } else { 0 })
}
