//! Claims what is due and runs it, a bounded number at once.
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, watch},
    task::{self, JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    concurrency::{Concurrency, Ended},
    early::GoneAhead,
    job::Tools,
    places::{Held, Places},
    still::Bursts,
};
use crate::{
    budget::MemoryBudget,
    cache::CacheStore,
    catalog::{Catalog, CatalogError, Job, OpId},
    clock::{Clock, Timestamp},
    ids::ShareId,
    locks::InodeLocks,
    share::Share,
};

/// Longest sleep: a clock that jumps must not put uploads off for long.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// Shortest sleep: what is due and was not handed out waits for a job that is out, whose end wakes as well.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// How long changes of the journal gather before it is looked at.
const GATHER: Duration = Duration::from_millis(20);
/// Pause after the catalog could not be asked.
const CATALOG_PAUSE: Duration = Duration::from_secs(1);
/// How long jobs of a share that is not served (removed from the settings) are put off.
const UNSERVED_MS: u64 = 60_000;
/// How long a job that was handed out ahead waits for a place. Its file cannot change its key for nothing meanwhile.
const PLACE_WAIT: Duration = Duration::from_millis(500);
/// Pause after a job whose task panicked.
const DIED_MS: u64 = 30_000;

/// What the uploads of one share need.
#[derive(Clone, Debug)]
pub struct ShareMovers {
    /// The share.
    pub share: Arc<Share>,
}

/// Bounds of the uploader.
#[derive(Clone, Debug)]
pub struct UploaderOptions {
    /// Most jobs under way at once; how many are is found by what they bring.
    pub jobs_max: usize,
    /// Memory for bodies.
    pub budget: MemoryBudget,
    /// Largest object that one CopyObject takes, in bytes ([`COPY_BYTES_MAX`](super::COPY_BYTES_MAX)
    /// for S3); larger ones are copied in parts.
    pub copy_bytes_max: u64,
}

/// The uploader of all shares. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct Uploader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    cache: CacheStore,
    locks: InodeLocks,
    clock: Arc<dyn Clock>,
    options: Mutex<UploaderOptions>,
    shares: Mutex<HashMap<ShareId, ShareMovers>>,
    changed: Notify,
    ahead: Arc<GoneAhead>,
    bursts: OnceLock<Arc<dyn Bursts>>,
    /// Jobs that have ended without the catalog noting it.
    stranded: Arc<Mutex<Vec<OpId>>>,
}

/// What became of a job that had a place, and how many had one then.
type PlaceEnded = (Ended, usize);

/// How a job's task ended; `None`: it was given back without having begun.
type TaskEnded = Result<(task::Id, Option<PlaceEnded>), JoinError>;

/// Jobs under way.
#[derive(Debug)]
struct Running {
    tasks: JoinSet<Option<PlaceEnded>>,
    places: Places,
    /// Jobs to be handed out ahead of their places.
    ahead: usize,
    /// The operation that each has claimed: a turn may become another one's.
    claimed: HashMap<task::Id, Arc<AtomicU64>>,
    concurrency: Concurrency,
    /// When the uploader began: what is measured is measured from here.
    begun: Instant,
    /// The clock, when it was last looked at.
    latest: Timestamp,
}

impl Running {
    fn new(now: Timestamp) -> Self {
        Self {
            tasks: JoinSet::new(),
            places: Places::default(),
            ahead: 0,
            claimed: HashMap::new(),
            concurrency: Concurrency::default(),
            begun: Instant::now(),
            latest: now,
        }
    }
}

/// Waits for a change of the journal and lets more of them gather: while clients fill a directory it
/// changes thousands of times a second, and most of it is due in some seconds.
async fn gathered(journal: &mut watch::Receiver<u64>) -> Result<(), watch::error::RecvError> {
    journal.changed().await?;
    tokio::time::sleep(GATHER).await;
    Ok(())
}

