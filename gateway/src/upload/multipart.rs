//! Large files: parts in parallel, resumed after a restart; what S3 has already is copied there.
use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{
    assemble, composed, copy,
    job::{JobError, Tools},
    lacks::{By, InParts},
    landed::landed,
    plan::{self, Piece},
    publish::{Sent, look, source},
    still::{Parts, Read},
};
use crate::{
    catalog::{CatalogError, MultipartState, OpId, SyncJob},
    failpoint::{self, Point},
    object::{ObjectKey, Stored},
    share::metadata,
    store::{Expect, PutOptions, StoreError, StoreErrorKind, StoreOp, UploadedPart},
};

/// Parts of one file under way at once, if there is memory for them.
const PARTS_AT_ONCE: usize = 8;

/// Sends the file in parts and completes the upload: of what was read in the file's turn, whatever becomes of the file
/// meanwhile, or if it has not changed (I4).
pub(super) async fn send(
    tools: &Tools,
    job: &SyncJob,
    options: &PutOptions,
    expect: &Expect,
) -> Result<Sent, JobError> {
    let taken = tools.take();
    let turn = taken.as_ref().and_then(|taken| match &taken.what {
        Read::Parts(parts) => Some(parts),
        Read::Body(_) => None,
    });
    let (resumed, pieces) = match turn {
        Some(turn) => (turn.upload.clone(), turn.pieces.clone()),
        None => {
            let (resumed, pieces) = InParts::from(job).plan(tools, By::Publish).await?;
            (resumed.cloned(), pieces)
        }
    };
    if turn.is_none() && source(job).is_none() && !are_here(tools, job, &pieces).await? {
        return Err(JobError::Incomplete);
    }
    let state = match resumed {
        Some(state) => state,
        None => {
            let new = New { op: job.op, version: job.inode.version, is_early: false };
            begin(tools, new, &job.key, options).await?
        }
    };
    let of = Of { state: &state, pieces, turn };
    match send_and_complete(tools, job, of, expect).await {
        // Attributes are those that the upload was begun with.
        Ok(object) => {
            let is_whole = state.is_whole(job.inode.version);
            Ok(Sent { object, is_whole, upload: Some(state.upload_id) })
        }
        Err(error) => {
            let error = match error {
                JobError::Store(error) if error.kind == StoreErrorKind::NotFound => {
                    not_found(tools, job, expect, error).await?
                }
                JobError::BaseLost(error) => without_base(tools, job, error).await?,
                other => other,
            };
            if is_useless_after(&error) {
                tools.catalog.abandon_multipart(job.op).await?;
            }
            Err(error)
        }
    }
}

/// What a file's upload in parts is made of.
struct Of<'s> {
    state: &'s MultipartState,
    pieces: Vec<(u32, Piece)>,
    /// What was read in the file's turn.
    turn: Option<&'s Parts>,
}

/// What a 404 means: S3 does not know the upload any more, as it was completed after all, or dropped; or
/// the object that the completion was to replace is gone, which `If-Match` is answered with as well.
async fn not_found(
    tools: &Tools,
    job: &SyncJob,
    expect: &Expect,
    error: StoreError,
) -> Result<JobError, JobError> {
    let had_condition =
        error.op == StoreOp::CompleteMultipartUpload && matches!(expect, Expect::Tag(_));
    Ok(match look(tools, &job.key).await? {
        Some(head) if landed(tools, job, &head).await?.is_some() => JobError::Store(error),
        None if had_condition => JobError::Store(error),
        Some(_) | None => JobError::UploadGone(error),
    })
}

async fn send_and_complete(
    tools: &Tools,
    job: &SyncJob,
    of: Of<'_>,
    expect: &Expect,
) -> Result<Stored, JobError> {
    let (upload_id, is_turn) = (&of.state.upload_id, of.turn.is_some());
    let parts = send_parts(tools, job, of).await?;
    if !is_turn && !tools.catalog.is_current(job.op, job.inode.version).await? {
        return Err(JobError::Superseded);
    }
    let store = &tools.share.store;
    let stored = store.complete_multipart(&job.key, upload_id, &parts, expect).await?;
    failpoint::passed(Point::UploadAfterComplete);
    Ok(stored)
}

/// Whether the parts sent so far will never be completed. What the operator can mend (a refusal) and
/// what passes leaves them good: the next attempt resumes. So does a change of the file, for the parts
/// that it has not touched.
fn is_useless_after(error: &JobError) -> bool {
    match error {
        JobError::UploadGone(_) => true,
        JobError::Store(error) => match error.kind {
            StoreErrorKind::TooLarge | StoreErrorKind::Archived | StoreErrorKind::Invalid => true,
            // The condition of the publish does not hold: it is settled, and the parts are good.
            StoreErrorKind::NotFound
            | StoreErrorKind::Changed
            | StoreErrorKind::Denied
            | StoreErrorKind::Credentials
            | StoreErrorKind::NoBucket
            | StoreErrorKind::Throttled
            | StoreErrorKind::Unavailable
            | StoreErrorKind::Timeout
            | StoreErrorKind::Integrity => false,
        },
        JobError::Superseded
        | JobError::BaseLost(_)
        | JobError::Incomplete
        | JobError::Random(_)
        | JobError::Fetch(_)
        | JobError::Catalog(_)
        | JobError::Cache(_) => false,
    }
}

