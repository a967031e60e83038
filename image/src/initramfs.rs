//! The initramfs: a cpio archive of the "newc" format (Linux `Documentation/driver-api/early-userspace/
//! buffer-format.rst`), compressed with zstd. Deterministic: order, times and inode numbers depend
//! on the entries alone.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// zstd level: small enough to matter at boot, and the kernel decompresses all levels alike.
const ZSTD_LEVEL: i32 = 19;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A folder.
    Dir {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Its bytes.
        content: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: String,
    },
    /// A character device.
    CharDevice {
        /// Permission bits.
        mode: u32,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// A tree of entries by path, without a leading slash. Parents of an added entry are made.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry, replacing what was there, and the folders above it.
    pub fn add(&mut self, path: &str, entry: Entry) {
        let path = path.trim_start_matches('/');
        let mut above = path;
        while let Some((parent, _)) = above.rsplit_once('/') {
            self.entries.entry(parent.to_owned()).or_insert(Entry::Dir { mode: 0o755 });
            above = parent;
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Adds a folder with mode 755.
    pub fn dir(&mut self, path: &str) {
        self.add(path, Entry::Dir { mode: 0o755 });
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.add(path, Entry::File { mode, content });
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.add(path, Entry::Symlink { target: target.to_owned() });
    }

    /// The entries, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// The tree as an uncompressed newc archive, all owned by root, times `mtime` (seconds since
    /// 1970).
    ///
    /// # Errors
    /// When a file is 4 GiB or larger: the format cannot hold it.
    pub fn to_cpio(&self, mtime: u32) -> Result<Vec<u8>> {
        let mut archive = Vec::new();
        for (inode, (path, entry)) in (1..).zip(&self.entries) {
            let (mode, content, device): (u32, &[u8], (u32, u32)) = match entry {
                Entry::Dir { mode } => (0o040_000 | mode, &[], (0, 0)),
                Entry::File { mode, content } => (0o100_000 | mode, content, (0, 0)),
                Entry::Symlink { target } => (0o120_777, target.as_bytes(), (0, 0)),
                Entry::CharDevice { mode, major, minor } => {
                    (0o020_000 | mode, &[], (*major, *minor))
                }
            };
            append(&mut archive, path, &Header { inode, mode, mtime, device }, content)
                .with_context(|| format!("{path} does not fit into an initramfs"))?;
        }
        let trailer = Header { inode: 0, mode: 0, mtime: 0, device: (0, 0) };
        append(&mut archive, "TRAILER!!!", &trailer, &[])?;
        Ok(archive)
    }

    /// The tree as the kernel takes it: newc, zstd.
    ///
    /// # Errors
    /// As [`Tree::to_cpio`].
    pub fn to_initramfs(&self, mtime: u32) -> Result<Vec<u8>> {
        zstd::bulk::compress(&self.to_cpio(mtime)?, ZSTD_LEVEL).context("zstd failed")
    }
}

struct Header {
    inode: u32,
    mode: u32,
    mtime: u32,
    device: (u32, u32),
}

fn append(archive: &mut Vec<u8>, path: &str, header: &Header, content: &[u8]) -> Result<()> {
    let size = u32::try_from(content.len())?;
    let name_size = u32::try_from(path.len() + 1)?;
    let links = if header.mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
    let fields = [
        header.inode,
        header.mode,
        0, // uid
        0, // gid
        links,
        header.mtime,
        size,
        0, // device that holds the file: none
        0,
        header.device.0,
        header.device.1,
        name_size,
        0, // checksum: unused in newc
    ];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(content);
    pad(archive);
    Ok(())
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tree {
        let mut tree = Tree::new();
        tree.file("init", 0o755, b"#!hello".to_vec());
        tree.symlink("lib", "usr/lib");
        tree.file("usr/lib/x", 0o644, b"y".to_vec());
        tree.add("dev/console", Entry::CharDevice { mode: 0o600, major: 5, minor: 1 });
        tree
    }

    #[test]
    fn headers_have_the_newc_layout() {
        let archive = sample().to_cpio(7).expect("it fits");
        assert_eq!(&archive[..6], b"070701");
        assert_eq!(&archive[14..22], b"000041ED", "the first entry is folder dev, mode 755");
        assert_eq!(archive.len() % 4, 0);
        assert!(archive.windows(10).any(|window| window == b"TRAILER!!!"));
    }

    #[test]
    fn parents_come_before_children() {
        let tree = sample();
        let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["dev", "dev/console", "init", "lib", "usr", "usr/lib", "usr/lib/x"]);
    }

    #[test]
    fn the_same_entries_give_the_same_bytes() {
        let first = sample().to_initramfs(7).expect("it fits");
        assert_eq!(first, sample().to_initramfs(7).expect("it fits"));
    }
}
