//! Large files that are still being written: their committed parts go ahead.
//!
//! Nothing is published here. The parts wait in S3 for the end of the file's upload, which completes
//! them; what is written again meanwhile takes its parts out of the catalog, and they are sent anew. Before the turn
//! of a file ([`still`](super::still)) all goes ahead that S3 lacks.
use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::{
    assemble::{self, Fetched},
    job::{JobError, Tools},
    multipart::{self, PartOf, Sending},
    plan,
    still::commit_beside_writers,
};
use crate::{
    catalog::{EarlyJob, MultipartState},
    ids::Ino,
    store::UploadedPart,
};

/// Uploads of which is remembered what went ahead: as many as are under way at once.
const UPLOADS_MAX: usize = 64;

/// What came of sending ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// There was nothing that could go.
    Nothing,
    /// All that could go has gone.
    Sent,
}

/// Sends the parts that are committed and that S3 does not have. A part that is being written again
/// ends it: [`JobError::Superseded`]. Nothing goes ahead where the store could not copy the object to
/// mend its attributes: all of it would be sent twice.
pub(super) async fn send(tools: &Tools, job: &EarlyJob) -> Result<Ahead, JobError> {
    let (wanted, upload) = (wanted(job, &tools.ahead), job.multipart.as_ref());
    let Some(upload_id) = upload_for(tools, job, upload, &wanted).await? else {
        return Ok(Ahead::Nothing);
    };
    let mut sending = Sending::default();
    for (number, range) in wanted {
        if !sending.has_room().await {
            break;
        }
        let (tools, upload_id) = (tools.clone(), upload_id.clone());
        let (op, key, ino) = (job.op, job.key.clone(), job.inode.ino);
        sending.tasks.spawn(async move {
            let _memory = tools.budget.reserve(range.end - range.start).await;
            let part = PartOf { op, key: &key, upload_id: &upload_id, number, range };
            let sent = part.send(&tools, |range| committed(&tools, ino, range, None)).await;
            if matches!(sent, Ok(_) | Err(JobError::Superseded)) {
                tools.ahead.note(&upload_id, number);
            }
            sent.map(|part| vec![part])
        });
    }
    sending.finish().await.map(|_| Ahead::Sent)
}

