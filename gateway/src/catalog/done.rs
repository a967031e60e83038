//! Which requests have been done: the duplicate request cache's memory over a restart.
//!
//! A row is written in the transaction of the change that the request asked for, so there is no
//! moment at which the one is durable and the other is not. Rows are read once, at the start:
//! repetitions of later requests are answered from memory.
use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::{Catalog, error::CatalogError, types::Stamp, writer::Txn};
use crate::ids::{Ino, RequestId};

/// Requests remembered; more than are ever in execution, so that a client's own are among them.
const REMEMBERED: i64 = 16_384;
/// How many more there may be for a while.
const PRUNE_EVERY: i64 = 1024;

/// Requests done before this start, with what each made or changed.
pub(super) type Done = HashMap<RequestId, Option<Ino>>;

/// Notes that the stamp's request has been done: it made or changed `ino`.
pub(super) fn note(txn: &Txn<'_>, stamp: Stamp, ino: Option<Ino>) -> Result<(), CatalogError> {
    let Some(RequestId(request)) = stamp.request else { return Ok(()) };
    txn.db
        .prepare_cached("INSERT INTO done (request, ino) VALUES (?1, ?2)")?
        .execute(params![request.to_be_bytes(), ino.map_or(0, |ino| ino.0)])?;
    let seq = txn.db.last_insert_rowid();
    if seq % PRUNE_EVERY == 0 {
        txn.db.prepare_cached("DELETE FROM done WHERE seq <= ?1")?.execute([seq - REMEMBERED])?;
    }
    Ok(())
}

/// All that are remembered.
pub(super) fn load(db: &Connection) -> Result<Done, CatalogError> {
    let mut query = db.prepare("SELECT request, ino FROM done ORDER BY seq")?;
    let rows = query.query_map([], |row| {
        let request = RequestId(u128::from_be_bytes(row.get(0)?));
        let ino: u64 = row.get(1)?;
        Ok((request, (ino != 0).then_some(Ino(ino))))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

impl Catalog {
    /// Whether a request was done before this start, and what it made or changed: `Some(None)` is a
    /// removal.
    pub fn done_before(&self, request: RequestId) -> Option<Option<Ino>> {
        self.inner.done.get(&request).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{schema, writer::WriterState},
        clock::Timestamp,
    };

    fn stamp(request: Option<u128>) -> Stamp {
        let now = Timestamp::new(1000, 0);
        Stamp { now, due: now, request: request.map(RequestId) }
    }

    #[test]
    fn the_latest_requests_are_remembered_and_the_others_forgotten() {
        let mut db = Connection::open_in_memory().unwrap();
        schema::migrate(&mut db).unwrap();
        let mut state = WriterState::default();
        let txn = Txn { db: &db, state: &mut state };
        let latest = u128::try_from(REMEMBERED + 3 * PRUNE_EVERY).unwrap();
        note(&txn, stamp(None), None).unwrap();
        for request in 1..=latest {
            note(&txn, stamp(Some(request)), (request % 2 == 0).then_some(Ino(7))).unwrap();
        }
        let done = load(&db).unwrap();
        assert_eq!(done.len() as i64, REMEMBERED);
        let oldest = latest - u128::try_from(REMEMBERED).unwrap() + 1;
        assert_eq!(done.get(&RequestId(oldest - 1)), None);
        assert_eq!(done.get(&RequestId(latest)), Some(&Some(Ino(7))));
        assert_eq!(done.get(&RequestId(latest - 1)), Some(&None));
        assert!(done.contains_key(&RequestId(oldest)));
    }
}
