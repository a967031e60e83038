//! Every change of a store in order, each with a stamp of the test's own, so that another store can begin as this
//! one was at any stamp.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::Body;
use crate::config::{StartError, StoreConfig};
use crate::model::Change;
use crate::store::S3Store;

type Changes = Arc<Mutex<Vec<(u64, Change<Body>)>>>;

/// What a store became from the moment on at which recording began. Bodies are shared with the store.
#[derive(Clone, Default)]
pub struct History {
    changes: Changes,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("changes", &self.len()).finish()
    }
}

/// The end of a [`History`] that a store holds.
pub(crate) struct Recorder {
    changes: Changes,
    stamp: Box<dyn Fn() -> u64 + Send>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

fn lock(changes: &Changes) -> MutexGuard<'_, Vec<(u64, Change<Body>)>> {
    // Nothing is left half done under the lock.
    changes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// What led to the beginning is there at every stamp.
    pub(crate) fn begin(&self, changes: Vec<Change<Body>>) {
        lock(&self.changes).extend(changes.into_iter().map(|change| (0, change)));
    }

    /// Called while the change is decided and nobody has been told of it.
    pub(crate) fn note(&self, change: &Change<Body>) {
        let stamp = (self.stamp)();
        lock(&self.changes).push((stamp, change.clone()));
    }
}

impl History {
    /// Changes so far, those that led to the beginning included.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.changes).len()
    }

    /// Whether nothing has ever changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes with a stamp of at most `until`.
    #[must_use]
    pub fn len_at(&self, until: u64) -> usize {
        lock(&self.changes).iter().filter(|(stamp, _)| *stamp <= until).count()
    }

    /// Starts a store in memory as the recorded one was at `until`: with every change of at most that stamp.
    ///
    /// # Errors
    /// See [`StartError`].
    ///
    /// # Panics
    /// As [`S3Store::start_blocking`].
    pub fn start_blocking(&self, until: u64, config: StoreConfig) -> Result<S3Store, StartError> {
        let store = S3Store::start_blocking(StoreConfig { directory: None, ..config })?;
        let changes = lock(&self.changes).clone();
        store.replay(
            changes.into_iter().filter(|(stamp, _)| *stamp <= until).map(|(_, change)| change),
        );
        Ok(store)
    }

    pub(crate) fn recorder(&self, stamp: Box<dyn Fn() -> u64 + Send>) -> Recorder {
        Recorder { changes: Arc::clone(&self.changes), stamp }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn another_store_begins_as_the_first_one_was_at_a_stamp() {
        let first = S3Store::start_blocking(StoreConfig::default()).unwrap();
        first.put("bucket", "before", b"0");
        let clock = Arc::new(AtomicU64::new(5));
        let stamp = Arc::clone(&clock);
        let history = first.record(move || stamp.load(Ordering::SeqCst));
        first.put("bucket", "a", b"1");
        clock.store(7, Ordering::SeqCst);
        first.put("bucket", "a", b"2");
        first.delete("bucket", "before");
        let at = |until| history.start_blocking(until, StoreConfig::default()).unwrap();
        assert_eq!(at(4).keys("bucket"), ["before"]);
        let five = at(6);
        assert_eq!(five.keys("bucket"), ["a", "before"]);
        assert_eq!(five.object("bucket", "a").unwrap().body, b"1");
        let all = at(7);
        assert_eq!(all.keys("bucket"), ["a"]);
        assert_eq!(all.object("bucket", "a"), first.object("bucket", "a"));
        assert!(history.len_at(6) + 2 == history.len());
    }
}
