//! Waiting for S3 to have everything: what is journalled now is made due, and watched.
use rusqlite::params;

use super::{Catalog, error::CatalogError, journal::NEVER, types::OpId};
use crate::clock::Timestamp;

/// Operations that a flush waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark(OpId);

impl Catalog {
    /// Makes everything in the journal due at `now` and answers up to where it goes.
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
                Ok(Watermark(OpId(last)))
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

    /// How many operations up to the watermark are not done, and the latest failure among them. What is only
    /// tidied up in the bucket, uploads in parts that nobody goes on with, counts for nothing.
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
