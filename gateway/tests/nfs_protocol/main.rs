//! The NFS server over real TCP, with a share in memory behind it: crate nfs3_client and libnfs
//! as clients that others wrote, raw sockets for what no honest client sends, nfsserve's own
//! listener as a second opinion.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]
mod access;
mod differential;
mod fairness;
mod hostile;
mod ipv6;
mod libnfs;
mod lifetime;
mod mount;
mod procedures;
mod raw;
mod readdir;
mod replay;
mod statuses;
mod stock;
mod storm;
mod tools;

use std::{net::SocketAddr, sync::Arc};

use gateway::{
    nfs::{
        Export, Exports, HandleCodec, Limits, Server,
        testing::{MemoryFs, open_policy},
    },
    share::access::AccessPolicy,
    vfs::ShareId,
};
use nfs3_client::{
    Nfs3Connection, Nfs3ConnectionBuilder,
    nfs3_types::{
        nfs3::{diropargs3, nfs_fh3},
        rpc::{auth_flavor, opaque_auth},
        xdr_codec::Opaque,
    },
    tokio::{TokioConnector, TokioIo},
};
use tokio::{net::TcpListener, net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;

type Client = Nfs3Connection<TokioIo<TcpStream>>;

fn export(id: u32, name: &str, fs: &Arc<MemoryFs>, policy: AccessPolicy) -> Export {
    Export { id: ShareId(id), name: name.parse().unwrap(), policy, fs: Arc::clone(fs) as _ }
}

/// A running server with one share, `/share`.
struct Gateway {
    address: SocketAddr,
    fs: Arc<MemoryFs>,
    exports: Arc<Exports>,
    server: Server,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Gateway {
    async fn start() -> Self {
        Self::with(open_policy(), Limits::default()).await
    }

    async fn with(policy: AccessPolicy, limits: Limits) -> Self {
        Self::on("127.0.0.1:0", policy, limits).await
    }

    async fn on(listen: &str, policy: AccessPolicy, limits: Limits) -> Self {
        let (fs, exports) = (Arc::new(MemoryFs::new()), Arc::new(Exports::new()));
        exports.replace(vec![export(7, "share", &fs, policy)]);
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(Arc::clone(&exports), HandleCodec::new(&[5; 32], 1), limits);
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let (server, stop) = (server.clone(), stop.clone());
            async move { server.serve(listener, stop).await.unwrap() }
        });
        Self { address, fs, exports, server, stop, serving }
    }

    /// Mounts `/share`, finding the ports as any client does: by asking the portmapper.
    async fn mount_as(&self, uid: u32, gid: u32) -> Client {
        Nfs3ConnectionBuilder::new(TokioConnector, "127.0.0.1", "/share")
            .connect_from_privileged_port(false)
            .portmapper_port(self.address.port())
            .credential(auth_sys(uid, gid))
            .mount()
            .await
            .unwrap()
    }

    async fn mount(&self) -> Client {
        self.mount_as(1000, 100).await
    }
}

fn auth_sys(uid: u32, gid: u32) -> opaque_auth<'static> {
    let body: Vec<u8> = [0, 0, uid, gid, 0].iter().flat_map(|w: &u32| w.to_be_bytes()).collect();
    opaque_auth { flavor: auth_flavor::AUTH_UNIX, body: Opaque::owned(body) }
}

fn entry<'a>(dir: &nfs_fh3, name: &'a str) -> diropargs3<'a> {
    diropargs3 { dir: dir.clone(), name: name.as_bytes().into() }
}
