//! The inodes and names of a [`super::MemoryFs`].
use std::collections::BTreeMap;

use crate::{
    clock::Timestamp,
    vfs::{Attr, Change, FileKind, FsError, Ino, SetAttr, SetTime, WccAttr},
};

/// Any fixed day.
const EPOCH_SECONDS: i64 = 1_700_000_000;
/// Cookies 1 and 2 are `.` and `..`.
const FIRST_COOKIE: u64 = 3;
const NAME_BYTES_MAX: usize = 255;

#[derive(Debug)]
pub(super) enum Content {
    File { data: Vec<u8>, exclusive: Option<[u8; 8]> },
    Directory { entries: BTreeMap<u64, (Vec<u8>, Ino)>, parent: Ino },
    Symlink { target: Vec<u8> },
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) attr: Attr,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<Ino, Node>,
    next: u64,
    ticks: i64,
    file_bytes_max: u64,
}

/// Every directory has these; no entry does.
fn is_dot(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

impl Tree {
    pub(super) const ROOT: Ino = Ino(1);

    pub(super) fn new(file_bytes_max: u64) -> Self {
        let nodes = BTreeMap::new();
        let mut tree = Self { nodes, next: Self::ROOT.0, ticks: 0, file_bytes_max };
        let content = Content::Directory { entries: BTreeMap::new(), parent: Self::ROOT };
        tree.insert(content, 0o777, 0, 0);
        tree
    }

    fn now(&mut self) -> Timestamp {
        self.ticks += 1;
        Timestamp::from_nanos(EPOCH_SECONDS * 1_000_000_000 + self.ticks)
    }

    fn insert(&mut self, content: Content, mode: u32, uid: u32, gid: u32) -> Ino {
        let (ino, now) = (Ino(self.next), self.now());
        self.next += 1;
        let (kind, size) = match &content {
            Content::File { data, .. } => (FileKind::File, data.len() as u64),
            Content::Directory { .. } => (FileKind::Directory, 4096),
            Content::Symlink { target } => (FileKind::Symlink, target.len() as u64),
        };
        let times = (now, now, now);
        let (atime, mtime, ctime) = times;
        let (links, used) = (1, size);
        let attr = Attr { ino, kind, mode, links, uid, gid, size, used, atime, mtime, ctime };
        self.nodes.insert(ino, Node { attr, content });
        ino
    }

    pub(super) fn node(&self, ino: Ino) -> Result<&Node, FsError> {
        self.nodes.get(&ino).ok_or(FsError::Stale)
    }

    pub(super) fn node_mut(&mut self, ino: Ino) -> Result<&mut Node, FsError> {
        self.nodes.get_mut(&ino).ok_or(FsError::Stale)
    }

    pub(super) fn attr(&self, ino: Ino) -> Result<Attr, FsError> {
        let Node { attr, content } = self.node(ino)?;
        let Content::Directory { entries, .. } = content else { return Ok(attr.clone()) };
        let is_directory = |ino: &Ino| {
            self.nodes.get(ino).is_some_and(|node| node.attr.kind == FileKind::Directory)
        };
        let below = entries.values().filter(|(_, ino)| is_directory(ino)).count();
        let links = u32::try_from(below + 2).unwrap_or(u32::MAX);
        Ok(Attr { links, ..attr.clone() })
    }

    pub(super) fn wcc(&self, ino: Ino) -> Result<WccAttr, FsError> {
        let attr = &self.node(ino)?.attr;
        Ok(WccAttr { size: attr.size, mtime: attr.mtime, ctime: attr.ctime })
    }

    /// Marks a change of content and gives it with what was before.
    pub(super) fn changed(&mut self, ino: Ino, before: WccAttr) -> Result<Change, FsError> {
        let now = self.now();
        let attr = &mut self.node_mut(ino)?.attr;
        (attr.mtime, attr.ctime) = (now, now);
        Ok(Change { before: Some(before), after: self.attr(ino)? })
    }

    pub(super) fn entries(&self, dir: Ino) -> Result<&BTreeMap<u64, (Vec<u8>, Ino)>, FsError> {
        match &self.node(dir)?.content {
            Content::Directory { entries, .. } => Ok(entries),
            Content::File { .. } | Content::Symlink { .. } => Err(FsError::NotDirectory),
        }
    }

    fn entries_mut(&mut self, dir: Ino) -> Result<&mut BTreeMap<u64, (Vec<u8>, Ino)>, FsError> {
        match &mut self.node_mut(dir)?.content {
            Content::Directory { entries, .. } => Ok(entries),
            Content::File { .. } | Content::Symlink { .. } => Err(FsError::NotDirectory),
        }
    }

    pub(super) fn parent(&self, dir: Ino) -> Result<Ino, FsError> {
        match &self.node(dir)?.content {
            Content::Directory { parent, .. } => Ok(*parent),
            Content::File { .. } | Content::Symlink { .. } => Err(FsError::NotDirectory),
        }
    }

    /// The cookie and inode of a name.
    pub(super) fn find(&self, dir: Ino, name: &[u8]) -> Result<Option<(u64, Ino)>, FsError> {
        let entries = self.entries(dir)?;
        if name.len() > NAME_BYTES_MAX {
            return Err(FsError::NameTooLong);
        }
        let bad = name.is_empty() || name.iter().any(|byte| matches!(byte, b'/' | 0));
        if bad || std::str::from_utf8(name).is_err() {
            return Err(FsError::Invalid);
        }
        let found = entries.iter().find(|(_, (known, _))| known == name);
        Ok(found.map(|(cookie, (_, ino))| (*cookie, *ino)))
    }

    pub(super) fn add(
        &mut self,
        dir: Ino,
        name: &[u8],
        content: Content,
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> Result<Ino, FsError> {
        if self.find(dir, name)?.is_some() || is_dot(name) {
            return Err(FsError::Exists);
        }
        let ino = self.insert(content, mode, uid, gid);
        self.enter(dir, name, ino)?;
        Ok(ino)
    }

    fn enter(&mut self, dir: Ino, name: &[u8], ino: Ino) -> Result<(), FsError> {
        let cookie = FIRST_COOKIE + self.next;
        self.next += 1;
        self.entries_mut(dir)?.insert(cookie, (name.to_vec(), ino));
        Ok(())
    }

    pub(super) fn take(&mut self, dir: Ino, name: &[u8], directory: bool) -> Result<(), FsError> {
        let (cookie, ino) = self.find(dir, name)?.ok_or(FsError::NotFound)?;
        match (&self.node(ino)?.content, directory) {
            (Content::Directory { .. }, false) => return Err(FsError::IsDirectory),
            (Content::Directory { entries, .. }, true) if !entries.is_empty() => {
                return Err(FsError::NotEmpty);
            }
            (Content::File { .. } | Content::Symlink { .. }, true) => {
                return Err(FsError::NotDirectory);
            }
            (Content::Directory { .. }, true)
            | (Content::File { .. } | Content::Symlink { .. }, false) => {}
        }
        self.entries_mut(dir)?.remove(&cookie);
        self.nodes.remove(&ino);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: (Ino, &[u8]), to: (Ino, &[u8])) -> Result<(), FsError> {
        let (cookie, ino) = self.find(from.0, from.1)?.ok_or(FsError::NotFound)?;
        let directory = self.attr(ino)?.kind == FileKind::Directory;
        match self.find(to.0, to.1)? {
            Some((_, there)) if there == ino => return Ok(()),
            Some(_) => self.take(to.0, to.1, directory)?,
            None if is_dot(to.1) => return Err(FsError::Exists),
            None => {}
        }
        self.entries_mut(from.0)?.remove(&cookie);
        self.enter(to.0, to.1, ino)?;
        if let Content::Directory { parent, .. } = &mut self.node_mut(ino)?.content {
            *parent = to.0;
        }
        Ok(())
    }

    /// Whether a file may have this size.
    pub(super) fn check_size(&self, size: u64) -> Result<(), FsError> {
        if size > self.file_bytes_max { Err(FsError::FileTooBig) } else { Ok(()) }
    }

    pub(super) fn resize(&mut self, ino: Ino, size: u64) -> Result<(), FsError> {
        self.check_size(size)?;
        let node = self.node_mut(ino)?;
        let Content::File { data, .. } = &mut node.content else {
            return Err(FsError::IsDirectory);
        };
        data.resize(usize::try_from(size).map_err(|_| FsError::FileTooBig)?, 0);
        (node.attr.size, node.attr.used) = (size, size);
        Ok(())
    }

    pub(super) fn set(&mut self, ino: Ino, set: SetAttr) -> Result<(), FsError> {
        if let Some(size) = set.size {
            self.resize(ino, size)?;
        }
        let now = self.now();
        let attr = &mut self.node_mut(ino)?.attr;
        attr.mode = set.mode.unwrap_or(attr.mode);
        attr.uid = set.uid.unwrap_or(attr.uid);
        attr.gid = set.gid.unwrap_or(attr.gid);
        let time = |set, old| match set {
            SetTime::Keep => old,
            SetTime::Now => now,
            SetTime::To(time) => time,
        };
        attr.atime = time(set.atime, attr.atime);
        attr.mtime = time(set.mtime, if set.size.is_some() { now } else { attr.mtime });
        attr.ctime = now;
        Ok(())
    }
}
