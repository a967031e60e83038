//! The store behind the protocol: the catalog under one lock, its journal, and where bodies go.
//!
//! Lock rank: the only lock taken here, and nothing is awaited under it. In directory mode one journal line is
//! written under it, so that the order of lines is the order of changes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::blob::{BlobHome, Body};
use crate::history::Recorder;
use crate::journal::{Journal, JournalError};
use crate::model::{Catalog, Change, Refused};

/// All state of a running store.
#[derive(Debug)]
pub(crate) struct Storage {
    state: Mutex<State>,
    pub(crate) home: BlobHome,
}

#[derive(Debug)]
struct State {
    catalog: Catalog<Body>,
    journal: Option<Journal>,
    recorder: Option<Recorder>,
    closed: bool,
}

/// What a decision may use beside the catalog.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The number of the change being decided.
    pub(crate) sequence: u64,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

/// Seconds since 1970 by the system's clock.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Storage {
    /// A store in memory, or the one kept in `directory`.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(crate) fn open(directory: Option<&std::path::Path>) -> Result<Self, JournalError> {
        let (state, home) = match directory {
            None => (
                State { catalog: Catalog::new(), journal: None, recorder: None, closed: false },
                BlobHome::Memory,
            ),
            Some(directory) => {
                let (journal, catalog, files) = Journal::open(directory)?;
                (
                    State { catalog, journal: Some(journal), recorder: None, closed: false },
                    BlobHome::Directory(files),
                )
            }
        };
        Ok(Self { state: Mutex::new(state), home })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock cannot leave a change half applied that matters more than going on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the directory: what comes later is refused, files stay, and another store may open it.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.journal = None;
        match &self.home {
            BlobHome::Memory => {}
            BlobHome::Directory(files) => files.close(),
        }
    }

    /// Has `recorder` told of every change from here on, and of what led here.
    pub(crate) fn record(&self, recorder: Recorder) {
        let mut state = self.lock();
        recorder.begin(state.catalog.snapshot());
        state.recorder = Some(recorder);
    }

    /// Makes changes that were decided elsewhere.
    pub(crate) fn replay(&self, changes: impl IntoIterator<Item = Change<Body>>) {
        let mut state = self.lock();
        changes.into_iter().for_each(|change| state.catalog.apply(change));
    }

    /// Reads the catalog.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Catalog<Body>) -> T) -> T {
        read(&self.lock().catalog)
    }

    /// Decides, journals and applies one change. Returns after the journal has it.
    ///
    /// # Errors
    /// The decision's, or `Internal` where the journal cannot be written; nothing is changed then.
    pub(crate) fn commit<T>(
        &self,
        decide: impl FnOnce(&Catalog<Body>, Moment) -> Result<(Option<Change<Body>>, T), Refused>,
    ) -> Result<T, Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Internal("the store is stopping".to_owned()));
        }
        let moment = Moment { sequence: state.catalog.next_sequence(), now: now() };
        let (change, reply) = decide(&state.catalog, moment)?;
        if let Some(change) = change {
            let State { catalog, journal, recorder, closed: _ } = &mut *state;
            if let Some(journal) = journal {
                journal.append(&change).map_err(|error| Refused::Internal(error.to_string()))?;
            }
            if let Some(recorder) = recorder {
                recorder.note(&change);
            }
            catalog.apply(change);
            if let Some(journal) = journal {
                journal.shorten(catalog).map_err(|error| Refused::Internal(error.to_string()))?;
            }
        }
        Ok(reply)
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.close();
    }
}
