//! Per-inode read-write locks, and the order in which everything here is locked.
//!
//! Order (rank), lowest first; a task that holds a lock takes only higher ones:
//! 1. parent directories, by ascending ino ([`InodeLocks::exclusive_many`] sorts);
//! 2. the inode itself (for `rename` and `remove` it is locked with the parents, in one sorted set);
//! 3. a fetch slot; 4. the cache's per-file state; 5. the catalog (never calls back).
//!
//! What the inode lock of a *file* means: shared = read or write bytes of the cache file; exclusive =
//! replace what the bytes mean (truncate, install fetched bytes, remove, evict, freeze for a single
//! PUT). Of a *directory*: shared = look up, create or remove one entry (the catalog decides who was
//! first); exclusive = change what it is or where, move entries.
//!
//! Owns no file data. Bounded: an entry lives only while somebody holds or waits for it.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::ids::Ino;

type Table = Arc<Mutex<HashMap<Ino, Arc<RwLock<()>>>>>;

/// The locks of all inodes. Cloning gives another handle to the same locks.
#[derive(Clone, Debug, Default)]
pub struct InodeLocks {
    table: Table,
}

/// Gives the table entry back when the last holder is gone.
#[derive(Debug)]
struct Entry {
    table: Table,
    ino: Ino,
}

/// A shared hold on one inode.
#[derive(Debug)]
pub struct SharedGuard {
    guard: Option<OwnedRwLockReadGuard<()>>,
    entry: Entry,
}

/// An exclusive hold on one inode.
#[derive(Debug)]
pub struct ExclusiveGuard {
    guard: Option<OwnedRwLockWriteGuard<()>>,
    entry: Entry,
}

impl InodeLocks {
    /// Waits for a shared hold. Cancel safe. Fair: a waiting exclusive taker goes first, so a task
    /// must not take the same inode twice.
    pub async fn shared(&self, ino: Ino) -> SharedGuard {
        let lock = self.lock_of(ino);
        // The entry comes first so that a cancelled wait still gives the table entry back.
        let entry = Entry { table: Arc::clone(&self.table), ino };
        let mut held = SharedGuard { guard: None, entry };
        held.guard = Some(lock.read_owned().await);
        held
    }

    /// Waits for an exclusive hold. Cancel safe.
    pub async fn exclusive(&self, ino: Ino) -> ExclusiveGuard {
        let lock = self.lock_of(ino);
        let entry = Entry { table: Arc::clone(&self.table), ino };
        let mut held = ExclusiveGuard { guard: None, entry };
        held.guard = Some(lock.write_owned().await);
        held
    }

    /// Waits for exclusive holds on all of `inos`, in ascending order, each once.
    pub async fn exclusive_many(&self, inos: &[Ino]) -> Vec<ExclusiveGuard> {
        let mut sorted = inos.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut held = Vec::with_capacity(sorted.len());
        for ino in sorted {
            held.push(self.exclusive(ino).await);
        }
        held
    }

    /// Waits for a shared hold on a directory and an exclusive one on an entry of it, in ascending
    /// order: several entries of one directory are changed at once.
    pub async fn entry(&self, dir: Ino, entry: Ino) -> (SharedGuard, ExclusiveGuard) {
        if dir < entry {
            let dir = self.shared(dir).await;
            (dir, self.exclusive(entry).await)
        } else {
            let entry = self.exclusive(entry).await;
            (self.shared(dir).await, entry)
        }
    }

    fn lock_of(&self, ino: Ino) -> Arc<RwLock<()>> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(table.entry(ino).or_default())
    }
}

impl Entry {
    fn release(&self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.get(&self.ino).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            table.remove(&self.ino);
        }
    }
}

impl Drop for SharedGuard {
    fn drop(&mut self) {
        self.guard = None;
        self.entry.release();
    }
}

impl Drop for ExclusiveGuard {
    fn drop(&mut self) {
        self.guard = None;
        self.entry.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_table_is_empty_when_nobody_holds_anything() {
        let locks = InodeLocks::default();
        let one = locks.shared(Ino(7)).await;
        let two = locks.shared(Ino(7)).await;
        assert_eq!(locks.table.lock().unwrap().len(), 1);
        drop((one, two));
        let many = locks.exclusive_many(&[Ino(3), Ino(1), Ino(3)]).await;
        assert_eq!(many.iter().map(|held| held.entry.ino.0).collect::<Vec<_>>(), [1, 3]);
        drop(many);
        assert!(locks.table.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn entries_of_a_directory_are_locked_side_by_side_and_in_ascending_order() {
        let locks = InodeLocks::default();
        let one = locks.entry(Ino(5), Ino(9)).await;
        let two = locks.entry(Ino(5), Ino(3)).await;
        let mut moved = Box::pin(locks.exclusive_many(&[Ino(3), Ino(5)]));
        assert!(futures_now(moved.as_mut()).await, "3 is held");
        drop(two);
        assert!(futures_now(moved.as_mut()).await, "5 is");
        // Whoever comes now waits for 3 before it takes 5.
        let mut late = Box::pin(locks.entry(Ino(5), Ino(3)));
        assert!(futures_now(late.as_mut()).await);
        drop(one);
        drop(moved.await);
        late.await;
    }

    #[tokio::test]
    async fn a_cancelled_wait_leaves_no_entry() {
        let locks = InodeLocks::default();
        let held = locks.exclusive(Ino(1)).await;
        let mut waiting = Box::pin(locks.exclusive(Ino(1)));
        assert!(futures_now(waiting.as_mut()).await);
        drop(waiting);
        drop(held);
        assert!(locks.table.lock().unwrap().is_empty());
    }

    /// Polls once; true when it is pending.
    async fn futures_now<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending()))
            .await
    }
}
