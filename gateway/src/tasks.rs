//! Named background tasks: every spawned task has a name, an owner and a way to stop.
use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tasks of one gateway. Cloning gives another handle to the same set.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    died: CancellationToken,
}

impl Tasks {
    /// The token that asks every task to end.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Resolves when a critical task has ended although nobody asked it to.
    pub async fn critical_task_died(&self) {
        self.died.cancelled().await;
    }

    /// Runs `task`. It must end soon after [`Tasks::stopping`] is cancelled.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tracing::trace!(task = name, "spawned");
        self.tracker.spawn(task)
    }

    /// Runs a task without which the gateway must not go on: if it ends before the stop, or
    /// panics, [`Tasks::critical_task_died`] resolves and the process ends, to be started again.
    pub fn spawn_critical<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, died) = (self.stop.clone(), self.died.clone());
        let inner = self.tracker.spawn(task);
        self.tracker.spawn(async move {
            let ended = inner.await;
            if !stop.is_cancelled() {
                let how = if ended.is_err() { "panicked" } else { "ended" };
                tracing::error!(task = name, "the task {name} {how}; the gateway cannot go on");
                died.cancel();
            }
        });
    }

    /// Asks every task to end and waits until all have.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
