//! Making and giving back file systems so that a power cut in the midst leaves nothing doubtful.
//!
//! A half-made file system looks like somebody's data. So the device is marked first: one sector in
//! its last MiB, outside the file system, says that what else is on the device is ours and worth
//! nothing. When the file system is made and known, the mark is taken away again. A cache disk that
//! was given back keeps a mark: there is nothing on it that anybody misses.
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

#[cfg(test)]
use crate::power_cut::{self, Operation};
use crate::sys;

/// What is left out of every file system that is made here: the place of the mark. `mkfs.xfs` and
/// `mke2fs` overwrite both ends of the space they are given.
pub(crate) const RESERVED_BYTES: u64 = 1 << 20;
/// A mark fills a block of the largest sector size in use.
const BLOCK_BYTES: usize = 4096;
/// What is cleared at the start of a device that is to hold nothing: every superblock is in there.
pub(crate) const CLEARED_BYTES: usize = 1 << 20;
/// The sector with the signature of the file systems that cache disks have (XFS).
const SIGNATURE_BYTES: usize = 512;
const MAGIC_BYTES: usize = 32;

/// Why what is on a device is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Formatting it was begun and not ended.
    Claimed,
    /// It was a cache disk, everything on it was uploaded, and it was given back.
    Released,
}

impl Mark {
    const ALL: [Self; 2] = [Self::Claimed, Self::Released];

    fn magic(self) -> &'static [u8; MAGIC_BYTES] {
        match self {
            Self::Claimed => b"tidegate: formatting; no data\0\0\0",
            Self::Released => b"tidegate: released; no data\0\0\0\0\0",
        }
    }
}

/// Where the mark stands on a device of `size` bytes.
///
/// # Errors
/// The device is too small to hold anything.
fn place(size: u64) -> io::Result<u64> {
    let block = BLOCK_BYTES as u64;
    size.checked_sub(RESERVED_BYTES)
        .map(|at| at.next_multiple_of(block))
        .ok_or_else(|| io::Error::other("smaller than 1 MiB"))
}

/// Bytes that a file system on a device of `size` bytes may take; a multiple of 1 MiB.
pub(crate) fn room(size: u64) -> u64 {
    size.saturating_sub(RESERVED_BYTES) / RESERVED_BYTES * RESERVED_BYTES
}

/// The mark on the device, if there is one.
///
/// # Errors
/// The device cannot be read.
pub(crate) fn mark_of(device: &mut (impl Read + Seek), size: u64) -> io::Result<Option<Mark>> {
    let Ok(at) = place(size) else { return Ok(None) };
    let mut found = [0; MAGIC_BYTES];
    device.seek(SeekFrom::Start(at))?;
    device.read_exact(&mut found)?;
    Ok(Mark::ALL.into_iter().find(|mark| &found == mark.magic()))
}

/// Whether nothing stands behind the mark. What does, somebody else has put there.
///
/// # Errors
/// The device cannot be read, or is too small for a mark.
pub(crate) fn stands_last(device: &mut (impl Read + Seek), size: u64) -> io::Result<bool> {
    let behind = place(size)? + BLOCK_BYTES as u64;
    let mut bytes = vec![0; tail_bytes(behind, size)];
    device.seek(SeekFrom::Start(behind))?;
    device.read_exact(&mut bytes)?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}

fn tail_bytes(from: u64, size: u64) -> usize {
    usize::try_from(size.saturating_sub(from)).expect("at most 1 MiB")
}

/// Marks the device, and clears what is behind the mark; durable when it returns.
///
/// # Errors
/// The device cannot be written.
pub(crate) fn mark(device: &Path, size: u64, mark: Mark) -> io::Result<()> {
    let at = place(size)?;
    let mut tail = vec![0; tail_bytes(at, size)];
    tail[..MAGIC_BYTES].copy_from_slice(mark.magic());
    write_at(device, at, &tail)
}

/// Takes the mark away; durable when it returns. What is on the device counts from then on.
///
/// # Errors
/// The device cannot be written.
pub(crate) fn unmark(device: &Path, size: u64) -> io::Result<()> {
    write_at(device, place(size)?, &[0; BLOCK_BYTES])
}

/// Makes the start of the device zero, where file systems have their signature; durable when it returns.
///
/// The signature goes last: as long as it is there, the mark says that it does not count. Without it, what
/// a power cut has left behind it would be bytes of no known kind, which nobody touches.
///
/// # Errors
/// The device cannot be written.
pub(crate) fn clear_start(device: &Path) -> io::Result<()> {
    write_at(device, SIGNATURE_BYTES as u64, &vec![0; CLEARED_BYTES - SIGNATURE_BYTES])?;
    write_at(device, 0, &[0; SIGNATURE_BYTES])
}

fn write_at(device: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).open(device)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)?;
    #[cfg(test)]
    power_cut::note(|| Operation::WriteAt { path: device.to_owned(), at, bytes: bytes.to_owned() });
    sys::sync(&file, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = (64 << 20) + 512;

    #[test]
    fn a_mark_stands_until_it_is_taken_away_and_outside_of_the_room() {
        for wanted in Mark::ALL {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(SIZE).unwrap();
            assert_eq!(mark_of(&mut file, SIZE).unwrap(), None);
            file.seek(SeekFrom::Start(SIZE - 512)).unwrap();
            file.write_all(b"what the storage has put there").unwrap();
            mark(file.path(), SIZE, wanted).unwrap();
            assert!(stands_last(&mut file, SIZE).unwrap());
            // What mkfs does, at worst: all of its room is written.
            let room = usize::try_from(room(SIZE)).unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            file.write_all(&vec![0xff; room]).unwrap();
            assert_eq!(mark_of(&mut file, SIZE).unwrap(), Some(wanted));
            assert!(stands_last(&mut file, SIZE).unwrap());
            clear_start(file.path()).unwrap();
            assert_eq!(mark_of(&mut file, SIZE).unwrap(), Some(wanted));
            unmark(file.path(), SIZE).unwrap();
            assert_eq!(mark_of(&mut file, SIZE).unwrap(), None);
            assert_eq!(file.as_file().metadata().unwrap().len(), SIZE);
        }
    }

    #[test]
    fn a_device_too_small_for_a_mark_has_none() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(mark_of(&mut file, 512).unwrap(), None);
        assert!(mark(file.path(), 512, Mark::Claimed).is_err());
        assert_eq!(room(512), 0);
    }
}
