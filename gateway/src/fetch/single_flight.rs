//! One fetch per block, however many wait for it.
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

type Flying<R> = Arc<Mutex<HashMap<Block, watch::Receiver<Option<R>>>>>;

/// The blocks that are on their way. Bounded by the fetches under way.
#[derive(Debug)]
pub(super) struct SingleFlight<R> {
    flying: Flying<R>,
}

/// Where a caller waits for a block.
#[derive(Debug)]
pub(super) struct Waiting<R>(watch::Receiver<Option<R>>);

/// The duty to fetch a block; dropping it without a word lets the next caller lead.
#[derive(Debug)]
pub(super) struct Lead<R> {
    flying: Flying<R>,
    block: Block,
    result: watch::Sender<Option<R>>,
}

impl<R> Default for SingleFlight<R> {
    fn default() -> Self {
        Self { flying: Arc::default() }
    }
}

impl<R: Clone> SingleFlight<R> {
    /// Joins the block's flight. Who gets a [`Lead`] must fetch it and say how it went.
    pub(super) fn join(&self, block: Block) -> (Waiting<R>, Option<Lead<R>>) {
        let mut flying = self.flying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = flying.get(&block) {
            return (Waiting(result.clone()), None);
        }
        let (sender, receiver) = watch::channel(None);
        flying.insert(block.clone(), receiver.clone());
        let lead = Lead { flying: Arc::clone(&self.flying), block, result: sender };
        (Waiting(receiver), Some(lead))
    }
}

impl<R> Lead<R> {
    /// Tells all who wait.
    pub(super) fn done(self, result: R) {
        self.result.send_replace(Some(result));
    }
}

impl<R> Drop for Lead<R> {
    fn drop(&mut self) {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.block);
    }
}

impl<R: Clone> Waiting<R> {
    /// The leader's result; `None` when it gave up without a word.
    pub(super) async fn result(mut self) -> Option<R> {
        match self.0.wait_for(Option::is_some).await {
            Ok(result) => result.clone(),
            Err(_gave_up) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn followers_get_the_leader_s_result_and_the_next_leads_again() {
        let flights = SingleFlight::default();
        let block = Block { ino: Ino(1), number: 0, etag: None };
        let (first, lead) = flights.join(block.clone());
        let (second, none) = flights.join(block.clone());
        assert!(none.is_none(), "the second follows");
        lead.expect("the first leads").done(5);
        assert_eq!((first.result().await, second.result().await), (Some(5), Some(5)));
        let (waiting, lead) = flights.join(block);
        drop(lead.expect("a finished flight is over"));
        assert_eq!(waiting.result().await, None, "a leader that gave up is not waited for");
    }
}
