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
    store::{Expect, PutOptions, UploadedPart},
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
    let done = send_parts(tools, job, &state).await;
    let parts = match done {
        Ok(parts) => parts,
        Err(JobError::Superseded) => {
            tools.catalog.abandon_multipart(job.op).await?;
            return Err(JobError::Superseded);
        }
        Err(error) => return Err(error),
    };
    if !tools.catalog.is_current(job.op, job.inode.version).await? {
        tools.catalog.abandon_multipart(job.op).await?;
        return Err(JobError::Superseded);
    }
    let completed =
        tools.share.store.complete_multipart(&job.key, &state.upload_id, &parts, expect).await;
    match completed {
        Ok(etag) => Ok(etag),
        Err(error) => {
            if !error.kind.is_retryable() {
                // The upload is gone or useless: the next attempt begins another.
                tools.catalog.abandon_multipart(job.op).await?;
            }
            Err(error.into())
        }
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

async fn send_parts(
    tools: &Tools,
    job: &SyncJob,
    state: &MultipartState,
) -> Result<Vec<UploadedPart>, JobError> {
    let mut done = Vec::new();
    let mut sending = JoinSet::new();
    for (number, range) in (1..).zip(plan::parts(job.inode.size)) {
        let known = state.parts.iter().find(|part| part.number == number && part.range == range);
        if let Some(known) = known {
            done.push(UploadedPart { number, etag: known.etag.clone() });
            continue;
        }
        if sending.len() >= PARTS_AT_ONCE {
            done.push(joined(sending.join_next().await)?);
        }
        let (tools, job, upload_id) = (tools.clone(), job.clone(), state.upload_id.clone());
        sending.spawn(async move { send_part(&tools, &job, &upload_id, number, range).await });
    }
    while let Some(sent) = sending.join_next().await {
        done.push(joined(Some(sent))?);
    }
    done.sort_by_key(|part| part.number);
    Ok(done)
}

type Joined = Option<Result<Result<UploadedPart, JobError>, tokio::task::JoinError>>;

fn joined(sent: Joined) -> Result<UploadedPart, JobError> {
    match sent {
        Some(Ok(sent)) => sent,
        // Cancelled at the stop, or a bug that panicked: either way the part is not there.
        Some(Err(_)) | None => Err(JobError::Superseded),
    }
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
