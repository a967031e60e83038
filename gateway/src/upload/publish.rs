//! Brings one object to the state of its inode: by PUT, by multipart upload, or by a copy on the
//! server, always on the condition that the object is the one that the catalog believes in (I10).
use bytes::Bytes;
use gateway_api::status::HealthEventKind;

use super::{
    job::{JobError, Tools},
    multipart,
    plan::{self, COPY_BYTES_MAX, SINGLE_PUT_BYTES_MAX},
};
use crate::{
    catalog::{CatalogError, Expected, SyncJob},
    ids::FileKind,
    object::{ETag, ObjectKey},
    share::metadata,
    store::{Expect, ObjectMeta, PutOptions, StoreError, StoreErrorKind},
};

/// How a publish ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The object is there, with this tag.
    Published(ETag),
    /// Something had to be settled first: claim the job again.
    AskAgain,
}

/// Publishes.
pub(super) async fn publish(tools: &Tools, job: &SyncJob) -> Result<Outcome, JobError> {
    if job.sent_before
        && let Some(etag) = done_before(tools, job).await?
    {
        return Ok(Outcome::Published(etag));
    }
    let options = tools.share.put_options(&job.inode);
    match send(tools, job, &options).await {
        Ok(etag) => Ok(Outcome::Published(etag)),
        Err(JobError::Store(error)) if is_condition(&error) => settle(tools, job, &options).await,
        Err(error) => Err(error),
    }
}

/// Whether the store says that the object is not the one expected: 412, or 404 for an `If-Match`.
fn is_condition(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::Changed | StoreErrorKind::NotFound)
}

fn expect(job: &SyncJob) -> Expect {
    match &job.expect {
        Expected::Absent => Expect::Absent,
        Expected::Tag(etag) => Expect::Tag(etag.clone()),
    }
}

