//! The disk port: what the cache asks of a file system, and the host's.
use std::{
    fmt,
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::{Errno, ReadWriteFlags, preadv2},
};

/// Space of the file system under the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// All bytes.
    pub total: u64,
    /// Bytes that may still be written.
    pub available: u64,
    /// All inodes.
    pub files_total: u64,
    /// Inodes free.
    pub files_free: u64,
}

/// One open file. Every method blocks, but for [`DiskFile::read_cached`].
///
/// # Errors
/// Every method: what the operating system says.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Reads into `buffer` from `offset`; fewer bytes only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reads into `buffer` from `offset` without waiting for the disk: `None` where not all of it is in
    /// memory. Does not block.
    fn read_cached(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>>;
    /// Writes all of `data` at `offset`. Not durable before [`DiskFile::sync_data`].
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts or extends (with a hole) to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Gives the space of `range` back; its bytes read as zero. The file stays as long as it is.
    fn punch(&self, range: Range<u64>) -> io::Result<()>;
    /// Bytes to the end.
    fn size(&self) -> io::Result<u64>;
    /// Bytes of the disk that it takes: holes take none.
    fn occupied(&self) -> io::Result<u64>;
    /// Returns when all earlier writes are on the disk (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
}

/// A file system as a whole.
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// Returns when everything that was written to it before is on the disk, names included
    /// (`syncfs`). Blocks.
    ///
    /// # Errors
    /// What the operating system says; also of write-backs that failed since the last call. Nobody
    /// knows then which files have lost something.
    fn sync_all(&self) -> io::Result<()>;
}

/// A file system. Every method blocks.
///
/// # Errors
/// Every method: what the operating system says.
pub trait DiskIo: fmt::Debug + Send + Sync + 'static {
    /// Opens a file for reading and writing, making it if `create`.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory; one that is there is success.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Returns when the directory's entries are on the disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// The file system that `path` is on.
    fn file_system(&self, path: &Path) -> io::Result<Arc<dyn FileSystem>>;
    /// Space at `path`.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostDisk;

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match FileExt::read_at(self, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn read_cached(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        let wanted = buffer.len();
        let mut slices = [io::IoSliceMut::new(buffer)];
        match preadv2(self, &mut slices, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == wanted => Ok(Some(read)),
            // The end of the file, or of what is in memory: the one that may wait finds out.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            // Not every file system and kernel has it.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, data, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(self, flags, range.start, range.end - range.start)?)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn occupied(&self) -> io::Result<u64> {
        // In units of 512 bytes, whatever the file system's blocks are (stat(2)).
        Ok(self.metadata()?.blocks().saturating_mul(512))
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}

impl DiskIo for HostDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file =
            File::options().read(true).write(true).create(create).truncate(false).open(path)?;
        Ok(Arc::new(file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name()));
        // Names that are not UTF-8 are not ours.
        Ok(names
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .flat_map(|n| n.into_string())
            .collect())
    }

    fn file_system(&self, path: &Path) -> io::Result<Arc<dyn FileSystem>> {
        Ok(Arc::new(HostFileSystem(File::open(path)?)))
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let stat = nix::sys::statvfs::statvfs(path)?;
        let block = stat.fragment_size();
        Ok(DiskSpace {
            total: stat.blocks().saturating_mul(block),
            available: stat.blocks_available().saturating_mul(block),
            files_total: stat.files(),
            files_free: stat.files_available(),
        })
    }
}

/// Held open: failed write-backs are told to descriptors that were there before.
#[derive(Debug)]
struct HostFileSystem(File);

impl FileSystem for HostFileSystem {
    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

/// Where an inode's cache file is: `DIR/data/XX/INO`, XX the number's low byte, so that no
/// directory grows beyond a 256th of the files.
pub(super) fn shard_of(data: &Path, ino: u64) -> PathBuf {
    data.join(format!("{:02x}", ino & 0xff))
}
