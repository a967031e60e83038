//! Making written bytes durable: one for the whole gateway, used by every share.
//!
//! A burst is begun in the catalog before the first byte changes (I3), and closed by the commit after
//! which nothing more was written. Commit order: bytes, then the catalog's row with the journal entry
//! (I1, I2), then the answer.
use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::{FsError, growth::Growth, pace::Pacer, verifier::Verifier};
use crate::{
    cache::{
        CacheStore,
        evict::Evictor,
        overlay::{Burst, Pending, Taken, WriteBegun},
    },
    catalog::{CARRIED_BYTES_MAX, Catalog, DurableBytes, Inode, WriteCommit},
    clock::{Clock, Timestamp},
    essential::{self, Step},
    failpoint::{self, Point},
    ids::{Ino, ShareId},
    locks::InodeLocks,
    share::{Events, Pins, Share},
    sums::{self, BlockSums},
    upload::Bursts,
};

/// The time of a commit before any write has ended: earlier than every other, so the file keeps its.
const NO_WRITE: Timestamp = Timestamp::MIN;

/// Looks in a row, twice a second, at which a bucket takes nothing, after which nobody waits for it: a minute, whatever the
/// clock says.
const CUT_OFF_LOOKS: u32 = 120;

/// Cache files that are being removed while nobody waits; their inodes are gone.
const REMOVALS_MAX: usize = 1024;

/// What all shares of a gateway write through.
pub struct WriteBack {
    pub(super) catalog: Catalog,
    pub(super) cache: CacheStore,
    pub(super) locks: InodeLocks,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) verifier: Verifier,
    pub(super) evictor: Evictor,
    pub(super) events: Events,
    pub(super) pacer: Pacer,
    /// What is pinned of each share.
    pub(super) pins: RwLock<HashMap<ShareId, Pins>>,
    shares: RwLock<Option<Vec<Arc<Share>>>>,
    /// Held while a burst begins or a commit closes it; ranks between inode lock and catalog.
    pub(super) bursts: InodeLocks,
    upload_delay_ms: AtomicU64,
    /// What is new of large files.
    pub(super) growth: Growth,
    /// Files that have gone to another cache disk.
    pub(super) moved: AtomicU64,
    /// Set while a sync of whole disks has not been heard of.
    pub(super) settling: AtomicBool,
    /// One for each cache file that is being removed while nobody waits.
    pub(super) removals: Arc<Semaphore>,
}

