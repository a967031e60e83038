//! MOUNT version 3 (RFC 1813 appendix I): from an export path to its root's file handle.
use std::{
    collections::BTreeSet,
    net::IpAddr,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    exports::{Export, Exports},
    handle::HandleCodec,
    rpc::{
        auth::Caller,
        call::Call,
        decode::{DecodeError, Decoder},
        limits::NAME_BYTES_MAX,
        program::{Program, Repetition},
        reply::{Rejection, Reply},
    },
    v3::context,
};
use crate::vfs::{FileKind, FsError, Ino};

/// RFC 1813 §5.1.
pub const MOUNT_PROGRAM: u32 = 100_005;
/// RFC 1813 §5.1.
pub const MOUNT_VERSION: u32 = 3;
/// RFC 1813 §5.1.1 MNTPATHLEN.
const PATH_BYTES_MAX: usize = 1024;
/// RFC 5531 §8.1: what NFS calls are to be made with. AUTH_NONE is served too, but a client that
/// is told so may choose it, and then everybody behind it is nobody.
const AUTH_SYS: u32 = 1;
/// Mounts kept for DUMP. It is a courtesy to administrators; the oldest address' first goes.
const MOUNTS_MAX: usize = 1024;

/// Why a mount is refused (RFC 1813 §5.1.5 mountstat3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MountStatus {
    NotOwner = 1,
    NoEntry = 2,
    Io = 5,
    Access = 13,
    NotDirectory = 20,
    Invalid = 22,
    NameTooLong = 63,
    NotSupported = 10004,
    ServerFault = 10006,
}

impl From<FsError> for MountStatus {
    fn from(error: FsError) -> Self {
        match error {
            FsError::NotFound | FsError::Stale => Self::NoEntry,
            FsError::NotDirectory => Self::NotDirectory,
            FsError::Access => Self::Access,
            FsError::NotOwner => Self::NotOwner,
            FsError::NameTooLong => Self::NameTooLong,
            FsError::Invalid => Self::Invalid,
            FsError::NotSupported => Self::NotSupported,
            FsError::TryLater | FsError::Io | FsError::NoSpace => Self::Io,
            FsError::IsDirectory
            | FsError::Exists
            | FsError::NotEmpty
            | FsError::FileTooBig
            | FsError::ReadOnly
            | FsError::NotSync
            | FsError::BadCookie
            | FsError::CrossShare => Self::ServerFault,
        }
    }
}

/// The MOUNT program.
#[derive(Debug)]
pub struct Mount {
    exports: Arc<Exports>,
    handles: HandleCodec,
    mounts: Mutex<BTreeSet<(IpAddr, Vec<u8>)>>,
}

impl Mount {
    /// Mounts what `exports` holds.
    pub fn new(exports: Arc<Exports>, handles: HandleCodec) -> Self {
        Self { exports, handles, mounts: Mutex::default() }
    }

    async fn mnt(&self, caller: Caller, mut call: Call) -> Result<Reply, DecodeError> {
        let path = path(&mut call.args)?;
        let mut reply = Reply::success(call.xid);
        match self.find(&caller, &call, &path).await {
            Ok((export, ino)) => {
                self.remember(call.peer.ip(), &path);
                reply.u32(0);
                reply.opaque(&self.handles.encode(export.id, ino));
                reply.u32(1);
                reply.u32(AUTH_SYS);
            }
            Err(status) => {
                tracing::debug!(
                    peer = %call.peer,
                    path = %String::from_utf8_lossy(&path),
                    ?status,
                    "mount refused"
                );
                reply.u32(status as u32);
            }
        }
        Ok(reply)
    }

    /// The share that a path begins with and the directory that the rest of it leads to.
    async fn find(
        &self,
        caller: &Caller,
        call: &Call,
        path: &[u8],
    ) -> Result<(Arc<Export>, Ino), MountStatus> {
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let share = names.next().ok_or(MountStatus::NoEntry)?;
        let export = self.exports.by_name(share).ok_or(MountStatus::NoEntry)?;
        export.policy.admit(call.peer).map_err(|_| MountStatus::Access)?;
        let cx = context(&export, caller, call.peer, None);
        let mut ino = export.fs.root();
        for name in names {
            if name.len() > NAME_BYTES_MAX {
                return Err(MountStatus::NameTooLong);
            }
            if matches!(name, b"." | b"..") {
                return Err(MountStatus::Invalid);
            }
            let attr = export.fs.lookup(&cx, ino, name).await?;
            if attr.kind != FileKind::Directory {
                return Err(MountStatus::NotDirectory);
            }
            ino = attr.ino;
        }
        Ok((export, ino))
    }

    fn remember(&self, peer: IpAddr, path: &Bytes) {
        let mut mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
        if mounts.len() >= MOUNTS_MAX {
            mounts.pop_first();
        }
        // A copy: the path must not keep the memory of its whole record.
        mounts.insert((peer.to_canonical(), path.to_vec()));
    }

    fn forget(&self, peer: IpAddr, path: Option<&Bytes>) {
        let peer = peer.to_canonical();
        let mut mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
        mounts.retain(|(host, mounted)| *host != peer || path.is_some_and(|path| mounted != path));
    }

    fn dump(&self, reply: &mut Reply) {
        let mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
        for (host, path) in mounts.iter() {
            reply.bool(true);
            reply.opaque(host.to_string().as_bytes());
            reply.opaque(path);
        }
        reply.bool(false);
    }

    fn export(&self, reply: &mut Reply) {
        for export in self.exports.list() {
            reply.bool(true);
            reply.opaque(format!("/{}", export.name).as_bytes());
            for client in &export.policy.clients {
                reply.bool(true);
                reply.opaque(client.to_string().as_bytes());
            }
            reply.bool(false);
        }
        reply.bool(false);
    }
}

fn path(args: &mut Decoder) -> Result<Bytes, DecodeError> {
    let path = args.opaque(PATH_BYTES_MAX)?;
    args.end()?;
    Ok(path)
}

#[async_trait]
impl Program for Mount {
    fn number(&self) -> u32 {
        MOUNT_PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        MOUNT_VERSION..=MOUNT_VERSION
    }

    fn repetition(&self, _procedure: u32) -> Repetition {
        Repetition::Harmless
    }

    fn reply_bytes(&self, _call: &Call) -> usize {
        0
    }

    async fn execute(&self, caller: Caller, mut call: Call) -> Result<Reply, Rejection> {
        let garbage = |_: DecodeError| Rejection::GarbageArguments;
        let mut reply = Reply::success(call.xid);
        match call.procedure {
            1 => return self.mnt(caller, call).await.map_err(garbage),
            2 => self.dump(&mut reply),
            3 => self.forget(call.peer.ip(), Some(&path(&mut call.args).map_err(garbage)?)),
            4 => self.forget(call.peer.ip(), None),
            5 => self.export(&mut reply),
            _ => return Err(Rejection::ProcedureUnavailable),
        }
        Ok(reply)
    }
}
