//! Makes a range of a file present in the cache.
use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use super::{
    come::{Come, Piece},
    install::Arrivals,
    single_flight::{Block, Lead, SingleFlight, Waiting},
    window::Windows,
};
use crate::{
    budget::{MemoryBudget, Reserved},
    cache::{CacheError, CacheStore, space::Coming},
    catalog::{Catalog, CatalogError, ChangedObject, Inode},
    clock::{Clock, Timestamp},
    ids::Ino,
    locks::InodeLocks,
    object::{ETag, ObjectKey},
    share::{Right, Share},
    store::{ObjectMeta, StoreError, StoreErrorKind},
    tasks::Tasks,
};

/// What is brought at a time: every byte of it once, whoever waits. Little enough that a small random read of
/// a large object brings little that nobody asked for; a request of it takes hardly longer than one of 4 KiB.
pub(super) const BLOCK_BYTES: u64 = 128 << 10;
/// Longest GET: blocks in a row are brought together. Long enough that requests cost little beside bytes
/// (a million for a TiB), short enough that many go side by side.
const RUN_BLOCKS: u64 = 8;
/// After how long it is said again that the cache does not take what comes.
const SAID_AGAIN_SECONDS: i64 = 60;
/// GETs of one call under way at once.
const RUNS_AT_ONCE: usize = 16;

/// Why bytes could not be brought.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The store failed.
    #[error("{message}")]
    Store {
        /// How.
        kind: StoreErrorKind,
        /// In words.
        message: String,
    },
    /// The object is another one now; its file's attributes have been brought up to date.
    #[error("the object has changed")]
    Changed,
    /// The file is gone.
    #[error("the file is gone")]
    Gone,
    /// The bytes are nowhere: only an object that others have replaced or deleted had them.
    #[error("the bytes are nowhere: the file is not whole")]
    Incomplete,
    /// The cache disk has no room left for them.
    #[error("{0}")]
    NoRoom(String),
    /// The cache disk or the catalog failed.
    #[error("{0}")]
    Local(String),
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        Self::Store { kind: error.kind, message: error.to_string() }
    }
}

impl From<CatalogError> for FetchError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Gone(_) => Self::Gone,
            CatalogError::Changed => Self::Changed,
            other => Self::Local(other.to_string()),
        }
    }
}

impl From<CacheError> for FetchError {
    fn from(error: CacheError) -> Self {
        let words = error.to_string();
        if error.is_no_space() { Self::NoRoom(words) } else { Self::Local(words) }
    }
}

/// Fetches for one share. Cloning gives another handle to the same fetcher.
#[derive(Clone, Debug)]
pub struct Fetcher {
    pub(super) inner: Arc<Inner>,
}

/// What a fetcher works with.
#[derive(Debug)]
pub(crate) struct Inner {
    share: Arc<Share>,
    pub(super) catalog: Catalog,
    pub(super) cache: CacheStore,
    pub(super) locks: InodeLocks,
    clock: Arc<dyn Clock>,
    budget: MemoryBudget,
    tasks: Tasks,
    pub(super) flights: SingleFlight<Piece, Brought>,
    windows: Mutex<Windows>,
    pub(super) arrivals: Arrivals,
    intake: Intake,
}

impl Fetcher {
    /// A fetcher of `share`'s objects into `cache`.
    pub fn new(
        share: Arc<Share>,
        catalog: Catalog,
        cache: CacheStore,
        locks: InodeLocks,
        clock: Arc<dyn Clock>,
        budget: MemoryBudget,
        tasks: Tasks,
    ) -> Self {
        let flights = SingleFlight::default();
        let windows = Mutex::default();
        Self {
            inner: Arc::new(Inner {
                share,
                catalog,
                cache,
                locks,
                clock,
                budget,
                tasks,
                flights,
                windows,
                arrivals: Arrivals::default(),
                intake: Intake::default(),
            }),
        }
    }

    /// Returns when every byte of `range` (as far as the file goes) is in the cache. Reads ahead in
    /// the background when the file is read on. Cancel safe: blocks under way still arrive.
    ///
    /// # Errors
    /// [`FetchError`]; [`FetchError::Changed`] when the object keeps changing: ask again later.
    pub async fn fetch(&self, ino: Ino, range: Range<u64>) -> Result<(), FetchError> {
        self.fetch_until(ino, range, Until::Here).await.map(drop)
    }

    /// As [`Fetcher::fetch`], for who wants to read: answers the bytes themselves where they have just come and the
    /// cache disk does not have them yet.
    ///
    /// # Errors
    /// As [`Fetcher::fetch`].
    pub async fn bring(&self, ino: Ino, range: Range<u64>) -> Result<Option<Come>, FetchError> {
        self.fetch_until(ino, range, Until::Come).await
    }