impl fmt::Debug for WriteBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBack").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl WriteBack {
    /// Puts the parts together. `upload_delay_ms`: quiet time after the last write before an upload.
    pub fn new(
        catalog: Catalog,
        cache: CacheStore,
        locks: InodeLocks,
        clock: Arc<dyn Clock>,
        verifier: Verifier,
        events: Events,
        upload_delay_ms: u64,
    ) -> Self {
        Self {
            catalog,
            cache,
            locks,
            clock,
            verifier,
            evictor: Evictor::default(),
            events,
            pacer: Pacer::default(),
            pins: RwLock::default(),
            shares: RwLock::default(),
            bursts: InodeLocks::default(),
            upload_delay_ms: AtomicU64::new(upload_delay_ms),
            growth: Growth::default(),
            moved: AtomicU64::new(0),
            settling: AtomicBool::new(false),
            removals: Arc::new(Semaphore::new(REMOVALS_MAX)),
        }
    }

    /// Changes the quiet time; journalled work keeps the time it has.
    pub fn set_upload_delay_ms(&self, upload_delay_ms: u64) {
        self.upload_delay_ms.store(upload_delay_ms, Ordering::Relaxed);
    }

    /// Changes which shares there are: only their uploads make room.
    pub fn set_shares(&self, shares: Vec<Arc<Share>>) {
        *self.shares.write().unwrap_or_else(PoisonError::into_inner) = Some(shares);
    }

    /// The shares whose buckets may take an upload; `None` where nobody has said which there are.
    pub(super) fn hopeful(&self) -> Option<Vec<ShareId>> {
        let shares = self.shares.read().unwrap_or_else(PoisonError::into_inner);
        let all = shares.as_ref()?.iter();
        let hopeful = all.filter(|share| !share.health.takes_nothing_for(CUT_OFF_LOOKS));
        Some(hopeful.map(|share| share.id).collect())
    }

    /// Looks which buckets take nothing.
    pub(super) fn look_at_shares(&self) {
        let shares = self.shares.read().unwrap_or_else(PoisonError::into_inner);
        shares.iter().flatten().for_each(|share| share.health.look());
    }

    /// Changes what is pinned, of all shares.
    pub fn set_pins(&self, pins: HashMap<ShareId, Pins>) {
        *self.pins.write().unwrap_or_else(PoisonError::into_inner) = pins;
        self.cache.note_pins();
    }

    /// When a change that is made now may be uploaded.
    pub(super) fn due(&self) -> Timestamp {
        self.clock.now().plus_millis(self.upload_delay_ms.load(Ordering::Relaxed))
    }

    /// Begins a write of `range`, and the burst if none is open. Call with the inode's shared lock held.
    pub(super) async fn begin(&self, ino: Ino, range: &Range<u64>) -> Result<WriteBegun, FsError> {
        let overlay = self.cache.overlay();
        if let Some(begun) = overlay.join(ino, range) {
            return Ok(begun);
        }
        let _gate = self.bursts.exclusive(ino).await;
        if let Some(begun) = overlay.join(ino, range) {
            return Ok(begun);
        }
        if self.cache.is_out_of_reach(ino) {
            return Err(FsError::Io);
        }
        let (burst, row) = match self.catalog.hold(ino) {
            Some((hold, row)) => (Burst::Held(Arc::new(hold)), row),
            None => {
                let begun = self.catalog.begin_write(ino, self.due()).await?;
                failpoint::passed(Point::BurstAfterBegin);
                (Burst::Noted(begun.version), Arc::new(begun.inode))
            }
        };
        let is_first = self.cache.is_first_write(ino);
        // What an earlier run or a longer object left beyond the end must read as zero.
        if !overlay.has(ino)
            && !is_first
            && let Err(error) = self.cache.cut(ino, row.size).await
        {
            self.not_begun(ino, &burst).await;
            return Err(error.into());
        }
        Ok(overlay.begin(ino, burst, row.size, range))
    }

    /// Ends a burst in which nothing was written: it must not keep the file's upload away.
    async fn not_begun(&self, ino: Ino, burst: &Burst) {
        let Burst::Noted(version) = burst else { return };
        if let Err(error) = self.catalog.end_burst(ino, *version, self.due()).await {
            tracing::error!(
                ino = ino.0,
                "the file's upload waits until it is written again, or for the next start: {error}"
            );
        }
    }

    /// The file is about to get `size`, and bytes beyond it that a failed write or sync has lost keep nothing away any
    /// more. Call with the inode locked exclusively, when nothing but the disk can prevent that size.
    pub(super) fn cut_lost(&self, row: &Inode, size: u64) {
        if self.cache.overlay().cut_lost(row.ino, size, row.size) {
            // Good ones may have gone with them: should the size not come about, their clients send them again.
            self.verifier.rotate();
        }
    }

    /// Makes everything written to the file until now durable; the quiet time before its upload begins. Call
    /// with the inode locked.
    pub(super) async fn commit(&self, ino: Ino) -> Result<(), FsError> {
        self.commit_by(ino, Self::due).await
    }

    /// The same, to be uploaded when `due` says, which is asked at the end.
    async fn commit_by(&self, ino: Ino, due: fn(&Self) -> Timestamp) -> Result<(), FsError> {
        let overlay = self.cache.overlay();
        let Some(mut taken) = overlay.take(ino) else { return Ok(()) };
        self.refuse_fenced(ino)?;
        // Commits of one file share this sync, so it comes before they take turns.
        let synced = if is_small(&taken) { None } else { Some(self.sync(ino).await?) };
        let _gate = self.bursts.exclusive(ino).await;
        if !overlay.has(ino) {
            // Another commit that began no earlier has done it all.
            return Ok(());
        }
        if synced.is_some() {
            taken.ranges = overlay.left_of(ino, &taken);
        }
        let bytes = match synced {
            // Unless bytes that were read before that sync began have been carried since: they would
            // go over what it has brought to the disk. In this turn nobody carries any.
            Some(DurableBytes::Synced(seen))
                if !essential::is_left_out(Step::CarriedAgainSync)
                    && self.catalog.carried_of(ino).await? != seen =>
            {
                self.sync(ino).await?
            }
            Some(synced) => synced,
            None => {
                // As it is in this turn: no commit carries less than one that came before it.
                taken = overlay.take(ino).ok_or(FsError::Stale)?;
                self.carry(ino, &taken).await?
            }
        };
        // A sync that somebody else asked for may have failed, and with bytes of ours. That the one
        // after it succeeded says nothing.
        self.refuse_fenced(ino)?;
        let sums = self.sums(ino, &taken).await?;
        let disk = self.cache.disk_of(ino).await?.id();
        let closed = overlay.close(ino, &taken);
        let noted = match closed.clone().or_else(|| overlay.burst(ino)) {
            Some(Burst::Noted(version)) => Some(version),
            Some(Burst::Held(_)) | None => None,
        };
        let commit = WriteCommit {
            noted,
            size: taken.size,
            mtime: taken.mtime.unwrap_or(NO_WRITE),
            clear_set_id: taken.clear_set_id,
            ranges: taken.ranges.iter().collect(),
            sums,
            disk,
            bytes,
            closes: closed.is_some(),
            due: due(self),
        };
        match self.catalog.commit_write(ino, commit).await {
            Ok(_) => {
                failpoint::passed(Point::CommitAfterCatalog);
                if overlay.committed(ino, &taken) {
                    // The sync that has failed may have lost what is carried since this commit.
                    self.cache.losses().note(disk);
                }
                self.growth.committed(ino, taken.size, taken.ranges.bytes());
                Ok(())
            }
            Err(error) => {
                // Whether a noted one is open nobody knows: the commit may have been made. The next write begins another.
                if let Some(burst @ Burst::Held(_)) = closed {
                    overlay.reopen(ino, burst);
                }
                self.verifier.rotate();
                Err(error.into())
            }
        }
    }

    /// The sums of the blocks written and not committed, as they are now: of a write that came after
    /// `taken`, too, whose commit will say them again. Where writes filled only parts of a block, of what
    /// the disk has, if the block is here as a whole. Call it in the file's turn.
    async fn sums(&self, ino: Ino, taken: &Taken) -> Result<BlockSums, FsError> {
        let (mut sums, mut unknown, size) = self.cache.overlay().sums(ino);
        if unknown.is_empty() {
            return Ok(sums);
        }
        let row = self.catalog.inode(ino).await?;
        if row.etag.is_some() {
            let (_, ranges) = self.catalog.inode_and_ranges(ino).await?;
            let mut present = Arc::unwrap_or_clone(ranges);
            present.extend(&taken.ranges);
            unknown.retain(|block| present.covers(&sums::bytes_of(*block, size)));
        }
        sums.extend(self.cache.sums_of(ino, unknown, size).await?);
        sums.sort_unstable();
        Ok(sums)
    }

    /// The gateway is stopping, and these writes could not be committed: the next start must not take
    /// what they have left for damage.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn doubt_uncommitted(&self) -> Result<(), FsError> {
        let left = self.cache.overlay().inos();
        if left.is_empty() { Ok(()) } else { Ok(self.catalog.doubt_sums(left).await?) }
    }

    /// Brings the cache file to the disk.
    async fn sync(&self, ino: Ino) -> Result<DurableBytes, FsError> {
        let (disk, losses) = (self.cache.disk_of(ino).await?.id(), self.cache.losses());
        let carried = self.catalog.carried_of(ino).await?;
        // A sync that succeeds says nothing of carried bytes that an earlier one has lost, whoever asked for that.
        let seen = losses.seen(disk);
        if carried.is_some() && losses.has(disk) {
            return Err(FsError::TryLater);
        }
        if let Err(error) = self.cache.sync(ino).await {
            self.cache.overlay().is_news(ino);
            self.verifier.rotate();
            // Whatever it was: a file that is not there lacks what is carried as well.
            losses.note(disk);
            return Err(error.into());
        }
        if carried.is_some() && losses.seen(disk) != seen {
            return Err(FsError::TryLater);
        }
        failpoint::passed(Point::CommitAfterSync);
        Ok(DurableBytes::Synced(carried))
    }

    /// All bytes of a small file that has been written as a whole are made durable with its row, and
    /// wait for no sync of their own. Call it in the file's turn.
    async fn carry(&self, ino: Ino, taken: &Taken) -> Result<DurableBytes, FsError> {
        if is_small(taken)
            && let Ok(bytes) = self.cache.read_at(ino, 0..taken.size).await
        {
            failpoint::passed(Point::CommitAfterCarry);
            return Ok(DurableBytes::Carried(bytes));
        }
        self.sync(ino).await
    }

    /// Fails while bytes of the file are fenced. The verifier changes once for each failed sync.
    fn refuse_fenced(&self, ino: Ino) -> Result<(), FsError> {
        let overlay = self.cache.overlay();
        if !overlay.is_fenced(ino) || essential::is_left_out(Step::SyncErrorCheck) {
            return Ok(());
        }
        if overlay.is_news(ino) {
            self.verifier.rotate();
        }
        Err(FsError::Io)
    }

    /// Returns when the cache files of everything that has been removed are gone. Before an orderly stop:
    /// what is left costs the next start time.
    pub async fn removals_done(&self) {
        let all = u32::try_from(REMOVALS_MAX).expect("a small number");
        // Never closed; to have all of them is all that is wanted.
        drop(self.removals.acquire_many(all).await);
    }

    /// Commits files that were written, never committed, and quiet for the upload delay, so that
    /// they get uploaded: at once, for that time is over. Run it about every second. Answers how many.
    pub async fn flush_idle(&self) -> usize {
        let quiet = self.upload_delay_ms.load(Ordering::Relaxed);
        let now = self.clock.now();
        // A clock that was set back must not keep what nobody commits.
        let is_over =
            |last: Timestamp| last.plus_millis(quiet) <= now || last > now.plus_millis(quiet);
        // A burst in which nothing was written has no time, and is over.
        let is_quiet = |pending: &Pending| pending.mtime.is_none_or(is_over);
        self.flush(is_quiet, |this| this.clock.now()).await
    }

    /// Commits everything that was written: before an orderly stop. Answers how many files.
    pub async fn flush_all(&self) -> usize {
        self.flush(|_| true, Self::due).await
    }

    async fn flush(
        &self,
        is_ready: impl Fn(&Pending) -> bool,
        due: fn(&Self) -> Timestamp,
    ) -> usize {
        let mut done = 0;
        for ino in self.cache.overlay().inos() {
            let ready = self.cache.overlay().get(ino).is_some_and(|pending| {
                is_ready(&pending) && pending.in_flight == 0 && pending.fenced.is_empty()
            });
            if !ready {
                continue;
            }
            let _held = self.locks.shared(ino).await;
            match self.commit_by(ino, due).await {
                Ok(()) => done += 1,
                // Logged where it became an FsError; a client's COMMIT will meet it too.
                Err(error) => tracing::warn!(ino = ino.0, "background commit failed: {error}"),
            }
        }
        done
    }
}

#[async_trait]
impl Bursts for WriteBack {
    async fn commit(&self, ino: Ino) -> Result<(), String> {
        self.commit_by(ino, |this| this.clock.now()).await.map_err(|error| error.to_string())
    }
}

/// Whether the file's bytes can go with its row.
fn is_small(taken: &Taken) -> bool {
    (1..=CARRIED_BYTES_MAX).contains(&taken.size) && taken.ranges.covers(&(0..taken.size))
}
