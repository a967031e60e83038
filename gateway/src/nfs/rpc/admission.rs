//! What connections and peers may hold: slots for connections, places for calls, budgets of bytes
//! for large calls and replies.
//!
//! When all slots are taken, an idle connection gives way to a new one of a peer that has fewer: NFS
//! clients connect again by themselves when they have something to say.
//!
//! Places, then bytes, are taken from three semaphores, always in the order connection, peer,
//! all, and a call takes bytes once: no two calls wait for each other. Calls wait for nothing
//! else while they wait here; their connection is not read meanwhile.
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::limits::{Limits, UNBUDGETED_BYTES};

/// The slots and budgets of a server.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    all: Budget,
    peers: Mutex<Peers>,
}

#[derive(Debug, Default)]
struct Peers {
    connections: usize,
    /// Peers with connections, or with calls of connections that are gone.
    by_address: HashMap<IpAddr, Peer>,
    /// Connections from which nothing comes, the longest idle first.
    idle: BTreeMap<u64, Idle>,
    next_idle: u64,
}

#[derive(Debug)]
struct Idle {
    address: IpAddr,
    calls: Arc<Semaphore>,
    leave: CancellationToken,
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

impl Peer {
    fn is_unused(&self) -> bool {
        self.connections == 0 && !self.budget.is_used()
    }
}

impl Budget {
    fn new(calls: usize, bytes: usize) -> Self {
        Self { calls: Arc::new(Semaphore::new(calls)), bytes: Arc::new(Semaphore::new(bytes)) }
    }

    /// Whether a connection or a call has a part in it.
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.calls) > 1 || Arc::strong_count(&self.bytes) > 1
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
    admission: Arc<Admission>,
    address: IpAddr,
    /// The connection's own, its peer's, and all.
    budgets: [Budget; 3],
    /// Cancelled when the slot has been given to another connection.
    leave: CancellationToken,
}

/// While it is held, its connection may be asked to leave.
#[derive(Debug)]
pub struct IdleGuard<'a> {
    slot: &'a ConnectionSlot,
    number: u64,
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

    /// Connections that have a slot.
    pub fn connections(&self) -> usize {
        self.peers().connections
    }

    /// Takes a slot for a connection from `address`, if need be an idle connection's.
    ///
    /// # Errors
    /// [`Full`]; the connection should be closed.
    pub fn connect(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionSlot, Full> {
        let (address, limits) = (address.to_canonical(), &self.limits);
        let mut peers = self.peers();
        if peers.of(address) >= limits.connections_per_peer_max {
            return Err(Full::Peer);
        }
        if peers.connections >= limits.connections_max {
            peers.make_way(address, limits)?;
        }
        if peers.by_address.len() >= limits.connections_max {
            peers.by_address.retain(|_, peer| !peer.is_unused());
        }
        peers.connections += 1;
        let peer = peers.by_address.entry(address).or_insert_with(|| Peer {
            connections: 0,
            budget: Budget::new(limits.calls_per_peer_max, limits.bytes_per_peer_max),
        });
        peer.connections += 1;
        let own = Budget::new(limits.calls_per_connection_max, limits.bytes_per_connection_max);
        let budgets = [own, peer.budget.clone(), self.all.clone()];
        let (admission, leave) = (Arc::clone(self), CancellationToken::new());
        Ok(ConnectionSlot { admission, address, budgets, leave })
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peers {
    fn of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).map_or(0, |peer| peer.connections)
    }

    /// Frees a slot: of the idle connections of the peer that has most, the longest idle.
    fn make_way(&mut self, newcomer: IpAddr, limits: &Limits) -> Result<(), Full> {
        let free = |idle: &Idle| idle.calls.available_permits() == limits.calls_per_connection_max;
        let candidates = self.idle.iter().filter(|(_, idle)| free(idle));
        let (number, held) = candidates
            .map(|(number, idle)| (*number, self.of(idle.address)))
            .max_by_key(|(number, held)| (*held, Reverse(*number)))
            .filter(|(_, held)| *held > self.of(newcomer))
            .ok_or(Full::Server)?;
        tracing::debug!(%newcomer, held, "an idle connection gives way");
        if let Some(idle) = self.idle.remove(&number) {
            self.gone(idle.address);
            idle.leave.cancel();
        }
        Ok(())
    }

    fn gone(&mut self, address: IpAddr) {
        self.connections -= 1;
        if let Some(peer) = self.by_address.get_mut(&address) {
            peer.connections -= 1;
        }
    }

    /// Forgets a peer that has nothing. While calls of it are in execution it has that much less, or
    /// it would get a whole budget with every connection.
    fn forget_unused(&mut self, address: IpAddr) {
        if self.by_address.get(&address).is_some_and(Peer::is_unused) {
            self.by_address.remove(&address);
        }
    }
}