    async fn fetch_until(
        &self,
        ino: Ino,
        range: Range<u64>,
        until: Until,
    ) -> Result<Option<Come>, FetchError> {
        match self.fetch_once(ino, range.clone(), until).await {
            // The file's attributes are new now, the object's tag among them.
            Err(FetchError::Changed) => self.fetch_once(ino, range, until).await,
            done => done,
        }
    }

    /// Notes that somebody has read `range` of a file of which not everything is here. If it reads on, and
    /// half of what was brought ahead of it is used, answers what to bring next: give it to
    /// [`Fetcher::ahead`]. Does not wait.
    pub fn read_on(&self, ino: Ino, range: &Range<u64>) -> Option<Range<u64>> {
        self.inner.window(ino, range)
    }

    /// Begins to bring what is missing of `range`, as far as memory and the cache disk have room for what
    /// nobody has asked for: it takes no room from others. Errors show when somebody asks. Call it on the
    /// runtime that carries what goes to S3.
    pub async fn ahead(&self, ino: Ino, range: Range<u64>) {
        let inner = &self.inner;
        if inner.intake.refuses.load(Ordering::Relaxed) {
            inner.lock_windows().refused(ino, range.start);
            return;
        }
        let Ok((inode, ranges)) = inner.catalog.inode_and_ranges(ino).await else { return };
        let missing = ranges.missing(range.start..range.end.min(inode.size).max(range.start));
        for run in runs(&blocks(&missing)) {
            let bytes = (run.end - run.start) * BLOCK_BYTES;
            let disk = inner.cache.likely_disk_of(ino);
            let room = disk.space().admit(bytes).unwrap_or(false);
            let Some(memory) = inner.budget.try_reserve(bytes).filter(|_| room) else {
                inner.lock_windows().refused(ino, run.start * BLOCK_BYTES);
                return;
            };
            drop(self.fly(&inode, run, Some(memory)));
        }
    }

    async fn fetch_once(
        &self,
        ino: Ino,
        range: Range<u64>,
        until: Until,
    ) -> Result<Option<Come>, FetchError> {
        let (inode, ranges) = self.inner.catalog.inode_and_ranges(ino).await?;
        let range = range.start..range.end.min(inode.size);
        if range.is_empty() || ranges.covers(&range) {
            return Ok(None);
        }
        // Who reads on gets the rest of a run with what is asked for: it costs no request more.
        let mut ahead = self.inner.window(ino, &range).unwrap_or(range.end..range.end);
        if self.inner.intake.refuses.load(Ordering::Relaxed) {
            // It would come in vain, and again for the next READ.
            self.inner.lock_windows().refused(ino, ahead.start);
            ahead = range.end..range.end;
        }
        let run_end = range.end.next_multiple_of(RUN_BLOCKS * BLOCK_BYTES);
        let with = ahead.end.min(run_end).min(inode.size).max(range.end);
        let asked = range.end.div_ceil(BLOCK_BYTES);
        let wanted = runs(&blocks(&ranges.missing(range.start..with)));
        for batch in wanted.chunks(RUNS_AT_ONCE) {
            let flights: Vec<_> =
                batch.iter().flat_map(|run| self.fly(&inode, run.clone(), None)).collect();
            if batch.last() == wanted.last() && ahead.end > with {
                let fetcher = self.clone();
                let more = with..ahead.end;
                self.inner.tasks.spawn("read ahead", async move { fetcher.ahead(ino, more).await });
            }
            let mut asked_for: Vec<_> =
                flights.into_iter().filter(|(number, _)| *number < asked).collect();
            if until == Until::Come
                && wanted.len() <= RUNS_AT_ONCE
                && let Some(etag) = inode.etag.as_ref().filter(|_| !inode.dirty && !inode.writing)
            {
                for (_, flight) in &mut asked_for {
                    flight.landed().await;
                }
                // At one moment: their memory is the fetch's only while that goes on.
                let pieces: Vec<_> =
                    asked_for.iter().filter_map(|(_, flight)| flight.come()).collect();
                if let Some(come) = Come::of(etag, &range, &pieces) {
                    return Ok(Some(come));
                }
            }
            for (_, flight) in asked_for {
                flight.result().await.unwrap_or(Err(FetchError::Changed))?;
            }
        }
        Ok(None)
    }

