//! The host's file system as if it were smaller: what happens on a cache disk that is full shows without
//! filling one.
use std::{fs, io, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use super::disk::{DiskFile, DiskIo, DiskSpace, FileSystem, HostDisk};

/// What `stat` counts blocks in, whatever the file system's are.
const STAT_BLOCK_BYTES: u64 = 512;

/// A part of the host's file system: so many bytes, of which cache files are the only users.
#[derive(Clone, Copy, Debug)]
pub struct SmallDisk {
    total: u64,
}

impl SmallDisk {
    /// Of `total` bytes. Nothing keeps anybody from writing more; what is written shows as used.
    pub fn new(total: u64) -> Self {
        Self { total }
    }
}

fn used(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(found) if found.is_dir() => used(&entry.path())?,
            Ok(found) => found.blocks() * STAT_BLOCK_BYTES,
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
    }
    Ok(bytes)
}

impl DiskIo for SmallDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        HostDisk.open(path, create)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        HostDisk.remove(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        HostDisk.create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        HostDisk.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        HostDisk.list(path)
    }

    fn file_system(&self, path: &Path) -> io::Result<Arc<dyn FileSystem>> {
        HostDisk.file_system(path)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let available = self.total.saturating_sub(used(path)?);
        Ok(DiskSpace { total: self.total, available, ..HostDisk.space(path)? })
    }
}
