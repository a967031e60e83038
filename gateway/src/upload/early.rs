//! Large files that are still being written: their committed parts go ahead.
//!
//! Nothing is published here. The parts wait in S3 for the end of the file's upload, which completes
//! them; what is written again meanwhile takes its parts out of the catalog, and they are sent anew.
use std::ops::Range;

use bytes::Bytes;

use super::{
    job::{JobError, Tools},
    multipart::{self, PartOf, Sending},
    plan,
};
use crate::{catalog::EarlyJob, ids::Ino, verified};

/// Sends the parts that are committed and that S3 does not have. A part that is being written again
/// ends it: [`JobError::Superseded`].
pub(super) async fn send(tools: &Tools, job: &EarlyJob) -> Result<(), JobError> {
    let wanted = wanted(job);
    if wanted.is_empty() {
        return Ok(());
    }
    let upload_id = match &job.multipart {
        Some(state) => state.upload_id.clone(),
        None => {
            let options = tools.share.put_options(&job.inode);
            multipart::create(tools, (job.op, job.inode.version), &job.key, &options).await?
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
            part.send(&tools, |range| committed(&tools, ino, range)).await
        });
    }
    sending.finish().await.map(drop)
}

/// Whole parts that are there and worth sending: not those that the server can copy at the end.
fn wanted(job: &EarlyJob) -> Vec<(u32, Range<u64>)> {
    let known = job.multipart.as_ref().map(|state| state.parts.as_slice()).unwrap_or_default();
    let is_wanted = |(number, part): &(u32, Range<u64>)| {
        let differs = |changed: &crate::ranges::RangeSet| !changed.overlapping(part).is_empty();
        job.ranges.covers(part)
            && job.changed.as_ref().is_none_or(differs)
            && plan::part_of(known, *number).is_none_or(|known| known.range != *part)
    };
    plan::early_parts(job.inode.size).filter(is_wanted).collect()
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
