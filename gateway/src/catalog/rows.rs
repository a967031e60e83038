//! Rows that were read or changed lately, in memory: most calls of clients need no SQLite.
//!
//! What is here is what the database has as committed. The writer's connection notes every row that
//! a transaction touches, by triggers, so that no path can forget one; after the commit, and before
//! anybody is told of it, those rows are replaced or forgotten. A reader that misses reads a
//! snapshot, and keeps what it found only if nobody changed it meanwhile.
//!
//! Bounded: two generations of rows; what was not asked for while the younger filled up is forgotten.
use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, functions::FunctionFlags};

use super::{error::CatalogError, inode, types::Inode};
use crate::{ids::Ino, ranges::RangeSet};

/// Rows of one generation: 8 MiB of them, about.
const GENERATION_ROWS_MAX: usize = 16 * 1024;
/// Rows that one transaction may touch and have replaced; others are forgotten.
const REPLACED_ROWS_MAX: usize = 1024;
/// Rows that one transaction may touch one by one; beyond it, everything is forgotten.
const TOUCHED_ROWS_MAX: usize = 16 * 1024;
/// Ranges of one row that are kept; a file in more pieces is looked up.
const RANGES_KEPT_MAX: usize = 128;
/// Changes remembered for readers that began before them.
const CHANGES_MAX: usize = 16 * 1024;

/// Every way in which a row of an inode, or what of its bytes is here, can change.
const TRIGGERS: &str = "
    CREATE TEMP TRIGGER inode_comes AFTER INSERT ON main.inode
    BEGIN SELECT touched(NEW.ino); END;
    CREATE TEMP TRIGGER inode_changes AFTER UPDATE ON main.inode
    BEGIN SELECT touched(OLD.ino), touched(NEW.ino); END;
    CREATE TEMP TRIGGER inode_goes AFTER DELETE ON main.inode
    BEGIN SELECT touched(OLD.ino); END;
    CREATE TEMP TRIGGER range_comes AFTER INSERT ON main.range
    BEGIN SELECT touched(NEW.ino); END;
    CREATE TEMP TRIGGER range_changes AFTER UPDATE ON main.range
    BEGIN SELECT touched(OLD.ino), touched(NEW.ino); END;
    CREATE TEMP TRIGGER range_goes AFTER DELETE ON main.range
    BEGIN SELECT touched(OLD.ino); END;
    CREATE TEMP TRIGGER sum_comes AFTER INSERT ON main.sum
    BEGIN SELECT touched(NEW.ino); END;
    CREATE TEMP TRIGGER sum_goes AFTER DELETE ON main.sum
    BEGIN SELECT touched(OLD.ino); END;
";

/// The inos that the transaction under way has touched.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched(Arc<Mutex<TouchedInos>>);

#[derive(Debug, Default)]
struct TouchedInos {
    inos: HashSet<Ino>,
    /// More than are told apart.
    all: bool,
}

impl Touched {
    /// Notes what is changed through `connection` from now on.
    pub(super) fn watch(connection: &Connection) -> Result<Self, CatalogError> {
        let touched = Self::default();
        let noted = touched.clone();
        connection.create_scalar_function(
            "touched",
            1,
            FunctionFlags::SQLITE_UTF8,
            move |call| {
                noted.note(Ino(call.get(0)?));
                Ok(false)
            },
        )?;
        connection.execute_batch(TRIGGERS)?;
        Ok(touched)
    }

    fn note(&self, ino: Ino) {
        let mut touched = self.lock();
        if touched.inos.len() >= TOUCHED_ROWS_MAX {
            touched.all = true;
        } else {
            touched.inos.insert(ino);
        }
    }

