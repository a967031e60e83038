//! MOUNT version 3 (RFC 1813 appendix I): from an export path to its root's file handle.
use std::{
    collections::BTreeSet,
    net::IpAddr,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
/// RFC 1813 §5.2.
const MNT: u32 = 1;
const DUMP: u32 = 2;
const UMNT: u32 = 3;
const UMNTALL: u32 = 4;
const EXPORT: u32 = 5;
/// RFC 1813 §5.1.1 MNTPATHLEN.
const PATH_BYTES_MAX: usize = 1024;
/// RFC 5531 §8.1: what NFS calls are to be made with. AUTH_NONE is served too, but a client that
/// is told so may choose it, and then everybody behind it is nobody.
const AUTH_SYS: u32 = 1;
/// Mounts kept for DUMP. It is a courtesy to administrators; the oldest address' first goes.
const MOUNTS_MAX: usize = 1024;

/// An entry of DUMP beside its path: flag, two lengths, padding, and an IPv6 address as text.
const DUMP_ENTRY_BYTES: usize = 64;
/// A share in EXPORT beside its clients: flags, length, and a name of at most 255 bytes.
const EXPORT_BYTES: usize = 272;
/// A client in EXPORT: flag, length, and an IPv6 network as text.
const CLIENT_BYTES: usize = 60;

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
                self.remember(call.peer.ip(), plain(&path));
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

    fn remember(&self, peer: IpAddr, path: Vec<u8>) {
        let mut mounts = self.mounts();
        if mounts.len() >= MOUNTS_MAX {
            mounts.pop_first();
        }
        mounts.insert((peer.to_canonical(), path));
    }

    fn forget(&self, peer: IpAddr, path: Option<&[u8]>) {
        let (peer, path) = (peer.to_canonical(), path.map(plain));
        self.mounts().retain(|(host, mounted)| {
            *host != peer || path.as_ref().is_some_and(|path| mounted != path)
        });
    }

    fn mounts(&self) -> MutexGuard<'_, BTreeSet<(IpAddr, Vec<u8>)>> {
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dump(&self, reply: &mut Reply) {
        for (host, path) in self.mounts().iter() {
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

/// A path as it is remembered: written in one way, so that nobody has many mounts of one directory.
fn plain(path: &[u8]) -> Vec<u8> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    names.flat_map(|name| [b"/", name].concat()).collect()
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

    fn reply_bytes(&self, call: &Call) -> usize {
        match call.procedure {
            DUMP if call.args.end().is_ok() => {
                self.mounts().iter().map(|(_, path)| DUMP_ENTRY_BYTES + path.len()).sum()
            }
            EXPORT if call.args.end().is_ok() => self
                .exports
                .list()
                .iter()
                .map(|export| EXPORT_BYTES + CLIENT_BYTES * export.policy.clients.len())
                .sum(),
            _ => 0,
        }
    }

    async fn execute(&self, caller: Caller, mut call: Call) -> Result<Reply, Rejection> {
        let garbage = |_: DecodeError| Rejection::GarbageArguments;
        let mut reply = Reply::success(call.xid);
        if matches!(call.procedure, DUMP | UMNTALL | EXPORT) {
            call.args.end().map_err(garbage)?;
        }
        match call.procedure {
            MNT => return self.mnt(caller, call).await.map_err(garbage),
            DUMP => self.dump(&mut reply),
            UMNT => self.forget(call.peer.ip(), Some(&path(&mut call.args).map_err(garbage)?)),
            UMNTALL => self.forget(call.peer.ip(), None),
            EXPORT => self.export(&mut reply),
            _ => return Err(Rejection::ProcedureUnavailable),
        }
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        nfs::testing::MemoryFs,
        share::access::AccessPolicy,
        vfs::{RequestContext, ShareFs, ShareId},
    };

    fn call(procedure: u32, args: &[u8]) -> Call {
        let words = [1, 0, 2, MOUNT_PROGRAM, MOUNT_VERSION, procedure, 0, 0, 0, 0];
        let header = words.iter().flat_map(|word: &u32| word.to_be_bytes());
        let record: Vec<u8> = header.chain(args.iter().copied()).collect();
        Call::parse("[2001:db8:1111:2222:3333:4444:5555:6666]:700".parse().unwrap(), record.into())
            .unwrap()
    }

    #[tokio::test]
    async fn large_answers_are_announced_so_that_they_are_budgeted() {
        let (fs, exports) = (Arc::new(MemoryFs::new()), Arc::new(Exports::new()));
        let network = "2001:db8:1111:2222:3333:4444:5555:0/112".parse().unwrap();
        let policy = AccessPolicy {
            clients: vec![network; 50],
            read_only: false,
            squash: gateway_api::settings::Squash::NoSquash,
            anonymous_uid: 65534,
            anonymous_gid: 65534,
            require_privileged_port: false,
        };
        let cx = RequestContext {
            peer: "[::1]:700".parse().unwrap(),
            credentials: policy.anonymous(),
            request: None,
        };
        let (name, id) = ("share".parse().unwrap(), ShareId(1));
        exports.replace(vec![Export { id, name, policy, fs: Arc::clone(&fs) as _ }]);
        let mount = Mount::new(exports, HandleCodec::new(&[1; 32], 1));
        for n in 0..20 {
            let name = format!("{n:0250}");
            fs.mkdir(&cx, fs.root(), name.as_bytes(), Default::default()).await.unwrap();
            let mut path = Reply::success(0);
            path.opaque(format!("/share/{name}").as_bytes());
            let args = &path.into_datagram()[24..];
            mount.execute(Caller::Anonymous, call(MNT, args)).await.unwrap();
        }
        for procedure in [DUMP, EXPORT] {
            let call = call(procedure, &[]);
            let announced = mount.reply_bytes(&call);
            let given = mount.execute(Caller::Anonymous, call).await.unwrap().len();
            assert!(given > 2000 && announced >= given - 64, "{procedure}: {announced}, {given}");
            assert!(announced < 2 * given, "{procedure}: {announced}, {given}");
        }
    }
}
