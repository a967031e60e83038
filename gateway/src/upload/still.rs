//! The turn of a file that is written on and on, and that a flush waits for, or that has waited long enough: its writers
//! are kept away for as long as it takes to commit what they have written and to read it from the cache disk, and go
//! on while it is sent. Of a large one only what S3 lacks is read, and most of that has gone ahead; one of which
//! too much is written again and again for that is published when it is left alone.
use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, atomic::Ordering},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::{
    assemble::{between, few},
    concurrency::Ended,
    early::{self, Ahead},
    job::{JobError, Tools},
    multipart,
    plan::{self, Piece, SINGLE_PUT_BYTES_MAX},
};
use crate::{
    budget::Reserved,
    catalog::{EarlyJob, Job, MultipartState, OpId, SyncJob},
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

/// Most bytes that are read in a turn: a part in which a large file ends, and one that was changed.
const TURN_BYTES_MAX: u64 = 2 * SINGLE_PUT_BYTES_MAX;
/// How often what is there of a large file goes ahead before its turn.
const AHEAD_MAX: usize = 4;
/// When a file gets its next turn of which more had to be read than a turn may take, in milliseconds.
const TOO_MUCH_MS: u64 = 5_000;

/// What was read of a file in its turn, and the memory for it.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) what: Read,
    _memory: Reserved,
}

/// Bytes of one version.
#[derive(Debug)]
pub(super) enum Read {
    /// All of a file that goes in one request.
    Body(Bytes),
    /// What is to be sent of a file that goes in parts.
    Parts(Parts),
}

/// What becomes of each part of a file, as it was decided in its turn.
#[derive(Debug)]
pub(super) struct Parts {
    /// The upload to go on with.
    pub(super) upload: Option<MultipartState>,
    pub(super) pieces: Vec<(u32, Piece)>,
    bytes: HashMap<u32, Bytes>,
}

impl Parts {
    /// The bytes of a part that is to be sent.
    pub(super) fn bytes(&self, number: u32) -> Option<Bytes> {
        self.bytes.get(&number).cloned()
    }
}

/// A turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) op: OpId,
    pub(super) ino: Ino,
    /// As in [`Job::Still`].
    pub(super) goes_ahead: bool,
}

/// Claims the file's upload, which nobody writes meanwhile, and runs it.
pub(super) async fn still(tools: &Tools, turn: Turn) -> Ended {
    let Turn { op, ino, goes_ahead } = turn;
    if let Err(error) = commit_beside_writers(tools, ino).await {
        return uncommitted(tools, op, &error).await;
    }
    if goes_ahead {
        go_ahead(tools, op).await;
    }
    // Of the most that is read: a writer who is kept away should not wait for memory, nor for S3.
    let most = if goes_ahead { TURN_BYTES_MAX } else { SINGLE_PUT_BYTES_MAX };
    let memory = tools.budget.reserve(most).await;
    let fetched = match fetch(tools, turn).await {
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
        return uncommitted(tools, op, &error).await;
    }
    let job = match tools.catalog.claim_still(op, tools.clock.now()).await {
        Ok(Some(job)) => job,
        Ok(None) => return Ended::default(),
        Err(error) => {
            tools.log(op, Err(error));
            return Ended::default();
        }
    };
    tools.claimed.store(job.op().0, Ordering::Relaxed);
    let read = match &job {
        Job::Sync(sync) if sync.op == op => read(tools, sync, fetched.as_ref()).await,
        Job::Sync(_) | Job::StepAside(_) | Job::Early(_) | Job::Delete(_) => Ok(None),
        Job::Abort { .. } | Job::Still { .. } => Ok(None),
    };
    drop((held, fetched));
    let read = match read {
        Ok(read) => read,
        Err(error) if is_in_parts(&job, op) => {
            let later = tools.clock.now().plus_millis(TOO_MUCH_MS);
            let message = format!("it cannot be read in its turn: {error}");
            tools.log(op, tools.catalog.fail_job(op, &message, later).await);
            return Ended::default();
        }
        // The job reads it again, and tells.
        Err(error) => {
            tracing::debug!(op = op.0, "a file could not be read in its turn: {error}");
            None
        }
    };
    if read.is_none() && is_in_parts(&job, op) {
        // Its writers would have changed it before it is sent.
        let later = tools.clock.now().plus_millis(TOO_MUCH_MS);
        tools.log(op, tools.catalog.release_job(op, later).await);
        return Ended::default();
    }
    let taken = read.map(|what| Taken { what, _memory: memory });
    let tools = Tools { taken: Arc::new(Mutex::new(taken)), is_turn: true, ..tools.clone() };
    tools.run_claimed(job).await
}

/// Makes what was written durable while its writers go on: little is left for when they are kept away.
async fn commit_beside_writers(tools: &Tools, ino: Ino) -> Result<(), String> {
    let Some(bursts) = &tools.bursts else { return Ok(()) };
    let _held = tools.locks.shared(ino).await;
    bursts.commit(ino).await
}

/// What was written is no version to be uploaded then, and a client's COMMIT meets the same.
async fn uncommitted(tools: &Tools, op: OpId, error: &str) -> Ended {
    let retry_at = tools.clock.now().plus_millis(UNCOMMITTED_MS);
    let message = format!("what was written to it cannot be committed: {error}");
    tools.log(op, tools.catalog.fail_job(op, &message, retry_at).await);
    Ended::default()
}

