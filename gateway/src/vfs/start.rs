//! What the file system takes for granted of cache files: made so before it serves.
use bytes::Bytes;

use crate::{
    cache::{CacheError, CacheStore},
    catalog::{Catalog, CatalogError},
};

/// Files looked at in one step.
const PAGE_FILES: usize = 500;

/// Writes the bytes that the catalog carries to their cache files, which hold everything committed
/// then; answers of how many files.
///
/// # Errors
/// Of the catalog or the disk: nothing is lost, but do not serve.
pub async fn restore_carried<E: From<CatalogError> + From<CacheError>>(
    catalog: &Catalog,
    cache: &CacheStore,
) -> Result<u64, E> {
    let (mut restored, mut seq) = (0, 0);
    while let Some(carried) = catalog.carried(seq).await? {
        seq = carried.seq;
        cache.write_at(carried.ino, 0, Bytes::from(carried.bytes)).await?;
        restored += 1;
    }
    if restored > 0 {
        cache.sync_all().await?;
        catalog.forget_carried(seq).await?;
    }
    Ok(restored)
}

/// Removes cache files of which no byte is anybody's content; answers how many. A file that was written
/// and never committed is among them: a new file has no cache file.
///
/// # Errors
/// Of the catalog or the disk: do not serve.
pub async fn remove_unused<E: From<CatalogError> + From<CacheError>>(
    catalog: &Catalog,
    cache: &CacheStore,
) -> Result<u64, E> {
    let mut removed = 0;
    for shard in 0..=u8::MAX {
        let mut found = cache.list(shard).await?;
        found.sort_unstable();
        for page in found.chunks(PAGE_FILES) {
            let used = catalog.with_bytes(page.to_vec()).await?;
            for ino in page.iter().filter(|ino| !used.contains(ino)) {
                cache.remove(*ino).await?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}
