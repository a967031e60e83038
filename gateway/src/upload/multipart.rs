//! Large files: parts in parallel, each of the version that was claimed, resumed after a restart.
use std::ops::Range;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{
    job::{JobError, Tools},
    plan,
};
use crate::{
    catalog::{MultipartState, SyncJob},
    object::ETag,
    store::{Expect, PutOptions, StoreError, StoreErrorKind, StoreOp, UploadedPart},
};

/// Parts of one file under way at once.
const PARTS_AT_ONCE: usize = 4;

/// Bytes of the file, provably of the claimed version: the inode's lock is held exclusively while
/// the version is compared and the bytes are read, and a writer raises the version before it changes
/// a byte (I3).
pub(super) async fn frozen(
    tools: &Tools,
    job: &SyncJob,
    range: Range<u64>,
) -> Result<Bytes, JobError> {
    let _held = tools.locks.exclusive(job.inode.ino).await;
    if !tools.catalog.is_current(job.op, job.inode.version).await? {
        return Err(JobError::Superseded);
    }
    Ok(tools.cache.read_at(job.inode.ino, range).await?)
}

/// Sends the file in parts and completes the upload if the file has not changed meanwhile (I4).
pub(super) async fn send(
    tools: &Tools,
    job: &SyncJob,
    options: &PutOptions,
    expect: &Expect,
) -> Result<ETag, JobError> {
    let state = begin(tools, job, options).await?;
    match send_and_complete(tools, job, &state, expect).await {
        Ok(etag) => Ok(etag),
        Err(error) => {
            if is_useless_after(&error) {
                tools.catalog.abandon_multipart(job.op).await?;
            }
            match error {
                JobError::Store(error) if error.kind == StoreErrorKind::NotFound => {
                    Err(not_found(tools, job, expect, error).await?)
                }
                other => Err(other),
            }
        }
    }
}

/// What a 404 means: S3 does not know the upload any more, or the object that the completion was to
/// replace is gone, which `If-Match` is answered with as well.
async fn not_found(
    tools: &Tools,
    job: &SyncJob,
    expect: &Expect,
    error: StoreError,
) -> Result<JobError, StoreError> {
    let had_condition =
        error.op == StoreOp::CompleteMultipartUpload && matches!(expect, Expect::Tag(_));
    if !had_condition {
        return Ok(JobError::UploadGone(error));
    }
    match tools.share.store.head(&job.key).await {
        Ok(_) => Ok(JobError::UploadGone(error)),
        Err(head) if head.kind == StoreErrorKind::NotFound => Ok(JobError::Store(error)),
        Err(head) => Err(head),
    }
}

async fn send_and_complete(
    tools: &Tools,
    job: &SyncJob,
    state: &MultipartState,
    expect: &Expect,
) -> Result<ETag, JobError> {
    let parts = send_parts(tools, job, state).await?;
    if !tools.catalog.is_current(job.op, job.inode.version).await? {
        return Err(JobError::Superseded);
    }
    let store = &tools.share.store;
    Ok(store.complete_multipart(&job.key, &state.upload_id, &parts, expect).await?)
}

/// Whether the parts sent so far will never be completed. What the operator can mend (a refusal) and
/// what passes leaves them good: the next attempt resumes.
fn is_useless_after(error: &JobError) -> bool {
    match error {
        JobError::Superseded | JobError::UploadGone(_) => true,
        JobError::Store(error) => match error.kind {
            StoreErrorKind::NotFound
            | StoreErrorKind::Changed
            | StoreErrorKind::TooLarge
            | StoreErrorKind::Archived
            | StoreErrorKind::Invalid => true,
            StoreErrorKind::Denied
            | StoreErrorKind::Credentials
            | StoreErrorKind::NoBucket
            | StoreErrorKind::Throttled
            | StoreErrorKind::Unavailable
            | StoreErrorKind::Timeout
            | StoreErrorKind::Integrity => false,
        },
        JobError::Fetch(_) | JobError::Catalog(_) | JobError::Cache(_) => false,
    }
}

/// Resumes the recorded upload if it is of this version, or begins one.
async fn begin(
    tools: &Tools,
    job: &SyncJob,
    options: &PutOptions,
) -> Result<MultipartState, JobError> {
    if let Some(state) = &job.multipart
        && state.version == job.inode.version
    {
        return Ok(state.clone());
    }
    let upload_id = tools.share.store.create_multipart(&job.key, options).await?;
    tools.catalog.record_multipart(job.op, &job.key, job.inode.version, &upload_id).await?;
    Ok(MultipartState { upload_id, version: job.inode.version, parts: Vec::new() })
}

/// Sends the parts that S3 does not have. After a failure nothing new is begun, but what is under way
/// is waited for: a part that arrives is recorded, not sent again.
async fn send_parts(
    tools: &Tools,
    job: &SyncJob,
    state: &MultipartState,
) -> Result<Vec<UploadedPart>, JobError> {
    let mut done = Vec::new();
    let mut failed = None;
    let mut sending = JoinSet::new();
    for (number, range) in (1..).zip(plan::parts(job.inode.size)) {
        let known = state.parts.iter().find(|part| part.number == number && part.range == range);
        if let Some(known) = known {
            done.push(UploadedPart { number, etag: known.etag.clone() });
            continue;
        }
        if sending.len() >= PARTS_AT_ONCE {
            collect(sending.join_next().await, &mut done, &mut failed);
        }
        if failed.is_some() {
            break;
        }
        let (tools, job, upload_id) = (tools.clone(), job.clone(), state.upload_id.clone());
        sending.spawn(async move { send_part(&tools, &job, &upload_id, number, range).await });
    }
    while let Some(sent) = sending.join_next().await {
        collect(Some(sent), &mut done, &mut failed);
    }
    match failed {
        Some(error) => Err(error),
        None => {
            done.sort_by_key(|part| part.number);
            Ok(done)
        }
    }
}

type Joined = Option<Result<Result<UploadedPart, JobError>, tokio::task::JoinError>>;

/// Files the end of one part; the first failure counts.
fn collect(sent: Joined, done: &mut Vec<UploadedPart>, failed: &mut Option<JobError>) {
    let error = match sent {
        Some(Ok(Ok(part))) => return done.push(part),
        Some(Ok(Err(error))) => error,
        // Cancelled at the stop, or a bug that panicked: either way the part is not there.
        Some(Err(_)) | None => JobError::Superseded,
    };
    failed.get_or_insert(error);
}

async fn send_part(
    tools: &Tools,
    job: &SyncJob,
    upload_id: &str,
    number: u32,
    range: Range<u64>,
) -> Result<UploadedPart, JobError> {
    let _memory = tools.budget.reserve(range.end - range.start).await;
    let body = frozen(tools, job, range.clone()).await?;
    let part = tools.share.store.put_part(&job.key, upload_id, number, body).await?;
    tools.catalog.record_part(job.op, upload_id, number, &part.etag, range).await?;
    Ok(part)
}