impl Uploader {
    /// An uploader without shares.
    pub fn new(
        catalog: Catalog,
        cache: CacheStore,
        locks: InodeLocks,
        clock: Arc<dyn Clock>,
        options: UploaderOptions,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                catalog,
                cache,
                locks,
                clock,
                options: Mutex::new(options),
                shares: Mutex::default(),
                changed: Notify::new(),
                ahead: Arc::default(),
                bursts: OnceLock::new(),
                stranded: Arc::default(),
            }),
        }
    }

    /// Has what clients are writing committed by `bursts` where a flush waits for it; without, it waits until they
    /// commit it. The first counts.
    pub fn commit_by(&self, bursts: Arc<dyn Bursts>) {
        self.inner.bursts.get_or_init(|| bursts);
    }

    /// Replaces the shares and bounds; jobs under way end with what they began with.
    pub fn replace(&self, shares: Vec<ShareMovers>, options: UploaderOptions) {
        *self.inner.shares.lock().unwrap_or_else(PoisonError::into_inner) =
            shares.into_iter().map(|movers| (movers.share.id, movers)).collect();
        *self.inner.options.lock().unwrap_or_else(PoisonError::into_inner) = options;
        self.inner.changed.notify_one();
    }

    /// Uploads until `stop`, then lets go of what is under way: the journal keeps it, and it can be claimed again.
    pub async fn run(self, stop: CancellationToken) {
        let mut journal = self.inner.catalog.journal_changed();
        let mut running = Running::new(self.inner.clock.now());
        loop {
            journal.mark_unchanged();
            let pause = match self.claim(&mut running).await {
                Ok(pause) => pause,
                Err(CatalogError::Closed) => return,
                Err(error) => {
                    tracing::error!("the upload journal cannot be read: {error}");
                    CATALOG_PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                changed = gathered(&mut journal) => if changed.is_err() { break },
                () = self.inner.changed.notified() => {}
                Some(ended) = running.tasks.join_next_with_id() => {
                    self.ended(&mut running, ended).await;
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        running.tasks.shutdown().await;
        // Whoever uploads next in this process is handed them again.
        for claimed in running.claimed.into_values() {
            let op = OpId(claimed.load(Ordering::Relaxed));
            if let Err(error) = self.inner.catalog.release_job(op, self.inner.clock.now()).await {
                tracing::error!(op = op.0, "the next start hands the job out again: {error}");
            }
        }
    }

    fn options(&self) -> UploaderOptions {
        self.inner.options.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A job's task is over, and perhaps others are by now: the next look at the journal, which may wait for a sync of
    /// the catalog, fills all their places.
    async fn ended(&self, running: &mut Running, ended: TaskEnded) {
        self.one_ended(running, ended).await;
        while let Some(ended) = running.tasks.try_join_next_with_id() {
            self.one_ended(running, ended).await;
        }
    }

    /// A job's task is over. One that panicked has not ended its claim itself.
    async fn one_ended(&self, running: &mut Running, ended: TaskEnded) {
        let (id, panicked) = match ended {
            Ok((id, None)) => (id, None),
            Ok((id, Some((ended, under_way)))) => {
                let (now, most) = (running.begun.elapsed(), self.options().jobs_max);
                running.concurrency.ended(now, ended, under_way, most);
                (id, None)
            }
            Err(error) => (error.id(), Some(error)),
        };
        let (Some(claimed), Some(panicked)) = (running.claimed.remove(&id), panicked) else {
            return;
        };
        let op = OpId(claimed.load(Ordering::Relaxed));
        tracing::error!(op = op.0, "an upload job died and will be tried again: {panicked}");
        let later = self.inner.clock.now().plus_millis(DIED_MS);
        if let Err(error) = self.inner.catalog.fail_job(op, "internal error", later).await {
            tracing::error!(op = op.0, "a job that died was not put off: {error}");
            self.strand(op);
        }
    }

    /// Nobody has the job's claim.
    fn strand(&self, op: OpId) {
        self.inner.stranded.lock().unwrap_or_else(PoisonError::into_inner).push(op);
    }

    /// Starts what is due, as far as there is room, and answers how long nothing else will be.
    async fn claim(&self, running: &mut Running) -> Result<Duration, CatalogError> {
        let options = self.options();
        let jobs_max = running.concurrency.limit(options.jobs_max);
        running.places.allow(jobs_max);
        running.ahead = running.ahead.min(jobs_max);
        let room = (jobs_max + running.ahead).saturating_sub(running.places.taken());
        let now = self.inner.clock.now();
        if now < running.latest {
            tracing::warn!(
                "the clock was set back; what waits for its upload does not wait for that"
            );
            self.inner.catalog.clock_set_back(running.latest, now).await?;
        }
        running.latest = now;
        let stranded: Vec<OpId> = {
            let stranded = self.inner.stranded.lock().unwrap_or_else(PoisonError::into_inner);
            // One whose task is not over, or that has been handed out again, has its claim by right.
            let has = |op: OpId, at: &AtomicU64| at.load(Ordering::Relaxed) == op.0;
            let is_over = |op: &&OpId| !running.claimed.values().any(|at| has(**op, at));
            stranded.iter().filter(is_over).copied().collect()
        };
        if !stranded.is_empty() {
            self.inner.catalog.free_claims(stranded.clone()).await?;
            let mut left = self.inner.stranded.lock().unwrap_or_else(PoisonError::into_inner);
            left.retain(|op| !stranded.contains(op));
        }
        // Half of those that were handed out ahead still wait for a place.
        if room <= running.ahead / 2 {
            return Ok(SLEEP_MAX);
        }
        let ended = running.places.ended();
        let jobs = self.inner.catalog.claim_jobs(now, room).await?;
        let meanwhile = usize::try_from(running.places.ended() - ended).unwrap_or(usize::MAX);
        running.ahead = meanwhile.saturating_mul(2).min(jobs_max);
        for job in jobs {
            let op = job.op();
            if let Err(error) = self.start(job, &options, running).await {
                tracing::error!(op = op.0, "a job that cannot be done was not put off: {error}");
                self.strand(op);
            }
        }
        if running.places.taken() >= jobs_max + running.ahead {
            return Ok(SLEEP_MAX);
        }
        let due = self.inner.catalog.next_due().await?;
        if due.is_none() && running.places.taken() == 0 {
            running.concurrency.nothing_left(running.begun.elapsed());
        }
        Ok(due.map_or(SLEEP_MAX, |due| until(now, due).max(BUSY_PAUSE)))
    }

    /// Starts a job, or has it wait for a place.
    async fn start(
        &self,
        job: Job,
        options: &UploaderOptions,
        running: &mut Running,
    ) -> Result<(), CatalogError> {
        let movers = {
            let shares = self.inner.shares.lock().unwrap_or_else(PoisonError::into_inner);
            shares.get(&job.share()).cloned()
        };
        let Some(movers) = movers else {
            // Kept: the share may be named again.
            let later = self.inner.clock.now().plus_millis(UNSERVED_MS);
            return self.inner.catalog.release_job(job.op(), later).await;
        };
        let tools = Tools {
            share: movers.share,
            catalog: self.inner.catalog.clone(),
            cache: self.inner.cache.clone(),
            locks: self.inner.locks.clone(),
            clock: Arc::clone(&self.inner.clock),
            budget: options.budget.clone(),
            copy_bytes_max: options.copy_bytes_max,
            sent: Arc::default(),
            ahead: Arc::clone(&self.inner.ahead),
            taken: Arc::default(),
            is_turn: false,
            bursts: self.inner.bursts.get().cloned(),
            stranded: Arc::clone(&self.inner.stranded),
            claimed: Arc::new(AtomicU64::new(job.op().0)),
            place: Held::default(),
        };
        let claimed = Arc::clone(&tools.claimed);
        if running.places.taken() == 0 {
            running.concurrency.begins(running.begun.elapsed());
        }
        let place = running.places.take();
        let task = running.tasks.spawn(async move {
            let place = match place {
                Ok(place) => place,
                Err(waits) => match timeout(PLACE_WAIT, waits).await {
                    Ok(Ok(place)) => place,
                    Ok(Err(_)) | Err(_) => {
                        tools.give_back(job.op()).await;
                        return None;
                    }
                },
            };
            tools.place.take(place);
            let ended = tools.run(job).await;
            Some((ended, tools.place.leave()))
        });
        running.claimed.insert(task.id(), claimed);
        Ok(())
    }
}

fn until(now: Timestamp, due: Timestamp) -> Duration {
    let nanos = due.as_nanos().saturating_sub(now.as_nanos());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)).min(SLEEP_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upload::job::tests::Fixture;

    const JOBS_MAX: usize = 64;
    /// Where the number of jobs at once begins.
    const FIRST: usize = 8;

    /// An uploader that has begun a second ago, and twice as many jobs as it may have at once, which have all ended like
    /// this and are not noticed yet.
    async fn after(ended: Ended) -> (Fixture, Uploader, Running) {
        let fixture = Fixture::new().await;
        let Tools { share, catalog, cache, locks, clock, budget, copy_bytes_max, .. } =
            fixture.tools.clone();
        let mut running = Running::new(clock.now());
        running.begun -= Duration::from_secs(1);
        let options = UploaderOptions { jobs_max: JOBS_MAX, budget, copy_bytes_max };
        let uploader = Uploader::new(catalog, cache, locks, clock, options.clone());
        uploader.replace(vec![ShareMovers { share }], options);
        assert_eq!(running.concurrency.limit(JOBS_MAX), FIRST);
        let mut tasks = Vec::new();
        for op in 0..2 * FIRST as u64 {
            let task = running.tasks.spawn(async move { Some((ended, FIRST)) });
            running.claimed.insert(task.id(), Arc::new(AtomicU64::new(op)));
            tasks.push(task);
        }
        while !tasks.iter().all(task::AbortHandle::is_finished) {
            task::yield_now().await;
        }
        (fixture, uploader, running)
    }

    #[tokio::test]
    async fn jobs_that_have_ended_are_noticed_together() {
        let (_fixture, uploader, mut running) = after(Ended::default()).await;
        let first = running.tasks.join_next_with_id().await.unwrap();
        uploader.ended(&mut running, first).await;
        assert_eq!((running.tasks.len(), running.claimed.len()), (0, 0));
    }

    #[tokio::test]
    async fn there_are_more_places_when_jobs_get_through_and_fewer_when_the_store_slows_down() {
        for throttled in [false, true] {
            let (fixture, uploader, mut running) = after(Ended { bytes: 1, throttled }).await;
            while let Some(ended) = running.tasks.join_next_with_id().await {
                uploader.ended(&mut running, ended).await;
            }
            let places = running.concurrency.limit(JOBS_MAX);
            assert_eq!(places, if throttled { FIRST - FIRST / 4 } else { 2 * FIRST });
            // So many are handed out, and no more.
            for number in 0..=2 * FIRST {
                fixture.empty(&number.to_string()).await;
            }
            uploader.claim(&mut running).await.unwrap();
            assert_eq!(running.tasks.len(), places);
        }
    }

    /// Goal: handing out waits for a sync of the catalog, so it is not done for each job that ends. Method: places for
    /// as many as there are in the beginning, and as many ahead; of those that wait, some begin.
    #[tokio::test]
    async fn nothing_is_handed_out_while_half_of_those_ahead_wait_for_a_place() {
        let (fixture, uploader, mut running) = after(Ended::default()).await;
        while let Some(ended) = running.tasks.join_next_with_id().await {
            uploader.ended(&mut running, ended).await;
        }
        let jobs_max = running.concurrency.limit(JOBS_MAX);
        running.ahead = jobs_max;
        let places = running.places.clone();
        places.allow(jobs_max);
        let mut held: Vec<_> = (0..jobs_max).map(|_| places.take().unwrap()).collect();
        let mut waiting: Vec<_> = (0..jobs_max).map(|_| places.take().unwrap_err()).collect();
        fixture.empty("next").await;
        for _ in 0..jobs_max / 2 {
            let began = uploader.claim(&mut running).await.unwrap();
            assert_eq!((running.tasks.len(), began), (0, SLEEP_MAX), "{} wait", waiting.len());
            held.remove(0);
            held.push(waiting.remove(0).try_recv().unwrap());
        }
        held.remove(0);
        held.push(waiting.remove(0).try_recv().unwrap());
        uploader.claim(&mut running).await.unwrap();
        assert_eq!(running.tasks.len(), 1);
    }

    #[test]
    fn the_pause_ends_when_the_next_job_is_due() {
        let now = Timestamp::new(100, 0);
        assert_eq!(until(now, now.plus_millis(250)), Duration::from_millis(250));
        assert_eq!(until(now, Timestamp::new(1, 0)), Duration::ZERO);
        assert_eq!(until(now, Timestamp::new(9_000, 0)), SLEEP_MAX);
    }
}
