//! The file system: POSIX-like operations of one share, in no protocol's terms.
//!
//! Owns: [`ShareFs`], the seam that every protocol edge calls (NFSv3 today), and its types.
//! Must not know: NFS, XDR, HTTP. Errors are [`FsError`]; the caller is already authenticated,
//! admitted and squashed ([`RequestContext`]), permission checks per operation happen here.
//!
//! Lock rank: see `locks.rs` (parent directories by ascending ino → inode → fetch slot → catalog).
mod attr;
mod commit;
mod create;
mod dir;
mod drain;
pub mod error;
mod evict;
mod growth;
mod lookup;
mod meter;
mod movers;
pub mod names;
mod pace;
pub mod permissions;
pub mod pinned;
mod read;
mod remove;
mod rename;
mod room;
mod settle;
mod source;
pub mod start;
#[cfg(test)]
mod tests;
mod verifier;
mod volume;
mod write;
mod write_back;

use std::{fmt, net::SocketAddr};

use async_trait::async_trait;
use bytes::Bytes;

pub use crate::ids::{FileKind, Ino, RequestId, ShareId};
pub use drain::Drained;
pub use error::FsError;
pub use meter::IoMeter;
pub use movers::Movers;
pub use pinned::Pinning;
pub use source::Source;
pub use verifier::Verifier;
pub use volume::{ShareMode, Vfs};
pub use write::FILE_BYTES_MAX;
pub use write_back::WriteBack;

use crate::clock::Timestamp;

/// Who asks, after squashing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups (AUTH_SYS: at most 16).
    pub groups: Vec<u32>,
}

/// What every operation knows of its request.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The client.
    pub peer: SocketAddr,
    /// Who asks.
    pub credentials: Credentials,
    /// Of a change that must not be made twice: one that was made and has this id is not made again,
    /// not even after a restart.
    pub request: Option<RequestId>,
}

/// An inode's attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "POSIX names; units in types")]
pub struct Attr {
    pub ino: Ino,
    pub kind: FileKind,
    /// Permission bits and setuid, setgid, sticky: `0o7777` at most.
    pub mode: u32,
    /// Of a directory: its name, its `.`, and the `..` of each directory in it; 1 while nobody knows
    /// which directories are in it. 1 otherwise.
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Bytes held on the cache disk or, for files not cached, the size.
    pub used: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
}

impl Attr {
    /// What decides whether a client's cache is still good.
    pub fn wcc(&self) -> WccAttr {
        WccAttr { size: self.size, mtime: self.mtime, ctime: self.ctime }
    }
}

/// Attributes that decide whether a client's cache is still good (RFC 1813 §2.6 wcc_attr).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "POSIX names")]
pub struct WccAttr {
    pub size: u64,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
}

/// An object before and after a change (RFC 1813 §2.6 wcc_data).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `None` for a change that was made before the gateway's last start.
    pub before: Option<WccAttr>,
    /// Afterwards.
    pub after: Attr,
}

/// How a time is to be set (RFC 1813 §2.5.3 set_atime, set_mtime).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetTime {
    /// As it is.
    #[default]
    Keep,
    /// To the gateway's time.
    Now,
    /// To the client's.
    To(Timestamp),
}

/// Attributes to set; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "POSIX names")]
pub struct SetAttr {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: SetTime,
    pub mtime: SetTime,
}

/// How a file is created (RFC 1813 §3.3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateHow {
    /// An existing file is opened (its size set if asked for).
    Unchecked(SetAttr),
    /// An existing file is [`FsError::Exists`].
    Guarded(SetAttr),
    /// An existing file is good only if it was created with this verifier, which is durable.
    Exclusive([u8; 8]),
}

/// How stable a write must be, and how stable it is (RFC 1813 §3.3.7 stable_how).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stability {
    /// In memory.
    Unstable,
    /// Its data, and the metadata needed to read it back, on the cache disk.
    DataSync,
    /// Data and all metadata on the cache disk.
    FileSync,
}

/// Changes whenever unstable writes may have been lost (RFC 1813 §3.3.7 verf; invariant I9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteVerifier(pub [u8; 8]);

/// Result of [`ShareFs::create`], [`ShareFs::mkdir`] and [`ShareFs::symlink`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the names say")]
pub struct Created {
    pub attr: Attr,
    pub dir: Change,
}

/// Result of [`ShareFs::read`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the names say")]
pub struct ReadData {
    pub data: Bytes,
    pub eof: bool,
    pub attr: Attr,
}

/// Result of [`ShareFs::write`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the names say")]
pub struct Written {
    pub count: u32,
    pub committed: Stability,
    pub verifier: WriteVerifier,
    pub change: Change,
}

/// Result of [`ShareFs::rename`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the names say")]
pub struct Renamed {
    pub from_dir: Change,
    pub to_dir: Change,
}

/// One directory entry.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the names say")]
pub struct DirEntry {
    pub ino: Ino,
    pub name: Vec<u8>,
    /// Position after this entry; stays valid while the directory changes.
    pub cookie: u64,
    /// `None` when not asked for, and while S3 has not been asked for them: never what may turn out to be
    /// something else.
    pub attr: Option<Attr>,
}

