//! Bytes of small files go from the catalog, which made them durable, to their cache files.
//!
//! Nobody waits for it, and one sync of the whole disk serves all. What a failed sync has lost is
//! written again from the catalog: a sync that failed is never just repeated (D7).
use bytes::Bytes;

use super::{FsError, write_back::WriteBack};

impl WriteBack {
    /// Syncs the cache disk if the catalog carries bytes, and lets the catalog forget them. Run it
    /// about every second: the next start writes to the cache files whatever is still carried.
    ///
    /// # Errors
    /// Of the disk or the catalog: nothing is lost, call again.
    pub async fn settle(&self) -> Result<(), FsError> {
        let Some(until) = self.catalog.carried_until().await? else { return Ok(()) };
        if let Err(error) = self.cache.sync_all().await {
            self.write_again(until).await?;
            return Err(error.into());
        }
        Ok(self.catalog.forget_carried(until).await?)
    }

    /// Writes what is carried up to `until` to the cache files.
    async fn write_again(&self, until: u64) -> Result<(), FsError> {
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
                self.cache.write_at(found.ino, 0, Bytes::from(carried.bytes)).await?;
            }
            seq = found.seq;
        }
        Ok(())
    }
}
