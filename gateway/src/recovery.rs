//! What is put right between opening the catalog and serving, each step a function with a test.
//!
//! Order, after the catalog is open, checked and if need be made anew: bytes that the catalog carries go to
//! their cache files → open bursts end with what was
//! committed of them, dirty inodes without a journal entry get one → what missing cache disks have is
//! forgotten or put out of reach → cache files of no inode are removed → dirty files whose bytes are gone are reported and never uploaded. Run it before shares
//! are served and before the movers start; may be interrupted at any point and run again.
//! Multipart uploads and publishes of unknown outcome are the movers' part.
mod missing;

use std::fmt;

use gateway_api::status::{HealthEvent, HealthEventKind};

use crate::{
    cache::{CacheError, CacheStore},
    catalog::{Catalog, CatalogError, Inode},
    clock::{Clock, Timestamp},
    failpoint::{self, Point},
    ids::{FileKind, Ino},
    vfs::start,
};

/// Rows looked at in one step.
const PAGE_ROWS: usize = 500;

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The catalog cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The cache disk cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// What was put right.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Whether the last gateway ended in order.
    pub was_clean: bool,
    /// Small files whose bytes only the catalog had for sure.
    pub restored: u64,
    /// Bursts of writes that no commit had closed.
    pub open_bursts: u64,
    /// Dirty inodes that had no journal entry.
    pub rejournalled: u64,
    /// Cache files of no inode, removed.
    pub orphans: u64,
    /// What the operator must know: one event per lost file.
    pub events: Vec<HealthEvent>,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.was_clean { "stopped in order" } else { "was cut off" };
        write!(
            f,
            "the last run {how}; {} small files restored, {} bursts of writes open, {} files journalled \
             anew, {} orphans removed",
            self.restored, self.open_bursts, self.rejournalled, self.orphans
        )
    }
}

/// Runs all steps.
///
/// # Errors
/// [`RecoveryError`]: do not serve. With [`CatalogError::is_corruption`] starting again does not
/// help.
pub async fn recover(
    catalog: &Catalog,
    cache: &CacheStore,
    clock: &dyn Clock,
) -> Result<Recovered, RecoveryError> {
    let was_clean = catalog.was_clean();
    let restored = start::restore_carried::<RecoveryError>(catalog, cache).await?;
    failpoint::passed(Point::RecoveryAfterCarried);
    let now = clock.now();
    let (open_bursts, rejournalled) = catalog.recover_journal(now).await?;
    failpoint::passed(Point::RecoveryAfterJournal);
    let mut events = missing::part_with(catalog, cache, now).await?;
    let orphans = start::remove_unused::<RecoveryError>(catalog, cache).await?;
    failpoint::passed(Point::RecoveryAfterOrphans);
    events.extend(report_lost(catalog, cache, now).await?);
    failpoint::passed(Point::RecoveryAfterLost);
    Ok(Recovered { was_clean, restored, open_bursts, rejournalled, orphans, events })
}

/// Finds dirty files whose committed bytes are not in the cache any more, takes them out of the
/// journal, and says so.
async fn report_lost(
    catalog: &Catalog,
    cache: &CacheStore,
    now: Timestamp,
) -> Result<Vec<HealthEvent>, RecoveryError> {
    let shares = catalog.shares().await?;
    let mut events = Vec::new();
    let mut after = Ino(0);
    loop {
        let page = catalog.content_dirty(after, PAGE_ROWS).await?;
        let Some(last) = page.last() else { return Ok(events) };
        after = last.ino;
        for inode in &page {
            if !is_lost(catalog, cache, inode).await? {
                continue;
            }
            let path = catalog.path(inode.ino).await?;
            let share = shares.iter().find(|share| share.id == inode.share);
            let name = share.map_or("?", |share| share.name.as_str());
            let message = format!(
                "{name}:/{path} ({} bytes) was not in S3 yet and its bytes are gone from the cache disk: \
                 check the disk, then copy the file to the share again",
                inode.size
            );
            tracing::error!(ino = inode.ino.0, "data lost: {message}");
            catalog.forget_lost(inode.ino, now).await?;
            cache.remove(inode.ino).await?;
            events.push(HealthEvent {
                at_unix_seconds: now.seconds(),
                kind: HealthEventKind::DataLost,
                share: share.and_then(|share| share.name.parse().ok()),
                message,
            });
        }
    }
}

/// Whether bytes that were committed are beyond the end of the cache file, or the file is not there.
async fn is_lost(
    catalog: &Catalog,
    cache: &CacheStore,
    inode: &Inode,
) -> Result<bool, RecoveryError> {
    if inode.kind != FileKind::File || cache.is_out_of_reach(inode.ino) {
        return Ok(false);
    }
    let end = catalog.ranges(inode.ino).await?.iter().last().map_or(0, |range| range.end);
    Ok(end > 0 && cache.len(inode.ino).await? < end)
}

#[cfg(test)]
mod tests;