/// Entries of a directory from a cookie on. `.` and `..` are among them (cookies 1 and 2).
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the names say")]
pub struct DirPage {
    pub entries: Vec<DirEntry>,
    pub end: bool,
    /// Identifies the cookie space; checked on the next call unless its cookie is 0.
    pub verifier: [u8; 8],
    pub dir: Attr,
}

/// What [`ShareFs::readdir`] is asked.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "as the names say")]
pub struct ReadDir {
    /// Start after this cookie; 0 = from the beginning.
    pub cookie: u64,
    /// The verifier that came with `cookie`.
    pub verifier: [u8; 8],
    /// Most entries to return; the edge trims further to its reply size.
    pub entries_max: usize,
    pub want_attr: bool,
}

/// Space of a share (RFC 1813 §3.3.18): the cache disk's for what can still be written at once.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "as the names say")]
pub struct FsStat {
    pub total_bytes: u64,
    pub free_bytes: u64,
    pub available_bytes: u64,
    pub total_files: u64,
    pub free_files: u64,
}

/// Permissions asked and granted in [`ShareFs::access`] (RFC 1813 §3.3.4).
pub mod access {
    #![allow(missing_docs, reason = "RFC 1813 §3.3.4 ACCESS3_*")]
    pub const READ: u32 = 0x01;
    pub const LOOKUP: u32 = 0x02;
    pub const MODIFY: u32 = 0x04;
    pub const EXTEND: u32 = 0x08;
    pub const DELETE: u32 = 0x10;
    pub const EXECUTE: u32 = 0x20;
}

/// One share's file system. Names are raw bytes from the peer: a name that is not UTF-8, holds
/// `/` or NUL, or is empty is [`FsError::Invalid`]; over 255 bytes [`FsError::NameTooLong`].
///
/// Durability: `create`, `mkdir`, `symlink`, `remove`, `rmdir`, `rename`, `setattr` return after the
/// change is on the cache disk (RFC 1813 §4.7); `write` as its stability says; `commit` after all
/// earlier writes of the file are (I1, I2).
///
/// # Errors
/// Every method: [`FsError`]; [`FsError::Stale`] for an ino that is gone.
#[async_trait]
pub trait ShareFs: fmt::Debug + Send + Sync + 'static {
    /// The root directory.
    fn root(&self) -> Ino;
    /// The current write verifier.
    fn verifier(&self) -> WriteVerifier;
    /// GETATTR.
    async fn getattr(&self, cx: &RequestContext, ino: Ino) -> Result<Attr, FsError>;
    /// SETATTR; `guard` is the ctime the caller believes in ([`FsError::NotSync`] if it is wrong).
    async fn setattr(
        &self,
        cx: &RequestContext,
        ino: Ino,
        set: SetAttr,
        guard: Option<Timestamp>,
    ) -> Result<Change, FsError>;
    /// LOOKUP, `.` and `..` included (`..` of the root is the root).
    async fn lookup(&self, cx: &RequestContext, dir: Ino, name: &[u8]) -> Result<Attr, FsError>;
    /// ACCESS: which of the asked permissions (see [`access`]) the caller has.
    async fn access(&self, cx: &RequestContext, ino: Ino, ask: u32)
    -> Result<(u32, Attr), FsError>;
    /// READLINK.
    async fn readlink(&self, cx: &RequestContext, ino: Ino) -> Result<(Bytes, Attr), FsError>;
    /// READ of at most `count` bytes.
    async fn read(
        &self,
        cx: &RequestContext,
        ino: Ino,
        offset: u64,
        count: u32,
    ) -> Result<ReadData, FsError>;
    /// WRITE of all of `data`.
    async fn write(
        &self,
        cx: &RequestContext,
        ino: Ino,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, FsError>;
    /// COMMIT of the whole file.
    async fn commit(
        &self,
        cx: &RequestContext,
        ino: Ino,
    ) -> Result<(Change, WriteVerifier), FsError>;
    /// CREATE.
    async fn create(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
        how: CreateHow,
    ) -> Result<Created, FsError>;
    /// MKDIR.
    async fn mkdir(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
        set: SetAttr,
    ) -> Result<Created, FsError>;
    /// SYMLINK.
    async fn symlink(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
        target: &[u8],
        set: SetAttr,
    ) -> Result<Created, FsError>;
    /// REMOVE of anything but a directory.
    async fn remove(&self, cx: &RequestContext, dir: Ino, name: &[u8]) -> Result<Change, FsError>;
    /// RMDIR of an empty directory.
    async fn rmdir(&self, cx: &RequestContext, dir: Ino, name: &[u8]) -> Result<Change, FsError>;
    /// RENAME; an existing target of the same kind is replaced (a directory only if empty).
    async fn rename(
        &self,
        cx: &RequestContext,
        from_dir: Ino,
        from_name: &[u8],
        to_dir: Ino,
        to_name: &[u8],
    ) -> Result<Renamed, FsError>;
    /// READDIR and READDIRPLUS.
    async fn readdir(
        &self,
        cx: &RequestContext,
        dir: Ino,
        ask: ReadDir,
    ) -> Result<DirPage, FsError>;
    /// FSSTAT.
    async fn statfs(&self, cx: &RequestContext) -> Result<FsStat, FsError>;
}
