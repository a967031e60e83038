//! What is still to be done, as numbers; and what recovery asks at start.
use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};

use super::{
    Catalog, changed,
    error::CatalogError,
    inode, journal, multipart,
    types::{Inode, PendingCounts, Standing},
};
use crate::{
    clock::Timestamp,
    ids::{Ino, ShareId},
};

/// What the journal has waits no longer than this after a start, in milliseconds.
const WAIT_AFTER_START_MILLIS: u64 = 60_000;

/// How long the list of an operation's gaps may be at a start, in characters.
const GAPS_LENGTH_MAX: u32 = 1000;

impl Catalog {
    /// What S3 does not have yet, of one share or of all.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn pending(&self, share: Option<ShareId>) -> Result<PendingCounts, CatalogError> {
        let mut all = self.pending_by_share().await?;
        Ok(match share {
            Some(share) => all.remove(&share).unwrap_or_default(),
            None => all.into_values().fold(PendingCounts::default(), PendingCounts::plus),
        })
    }

    /// The same for each share of which S3 lacks anything.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn pending_by_share(&self) -> Result<BTreeMap<ShareId, PendingCounts>, CatalogError> {
        self.read(move |db| {
            let mut all: BTreeMap<ShareId, PendingCounts> = BTreeMap::new();
            let mut dirty = db.prepare_cached(
                "SELECT share, count(*), coalesce(sum(CASE
                     WHEN content_version <= synced_version THEN 0
                     WHEN size <= ?1 OR NOT EXISTS (SELECT 1 FROM journal
                         WHERE kind = 0 AND journal.ino = inode.ino AND changed_of = inode.etag)
                     THEN size
                     ELSE (SELECT coalesce(sum(max(min(end, inode.size) - start, 0)), 0)
                         FROM changed WHERE changed.ino = inode.ino) END), 0)
                 FROM inode WHERE dirty = 1 GROUP BY share",
            )?;
            let mut rows = dirty.query([changed::LARGE_FILE_BYTES])?;
            while let Some(row) = rows.next()? {
                let counts = all.entry(ShareId(row.get(0)?)).or_default();
                (counts.dirty_files, counts.dirty_bytes) = (row.get(1)?, row.get(2)?);
            }
            let mut journal = db.prepare_cached(
                "SELECT share, kind, count(*), sum(attempts > 0), min(since) FROM journal
                 GROUP BY share, kind",
            )?;
            let mut rows = journal.query([])?;
            while let Some(row) = rows.next()? {
                let counts = all.entry(ShareId(row.get(0)?)).or_default();
                let (kind, count): (u8, u64) = (row.get(1)?, row.get(2)?);
                if kind != journal::KIND_ABORT {
                    counts.failing += row.get::<_, u64>(3)?;
                }
                match kind {
                    journal::KIND_DELETE => counts.pending_deletes = count,
                    journal::KIND_MOVE => counts.pending_moves = count,
                    journal::KIND_SYNC => {
                        let since: i64 = row.get(4)?;
                        counts.oldest =
                            Some(Timestamp::from_nanos(since.saturating_mul(1_000_000)));
                    }
                    _ => {}
                }
            }
            let mut last = db.prepare_cached(
                "SELECT last_error, failed_at FROM journal WHERE attempts > 0 AND share = ?1
                 ORDER BY failed_at DESC LIMIT 1",
            )?;
            for (share, counts) in all.iter_mut().filter(|(_, counts)| counts.failing > 0) {
                let latest = last.query_row([share.0], |row| Ok((row.get(0)?, row.get(1)?)));
                (counts.last_error, counts.last_failure) = latest.optional()?.unwrap_or_default();
            }
            Ok(all)
        })
        .await
    }

    /// Whether there are files, of these shares or of all, whose bytes S3 does not have and whose upload has not failed
    /// so far.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn has_untried_uploads(
        &self,
        shares: Option<&[ShareId]>,
    ) -> Result<bool, CatalogError> {
        let of = match shares {
            None => String::new(),
            Some([]) => return Ok(false),
            Some(shares) => {
                let ids: Vec<String> = shares.iter().map(|share| share.0.to_string()).collect();
                format!("AND inode.share IN ({})", ids.join(", "))
            }
        };
        self.read(move |db| {
            Ok(db
                .prepare_cached(&format!(
                    "SELECT EXISTS (SELECT 1 FROM inode JOIN journal USING (ino)
                     WHERE inode.dirty = 1 AND content_version > synced_version {of}
                         AND journal.kind = 0 AND journal.attempts = 0)",
                ))?
                .query_row([], |row| row.get(0))?)
        })
        .await
    }

    /// Where one inode stands.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn standing(&self, ino: Ino) -> Result<Standing, CatalogError> {
        // With the writer: it knows which jobs are out.
        self.write(move |txn| {
            let inode = inode::get(txn.db, ino)?;
            let key = match &inode.object_key {
                Some(key) if !inode.dirty => key.as_str().to_owned(),
                Some(_) | None => inode::key_of(txn.db, &inode)?,
            };
            let cached = super::range::of(txn.db, ino)?.iter().map(|r| r.end - r.start).sum();
            let version_id = txn
                .db
                .prepare_cached("SELECT version_id FROM inode WHERE ino = ?1")?
                .query_row([ino.0], |row| row.get(0))?;
            let failures = txn
                .db
                .prepare_cached(
                    "SELECT attempts, coalesce(last_error, ''), incomplete FROM journal
                     WHERE kind = 0 AND ino = ?1 AND attempts > 0",
                )?
                .query_row([ino.0], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))
                .optional()?;
            let is_incomplete = failures.as_ref().is_some_and(|(_, incomplete)| *incomplete);
            let failures = failures.map(|(failures, _)| failures);
            let uploading = txn.state.claims.has_upload_of(ino);
            Ok(Standing { inode, key, version_id, cached, uploading, failures, is_incomplete })
        })
        .await
    }

    /// At most `limit` inodes above `after` whose bytes S3 does not have, by ino.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn content_dirty(
        &self,
        after: Ino,
        limit: usize,
    ) -> Result<Vec<Inode>, CatalogError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(concat!(
                "SELECT ",
                inode::columns!(),
                " FROM inode WHERE dirty = 1 AND content_version > synced_version AND ino > ?1
                  ORDER BY ino LIMIT ?2"
            ))?;
            let rows = query.query_map(params![after.0, limit], inode::from_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// After a crash: bursts of writes that nobody will close end with what was committed of them,
    /// their files' sums are no proof against what such a burst has left, and every dirty inode has its
    /// journal entry. Answers how many bursts and how many entries.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn recover_journal(&self, now: Timestamp) -> Result<(u64, u64), CatalogError> {
        let was_clean = self.inner.was_clean;
        self.write(move |txn| {
            txn.db.execute(
                "UPDATE journal SET not_before = ?1 WHERE kind = 0 AND not_before = ?2",
                params![now.as_nanos(), journal::NEVER.as_nanos()],
            )?;
            // No wait is so long that a clock which was set back meanwhile may make it longer.
            let latest = now.plus_millis(WAIT_AFTER_START_MILLIS).as_nanos();
            txn.db.execute(
                "UPDATE journal SET not_before = ?1 WHERE not_before > ?1 AND not_before < ?2",
                params![latest, journal::NEVER.as_nanos()],
            )?;
            // After many starts, all that came before this one may be another course of events.
            txn.db.execute(
                "UPDATE journal SET gaps = CASE
                     WHEN length(gaps) > ?1 THEN '1-' || next_version(0)
                     ELSE coalesce(gaps || ',', '')
                         || (SELECT version + 1 FROM inode WHERE inode.ino = journal.ino)
                         || '-' || next_version(0) END
                 WHERE kind = 0",
                [GAPS_LENGTH_MAX],
            )?;
            multipart::drop_parts_of_bursts(txn.db)?;
            // A burst that was only held shows nowhere: any file that waits for S3 may have had one.
            let cut_off = !was_clean;
            txn.db.execute(
                "UPDATE inode SET unsure = 1 WHERE writing <> 0
                     OR (?1 AND dirty = 1 AND kind = 0 AND content_version > synced_version)",
                [cut_off],
            )?;
            changed::forget_bases_of_unsure(txn.db)?;
            let bursts =
                txn.db.execute("UPDATE inode SET writing = 0 WHERE writing <> 0", [])? as u64;
            let missing: Vec<u64> = txn
                .db
                .prepare(
                    "SELECT ino FROM inode WHERE dirty = 1
                         AND ino NOT IN (SELECT ino FROM journal WHERE kind = 0)",
                )?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for ino in &missing {
                journal::enqueue_sync(txn, Ino(*ino), now)?;
            }
            txn.state.journal_changed = true;
            Ok((bursts, missing.len() as u64))
        })
        .await
    }

    /// The bytes of a dirty file are gone from the cache disk: it is never uploaded as it is (an
    /// object of wrong bytes would replace the good one). Its entry goes; the object that S3 has,
    /// if any, comes back with the next listing.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn forget_lost(&self, ino: Ino, now: Timestamp) -> Result<(), CatalogError> {
        self.write(move |txn| {
            let inode = inode::get(txn.db, ino)?;
            // The object that it was to replace stays: it is the last version there is.
            txn.db.execute(
                "UPDATE journal SET expect_key = NULL, expect_etag = NULL
                 WHERE kind = 0 AND ino = ?1",
                [ino.0],
            )?;
            journal::drop_sync(txn, &inode, now)?;
            super::range::clear(txn.db, ino)?;
            txn.db.execute("DELETE FROM inode WHERE ino = ?1", [ino.0])?;
            txn.db.execute("UPDATE inode SET listed_at = NULL WHERE ino = ?1", [inode.parent.0])?;
            Ok(())
        })
        .await
    }
}
