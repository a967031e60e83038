//! How much may still be written: free space less a reserve.
//!
//! The reserve is for what has been accepted already: commits of written data, the catalog and its
//! log. It is never given to new writes, so that accepted data can always be committed (F23).
use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::disk::{DiskIo, DiskSpace};

/// Least reserve: the catalog's log may grow to 64 MiB.
const RESERVE_BYTES_MIN: u64 = 128 << 20;
/// Greatest reserve.
const RESERVE_BYTES_MAX: u64 = 1 << 30;
/// Below so many free bytes beyond the reserve, room is made before anybody needs it: a second of
/// writing at the speed of a fast disk.
const SPARE_BYTES_MIN: u64 = 256 << 20;
const SPARE_BYTES_MAX: u64 = 4 << 30;
/// Written bytes after which the disk is asked again.
const ASK_EVERY_BYTES: u64 = 16 << 20;

/// Space accounting of one cache disk.
#[derive(Debug)]
pub struct Space {
    disk: Arc<dyn DiskIo>,
    root: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    available: u64,
    admitted: u64,
    asked: bool,
}

/// Bytes kept back on a disk of `total` bytes: a twentieth, within bounds; on very small disks
/// (tests, trials) at most a quarter.
pub fn reserve_bytes(total: u64) -> u64 {
    (total / 20).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX).min(total / 4)
}

/// Bytes beyond the reserve that are kept free for writes to come, on a disk of `total` bytes: a fiftieth,
/// within bounds; on very small disks a sixteenth.
pub fn spare_bytes(total: u64) -> u64 {
    (total / 50).clamp(SPARE_BYTES_MIN, SPARE_BYTES_MAX).min(total / 16)
}

impl Space {
    pub(super) fn new(disk: Arc<dyn DiskIo>, root: PathBuf) -> Self {
        Self { disk, root, known: Mutex::default() }
    }

    /// The disk's space now.
    ///
    /// # Errors
    /// What `statvfs` says.
    pub fn now(&self) -> io::Result<DiskSpace> {
        self.disk.space(&self.root)
    }

    /// Whether `len` more bytes may be written. `false`: make room ([`super::evict`]) or let the
    /// client wait.
    ///
    /// # Errors
    /// What `statvfs` says.
    pub fn admit(&self, len: u64) -> io::Result<bool> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let near = known.available < known.admitted.saturating_add(len);
        if !known.asked || known.admitted.saturating_add(len) >= ASK_EVERY_BYTES || near {
            let space = self.now()?;
            *known = Known {
                available: space.available.saturating_sub(reserve_bytes(space.total)),
                admitted: 0,
                asked: true,
            };
        }
        if known.available < known.admitted.saturating_add(len) {
            return Ok(false);
        }
        known.admitted += len;
        Ok(true)
    }

    /// How many bytes to free in the background: none while what is kept free is free, then so many that
    /// twice as much is.
    ///
    /// # Errors
    /// What `statvfs` says.
    pub fn short_of_spare(&self) -> io::Result<u64> {
        let space = self.now()?;
        let (reserve, spare) = (reserve_bytes(space.total), spare_bytes(space.total));
        if space.available >= reserve.saturating_add(spare) {
            return Ok(0);
        }
        Ok(reserve.saturating_add(spare * 2).saturating_sub(space.available))
    }

    /// How many bytes must be freed until writes have `headroom` again; 0 when they have.
    ///
    /// # Errors
    /// What `statvfs` says.
    pub fn short_of(&self, headroom: u64) -> io::Result<u64> {
        let space = self.now()?;
        let wanted = reserve_bytes(space.total).saturating_add(headroom);
        Ok(wanted.saturating_sub(space.available))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::sim_disk::SimDisk;

    #[test]
    fn writes_are_refused_before_the_reserve_is_touched() {
        let disk = SimDisk::default();
        let space = Space::new(Arc::new(disk.clone()), PathBuf::from("/cache"));
        disk.set_available(reserve_bytes(1 << 40) + 1000);
        assert!(space.admit(600).unwrap());
        assert!(space.admit(400).unwrap());
        disk.set_available(reserve_bytes(1 << 40));
        assert!(!space.admit(1).unwrap());
        assert_eq!(space.short_of(1000).unwrap(), 1000);
        let (reserve, spare) = (reserve_bytes(1 << 40), spare_bytes(1 << 40));
        disk.set_available(reserve + spare);
        assert_eq!(space.short_of_spare().unwrap(), 0);
        disk.set_available(reserve + spare - 1);
        assert_eq!(space.short_of_spare().unwrap(), spare + 1);
    }
}