/// Creates an upload of the file at `version`, which is being written, and records it; answers its id.
pub(super) async fn create_early(
    tools: &Tools,
    (op, version): (OpId, u64),
    key: &ObjectKey,
    options: &PutOptions,
) -> Result<String, JobError> {
    let new = New { op, version, is_early: true };
    Ok(begin(tools, new, key, options).await?.upload_id)
}

/// What an upload is begun for.
#[derive(Clone, Copy, Debug)]
struct New {
    op: OpId,
    /// Whose attributes it has.
    version: u64,
    /// As in [`MultipartState`].
    is_early: bool,
}

/// Begins an upload, with a tag of its own in the metadata of its object; the abort of an earlier one is
/// journalled.
async fn begin(
    tools: &Tools,
    New { op, version, is_early }: New,
    key: &ObjectKey,
    options: &PutOptions,
) -> Result<MultipartState, JobError> {
    let tag = format!("{:016x}", getrandom::u64()?);
    let mut options = options.clone();
    if let Some(generation) = options.user.get_mut(metadata::GENERATION) {
        generation.push(':');
        generation.push_str(&tag);
    }
    let upload_id = tools.share.store.create_multipart(key, &options).await?;
    failpoint::passed(Point::UploadAfterCreate);
    let (key, tag) = (key.clone(), Some(tag));
    let state = MultipartState { upload_id, key, version, tag, is_early, parts: Vec::new() };
    match tools.catalog.record_multipart(op, &state).await {
        Ok(()) => Ok(state),
        Err(CatalogError::NoEntry) => {
            // The file was removed meanwhile: nobody else knows of the upload.
            tools.share.store.abort_multipart(&state.key, &state.upload_id).await?;
            Err(JobError::Superseded)
        }
        Err(error) => Err(error.into()),
    }
}

/// Brings the parts that S3 does not have. After a failure nothing new is begun, but what is under way
/// is waited for: a part that arrives is recorded, not sent again.
async fn send_parts(
    tools: &Tools,
    job: &SyncJob,
    of: Of<'_>,
) -> Result<Vec<UploadedPart>, JobError> {
    let mut sending = Sending::default();
    // It holds all parts sent so far: not to be copied for each of them.
    let shared = Arc::new(job.clone());
    let is_turn = of.turn.is_some();
    for (number, piece) in of.pieces {
        if !sending.has_room().await {
            break;
        }
        let (tools, job) = (tools.clone(), Arc::clone(&shared));
        let upload_id = of.state.upload_id.clone();
        let read = of.turn.and_then(|turn| turn.bytes(number));
        match piece {
            Piece::Done(etag) => sending.done.push(UploadedPart { number, etag }),
            Piece::Copy(range) => drop(sending.tasks.spawn(async move {
                if is_turn {
                    return copy::unnoted(&tools, &job, &upload_id, number, range).await;
                }
                copy::part(&tools, &job, &upload_id, number, range).await
            })),
            Piece::Send(range) => drop(sending.tasks.spawn(async move {
                let sent = match read {
                    Some(bytes) => put_part(&tools, &job.key, &upload_id, number, bytes).await,
                    None => send_part(&tools, &job, &upload_id, number, range).await,
                };
                sent.map(|part| vec![part])
            })),
        }
    }
    sending.finish().await
}

/// Sends bytes as a part. It is not noted: of a file that is written on it may be none of its parts by now.
async fn put_part(
    tools: &Tools,
    key: &ObjectKey,
    upload_id: &str,
    number: u32,
    body: Bytes,
) -> Result<UploadedPart, JobError> {
    let bytes = body.len() as u64;
    let part = tools.share.store.put_part(key, upload_id, number, body).await?;
    tools.sent.fetch_add(bytes, Ordering::Relaxed);
    failpoint::passed(Point::UploadAfterPart);
    Ok(part)
}

/// Whether all that is to be sent is here.
async fn are_here(
    tools: &Tools,
    job: &SyncJob,
    pieces: &[(u32, Piece)],
) -> Result<bool, CatalogError> {
    let here = tools.catalog.ranges(job.inode.ino).await?;
    Ok(pieces.iter().all(|(_, piece)| match piece {
        Piece::Send(range) => here.covers(range),
        Piece::Done(_) | Piece::Copy(_) => true,
    }))
}

