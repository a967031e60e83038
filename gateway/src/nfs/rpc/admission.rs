//! What connections and peers may hold: slots for connections, places for calls, budgets of bytes
//! for large calls and replies.
//!
//! Places, then bytes, are taken from three semaphores, always in the order connection, peer,
//! all, and a call takes bytes once: no two calls wait for each other. Calls wait for nothing
//! else while they wait here; their connection is not read meanwhile.
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::{Limits, UNBUDGETED_BYTES};

/// The slots and budgets of a server.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    all: Budget,
    /// Peers with connections; an entry goes with the last of them.
    peers: Mutex<Peers>,
}

#[derive(Debug, Default)]
struct Peers {
    connections: usize,
    by_address: HashMap<IpAddr, Peer>,
}

#[derive(Debug)]
struct Peer {
    connections: usize,
    budget: Budget,
}

/// What a connection, a peer or all may have at one time.
#[derive(Clone, Debug)]
struct Budget {
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Budget {
    fn new(calls: usize, bytes: usize) -> Self {
        Self { calls: Arc::new(Semaphore::new(calls)), bytes: Arc::new(Semaphore::new(bytes)) }
    }
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// As many connections as the server takes.
    #[error("as many connections as the server takes")]
    Server,
    /// As many connections as it takes from one address.
    #[error("as many connections as the server takes from one address")]
    Peer,
}

/// One connection's slot and budget; dropping it gives the slot back.
#[derive(Debug)]
pub struct ConnectionSlot {
    admission: Weak<Admission>,
    address: IpAddr,
    /// The connection's own, its peer's, and all.
    budgets: [Budget; 3],
}

/// One call's place among its connection's; dropping it gives the place and the bytes back.
#[derive(Debug)]
pub struct CallSlot {
    _call: [OwnedSemaphorePermit; 3],
    bytes: Option<[OwnedSemaphorePermit; 3]>,
}

impl Admission {
    /// Everything free.
    pub fn new(limits: Limits) -> Self {
        let all = Budget::new(limits.calls_max, limits.bytes_max);
        Self { limits, all, peers: Mutex::default() }
    }

    /// Takes a slot for a connection from `address`.
    ///
    /// # Errors
    /// [`Full`]; the connection should be closed.
    pub fn connect(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionSlot, Full> {
        let address = address.to_canonical();
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.connections >= self.limits.connections_max {
            return Err(Full::Server);
        }
        let limits = &self.limits;
        let peer = peers.by_address.entry(address).or_insert_with(|| Peer {
            connections: 0,
            budget: Budget::new(limits.calls_per_peer_max, limits.bytes_per_peer_max),
        });
        if peer.connections >= self.limits.connections_per_peer_max {
            return Err(Full::Peer);
        }
        peer.connections += 1;
        let of_peer = peer.budget.clone();
        peers.connections += 1;
        let own = Budget::new(limits.calls_per_connection_max, limits.bytes_per_connection_max);
        let budgets = [own, of_peer, self.all.clone()];
        Ok(ConnectionSlot { admission: Arc::downgrade(self), address, budgets })
    }

    /// Whether four fifths of the slots are taken.
    pub fn is_crowded(&self) -> bool {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.connections * 5 >= self.limits.connections_max * 4
    }
}

impl ConnectionSlot {
    /// Waits for a place for one more call.
    pub async fn call(&self) -> CallSlot {
        let [own, peer, all] = &self.budgets;
        let call =
            [take(&own.calls, 1).await, take(&peer.calls, 1).await, take(&all.calls, 1).await];
        CallSlot { _call: call, bytes: None }
    }

    /// Waits until `bytes` may be held for the call in `slot`. Small amounts are free, and so is
    /// a second amount for one call.
    pub async fn hold(&self, slot: &mut CallSlot, bytes: usize) {
        if bytes <= UNBUDGETED_BYTES || slot.bytes.is_some() {
            return;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let [own, peer, all] = &self.budgets;
        let own = take(&own.bytes, bytes).await;
        let peer = take(&peer.bytes, bytes).await;
        slot.bytes = Some([own, peer, take(&all.bytes, bytes).await]);
    }
}

async fn take(from: &Arc<Semaphore>, count: u32) -> OwnedSemaphorePermit {
    let taken = Arc::clone(from).acquire_many_owned(count).await;
    taken.expect("the semaphore is never closed")
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let Some(admission) = self.admission.upgrade() else { return };
        let mut peers = admission.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.connections -= 1;
        if let Some(peer) = peers.by_address.get_mut(&self.address) {
            peer.connections -= 1;
            // Calls still in execution keep the peer's budget alive by themselves.
            if peer.connections == 0 {
                peers.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Poll};

    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn admission(limits: Limits) -> Arc<Admission> {
        Arc::new(Admission::new(limits))
    }

    #[test]
    fn slots_are_capped_per_peer_and_in_all_and_come_back() {
        let limits =
            Limits { connections_max: 3, connections_per_peer_max: 2, ..Limits::default() };
        let admission = admission(limits);
        let first = admission.connect(PEER).unwrap();
        let _second = admission.connect("::ffff:192.0.2.1".parse().unwrap()).unwrap();
        assert_eq!(admission.connect(PEER).unwrap_err(), Full::Peer);
        let _third = admission.connect(OTHER).unwrap();
        assert_eq!(admission.connect(OTHER).unwrap_err(), Full::Server);
        assert!(admission.is_crowded());
        drop(first);
        admission.connect(PEER).unwrap();
    }

    #[tokio::test]
    async fn large_calls_wait_for_their_connections_bytes_and_small_ones_do_not() {
        let limits = Limits { bytes_per_connection_max: 100_000, ..Limits::default() };
        let slot = admission(limits).connect(PEER).unwrap();
        let (mut first, mut second, mut small) =
            (slot.call().await, slot.call().await, slot.call().await);
        slot.hold(&mut first, 60_000).await;
        slot.hold(&mut small, 1000).await;
        let mut waiting = pin!(slot.hold(&mut second, 60_000));
        let pending =
            std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending()));
        assert!(pending.await);
        drop(first);
        waiting.await;
    }

    #[tokio::test]
    async fn one_peers_connections_share_its_bytes_and_leave_the_others_theirs() {
        let limits = Limits { bytes_per_peer_max: 100_000, ..Limits::default() };
        let admission = admission(limits);
        let (a, b) = (admission.connect(PEER).unwrap(), admission.connect(PEER).unwrap());
        let other = admission.connect(OTHER).unwrap();
        let mut held = a.call().await;
        a.hold(&mut held, 60_000).await;
        let mut call = b.call().await;
        let mut waiting = pin!(b.hold(&mut call, 60_000));
        let pending =
            std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending()));
        assert!(pending.await);
        let mut call = other.call().await;
        other.hold(&mut call, 60_000).await;
    }
}
