//! The NFS edge: NFSv3, MOUNT v3 and the portmapper over ONC RPC, on nfsserve's wire types and
//! XDR codec.
//!
//! Owns: everything between a socket and [`crate::vfs::ShareFs`]: who is admitted, to which
//! share, as whom, and how answers look on the wire. Must not know: objects, the catalog, the
//! cache.
pub mod drc;
pub mod exports;
pub mod handle;
pub mod mount;
pub mod portmap;
pub mod rpc;
#[cfg(any(test, feature = "testing"))]
pub mod stock;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod v3;

use std::{io, sync::Arc};

use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

pub use exports::{Export, Exports};
pub use handle::HandleCodec;
pub use portmap::PORTMAP_PORT;
pub use rpc::{lanes::Lanes, limits::Limits};

use drc::ReplyCache;
use mount::Mount;
use portmap::Portmap;
use rpc::{
    admission::Admission,
    connection::Service,
    program::{Program, Programs},
};
use v3::Nfs3;

/// The port of NFS.
pub const NFS_PORT: u16 = 2049;

/// The NFS server. Cloning gives another handle to the same one: listeners share its limits, its
/// exports and its memory of replies.
#[derive(Clone, Debug)]
pub struct Server {
    exports: Arc<Exports>,
    limits: Limits,
    admission: Arc<Admission>,
    replies: Arc<ReplyCache>,
    lanes: Option<Arc<Lanes>>,
    nfs: Arc<Nfs3>,
    mount: Arc<Mount>,
}

impl Server {
    /// A server of `exports`, which may be replaced while it runs.
    pub fn new(exports: Arc<Exports>, handles: HandleCodec, limits: Limits) -> Self {
        let limits = limits.checked();
        Self {
            admission: Arc::new(Admission::new(limits)),
            replies: Arc::new(ReplyCache::new(&limits)),
            nfs: Arc::new(Nfs3::new(Arc::clone(&exports), handles.clone())),
            mount: Arc::new(Mount::new(Arc::clone(&exports), handles)),
            exports,
            limits,
            lanes: None,
        }
    }

    /// This server, with its connections on threads of their own.
    pub fn on_lanes(self, lanes: Lanes) -> Self {
        Self { lanes: Some(Arc::new(lanes)), ..self }
    }

    /// Connections of clients.
    pub fn connections(&self) -> usize {
        self.admission.connections()
    }

    /// Serves NFS, MOUNT and the portmapper on one port until `stop`, then finishes the calls in
    /// execution, for [`Limits::drain_timeout`] at most, and closes all connections. The
    /// portmapper announces this very port.
    ///
    /// # Errors
    /// Only at once, if the listener has no address.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let port = listener.local_addr()?.port();
        self.serve_announcing(listener, port, stop).await;
        Ok(())
    }

    /// Serves the same programs on the portmapper's port; it announces `nfs_port`.
    pub async fn serve_portmap_tcp(
        &self,
        listener: TcpListener,
        nfs_port: u16,
        stop: CancellationToken,
    ) {
        self.serve_announcing(listener, nfs_port, stop).await;
    }

    /// Serves the portmapper over UDP; it announces `nfs_port`.
    pub async fn serve_portmap_udp(
        &self,
        socket: UdpSocket,
        nfs_port: u16,
        stop: CancellationToken,
    ) {
        let programs = Programs::new(vec![Arc::new(Portmap::new(nfs_port))], self.replies.clone());
        rpc::datagram::serve(programs, self.exports.clone(), socket, stop).await;
    }

    async fn serve_announcing(&self, listener: TcpListener, port: u16, stop: CancellationToken) {
        let nfs = Arc::clone(&self.nfs) as Arc<dyn Program>;
        let programs = vec![nfs, Arc::clone(&self.mount) as _, Arc::new(Portmap::new(port))];
        let service = Service {
            programs: Programs::new(programs, Arc::clone(&self.replies)),
            limits: self.limits,
            admission: Arc::clone(&self.admission),
            exports: Arc::clone(&self.exports),
        };
        rpc::listener::serve(Arc::new(service), self.lanes.clone(), listener, stop).await;
    }
}
