//! Uploads in parts that nobody will complete: their parts cost money and are in no listing.
//!
//! An upload that was begun and not recorded, because the gateway was cut off in between or lost its
//! cache disk, is known to S3 alone. So is one of another program that writes below the prefix: only
//! age tells that nobody goes on with it.
use crate::{
    catalog::{Catalog, CatalogError},
    clock::Timestamp,
    object::ObjectKey,
    share::Share,
    store::{PendingUpload, StoreError},
};

/// Why a sweep did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Aborts the uploads below the share's prefix that were begun before `begun_before` and are not in the
/// journal; answers how many. Looks at the first thousand of the listing (S3's most in one answer).
///
/// # Errors
/// [`SweepError`]; what was aborted before stays aborted.
pub async fn sweep(
    share: &Share,
    catalog: &Catalog,
    begun_before: Timestamp,
) -> Result<u64, SweepError> {
    let pending = share.store.list_multipart(share.settings.prefix.as_str()).await?;
    // Read after the listing: an upload that was begun meanwhile is not in the listing.
    let known = catalog.known_uploads(share.id).await?;
    let mut aborted = 0;
    let is_orphan = |upload: &&PendingUpload| {
        upload.initiated < begun_before && !known.contains(&upload.upload_id)
    };
    for upload in pending.iter().filter(is_orphan) {
        let Some(key) = ObjectKey::new(upload.key.as_str()) else { continue };
        share.store.abort_multipart(&key, &upload.upload_id).await?;
        tracing::info!(%key, upload_id = upload.upload_id, "an orphaned upload was aborted");
        aborted += 1;
    }
    Ok(aborted)
}
