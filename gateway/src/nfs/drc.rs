//! The duplicate request cache (RFC 1813 §4.5): a repeated call that must not be executed twice
//! gets the reply of the first, on whatever connection it comes; while the first is still being
//! executed, the repetition waits for it.
//!
//! Owns: which replies are remembered, for how long (by number, not by time: an entry leaves when
//! its peer, or all peers, have too many; those to WRITEs are counted by themselves, being many).
//! Must not know: what the calls do. In memory: over a
//! restart the catalog remembers which requests were done ([`ReplyKey::request`]), in the
//! transaction of each change, and what a share answers to those is made anew from what it has.
use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    hash::Hasher,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use siphasher::sip128::{Hasher128, SipHasher13};
use tokio::sync::OnceCell;

use super::rpc::{auth::Caller, call::Call, limits::Limits, reply::Reply};
use crate::vfs::RequestId;

/// How far into a peer's entries is looked for one whose reply is known, to forget it. Entries
/// before it are calls in execution, which are few.
const FORGET_SEARCH_MAX: usize = 256;

/// WRITEs are remembered in so much smaller a number: they need be only as long as a client may
/// still be repeating one, and those in execution are fewer than this.
const WRITES_FEWER: usize = 4;

/// Arguments up to here are hashed as they are, the rest by a checksum, which is as fast as memory: of
/// a WRITE of 1 MiB the processor has enough to do already.
const HASHED_BYTES_MAX: usize = 256;

/// What makes two calls the same call: not the connection or port, as clients repeat calls over
/// new connections, but the arguments and caller, as xids come round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyKey {
    peer: IpAddr,
    xid: u32,
    program: u32,
    version: u32,
    procedure: u32,
    content: u128,
}

impl ReplyKey {
    /// The key of `call`, made by `caller`.
    pub fn of(call: &Call, caller: &Caller) -> Self {
        // Not a defence: whoever makes two of his own calls collide harms himself.
        let mut hasher = SipHasher13::new();
        match caller {
            Caller::Anonymous => hasher.write(&[0]),
            Caller::Sys(who) => {
                hasher.write(&[1]);
                for id in [who.uid, who.gid].iter().chain(&who.groups) {
                    hasher.write(&id.to_be_bytes());
                }
                // Groups end where the arguments begin.
                hasher.write(&who.groups.len().to_be_bytes());
            }
        }
        let (start, rest) = call.args.rest().split_at(call.args.rest().len().min(HASHED_BYTES_MAX));
        hasher.write(start);
        if !rest.is_empty() {
            hasher.write(&rest.len().to_be_bytes());
            hasher.write(&crc_fast::checksum(CrcAlgorithm::Crc64Nvme, rest).to_be_bytes());
        }
        Self {
            peer: call.peer.ip().to_canonical(),
            xid: call.xid,
            program: call.program,
            version: call.version,
            procedure: call.procedure,
            content: hasher.finish128().as_u128(),
        }
    }

    /// The key in one number, the same in every run of the gateway.
    pub fn request(&self) -> RequestId {
        let mut hasher = SipHasher13::new();
        match self.peer {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        for number in [self.xid, self.program, self.version, self.procedure] {
            hasher.write(&number.to_be_bytes());
        }
        hasher.write(&self.content.to_be_bytes());
        RequestId(hasher.finish128().as_u128())
    }
}

type Slot = Arc<OnceCell<Bytes>>;

#[derive(Debug, Default)]
struct Slots {
    slots: HashMap<ReplyKey, Slot>,
    /// Keys of each peer, oldest first.
    by_peer: HashMap<IpAddr, VecDeque<ReplyKey>>,
}

#[derive(Debug)]
struct Table {
    slots: Mutex<Slots>,
    entries_max: usize,
    entries_per_peer_max: usize,
}

/// Remembered replies.
#[derive(Debug)]
pub struct ReplyCache {
    changes: Table,
    writes: Table,
}

impl ReplyCache {
    /// An empty cache.
    pub fn new(limits: &Limits) -> Self {
        let (all, per_peer) =
            (limits.remembered_replies_max, limits.remembered_replies_per_peer_max);
        let fewer = |entries: usize| entries / WRITES_FEWER;
        Self { changes: Table::new(all, per_peer), writes: Table::new(fewer(all), fewer(per_peer)) }
    }

    /// Executes a call once: `execute` is run unless a call with this key has been or is being
    /// executed, whose reply is given instead.
    ///
    /// If `execute` is dropped before it ends, a waiting repetition executes anew.
    pub async fn once(&self, key: ReplyKey, execute: impl Future<Output = Reply>) -> Reply {
        self.changes.once(key, execute).await
    }

    /// The same for a WRITE, whose reply is remembered apart from the others.
    pub async fn write_once(&self, key: ReplyKey, execute: impl Future<Output = Reply>) -> Reply {
        self.writes.once(key, execute).await
    }
}

impl Table {
    fn new(entries_max: usize, entries_per_peer_max: usize) -> Self {
        Self {
            slots: Mutex::default(),
            entries_max: entries_max.max(1),
            entries_per_peer_max: entries_per_peer_max.max(1),
        }
    }

