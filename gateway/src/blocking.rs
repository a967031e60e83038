//! Short work that may block for a moment: a look into the database, a small write to a cache file.
//!
//! Done where it is asked for if only the one who asks would wait, which its thread says
//! ([`here`]); else on the blocking pool. To hand it over wakes two threads, which costs more than the
//! work. What waits for a disk as a matter of course (syncs, reads of what is not in memory, large
//! writes) does not belong here.
use std::cell::Cell;

use tokio::task::{JoinError, spawn_blocking};

thread_local! {
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// Puts the thread's word back, also after a panic.
struct Restored(bool);

impl Drop for Restored {
    fn drop(&mut self) {
        HERE.set(self.0);
    }
}

/// Polls, and says whether short blocking work may be done on this thread meanwhile.
pub fn here<T>(may_block: bool, poll: impl FnOnce() -> T) -> T {
    let _restored = Restored(HERE.replace(may_block));
    poll()
}

/// Runs `work` on this thread, if it may block, or on the blocking pool.
///
/// # Errors
/// When `work` panicked, or the runtime is stopping.
pub async fn short<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if HERE.get() { Ok(work()) } else { spawn_blocking(work).await }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        pin::pin,
        task::Poll,
        thread::{self, ThreadId},
    };

    use super::*;

    async fn where_done(may_block: bool) -> ThreadId {
        let mut work = pin!(short(|| thread::current().id()));
        let first = poll_fn(|cx| Poll::Ready(here(may_block, || work.as_mut().poll(cx)))).await;
        match first {
            Poll::Ready(done) => done.unwrap(),
            Poll::Pending => work.await.unwrap(),
        }
    }

    #[tokio::test]
    async fn work_is_done_here_only_where_that_was_said() {
        let own = thread::current().id();
        assert_eq!(where_done(true).await, own);
        assert_ne!(where_done(false).await, own);
        assert_ne!(short(|| thread::current().id()).await.unwrap(), own);
        let caught = std::panic::catch_unwind(|| here(true, || panic!("within")));
        assert!(caught.is_err() && !HERE.get());
    }
}