    /// Starts or joins the fetches of blocks in a row; the answers may be awaited or not. `memory` is for
    /// the bytes, if they were taken before.
    fn fly(&self, inode: &Inode, run: Range<u64>, memory: Option<Reserved>) -> Vec<(u64, Landing)> {
        let (mut waiting, mut leads) = (Vec::new(), Vec::new());
        for number in run {
            let block = Block { ino: inode.ino, number, etag: inode.etag.clone() };
            let (flight, lead) = self.inner.flights.join(block);
            waiting.push((number, flight));
            leads.extend(lead.map(|lead| (number, lead)));
        }
        if let (Some((first, _)), Some((last, _))) = (leads.first(), leads.last()) {
            // Others may lead some in between: those bytes come twice, and are installed once.
            let run = Run { ino: inode.ino, etag: inode.etag.clone(), blocks: *first..*last + 1 };
            let inner = Arc::clone(&self.inner);
            let bytes = (run.blocks.end - run.blocks.start) * BLOCK_BYTES;
            let coming = inner.cache.likely_disk_of(run.ino).space().coming(bytes);
            let leads = leads.into_iter().map(|(_, lead)| lead).collect();
            self.inner.tasks.spawn("fetch", inner.lead(run, leads, memory, coming));
        }
        waiting
    }
}

/// What the cache does with what comes. Who had the bytes as they came does not ask what became of them.
#[derive(Debug, Default)]
struct Intake {
    /// Whether it did not take what came last: nothing is fetched then that nobody waits for.
    refuses: AtomicBool,
    /// When that was said last, in seconds.
    said: AtomicI64,
}

impl Intake {
    /// It has not taken bytes of `ino`. Said once a minute.
    fn refused(&self, ino: Ino, error: &FetchError, now: Timestamp) {
        self.refuses.store(true, Ordering::Relaxed);
        let seconds = now.seconds();
        let said = self.said.load(Ordering::Relaxed);
        if said == 0 || (seconds - said).abs() >= SAID_AGAIN_SECONDS {
            self.said.store(seconds, Ordering::Relaxed);
            tracing::warn!(
                ino = ino.0,
                "bytes from S3 do not get into the cache, and are fetched again for each reader: {error}"
            );
        }
    }
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// The bytes have come.
    Come,
    /// They are in the cache.
    Here,
}

/// What came of bringing a block.
type Brought = Result<(), FetchError>;
/// Where a block is waited for.
type Landing = Waiting<Piece, Brought>;
/// The duty to bring one.
type Duty = Lead<Piece, Brought>;

/// Blocks that are brought with one GET.
#[derive(Clone, Debug)]
struct Run {
    ino: Ino,
    etag: Option<ETag>,
    blocks: Range<u64>,
}

impl Inner {
    fn lock_windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn window(&self, ino: Ino, range: &Range<u64>) -> Option<Range<u64>> {
        self.lock_windows().read(ino, range)
    }

    async fn lead(
        self: Arc<Self>,
        run: Run,
        leads: Vec<Duty>,
        memory: Option<Reserved>,
        coming: Coming,
    ) {
        let ino = run.ino;
        let result = self.bring(run, memory, &leads).await;
        if matches!(result, Err(FetchError::NoRoom(_))) {
            self.cache.likely_disk_of(ino).space().ask_again();
        }
        // Before anybody hears of it: who asks for room then finds these bytes on the disk alone.
        drop(coming);
        for lead in leads {
            lead.done(result.clone());
        }
    }

    /// Brings what is missing of the blocks. `leads` are told when it has come.
    async fn bring(
        &self,
        run: Run,
        memory: Option<Reserved>,
        leads: &[Duty],
    ) -> Result<(), FetchError> {
        let Run { ino, etag, blocks } = run;
        let (inode, ranges) = self.catalog.inode_and_ranges(ino).await?;
        if inode.etag != etag {
            return Err(FetchError::Changed);
        }
        let whole = blocks.start * BLOCK_BYTES..(blocks.end * BLOCK_BYTES).min(inode.size);
        if whole.is_empty() {
            return Ok(());
        }
        let missing = ranges.missing(whole);
        let (Some(first), Some(last)) = (missing.first(), missing.last()) else { return Ok(()) };
        let hull = first.start..last.end;
        let (Some(etag), Some(key)) = (inode.etag.clone(), inode.object_key.clone()) else {
            return Err(FetchError::Incomplete);
        };
        let _memory = match memory {
            Some(memory) => memory,
            None => self.budget.reserve(hull.end - hull.start).await,
        };
        let bytes = match self.share.store.get(&key, hull.clone(), &etag).await {
            Ok(bytes) => bytes,
            Err(error) => return Err(self.look(&inode, error).await),
        };
        self.share.health.answered(Right::Read);
        for lead in leads {
            lead.come(Piece { at: hull.clone(), bytes: bytes.clone() });
        }
        let first = hull.start;
        let installed = self.installed(ino, &etag, hull, bytes).await;
        match &installed {
            Ok(()) => self.intake.refuses.store(false, Ordering::Relaxed),
            Err(error @ (FetchError::NoRoom(_) | FetchError::Local(_))) => {
                self.lock_windows().refused(ino, first);
                self.intake.refused(ino, error, self.clock.now());
            }
            // Of the object or the file.
            Err(_) => {}
        }
        installed
    }

