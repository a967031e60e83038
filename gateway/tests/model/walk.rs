//! The whole tree as clients see it, beside the model.
use std::collections::{BTreeMap, BTreeSet};

use gateway::vfs::{
    Attr, Credentials, DirEntry, FileKind, FsError, Ino, ReadDir, RequestContext, ShareFs,
    Source as _,
};

use crate::{
    tree::{Kind, Node, Tree, join},
    world::World,
};

/// Entries asked for at once: few, so that listings take several calls.
const PAGE: usize = 4;
/// Bytes asked for at once.
const READ_BYTES: u32 = 1 << 20;

/// The superuser.
pub(crate) fn root() -> RequestContext {
    RequestContext {
        peer: std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 900)),
        credentials: Credentials { uid: 0, gid: 0, groups: Vec::new() },
        request: None,
    }
}

/// Whether inode numbers must be the model's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inos {
    Same,
    /// Of another gateway.
    Other,
}

impl World {
    /// Every entry of a directory but `.` and `..`.
    pub(crate) fn list(&self, dir: Ino) -> Result<Vec<DirEntry>, FsError> {
        let (mut cookie, mut verifier, mut entries) = (0, [0; 8], Vec::new());
        loop {
            let ask = ReadDir { cookie, verifier, entries_max: PAGE, want_attr: true };
            let page = self.run(self.gateway().fs.readdir(&root(), dir, ask))?;
            verifier = page.verifier;
            cookie = page.entries.last().map_or(cookie, |last| last.cookie);
            entries.extend(page.entries);
            if page.end {
                entries.retain(|entry| entry.name != b"." && entry.name != b"..");
                return Ok(entries);
            }
        }
    }

    /// Every byte of a file.
    pub(crate) fn content(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
        let mut bytes = Vec::new();
        loop {
            let at = bytes.len() as u64;
            let read = self.run(self.gateway().fs.read(&root(), ino, at, READ_BYTES))?;
            bytes.extend_from_slice(&read.data);
            if !self.gateway().cache.overlay().has(ino) {
                // What has come from S3 is in the cache before anything else happens.
                self.run(self.gateway().movers.fetch(ino, at..bytes.len() as u64))?;
            }
            if read.eof {
                return Ok(bytes);
            }
        }
    }
}

/// Compares what clients see of an entry with the model.
pub(crate) fn attr(path: &str, node: &Node, seen: &Attr, inos: Inos) -> Result<(), String> {
    let kind = match node.kind {
        Kind::File(_) => FileKind::File,
        Kind::Directory => FileKind::Directory,
        Kind::Symlink(_) => FileKind::Symlink,
    };
    let same_ino = inos == Inos::Other || seen.ino == node.ino;
    let size = if node.is_directory() { 0 } else { seen.size };
    let mtime = node.mtime.unwrap_or(seen.mtime);
    let is = (seen.kind, seen.mode, seen.uid, seen.gid, size, seen.mtime);
    let wanted = (kind, node.mode, node.uid, node.gid, node.size(), mtime);
    if is == wanted && same_ino {
        Ok(())
    } else {
        Err(format!("{path:?} is {is:?} with {:?}, not {wanted:?} with {:?}", seen.ino, node.ino))
    }
}

/// Where two byte strings differ first.
pub(crate) fn bytes(path: &str, found: &[u8], wanted: &[u8]) -> Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    let at = found.iter().zip(wanted).position(|(a, b)| a != b);
    let at = at.unwrap_or(found.len().min(wanted.len()));
    let of = (found.len(), wanted.len());
    let (is, was) = (found.get(at), wanted.get(at));
    Err(format!("{path:?} has {is:?} at byte {at}, not {was:?} (lengths {of:?})"))
}

/// Compares everything.
pub(crate) fn all(world: &World, tree: &Tree, inos: Inos) -> Result<(), String> {
    directory(world, tree, ("", world.gateway().share.root), inos)
}

fn directory(
    world: &World,
    tree: &Tree,
    (path, ino): (&str, Ino),
    inos: Inos,
) -> Result<(), String> {
    let listed = world.list(ino).map_err(|error| format!("listing {path:?}: {error}"))?;
    let mut found = BTreeMap::new();
    for entry in listed {
        let name = String::from_utf8(entry.name.clone()).unwrap();
        if found.insert(name.clone(), entry).is_some() {
            return Err(format!("{name:?} is listed twice in {path:?}"));
        }
    }
    let names: BTreeSet<String> = found.keys().cloned().collect();
    let wanted: BTreeSet<String> = tree.children(path).into_iter().collect();
    if names != wanted {
        return Err(format!("{path:?} has {names:?}, not {wanted:?}"));
    }
    for (name, entry) in found {
        let path = join(path, &name);
        let node = tree.node(&path);
        let seen = entry.attr.ok_or_else(|| format!("{path:?} has no attributes"))?;
        attr(&path, node, &seen, inos)?;
        match &node.kind {
            Kind::Directory => {
                if seen.links != tree.subdirectories(&path) + 2 && inos == Inos::Same {
                    return Err(format!("{path:?} has {} links", seen.links));
                }
                directory(world, tree, (&path, entry.ino), inos)?;
            }
            Kind::File(file) => {
                let read = world.content(entry.ino);
                let read = read.map_err(|error| format!("reading {path:?}: {error}"))?;
                bytes(&path, &read, &file.bytes)?;
            }
            Kind::Symlink(target) => {
                let read = world.run(world.gateway().fs.readlink(&root(), entry.ino));
                let (read, _) = read.map_err(|error| format!("readlink {path:?}: {error}"))?;
                bytes(&path, &read, target)?;
            }
        }
    }
    Ok(())
}