    fn take(&self) -> TouchedInos {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, TouchedInos> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a transaction that is about to be committed changes.
#[derive(Debug)]
pub(super) struct Changes {
    touched: TouchedInos,
    /// Rows as they will be.
    rows: Vec<Inode>,
}

impl Changes {
    /// Asks the connection that has the transaction open. Rows that cannot be read now are read by
    /// whoever needs them.
    pub(super) fn of(connection: &Connection, touched: &Touched) -> Self {
        let touched = touched.take();
        let replaced = if touched.all { 0 } else { REPLACED_ROWS_MAX };
        let found = touched.inos.iter().take(replaced);
        let rows = found.filter_map(|ino| inode::find(connection, *ino).ok().flatten()).collect();
        Self { touched, rows }
    }
}

/// One row, and which of its bytes are here where somebody asked for that.
#[derive(Clone, Debug)]
struct Known {
    row: Arc<Inode>,
    ranges: Option<Arc<RangeSet>>,
}

/// The rows in memory.
#[derive(Debug, Default)]
pub(super) struct Rows {
    known: Mutex<State>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct State {
    young: Generation,
    old: Generation,
    /// Commits so far.
    commits: u64,
    /// At which commit a row changed last. Complete for commits after `forgotten_until`.
    changed_at: HashMap<Ino, u64>,
    forgotten_until: u64,
}

#[derive(Debug, Default)]
struct Generation {
    rows: HashMap<Ino, Known>,
    /// By a hash of directory and name: where the entry is likely to be. Whether it is, its row says.
    names: HashMap<u64, Ino>,
}

/// A moment between two commits, for [`Rows::keep`] and [`Rows::changed_since`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since(u64);

impl Rows {
    /// The row of `ino`, if it is in memory.
    pub(super) fn get(&self, ino: Ino) -> Option<Arc<Inode>> {
        self.lock().find(ino).map(|known| Arc::clone(&known.row))
    }

    /// The row and its ranges, if both are in memory.
    pub(super) fn get_with_ranges(&self, ino: Ino) -> Option<(Arc<Inode>, Arc<RangeSet>)> {
        let mut state = self.lock();
        let known = state.find(ino)?;
        Some((Arc::clone(&known.row), Arc::clone(known.ranges.as_ref()?)))
    }

    /// The entry `name` of `dir`, if it is in memory. Nothing is known of names that are not there.
    pub(super) fn child(&self, dir: Ino, name: &str) -> Option<Arc<Inode>> {
        let at = self.place(dir, name);
        let mut state = self.lock();
        let ino = *state.young.names.get(&at).or_else(|| state.old.names.get(&at))?;
        let row = Arc::clone(&state.find(ino)?.row);
        if row.parent != dir || row.name != name || ino == dir {
            return None;
        }
        state.young.names.insert(at, ino);
        Some(row)
    }

    /// To be called before a snapshot is begun whose rows are to be kept.
    pub(super) fn since(&self) -> Since {
        Since(self.lock().commits)
    }

    /// Whether the row of `ino` may have changed.
    pub(super) fn changed_since(&self, since: Since, ino: Ino) -> bool {
        self.lock().changed_since(since, ino)
    }

    /// Keeps a row that a snapshot had, unless it may have changed since.
    pub(super) fn keep(&self, since: Since, row: &Arc<Inode>, ranges: Option<&Arc<RangeSet>>) {
        let at = self.place(row.parent, &row.name);
        let mut state = self.lock();
        if state.changed_since(since, row.ino) {
            return;
        }
        let ranges = ranges.filter(|ranges| ranges.len() <= RANGES_KEPT_MAX);
        state.insert(at, Known { row: Arc::clone(row), ranges: ranges.map(Arc::clone) });
    }

    /// The changes have been committed. Answers which inos they touch, or `None` for any.
    pub(super) fn committed(&self, changes: Changes) -> Option<HashSet<Ino>> {
        let rows: Vec<_> = changes
            .rows
            .into_iter()
            .map(|row| (self.place(row.parent, &row.name), Arc::new(row)))
            .collect();
        let mut state = self.lock();
        state.commits += 1;
        if changes.touched.all || state.changed_at.len() + changes.touched.inos.len() > CHANGES_MAX
        {
            state.changed_at.clear();
            state.forgotten_until = state.commits;
        }
        if changes.touched.all {
            state.forget_all();
            return None;
        }
        let at = state.commits;
        for ino in &changes.touched.inos {
            state.changed_at.insert(*ino, at);
            state.young.rows.remove(ino);
            state.old.rows.remove(ino);
        }
        for (place, row) in rows {
            state.insert(place, Known { row, ranges: None });
        }
        Some(changes.touched.inos)
    }

    /// Nobody knows what the database has: a commit has failed.
    pub(super) fn doubt_all(&self) {
        let mut state = self.lock();
        state.commits += 1;
        state.changed_at.clear();
        state.forgotten_until = state.commits;
        state.forget_all();
    }

    /// All rows in memory.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<(Arc<Inode>, Option<Arc<RangeSet>>)> {
        let state = self.lock();
        let known = state.young.rows.values().chain(state.old.rows.values());
        known.map(|known| (Arc::clone(&known.row), known.ranges.clone())).collect()
    }

    fn place(&self, dir: Ino, name: &str) -> u64 {
        self.hasher.hash_one((dir, name))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn changed_since(&self, since: Since, ino: Ino) -> bool {
        let changed = self.changed_at.get(&ino);
        since.0 < self.forgotten_until || changed.is_some_and(|changed| *changed > since.0)
    }

    /// The row, which is a young one from now on.
    fn find(&mut self, ino: Ino) -> Option<&Known> {
        if !self.young.rows.contains_key(&ino) {
            let known = self.old.rows.remove(&ino)?;
            self.make_room();
            self.young.rows.insert(ino, known);
        }
        self.young.rows.get(&ino)
    }

    fn insert(&mut self, place: u64, known: Known) {
        self.make_room();
        let ino = known.row.ino;
        self.old.rows.remove(&ino);
        self.young.names.insert(place, ino);
        self.young.rows.insert(ino, known);
    }

    fn make_room(&mut self) {
        let young = &self.young;
        if young.rows.len() >= GENERATION_ROWS_MAX || young.names.len() >= GENERATION_ROWS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
    }

    fn forget_all(&mut self) {
        self.young = Generation::default();
        self.old = Generation::default();
    }
}

#[cfg(test)]
mod tests;
