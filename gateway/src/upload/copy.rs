//! Copies within the store: what S3 has already is not sent. Where the store cannot copy, the bytes go by
//! way of this machine, in parts that the memory budget has room for, and never by the cache disk.
use std::ops::Range;

use super::{
    job::{JobError, Tools},
    multipart::{PartOf, Sending, send_part},
    plan::{self, Piece, SINGLE_PUT_BYTES_MAX},
    publish::{look, source},
};
use crate::{
    catalog::SyncJob,
    failpoint::{self, Point},
    object::{ETag, ObjectKey, Stored},
    ranges::RangeSet,
    store::{Expect, PutOptions, StoreError, StoreErrorKind, UploadedPart},
};

/// Lets the store copy a piece. Where it does not, its parts are fetched and sent, one after the other.
pub(super) async fn part(
    tools: &Tools,
    job: &SyncJob,
    upload_id: &str,
    number: u32,
    range: Range<u64>,
) -> Result<Vec<UploadedPart>, JobError> {
    let Some((from, etag)) = source(job) else { return Err(JobError::Superseded) };
    let key = &job.key;
    let part = PartOf { op: job.op, key, upload_id, number, range: range.clone() };
    let copied = part.noted(tools, async {
        Ok(copied(tools, key, (from, etag), upload_id, number, range.clone()).await?)
    });
    let error = match copied.await {
        Ok(part) => return Ok(vec![part]),
        Err(JobError::Store(error)) => error,
        Err(other) => return Err(other),
    };
    match error.kind {
        StoreErrorKind::Invalid => {
            tracing::debug!(%key, number, "parts are sent that the store does not copy: {error}");
            let mut sent = Vec::new();
            for (number, range) in plan::parts_of(number, range, job.inode.size) {
                sent.push(send_part(tools, job, upload_id, number, range).await?);
            }
            Ok(sent)
        }
        _ => Err(refused(tools, job, (from, etag), error).await?),
    }
}

/// Lets the store copy a piece for an object that is made of what was read in the file's turn. It is not noted, as the
/// file is written on. A store that does not copy it ends the turn.
pub(super) async fn unnoted(
    tools: &Tools,
    job: &SyncJob,
    upload_id: &str,
    number: u32,
    range: Range<u64>,
) -> Result<Vec<UploadedPart>, JobError> {
    let Some((from, etag)) = source(job) else { return Err(JobError::Superseded) };
    match copied(tools, &job.key, (from, etag), upload_id, number, range).await {
        Ok(part) => Ok(vec![part]),
        Err(error) => Err(refused(tools, job, (from, etag), error).await?),
    }
}

/// A part that the store has copied from bytes `range` of an object.
async fn copied(
    tools: &Tools,
    key: &ObjectKey,
    (from, etag): (&ObjectKey, &ETag),
    upload_id: &str,
    number: u32,
    range: Range<u64>,
) -> Result<UploadedPart, StoreError> {
    let store = &tools.share.store;
    let part = store.copy_part(key, upload_id, number, from, etag, range).await?;
    failpoint::passed(Point::UploadAfterPart);
    Ok(part)
}

/// What it means that the store did not copy a part.
async fn refused(
    tools: &Tools,
    job: &SyncJob,
    (from, etag): (&ObjectKey, &ETag),
    error: StoreError,
) -> Result<JobError, StoreError> {
    match error.kind {
        // Not an error of the store here: it would be taken for the condition of the publish.
        StoreErrorKind::Changed | StoreErrorKind::NotFound if job.inode.content_dirty => {
            Ok(JobError::BaseLost(error))
        }
        StoreErrorKind::Changed | StoreErrorKind::NotFound => {
            of_source(tools, (from, etag), error).await
        }
        StoreErrorKind::Denied
        | StoreErrorKind::Credentials
        | StoreErrorKind::Archived
        | StoreErrorKind::TooLarge
        | StoreErrorKind::NoBucket
        | StoreErrorKind::Throttled
        | StoreErrorKind::Unavailable
        | StoreErrorKind::Timeout
        | StoreErrorKind::Integrity
        | StoreErrorKind::Invalid => Ok(error.into()),
    }
}

