//! Versions that tell one course of events from another (I10).
//!
//! A cache disk may go back to a snapshot. What was written and uploaded after that is forgotten here, and is in the
//! bucket all the same, under tags of inode numbers and versions that are given out again. So the first version that
//! a start gives an inode is above all that any earlier start may have given: it has the time of the start in it.
//! A clock that was set back makes it the next number, as if there were no epochs.
use std::ops::Range;

use rusqlite::{Connection, functions::FunctionFlags};

use super::error::CatalogError;
use crate::{
    clock::{Clock, SystemClock},
    essential::{self, Step},
};

/// Bits below the microseconds: two machines may go on from one snapshot at the same time.
const RANDOM_BITS: u32 = 8;

/// The versions of one start. The default gives the next number always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch(u64);

impl Epoch {
    /// The one that begins now; from here on SQL on `connection` has it as `next_version`.
    pub(super) fn begin(connection: &Connection) -> Result<Self, CatalogError> {
        let micros = u64::try_from(SystemClock.now().as_nanos() / 1000).unwrap_or_default();
        let random = getrandom::u32().unwrap_or_default() >> (u32::BITS - RANDOM_BITS);
        // A moment has at most 2^63 nanoseconds, so this is below what SQLite can hold.
        let first = (micros << RANDOM_BITS) | u64::from(random);
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
}

/// The versions that no start of this course of events has given to an inode while its upload was journalled, as the
/// journal lists them: whoever has them knows another course. All of them where the list cannot be read.
pub(super) fn gaps(listed: Option<&str>) -> Vec<Range<u64>> {
    let gap = |text: &str| {
        let (from, to) = text.split_once('-')?;
        Some(from.parse().ok()?..to.parse().ok()?)
    };
    let listed = listed.filter(|_| !essential::is_left_out(Step::EpochCheck)).unwrap_or_default();
    let gaps: Option<Vec<_>> = listed.split(',').filter(|text| !text.is_empty()).map(gap).collect();
    gaps.unwrap_or_else(|| {
        let all = 1..u64::MAX;
        vec![all]
    })
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
        assert_eq!(Epoch::default().next(7), 8);
    }

    #[test]
    fn gaps_are_read_as_they_are_written() {
        let db = Connection::open_in_memory().unwrap();
        let epoch = Epoch::begin(&db).unwrap();
        let first: String =
            db.query_row("SELECT '1-' || next_version(0)", [], |row| row.get(0)).unwrap();
        let all_before = 1..epoch.0;
        assert_eq!(gaps(Some(&first)), std::slice::from_ref(&all_before));
        assert_eq!(gaps(Some("1-5,9-12")), [1..5, 9..12]);
        assert!(gaps(None).is_empty() && gaps(Some("")).is_empty());
        assert!(gaps(Some("nonsense")).iter().any(|gap| gap.contains(&7)));
    }
}
