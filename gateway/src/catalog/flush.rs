//! Waiting for S3 to have everything: what is journalled now is made due, and watched.
//!
//! Clients may go on meanwhile. What a flush waits for is known by the sequence that listings are compared with: an
//! operation is `born` with the oldest change that S3 may lack, be it one that another operation was about, and born
//! again, with what has come since a publish was claimed, when S3 takes that. An object that has the attributes with which
//! its upload in parts was begun counts as of then. A file that is written on and on gets its turn by
//! [`Job::Still`](super::Job::Still).
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use rusqlite::{Connection, params};

use super::{
    Catalog,
    error::CatalogError,
    journal::{NEVER, next_seq},
    writer::Txn,
};
use crate::{
    clock::Timestamp,
    ids::{Ino, ShareId},
};

/// Operations that are made due in one transaction.
const HASTENED_AT_ONCE: usize = 4096;
/// Above every value of the sequence.
const ALL: u64 = i64::MAX.unsigned_abs();

/// What a flush waits for, and that somebody does.
#[derive(Clone, Debug)]
pub struct Watermark {
    seq: u64,
    _alive: Arc<()>,
}

/// What a flush has not seen done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Operations.
    pub operations: u64,
    /// Of these, those that wait for somebody to mend something.
    pub put_off: u64,
    /// And those of shares that are not served.
    pub unserved: u64,
    /// The latest failure among them.
    pub last_error: Option<String>,
}

#[derive(Debug)]
struct Flush {
    seq: u64,
    since: Timestamp,
    alive: Weak<()>,
}

/// The flushes that somebody waits for, the latest last. In memory.
#[derive(Debug, Default)]
pub(super) struct Awaited(Vec<Flush>);

impl Awaited {
    fn begin(&mut self, seq: u64, since: Timestamp) -> Watermark {
        self.0.retain(|flush| flush.alive.strong_count() > 0);
        let alive = Arc::new(());
        self.0.push(Flush { seq, since, alive: Arc::downgrade(&alive) });
        Watermark { seq, _alive: alive }
    }

    /// The latest one, and when it began: no change puts the upload off of what was born before that.
    pub(super) fn latest(&self) -> Option<(u64, Timestamp)> {
        let alive = self.0.iter().rfind(|flush| flush.alive.strong_count() > 0);
        alive.map(|flush| (flush.seq, flush.since))
    }

    /// Whether somebody waits for an operation that was born then.
    pub(super) fn has(&self, born: u64) -> bool {
        self.latest().is_some_and(|(seq, _)| born < seq)
    }

    fn clock_set_back(&mut self, now: Timestamp) {
        for flush in &mut self.0 {
            flush.since = flush.since.min(now);
        }
    }
}

/// Uploads in parts that are remembered. With more of them all are forgotten: a flush waits for one publish more then.
const BEGUN_MAX: usize = 1024;

/// How old the attributes are at most that objects of uploads in parts of this run will have: the sequence's value
/// when the jobs were claimed that have begun them.
#[derive(Debug, Default)]
pub(super) struct Begun(HashMap<String, u64>);

impl Begun {
    pub(super) fn note(&mut self, upload_id: &str, since: u64) {
        if self.0.len() >= BEGUN_MAX {
            self.0.clear();
        }
        self.0.insert(upload_id.to_owned(), since);
    }

    /// Of an upload that is over; 0 if it is not known.
    pub(super) fn take(&mut self, upload_id: &str) -> u64 {
        self.0.remove(upload_id).unwrap_or(0)
    }
}

/// The sequence's value.
pub(super) fn seq(db: &Connection) -> Result<u64, CatalogError> {
    Ok(db
        .prepare_cached("SELECT value FROM meta WHERE name = 'seq'")?
        .query_row([], |row| row.get(0))?)
}

/// The upload of `ino` stems from what was `born` then, too: who waits for that waits for this, and `is_awaited` makes
/// it due.
pub(super) fn stems_from(
    db: &Connection,
    ino: Ino,
    born: u64,
    is_awaited: bool,
    now: Timestamp,
) -> Result<(), CatalogError> {
    db.prepare_cached(
        "UPDATE journal SET born = min(born, ?2),
             not_before = CASE WHEN ?3 AND attempts = 0 THEN min(not_before, ?4) ELSE not_before END
         WHERE kind = 0 AND ino = ?1",
    )?
    .execute(params![ino.0, born, is_awaited, now.as_nanos()])?;
    Ok(())
}

/// Which operations are to be due, and when.
#[derive(Clone, Copy, Debug)]
struct Hasten {
    now: Timestamp,
    /// Those that were born before.
    born_before: u64,
    /// Whether those wait of whose files a burst of writes is open.
    bursts_wait: bool,
}

