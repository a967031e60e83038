//! Versions that tell one course of events from another (I10).
//!
//! A cache disk may go back to a snapshot. What was written and uploaded after that is forgotten here, and is in the
//! bucket all the same, under tags of inode numbers and versions that are given out again. So the first version that
//! a start gives an inode is above all that any earlier start may have given: it has the time of the start in it.
//! A clock that was set back makes it the next number, as if there were no epochs.
use std::{
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, functions::FunctionFlags};

use super::error::CatalogError;
use crate::essential::{self, Step};

/// Bits below the microseconds: two machines may go on from one snapshot at the same time.
const RANDOM_BITS: u32 = 8;

/// The versions of one start. The default gives the next number always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch(u64);

impl Epoch {
    /// The one that begins now; from here on SQL on `connection` has it as `next_version`.
    pub(super) fn begin(connection: &Connection) -> Result<Self, CatalogError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let random = getrandom::u32().unwrap_or_default() >> (u32::BITS - RANDOM_BITS);
        // Far below what SQLite can hold until the year 40,000.
        let first = (micros.min(u64::MAX >> (RANDOM_BITS + 1)) << RANDOM_BITS) | u64::from(random);
        let epoch = Self(first);
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        connection.create_scalar_function("next_version", 1, flags, move |call| {
            Ok(epoch.next(call.get(0)?))
        })?;
        Ok(epoch)
    }

    /// The version that comes after `version`.
    pub(super) fn next(self, version: u64) -> u64 {
        version.saturating_add(1).max(self.0)
    }

    /// The versions that no start before this one has given to an inode, if it was at version `known` when this one
    /// began, and that this one does not give either: whoever has them knows another course of events.
    pub(super) fn foreign(self, known: u64) -> Range<u64> {
        if essential::is_left_out(Step::EpochCheck) {
            return 0..0;
        }
        known.saturating_add(1)..self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_start_gives_versions_that_no_other_can_have_given() {
        let db = Connection::open_in_memory().unwrap();
        let (first, second) = (Epoch::begin(&db).unwrap(), Epoch::begin(&db).unwrap());
        let next: u64 = db.query_row("SELECT next_version(7)", [], |row| row.get(0)).unwrap();
        assert_eq!(next, second.next(7));
        let mut version = 7;
        for _ in 0..3 {
            version = first.next(version);
        }
        assert_eq!(version, first.0 + 2);
        // After the snapshot, in the other course of events.
        let foreign = second.foreign(first.0);
        assert!(foreign.contains(&version) || second.0 <= version, "{first:?} {second:?}");
        assert!(!foreign.contains(&first.0) && !foreign.contains(&second.next(first.0)));
        assert_eq!(Epoch::default().next(7), 8);
        assert!(Epoch::default().foreign(7).is_empty());
    }
}
