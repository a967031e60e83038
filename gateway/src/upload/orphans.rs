//! Uploads in parts that nobody will complete: their parts cost money and are in no listing.
//!
//! An upload that was begun and not recorded, because the gateway was cut off in between or lost its
//! cache disk, is known to S3 alone. So is one of another program that writes below the prefix: only
//! age tells that nobody goes on with it.
use std::collections::HashSet;

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

/// Pages of the listing that one sweep looks at, of 1,000 uploads each at most.
const PAGES_MAX: usize = 100;
/// Uploads that one sweep aborts: what a sweep keeps in memory, 2 MiB with keys of the greatest length.
const ABORTS_MAX: usize = 2000;

/// What a sweep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// How many uploads it aborted.
    pub aborted: u64,
    /// Whether it has seen all there were; otherwise sweep again soon.
    pub is_all: bool,
}

/// Aborts the uploads below the share's prefix that were begun before `begun_before` and are not in the
/// journal. Bounded: at most 2,000 aborts, after a look at 100,000 uploads at most.
///
/// # Errors
/// [`SweepError`]; what was aborted before stays aborted.
pub async fn sweep(
    share: &Share,
    catalog: &Catalog,
    begun_before: Timestamp,
) -> Result<Swept, SweepError> {
    let known = catalog.known_uploads(share.id).await?;
    let (orphans, is_all) = orphans(share, &known, begun_before).await?;
    // Read again: what was begun meanwhile is as young as it is, whatever the store's clock says.
    let known = catalog.known_uploads(share.id).await?;
    let mut aborted = 0;
    for (key, upload_id) in orphans.iter().filter(|(_, upload_id)| !known.contains(upload_id)) {
        share.store.abort_multipart(key, upload_id).await?;
        tracing::info!(%key, upload_id, "an orphaned upload was aborted");
        aborted += 1;
    }
    Ok(Swept { aborted, is_all })
}

/// The uploads that were begun before `begun_before` and are not `known`, and whether these are all.
/// They are listed to the end before the first is aborted: a marker that names an aborted upload leads
/// nowhere in some stores.
async fn orphans(
    share: &Share,
    known: &HashSet<String>,
    begun_before: Timestamp,
) -> Result<(Vec<(ObjectKey, String)>, bool), StoreError> {
    let (mut orphans, mut after) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let prefix = share.settings.prefix.as_str();
        let page = share.store.list_multipart(prefix, after.as_ref()).await?;
        let is_orphan = |upload: &PendingUpload| {
            upload.initiated < begun_before && !known.contains(&upload.upload_id)
        };
        // What has no key that S3 could have given is left alone.
        orphans.extend(
            page.uploads
                .into_iter()
                .filter(is_orphan)
                .filter_map(|upload| ObjectKey::new(upload.key).map(|key| (key, upload.upload_id))),
        );
        if orphans.len() > ABORTS_MAX {
            orphans.truncate(ABORTS_MAX);
            return Ok((orphans, false));
        }
        // A store that does not move on would be asked the same for ever.
        match page.next.filter(|next| after.as_ref() != Some(next)) {
            Some(next) => after = Some(next),
            None => return Ok((orphans, true)),
        }
    }
    Ok((orphans, false))
}
