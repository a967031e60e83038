//! The system disk as an update sees it: files of the ESP, and the root partition of the other slot.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use nix::{
    fcntl::{PosixFadviseAdvice, posix_fadvise},
    unistd::syncfs,
};

use super::esp::IMAGES;

/// Files are made durable after so many bytes: a power cut leaves no more of the ESP lost to everybody.
const PIECE_BYTES: usize = 1 << 20;
/// Names in a folder that are looked at; the ESP is ours and has a handful.
const NAMES_MAX: usize = 256;
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What is done to the disk. Every change is durable when it returns, but for [`Port::write_root`].
pub(crate) trait Port {
    /// Names in the folder of kernel images.
    fn images(&self) -> io::Result<Vec<String>>;
    /// A file's content; none if there is no such file.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;
    /// Writes a file in the place that it has.
    fn put(&mut self, path: &str, content: &[u8]) -> io::Result<()>;
    /// Gives a file another name in its folder.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, path: &str) -> io::Result<()>;
    /// Writes a part of the other slot's root partition.
    fn write_root(&mut self, at: u64, content: &[u8]) -> io::Result<()>;
    /// Makes what was written there durable.
    fn sync_root(&mut self) -> io::Result<()>;
    /// Reads a part of it from the disk.
    fn read_root(&self, at: u64, content: &mut [u8]) -> io::Result<()>;
}

/// The real one.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Where the ESP is mounted.
    pub(crate) esp: PathBuf,
    /// The other slot's partition; none where only files are changed.
    pub(crate) root: Option<File>,
}

impl Disk {
    fn root(&self) -> io::Result<&File> {
        self.root.as_ref().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(syncfs(File::open(&self.esp)?)?)
    }
}

impl Port for Disk {
    fn images(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.esp.join(IMAGES))?.take(NAMES_MAX) {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.esp.join(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // From the disk, as the boot loader will.
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        let mut content = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    fn put(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        // Not cut to nothing first: the clusters that it has stay its own.
        let path = self.esp.join(path);
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        for piece in content.chunks(PIECE_BYTES) {
            file.write_all(piece)?;
            file.sync_all()?;
        }
        file.set_len(content.len() as u64)?;
        file.sync_all()?;
        self.sync()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.esp.join(from), self.esp.join(to))?;
        self.sync()
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        fs::remove_file(self.esp.join(path))?;
        self.sync()
    }

    fn write_root(&mut self, at: u64, content: &[u8]) -> io::Result<()> {
        self.root()?.write_all_at(content, at)
    }

    fn sync_root(&mut self) -> io::Result<()> {
        let root = self.root()?;
        root.sync_all()?;
        Ok(posix_fadvise(root, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
    }

    fn read_root(&self, at: u64, content: &mut [u8]) -> io::Result<()> {
        self.root()?.read_exact_at(content, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_in_place_and_renamed() {
        // A file system of its own: all of it is synchronised.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        fs::create_dir_all(dir.path().join(IMAGES)).unwrap();
        let root = tempfile::tempfile().unwrap();
        let mut disk = Disk { esp: dir.path().to_path_buf(), root: Some(root) };
        let path = "EFI/Linux/slot-b.new";
        let long = vec![7; PIECE_BYTES + 5];
        for content in [&long[..], b"short", b"longer than that"] {
            disk.put(path, content).unwrap();
            assert!(disk.read(path).unwrap().unwrap() == content);
        }
        disk.rename(path, "EFI/Linux/tidegate_1_b+3.efi").unwrap();
        assert_eq!(disk.images().unwrap(), ["tidegate_1_b+3.efi"]);
        disk.remove("EFI/Linux/tidegate_1_b+3.efi").unwrap();
        assert_eq!(disk.read(path).unwrap(), None);
        disk.write_root(4096, b"block").unwrap();
        disk.sync_root().unwrap();
        let mut found = [0; 5];
        disk.read_root(4096, &mut found).unwrap();
        assert_eq!(&found, b"block");
    }
}
