//! The tree that a bucket means, and the tree that the gateway shows.
use std::collections::BTreeMap;

use gateway::vfs::{FileKind, Ino, ShareFs};

use crate::{
    tree::{File, Kind, Node, join},
    walk::{bytes, root},
    world::{BUCKET, PREFIX, World},
};

/// Entries by path, without the root.
pub(crate) type Seen = BTreeMap<String, Node>;

/// File type bits of a symbolic link.
const LINK: u32 = 0o12;

fn is_name(part: &str) -> bool {
    let is_dots = part == "." || part == "..";
    !part.is_empty() && part.len() <= 255 && !is_dots && !part.chars().any(char::is_control)
}

/// Lists every directory anew, those that appear meanwhile included.
pub(crate) fn refresh_all(world: &World) -> Result<(), String> {
    let mut todo = vec![world.gateway().share.root];
    while let Some(dir) = todo.pop() {
        world.refresh(dir).map_err(|error| format!("refreshing {dir:?}: {error}"))?;
        for entry in world.list(dir).map_err(|error| format!("listing {dir:?}: {error}"))? {
            if entry.attr.is_some_and(|attr| attr.kind == FileKind::Directory) {
                todo.push(entry.ino);
            }
        }
    }
    Ok(())
}

/// The tree that the gateway shows, every byte included.
pub(crate) fn of_gateway(world: &World) -> Result<Seen, String> {
    let mut seen = Seen::new();
    add(world, &mut seen, ("", world.gateway().share.root))?;
    Ok(seen)
}

fn add(world: &World, seen: &mut Seen, (dir, ino): (&str, Ino)) -> Result<(), String> {
    for entry in world.list(ino).map_err(|error| format!("listing {dir:?}: {error}"))? {
        let path = join(dir, &String::from_utf8(entry.name).unwrap());
        let attr = entry.attr.ok_or_else(|| format!("{path:?} has no attributes"))?;
        let kind = match attr.kind {
            FileKind::Directory => Kind::Directory,
            FileKind::Symlink => {
                let read = world.run(world.gateway().fs.readlink(&root(), entry.ino));
                let (target, _) = read.map_err(|error| format!("readlink {path:?}: {error}"))?;
                Kind::Symlink(target.to_vec())
            }
            FileKind::File => {
                let read = world.content(entry.ino);
                let read = read.map_err(|error| format!("reading {path:?}: {error}"))?;
                if read.len() as u64 != attr.size {
                    return Err(format!("{path:?} has {} bytes, says {}", read.len(), attr.size));
                }
                let stable = read.clone();
                Kind::File(File { bytes: read, stable, ..File::default() })
            }
        };
        if attr.kind == FileKind::Directory {
            add(world, seen, (&path, entry.ino))?;
        }
        let (mode, uid, gid) = (attr.mode, attr.uid, attr.gid);
        seen.insert(path, Node { ino: entry.ino, kind, mode, uid, gid, mtime: None });
    }
    Ok(())
}

/// What the bucket's keys mean.
pub(crate) fn of_bucket(world: &World) -> BTreeMap<String, Kind> {
    let mut tree = BTreeMap::new();
    for key in world.s3.keys(BUCKET) {
        let Some(path) = key.strip_prefix(PREFIX) else { continue };
        let parts: Vec<&str> = path.split('/').collect();
        let (last, directories) = parts.split_last().unwrap();
        let mut at = String::new();
        let mut is_shown = true;
        for part in directories {
            is_shown &= is_name(part);
            if is_shown {
                at = join(&at, part);
                tree.insert(at.clone(), Kind::Directory);
            }
        }
        if is_shown && is_name(last) {
            let object = world.s3.object(BUCKET, &key).unwrap();
            let mode = object.user_meta.get("file-permissions");
            let mode = mode.and_then(|text| u32::from_str_radix(text, 8).ok()).unwrap_or(0);
            let kind = if mode >> 12 == LINK {
                Kind::Symlink(object.body)
            } else {
                Kind::File(File { bytes: object.body, ..File::default() })
            };
            let path = join(&at, last);
            if !matches!(tree.get(&path), Some(Kind::Directory)) {
                tree.insert(path, kind);
            }
        }
    }
    tree
}

/// Compares the two.
pub(crate) fn same(seen: &Seen, wanted: &BTreeMap<String, Kind>) -> Result<(), String> {
    let shown: Vec<&String> = seen.keys().collect();
    let meant: Vec<&String> = wanted.keys().collect();
    if shown != meant {
        return Err(format!("the gateway shows {shown:?}, the bucket means {meant:?}"));
    }
    for (path, kind) in wanted {
        match (&seen[path].kind, kind) {
            (Kind::File(is), Kind::File(wanted)) => bytes(path, &is.bytes, &wanted.bytes)?,
            (Kind::Symlink(is), Kind::Symlink(wanted)) => bytes(path, is, wanted)?,
            (Kind::Directory, Kind::Directory) => {}
            (is, wanted) => return Err(format!("{path:?} is {is:?}, not {wanted:?}")),
        }
    }
    Ok(())
}
