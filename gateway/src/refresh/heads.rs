//! Questions for attributes (HEAD): each object is asked for once at a time, however many want to know,
//! and what a reader of a directory is going to want is asked for ahead, in the order of the listing.
//!
//! Bounded: so many ahead at the same time, and so many that wait for it. What does not fit is asked
//! for when somebody wants it.
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::watch, task::JoinSet};

use super::{RefreshError, Refresher};
use crate::{ids::Ino, object::ETag};

/// Questions ahead at the same time, of one share: at 20 ms each, 3,200 a second.
const AHEAD_AT_ONCE: usize = 64;
/// Inodes that wait to be asked for ahead, of one share: several pages of a listing's names.
const AHEAD_MAX: usize = 4096;
/// Failures in a row after which what waits is forgotten: S3 does not answer, or not to us.
const FAILURES_MAX: usize = 8;

/// An object as the catalog knows it: an answer for an earlier one is not waited for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) ino: Ino,
    pub(super) etag: Option<ETag>,
}

type Outcome = Result<(), RefreshError>;

/// The questions of one share. Cloning gives another handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    asking: HashMap<Asked, watch::Receiver<Option<Outcome>>>,
    ahead: VecDeque<Ino>,
    /// The same as `ahead`.
    waits: HashSet<Ino>,
    /// Whether somebody asks ahead.
    is_worked: bool,
}

/// The duty to ask; dropping it without a word lets the next caller ask.
#[derive(Debug)]
pub(super) struct Lead {
    heads: Heads,
    asked: Asked,
    outcome: watch::Sender<Option<Outcome>>,
}

/// Where a caller waits for an answer.
#[derive(Debug)]
pub(super) struct Waiting(watch::Receiver<Option<Outcome>>);

impl Heads {
    /// The question that is under way, or a new one and the duty to ask it.
    pub(super) fn join(&self, asked: Asked) -> (Waiting, Option<Lead>) {
        let mut table = self.lock();
        if let Some(outcome) = table.asking.get(&asked) {
            return (Waiting(outcome.clone()), None);
        }
        let (outcome, waiting) = watch::channel(None);
        table.asking.insert(asked.clone(), waiting.clone());
        (Waiting(waiting), Some(Lead { heads: self.clone(), asked, outcome }))
    }

    /// Notes what is to be asked ahead, as far as there is room. `true` when somebody must begin.
    fn add(&self, inos: Vec<Ino>) -> bool {
        let mut table = self.lock();
        for ino in inos {
            if table.ahead.len() >= AHEAD_MAX {
                break;
            }
            if table.waits.insert(ino) {
                table.ahead.push_back(ino);
            }
        }
        let begins = !table.ahead.is_empty() && !table.is_worked;
        table.is_worked |= begins;
        begins
    }

    /// The next to be asked for ahead.
    fn next(&self) -> Option<Ino> {
        let mut table = self.lock();
        let next = table.ahead.pop_front()?;
        table.waits.remove(&next);
        Some(next)
    }

    /// `true` when nothing is left to be asked ahead, and whoever did so ends.
    fn ends(&self) -> bool {
        let mut table = self.lock();
        table.is_worked = !table.ahead.is_empty();
        !table.is_worked
    }

    fn forget_ahead(&self) {
        let mut table = self.lock();
        table.ahead.clear();
        table.waits.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// The answer has come.
    pub(super) fn end(self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.heads.lock().asking.remove(&self.asked);
    }
}

impl Waiting {
    /// Waits for the answer.
    pub(super) async fn ended(mut self) -> Outcome {
        match self.0.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err(RefreshError::Interrupted),
        }
    }
}

impl Refresher {
    /// Asks for the attributes of `inos` in the background, in this order, as far as there is room. Does
    /// not wait.
    pub fn ahead(&self, inos: Vec<Ino>) {
        if !self.inner.heads.add(inos) {
            return;
        }
        let (refresher, stop) = (self.clone(), self.inner.tasks.stopping().clone());
        self.inner.tasks.spawn("ask for attributes ahead", async move {
            tokio::select! {
                () = refresher.ask_ahead() => {}
                () = stop.cancelled() => {}
            }
        });
    }

    async fn ask_ahead(&self) {
        let heads = &self.inner.heads;
        let (mut asking, mut failures) = (JoinSet::new(), 0);
        loop {
            while asking.len() < AHEAD_AT_ONCE
                && let Some(ino) = heads.next()
            {
                let refresher = self.clone();
                asking.spawn(async move { refresher.load_attr(ino).await });
            }
            match asking.join_next().await {
                Some(Ok(Ok(()))) => failures = 0,
                // It went before its turn came.
                Some(Ok(Err(error))) if error.is_gone() => {}
                Some(Ok(Err(error))) => {
                    tracing::debug!(%error, "attributes were asked for ahead in vain");
                    failures += 1;
                }
                Some(Err(error)) => {
                    tracing::error!("a question for attributes died: {error}");
                    failures += 1;
                }
                None if heads.ends() => return,
                None => {}
            }
            if failures >= FAILURES_MAX {
                heads.forget_ahead();
                failures = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(etag: &str) -> Asked {
        Asked { ino: Ino(16), etag: Some(ETag::new(etag)) }
    }

    #[tokio::test]
    async fn one_asks_for_all_and_another_object_is_another_question() {
        let heads = Heads::default();
        let (first, lead) = heads.join(asked("a"));
        let (second, none) = heads.join(asked("a"));
        assert!(none.is_none());
        let (_, other) = heads.join(asked("b"));
        assert!(other.is_some());
        lead.unwrap().end(Ok(()));
        assert!(first.ended().await.is_ok() && second.ended().await.is_ok());
        let (given_up, lead) = heads.join(asked("a"));
        drop(lead.unwrap());
        assert!(matches!(given_up.ended().await, Err(RefreshError::Interrupted)));
        drop(other);
        assert!(heads.lock().asking.is_empty());
    }

    #[test]
    fn what_waits_is_in_order_once_and_bounded() {
        let heads = Heads::default();
        assert!(heads.add(vec![Ino(20), Ino(21), Ino(20)]), "somebody must begin");
        assert!(!heads.add(vec![Ino(21), Ino(22)]), "somebody has");
        let order: Vec<_> = std::iter::from_fn(|| heads.next()).collect();
        assert_eq!(order, [Ino(20), Ino(21), Ino(22)]);
        assert!(heads.ends());
        assert!(heads.add((0..2 * AHEAD_MAX as u64).map(Ino).collect()));
        assert_eq!(heads.lock().ahead.len(), AHEAD_MAX);
        heads.forget_ahead();
        assert!(heads.ends() && heads.lock().waits.is_empty());
    }
}
