//! The reference model: a plain map from path to what is there, and the rules of POSIX names.
use std::collections::BTreeMap;

use gateway::{
    clock::Timestamp,
    ids::Ino,
    vfs::{FsError, WriteVerifier},
};

/// Setuid and setgid.
const SET_ID: u32 = 0o6000;
const SETGID: u32 = 0o2000;

/// What an entry is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(File),
    Directory,
    Symlink(Vec<u8>),
}

/// A file's bytes as its clients see them, and what is promised of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    /// As they were when they were last promised to survive.
    pub(crate) stable: Vec<u8>,
    /// Writes that nothing has made stable yet, in order, and the verifier that came with each.
    pub(crate) unstable: Vec<(u64, Vec<u8>, WriteVerifier)>,
    /// The verifier of an exclusive create.
    pub(crate) verifier: Option<[u8; 8]>,
}

impl File {
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        put(&mut self.bytes, at, bytes);
    }

    pub(crate) fn resize(&mut self, size: u64) {
        self.bytes.resize(usize::try_from(size).unwrap(), 0);
        self.settled();
    }

    /// Everything written is stable.
    pub(crate) fn settled(&mut self) {
        self.stable.clone_from(&self.bytes);
        self.unstable.clear();
    }

    /// Whether `found`, after a crash, has every stable byte, and of the others nothing that was not
    /// written there.
    pub(crate) fn survives_as(&self, found: &[u8]) -> Result<(), String> {
        if found.len() < self.stable.len() || found.len() > self.bytes.len() {
            let (least, most, is) = (self.stable.len(), self.bytes.len(), found.len());
            return Err(format!("{is} bytes after a crash, of {least} stable and {most} written"));
        }
        let mut may_be: Vec<Vec<u8>> = vec![self.stable.clone()];
        for (at, bytes, _) in &self.unstable {
            let mut next = may_be.last().unwrap().clone();
            put(&mut next, *at, bytes);
            may_be.push(next);
        }
        for (i, byte) in found.iter().enumerate() {
            let known = may_be.iter().any(|state| state.get(i).copied().unwrap_or(0) == *byte);
            if !known {
                return Err(format!("byte {i} is {byte} after a crash: nobody wrote that"));
            }
        }
        Ok(())
    }
}

fn put(to: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = usize::try_from(at).unwrap();
    if to.len() < at + bytes.len() {
        to.resize(at + bytes.len(), 0);
    }
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

/// An entry.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) ino: Ino,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Where a client has set it and nothing has changed it since.
    pub(crate) mtime: Option<Timestamp>,
}

impl Node {
    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }

    pub(crate) fn file(&self) -> Option<&File> {
        match &self.kind {
            Kind::File(file) => Some(file),
            Kind::Directory | Kind::Symlink(_) => None,
        }
    }

    pub(crate) fn file_mut(&mut self) -> Option<&mut File> {
        match &mut self.kind {
            Kind::File(file) => Some(file),
            Kind::Directory | Kind::Symlink(_) => None,
        }
    }

    /// The size that clients see.
    pub(crate) fn size(&self) -> u64 {
        match &self.kind {
            Kind::File(file) => file.bytes.len() as u64,
            Kind::Directory => 0,
            Kind::Symlink(target) => target.len() as u64,
        }
    }

    /// chown by the superuser.
    pub(crate) fn chown(&mut self, uid: u32, gid: Option<u32>) {
        self.uid = uid;
        self.gid = gid.unwrap_or(self.gid);
        if !self.is_directory() {
            self.mode &= !SET_ID;
        }
    }
}

/// The tree: paths without a slash at either end; the root's is empty.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: BTreeMap<String, Node>,
    /// Inodes that were removed or replaced.
    pub(crate) removed: Vec<Ino>,
}

