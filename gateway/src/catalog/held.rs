//! Files that wait for S3 and are being written again: held back in memory.
//!
//! Before the first byte of a clean file changes, the catalog durably knows it as dirty (I3). A dirty
//! one, a new file first of all, is that already: nothing needs to be on the disk before its next
//! byte, and only its upload must be kept away until what is written now is committed. After a crash
//! nothing is held, and what was committed is uploaded.
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::Connection;

use super::{Catalog, error::CatalogError, types::Inode};
use crate::{
    essential::{self, Step},
    ids::Ino,
};

/// Which inodes are held, and which have been handed out for upload: never both.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// With the number of holds.
    held: HashMap<Ino, u32>,
    claimed: HashSet<Ino>,
    /// Dirty files of which an upload was begun: something of their version may be in S3. It must not
    /// come to mean other bytes, so the next write gives them a new one, durably.
    attempted: HashSet<Ino>,
}

/// Keeps one inode's upload away until it is dropped.
#[derive(Debug)]
pub struct Hold {
    held: Held,
    ino: Ino,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the inode for an upload, unless it is held.
    pub(super) fn claim(&self, ino: Ino) -> bool {
        let mut state = self.lock();
        if state.held.contains_key(&ino) && !essential::is_left_out(Step::HoldCheck) {
            return false;
        }
        state.claimed.insert(ino);
        state.attempted.insert(ino);
        true
    }

    /// Whether somebody keeps the inode's upload away.
    pub(super) fn is_held(&self, ino: Ino) -> bool {
        self.lock().held.contains_key(&ino)
    }

    /// Notes that an upload of the inode begins although it is being written; `false` while it is held.
    pub(super) fn attempt(&self, ino: Ino) -> bool {
        let mut state = self.lock();
        if state.held.contains_key(&ino) {
            return false;
        }
        state.attempted.insert(ino);
        true
    }

    /// Gives all claims back for which `is_out` is not true. What they led to has been committed, and
    /// can be read, before this is called: `is_clean` says of which nothing is left to do.
    pub(super) fn keep_claims(&self, is_out: impl Fn(Ino) -> bool, is_clean: impl Fn(Ino) -> bool) {
        let state = &mut *self.lock();
        for ino in state.claimed.extract_if(|ino| !is_out(*ino)) {
            if is_clean(ino) {
                state.attempted.remove(&ino);
            }
        }
    }

    /// Notes the uploads that an earlier run has begun.
    pub(super) fn load(db: &Connection) -> Result<Self, CatalogError> {
        let mut query = db.prepare(
            "SELECT ino FROM journal WHERE kind = 0 AND ino IS NOT NULL
                 AND (sent_key IS NOT NULL OR upload_id IS NOT NULL)",
        )?;
        let attempted =
            query.query_map([], |row| Ok(Ino(row.get(0)?)))?.collect::<Result<_, _>>()?;
        let state = State { attempted, ..State::default() };
        Ok(Self(Arc::new(Mutex::new(state))))
    }
}

impl Catalog {
    /// Keeps the upload of `ino` away, if its bytes are durably dirty already and no upload of them was
    /// begun. `None`: call [`Catalog::begin_write`]. Needs no disk and does not wait.
    pub fn hold(&self, ino: Ino) -> Option<(Hold, Arc<Inode>)> {
        let held = &self.inner.held;
        let mut state = held.lock();
        if state.claimed.contains(&ino) || state.attempted.contains(&ino) {
            return None;
        }
        // Looked at under the lock: a job that had it before was given back after its end could be
        // read, and none can have it now.
        let row = self.inner.rows.get(ino)?;
        if !(row.dirty && row.content_dirty) || row.writing {
            return None;
        }
        *state.held.entry(ino).or_default() += 1;
        drop(state);
        Some((Hold { held: held.clone(), ino }, row))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.held.lock();
        if let Some(holds) = state.held.get_mut(&self.ino) {
            *holds -= 1;
            if *holds == 0 {
                state.held.remove(&self.ino);
            }
        }
    }
}
