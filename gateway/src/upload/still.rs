//! The turn of a file that is written on and on, and that a flush waits for, or that has waited long enough: its writers
//! are kept away for as long as it takes to commit what they have written and to read it from the cache disk, and go
//! on while it is sent. Of a large one only what S3 lacks is read, and most of that has gone ahead; one of which
//! too much is written again and again, faster than it is sent, is published when it is left alone.
use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, atomic::Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    assemble::{self, Fetched},
    concurrency::Ended,
    early::{self, Ahead},
    job::{JobError, Tools, large_file},
    lacks::{self, By, InParts, bytes_of},
    plan::{Piece, SINGLE_PUT_BYTES_MAX},
};
use crate::{
    budget::Reserved,
    catalog::{CatalogError, EarlyJob, Job, MultipartState, OpId, SyncJob},
    clock::Timestamp,
    ids::{FileKind, Ino},
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

/// Most bytes that are read in a turn: a part in which a large file ends, and one that was changed. What S3 lacks of a
/// large file goes ahead until it is no more than that.
const TURN_BYTES_MAX: u64 = 2 * SINGLE_PUT_BYTES_MAX;
/// The same where going ahead leaves more, as that is written on and on: a second of a disk's time. Not more than half of
/// the memory for uploads.
const HOT_BYTES_MAX: u64 = 8 * SINGLE_PUT_BYTES_MAX;
/// How often what is there of a large file may go ahead before its turn and leave hardly less than the time before.
const VAIN_MAX: u32 = 2;
/// When a file gets its next turn of which more had to be read than a turn may take, in milliseconds, if it has not
/// gone ahead for longer than that.
const TOO_MUCH_MS: u64 = 5_000;

const _: () = assert!(TURN_BYTES_MAX <= HOT_BYTES_MAX);

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
    pub(super) is_free: bool,
    /// As in [`Job::Still`].
    pub(super) goes_ahead: bool,
}

/// Claims the file's upload, which nobody writes meanwhile, and runs it.
pub(super) async fn still(tools: &Tools, turn: Turn) -> Ended {
    let (op, ino, begun) = (turn.op, turn.ino, tools.clock.now());
    if let Err(error) = commit_beside_writers(tools, ino).await {
        return uncommitted(tools, op, &error).await;
    }
    let ready = Ready::of(tools, turn).await;
    let held = tools.locks.exclusive(ino).await;
    if let Some(bursts) = &tools.bursts
        && let Err(error) = bursts.commit(ino).await
    {
        return uncommitted(tools, op, &error).await;
    }
    let claimed = match tools.cache.overlay().has(ino) {
        // Nobody writes it, whatever the catalog knows of a burst.
        false => tools.catalog.end_lost_burst(ino).await,
        true => Ok(()),
    };
    let claimed = match claimed {
        Ok(()) => tools.catalog.claim_still(op, tools.clock.now()).await,
        Err(error) => Err(error),
    };
    let job = match claimed {
        Ok(Some(job)) => job,
        Ok(None) => return Ended::default(),
        Err(error) => {
            tools.log(op, Err(error));
            return Ended::default();
        }
    };
    tools.claimed.store(job.op().0, Ordering::Relaxed);
    let read = match &job {
        Job::Sync(sync) if sync.op == op => read(tools, sync, &ready).await,
        Job::Sync(_) | Job::StepAside(_) | Job::Early(_) | Job::Delete(_) => Ok(None),
        Job::Abort { .. } | Job::Still { .. } => Ok(None),
    };
    let Ready { memory, fetched, .. } = ready;
    drop((held, fetched));
    let is_in_parts = job.op() == op && large_file(&job).is_some();
    let what = match read {
        Ok(Some(what)) => what,
        // Its writers would have changed it before it is sent.
        Ok(None) if is_in_parts => {
            tools.log(op, tools.catalog.release_job(op, next(tools, begun)).await);
            return Ended::default();
        }
        Err(error) if is_in_parts => {
            let message = format!("it cannot be read in its turn: {error}");
            tools.log(op, tools.catalog.fail_job(op, &message, next(tools, begun)).await);
            return Ended::default();
        }
        // The job reads it again, with memory of its own, and tells.
        Ok(None) | Err(_) => {
            drop(memory);
            let tools = Tools { is_turn: true, ..tools.clone() };
            return tools.run_claimed(job).await;
        }
    };
    let taken = Arc::new(Mutex::new(Some(Taken { what, _memory: memory })));
    let tools = Tools { taken, is_turn: true, ..tools.clone() };
    tools.run_claimed(job).await
}

