//! Waiting for S3 to have everything: what is journalled now is made due, and watched.
//!
//! Clients may go on meanwhile. A file that is written on and on has one operation all that time: with each version
//! that S3 takes of it the operation gets a new number, and is none of the flush's any more. That it gets there is
//! seen to by [`Job::Still`](super::Job::Still).
use std::collections::HashSet;

use rusqlite::{Connection, params};

use super::{Catalog, error::CatalogError, journal::NEVER, types::OpId, writer::WriterState};
use crate::clock::Timestamp;

/// Operations that a flush waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark(OpId);

/// What the latest flush waits for, whether or not anybody waits still. In memory.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    /// Up to this one.
    last: OpId,
    /// When it began.
    since: Timestamp,
    /// Jobs that were out when it began: they may be of what was there before what it waits for.
    older: HashSet<OpId>,
}

impl Awaited {
    /// Whether a flush waits for the operation.
    pub(super) fn has(&self, op: OpId) -> bool {
        op <= self.last
    }

    /// Up to which operation changes do not put the upload off, and when all of these are due.
    pub(super) fn due(&self) -> (OpId, Timestamp) {
        (self.last, self.since)
    }

    /// The operation is handed out: as it is now.
    pub(super) fn claimed(&mut self, op: OpId) {
        self.older.remove(&op);
    }
}

/// S3 has taken what the claimed operation was of. What has come since is another one's, if anybody waits for this.
pub(super) fn taken(
    db: &Connection,
    state: &mut WriterState,
    op: OpId,
) -> Result<(), CatalogError> {
    if !state.awaited.has(op) || state.awaited.older.contains(&op) {
        return Ok(());
    }
    // A number that was never given out: somebody may still speak of one that is gone.
    let next: u64 = db
        .prepare_cached(
            "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'journal' RETURNING seq",
        )?
        .query_row([], |row| row.get(0))?;
    db.prepare_cached("UPDATE part SET op = ?2 WHERE op = ?1")?.execute([op.0, next])?;
    db.prepare_cached("UPDATE journal SET op = ?2 WHERE op = ?1")?.execute([op.0, next])?;
    Ok(())
}

impl Catalog {
    /// Makes everything in the journal due at `now` and answers up to where it goes. What is changed from here on
    /// puts none of that off again.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn hasten(&self, now: Timestamp) -> Result<Watermark, CatalogError> {
        let watermark = self
            .write(move |txn| {
                // A burst of writes that is still open is nothing acknowledged as stable: it keeps
                // the time that its commit will set.
                txn.db.execute(
                    "UPDATE journal SET not_before = ?1 WHERE not_before > ?1 AND (kind <> 0 OR ino IN
                         (SELECT ino FROM inode WHERE writing = 0))",
                    [now.as_nanos()],
                )?;
                let last =
                    txn.db.query_row("SELECT coalesce(max(op), 0) FROM journal", [], |row| row.get(0))?;
                let (last, older) = (OpId(last), txn.state.claims.ops().collect());
                txn.state.awaited = Awaited { last, since: now, older };
                Ok(Watermark(last))
            })
            .await?;
        self.inner.journal.send_modify(|changes| *changes += 1);
        Ok(watermark)
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
            txn.db.execute(
                "UPDATE journal SET not_before = max(?1, not_before - (?2 - ?1))
                 WHERE not_before > ?1 AND not_before < ?3",
                params![now.as_nanos(), before.as_nanos(), NEVER.as_nanos()],
            )?;
            txn.state.journal_changed = true;
            Ok(())
        })
        .await
    }

    /// How many operations up to the watermark are not done, and the latest failure among them. Of a file that is
    /// written on and on it is done when S3 has what it was at the watermark, or later. What is only tidied up in the bucket, uploads in parts that nobody goes on with, counts for nothing.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn left_of(
        &self,
        watermark: Watermark,
    ) -> Result<(u64, Option<String>), CatalogError> {
        self.read(move |db| {
            let left = db
                .prepare_cached("SELECT count(*) FROM journal WHERE op <= ?1 AND kind <> 3")?
                .query_row([watermark.0.0], |row| row.get(0))?;
            let mut failures = db.prepare_cached(
                "SELECT last_error FROM journal
                 WHERE op <= ?1 AND kind <> 3 AND last_error IS NOT NULL
                 ORDER BY failed_at DESC LIMIT 1",
            )?;
            let mut rows = failures.query(params![watermark.0.0])?;
            let last_error = match rows.next()? {
                Some(row) => row.get(0)?,
                None => None,
            };
            Ok((left, last_error))
        })
        .await
    }
}
