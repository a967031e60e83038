//! The numbers and kinds that the catalog, the cache and the file system share.
//!
//! Must not know: anything. A leaf, so that `catalog` and `cache` need not know `vfs`.

/// A file's number: unique over the gateway's life, never reused (I9). 0 is never given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

/// A share's number in the catalog, stable over renames of the share and restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareId(pub u32);

/// What kind of thing an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each says itself")]
pub enum FileKind {
    File,
    Directory,
    Symlink,
}