/// When a file is looked at again whose turn, which has begun then, has come to nothing: it is not to take most of the
/// time.
fn next(tools: &Tools, begun: Timestamp) -> Timestamp {
    let now = tools.clock.now();
    let nanos = now.as_nanos().saturating_sub(begun.as_nanos());
    let spent_ms = u64::try_from(nanos / 1_000_000).unwrap_or(0);
    now.plus_millis(spent_ms.max(TOO_MUCH_MS))
}

/// Makes what was written durable while its writers go on: little is left for when they are kept away.
pub(super) async fn commit_beside_writers(tools: &Tools, ino: Ino) -> Result<(), String> {
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

/// What is there before the file's writers are kept away: they should not wait for memory, nor for S3.
#[derive(Debug)]
struct Ready {
    /// Bytes that may be read.
    most: u64,
    /// What only S3 has of them, and these bytes once more.
    fetched: Option<Fetched>,
    memory: Reserved,
}

impl Ready {
    /// Makes it so, while writers go on. Nothing is, for a turn that something else comes before.
    async fn of(tools: &Tools, turn: Turn) -> Self {
        if !turn.is_free {
            return Self { most: 0, fetched: None, memory: tools.budget.reserve(0).await };
        }
        if turn.goes_ahead {
            go_ahead(tools, turn.op).await;
        }
        let (most, bytes) = room(tools, turn.op).await.unwrap_or_else(|error| {
            tracing::debug!(op = turn.op.0, "what a turn has to read is not known: {error}");
            (0, 0)
        });
        let memory = tools.budget.reserve(bytes).await;
        let fetched = if bytes > most { fetch(tools, turn.op, most).await } else { Ok(None) };
        let fetched = fetched.unwrap_or_else(|error| {
            tracing::debug!(op = turn.op.0, "what only S3 has was not fetched: {error}");
            None
        });
        Self { most, fetched, memory }
    }
}

/// What S3 lacks of a file before its turn.
#[derive(Debug)]
struct Lacking {
    file: EarlyJob,
    parts: Vec<(u32, Range<u64>)>,
    /// The upload that the others are in.
    upload: Option<MultipartState>,
}

impl Lacking {
    async fn of(tools: &Tools, op: OpId) -> Result<Option<Self>, CatalogError> {
        let Some(file) = tools.catalog.ahead_of(op).await? else { return Ok(None) };
        if !file.inode.goes_in_parts() {
            let whole = 0..file.inode.size;
            return Ok(Some(Self { parts: vec![(1, whole)], upload: None, file }));
        }
        let (upload, pieces) = InParts::from(&file).plan(tools, By::Turn).await?;
        Ok(Some(Self { parts: lacks::sent(&pieces), upload: upload.cloned(), file }))
    }

    /// Whether some of it has to be fetched.
    fn is_elsewhere(&self) -> bool {
        self.parts.iter().any(|(_, range)| !self.file.ranges.covers(range))
    }
}

/// How many bytes a turn may read, and how many it may have in memory for that.
async fn room(tools: &Tools, op: OpId) -> Result<(u64, u64), CatalogError> {
    let Some(lacking) = Lacking::of(tools, op).await? else { return Ok((0, 0)) };
    let most = match bytes_of(&lacking.parts) {
        _ if !lacking.file.inode.goes_in_parts() => SINGLE_PUT_BYTES_MAX,
        ..=TURN_BYTES_MAX => TURN_BYTES_MAX,
        _ => HOT_BYTES_MAX.min(tools.budget.bytes() / 2).max(TURN_BYTES_MAX),
    };
    Ok((most, if lacking.is_elsewhere() { 2 * most } else { most }))
}

/// Fetches what only S3 has of what a turn will read, `most` bytes.
async fn fetch(tools: &Tools, op: OpId, most: u64) -> Result<Option<Fetched>, JobError> {
    let Some(lacking) = Lacking::of(tools, op).await? else { return Ok(None) };
    if bytes_of(&lacking.parts) > most {
        return Ok(None);
    }
    let wanted = lacking.parts.into_iter().map(|(_, range)| range);
    Fetched::of(tools, &lacking.file, wanted).await
}

/// Sends what S3 lacks of a large file while it is written, until that fits into a turn, or does not become less.
async fn go_ahead(tools: &Tools, op: OpId) {
    let mut rounds = Rounds::default();
    loop {
        let lacking = match Lacking::of(tools, op).await {
            Ok(Some(lacking)) => lacking,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(op = op.0, "nothing goes ahead before a turn: {error}");
                return;
            }
        };
        let Lacking { file, parts, upload } = lacking;
        let left = bytes_of(&parts);
        if left <= TURN_BYTES_MAX || !rounds.goes_on(left) {
            return;
        }
        match early::send_lacking(tools, file, upload, parts).await {
            Ok(Ahead::Nothing) => return,
            Ok(Ahead::Sent) => {}
            Err(error) => {
                tracing::debug!(op = op.0, "less goes ahead before a turn: {error}");
                return;
            }
        }
    }
}

