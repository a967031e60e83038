//! The turn of a file that is written on and on, and that a flush waits for: its writers are kept away for as long as
//! it takes to commit what they have written and to read it from the cache disk, and go on while it is sent.
use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::{
    assemble::{between, few},
    concurrency::Ended,
    job::{JobError, Tools},
    plan::SINGLE_PUT_BYTES_MAX,
};
use crate::{
    catalog::{Inode, Job, OpId, SyncJob},
    ids::{FileKind, Ino},
    object::ETag,
    verified,
};

/// When a file whose writes cannot be committed gets its next turn, in milliseconds.
const UNCOMMITTED_MS: u64 = 5_000;

/// Knows what clients have written and not committed.
#[async_trait]
pub trait Bursts: fmt::Debug + Send + Sync {
    /// Makes everything written to the file until now durable, as a client's COMMIT does. Call with the inode locked.
    ///
    /// # Errors
    /// In words; what was written stays as it is.
    async fn commit(&self, ino: Ino) -> Result<(), String>;
}

/// Claims the file's upload, which nobody writes meanwhile, and runs it. A file that is too large for one request takes
/// no part of this but the claim.
pub(super) async fn still(tools: &Tools, op: OpId, ino: Ino) -> Ended {
    // Of the largest that is read: a writer who is kept away should not wait for memory, nor for S3.
    let memory = tools.budget.reserve(SINGLE_PUT_BYTES_MAX).await;
    let fetched = match fetch(tools, ino).await {
        Ok(fetched) => fetched,
        Err(error) => {
            tracing::debug!(ino = ino.0, "what only S3 has was not fetched before a turn: {error}");
            None
        }
    };
    let held = tools.locks.exclusive(ino).await;
    if let Some(bursts) = &tools.bursts
        && let Err(error) = bursts.commit(ino).await
    {
        // It is no version to be uploaded then, and a client's COMMIT meets the same.
        let retry_at = tools.clock.now().plus_millis(UNCOMMITTED_MS);
        let message = format!("what was written to it cannot be committed: {error}");
        tools.log(op, tools.catalog.fail_job(op, &message, retry_at).await);
        return Ended::default();
    }
    let job = match tools.catalog.claim_still(op, tools.clock.now()).await {
        Ok(Some(job)) => job,
        Ok(None) => return Ended::default(),
        Err(error) => {
            tools.log(op, Err(error));
            return Ended::default();
        }
    };
    let read = match &job {
        Job::Sync(sync) if sync.op == op => body(tools, sync, fetched.as_ref()).await,
        Job::Sync(_) | Job::StepAside(_) | Job::Early(_) | Job::Delete(_) => Ok(None),
        Job::Abort { .. } | Job::Still { .. } => Ok(None),
    };
    drop((held, fetched));
    let body = read.unwrap_or_else(|error| {
        // The job reads it again, and tells.
        tracing::debug!(op = op.0, "a file could not be read in its turn: {error}");
        None
    });
    let body = Arc::new(Mutex::new(body.map(|body| (body, memory))));
    Tools { body, ..tools.clone() }.run_claimed(job).await
}

/// Bytes that only S3 has of a file, as they are in the object of this tag.
#[derive(Debug)]
struct Fetched {
    etag: ETag,
    pieces: Vec<(Range<u64>, Bytes)>,
}

impl Fetched {
    /// Bytes `range`, if they are here.
    fn bytes(&self, range: &Range<u64>) -> Option<Bytes> {
        let holds = |at: &Range<u64>| at.start <= range.start && range.end <= at.end;
        let (at, bytes) = self.pieces.iter().find(|(at, _)| holds(at))?;
        let within = |offset: u64| usize::try_from(offset - at.start).ok();
        Some(bytes.slice(within(range.start)?..within(range.end)?))
    }
}

/// Fetches what only S3 has of a small file that was changed here, while its writers go on.
async fn fetch(tools: &Tools, ino: Ino) -> Result<Option<Fetched>, JobError> {
    let (inode, ranges) = tools.catalog.inode_and_ranges(ino).await?;
    let (Some(key), Some(etag)) = (&inode.object_key, &inode.etag) else { return Ok(None) };
    if !is_read(&inode) {
        return Ok(None);
    }
    let mut pieces = Vec::new();
    for gap in few(&ranges.missing(0..inode.size)) {
        pieces.push((gap.clone(), tools.share.store.get(key, gap, etag).await?));
    }
    Ok(Some(Fetched { etag: etag.clone(), pieces }))
}

/// Whether the file goes in one request of its bytes.
fn is_read(inode: &Inode) -> bool {
    inode.kind == FileKind::File && inode.content_dirty && inode.size <= SINGLE_PUT_BYTES_MAX
}

/// All bytes that one request is to take, if all of them are at hand. Call with the file's lock held since its claim.
async fn body(
    tools: &Tools,
    job: &SyncJob,
    fetched: Option<&Fetched>,
) -> Result<Option<Bytes>, JobError> {
    let inode = &job.inode;
    if !is_read(inode) {
        return Ok(None);
    }
    let whole = 0..inode.size;
    let missing = tools.catalog.ranges(inode.ino).await?.missing(whole.clone());
    let read = async |range| {
        let (catalog, cache, health) = (&tools.catalog, &tools.cache, &tools.share.health);
        verified::read_locked::<JobError>(catalog, cache, health, inode.ino, range).await
    };
    if missing.is_empty() {
        return read(whole).await.map(Some);
    }
    let Some(fetched) = fetched.filter(|fetched| inode.etag.as_ref() == Some(&fetched.etag)) else {
        return Ok(None);
    };
    let at = |offset: u64| usize::try_from(offset).expect("within one request");
    let mut body = BytesMut::zeroed(at(inode.size));
    for gap in &missing {
        let Some(bytes) = fetched.bytes(gap) else { return Ok(None) };
        body[at(gap.start)..at(gap.end)].copy_from_slice(&bytes);
    }
    for here in between(&whole, &missing) {
        let bytes = read(here.clone()).await?;
        body[at(here.start)..at(here.end)].copy_from_slice(&bytes);
    }
    Ok(Some(body.freeze()))
}
