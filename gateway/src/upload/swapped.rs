//! Files that want each other's keys: one object steps aside to a scratch key, within the bucket, and
//! goes on from there. No byte of it comes here, and S3 has all of it at every moment.
use super::{
    aside::without_base,
    attributes::{self, Asked},
    copy::Whole,
    job::{JobError, Tools},
    publish::{Outcome, look, lost_source, take_along},
};
use crate::{
    catalog::{CatalogError, SyncJob},
    failpoint::{self, Point},
    object::ObjectKey,
    share::Right,
    store::{Expect, SCRATCH_NAME, StoreError, StoreErrorKind, StoreOp},
};

/// When what an attempt has left that a restart cut off is deleted, in milliseconds: after the next one, which
/// is the same attempt and makes use of it.
pub(super) const LEFT_MS: u64 = 60_000;

/// Brings the object out of the way.
pub(super) async fn step_aside(tools: &Tools, job: &SyncJob) -> Result<(), JobError> {
    let Some((from, etag)) = &job.moved_from else { return Err(JobError::Superseded) };
    if attributes::are_unknown(job) {
        return match attributes::ask(tools, job).await? {
            Asked::Otherwise(Outcome::Ended) => Ok(()),
            // It may be a link or have no object, which needs no copy.
            Asked::Told(..) | Asked::Otherwise(_) => Err(JobError::Superseded),
        };
    }
    let error = |kind, message: &str| StoreError {
        op: StoreOp::CopyObject,
        key: Some(from.clone()),
        kind,
        request_id: None,
        message: message.to_owned(),
    };
    let Some(head) = look(tools, from).await?.filter(|head| head.etag == *etag) else {
        let refusal = error(StoreErrorKind::Changed, "it was changed in the bucket");
        return lost(tools, job, refusal).await;
    };
    let Some(aside) = scratch(tools, job, "") else {
        return Err(
            error(StoreErrorKind::Invalid, "a scratch key would be over 1,024 bytes").into()
        );
    };
    let left = tools.clock.now().plus_millis(LEFT_MS);
    match tools.catalog.begin_aside(job.op, &aside, left).await {
        Err(CatalogError::NoEntry) => return Err(JobError::Superseded),
        noted => noted?,
    }
    let (to, size) = (aside.clone(), head.size);
    let whole = Whole { from: from.clone(), etag: etag.clone(), size, to };
    let mut options = tools.share.put_options(&job.inode);
    take_along(tools, &head, job.inode.kind, from, &mut options);
    // What is there is this attempt's, made before a restart.
    let copied = match whole.copy(tools, &options, &Expect::Anything).await {
        Ok(copied) => copied.etag,
        Err(JobError::Store(refusal)) if refusal.kind == StoreErrorKind::Changed => {
            return lost(tools, job, refusal).await;
        }
        Err(error) => return Err(error),
    };
    failpoint::passed(Point::UploadAfterCopy);
    tools.share.health.answered(Right::Write);
    let (from, to) = ((from.clone(), etag.clone()), (aside, copied));
    Ok(tools.catalog.stepped_aside(job.op, from, to, tools.clock.now()).await?)
}

/// The object is not what it was. Without it, a file that lacks bytes is set aside (ADR 19).
async fn lost(tools: &Tools, job: &SyncJob, refusal: StoreError) -> Result<(), JobError> {
    if !job.inode.content_dirty {
        return match lost_source(tools, job, refusal).await? {
            Outcome::Ended => Ok(()),
            Outcome::AskAgain | Outcome::Published(_) | Outcome::Earlier(_) => {
                Err(JobError::Superseded)
            }
        };
    }
    match without_base(tools, job, refusal.clone()).await? {
        Outcome::Ended => Ok(()),
        Outcome::AskAgain => Err(JobError::Superseded),
        // Nothing of this job can have landed there.
        Outcome::Published(_) | Outcome::Earlier(_) => Err(refusal.into()),
    }
}

/// A key that no listing shows and no file can have; `which` tells those of one attempt apart. Of this attempt alone: the deletion of what an earlier
/// one has left may still be on its way.
pub(super) fn scratch(tools: &Tools, job: &SyncJob, which: &str) -> Option<ObjectKey> {
    let (prefix, gateway) = (&tools.share.settings.prefix, &tools.share.gateway_id);
    let (ino, version, attempts) = (job.inode.ino.0, job.inode.version, job.attempts);
    // Another catalog, after the loss of this one, counts from the start.
    let catalog = tools.share.catalog;
    ObjectKey::new(format!(
        "{prefix}{SCRATCH_NAME}{gateway}-{catalog:x}-{ino}-{version}-{attempts}{which}"
    ))
}
