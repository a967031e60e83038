//! The accept loop: it ends when told to, and for no other reason.
use std::{io, os::fd::AsFd, sync::Arc, time::Duration};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connection::{self, Service},
    lanes::Lanes,
};

/// First wait after accept failed for want of descriptors or memory, doubled up to the last.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_LAST: Duration = Duration::from_secs(1);
/// A dead peer is noticed after idle + count × interval: two minutes.
const KEEPALIVE_IDLE_SECONDS: u32 = 60;
const KEEPALIVE_INTERVAL_SECONDS: u32 = 15;
const KEEPALIVE_COUNT: u32 = 4;

/// Accepts and serves connections until `stop`, on `lanes` or where it is called; returns when all are
/// closed.
pub async fn serve(
    service: Arc<Service>,
    lanes: Option<Arc<Lanes>>,
    listener: TcpListener,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let mut backoff = BACKOFF_FIRST;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                backoff = BACKOFF_FIRST;
                if !service.exports.list_anywhere(peer.ip()) {
                    tracing::debug!(%peer, "connection refused: in no share's client list");
                    continue;
                }
                match service.admission.connect(peer.ip()) {
                    Ok(slot) => {
                        let (service, stop) = (Arc::clone(&service), stop.clone());
                        let place = lanes.as_ref().map(|lanes| lanes.place());
                        let runtime = place.as_ref().map(|place| place.runtime.clone());
                        let serving = async move {
                            let stream = match prepare(stream, &service) {
                                Ok(stream) => stream,
                                Err(error) => {
                                    tracing::debug!(%peer, %error, "connection lost at once");
                                    return;
                                }
                            };
                            let halves = stream.into_split();
                            match connection::serve(&service, halves, peer, slot, place, &stop)
                                .await
                            {
                                Ok(()) => tracing::trace!(%peer, "connection closed"),
                                Err(error) => tracing::debug!(%peer, %error, "connection closed"),
                            }
                        };
                        match runtime {
                            Some(runtime) => connections.spawn_on(serving, &runtime),
                            None => connections.spawn(serving),
                        };
                    }
                    Err(full) => tracing::debug!(%peer, error = %full, "connection refused"),
                }
            }
            // The connection that was to be accepted is gone; the next may be fine.
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(%error, "connection lost before it was accepted");
            }
            Err(error) => {
                tracing::warn!("cannot accept connections; trying again in {backoff:?}: {error}");
                tokio::select! {
                    () = tokio::time::sleep(backoff) => {}
                    () = stop.cancelled() => break,
                }
                backoff = (backoff * 2).min(BACKOFF_LAST);
            }
        }
    }
    // Refuses new connections while the open ones end.
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// accept(2): errors that are already pending on the new socket.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted,
        NetworkDown, NetworkUnreachable, PermissionDenied, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | PermissionDenied
            | TimedOut
    ) || error.raw_os_error() == Some(nix::errno::Errno::EPROTO as i32)
}

/// Sets the connection's options; its events go to the event loop that this is called on.
fn prepare(stream: TcpStream, service: &Service) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let socket = stream.as_fd();
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_SECONDS)?;
    setsockopt(&socket, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL_SECONDS)?;
    setsockopt(&socket, sockopt::TcpKeepCount, &KEEPALIVE_COUNT)?;
    let stall = u32::try_from(service.limits.write_stall_timeout.as_millis()).unwrap_or(u32::MAX);
    setsockopt(&socket, sockopt::TcpUserTimeout, &stall)?;
    TcpStream::from_std(stream.into_std()?)
}
