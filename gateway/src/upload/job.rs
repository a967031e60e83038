//! One job from claim to end: what it is done with, and how its outcome is told to the catalog.
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{
    concurrency::Ended,
    early::{self, GoneAhead},
    landed::Earlier,
    places::Held,
    plan::SINGLE_PUT_BYTES_MAX,
    publish::{Outcome, Sent, look, publish},
    still::{Bursts, Taken, Turn, still},
    swapped::step_aside,
};
use crate::{
    budget::MemoryBudget,
    cache::CacheStore,
    catalog::{
        Catalog, CatalogError, DeleteJob, EarlyJob, Finish, Inode, Job, Made, OpId, Published,
        SyncJob,
    },
    clock::Clock,
    essential::{self, Step},
    failpoint::{self, Point},
    fetch::FetchError,
    ids::Ino,
    locks::InodeLocks,
    object::{ETag, ObjectKey},
    share::{Right, Share},
    store::{ObjectMeta, StoreError, StoreErrorKind},
};

/// First pause after a failure; doubles with each.
const RETRY_MS_MIN: u64 = 500;
/// Longest pause: a job is tried for ever, but a bucket that is back should not wait long.
const RETRY_MS_MAX: u64 = 30_000;

/// Why a job did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file's missing bytes could not be brought.
    #[error("bytes that are only in S3 could not be read: {0}")]
    Fetch(#[from] FetchError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The cache disk failed: the bytes are not there to be sent.
    #[error("the cache disk failed: {0}")]
    Cache(#[from] crate::cache::CacheError),
    /// S3 does not know the multipart upload any more: a lifecycle rule or somebody aborted it.
    #[error("S3 has dropped the parts sent so far ({0}); they are sent again")]
    UploadGone(StoreError),
    /// The object that alone has bytes of the file is another one, or gone.
    #[error("bytes that are only in S3 are in another version of the object: {0}")]
    BaseLost(StoreError),
    /// Bytes of the file are neither here nor in S3.
    #[error("bytes of the file are nowhere")]
    Incomplete,
    /// The system gives no random number.
    #[error("no random number: {0}")]
    Random(#[from] getrandom::Error),
    /// The file changed while it was being sent; its next version will be.
    #[error("the file has changed meanwhile")]
    Superseded,
}

/// What every job works with.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) share: Arc<Share>,
    pub(super) catalog: Catalog,
    pub(super) cache: CacheStore,
    pub(super) locks: InodeLocks,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) budget: MemoryBudget,
    /// Largest object that one CopyObject takes, in bytes.
    pub(super) copy_bytes_max: u64,
    /// Bytes of bodies that the store has taken from this job.
    pub(super) sent: Arc<AtomicU64>,
    /// What went ahead of files that are being written.
    pub(super) ahead: Arc<GoneAhead>,
    /// The operation that the task has claimed.
    pub(super) claimed: Arc<AtomicU64>,
    /// Jobs whose end was not noted.
    pub(super) stranded: Arc<Mutex<Vec<OpId>>>,
    /// What clients have written and not committed, if it is known.
    pub(super) bursts: Option<Arc<dyn Bursts>>,
    /// Whether the job has come of a file's turn.
    pub(super) is_turn: bool,
    /// What was read of the job's file in its turn; whoever sends it takes it.
    pub(super) taken: Arc<Mutex<Option<Taken>>>,
    /// The job's place among those that send, until S3 has what it sends.
    pub(super) place: Held,
}

impl Tools {
    /// Runs a claimed job and ends its claim, whatever happens.
    pub(super) async fn run(&self, job: Job) -> Ended {
        let op = job.op();
        if let Some(until) = self.share.health.blocked_until(right(&job), self.clock.now()) {
            self.log(op, self.catalog.release_job(op, until).await);
            return Ended::default();
        }
        if let Job::Still { op, ino, is_free, goes_ahead, .. } = job {
            return still(self, Turn { op, ino, is_free, goes_ahead }).await;
        }
        self.run_claimed(job).await
    }

    /// The same for a job that is more than a turn.
    pub(super) async fn run_claimed(&self, job: Job) -> Ended {
        let op = job.op();
        let attempts = attempts(&job);
        let what = describe(&job);
        let large = large_file(&job).filter(|_| !self.is_turn);
        let done = match job {
            Job::Sync(job) => self.sync(*job).await,
            Job::Early(job) => return self.early(&job).await,
            Job::Delete(job) => self.delete(&job).await,
            Job::Abort { op, key, upload_id, .. } => self.abort(op, &key, &upload_id).await,
            Job::StepAside(job) => step_aside(self, &job).await,
            // Its writers have to be kept away first.
            Job::Still { .. } => Err(JobError::Superseded),
        };
        match done {
            Ok(()) => self.ended(None),
            Err(JobError::Superseded) if self.is_late(large, op).await => {
                // It is committed faster than it is sent: what has gone counts, and the rest goes in a turn.
                let ino = large.expect("it is late");
                Box::pin(still(self, Turn { op, ino, is_free: true, goes_ahead: true })).await
            }
            Err(JobError::Superseded) => {
                self.log(op, self.catalog.release_job(op, self.clock.now()).await);
                self.ended(None)
            }
            Err(error) => {
                let ended = self.ended(Some(&error));
                self.failed(op, &what, attempts, error).await;
                ended
            }
        }
    }