/// Parts under way.
#[derive(Default)]
pub(super) struct Sending {
    pub(super) tasks: JoinSet<Result<Vec<UploadedPart>, JobError>>,
    done: Vec<UploadedPart>,
    failed: Option<JobError>,
}

impl Sending {
    /// Waits until another part may be begun; `false` after a failure.
    pub(super) async fn has_room(&mut self) -> bool {
        while self.failed.is_none() && self.tasks.len() >= PARTS_AT_ONCE {
            self.join().await;
        }
        self.failed.is_none()
    }

    /// Waits for what is under way. The parts by number, or the first failure.
    pub(super) async fn finish(mut self) -> Result<Vec<UploadedPart>, JobError> {
        while !self.tasks.is_empty() {
            self.join().await;
        }
        match self.failed {
            Some(error) => Err(error),
            None => {
                self.done.sort_by_key(|part| part.number);
                Ok(self.done)
            }
        }
    }

    async fn join(&mut self) {
        let error = match self.tasks.join_next().await {
            Some(Ok(Ok(parts))) => return self.done.extend(parts),
            Some(Ok(Err(error))) => error,
            Some(Err(died)) if died.is_panic() => std::panic::resume_unwind(died.into_panic()),
            // Cancelled at the stop: the part is not there.
            Some(Err(_)) | None => JobError::Superseded,
        };
        self.failed.get_or_insert(error);
    }
}

pub(super) async fn send_part(
    tools: &Tools,
    job: &SyncJob,
    upload_id: &str,
    number: u32,
    range: Range<u64>,
) -> Result<UploadedPart, JobError> {
    if composed::is_due(tools, range.end - range.start) {
        return composed::send(tools, job, upload_id, number, range).await;
    }
    let _memory = tools.budget.reserve(range.end - range.start).await;
    let part = PartOf { op: job.op, key: &job.key, upload_id, number, range };
    part.send(tools, |range| assemble::bytes(tools, job, range)).await
}

/// One part on its way.
pub(super) struct PartOf<'j> {
    pub(super) op: OpId,
    pub(super) key: &'j ObjectKey,
    pub(super) upload_id: &'j str,
    pub(super) number: u32,
    pub(super) range: Range<u64>,
}

impl PartOf<'_> {
    /// Sends what `read` gives of the part's bytes. [`JobError::Superseded`] if they change meanwhile.
    pub(super) async fn send<F>(
        self,
        tools: &Tools,
        read: impl FnOnce(Range<u64>) -> F,
    ) -> Result<UploadedPart, JobError>
    where
        F: Future<Output = Result<Bytes, JobError>>,
    {
        let (key, upload_id, number) = (self.key, self.upload_id, self.number);
        let range = self.range.clone();
        self.noted(tools, async {
            put_part(tools, key, upload_id, number, read(range).await?).await
        })
        .await
    }

    /// Notes the part, lets `request` bring it to S3, and notes it as taken.
    pub(super) async fn noted(
        self,
        tools: &Tools,
        request: impl Future<Output = Result<UploadedPart, JobError>>,
    ) -> Result<UploadedPart, JobError> {
        let (catalog, Self { op, upload_id, number, range, .. }) = (&tools.catalog, self);
        catalog.begin_part(op, upload_id, number, range.clone()).await.map_err(changed)?;
        let part = request.await?;
        let noted = catalog.record_part(op, upload_id, number, &part.etag, range).await;
        noted.map_err(changed)?;
        Ok(part)
    }
}

/// A part that the catalog does not take any more is of other bytes, or of a file that is gone.
pub(super) fn changed(error: CatalogError) -> JobError {
    match error {
        CatalogError::NoEntry => JobError::Superseded,
        other => other.into(),
    }
}

/// The object that was to be copied from is another one: everything is sent that S3 has not taken by now,
/// if that is here. Call it when no part is under way.
async fn without_base(
    tools: &Tools,
    job: &SyncJob,
    error: StoreError,
) -> Result<JobError, JobError> {
    let may_be_upload =
        error.op == StoreOp::UploadPartCopy && error.kind == StoreErrorKind::NotFound;
    if may_be_upload && has_base(tools, job).await? {
        return Ok(JobError::UploadGone(error));
    }
    let begun = tools.catalog.upload_of(job.op).await?;
    let parts = begun.as_ref().map_or(&[][..], |state| &state.parts);
    let to_send = plan::pieces(job.inode.size, None, parts, tools.copy_bytes_max);
    if !are_here(tools, job, &to_send).await? {
        return Ok(JobError::BaseLost(error));
    }
    tools.catalog.forget_base(job.op).await?;
    Ok(JobError::Superseded)
}

/// Whether the object that is copied from is the one that it was.
async fn has_base(tools: &Tools, job: &SyncJob) -> Result<bool, StoreError> {
    let Some((from, believed)) = source(job) else { return Ok(false) };
    Ok(look(tools, from).await?.is_some_and(|head| head.etag == *believed))
}