impl ConnectionSlot {
    /// Nothing comes from the connection: until the guard is dropped, its slot may be given away. Ask
    /// [`ConnectionSlot::is_given_away`] afterwards.
    pub fn idle(&self) -> IdleGuard<'_> {
        let mut peers = self.admission.peers();
        let number = peers.next_idle;
        peers.next_idle += 1;
        let calls = Arc::clone(&self.budgets[0].calls);
        let idle = Idle { address: self.address, calls, leave: self.leave.clone() };
        peers.idle.insert(number, idle);
        IdleGuard { slot: self, number }
    }

    /// Waits until the slot has been given away.
    pub async fn given_away(&self) {
        self.leave.cancelled().await;
    }

    /// Whether another connection has the slot: close this one.
    pub fn is_given_away(&self) -> bool {
        self.leave.is_cancelled()
    }

    /// Waits for a place for one more call.
    pub async fn call(&self) -> CallSlot {
        let [own, peer, all] = &self.budgets;
        let call =
            [take(&own.calls, 1).await, take(&peer.calls, 1).await, take(&all.calls, 1).await];
        CallSlot { _call: call, bytes: None }
    }

    /// Calls of this connection that have a place.
    pub fn calls(&self) -> usize {
        let free = self.budgets[0].calls.available_permits();
        self.admission.limits.calls_per_connection_max.saturating_sub(free)
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
        // Its own part in the peer's budget, so that what is left is that of its calls.
        let [own, ..] = &self.budgets;
        self.budgets = [own.clone(), own.clone(), own.clone()];
        let mut peers = self.admission.peers();
        if !self.leave.is_cancelled() {
            peers.gone(self.address);
        }
        peers.forget_unused(self.address);
    }
}

impl Drop for IdleGuard<'_> {
    fn drop(&mut self) {
        self.slot.admission.peers().idle.remove(&self.number);
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
        drop(first);
        admission.connect(PEER).unwrap();
    }

    #[tokio::test]
    async fn the_longest_idle_connection_of_the_greediest_peer_gives_way() {
        let limits = Limits { connections_max: 4, ..Limits::default() };
        let admission = admission(limits);
        let connect = |address| admission.connect(address).unwrap();
        let (modest, busy) = (connect(OTHER), connect(PEER));
        let (longest, shorter) = (connect(PEER), connect(PEER));
        let (_modest, _busy) = (modest.idle(), busy.idle());
        let call = busy.call().await;
        let (guard, _shorter) = (longest.idle(), shorter.idle());
        let third = "192.0.2.3".parse().unwrap();
        let newcomer = connect(third);
        assert!(longest.is_given_away());
        assert!(![&modest, &busy, &shorter].iter().any(|slot| slot.is_given_away()));
        drop(guard);
        drop(longest);
        assert_eq!(admission.connect(PEER).unwrap_err(), Full::Server, "it has as many");
        drop(newcomer);
        connect(third);
        drop(call);
    }

    #[tokio::test]
    async fn a_peer_that_connects_anew_gets_no_second_budget_for_the_calls_it_left_behind() {
        let limits = Limits { calls_per_peer_max: 2, connections_max: 2, ..Limits::default() };
        let admission = admission(limits);
        let slot = admission.connect(PEER).unwrap();
        let (first, second) = (slot.call().await, slot.call().await);
        drop(slot);
        for other in 10..20 {
            admission.connect(IpAddr::from([192, 0, 2, other])).unwrap();
        }
        let slot = admission.connect(PEER).unwrap();
        {
            let mut waiting = pin!(slot.call());
            let pending =
                std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending()));
            assert!(pending.await);
            drop((first, second));
            waiting.await;
        }
        drop(slot);
        assert!(admission.peers().by_address.is_empty());
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