    async fn once(&self, key: ReplyKey, execute: impl Future<Output = Reply>) -> Reply {
        let slot = self.slot(key);
        let reply = slot.get_or_init(|| async { Bytes::from(execute.await.sealed_head()) }).await;
        Reply::replay(reply)
    }

    fn slot(&self, key: ReplyKey) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.slots.get(&key) {
            return Arc::clone(slot);
        }
        if slots.by_peer.get(&key.peer).is_some_and(|own| own.len() >= self.entries_per_peer_max) {
            slots.forget_oldest(key.peer);
        }
        if slots.slots.len() >= self.entries_max {
            // Whoever has most gives way, so that no peer can make the others' replies forgotten.
            let most = slots.by_peer.iter().max_by_key(|(_, keys)| keys.len());
            if let Some(peer) = most.map(|(peer, _)| *peer) {
                slots.forget_oldest(peer);
            }
        }
        let slot = Slot::default();
        slots.slots.insert(key, Arc::clone(&slot));
        slots.by_peer.entry(key.peer).or_default().push_back(key);
        slot
    }
}

impl Slots {
    fn forget_oldest(&mut self, peer: IpAddr) {
        let Some(keys) = self.by_peer.get_mut(&peer) else { return };
        let done = |key: &ReplyKey| self.slots.get(key).is_none_or(|slot| slot.initialized());
        let oldest = keys.iter().take(FORGET_SEARCH_MAX).position(done).unwrap_or(0);
        if let Some(key) = keys.remove(oldest) {
            self.slots.remove(&key);
        }
        if keys.is_empty() {
            self.by_peer.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    fn key(peer: u8, xid: u32) -> ReplyKey {
        let peer = IpAddr::from([192, 0, 2, peer]);
        ReplyKey { peer, xid, program: 100_003, version: 3, procedure: 9, content: 0 }
    }

    fn cache(all: usize, per_peer: usize) -> ReplyCache {
        ReplyCache::new(&Limits {
            remembered_replies_max: all,
            remembered_replies_per_peer_max: per_peer,
            ..Limits::default()
        })
    }

    async fn run(cache: &ReplyCache, key: ReplyKey, counter: &AtomicU32) -> Vec<u8> {
        let execute = async {
            let mut reply = Reply::success(key.xid);
            reply.u32(counter.fetch_add(1, Ordering::SeqCst));
            reply
        };
        cache.once(key, execute).await.sealed_head()
    }

    #[tokio::test]
    async fn a_repeated_call_gets_the_first_reply() {
        let (cache, counter) = (cache(8, 8), AtomicU32::new(0));
        let first = run(&cache, key(1, 7), &counter).await;
        assert_eq!(run(&cache, key(1, 7), &counter).await, first);
        assert_eq!(counter.load(Ordering::SeqCst), 1);
        assert_ne!(run(&cache, key(2, 7), &counter).await, first);
    }

    #[tokio::test]
    async fn a_repetition_waits_for_the_call_in_execution() {
        let (cache, counter, go) = (cache(8, 8), AtomicU32::new(0), Notify::new());
        let slow = async {
            go.notified().await;
            counter.fetch_add(1, Ordering::SeqCst);
            Reply::success(7)
        };
        let repetition = run(&cache, key(1, 7), &counter);
        let release = async { go.notify_one() };
        let (first, second, ()) = tokio::join!(cache.once(key(1, 7), slow), repetition, release);
        assert_eq!(first.sealed_head(), second);
        assert_eq!(counter.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_busy_peer_does_not_push_out_another_peers_replies() {
        let (cache, counter) = (cache(8, 8), AtomicU32::new(0));
        let quiet = run(&cache, key(2, 1), &counter).await;
        for xid in 0..100 {
            run(&cache, key(1, xid), &counter).await;
        }
        assert_eq!(run(&cache, key(2, 1), &counter).await, quiet);
        let table = cache.changes.slots.lock().unwrap();
        assert_eq!(table.slots.len(), 8);
        assert_eq!(table.by_peer.values().map(VecDeque::len).sum::<usize>(), 8);
    }

    #[tokio::test]
    async fn writes_do_not_push_out_the_replies_to_changes() {
        let (cache, counter) = (cache(8, 8), AtomicU32::new(0));
        let change = run(&cache, key(1, 1), &counter).await;
        for xid in 0..100 {
            cache.write_once(key(1, xid), async { Reply::success(xid) }).await;
        }
        assert_eq!(run(&cache, key(1, 1), &counter).await, change);
    }

    #[tokio::test]
    async fn one_peer_keeps_its_newest_replies() {
        let (cache, counter) = (cache(100, 4), AtomicU32::new(0));
        for xid in 0..10 {
            run(&cache, key(1, xid), &counter).await;
        }
        run(&cache, key(1, 9), &counter).await;
        assert_eq!(counter.load(Ordering::SeqCst), 10);
        run(&cache, key(1, 0), &counter).await;
        assert_eq!(counter.load(Ordering::SeqCst), 11);
    }
}
