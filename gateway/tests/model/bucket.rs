//! The bucket at quiescence: one object for each entry, with its bytes and attributes, and nothing else.
use std::collections::BTreeSet;

use crate::{
    tree::{Kind, Node, Tree},
    walk,
    world::{BUCKET, PREFIX, World},
};

const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_SYMLINK: u32 = 0o120_000;

/// The key of an entry.
fn key(path: &str, node: &Node) -> String {
    format!("{PREFIX}{path}{}", if node.is_directory() { "/" } else { "" })
}

/// Compares the bucket with the model, and looks whether the catalog is in order.
pub(crate) fn all(world: &World, tree: &Tree) -> Result<(), String> {
    let broken = world.run(world.gateway().catalog.verify()).unwrap();
    if !broken.is_empty() {
        return Err(format!("the catalog breaks its rules: {broken:?}"));
    }
    let uploads = world.uploads_left();
    if uploads > 0 {
        return Err(format!("{uploads} multipart uploads are left"));
    }
    let entries = || tree.nodes.iter().filter(|(path, _)| !path.is_empty());
    let wanted: BTreeSet<String> = entries().map(|(path, node)| key(path, node)).collect();
    let keys: BTreeSet<String> = world.s3.keys(BUCKET).into_iter().collect();
    if keys != wanted {
        let (more, missing) = (keys.difference(&wanted), wanted.difference(&keys));
        let (more, missing): (Vec<_>, Vec<_>) = (more.collect(), missing.collect());
        return Err(format!("the bucket has {more:?} too many and {missing:?} too few"));
    }
    for (path, node) in entries() {
        object(world, path, node)?;
    }
    Ok(())
}

fn object(world: &World, path: &str, node: &Node) -> Result<(), String> {
    let key = key(path, node);
    let object = world.s3.object(BUCKET, &key).unwrap();
    let (kind, body): (u32, &[u8]) = match &node.kind {
        Kind::File(file) => (TYPE_FILE, &file.bytes),
        Kind::Directory => (TYPE_DIRECTORY, &[]),
        Kind::Symlink(target) => (TYPE_SYMLINK, target),
    };
    walk::bytes(&key, &object.body, body)?;
    let mut wanted = vec![
        ("file-owner", node.uid.to_string()),
        ("file-group", node.gid.to_string()),
        ("file-permissions", format!("{:07o}", kind | node.mode)),
    ];
    if let Some(mtime) = node.mtime.filter(|_| !node.is_directory()) {
        wanted.push(("file-mtime", format!("{}ns", mtime.as_nanos())));
    }
    for (name, value) in wanted {
        let is = object.user_meta.get(name);
        if is != Some(&value) {
            return Err(format!("{key:?} says {name} {is:?}, not {value:?}"));
        }
    }
    Ok(())
}
