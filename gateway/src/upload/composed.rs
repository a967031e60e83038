//! Parts that are larger than the memory for bodies: each is put together in the bucket, as an object of
//! its own, of pieces that there is memory for, and becomes a part by a copy on the server. A file of 5 TiB
//! has parts of 525 MiB, one of 48.8 TiB has parts of 5 GiB.
use std::{ops::Range, sync::atomic::Ordering};

use super::{
    assemble,
    job::{JobError, Tools},
    multipart::{PartOf, changed},
    publish::{is_condition, look},
    swapped::{LEFT_MS, scratch},
};
use crate::{
    catalog::SyncJob,
    object::{ObjectKey, Stored},
    store::{Expect, StoreError, StoreErrorKind, StoreOp, UploadedPart},
};

/// S3: the least part, but for the last.
const PIECE_BYTES_MIN: u64 = 5 << 20;
/// The largest piece, which is as large as a part of most files.
const PIECE_BYTES_MAX: u64 = 16 << 20;

/// Whether a part of so many bytes goes this way. Not where the store does not copy parts: it is sent as a
/// whole then, alone.
pub(super) fn is_due(tools: &Tools, bytes: u64) -> bool {
    bytes > tools.budget.bytes() && tools.share.store.copies_parts()
}

/// Brings bytes `range` of the file to S3 as the part `number`.
pub(super) async fn send(
    tools: &Tools,
    job: &SyncJob,
    upload_id: &str,
    number: u32,
    range: Range<u64>,
) -> Result<UploadedPart, JobError> {
    let part = PartOf { op: job.op, key: &job.key, upload_id, number, range: range.clone() };
    part.noted(tools, async {
        let at = scratch(tools, job, &format!("-{number}")).ok_or_else(|| no_key(job))?;
        // Whatever becomes of this, it is deleted when the job has ended.
        let left = tools.clock.now().plus_millis(LEFT_MS);
        tools.catalog.begin_aside(job.op, &at, left).await.map_err(changed)?;
        let made = compose(tools, job, &at, range.clone()).await?;
        let (store, size) = (&tools.share.store, range.end - range.start);
        let copied = store.copy_part(&job.key, upload_id, number, &at, &made.etag, 0..size).await;
        let copied = match copied {
            Err(error) => Err(of_copy(tools, &at, &made, error).await?),
            Ok(part) => Ok(part),
        };
        match store.delete(&at, None).await {
            // A file has up to 10,000 of them: none may stay on the job's account.
            Ok(()) => tools.catalog.aside_gone(job.op, &at).await?,
            Err(error) => tracing::debug!(%at, "it is deleted when the upload has ended: {error}"),
        }
        copied
    })
    .await
}

/// Makes the object `at` of the bytes, piece by piece.
async fn compose(
    tools: &Tools,
    job: &SyncJob,
    at: &ObjectKey,
    range: Range<u64>,
) -> Result<Stored, JobError> {
    let store = &tools.share.store;
    let id = store.create_multipart(at, &tools.share.put_options(&job.inode)).await;
    let id = id.map_err(of_scratch)?;
    let made = async {
        let mut parts = Vec::new();
        for (number, piece) in (1..).zip(pieces(range, tools.budget.bytes())) {
            let bytes = piece.end - piece.start;
            let _memory = tools.budget.reserve(bytes).await;
            let body = assemble::bytes(tools, job, piece).await?;
            parts.push(store.put_part(at, &id, number, body).await.map_err(of_scratch)?);
            tools.sent.fetch_add(bytes, Ordering::Relaxed);
        }
        let made = store.complete_multipart(at, &id, &parts, &Expect::Anything).await;
        made.map_err(of_scratch)
    };
    let made = made.await;
    if made.is_err()
        && let Err(error) = store.abort_multipart(at, &id).await
    {
        tracing::warn!(upload_id = id, "an unfinished part stays behind: {error}");
    }
    made
}

/// The bytes in pieces, with so much memory for them.
fn pieces(range: Range<u64>, memory: u64) -> impl Iterator<Item = Range<u64>> {
    let piece = memory.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX);
    let count = (range.end - range.start).div_ceil(piece);
    let start = move |i: u64| range.start + i * piece;
    (0..count).map(move |i| start(i)..(start(i) + piece).min(range.end))
}

/// An error of the part's own object. It must not be taken for the condition of the publish.
fn of_scratch(error: StoreError) -> JobError {
    JobError::Store(passing(error))
}

fn passing(error: StoreError) -> StoreError {
    if is_condition(&error) {
        StoreError { kind: StoreErrorKind::Unavailable, ..error }
    } else {
        error
    }
}

/// What it means that the part's object was not copied: S3 does not know the file's upload any more, if
/// the object is there.
async fn of_copy(
    tools: &Tools,
    at: &ObjectKey,
    made: &Stored,
    error: StoreError,
) -> Result<JobError, StoreError> {
    let is_there = error.kind == StoreErrorKind::NotFound
        && look(tools, at).await?.is_some_and(|head| head.etag == made.etag);
    Ok(if is_there { JobError::UploadGone(error) } else { of_scratch(error) })
}

fn no_key(job: &SyncJob) -> JobError {
    JobError::Store(StoreError {
        op: StoreOp::CreateMultipartUpload,
        key: Some(job.key.clone()),
        kind: StoreErrorKind::Invalid,
        request_id: None,
        message: "a scratch key would be over 1,024 bytes".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_part_and_fit_the_memory_and_s3() {
        for (range, memory) in [
            (100 << 20..(100 << 20) + (525 << 20), 64 << 20),
            (7..7 + (5 << 30), 64 << 20),
            (0..(16 << 20) + 1, 6 << 20),
            (0..(16 << 20) + 1, 4096),
        ] {
            let all: Vec<_> = pieces(range.clone(), memory).collect();
            assert_eq!((all[0].start, all[all.len() - 1].end), (range.start, range.end));
            assert!(all.windows(2).all(|two| two[0].end == two[1].start));
            let (_, but_last) = all.split_last().unwrap();
            let bytes = |piece: &Range<u64>| piece.end - piece.start;
            assert!(but_last.iter().all(|piece| bytes(piece) >= PIECE_BYTES_MIN), "{memory}");
            assert!(all.iter().all(|piece| bytes(piece) <= memory.max(PIECE_BYTES_MIN)));
            assert!(all.len() <= 10_000);
        }
    }
}