/// The path of `name` in the directory `dir`.
pub(crate) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// The directory and the name of a path.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Tree {
    /// Of a root directory.
    pub(crate) fn new(root: Node) -> Self {
        Self { nodes: BTreeMap::from([(String::new(), root)]), removed: Vec::new() }
    }

    pub(crate) fn node(&self, path: &str) -> &Node {
        &self.nodes[path]
    }

    pub(crate) fn node_mut(&mut self, path: &str) -> &mut Node {
        self.nodes.get_mut(path).unwrap()
    }

    /// Every path that `is` chooses, in order.
    fn paths(&self, is: impl Fn(&str, &Node) -> bool) -> Vec<String> {
        self.nodes.iter().filter(|(path, node)| is(path, node)).map(|(p, _)| p.clone()).collect()
    }

    /// The directory that a number stands for.
    pub(crate) fn directory(&self, number: u8) -> String {
        let all = self.paths(|_, node| node.is_directory());
        all[usize::from(number) % all.len()].clone()
    }

    /// The file that a number stands for, if there is any.
    pub(crate) fn file(&self, number: u8) -> Option<String> {
        let all = self.paths(|_, node| node.file().is_some());
        (!all.is_empty()).then(|| all[usize::from(number) % all.len()].clone())
    }

    /// The entry that a number stands for, if there is any.
    pub(crate) fn entry(&self, number: u8) -> Option<String> {
        let all = self.paths(|path, _| !path.is_empty());
        (!all.is_empty()).then(|| all[usize::from(number) % all.len()].clone())
    }

    /// Names in a directory.
    pub(crate) fn children(&self, dir: &str) -> Vec<String> {
        let all = self.nodes.keys().filter(|path| !path.is_empty() && split(path).0 == dir);
        all.map(|path| split(path).1.to_owned()).collect()
    }

    pub(crate) fn subdirectories(&self, dir: &str) -> u32 {
        let names = self.children(dir);
        let is_dir = |name: &&String| self.node(&join(dir, name)).is_directory();
        u32::try_from(names.iter().filter(is_dir).count()).unwrap()
    }

    /// The entries of the directory have changed.
    pub(crate) fn touch(&mut self, dir: &str) {
        self.node_mut(dir).mtime = None;
    }

    /// Adds an entry made by the superuser.
    pub(crate) fn add(&mut self, path: &str, ino: Ino, kind: Kind, mode: u32) {
        let dir = split(path).0;
        let parent = self.node(dir);
        let inherits = parent.mode & SETGID != 0;
        let gid = if inherits { parent.gid } else { 0 };
        let setgid = if inherits && matches!(kind, Kind::Directory) { SETGID } else { 0 };
        let node = Node { ino, kind, mode: mode | setgid, uid: 0, gid, mtime: None };
        self.touch(dir);
        assert!(self.nodes.insert(path.to_owned(), node).is_none(), "{path} was there");
    }

    /// Takes out an entry that has none below it.
    pub(crate) fn take(&mut self, path: &str) {
        let gone = self.nodes.remove(path).unwrap();
        self.removed.push(gone.ino);
        self.touch(split(path).0);
    }

    /// What REMOVE answers.
    pub(crate) fn may_remove(&self, path: &str) -> Result<(), FsError> {
        if self.node(path).is_directory() { Err(FsError::IsDirectory) } else { Ok(()) }
    }

    /// What RMDIR answers.
    pub(crate) fn may_rmdir(&self, path: &str) -> Result<(), FsError> {
        if !self.node(path).is_directory() {
            Err(FsError::NotDirectory)
        } else if self.children(path).is_empty() {
            Ok(())
        } else {
            Err(FsError::NotEmpty)
        }
    }

    /// What RENAME answers.
    pub(crate) fn may_rename(&self, from: &str, to: &str) -> Result<(), FsError> {
        let is_directory = self.node(from).is_directory();
        if from == to {
            return Ok(());
        }
        if is_directory && to.starts_with(&format!("{from}/")) {
            return Err(FsError::Invalid);
        }
        match self.nodes.get(to).map(Node::is_directory) {
            Some(false) if is_directory => Err(FsError::NotDirectory),
            Some(true) if !is_directory => Err(FsError::IsDirectory),
            Some(true) if !self.children(to).is_empty() => Err(FsError::NotEmpty),
            Some(_) | None => Ok(()),
        }
    }

    /// RENAME, which may be done.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        if from == to {
            return;
        }
        if self.nodes.contains_key(to) {
            self.take(to);
        }
        let below = format!("{from}/");
        let moved = self.paths(|path, _| path == from || path.starts_with(&below));
        for path in moved {
            let node = self.nodes.remove(&path).unwrap();
            self.nodes.insert(format!("{to}{}", &path[from.len()..]), node);
        }
        for path in [from, to] {
            self.touch(split(path).0);
        }
    }
}
