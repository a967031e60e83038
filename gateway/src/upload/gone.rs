//! An object that others have deleted while only the name or the attributes of its file were changed here:
//! nothing of the file is left to be uploaded, and it goes as well.
use gateway_api::status::HealthEventKind;

use super::{
    aside::missing,
    job::{JobError, Tools},
    publish::Outcome,
};
use crate::{
    catalog::{CatalogError, LetGo, SyncJob},
    ids::FileKind,
    object::{ETag, ObjectKey},
};

/// Takes the job's file away, whose object `from` S3 does not have ([`look`](super::publish::look)). `None`, and
/// nothing happens, when all of the file is here: it is put back.
pub(super) async fn let_go(
    tools: &Tools,
    job: &SyncJob,
    (from, believed): (&ObjectKey, &ETag),
) -> Result<Option<Outcome>, JobError> {
    let inode = &job.inode;
    if inode.kind != FileKind::File || missing(tools, job).await?.is_empty() {
        return Ok(None);
    }
    let _held = tools.locks.exclusive(inode.ino).await;
    let object = (from.clone(), believed.clone());
    let going = LetGo { version: inode.version, object, now: tools.clock.now() };
    match tools.catalog.let_go(job.op, going).await {
        Ok(()) => {}
        // Not what it was when the job was claimed: from the beginning.
        Err(CatalogError::Changed | CatalogError::NoEntry) => return Ok(Some(Outcome::AskAgain)),
        Err(error) => return Err(error.into()),
    }
    tools.cache.overlay().forget(inode.ino);
    if let Err(error) = tools.cache.remove(inode.ino).await {
        // The next start removes cache files that belong to nobody.
        tracing::warn!(ino = inode.ino.0, "a cache file of a deleted object stays: {error}");
    }
    let message = format!(
        "{from} was deleted in the bucket while its name or attributes were changed here, and not all of \
         its bytes were in the cache: the file {} is gone as well",
        inode.name
    );
    tools.share.health.event(HealthEventKind::Conflict, message);
    Ok(Some(Outcome::Ended))
}
