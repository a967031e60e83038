//! Cache disks that the catalog knows and that are not there.
use std::sync::Arc;

use gateway_api::status::{HealthEvent, HealthEventKind};

use super::{PAGE_ROWS, RecoveryError};
use crate::{
    cache::CacheStore,
    catalog::{Catalog, DiskRow},
    clock::Timestamp,
    ids::Ino,
};

/// Forgets what was cached on missing disks and S3 has, and puts the rest out of reach. One event for each disk
/// that has such a rest. A released disk on which nothing was left is forgotten.
pub(super) async fn part_with(
    catalog: &Catalog,
    cache: &CacheStore,
    now: Timestamp,
) -> Result<Vec<HealthEvent>, RecoveryError> {
    let mut events = Vec::new();
    for disk in catalog.disks().await? {
        if cache.disk(disk.id).is_none() {
            events.extend(part_with_one(catalog, cache, now, disk).await?);
        }
    }
    Ok(events)
}

async fn part_with_one(
    catalog: &Catalog,
    cache: &CacheStore,
    now: Timestamp,
    disk: DiskRow,
) -> Result<Option<HealthEvent>, RecoveryError> {
    let DiskRow { id, name, path, draining } = disk;
    let forgotten = catalog.forget_clean_on(id).await?;
    tracing::warn!(
        "the cache disk {name}, which was at {path}, is missing; {forgotten} files that were cached there are \
         fetched again when they are read"
    );
    let shown: Arc<str> = name.as_str().into();
    let (mut after, mut files, mut bytes) = (Ino(0), 0_u64, 0_u64);
    loop {
        let page = catalog.dirty_on(id, after, PAGE_ROWS).await?;
        let Some(last) = page.last() else { break };
        after = last.ino;
        for inode in &page {
            cache.put_out_of_reach(inode.ino, &shown, inode.size);
            files += 1;
            bytes = bytes.saturating_add(inode.size);
        }
    }
    if files == 0 {
        if draining {
            catalog.forget_disk(id).await?;
            tracing::info!("the cache disk {name} was released and empty: it is forgotten");
        }
        return Ok(None);
    }
    let message = format!(
        "cache disk {name} with {files} dirty files ({bytes} bytes that are not in S3) is missing: attach it again. \
         Until then these files cannot be read or written. If it is gone for ever: gateway disks forget {name}"
    );
    tracing::error!("{message}");
    Ok(Some(HealthEvent {
        at_unix_seconds: now.seconds(),
        kind: HealthEventKind::CacheDiskMissing,
        share: None,
        message,
    }))
}
