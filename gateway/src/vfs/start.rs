//! What the file system takes for granted of cache files: made so before it serves.
use bytes::Bytes;

use crate::{
    cache::{CacheError, CacheStore},
    catalog::{Catalog, CatalogError},
    essential::{self, Step},
};

/// Files looked at in one step.
const PAGE_FILES: usize = 500;

/// Writes the bytes that the catalog carries to their cache files, which hold everything committed
/// then; answers of how many files. After an end that was not in order all cache files are synced.
///
/// # Errors
/// Of the catalog or the disk: nothing is lost, but do not serve.
pub async fn restore_carried<E: From<CatalogError> + From<CacheError>>(
    catalog: &Catalog,
    cache: &CacheStore,
) -> Result<u64, E> {
    let (mut restored, mut seq, mut moved) = (0, 0, Vec::new());
    while let Some(carried) = catalog.carried(seq).await? {
        seq = carried.seq;
        let ino = carried.ino;
        let (disk, size) = if cache.disk(carried.disk).is_some() {
            (carried.disk, 0)
        } else {
            // Its disk is missing, and all of its bytes are here: another one takes it.
            let disk = cache.likely_disk_of(ino).id();
            moved.push((ino, disk));
            (disk, catalog.inode(ino).await?.size)
        };
        cache.write_on(disk, ino, Bytes::from(carried.bytes), size).await?;
        restored += 1;
    }
    // What a killed process has written is on the disk from here on: what is found there after a power cut is the same.
    if restored > 0 || !catalog.was_clean() {
        if !essential::is_left_out(Step::RecoverySync) {
            cache.sync_all().await?;
        }
        for (ino, disk) in moved {
            catalog.move_to_disk(ino, disk).await?;
        }
        catalog.forget_carried(seq).await?;
    }
    Ok(restored)
}

/// Removes cache files of which no byte is anybody's content, and those of which the catalog says that another
/// disk has the file; answers how many. A file that was written and never committed is among them: a new file
/// has no cache file.
///
/// # Errors
/// Of the catalog or the disk: do not serve.
pub async fn remove_unused<E: From<CatalogError> + From<CacheError>>(
    catalog: &Catalog,
    cache: &CacheStore,
) -> Result<u64, E> {
    let mut removed = 0;
    for disk in cache.disks() {
        for shard in 0..=u8::MAX {
            let mut found = cache.list(disk.id(), shard).await?;
            found.sort_unstable();
            for page in found.chunks(PAGE_FILES) {
                let used = catalog.with_bytes_on(disk.id(), page.to_vec()).await?;
                for ino in page.iter().filter(|ino| !used.contains(ino)) {
                    cache.remove_on(disk.id(), *ino).await?;
                    removed += 1;
                }
            }
        }
    }
    Ok(removed)
}
