//! Threads that serve connections, each with an event loop of its own.
//!
//! A call that needs nobody else is read, executed and answered on its connection's thread, and no
//! other thread is woken for it: handing one small call to another thread costs more than executing it.
//! What takes long does not belong here: disk and database have threads of their own, S3 has the
//! gateway's runtime.
use std::{
    io,
    sync::{Arc, mpsc},
    thread,
};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Most lanes: connections are few, and one lane answers more than a hundred thousand calls a second.
const LANES_MAX: usize = 8;

/// The threads. They end with this value, and what they serve with them.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<Lane>,
    _stop: DropGuard,
}

#[derive(Clone, Debug)]
struct Lane {
    runtime: Handle,
    /// As many as there are connections, and one.
    connections: Arc<()>,
}

/// A connection's place on a lane.
#[derive(Debug)]
pub struct Place {
    /// Where to spawn what serves it.
    pub runtime: Handle,
    counted: Arc<()>,
}

impl Place {
    /// Whether the lane has no other connection: then nobody else waits for what is done on it.
    pub fn is_alone(&self) -> bool {
        // The lane's own, and this.
        Arc::strong_count(&self.counted) == 2
    }
}

impl Lanes {
    /// One for each processor.
    ///
    /// # Errors
    /// When a thread or its event loop cannot be made.
    pub fn new() -> io::Result<Self> {
        let stop = CancellationToken::new();
        let count = thread::available_parallelism().map_or(1, usize::from).min(LANES_MAX);
        let lanes = (0..count).map(|n| start(n, stop.clone())).collect::<io::Result<_>>()?;
        Ok(Self { lanes, _stop: stop.drop_guard() })
    }

    /// A place on the lane with the fewest connections.
    pub fn place(&self) -> Place {
        let lane = self.lanes.iter().min_by_key(|lane| Arc::strong_count(&lane.connections));
        let lane = lane.expect("there is at least one lane");
        Place { runtime: lane.runtime.clone(), counted: Arc::clone(&lane.connections) }
    }
}

fn start(n: usize, stop: CancellationToken) -> io::Result<Lane> {
    let (started, handle) = mpsc::sync_channel(1);
    thread::Builder::new().name(format!("nfs-{n}")).spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        if started.send(Ok(runtime.handle().clone())).is_ok() {
            runtime.block_on(stop.cancelled());
        }
        // Not waiting for reads of a disk that does not answer.
        runtime.shutdown_background();
    })?;
    let lost = |_| io::Error::other("the thread ended at once");
    let runtime = handle.recv().map_err(lost)??;
    Ok(Lane { runtime, connections: Arc::default() })
}

#[cfg(test)]
mod tests {
    use std::future;

    use super::*;

    #[tokio::test]
    async fn connections_are_spread_and_each_stays_on_its_thread() {
        let lanes = Lanes::new().unwrap();
        let places: Vec<Place> = lanes.lanes.iter().map(|_| lanes.place()).collect();
        for place in &places {
            let thread = || thread::current().id();
            let first = place.runtime.spawn(async move { thread() }).await.unwrap();
            let again = place.runtime.spawn(async move {
                tokio::task::yield_now().await;
                thread()
            });
            assert_eq!(again.await.unwrap(), first);
            assert_ne!(first, thread::current().id());
        }
        let counts = |lanes: &Lanes| -> Vec<usize> {
            lanes.lanes.iter().map(|lane| Arc::strong_count(&lane.connections)).collect()
        };
        assert!(counts(&lanes).iter().all(|count| *count == 2));
        assert!(places.iter().all(Place::is_alone));
        let more = lanes.place();
        assert!(!more.is_alone() && !places.iter().all(Place::is_alone));
        drop(more);
        drop(places);
        assert!(counts(&lanes).iter().all(|count| *count == 1));
    }

    #[tokio::test]
    async fn the_threads_end_with_the_lanes() {
        let lanes = Lanes::new().unwrap();
        let place = lanes.place();
        let served = place.runtime.spawn(future::pending::<()>());
        drop(lanes);
        assert!(served.await.unwrap_err().is_cancelled());
    }
}
