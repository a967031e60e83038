//! Short work that may block for a moment: a look into the database, a small write to a cache file.
//!
//! Done where it is asked for if only the one who asks would wait, which its thread says
//! ([`here`]); else on the blocking pool. To hand it over wakes two threads, which costs more than the
//! work. What waits for a disk as a matter of course is done here only where nobody is kept waiting by that
//! ([`Patience::Sync`]).
use std::{cell::Cell, future::poll_fn, pin::pin};

use tokio::{
    runtime::Handle,
    sync::Semaphore,
    task::{JoinError, spawn_blocking},
};

/// What a thread may wait for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Patience {
    /// Nothing: it has others to serve.
    Nothing,
    /// What is done in a moment, as a rule.
    Moment,
    /// A sync of the disk, too: whoever it serves is waiting for that and has nothing else to ask.
    Sync,
}

/// Works of [`together`] at once. Few: most of their time they are on a processor, or wait for one disk.
const TOGETHER_MAX: usize = 64;

static TURNS: Semaphore = Semaphore::const_new(TOGETHER_MAX);

thread_local! {
    static HERE: Cell<Patience> = const { Cell::new(Patience::Nothing) };
}

/// Puts the thread's word back, also after a panic.
struct Restored(Patience);

impl Drop for Restored {
    fn drop(&mut self) {
        HERE.set(self.0);
    }
}

/// Polls, and says what this thread may wait for meanwhile.
pub fn here<T>(patience: Patience, poll: impl FnOnce() -> T) -> T {
    let _restored = Restored(HERE.replace(patience));
    poll()
}

/// Whether this thread may wait for a sync of the disk.
pub fn may_sync() -> bool {
    HERE.get() >= Patience::Sync
}

/// Runs `work` on this thread, if it may block, or on the blocking pool.
///
/// # Errors
/// When `work` panicked, or the runtime is stopping.
pub async fn short<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if HERE.get() >= Patience::Moment { Ok(work()) } else { spawn_blocking(work).await }
}

/// The same for work that waits for the disk as a matter of course.
///
/// # Errors
/// As [`short`].
pub async fn long<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if may_sync() { Ok(work()) } else { spawn_blocking(work).await }
}

/// Does all of `work` on one thread of the blocking pool, where it may wait for the disk: it is handed over once,
/// however often it looks and reads. Where it waits for somebody who needs such a thread to go on, as a look at the
/// catalog waits for the looks before it, there must be more threads than may be here at once: as many go at a time as
/// [`TOGETHER_MAX`] says, of the runtime's 512.
///
/// # Errors
/// As [`short`].
pub async fn together<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinError> {
    let _turn = TURNS.acquire().await.expect("it is never closed");
    let runtime = Handle::current();
    let here = move || {
        let mut work = pin!(work);
        runtime.block_on(poll_fn(|cx| here(Patience::Sync, || work.as_mut().poll(cx))))
    };
    spawn_blocking(here).await
}

#[cfg(test)]
mod tests {
    use std::{
        task::Poll,
        thread::{self, ThreadId},
    };

    use super::*;

    async fn where_done(patience: Patience) -> ThreadId {
        let mut work = pin!(short(|| thread::current().id()));
        let first = poll_fn(|cx| Poll::Ready(here(patience, || work.as_mut().poll(cx)))).await;
        match first {
            Poll::Ready(done) => done.unwrap(),
            Poll::Pending => work.await.unwrap(),
        }
    }

    #[tokio::test]
    async fn what_is_done_together_is_done_on_one_thread() {
        let threads = together(async {
            let own = thread::current().id();
            let after = long(|| thread::current().id()).await.unwrap();
            [own, after, short(|| thread::current().id()).await.unwrap()]
        });
        let threads = threads.await.unwrap();
        assert_ne!(threads[0], thread::current().id());
        assert_eq!(threads, [threads[0]; 3]);
    }

    #[tokio::test]
    async fn work_is_done_here_only_where_that_was_said() {
        let own = thread::current().id();
        assert_eq!(where_done(Patience::Moment).await, own);
        assert_eq!(where_done(Patience::Sync).await, own);
        assert_ne!(where_done(Patience::Nothing).await, own);
        assert_ne!(short(|| thread::current().id()).await.unwrap(), own);
        assert!(here(Patience::Sync, may_sync));
        assert!(!here(Patience::Moment, may_sync));
        let caught = std::panic::catch_unwind(|| here(Patience::Sync, || panic!("within")));
        assert!(caught.is_err() && !may_sync());
    }
}