/// The tag of the object if an earlier attempt has published this very version.
async fn done_before(tools: &Tools, job: &SyncJob) -> Result<Option<ETag>, JobError> {
    match tools.share.store.head(&job.key).await {
        Ok(head) if is_ours(tools, job, &head) => Ok(Some(head.etag)),
        Ok(_) => Ok(None),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_ours(tools: &Tools, job: &SyncJob, head: &ObjectMeta) -> bool {
    head.user.get(metadata::GENERATION) == Some(&tools.share.generation(&job.inode))
}

/// Sends the object by the cheapest way that is right.
async fn send(tools: &Tools, job: &SyncJob, options: &PutOptions) -> Result<ETag, JobError> {
    let inode = &job.inode;
    match inode.kind {
        FileKind::Directory => put(tools, job, Bytes::new(), options).await,
        FileKind::Symlink => {
            let target = Bytes::from(inode.target.clone().unwrap_or_default());
            put(tools, job, target, options).await
        }
        FileKind::File => match source(job) {
            Some((from, etag)) if !inode.content_dirty => {
                copy(tools, job, from, etag, options).await
            }
            _ => content(tools, job, options).await,
        },
    }
}

/// The object to copy from when the content is clean.
fn source(job: &SyncJob) -> Option<(&ObjectKey, &ETag)> {
    match &job.moved_from {
        Some((key, etag)) => Some((key, etag)),
        None => job.inode.object_key.as_ref().zip(job.inode.etag.as_ref()),
    }
}

async fn put(
    tools: &Tools,
    job: &SyncJob,
    body: Bytes,
    options: &PutOptions,
) -> Result<ETag, JobError> {
    Ok(tools.share.store.put(&job.key, body, options, &expect(job)).await?)
}

async fn copy(
    tools: &Tools,
    job: &SyncJob,
    from: &ObjectKey,
    etag: &ETag,
    options: &PutOptions,
) -> Result<ETag, JobError> {
    let store = &tools.share.store;
    if job.inode.size <= COPY_BYTES_MAX {
        return Ok(store.copy(from, etag, &job.key, options, &expect(job)).await?);
    }
    let upload_id = store.create_multipart(&job.key, options).await?;
    tools.catalog.record_multipart(job.op, &job.key, job.inode.version, &upload_id).await?;
    let mut parts = Vec::new();
    for (number, range) in (1..).zip(plan::copy_parts(job.inode.size)) {
        parts.push(store.copy_part(&job.key, &upload_id, number, from, etag, range).await?);
    }
    Ok(store.complete_multipart(&job.key, &upload_id, &parts, &expect(job)).await?)
}

async fn content(tools: &Tools, job: &SyncJob, options: &PutOptions) -> Result<ETag, JobError> {
    let inode = &job.inode;
    // What was never read nor written here is still only in S3.
    tools.fetcher.fetch(inode.ino, 0..inode.size).await?;
    if inode.size > SINGLE_PUT_BYTES_MAX {
        return multipart::send(tools, job, options, &expect(job)).await;
    }
    let _memory = tools.budget.reserve(inode.size).await;
    let body = multipart::frozen(tools, job, 0..inode.size).await?;
    put(tools, job, body, options).await
}

/// The condition did not hold: either an earlier attempt of ours was done after all, or somebody
/// else has changed the object.
async fn settle(tools: &Tools, job: &SyncJob, options: &PutOptions) -> Result<Outcome, JobError> {
    let head = match tools.share.store.head(&job.key).await {
        Ok(head) => head,
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            return gone(tools, job).await;
        }
        Err(error) => return Err(error.into()),
    };
    if is_ours(tools, job, &head) {
        return Ok(Outcome::Published(head.etag));
    }
    if let Expected::Tag(expected) = &job.expect
        && *expected == head.etag
    {
        // The target is as believed, so it was the source of the copy that is not.
        return lost_source(tools, job).await;
    }
    let is_marker = job.inode.kind == FileKind::Directory && head.size == 0;
    if !(is_marker || tools.share.wrote(&head.user)) {
        keep_theirs(tools, job, &head, options).await?;
    }
    tools.catalog.adopt_object(job.op, &job.key, Some(head.etag)).await?;
    Ok(Outcome::AskAgain)
}

/// No object has the key although one was expected.
async fn gone(tools: &Tools, job: &SyncJob) -> Result<Outcome, JobError> {
    match &job.expect {
        Expected::Tag(_) => {
            tools.share.health.event(
                HealthEventKind::Conflict,
                format!(
                    "{} was deleted in the bucket while it was changed here; it is put back",
                    job.key
                ),
            );
            tools.catalog.adopt_object(job.op, &job.key, None).await?;
            Ok(Outcome::AskAgain)
        }
        // Nothing was expected and nothing is there: the source of a copy is missing.
        Expected::Absent => lost_source(tools, job).await,
    }
}

/// The object to be copied is not what the catalog believes.
async fn lost_source(tools: &Tools, job: &SyncJob) -> Result<Outcome, JobError> {
    let Some((from, _)) = source(job) else {
        return Err(CatalogError::Changed.into());
    };
    let found = match tools.share.store.head(from).await {
        Ok(head) => Some(head.etag),
        Err(error) if error.kind == StoreErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    tools.share.health.event(
        HealthEventKind::Conflict,
        format!("{from} was changed in the bucket while it was being renamed or changed here"),
    );
    tools.catalog.adopt_object(job.op, from, found).await?;
    Ok(Outcome::AskAgain)
}

/// Keeps the object of another writer beside ours, under a name of its own.
async fn keep_theirs(
    tools: &Tools,
    job: &SyncJob,
    head: &ObjectMeta,
    options: &PutOptions,
) -> Result<(), JobError> {
    let stamp = tools.clock.now().seconds();
    let name = format!(
        "{}.conflict-{}-{stamp}",
        job.key.as_str().trim_end_matches('/'),
        tools.share.gateway_id
    );
    let Some(aside) = ObjectKey::new(name) else {
        let message = format!("{}: a conflict copy's key would be over 1,024 bytes", job.key);
        return Err(JobError::Store(StoreError {
            op: crate::store::StoreOp::CopyObject,
            key: Some(job.key.clone()),
            kind: StoreErrorKind::Invalid,
            request_id: None,
            message,
        }));
    };
    let theirs = PutOptions { user: head.user.clone(), ..options.clone() };
    tools.share.store.copy(&job.key, &head.etag, &aside, &theirs, &Expect::Anything).await?;
    tools.share.health.event(
        HealthEventKind::Conflict,
        format!(
            "{} was changed in the bucket and here; the bucket's version is kept as {aside}",
            job.key
        ),
    );
    Ok(())
}