/// Rounds of going ahead, each of which is to leave a quarter less than there was: what is written faster than it
/// is sent ends them.
#[derive(Debug)]
struct Rounds {
    least: u64,
    vain: u32,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { least: u64::MAX, vain: 0 }
    }
}

impl Rounds {
    /// Whether there is another one, of so many bytes.
    fn goes_on(&mut self, left: u64) -> bool {
        if left <= self.least / 4 * 3 {
            self.least = left;
            return true;
        }
        self.vain += 1;
        self.vain <= VAIN_MAX
    }
}

/// What the publish of a changed file sends, if all of it is at hand and is not too much. Call with the file's lock
/// held since its claim.
async fn read(tools: &Tools, job: &SyncJob, ready: &Ready) -> Result<Option<Read>, JobError> {
    let inode = &job.inode;
    if inode.kind != FileKind::File || !inode.content_dirty || job.is_elsewhere {
        return Ok(None);
    }
    let fetched = ready.fetched.as_ref();
    if !inode.goes_in_parts() {
        if inode.size > ready.most {
            return Ok(None);
        }
        let whole = 0..inode.size;
        return Ok(assemble::locked(tools, inode.ino, whole, fetched).await?.map(Read::Body));
    }
    let (upload, pieces) = InParts::from(job).plan(tools, By::Turn).await?;
    let sends = lacks::sent(&pieces);
    if bytes_of(&sends) > ready.most {
        return Ok(None);
    }
    let mut bytes = HashMap::new();
    for (number, range) in sends {
        let Some(part) = assemble::locked(tools, inode.ino, range, fetched).await? else {
            return Ok(None);
        };
        bytes.insert(number, part);
    }
    Ok(Some(Read::Parts(Parts { upload: upload.cloned(), pieces, bytes })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_go_on_while_each_leaves_a_quarter_less_and_come_to_an_end() {
        let mut rounds = Rounds::default();
        let shrinking = [4000, 3000, 2000, 1000, 750];
        assert!(shrinking.into_iter().all(|left| rounds.goes_on(left)));
        // What is written is as much as what is sent, more or less.
        assert!(rounds.goes_on(800) && rounds.goes_on(700));
        assert!(rounds.goes_on(500), "it is less again");
        assert!(!rounds.goes_on(500));
        let mut rounds = Rounds::default();
        let largest = u64::from(u32::MAX) << 20;
        let slow = std::iter::successors(Some(largest), |left| Some(left / 4 * 3));
        let bytes = slow.take_while(|left| *left > TURN_BYTES_MAX);
        assert!(bytes.into_iter().filter(|left| rounds.goes_on(*left)).count() < 100);
    }
}
