//! The TCP server: accepts connections and serves S3 on them until it is stopped.

mod front;
mod gate;
mod throttle;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub(crate) use gate::RequestCounts;

use crate::config::StoreConfig;
use crate::faults::Faults;
use crate::service::Service;
use crate::storage::Storage;
use front::Front;
use gate::{BaseDomain, Gate};
use throttle::Throttled;

/// Connections served at one time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// A connection that sends no request head for so long is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Rest after accept failed (no file descriptors), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Builds the protocol stack of one store.
pub(crate) fn front(
    config: &StoreConfig,
    storage: Arc<Storage>,
    faults: &Faults,
    counts: &RequestCounts,
) -> Front {
    let service = Service { storage, faults: faults.clone(), region: config.region.clone() };
    let mut builder = S3ServiceBuilder::new(service);
    builder.set_auth(SimpleAuth::from_single(
        config.access_key_id.clone(),
        config.secret_access_key.clone(),
    ));
    builder.set_access(Gate {
        faults: faults.clone(),
        counts: counts.clone(),
        region: config.region.clone(),
    });
    let base = config.base_domain.clone().unwrap_or_else(|| "localhost".to_owned());
    builder.set_host(BaseDomain { base });
    Front { service: builder.build(), faults: faults.clone(), requests: Arc::default() }
}

/// Serves until dropped; dropping closes every connection.
pub(crate) async fn serve(listener: TcpListener, front: Front, open: Arc<AtomicUsize>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _peer)) = accepted else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        // Without it small replies wait for the peer's delayed acknowledgement; a socket that refuses still works.
        drop(stream.set_nodelay(true));
        let front = front.clone();
        let open = Open::one_more(&open);
        connections.spawn(async move {
            let io = TokioIo::new(Throttled::new(stream, front.faults.clone()));
            let service = service_fn(move |request| front.clone().handle(request));
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(io, service)
                .await;
            // A client that went away, or a fault that closed the connection: nothing is left to tell anybody.
            drop(served);
            drop((slot, open));
        });
    }
}

/// A connection, counted as long as this lives.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn one_more(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