    /// S3 has said 404 of an object that was known: what it is if there is one all the same. Only a listing tells that there
    /// is none (I13).
    async fn look_again(
        &self,
        (key, etag): (&ObjectKey, &ETag),
        refusal: StoreError,
    ) -> Result<Option<ObjectMeta>, StoreError> {
        if self.share.store.listed(key).await?.is_none() {
            return Ok(None);
        }
        match self.share.store.head(key).await {
            // Somebody on the way did not know it.
            Ok(head) if head.etag == *etag => {
                Err(refusal.belied_by_a_listing(StoreErrorKind::Unavailable))
            }
            Ok(head) => Ok(Some(head)),
            Err(head) if head.kind == StoreErrorKind::NotFound => {
                Err(refusal.belied_by_a_listing(StoreErrorKind::Invalid))
            }
            Err(head) => Err(head),
        }
    }

    /// A GET was refused: finds out what the object is now.
    async fn look(&self, inode: &Inode, error: StoreError) -> FetchError {
        self.share.health.failed(&error, self.clock.now());
        let (Some(etag), Some(key)) = (&inode.etag, &inode.object_key) else {
            return error.into();
        };
        let found = match error.kind {
            StoreErrorKind::NotFound => self.look_again((key, etag), error).await,
            StoreErrorKind::Changed => match self.share.store.head(key).await {
                Ok(head) => Ok(Some(head)),
                Err(head) if head.kind == StoreErrorKind::NotFound => {
                    self.look_again((key, etag), head).await
                }
                Err(head) => Err(head),
            },
            _ => return error.into(),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.share.health.failed(&error, self.clock.now());
                return error.into();
            }
        };
        let settled = match found {
            None => self.catalog.mark_gone(inode, self.clock.now()).await,
            Some(head) => {
                let is = ChangedObject {
                    size: head.size,
                    etag: head.etag,
                    last_modified: head.last_modified,
                    now: self.clock.now(),
                };
                self.catalog.mark_changed(inode, is).await
            }
        };
        match settled {
            Ok(_) if inode.dirty => FetchError::Store {
                kind: StoreErrorKind::Changed,
                message: format!("object {key} changed while its file was being changed here"),
            },
            Ok(_) => FetchError::Changed,
            Err(error) => error.into(),
        }
    }
}

/// The blocks that hold any of `ranges`, each once, in order.
fn blocks(ranges: &[Range<u64>]) -> Vec<u64> {
    let touched: BTreeSet<u64> = ranges
        .iter()
        .filter(|range| !range.is_empty())
        .flat_map(|range| range.start / BLOCK_BYTES..=(range.end - 1) / BLOCK_BYTES)
        .collect();
    touched.into_iter().collect()
}

/// The blocks in order as runs in a row, each short enough for one GET. Long rows are cut where others
/// would cut them too.
fn runs(blocks: &[u64]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    let mut rest = blocks.iter().copied().peekable();
    while let Some(start) = rest.next() {
        let mut end = start + 1;
        while rest.next_if_eq(&end).is_some() {
            end += 1;
        }
        let mut at = start;
        while end - at > RUN_BLOCKS {
            let cut = (at + 1).next_multiple_of(RUN_BLOCKS);
            runs.push(at..cut);
            at = cut;
        }
        runs.push(at..end);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_touch_each_of_their_blocks_once() {
        assert_eq!(blocks(&[0..1, 2..BLOCK_BYTES, BLOCK_BYTES..BLOCK_BYTES + 1]), [0, 1]);
        assert_eq!(blocks(&[5..5, 7..7]), Vec::<u64>::new());
        let across = BLOCK_BYTES - 1..3 * BLOCK_BYTES;
        assert_eq!(blocks(std::slice::from_ref(&across)), [0, 1, 2]);
    }

    #[test]
    fn blocks_in_a_row_come_together_up_to_the_longest_get() {
        assert_eq!(runs(&[]), Vec::<Range<u64>>::new());
        assert_eq!(runs(&[7, 8, 9, 12]), [7..10, 12..13], "no cut where one GET will do");
        let long: Vec<u64> = (5..30).collect();
        assert_eq!(runs(&long), [5..8, 8..16, 16..24, 24..30]);
    }
}
