//! NFS version 3 (RFC 1813): its 22 procedures over [`crate::vfs::ShareFs`].
//!
//! Owns: arguments, results and the order of checks: arguments decode, then the handle is ours,
//! then its share is exported and admits the peer, then it may be changed, then the file system
//! decides. Must not know: how calls arrive.
//!
//! Files, one family of procedures each: `object` (GETATTR, SETATTR, ACCESS), `lookup` (LOOKUP,
//! READLINK), `io` (READ, WRITE, COMMIT), `create` (CREATE, MKDIR, SYMLINK, MKNOD), `remove`
//! (REMOVE, RMDIR, RENAME, LINK), `readdir` (READDIR, READDIRPLUS), `fsinfo` (FSSTAT, FSINFO,
//! PATHCONF).
mod args;
mod attr;
mod create;
mod fsinfo;
mod io;
mod lookup;
mod object;
mod readdir;
mod remove;
mod status;

use std::{net::SocketAddr, ops::RangeInclusive, sync::Arc};

use async_trait::async_trait;
use nfsserve::nfs::nfsstat3;

use super::{
    exports::{Export, Exports},
    handle::{HandleCodec, HandleError},
    rpc::{
        auth::Caller,
        call::Call,
        decode::{DecodeError, Decoder},
        program::{Program, Repetition},
        reply::{Rejection, Reply},
    },
};
use crate::vfs::{Attr, Change, Ino, RequestContext, RequestId};

#[cfg(any(test, feature = "testing"))]
pub(crate) use {args::set_attr, attr::fattr};

pub(crate) use status::status;

/// Most bytes of a handle in a call (RFC 1813 §2.4 NFS3_FHSIZE).
const HANDLE_BYTES_MAX: usize = 64;

/// Whether a procedure may change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    Read,
    Change,
}

/// The NFS version 3 program.
#[derive(Debug)]
pub struct Nfs3 {
    exports: Arc<Exports>,
    handles: HandleCodec,
}

/// A call on its way through the program.
#[derive(Debug)]
struct Request<'a> {
    nfs: &'a Nfs3,
    peer: SocketAddr,
    xid: u32,
    caller: Caller,
    request: Option<RequestId>,
}

/// An object that a handle names, and under which context its share is asked.
#[derive(Debug)]
struct Target {
    export: Arc<Export>,
    ino: Ino,
    cx: RequestContext,
}

/// The context of a peer's operations on a share.
pub(crate) fn context(
    export: &Export,
    caller: &Caller,
    peer: SocketAddr,
    request: Option<RequestId>,
) -> RequestContext {
    let credentials = match caller {
        Caller::Anonymous => export.policy.anonymous(),
        Caller::Sys(credentials) => export.policy.squash(credentials.clone()),
    };
    RequestContext { peer, credentials, request }
}

impl Nfs3 {
    /// Serves what `exports` holds.
    pub fn new(exports: Arc<Exports>, handles: HandleCodec) -> Self {
        Self { exports, handles }
    }
}