/// Whether `op` publishes a file in parts.
fn is_in_parts(job: &Job, op: OpId) -> bool {
    match job {
        Job::Sync(sync) => sync.op == op && sync.inode.goes_in_parts(),
        Job::StepAside(_) | Job::Early(_) | Job::Delete(_) => false,
        Job::Abort { .. } | Job::Still { .. } => false,
    }
}

/// Sends what is there of a large file while it is written, until little is left that can go ahead.
async fn go_ahead(tools: &Tools, op: OpId) {
    for _ in 0..AHEAD_MAX {
        let state = match tools.catalog.ahead_of(op).await {
            Ok(Some(state)) => state,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(op = op.0, "nothing goes ahead before a turn: {error}");
                return;
            }
        };
        if bytes_of(&sends(tools, &state)) <= TURN_BYTES_MAX {
            return;
        }
        match early::send(tools, &state).await {
            Ok(Ahead::Nothing) => return,
            // A part that is being written again, or the rest: what has gone is known.
            Ok(Ahead::Sent) | Err(JobError::Superseded) => {}
            Err(error) => {
                tracing::debug!(op = op.0, "less goes ahead before a turn: {error}");
                return;
            }
        }
    }
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

/// Fetches what only S3 has of what the turn will read of a file that was changed here, while its writers go on.
async fn fetch(tools: &Tools, turn: Turn) -> Result<Option<Fetched>, JobError> {
    let (inode, ranges) = tools.catalog.inode_and_ranges(turn.ino).await?;
    let (Some(key), Some(etag)) = (&inode.object_key, &inode.etag) else { return Ok(None) };
    if inode.kind != FileKind::File || !inode.content_dirty {
        return Ok(None);
    }
    let wanted = if inode.size <= SINGLE_PUT_BYTES_MAX {
        let whole = 0..inode.size;
        vec![whole]
    } else {
        let Some(state) = tools.catalog.ahead_of(turn.op).await? else { return Ok(None) };
        sends(tools, &state)
    };
    if bytes_of(&wanted) > TURN_BYTES_MAX {
        return Ok(None);
    }
    let mut pieces = Vec::new();
    for range in wanted {
        for gap in few(&ranges.missing(range)) {
            pieces.push((gap.clone(), tools.share.store.get(key, gap, etag).await?));
        }
    }
    Ok(Some(Fetched { etag: etag.clone(), pieces }))
}

/// What would be sent of a large file, as it is now.
fn sends(tools: &Tools, state: &EarlyJob) -> Vec<Range<u64>> {
    let known = state.multipart.as_ref().map_or(&[][..], |upload| &upload.parts);
    let changed = state.changed.as_ref().filter(|_| tools.share.store.copies_parts());
    let pieces = plan::pieces(state.inode.size, changed, known, tools.copy_bytes_max);
    pieces.into_iter().filter_map(|(_, piece)| sent(piece)).collect()
}

fn bytes_of(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// The bytes of a piece that is sent.
fn sent(piece: Piece) -> Option<Range<u64>> {
    match piece {
        Piece::Send(range) => Some(range),
        Piece::Done(_) | Piece::Copy(_) => None,
    }
}

/// What the publish of a changed file sends, if all of it is at hand and is not too much. Call with the file's lock
/// held since its claim.
async fn read(
    tools: &Tools,
    job: &SyncJob,
    fetched: Option<&Fetched>,
) -> Result<Option<Read>, JobError> {
    let inode = &job.inode;
    if inode.kind != FileKind::File || !inode.content_dirty {
        return Ok(None);
    }
    if inode.size <= SINGLE_PUT_BYTES_MAX {
        return Ok(bytes(tools, job, 0..inode.size, fetched).await?.map(Read::Body));
    }
    let upload = multipart::resumed(tools, job).await?;
    let known = upload.as_ref().map_or(&[][..], |state| &state.parts);
    let pieces = multipart::pieces(tools, job, known);
    let sends = pieces.iter().filter_map(|(number, piece)| Some((*number, sent(piece.clone())?)));
    let (numbers, ranges): (Vec<_>, Vec<_>) = sends.unzip();
    if bytes_of(&ranges) > TURN_BYTES_MAX {
        return Ok(None);
    }
    let mut taken = HashMap::new();
    for (number, range) in numbers.into_iter().zip(ranges) {
        let Some(bytes) = bytes(tools, job, range, fetched).await? else { return Ok(None) };
        taken.insert(number, bytes);
    }
    Ok(Some(Read::Parts(Parts { upload, pieces, bytes: taken })))
}

/// Bytes `range` of the file, if they are here or were fetched.
async fn bytes(
    tools: &Tools,
    job: &SyncJob,
    range: Range<u64>,
    fetched: Option<&Fetched>,
) -> Result<Option<Bytes>, JobError> {
    let inode = &job.inode;
    let missing = tools.catalog.ranges(inode.ino).await?.missing(range.clone());
    let read = async |range| {
        let (catalog, cache, health) = (&tools.catalog, &tools.cache, &tools.share.health);
        verified::read_locked::<JobError>(catalog, cache, health, inode.ino, range).await
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
