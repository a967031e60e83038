//! The bytes of one request: from the cache what is here; from the object, without keeping it, what is only
//! there. A file that is being uploaded takes no room on the cache disk: it may be full of what waits.
use std::{io, ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::{
    job::{JobError, Tools},
    publish::{is_condition, source},
};
use crate::{
    blocking,
    cache::CacheError,
    catalog::{EarlyJob, SyncJob, ToSend},
    fetch::FetchError,
    ids::Ino,
    object::ETag,
    store::{StoreError, StoreErrorKind},
    verified::Locked,
};

/// With more gaps than this, what lies between them is brought along.
const GAPS_MAX: usize = 8;

/// Bytes `range` of the claimed version. Reserve memory for them first. Of a file that has its object's
/// bytes they come from there: it stands in for a copy that the store cannot make.
pub(super) async fn bytes(
    tools: &Tools,
    job: &SyncJob,
    range: Range<u64>,
) -> Result<Bytes, JobError> {
    let missing = if source(job).is_some() && !job.inode.content_dirty {
        vec![range.clone()]
    } else {
        match frozen(tools, job, range.clone()).await? {
            Here::All(bytes) => return Ok(bytes),
            Here::Not(missing) => missing,
        }
    };
    let Some((object, etag)) = source(job) else { return Err(JobError::Incomplete) };
    if missing == [range.clone()] {
        let got = tools.share.store.get(object, range, etag).await;
        let got = got.map_err(|error| unreadable(job, error))?;
        if !tools.catalog.is_current(job.op, job.inode.version).await? {
            return Err(JobError::Superseded);
        }
        return Ok(got);
    }
    let at = |offset: u64| usize::try_from(offset - range.start).expect("within one request");
    let mut body = BytesMut::zeroed(at(range.end));
    for gap in few(&missing) {
        let got = tools.share.store.get(object, gap.clone(), etag).await;
        let got = got.map_err(|error| unreadable(job, error))?;
        body[at(gap.start)..at(gap.end)].copy_from_slice(&got);
    }
    for here in between(&range, &missing) {
        match frozen(tools, job, here.clone()).await? {
            Here::All(read) => body[at(here.start)..at(here.end)].copy_from_slice(&read),
            // It has left the cache, and is fetched as well the next time.
            Here::Not(_) => return Err(JobError::Superseded),
        }
    }
    if !tools.catalog.is_current(job.op, job.inode.version).await? {
        return Err(JobError::Superseded);
    }
    Ok(body.freeze())
}

/// What the cache has of a range.
enum Here {
    /// All of it.
    All(Bytes),
    /// Not this.
    Not(Vec<Range<u64>>),
}

/// Bytes `range` of the file, provably of the claimed version, if the cache has them: the inode's lock is held
/// exclusively while the version is compared and the bytes are read, and a writer raises the version before it
/// changes a byte (I3).
async fn frozen(tools: &Tools, job: &SyncJob, range: Range<u64>) -> Result<Here, JobError> {
    let (op, ino, version) = (job.op, job.inode.ino, job.inode.version);
    let held = tools.locks.exclusive(ino).await;
    let Tools { share, catalog, cache, .. } = tools;
    let (share, catalog, cache) = (Arc::clone(share), catalog.clone(), cache.clone());
    let read = async move {
        // Until it has read, also where nobody waits for that any more.
        let _held = held;
        let found = catalog.to_send(op, version, range.clone()).await?;
        let ToSend { size, missing, known } = found.ok_or(JobError::Superseded)?;
        if !missing.is_empty() {
            return Ok(Here::Not(missing));
        }
        let file = Locked { catalog: &catalog, cache: &cache, health: &share.health, ino };
        file.read_known(range, size, known).await.map(Here::All)
    };
    blocking::together(read).await.unwrap_or_else(|_| {
        let source = io::Error::other("the thread that reads it panicked");
        Err(CacheError::Disk { ino, action: "read", source }.into())
    })
}

/// Bytes that only S3 has of a file, as they are in the object of this tag.
#[derive(Debug)]
pub(super) struct Fetched {
    etag: ETag,
    pieces: Vec<(Range<u64>, Bytes)>,
}

impl Fetched {
    /// Fetches what is not here of `wanted`, while others may write the file. Reserve memory for it first.
    pub(super) async fn of(
        tools: &Tools,
        file: &EarlyJob,
        wanted: impl IntoIterator<Item = Range<u64>>,
    ) -> Result<Option<Self>, JobError> {
        let inode = &file.inode;
        let (Some(key), Some(etag)) = (&inode.object_key, &inode.etag) else { return Ok(None) };
        let mut pieces = Vec::new();
        for range in wanted {
            for gap in few(&file.ranges.missing(range)) {
                pieces.push((gap.clone(), tools.share.store.get(key, gap, etag).await?));
            }
        }
        Ok(Some(Self { etag: etag.clone(), pieces }))
    }

    /// Bytes `range`, if they are here.
    fn bytes(&self, range: &Range<u64>) -> Option<Bytes> {
        let holds = |at: &Range<u64>| at.start <= range.start && range.end <= at.end;
        let (at, bytes) = self.pieces.iter().find(|(at, _)| holds(at))?;
        let within = |offset: u64| usize::try_from(offset - at.start).ok();
        Some(bytes.slice(within(range.start)?..within(range.end)?))
    }
}

/// Bytes `range` of the file as they are committed, if they are here or were fetched. Call with its exclusive lock held and
/// nothing of them uncommitted.
pub(super) async fn locked(
    tools: &Tools,
    ino: Ino,
    range: Range<u64>,
    fetched: Option<&Fetched>,
) -> Result<Option<Bytes>, JobError> {
    let (inode, ranges) = tools.catalog.inode_and_ranges(ino).await?;
    let missing = ranges.missing(range.clone());
    let read = async |range| {
        let (catalog, cache, health) = (&tools.catalog, &tools.cache, &tools.share.health);
        Locked { catalog, cache, health, ino }.read::<JobError>(range).await
    };
    if missing.is_empty() {
        return read(range).await.map(Some);
    }
    let Some(fetched) = fetched.filter(|fetched| inode.etag.as_ref() == Some(&fetched.etag)) else {
        return Ok(None);
    };
    let at = |offset: u64| usize::try_from(offset - range.start).expect("within one request");
    let mut body = BytesMut::zeroed(at(range.end));
    for gap in &missing {
        let Some(bytes) = fetched.bytes(gap) else { return Ok(None) };
        body[at(gap.start)..at(gap.end)].copy_from_slice(&bytes);
    }
    for here in between(&range, &missing) {
        let bytes = read(here.clone()).await?;
        body[at(here.start)..at(here.end)].copy_from_slice(&bytes);
    }
    Ok(Some(body.freeze()))
}

/// What it means that the object could not be read. That it is another one is told apart from an error
/// of the store where the file has changed: it would be taken for the condition of the publish.
fn unreadable(job: &SyncJob, error: StoreError) -> JobError {
    if !is_condition(&error) {
        FetchError::from(error).into()
    } else if job.inode.content_dirty {
        JobError::BaseLost(error)
    } else {
        // All of it was to be copied: the publish settles what has become of it.
        JobError::Store(StoreError { kind: StoreErrorKind::Changed, ..error })
    }
}

/// These gaps, which are in order; what lies between them as well if they are many.
fn few(gaps: &[Range<u64>]) -> Vec<Range<u64>> {
    match (gaps.first(), gaps.last()) {
        (Some(first), Some(last)) if gaps.len() > GAPS_MAX => {
            let hull = first.start..last.end;
            vec![hull]
        }
        _ => gaps.to_vec(),
    }
}

/// What of `range` is not in `gaps`, which are in order and within it.
fn between(range: &Range<u64>, gaps: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut at = range.start;
    let mut rest = Vec::new();
    for gap in gaps {
        rest.push(at..gap.start);
        at = gap.end;
    }
    rest.push(at..range.end);
    rest.retain(|part| !part.is_empty());
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_here_is_what_is_between_the_gaps() {
        let pairs = |parts: Vec<Range<u64>>| -> Vec<(u64, u64)> {
            parts.into_iter().map(|part| (part.start, part.end)).collect()
        };
        assert_eq!(pairs(between(&(10..50), &[10..20, 30..40])), [(20, 30), (40, 50)]);
        assert_eq!(pairs(between(&(10..50), std::slice::from_ref(&(20..50)))), [(10, 20)]);
        assert!(between(&(10..50), std::slice::from_ref(&(10..50))).is_empty());
    }
}
