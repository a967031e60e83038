//! How much may still be written: free space less a reserve.
//!
//! The reserve is for what has been accepted already: commits of written data, the catalog and its
//! log. It is never given to new writes, so that accepted data can always be committed (F23).
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    CacheDisk,
    disk::{DiskIo, DiskSpace},
};

/// Least reserve: the catalog's log may grow to 64 MiB.
const RESERVE_BYTES_MIN: u64 = 128 << 20;
/// Greatest reserve.
const RESERVE_BYTES_MAX: u64 = 1 << 30;
/// Below so many free bytes beyond the reserve, room is made before anybody needs it: a second of
/// writing at the speed of a fast disk.
const SPARE_BYTES_MIN: u64 = 256 << 20;
const SPARE_BYTES_MAX: u64 = 4 << 30;
/// Room made beyond what a write lacks, so that not every write has to; half of what is kept spare where that
/// is less.
const HEADROOM_BYTES_MAX: u64 = 64 << 20;
/// Written bytes after which the disk is asked again.
const ASK_EVERY_BYTES: u64 = 16 << 20;

/// Space accounting of one cache disk.
#[derive(Debug)]
pub struct Space {
    disk: Arc<dyn DiskIo>,
    root: PathBuf,
    known: Mutex<Known>,
    /// Bytes on their way from S3, which the disk does not count yet.
    coming: Arc<AtomicU64>,
}

/// The space of several disks.
#[derive(Clone, Copy, Debug)]
pub struct Spaces<'a>(pub(super) &'a [CacheDisk]);

impl Spaces<'_> {
    /// The space of those that take files, all together.
    ///
    /// # Errors
    /// What `statvfs` says.
    pub fn now(self) -> io::Result<DiskSpace> {
        self.each().try_fold(DiskSpace::default(), |sum, one| {
            let one = one?;
            Ok(DiskSpace {
                total: sum.total.saturating_add(one.total),
                available: sum.available.saturating_add(one.available),
                files_total: sum.files_total.saturating_add(one.files_total),
                files_free: sum.files_free.saturating_add(one.files_free),
            })
        })
    }

    /// The bytes of those that may be given to writers, and of these the ones that are free. What one disk
    /// lacks of its reserve, another does not have for it.
    ///
    /// # Errors
    /// What `statvfs` says.
    pub fn for_writers(self) -> io::Result<(u64, u64)> {
        self.each().try_fold((0_u64, 0_u64), |(all, free), one| {
            let DiskSpace { total, available, .. } = one?;
            let reserve = reserve_bytes(total);
            let all = all.saturating_add(total.saturating_sub(reserve));
            Ok((all, free.saturating_add(available.saturating_sub(reserve))))
        })
    }

    fn each(self) -> impl Iterator<Item = io::Result<DiskSpace>> {
        let disks = self.0.iter().filter(|disk| !disk.is_draining());
        disks.map(|disk| disk.space().now())
    }
}

/// Bytes that are on their way to the disk. Until it is dropped nobody else is given their room.
#[derive(Debug)]
pub struct Coming {
    bytes: u64,
    of: Arc<AtomicU64>,
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
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

fn headroom_bytes(total: u64) -> u64 {
    HEADROOM_BYTES_MAX.min(spare_bytes(total) / 2)
}

impl Space {
    pub(super) fn new(disk: Arc<dyn DiskIo>, root: PathBuf) -> Self {
        Self { disk, root, known: Mutex::default(), coming: Arc::default() }
    }

    /// The disk's space now.
    ///
    /// # Errors
    /// What `statvfs` says.
    pub fn now(&self) -> io::Result<DiskSpace> {
        self.disk.space(&self.root)
    }

    /// Keeps the room of `bytes` that are being fetched: a request may take long, and whoever asks the disk
    /// meanwhile must not find it free. They need not have been admitted.
    pub fn coming(&self, bytes: u64) -> Coming {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.admitted = known.admitted.saturating_add(bytes);
        self.coming.fetch_add(bytes, Ordering::Relaxed);
        Coming { bytes, of: Arc::clone(&self.coming) }
    }

    /// The disk had less than was thought: it is asked before anything more is admitted.
    pub fn ask_again(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).asked = false;
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
            let kept = reserve_bytes(space.total).saturating_add(self.expected());
            *known =
                Known { available: space.available.saturating_sub(kept), admitted: 0, asked: true };
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

    /// How many bytes must be freed until a write of `len` bytes fits, and some that come after it; 0 when they
    /// do.
    ///
    /// # Errors
    /// What `statvfs` says.
    pub fn short_of_write(&self, len: u64) -> io::Result<u64> {
        let space = self.now()?;
        let kept = reserve_bytes(space.total).saturating_add(self.expected());
        let wanted = len.saturating_add(headroom_bytes(space.total));
        Ok(kept.saturating_add(wanted).saturating_sub(space.available))
    }

    /// What is measured.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What is on its way from S3.
    pub(super) fn expected(&self) -> u64 {
        self.coming.load(Ordering::Relaxed)
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
        assert_eq!(space.short_of_write(1000).unwrap(), 1000 + HEADROOM_BYTES_MAX);
        let (reserve, spare) = (reserve_bytes(1 << 40), spare_bytes(1 << 40));
        disk.set_available(reserve + spare);
        assert_eq!(space.short_of_spare().unwrap(), 0);
        disk.set_available(reserve + spare - 1);
        assert_eq!(space.short_of_spare().unwrap(), spare + 1);
    }

    #[test]
    fn on_a_small_disk_little_is_made_free_at_a_time() {
        for (total, most) in [(64 << 20, 2 << 20), (1 << 30, 32 << 20), (1 << 40, 64 << 20)] {
            assert_eq!(headroom_bytes(total), most);
            assert!(headroom_bytes(total) < spare_bytes(total));
        }
    }

    #[test]
    fn bytes_on_their_way_have_their_room_until_they_are_there() {
        let disk = SimDisk::default();
        let space = Space::new(Arc::new(disk.clone()), PathBuf::from("/cache"));
        disk.set_available(reserve_bytes(1 << 40) + 1000);
        assert!(space.admit(600).unwrap());
        let coming = space.coming(600);
        // The disk is asked, and has none of them yet.
        assert!(!space.admit(500).unwrap());
        assert_eq!(space.short_of_write(500).unwrap(), 100 + HEADROOM_BYTES_MAX);
        assert!(space.admit(400).unwrap());
        drop(coming);
        space.ask_again();
        assert!(space.admit(1000).unwrap(), "nothing came");

        disk.set_available(reserve_bytes(1 << 40) + 5000);
        space.ask_again();
        assert!(space.admit(1).unwrap());
        drop(space.coming(5000));
        disk.set_available(reserve_bytes(1 << 40));
        assert!(!space.admit(1000).unwrap(), "they came, and nobody had asked for their room");
    }
}