impl Hasten {
    /// Makes operations due that come after `after`, and answers the last one looked at; `None`: there are no more.
    fn step(self, txn: &mut Txn<'_>, after: u64) -> Result<Option<u64>, CatalogError> {
        let last: Option<u64> = txn
            .db
            .prepare_cached(
                "SELECT max(op) FROM (SELECT op FROM journal WHERE op > ?1 ORDER BY op LIMIT ?2)",
            )?
            .query_row(params![after, HASTENED_AT_ONCE], |row| row.get(0))?;
        let Some(last) = last else { return Ok(None) };
        txn.db
            .prepare_cached(
                "UPDATE journal SET not_before = ?1
                 WHERE op > ?3 AND op <= ?4 AND not_before > ?1 AND born < ?5
                     AND (kind <> 0 OR NOT ?2 OR ino IN (SELECT ino FROM inode WHERE writing = 0))",
            )?
            .execute(params![
                self.now.as_nanos(),
                self.bursts_wait,
                after,
                last,
                self.born_before
            ])?;
        txn.state.journal_changed = true;
        Ok(Some(last))
    }
}

impl Catalog {
    /// Makes everything in the journal due at `now`; what is changed from here on puts none of it off again, as long
    /// as the answer lives.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn hasten(&self, now: Timestamp) -> Result<Watermark, CatalogError> {
        let watermark = self
            .write(move |txn| {
                let seq = next_seq(txn.db)?;
                Ok(txn.state.awaited.begin(seq, now))
            })
            .await?;
        self.make_due(Hasten { now, born_before: watermark.seq, bursts_wait: false }).await?;
        Ok(watermark)
    }

    /// What kept uploads from S3 may be mended: makes all that waits due at `now`, once.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn try_again(&self, now: Timestamp) -> Result<(), CatalogError> {
        self.make_due(Hasten { now, born_before: ALL, bursts_wait: true }).await
    }

    /// Many may wait, and others are to have the catalog in between.
    async fn make_due(&self, what: Hasten) -> Result<(), CatalogError> {
        let mut after = 0;
        while let Some(last) = self.write(move |txn| what.step(txn, after)).await? {
            after = last;
        }
        Ok(())
    }

    /// The clock was set back from `before` to `now`: what waits does so for as long as was left then.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn clock_set_back(
        &self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(move |txn| {
            txn.state.awaited.clock_set_back(now);
            txn.db.execute(
                "UPDATE journal SET not_before = max(?1, not_before - (?2 - ?1))
                 WHERE not_before > ?1 AND not_before < ?3",
                params![now.as_nanos(), before.as_nanos(), NEVER.as_nanos()],
            )?;
            txn.db.execute(
                "UPDATE journal SET latest = latest - (?2 - ?1) WHERE latest < ?3",
                params![now.as_nanos(), before.as_nanos(), NEVER.as_nanos()],
            )?;
            txn.state.journal_changed = true;
            Ok(())
        })
        .await
    }

    /// What of a flush is not done. Of a file that is written on and on it is done when S3 has what it was when the
    /// flush began, or later. What is only tidied up in the bucket, uploads in parts that nobody goes on with, counts
    /// for nothing.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn left_of(
        &self,
        watermark: &Watermark,
        served: &[ShareId],
    ) -> Result<Left, CatalogError> {
        let seq = watermark.seq;
        let served: Vec<String> = served.iter().map(|share| share.0.to_string()).collect();
        let served = format!("[{}]", served.join(","));
        self.read(move |db| {
            let (operations, put_off, unserved) = db
                .prepare_cached(
                    "SELECT count(*), count(*) FILTER (WHERE not_before = ?2
                         AND last_error IS NOT NULL
                         AND share IN (SELECT value FROM json_each(?3))
                         AND (kind <> 0 OR NOT EXISTS (SELECT 1 FROM inode
                             WHERE inode.ino = journal.ino AND writing <> 0))),
                         count(*) FILTER (WHERE share NOT IN (SELECT value FROM json_each(?3)))
                     FROM journal WHERE born < ?1 AND kind <> 3",
                )?
                .query_row(params![seq, NEVER.as_nanos(), served], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?;
            let mut failures = db.prepare_cached(
                "SELECT last_error FROM journal
                 WHERE born < ?1 AND kind <> 3 AND last_error IS NOT NULL
                 ORDER BY failed_at DESC LIMIT 1",
            )?;
            let mut rows = failures.query([seq])?;
            let last_error = match rows.next()? {
                Some(row) => row.get(0)?,
                None => None,
            };
            Ok(Left { operations, put_off, unserved, last_error })
        })
        .await
    }
}
