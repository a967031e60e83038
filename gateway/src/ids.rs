//! The numbers and kinds that the catalog, the cache and the file system share.
//!
//! Must not know: anything. A leaf, so that `catalog` and `cache` need not know `vfs`.

/// A file's number: unique over the gateway's life, never reused (I9). 0 is never given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

/// A share's number in the catalog, stable over renames of the share and restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareId(pub u32);

/// A cache disk's number in the catalog, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskId(pub u32);

impl DiskId {
    /// The disk that has the catalog.
    pub const PRIMARY: Self = Self(0);
}

/// A client's request, told from every other by who made it, its number and what it asks for. A
/// repetition of it has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u128);

/// What kind of thing an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each says itself")]
pub enum FileKind {
    File,
    Directory,
    Symlink,
}
