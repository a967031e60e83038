//! Writing past the kernel's cache, in whole blocks.
//!
//! What is written so is with the device when the call returns, in the device's cache at the worst: the flush with
//! which the commit of the database ends makes both durable, and two files cost one flush. That holds where a block
//! which has been written is overwritten in its place, so that nothing of the file system changes: on the file
//! systems that are known for it, and in what is filled ahead.
use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

/// Bytes of a block: what every disk takes at once.
pub(super) const BLOCK: u64 = 4096;
const BLOCK_BYTES: usize = 4096;
/// `f_type` of ext2, ext3 and ext4 (statfs(2)).
const EXT: u64 = 0xEF53;
/// `f_type` of XFS.
const XFS: u64 = 0x5846_5342;

/// The end of a file, which is written block by block.
#[derive(Debug)]
pub(super) struct Blocks {
    file: File,
    /// What the block that the tail is in has before it.
    begun: Vec<u8>,
}

impl Blocks {
    /// Of the file at `path`, which ends at `tail` and has zeros behind that; `None` where this is no way to write.
    ///
    /// # Errors
    /// Of the disk.
    pub(super) fn open(path: &Path, tail: u64) -> io::Result<Option<Self>> {
        let kind = u64::try_from(rustix::fs::statfs(path)?.f_type).unwrap_or_default();
        if kind != EXT && kind != XFS {
            return Ok(None);
        }
        let direct = i32::try_from(OFlags::DIRECT.bits()).map_err(io::Error::other)?;
        let file = File::options().write(true).custom_flags(direct).open(path)?;
        let mut begun = vec![0; usize::try_from(tail % BLOCK).map_err(io::Error::other)?];
        File::open(path)?.read_exact_at(&mut begun, tail - tail % BLOCK)?;
        let mut blocks = Self { file, begun };
        match blocks.append(&[], tail) {
            Ok(()) => Ok(Some(blocks)),
            // A device with larger blocks.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// From here on writes go to `file`, which takes none.
    #[cfg(test)]
    pub(super) fn refuse(&mut self, file: File) {
        self.file = file;
    }

    /// Writes `bytes` at `tail`, which is where the last ones ended, and zeros to the end of the block.
    ///
    /// # Errors
    /// Of the disk.
    pub(super) fn append(&mut self, bytes: &[u8], tail: u64) -> io::Result<()> {
        let len = self.begun.len() + bytes.len();
        let whole = len.next_multiple_of(BLOCK_BYTES).max(BLOCK_BYTES);
        let mut buffer = vec![0; whole + BLOCK_BYTES];
        let skip = buffer.as_ptr().align_offset(BLOCK_BYTES);
        let aligned = &mut buffer[skip..skip + whole];
        aligned[..self.begun.len()].copy_from_slice(&self.begun);
        aligned[self.begun.len()..len].copy_from_slice(bytes);
        self.file.write_all_at(aligned, tail - self.begun.len() as u64)?;
        let block = len - len % BLOCK_BYTES;
        self.begun = aligned[block..len].to_vec();
        Ok(())
    }
}