    /// Whether a large file's upload has no more time.
    async fn is_late(&self, large: Option<Ino>, op: OpId) -> bool {
        if large.is_none() {
            return false;
        }
        self.catalog.is_late(op, self.clock.now()).await.unwrap_or_else(|error| {
            tracing::error!(op = op.0, "whether an upload is late is not known: {error}");
            false
        })
    }

    /// What the number of jobs at once is judged by.
    fn ended(&self, error: Option<&JobError>) -> Ended {
        let throttled = matches!(
            error,
            Some(JobError::Store(StoreError { kind: StoreErrorKind::Throttled, .. }))
        );
        Ended { bytes: self.sent.load(Ordering::Relaxed), throttled }
    }

    async fn failed(&self, op: OpId, what: &str, attempts: u32, error: JobError) {
        let now = self.clock.now();
        if let JobError::Store(error) = &error {
            self.share.health.failed(error, now);
        }
        tracing::warn!(op = op.0, attempts, "{what} failed and will be tried again: {error}");
        let pause = RETRY_MS_MIN.saturating_mul(1 << attempts.min(16)).min(RETRY_MS_MAX);
        // Spread over a quarter, so that what failed together does not come back together.
        let spread = pause / 4 * (op.0 % 16) / 16;
        let retry_at = now.plus_millis(pause - pause / 4 + spread);
        self.log(op, self.catalog.fail_job(op, &format!("{what}: {error}"), retry_at).await);
    }

    async fn sync(&self, job: SyncJob) -> Result<(), JobError> {
        match publish(self, &job).await? {
            Outcome::Published(Sent { object, is_whole, upload }) => {
                self.place.leave();
                self.share.health.answered(Right::Write);
                self.only(&job, upload).await?;
                let (now, version) = (self.clock.now(), job.inode.version);
                let made = if is_whole { Made::Whole } else { Made::Bytes };
                let done = Published { version, key: job.key.clone(), object, now, made };
                let end = self.catalog.finish(job.op, done).await?;
                failpoint::passed(Point::UploadAfterFinish);
                if end == Finish::Clean {
                    self.may_leave(&job.inode).await;
                }
                tracing::debug!(key = %job.key, version, ?end, "published");
                Ok(())
            }
            Outcome::Earlier(Earlier { object, version, size, upload }) => {
                self.place.leave();
                self.share.health.answered(Right::Write);
                self.only(&job, upload).await?;
                let (now, made) = (self.clock.now(), (version, size));
                self.catalog.finish_earlier(job.op, made, &job.key, object, now).await?;
                tracing::debug!(key = %job.key, version, "an earlier attempt was done");
                Ok(())
            }
            Outcome::AskAgain => Err(JobError::Superseded),
            Outcome::Ended => Ok(()),
        }
    }

    /// The object was made by this upload in parts, or by one request: another one that is under way
    /// is aborted, and its parts tell nothing of the object.
    async fn only(&self, job: &SyncJob, upload: Option<String>) -> Result<(), CatalogError> {
        if job.multipart.is_none() && job.inode.size <= SINGLE_PUT_BYTES_MAX {
            return Ok(());
        }
        self.catalog.abandon_other_multipart(job.op, upload).await
    }

    /// Lets the cache know that the file's bytes may leave it.
    async fn may_leave(&self, inode: &Inode) {
        let ino = inode.ino;
        if !inode.goes_in_parts() && self.cache.note_known_clean(ino, inode.size) {
            return;
        }
        match self.catalog.ranges(ino).await {
            Ok(ranges) => self.cache.note_clean(ino, &ranges),
            // Whoever uses the file next makes it known, or the next start does.
            Err(error) => {
                tracing::error!(ino = ino.0, "what may leave the cache is not known: {error}")
            }
        }
    }

