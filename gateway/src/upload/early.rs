//! Large files that are still being written: their committed parts go ahead.
//!
//! Nothing is published here. The parts wait in S3 for the end of the file's upload, which completes
//! them; what is written again meanwhile takes its parts out of the catalog, and they are sent anew.
use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

use super::{
    job::{JobError, Tools},
    multipart::{self, PartOf, Sending},
    plan,
};
use crate::{catalog::EarlyJob, ids::Ino, verified};

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
    if !tools.share.store.copies_parts() {
        return Ok(Ahead::Nothing);
    }
    let wanted = wanted(job, &tools.ahead);
    if wanted.is_empty() {
        return Ok(Ahead::Nothing);
    }
    let upload_id = match &job.multipart {
        Some(state) => state.upload_id.clone(),
        None => {
            let options = tools.share.put_options(&job.inode);
            multipart::create_early(tools, (job.op, job.inode.version), &job.key, &options).await?
        }
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
            let sent = part.send(&tools, |range| committed(&tools, ino, range)).await;
            if matches!(sent, Ok(_) | Err(JobError::Superseded)) {
                tools.ahead.note(&upload_id, number);
            }
            sent.map(|part| vec![part])
        });
    }
    sending.finish().await.map(|_| Ahead::Sent)
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
/// rest at the end: so nothing goes ahead twice, however often a client comes back to it.
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
async fn committed(tools: &Tools, ino: Ino, range: Range<u64>) -> Result<Bytes, JobError> {
    let _held = tools.locks.exclusive(ino).await;
    if !tools.cache.overlay().ranges(ino).overlapping(&range).is_empty() {
        return Err(JobError::Superseded);
    }
    verified::read_locked(&tools.catalog, &tools.cache, &tools.share.health, ino, range).await
}
