//! Group `fdatasync`: callers of one file share syncs, and none is answered by a sync that began
//! before its own writes were done.
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::oneshot;

use super::disk::DiskFile;
use crate::essential::{self, Step};

/// The syncs of one file.
#[derive(Debug, Default)]
pub(super) struct SyncQueue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    /// Answered by the next sync, which has not begun.
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
}

impl SyncQueue {
    /// Returns after a sync that began after this call. Cancel safe: a sync under way goes on. `failed`
    /// is called for a sync that fails, before the next one begins.
    pub(super) async fn sync(
        self: &Arc<Self>,
        file: Arc<dyn DiskFile>,
        failed: impl Fn() + Send + 'static,
    ) -> io::Result<()> {
        let (answer, done) = oneshot::channel();
        let lead = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.waiting.push(answer);
            !std::mem::replace(&mut state.running, true)
        };
        if lead {
            let queue = Arc::clone(self);
            tokio::task::spawn_blocking(move || queue.run(file.as_ref(), &failed));
        }
        match done.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(io::Error::other("the sync was given up: the gateway is stopping")),
        }
    }

    /// Syncs until nobody waits.
    fn run(&self, file: &dyn DiskFile, failed: &dyn Fn()) {
        loop {
            let group = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.waiting.is_empty() {
                    state.running = false;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let result = match essential::is_left_out(Step::CacheFileSync) {
                true => Ok(()),
                false => file.sync_data().map_err(|error| error.to_string()),
            };
            if result.is_err() {
                failed();
            }
            for waiter in group {
                // A caller that has gone away needs no answer.
                drop(waiter.send(result.clone()));
            }
        }
    }
}