/// Sends those of `parts` that are whole, as they are now, for a file whose turn comes: what only S3 has of them is
/// fetched. Those that are written again meanwhile stay behind. They go on in `upload`, or in one that went ahead, or
/// in a new one; else as [`send`].
pub(super) async fn send_lacking(
    tools: &Tools,
    file: EarlyJob,
    upload: Option<MultipartState>,
    mut parts: Vec<(u32, Range<u64>)>,
) -> Result<Ahead, JobError> {
    let whole: HashSet<u32> = plan::early_parts(file.inode.size).map(|(at, _)| at).collect();
    parts.retain(|(number, _)| whole.contains(number));
    let upload = upload.or_else(|| file.multipart.clone().filter(|begun| begun.is_early));
    let Some(upload_id) = upload_for(tools, &file, upload.as_ref(), &parts).await? else {
        return Ok(Ahead::Nothing);
    };
    let file = Arc::new(file);
    let mut sending = Sending::default();
    for (number, range) in parts {
        if !sending.has_room().await {
            break;
        }
        let (tools, upload_id, file) = (tools.clone(), upload_id.clone(), Arc::clone(&file));
        sending.tasks.spawn(async move {
            let EarlyJob { op, key, .. } = file.as_ref();
            let part = PartOf { op: *op, key, upload_id: &upload_id, number, range };
            match send_as_it_is(&tools, &file, part).await {
                Ok(part) => Ok(vec![part]),
                Err(JobError::Superseded) => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        });
    }
    sending.finish().await.map(|_| Ahead::Sent)
}

/// Sends a part with what was written of it until now.
async fn send_as_it_is(
    tools: &Tools,
    file: &EarlyJob,
    part: PartOf<'_>,
) -> Result<UploadedPart, JobError> {
    let (ino, range) = (file.inode.ino, part.range.clone());
    let is_here = file.ranges.covers(&range);
    let bytes = range.end - range.start;
    let _memory = tools.budget.reserve(if is_here { bytes } else { 2 * bytes }).await;
    let fetched = if is_here {
        None
    } else {
        Fetched::of(tools, file, std::iter::once(range.clone())).await?
    };
    if !tools.cache.overlay().ranges(ino).overlapping(&range).is_empty() {
        // Its turn meets the same error, and tells.
        commit_beside_writers(tools, ino).await.map_err(|_| JobError::Superseded)?;
    }
    part.send(tools, |range| committed(tools, ino, range, fetched.as_ref())).await
}

/// The upload that parts of the file go ahead in, if any of `wanted` may go.
async fn upload_for(
    tools: &Tools,
    job: &EarlyJob,
    begun: Option<&MultipartState>,
    wanted: &[(u32, Range<u64>)],
) -> Result<Option<String>, JobError> {
    if wanted.is_empty() || !tools.share.store.copies_parts() {
        return Ok(None);
    }
    if let Some(begun) = begun {
        return Ok(Some(begun.upload_id.clone()));
    }
    let options = tools.share.put_options(&job.inode);
    let of = (job.op, job.inode.version);
    multipart::create_early(tools, of, &job.key, &options).await.map(Some)
}

/// Whole parts that are there and worth sending: all of them is new, and they have not gone ahead before
/// in `upload`. Who writes here and there in a file comes back to most of its parts.
fn wanted(job: &EarlyJob, ahead: &GoneAhead) -> Vec<(u32, Range<u64>)> {
    let upload = job.multipart.as_ref();
    let known = upload.map(|state| state.parts.as_slice()).unwrap_or_default();
    let gone_ahead = upload.map(|state| ahead.of(&state.upload_id)).unwrap_or_default();
    let is_wanted = |(number, part): &(u32, Range<u64>)| {
        job.ranges.covers(part)
            && job.changed.as_ref().is_none_or(|changed| changed.covers(part))
            && plan::part_of(known, *number).is_none_or(|known| known.range != *part)
            && !gone_ahead.contains(number)
    };
    plan::early_parts(job.inode.size).filter(is_wanted).collect()
}

/// Which parts went ahead in which uploads of this run. One that was written again since is sent with the
/// rest at the end, or before the file's turn: so nothing goes ahead twice while nobody waits for it, however often a
/// client comes back to it.
#[derive(Debug, Default)]
pub(super) struct GoneAhead(Mutex<VecDeque<(String, HashSet<u32>)>>);

impl GoneAhead {
    fn of(&self, upload_id: &str) -> HashSet<u32> {
        let uploads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = uploads.iter().find(|(id, _)| id == upload_id);
        known.map(|(_, numbers)| numbers.clone()).unwrap_or_default()
    }

    fn note(&self, upload_id: &str, number: u32) {
        let mut uploads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, numbers)) = uploads.iter_mut().find(|(id, _)| id == upload_id) {
            numbers.insert(number);
            return;
        }
        if uploads.len() == UPLOADS_MAX {
            uploads.pop_front();
        }
        uploads.push_back((upload_id.to_owned(), HashSet::from([number])));
    }
}

/// Bytes of the file that are committed. Nobody writes while the inode's lock is held exclusively, and
/// a commit of other bytes takes the part out of the catalog.
async fn committed(
    tools: &Tools,
    ino: Ino,
    range: Range<u64>,
    fetched: Option<&Fetched>,
) -> Result<Bytes, JobError> {
    let _held = tools.locks.exclusive(ino).await;
    if !tools.cache.overlay().ranges(ino).overlapping(&range).is_empty() {
        return Err(JobError::Superseded);
    }
    assemble::locked(tools, ino, range, fetched).await?.ok_or(JobError::Superseded)
}
