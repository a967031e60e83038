//! A server of shares in memory, without sockets: what the targets call.
use std::{cell::OnceCell, future::Future, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use gateway_api::settings::Squash;
use tokio::runtime::{Builder, Runtime};

use super::{replies, wire::Procedure};
use crate::{
    nfs::{
        Export, Exports, HandleCodec, Limits,
        drc::ReplyCache,
        handle::HANDLE_BYTES,
        mount::Mount,
        portmap::Portmap,
        rpc::{admission::Admission, call::Call, connection::Service, program::Programs},
        testing::{MemoryFs, open_policy},
        v3::Nfs3,
    },
    share::access::AccessPolicy,
    vfs::{CreateHow, Credentials, Ino, RequestContext, SetAttr, ShareFs, ShareId, Stability},
};

/// Longest file: a WRITE of the most bytes and a short one behind it.
pub(super) const FILE_BYTES_MAX: u64 = (1 << 20) + (64 << 10);
/// What a reply may take beyond what its program says for the budget: the longest are a symbolic
/// link's target and what comes with it.
const UNBUDGETED_REPLY_BYTES: usize = 8 * 1024;
/// An opaque of a handle's length that begins with the version of our handles.
const HANDLE_HEAD: [u8; 8] = [0, 0, 0, 40, 0, 0, 0, 1];

/// Runs a future to its end on this thread.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    }
    RUNTIME.with(|runtime| {
        let new = || Builder::new_current_thread().enable_time().build();
        runtime.get_or_init(|| new().expect("a runtime needs only memory")).block_on(future)
    })
}

/// The server and what it serves.
#[derive(Debug)]
pub(super) struct World {
    /// The server, as its connections see it.
    pub(super) service: Arc<Service>,
    handles: HandleCodec,
}

impl World {
    /// The client.
    pub(super) const PEER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 700);
    /// The generation of the handles.
    pub(super) const GENERATION: u64 = 1;
    /// The share `/share`, which everybody may change as who they say they are.
    pub(super) const SHARE: ShareId = ShareId(7);
    /// The same files as `/read`, read-only, where root is nobody.
    const READ_ONLY: ShareId = ShareId(8);
    /// The same files as `/other`, for other clients.
    const OTHER: ShareId = ShareId(9);

    /// A server whose share has a file `f`, a directory `d` with a file `g`, a symbolic link `l`.
    pub(super) fn new() -> Self {
        let world = Self::empty();
        let fs = &world.1;
        let who = Credentials { uid: 0, gid: 0, groups: Vec::new() };
        let cx = RequestContext { peer: Self::PEER, credentials: who, request: None };
        let how = || CreateHow::Guarded(SetAttr { mode: Some(0o644), ..SetAttr::default() });
        block_on(async {
            let root = fs.root();
            let file = fs.create(&cx, root, b"f", how()).await?.attr.ino;
            fs.write(&cx, file, 0, Bytes::from_static(b"0123456789"), Stability::FileSync).await?;
            let dir = fs.mkdir(&cx, root, b"d", SetAttr::default()).await?.attr.ino;
            fs.create(&cx, dir, b"g", how()).await?;
            fs.symlink(&cx, root, b"l", b"d/g", SetAttr::default()).await
        })
        .expect("an empty share takes these");
        world.0
    }

    /// A server of empty shares.
    pub(super) fn empty() -> (Self, Arc<MemoryFs>) {
        let fs = Arc::new(MemoryFs::with_files_up_to(FILE_BYTES_MAX));
        let open = open_policy();
        let read_only =
            AccessPolicy { read_only: true, squash: Squash::RootSquash, ..open.clone() };
        let far = "192.0.2.0/24".parse().expect("a subnet of the documentation");
        let other = AccessPolicy { clients: vec![far], ..open.clone() };
        let export = |id, name: &str, policy| Export {
            id,
            name: name.parse().expect("a name of a share"),
            policy,
            fs: Arc::clone(&fs) as _,
        };
        let exports = Arc::new(Exports::new());
        exports.replace(vec![
            export(Self::SHARE, "share", open),
            export(Self::READ_ONLY, "read", read_only),
            export(Self::OTHER, "other", other),
        ]);
        let (handles, limits) = (Self::handles(Self::GENERATION), Limits::default());
        let nfs = Nfs3::new(Arc::clone(&exports), handles.clone());
        let mount = Mount::new(Arc::clone(&exports), handles.clone());
        let programs =
            vec![Arc::new(nfs) as _, Arc::new(mount) as _, Arc::new(Portmap::new(2049)) as _];
        let service = Service {
            programs: Programs::new(programs, Arc::new(ReplyCache::new(&limits))),
            limits,
            admission: Arc::new(Admission::new(limits)),
            exports,
        };
        (Self { service: Arc::new(service), handles }, fs)
    }

    /// The handles of a catalog; those of the world have [`World::GENERATION`].
    pub(super) fn handles(generation: u64) -> HandleCodec {
        HandleCodec::new(&[5; 32], generation)
    }

    /// The handle of a file of `/share`.
    pub(super) fn handle(&self, ino: Ino) -> [u8; HANDLE_BYTES] {
        self.handles.encode(Self::SHARE, ino)
    }

    /// `bytes`, where everything that looks like a handle of ours in an argument has the right MAC:
    /// an input names any share, catalog and file, and gets past the check that keeps clients out.
    pub(super) fn sealed(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let mut from = 0;
        while let Some(at) = find(&bytes[from..], &HANDLE_HEAD) {
            let start = from + at + 4;
            let Some(handle) = bytes.get_mut(start..start + HANDLE_BYTES) else { break };
            let u64_at =
                |at: usize| handle[at..].first_chunk().map_or(0, |b| u64::from_be_bytes(*b));
            let share = handle[4..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            let made = match u64_at(8) {
                Self::GENERATION => self.handles.encode(ShareId(share), Ino(u64_at(16))),
                other => Self::handles(other).encode(ShareId(share), Ino(u64_at(16))),
            };
            handle.copy_from_slice(&made);
            from = start + HANDLE_BYTES;
        }
        bytes
    }

    /// The server's answer to a call, an RPC message; checked to be well-formed and to take no more
    /// memory than the server reckons with.
    ///
    /// # Errors
    /// What is wrong with the answer.
    pub(super) fn answer(&self, call: Call) -> Result<Vec<u8>, String> {
        let programs = &self.service.programs;
        let most = programs.reply_bytes(&call) + UNBUDGETED_REPLY_BYTES;
        let (xid, asked) = (call.xid, Procedure::of(&call));
        let message = replies::message(block_on(programs.answer(call)))?;
        replies::check(xid, asked, &message)?;
        if message.len() > most {
            return Err(format!("a reply of {} bytes to {asked:?}, budget {most}", message.len()));
        }
        Ok(message)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
