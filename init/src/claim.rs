//! Making file systems so that a power cut in the midst leaves nothing doubtful.
//!
//! A half-made file system looks like somebody's data. So the device is claimed first: one sector in
//! its last MiB, outside the file system, says that what else is on the device is ours and worth
//! nothing. When the file system is made and known, the claim is taken away again.
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

/// What is left out of every file system that is made here: the place of the claim. `mkfs.xfs` and
/// `mke2fs` overwrite both ends of the space they are given.
pub(crate) const RESERVED_BYTES: u64 = 1 << 20;
const MAGIC: &[u8; 32] = b"tidegate: formatting; no data\0\0\0";
/// The claim fills a block of the largest sector size in use.
const BLOCK_BYTES: usize = 4096;

/// Where the claim stands on a device of `size` bytes.
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

/// Whether the device is claimed: whatever is on it was being formatted by us.
///
/// # Errors
/// The device cannot be read.
pub(crate) fn is_claimed(device: &mut (impl Read + Seek), size: u64) -> io::Result<bool> {
    let Ok(at) = place(size) else { return Ok(false) };
    let mut found = [0; MAGIC.len()];
    device.seek(SeekFrom::Start(at))?;
    device.read_exact(&mut found)?;
    Ok(&found == MAGIC)
}

/// Claims the device; durable when it returns.
///
/// # Errors
/// The device cannot be written.
pub(crate) fn claim(device: &Path, size: u64) -> io::Result<()> {
    let mut block = [0; BLOCK_BYTES];
    block[..MAGIC.len()].copy_from_slice(MAGIC);
    write(device, size, &block)
}

/// Takes the claim away; durable when it returns. What is on the device counts from then on.
///
/// # Errors
/// The device cannot be written.
pub(crate) fn release(device: &Path, size: u64) -> io::Result<()> {
    write(device, size, &[0; BLOCK_BYTES])
}

fn write(device: &Path, size: u64, block: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).open(device)?;
    file.seek(SeekFrom::Start(place(size)?))?;
    file.write_all(block)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = (64 << 20) + 512;

    #[test]
    fn a_claim_stands_until_it_is_released_and_outside_of_the_room() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(SIZE).unwrap();
        assert!(!is_claimed(&mut file, SIZE).unwrap());
        claim(file.path(), SIZE).unwrap();
        // What mkfs does, at worst: all of its room is written.
        let room = usize::try_from(room(SIZE)).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&vec![0xff; room]).unwrap();
        assert!(is_claimed(&mut file, SIZE).unwrap());
        release(file.path(), SIZE).unwrap();
        assert!(!is_claimed(&mut file, SIZE).unwrap());
        assert_eq!(file.as_file().metadata().unwrap().len(), SIZE);
    }

    #[test]
    fn a_device_too_small_for_a_claim_has_none() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        assert!(!is_claimed(&mut file, 512).unwrap());
        assert!(claim(file.path(), 512).is_err());
        assert_eq!(room(512), 0);
    }
}