    /// An early upload that fails is no failure of the file's: it goes as a whole when it is written.
    async fn early(&self, job: &EarlyJob) -> Ended {
        let sent = early::send(self, job).await;
        if let Err(error) = &sent {
            if let JobError::Store(error) = error {
                self.share.health.failed(error, self.clock.now());
            }
            tracing::debug!(key = %job.key, "an early upload goes on later: {error}");
        }
        self.log(job.op, self.catalog.release_job(job.op, self.clock.now()).await);
        self.ended(sent.as_ref().err())
    }

    /// Deletes an object, if it is still the one that was removed here.
    async fn delete(&self, job: &DeleteJob) -> Result<(), JobError> {
        let store = &self.share.store;
        let refused = match &job.etag {
            Some(etag) => match store.delete(&job.key, condition(etag)).await {
                Ok(()) => false,
                Err(error) if error.kind == StoreErrorKind::Changed => true,
                Err(error) => return Err(error.into()),
            },
            None => true,
        };
        if refused && job.uncertain {
            match look(self, &job.key).await? {
                Some(head) if self.has_sent(job, &head) => {
                    store.delete(&job.key, Some(&head.etag)).await?;
                }
                Some(_) => self.kept(&job.key),
                None => {}
            }
        } else if refused {
            self.kept(&job.key);
        }
        failpoint::passed(Point::UploadAfterDelete);
        self.place.leave();
        self.share.health.answered(Right::Delete);
        Ok(self.catalog.finish_delete(job.op).await?)
    }

    /// Whether the object is one of those that an upload may have left where `job` deletes.
    fn has_sent(&self, job: &DeleteJob, head: &ObjectMeta) -> bool {
        match job.sent_by {
            Some(ino) => self.share.wrote_of(&head.user, ino),
            None => self.share.wrote(&head.user),
        }
    }

    /// The object changed behind us before its deletion: it is not the one that was removed.
    fn kept(&self, key: &ObjectKey) {
        self.share.health.event(
            gateway_api::status::HealthEventKind::Conflict,
            format!("{key} was changed in the bucket after it was removed here; it was kept"),
        );
    }

    async fn abort(&self, op: OpId, key: &ObjectKey, upload_id: &str) -> Result<(), JobError> {
        self.share.store.abort_multipart(key, upload_id).await?;
        failpoint::passed(Point::UploadAfterAbort);
        self.share.health.answered(Right::Delete);
        Ok(self.catalog.finish_delete(op).await?)
    }

    /// The job has not begun: it may be handed out again.
    pub(super) async fn give_back(&self, op: OpId) {
        self.log(op, self.catalog.release_job(op, self.clock.now()).await);
    }

    /// What was read of the job's file in its turn.
    pub(super) fn take(&self) -> Option<Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A job's end, which the catalog may have failed to note: nobody has its claim then.
    pub(super) fn log(&self, op: OpId, ended: Result<(), CatalogError>) {
        if let Err(error) = ended {
            tracing::error!(share = %self.share.settings.name, "a job's end was not noted: {error}");
            self.stranded.lock().unwrap_or_else(PoisonError::into_inner).push(op);
        }
    }
}

/// Deletes this object and no other.
fn condition(etag: &ETag) -> Option<&ETag> {
    Some(etag).filter(|_| !essential::is_left_out(Step::DeleteConditionCheck))
}

fn attempts(job: &Job) -> u32 {
    match job {
        Job::Sync(job) | Job::StepAside(job) => job.attempts,
        Job::Early(_) | Job::Still { .. } => 0,
        Job::Delete(job) => job.attempts,
        Job::Abort { attempts, .. } => *attempts,
    }
}

/// The file that the job publishes in parts.
pub(super) fn large_file(job: &Job) -> Option<Ino> {
    match job {
        Job::Sync(job) => {
            let is_large = job.inode.goes_in_parts() && job.inode.content_dirty;
            (is_large && !job.is_elsewhere).then_some(job.inode.ino)
        }
        Job::Early(_) | Job::StepAside(_) | Job::Delete(_) => None,
        Job::Abort { .. } | Job::Still { .. } => None,
    }
}

/// What the job's requests take, but for reading.
fn right(job: &Job) -> Right {
    match job {
        Job::Sync(_) | Job::Early(_) | Job::StepAside(_) | Job::Still { .. } => Right::Write,
        Job::Delete(_) | Job::Abort { .. } => Right::Delete,
    }
}

fn describe(job: &Job) -> String {
    match job {
        Job::Sync(job) => format!("upload of {}", job.key),
        Job::Early(job) => format!("early upload of {}", job.key),
        Job::Delete(job) => format!("deletion of {}", job.key),
        Job::Abort { key, .. } => format!("cleaning up an upload of {key}"),
        Job::StepAside(job) => format!("making room for {}", job.key),
        Job::Still { ino, .. } => format!("the turn of file {}", ino.0),
    }
}

#[cfg(test)]
pub(super) mod tests;
