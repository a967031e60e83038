//! The turn of a file that is written on and on, and that a flush waits for: its writers are kept away for as long as
//! it takes to commit what they have written and to read it from the cache disk, and go on while it is sent.
use std::{
    fmt,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    concurrency::Ended,
    job::{JobError, Tools},
    plan::SINGLE_PUT_BYTES_MAX,
};
use crate::{
    catalog::{Job, OpId, SyncJob},
    ids::{FileKind, Ino},
    verified,
};

/// Knows what clients have written and not committed.
#[async_trait]
pub trait Bursts: fmt::Debug + Send + Sync {
    /// Makes everything written to the file until now durable, as a client's COMMIT does. Call with the inode locked.
    ///
    /// # Errors
    /// In words; what was written stays as it is.
    async fn commit(&self, ino: Ino) -> Result<(), String>;
}

/// Claims the file's upload, which nobody writes meanwhile, and runs it. A file that is too large for one request, or
/// has bytes only in S3, takes no part of this but the claim.
pub(super) async fn still(tools: &Tools, op: OpId, ino: Ino) -> Ended {
    // Of the largest that is read: a writer who is kept away should not wait for memory.
    // Of the largest that is read: a writer who is kept away should not wait for memory.
    let memory = tools.budget.reserve(SINGLE_PUT_BYTES_MAX).await;
    let held = tools.locks.exclusive(ino).await;
    if let Some(bursts) = &tools.bursts
        && let Err(error) = bursts.commit(ino).await
    {
        // It is no version to be uploaded then, and a client's COMMIT meets the same.
        tracing::warn!(ino = ino.0, "a file that a flush waits for cannot be committed: {error}");
    }
    let job = match tools.catalog.claim_still(op, tools.clock.now()).await {
        Ok(Some(job)) => job,
        Ok(None) => return Ended::default(),
        Err(error) => {
            tracing::error!(op = op.0, "the turn of a file could not be claimed: {error}");
            return Ended::default();
        }
    };
    let read = match &job {
        Job::Sync(sync) if sync.op == op => body(tools, sync).await,
        Job::Sync(_) | Job::StepAside(_) | Job::Early(_) | Job::Delete(_) => Ok(None),
        Job::Abort { .. } | Job::Still { .. } => Ok(None),
    };
    drop(held);
    let body = read.unwrap_or_else(|error| {
        // The job reads it again, and tells.
        tracing::debug!(op = op.0, "a file could not be read in its turn: {error}");
        None
    });
    let body = Arc::new(Mutex::new(body.map(|body| (body, memory))));
    Tools { body, ..tools.clone() }.run_claimed(job).await
}

/// All bytes that one request is to take, if all of them are here. Call with the file's lock held since its claim.
async fn body(tools: &Tools, job: &SyncJob) -> Result<Option<Bytes>, JobError> {
    let inode = &job.inode;
    let whole = 0..inode.size;
    if inode.kind != FileKind::File || inode.size > SINGLE_PUT_BYTES_MAX || !inode.content_dirty {
        return Ok(None);
    }
    if !tools.catalog.ranges(inode.ino).await?.covers(&whole) {
        return Ok(None);
    }
    let (catalog, cache, health) = (&tools.catalog, &tools.cache, &tools.share.health);
    verified::read_locked(catalog, cache, health, inode.ino, whole).await.map(Some)
}