/// What a refused copy of a part means where the whole object was to be copied: that object is not what
/// it was, which the publish settles, or S3 does not know the upload any more.
async fn of_source(
    tools: &Tools,
    (from, etag): (&ObjectKey, &ETag),
    error: StoreError,
) -> Result<JobError, StoreError> {
    let is_there = look(tools, from).await?.is_some_and(|head| head.etag == *etag);
    Ok(if is_there && error.kind == StoreErrorKind::NotFound {
        JobError::UploadGone(error)
    } else {
        // A 404 would be taken for the upload's.
        JobError::Store(StoreError { kind: StoreErrorKind::Changed, ..error })
    })
}

/// An object that is to be copied as a whole to another key, outside the journal.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    pub(super) from: ObjectKey,
    pub(super) etag: ETag,
    pub(super) size: u64,
    pub(super) to: ObjectKey,
}

impl Whole {
    /// Copies it. Parts of a large one go side by side; after a restart the copy begins anew.
    pub(super) async fn copy(
        &self,
        tools: &Tools,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, JobError> {
        let store = &tools.share.store;
        if self.size <= tools.copy_bytes_max {
            match store.copy(&self.from, &self.etag, &self.to, options, expect).await {
                Err(error) if error.kind == StoreErrorKind::Invalid => {}
                done => return Ok(done?),
            }
        }
        if self.size <= SINGLE_PUT_BYTES_MAX {
            let _memory = tools.budget.reserve(self.size).await;
            let body = store.get(&self.from, 0..self.size, &self.etag).await?;
            return Ok(store.put(&self.to, body, options, expect).await?);
        }
        let upload_id = store.create_multipart(&self.to, options).await?;
        let copied = match self.parts(tools, &upload_id).await {
            Ok(parts) => {
                let completed = store.complete_multipart(&self.to, &upload_id, &parts, expect);
                completed.await.map_err(JobError::from)
            }
            Err(error) => Err(error),
        };
        if copied.is_err()
            && let Err(error) = store.abort_multipart(&self.to, &upload_id).await
        {
            tracing::warn!(upload_id, "an unfinished copy stays behind: {error}");
        }
        copied
    }

    async fn parts(&self, tools: &Tools, upload_id: &str) -> Result<Vec<UploadedPart>, JobError> {
        let unchanged = RangeSet::new();
        let changed = tools.share.store.copies_parts().then_some(&unchanged);
        let mut sending = Sending::default();
        for (number, piece) in plan::pieces(self.size, changed, &[], tools.copy_bytes_max) {
            if !sending.has_room().await {
                break;
            }
            let (whole, tools, upload_id) = (self.clone(), tools.clone(), upload_id.to_owned());
            match piece {
                // Nothing was sent before.
                Piece::Done(_) => {}
                Piece::Copy(range) => drop(
                    sending
                        .tasks
                        .spawn(async move { whole.piece(&tools, &upload_id, number, range).await }),
                ),
                Piece::Send(range) => drop(sending.tasks.spawn(async move {
                    whole.carry(&tools, &upload_id, number, range).await.map(|part| vec![part])
                })),
            }
        }
        sending.finish().await
    }

    async fn piece(
        &self,
        tools: &Tools,
        upload_id: &str,
        number: u32,
        range: Range<u64>,
    ) -> Result<Vec<UploadedPart>, JobError> {
        let store = &tools.share.store;
        let (from, to) = (&self.from, &self.to);
        match store.copy_part(to, upload_id, number, from, &self.etag, range.clone()).await {
            Ok(part) => Ok(vec![part]),
            Err(error) if error.kind == StoreErrorKind::Invalid => {
                let mut carried = Vec::new();
                for (number, range) in plan::parts_of(number, range, self.size) {
                    carried.push(self.carry(tools, upload_id, number, range).await?);
                }
                Ok(carried)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Brings one part by way of this machine.
    async fn carry(
        &self,
        tools: &Tools,
        upload_id: &str,
        number: u32,
        range: Range<u64>,
    ) -> Result<UploadedPart, JobError> {
        let store = &tools.share.store;
        let _memory = tools.budget.reserve(range.end - range.start).await;
        let body = store.get(&self.from, range, &self.etag).await?;
        Ok(store.put_part(&self.to, upload_id, number, body).await?)
    }
}
