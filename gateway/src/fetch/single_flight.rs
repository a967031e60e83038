//! One fetch per block, however many wait for it: for its bytes, or until they are in the cache.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{ids::Ino, object::ETag};

/// A block of a file as one version of its object has it: who knows of a newer version must not
/// wait for bytes of an older one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Block {
    pub(super) ino: Ino,
    /// Counts [`super::fetcher::BLOCK_BYTES`].
    pub(super) number: u64,
    pub(super) etag: Option<ETag>,
}

/// How far a block is.
#[derive(Clone, Debug)]
enum Stage<A, R> {
    OnItsWay,
    /// It has come, and is being put where it belongs.
    Come(A),
    Done(R),
}

type Flying<A, R> = Arc<Mutex<HashMap<Block, watch::Receiver<Stage<A, R>>>>>;

/// The blocks that are on their way. Bounded by the fetches under way.
#[derive(Debug)]
pub(super) struct SingleFlight<A, R> {
    flying: Flying<A, R>,
}

/// Where a caller waits for a block.
#[derive(Debug)]
pub(super) struct Waiting<A, R>(watch::Receiver<Stage<A, R>>);

/// The duty to fetch a block; dropping it without a word lets the next caller lead.
#[derive(Debug)]
pub(super) struct Lead<A, R> {
    flying: Flying<A, R>,
    block: Block,
    stage: watch::Sender<Stage<A, R>>,
}

impl<A, R> Default for SingleFlight<A, R> {
    fn default() -> Self {
        Self { flying: Arc::default() }
    }
}

impl<A: Clone, R: Clone> SingleFlight<A, R> {
    /// Joins the block's flight. Who gets a [`Lead`] must fetch it and say how it went.
    pub(super) fn join(&self, block: Block) -> (Waiting<A, R>, Option<Lead<A, R>>) {
        let mut flying = self.flying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = flying.get(&block) {
            return (Waiting(stage.clone()), None);
        }
        let (sender, receiver) = watch::channel(Stage::OnItsWay);
        flying.insert(block.clone(), receiver.clone());
        let lead = Lead { flying: Arc::clone(&self.flying), block, stage: sender };
        (Waiting(receiver), Some(lead))
    }
}

impl<A, R> Lead<A, R> {
    /// Tells all who wait that it has come; they may have it before it is where it belongs.
    pub(super) fn come(&self, what: A) {
        self.stage.send_replace(Stage::Come(what));
    }

    /// Tells all who wait.
    pub(super) fn done(self, result: R) {
        self.stage.send_replace(Stage::Done(result));
    }
}

impl<A, R> Drop for Lead<A, R> {
    fn drop(&mut self) {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.block);
    }
}

impl<A: Clone, R: Clone> Waiting<A, R> {
    /// Returns when it has come, or is not going to.
    pub(super) async fn landed(&mut self) {
        // A leader that has gone away is seen by what comes next.
        drop(self.0.wait_for(|stage| !matches!(stage, Stage::OnItsWay)).await);
    }

    /// What has come; `None` when it has not, or is where it belongs already: see [`Waiting::result`]. Does not wait, so
    /// that nobody keeps it while he waits for something else.
    pub(super) fn come(&self) -> Option<A> {
        match &*self.0.borrow() {
            Stage::Come(what) => Some(what.clone()),
            Stage::OnItsWay | Stage::Done(_) => None,
        }
    }

    /// The leader's result; `None` when it gave up without a word.
    pub(super) async fn result(mut self) -> Option<R> {
        match self.0.wait_for(|stage| matches!(stage, Stage::Done(_))).await.as_deref() {
            Ok(Stage::Done(result)) => Some(result.clone()),
            Ok(Stage::OnItsWay | Stage::Come(_)) | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn followers_get_the_leader_s_result_and_the_next_leads_again() {
        let flights = SingleFlight::<u8, u8>::default();
        let block = Block { ino: Ino(1), number: 0, etag: None };
        let (mut first, lead) = flights.join(block.clone());
        let (second, none) = flights.join(block.clone());
        assert!(none.is_none(), "the second follows");
        let lead = lead.expect("the first leads");
        assert_eq!(first.come(), None);
        lead.come(7);
        first.landed().await;
        assert_eq!(first.come(), Some(7));
        lead.done(5);
        assert_eq!(first.come(), None, "it is where it belongs");
        assert_eq!((first.result().await, second.result().await), (Some(5), Some(5)));
        let (mut waiting, lead) = flights.join(block);
        drop(lead.expect("a finished flight is over"));
        waiting.landed().await;
        assert_eq!(waiting.come(), None);
        assert_eq!(waiting.result().await, None, "a leader that gave up is not waited for");
    }
}
