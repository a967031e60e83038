//! Bytes of small files go from the catalog, which made them durable, to their cache files.
//!
//! Nobody waits for it, and one sync of the whole disk serves all. What a failed sync has lost is
//! written again from the catalog: a sync that failed is never just repeated (D7).
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{FsError, write_back::WriteBack};
use crate::failpoint::{self, Point};

impl WriteBack {
    /// Syncs the cache disk if the catalog carries bytes, and lets the catalog forget them. Run it
    /// about every second: the next start writes to the cache files whatever is still carried.
    ///
    /// # Errors
    /// Of the disk or the catalog: nothing is lost, call again.
    pub async fn settle(&self) -> Result<(), FsError> {
        // One that was given up may have failed.
        if self.settling.load(Ordering::Acquire) || self.has_losses() {
            self.write_again().await?;
        }
        let Some(until) = self.catalog.carried_until().await? else { return Ok(()) };
        self.settling.store(true, Ordering::Release);
        let synced = self.cache.sync_all().await;
        if let Err(error) = synced {
            self.note_loss();
            self.fence_all().await;
            self.write_again().await?;
            return Err(error.into());
        }
        failpoint::passed(Point::SettleAfterSync);
        self.settling.store(false, Ordering::Release);
        self.catalog.forget_carried(until).await?;
        failpoint::passed(Point::SettleAfterForget);
        Ok(())
    }

    /// Nobody knows what a sync of the whole disk has lost: whatever is written and not committed is
    /// to be sent again.
    async fn fence_all(&self) {
        let overlay = self.cache.overlay();
        for ino in overlay.inos() {
            // A commit that is past its own look at the fence ends first.
            let _held = self.locks.exclusive(ino).await;
            overlay.sync_failed(ino);
            overlay.is_news(ino);
        }
        self.verifier.rotate();
    }

    /// Writes everything that is carried to the cache files: what a failed sync has lost is there again,
    /// for the next one.
    async fn write_again(&self) -> Result<(), FsError> {
        // What is carried from now on was written after the sync that has failed.
        let losses = self.losses();
        let until = self.catalog.carried_until().await?.unwrap_or(0);
        let mut seq = 0;
        while let Some(found) = self.catalog.carried(seq).await?
            && found.seq <= until
        {
            let _held = self.locks.exclusive(found.ino).await;
            // Unless other bytes have taken their place, or the file has gone.
            if let Some(carried) = self.catalog.carried(seq).await?
                && carried == found
            {
                let overlay = self.cache.overlay();
                if overlay.has(found.ino) {
                    // Goes over writes that no commit has carried: their client sends them again.
                    overlay.sync_failed(found.ino);
                    overlay.is_news(found.ino);
                    self.verifier.rotate();
                }
                let bytes = Bytes::from(carried.bytes);
                if self.cache.disk(found.disk).is_some() {
                    self.cache.write_at(found.ino, 0, bytes).await?;
                }
            }
            seq = found.seq;
        }
        self.settling.store(false, Ordering::Release);
        self.made_good(losses);
        Ok(())
    }
}