impl Request<'_> {
    /// Finds what a handle names, if this peer may have it.
    fn target(&self, handle: &[u8], intent: Intent) -> Result<Target, nfsstat3> {
        let (share, ino) = self.nfs.handles.decode(handle).map_err(|error| match error {
            HandleError::Bad => nfsstat3::NFS3ERR_BADHANDLE,
            HandleError::Stale => nfsstat3::NFS3ERR_STALE,
        })?;
        let export = self.nfs.exports.by_id(share).ok_or(nfsstat3::NFS3ERR_STALE)?;
        export.policy.admit(self.peer).map_err(|_| nfsstat3::NFS3ERR_ACCES)?;
        if intent == Intent::Change && export.policy.read_only {
            return Err(nfsstat3::NFS3ERR_ROFS);
        }
        let cx = context(&export, &self.caller, self.peer, self.request);
        Ok(Target { export, ino, cx })
    }

    /// The handle of another object of the target's share.
    fn handle(&self, target: &Target, ino: Ino) -> [u8; super::handle::HANDLE_BYTES] {
        self.nfs.handles.encode(target.export.id, ino)
    }

    /// A successful reply; its results follow.
    fn ok(&self) -> Reply {
        self.with_status(nfsstat3::NFS3_OK)
    }

    /// A reply with a status; the rest of its arm follows.
    fn with_status(&self, status: nfsstat3) -> Reply {
        let mut reply = Reply::success(self.xid);
        reply.wire(&status);
        reply
    }

    /// A failure whose arm is post-operation attributes: the target's, where there is one.
    async fn failed(&self, status: nfsstat3, target: Option<&Target>) -> Reply {
        let mut reply = self.with_status(status);
        let attr = match target {
            Some(target) => target.attr().await,
            None => None,
        };
        attr::post_op(&mut reply, target.zip(attr.as_ref()));
        reply
    }

    /// A failure whose arm is weak cache consistency data, one of each target.
    async fn failed_change<const N: usize>(
        &self,
        status: nfsstat3,
        targets: [Option<&Target>; N],
    ) -> Reply {
        let mut reply = self.with_status(status);
        for target in targets {
            let attr = match target {
                Some(target) => target.attr().await,
                None => None,
            };
            attr::wcc_after(&mut reply, target.zip(attr.as_ref()));
        }
        reply
    }
}

impl Target {
    /// Its attributes, where a reply may carry them; failing to get them is no failure of its own.
    async fn attr(&self) -> Option<Attr> {
        self.export.fs.getattr(&self.cx, self.ino).await.ok()
    }

    fn wcc(&self, reply: &mut Reply, change: &Change) {
        attr::wcc(reply, self, change);
    }
}

#[async_trait]
impl Program for Nfs3 {
    fn number(&self) -> u32 {
        nfsserve::nfs::PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        nfsserve::nfs::VERSION..=nfsserve::nfs::VERSION
    }

    /// SETATTR, CREATE, MKDIR, SYMLINK, REMOVE, RMDIR, RENAME change what they ask for. MKNOD and LINK
    /// never do anything. WRITE: a client that has lost its connection sends it again over another,
    /// while the first may still be waiting, or even be unread, on the server.
    fn repetition(&self, procedure: u32) -> Repetition {
        match procedure {
            2 | 8 | 9 | 10 | 12 | 13 | 14 => Repetition::Change,
            7 => Repetition::Write,
            _ => Repetition::Harmless,
        }
    }

    fn reply_bytes(&self, call: &Call) -> usize {
        match call.procedure {
            6 => io::read_reply_bytes(call.args.clone()),
            16 | 17 => readdir::reply_bytes(call.procedure, call.args.clone()),
            _ => 0,
        }
    }

    async fn execute(&self, caller: Caller, call: Call) -> Result<Reply, Rejection> {
        let Call { peer, xid, request, .. } = call;
        let request = Request { nfs: self, peer, xid, caller, request };
        let args: Decoder = call.args;
        let done: Result<Reply, DecodeError> = match call.procedure {
            1 => request.getattr(args).await,
            2 => request.setattr(args).await,
            3 => request.lookup(args).await,
            4 => request.access(args).await,
            5 => request.readlink(args).await,
            6 => request.read(args).await,
            7 => request.write(args).await,
            8 => request.create(args).await,
            9 => request.mkdir(args).await,
            10 => request.symlink(args).await,
            11 => request.mknod(args).await,
            12 => request.remove(args).await,
            13 => request.rmdir(args).await,
            14 => request.rename(args).await,
            15 => request.link(args).await,
            16 => request.readdir(args).await,
            17 => request.readdirplus(args).await,
            18 => request.fsstat(args).await,
            19 => request.fsinfo(args).await,
            20 => request.pathconf(args).await,
            21 => request.commit(args).await,
            _ => return Err(Rejection::ProcedureUnavailable),
        };
        done.map_err(|_| Rejection::GarbageArguments)
    }
}
