//! What has been written to cache files and not been committed: ranges, size and time, in memory.
//!
//! The file system drives it; a fetcher asks [`Overlay::ranges`] so that bytes from S3 never replace
//! bytes written here. Bounded: the file system commits at once when [`Overlay::is_full`].
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::written::Written;
use crate::{
    clock::Timestamp,
    ids::Ino,
    ranges::RangeSet,
    sums::{self, BlockSums, WrittenSums},
};

/// Files with uncommitted writes.
const FILES_MAX: usize = 4096;
/// Separate ranges of one file.
const RANGES_MAX: usize = 4096;
/// Chunks of checksums of one file, 512 KiB of it each: 2 GiB written and not committed.
const SUM_CHUNKS_MAX: usize = 4096;
/// Of all files: 16 MiB of sums.
const SUM_CHUNKS_ALL_MAX: usize = 32 * 1024;

/// Writes of one file from the first to the commit after the last: no upload of it meanwhile.
#[derive(Clone, Debug)]
pub enum Burst {
    /// The catalog knows of it, by this number.
    Noted(u64),
    /// It is held back in memory as long as this lives.
    Held(Arc<dyn fmt::Debug + Send + Sync>),
}

/// One file's uncommitted writes.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Bytes written since the last commit.
    pub ranges: RangeSet,
    /// Bytes whose sync failed: lost unless written again (D7).
    pub fenced: RangeSet,
    /// Size as clients see it.
    pub size: u64,
    /// Time of the last write that has ended, as clients see it.
    pub mtime: Option<Timestamp>,
    /// Whether a write took setuid and setgid away.
    pub clear_set_id: bool,
    /// The burst that is open; `None` when the next write must begin one.
    pub burst: Option<Burst>,
    /// Writes that have begun and not ended.
    pub in_flight: u32,
    /// The last write's number; no two writes of this process, to whatever files, have one number.
    pub last_write: u64,
    /// How often a sync of the file has failed.
    pub failed_syncs: u64,
    /// How many of these clients have been told of.
    pub told_syncs: u64,
    /// Of `ranges`, by the number of the latest commit that had taken what there was when it was written last. Bytes of
    /// a write that failed are in none of them: no commit makes them good.
    by_take: BTreeMap<u64, RangeSet>,
    /// The number of the latest, or of the first write: of the writes' numbers, so that none of an earlier burst is
    /// higher.
    takes: u64,
    written: Arc<Written>,
}

/// A write that has begun: handed back at its end.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct WriteBegun {
    /// Syncs that had failed by then.
    failed_syncs: u64,
    number: u64,
}

/// What is seen of a file with uncommitted writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in Pending")]
pub struct Seen {
    pub size: u64,
    pub mtime: Option<Timestamp>,
    pub clear_set_id: bool,
}

/// What a commit is to make durable, as taken at its beginning.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as in Pending")]
pub struct Taken {
    pub ranges: RangeSet,
    pub size: u64,
    pub mtime: Option<Timestamp>,
    pub clear_set_id: bool,
    last_write: u64,
    /// Its number: it has what was written before.
    takes: u64,
    failed_syncs: u64,
}

impl Pending {
    /// Notes that `range` was written.
    fn insert(&mut self, range: &Range<u64>) {
        self.ranges.insert(range.clone());
        self.forget_take(range);
        self.by_take.entry(self.takes).or_default().insert(range.clone());
    }

    /// What an earlier commit has taken of `range` is not what is there now.
    fn forget_take(&mut self, range: &Range<u64>) {
        self.by_take.values_mut().for_each(|written| written.remove(range.clone()));
        self.by_take.retain(|_, written| !written.is_empty());
    }

    /// What `taken` has is durable, unless it has been written again since.
    fn made_durable(&mut self, taken: &Taken) {
        let later = self.by_take.split_off(&taken.takes);
        for range in std::mem::replace(&mut self.by_take, later).values().flat_map(RangeSet::iter) {
            self.ranges.remove(range.clone());
            self.fenced.remove(range);
        }
    }

    fn seen(&self) -> Seen {
        Seen { size: self.size, mtime: self.mtime, clear_set_id: self.clear_set_id }
    }
}

/// The files, and the last number of a write or of a commit. It is given under their lock: a write that ended with a lower number
/// than one that a commit has taken would pass for taken.
#[derive(Debug, Default)]
struct Files {
    pending: HashMap<Ino, Pending>,
    writes: u64,
}

impl Files {
    fn number(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }
}

/// All files' uncommitted writes.
#[derive(Debug, Default)]
pub struct Overlay {
    files: Mutex<Files>,
    /// Chunks of checksums of all files.
    sum_chunks: AtomicUsize,
}

impl Overlay {
    /// What is pending for `ino`.
    pub fn get(&self, ino: Ino) -> Option<Pending> {
        self.lock().pending.get(&ino).cloned()
    }

    /// Whether anything is pending for `ino`.
    pub fn has(&self, ino: Ino) -> bool {
        self.lock().pending.contains_key(&ino)
    }

    /// Size and modification time, where a write has changed them, and whether setuid and setgid
    /// are gone.
    pub fn attr(&self, ino: Ino) -> Option<(u64, Timestamp, bool)> {
        let files = self.lock();
        let pending = files.pending.get(&ino)?;
        Some((pending.size, pending.mtime?, pending.clear_set_id))
    }

    /// Bytes written and not committed: newer than anything that S3 has. Complete only while the
    /// inode is locked exclusively, so that no write is under way.
    pub fn ranges(&self, ino: Ino) -> RangeSet {
        self.lock().pending.get(&ino).map(|pending| pending.ranges.clone()).unwrap_or_default()
    }

    /// Whether `committed` and what has been written since cover `wanted` together.
    pub fn covers(&self, ino: Ino, committed: &RangeSet, wanted: &Range<u64>) -> bool {
        self.lock().pending.get(&ino).is_some_and(|pending| {
            let mut present = pending.ranges.clone();
            present.extend(committed);
            present.covers(wanted)
        })
    }

    /// Bytes written and not committed, of all files.
    pub fn bytes(&self) -> u64 {
        self.lock().pending.values().map(|pending| pending.ranges.bytes()).sum()
    }

    /// Files with uncommitted writes.
    pub fn inos(&self) -> Vec<Ino> {
        self.lock().pending.keys().copied().collect()
    }

    /// Whether writes must be committed at once because too many files have uncommitted ones, or
    /// this one is too scattered.
    pub fn is_full(&self, ino: Ino) -> bool {
        let files = self.lock();
        files.pending.len() > FILES_MAX
            || self.sum_chunks.load(Ordering::Relaxed) > SUM_CHUNKS_ALL_MAX
            || files.pending.get(&ino).is_some_and(|pending| {
                pending.ranges.len() > RANGES_MAX || pending.written.chunks() > SUM_CHUNKS_MAX
            })
    }

    /// The blocks of `among` that hold bytes of a write that is under way or not committed: what is on the
    /// disk is not what the catalog has the sums of.
    pub fn touched(&self, ino: Ino, among: &BlockSums) -> Vec<u64> {
        let files = self.lock();
        let Some(pending) = files.pending.get(&ino) else { return Vec::new() };
        let touched = among.iter().map(|(block, _)| *block);
        touched.filter(|block| pending.written.touches(*block)).collect()
    }

    /// Of the blocks written and not committed the sums that are known, and those whose are not; and the
    /// file's size.
    pub fn sums(&self, ino: Ino) -> (BlockSums, Vec<u64>, u64) {
        let files = self.lock();
        let Some(pending) = files.pending.get(&ino) else { return (Vec::new(), Vec::new(), 0) };
        let (known, unknown) = pending.written.sums();
        (known, unknown, pending.size)
    }

    /// Joins the open burst, if there is one: the write of `range` may begin.
    pub fn join(&self, ino: Ino, range: &Range<u64>) -> Option<WriteBegun> {
        let mut files = self.lock();
        let number = files.number();
        let pending = files.pending.get_mut(&ino).filter(|pending| pending.burst.is_some())?;
        pending.in_flight += 1;
        Arc::make_mut(&mut pending.written).begin(number, range);
        Some(WriteBegun { failed_syncs: pending.failed_syncs, number })
    }

    /// Notes a burst that has begun; the write of `range` may begin.
    pub fn begin(&self, ino: Ino, burst: Burst, size: u64, range: &Range<u64>) -> WriteBegun {
        let mut files = self.lock();
        let last_write = files.number();
        let pending = files.pending.entry(ino).or_insert_with(|| Pending {
            ranges: RangeSet::new(),
            fenced: RangeSet::new(),
            size,
            mtime: None,
            clear_set_id: false,
            burst: None,
            in_flight: 0,
            last_write,
            failed_syncs: 0,
            told_syncs: 0,
            by_take: BTreeMap::new(),
            takes: last_write,
            written: Arc::default(),
        });
        pending.burst = Some(burst);
        pending.in_flight += 1;
        Arc::make_mut(&mut pending.written).begin(last_write, range);
        WriteBegun { failed_syncs: pending.failed_syncs, number: last_write }
    }

    /// Notes the end of a write. A hole that it leaves behind the old end counts as written. If a sync
    /// has failed since it began, its bytes may be among those that the failure lost: they are fenced.
    ///
    /// The file's time becomes `now`, or more if another write had that one: no two writes leave the
    /// same behind. Answers what was seen of the file right before and right after, with nobody
    /// else's write in between; `None` if it has been forgotten. `known` are the sums of the bytes.
    pub fn wrote(
        &self,
        ino: Ino,
        begun: WriteBegun,
        (range, known): (&Range<u64>, &WrittenSums),
        now: Timestamp,
        clear_set_id: bool,
    ) -> Option<(Seen, Seen)> {
        let mut files = self.lock();
        let number = files.number();
        files.pending.get_mut(&ino).map(|pending| {
            let before = pending.seen();
            self.change_sums(pending, |written, size| {
                // The block of the old end has zeros that count as written.
                if range.start > size && size % sums::BLOCK_BYTES != 0 {
                    written.touch(size / sums::BLOCK_BYTES);
                }
                written.end(begun.number, Some(known), range.end >= size);
            });
            pending.in_flight = pending.in_flight.saturating_sub(1);
            pending.last_write = number;
            let grown = pending.size..range.end;
            if !grown.is_empty() {
                pending.insert(&grown);
            }
            pending.insert(range);
            pending.size = pending.size.max(range.end);
            pending.mtime = Some(pending.mtime.map_or(now, |last| now.max(last.next())));
            pending.clear_set_id |= clear_set_id;
            if pending.failed_syncs == begun.failed_syncs {
                pending.fenced.remove(range.clone());
            } else {
                pending.fenced.insert(range.clone());
            }
            (before, pending.seen())
        })
    }

    /// Notes that a write failed: the bytes may be anything until they are written again.
    pub fn write_failed(&self, ino: Ino, begun: WriteBegun, range: &Range<u64>) {
        let mut files = self.lock();
        let number = files.number();
        if let Some(pending) = files.pending.get_mut(&ino) {
            self.change_sums(pending, |written, _| written.end(begun.number, None, false));
            pending.in_flight = pending.in_flight.saturating_sub(1);
            pending.last_write = number;
            pending.forget_take(range);
            pending.fenced.insert(range.clone());
        }
    }

    /// Notes that a write ended before it had changed a byte.
    pub fn not_written(&self, ino: Ino, begun: WriteBegun) {
        if let Some(pending) = self.lock().pending.get_mut(&ino) {
            Arc::make_mut(&mut pending.written).not_begun(begun.number);
            pending.in_flight = pending.in_flight.saturating_sub(1);
        }
    }

    /// Everything from `size` on is about to go, and needs no commit any more: bytes that a failed write or sync has
    /// lost keep none of the others away. Answers whether there were any of these; else nothing happens. The file is not
    /// shorter than it was `committed`: the cut may not come about. Call with the inode locked exclusively.
    pub fn cut_lost(&self, ino: Ino, size: u64, committed: u64) -> bool {
        let mut files = self.lock();
        let Some(pending) = files.pending.get_mut(&ino) else { return false };
        let gone = size..u64::MAX;
        if pending.fenced.overlapping(&gone).is_empty() {
            return false;
        }
        pending.fenced.remove(gone.clone());
        pending.ranges.remove(gone.clone());
        pending.forget_take(&gone);
        pending.size = pending.size.min(size.max(committed));
        self.change_sums(pending, |written, _| written.cut(size));
        true
    }

    /// What a commit that begins now is to make durable; `None` when nothing is pending.
    pub fn take(&self, ino: Ino) -> Option<Taken> {
        let mut files = self.lock();
        let number = files.number();
        files.pending.get_mut(&ino).map(|pending| {
            if pending.by_take.contains_key(&pending.takes) {
                pending.takes = number;
            }
            Taken {
                ranges: pending.ranges.clone(),
                size: pending.size,
                mtime: pending.mtime,
                clear_set_id: pending.clear_set_id,
                last_write: pending.last_write,
                takes: pending.takes,
                failed_syncs: pending.failed_syncs,
            }
        })
    }

    /// What of `taken` no other commit has made durable: that one has noted its bytes, and this one must not note them
    /// again.
    pub fn left_of(&self, ino: Ino, taken: &Taken) -> RangeSet {
        let files = self.lock();
        let Some(pending) = files.pending.get(&ino) else { return RangeSet::new() };
        taken.ranges.iter().flat_map(|range| pending.ranges.overlapping(&range)).collect()
    }

    /// Whether bytes of `ino` are fenced: commits must fail until they are written again (D7).
    pub fn is_fenced(&self, ino: Ino) -> bool {
        self.lock().pending.get(&ino).is_some_and(|pending| !pending.fenced.is_empty())
    }

    /// A sync of the file failed. Nobody knows which bytes that lost, and no later sync tells: all that
    /// is written and not committed is lost unless written again. To be called before the next sync
    /// of the file begins.
    pub fn sync_failed(&self, ino: Ino) {
        if let Some(pending) = self.lock().pending.get_mut(&ino) {
            pending.failed_syncs += 1;
            pending.fenced.extend(&pending.ranges);
        }
    }

    /// Whether a sync has failed since the last time that this was asked.
    pub fn is_news(&self, ino: Ino) -> bool {
        self.lock().pending.get_mut(&ino).is_some_and(|pending| {
            std::mem::replace(&mut pending.told_syncs, pending.failed_syncs) != pending.failed_syncs
        })
    }

    /// Ends the burst if nothing was written since `taken`, and answers which: the next write begins
    /// another.
    pub fn close(&self, ino: Ino, taken: &Taken) -> Option<Burst> {
        match self.lock().pending.get_mut(&ino) {
            Some(pending) if pending.last_write == taken.last_write && pending.in_flight == 0 => {
                pending.burst.take()
            }
            _ => None,
        }
    }

    /// The burst that is open.
    pub fn burst(&self, ino: Ino) -> Option<Burst> {
        self.lock().pending.get(&ino)?.burst.clone()
    }

    /// The commit that was to close `burst` failed: it is still open.
    pub fn reopen(&self, ino: Ino, burst: Burst) {
        if let Some(pending) = self.lock().pending.get_mut(&ino) {
            pending.burst.get_or_insert(burst);
        }
    }

    /// `taken` is committed: forgets what it had, and the file if nothing was written since. Answers whether a sync of
    /// the file has failed since then.
    pub fn committed(&self, ino: Ino, taken: &Taken) -> bool {
        let mut files = self.lock();
        let Some(pending) = files.pending.get_mut(&ino) else { return false };
        let failed = pending.failed_syncs != taken.failed_syncs;
        if pending.last_write == taken.last_write
            && pending.in_flight == 0
            && pending.burst.is_none()
        {
            let gone = files.pending.remove(&ino);
            self.forgot(gone.as_ref());
        } else {
            pending.made_durable(taken);
            let mut left = pending.ranges.clone();
            left.extend(&pending.fenced);
            self.change_sums(pending, |written, _| written.keep(&left));
        }
        failed
    }

    /// The burst that is open is `burst` from here on; nothing happens if none is open.
    pub fn rename_burst(&self, ino: Ino, burst: Burst) {
        if let Some(open) =
            self.lock().pending.get_mut(&ino).and_then(|pending| pending.burst.as_mut())
        {
            *open = burst;
        }
    }

    /// Files of at least `size` bytes with uncommitted writes, and how many bytes those are.
    pub fn large(&self, size: u64) -> Vec<(Ino, u64)> {
        let files = self.lock();
        let large = files.pending.iter().filter(|(_, pending)| pending.size >= size);
        large.map(|(ino, pending)| (*ino, pending.ranges.bytes())).collect()
    }

    /// Forgets the file: it was removed.
    pub fn forget(&self, ino: Ino) {
        let gone = self.lock().pending.remove(&ino);
        self.forgot(gone.as_ref());
    }

    fn change_sums(&self, pending: &mut Pending, change: impl FnOnce(&mut Written, u64)) {
        let before = pending.written.chunks();
        change(Arc::make_mut(&mut pending.written), pending.size);
        let after = pending.written.chunks();
        self.sum_chunks.fetch_add(after.saturating_sub(before), Ordering::Relaxed);
        self.sum_chunks.fetch_sub(before.saturating_sub(after), Ordering::Relaxed);
    }

    fn forgot(&self, gone: Option<&Pending>) {
        let fewer = gone.map_or(0, |pending| pending.written.chunks());
        self.sum_chunks.fetch_sub(fewer, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INO: Ino = Ino(20);

    fn write(overlay: &Overlay, range: Range<u64>) {
        let begun = overlay
            .join(INO, &range)
            .unwrap_or_else(|| overlay.begin(INO, Burst::Noted(1), 0, &range));
        let sums = WrittenSums::default();
        overlay.wrote(INO, begun, (&range, &sums), Timestamp::new(5, 0), false).unwrap();
    }

    fn pending(overlay: &Overlay) -> Vec<(u64, u64)> {
        overlay.ranges(INO).iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn a_commit_takes_its_own_bytes_away_and_no_later_ones() {
        let overlay = Overlay::default();
        write(&overlay, 0..10);
        let first = overlay.take(INO).unwrap();
        write(&overlay, 5..20);
        overlay.committed(INO, &first);
        assert_eq!(pending(&overlay), [(5, 20)], "written again since");
        let second = overlay.take(INO).unwrap();
        write(&overlay, 30..40);
        let third = overlay.take(INO).unwrap();
        overlay.committed(INO, &second);
        assert_eq!(pending(&overlay), [(20, 40)], "the third commit has the rest, and is not done");
        overlay.committed(INO, &third);
        assert_eq!(pending(&overlay), [], "the hole counts as written");
        assert!(overlay.has(INO), "its burst is open");
        overlay.close(INO, &third).unwrap();
        overlay.committed(INO, &third);
        assert!(!overlay.has(INO));
    }

    /// Goal: what one commit has made durable is neither noted again nor fenced because of one that took it as well.
    #[test]
    fn a_commit_that_took_the_same_bytes_has_nothing_left_and_a_failed_sync_does_not_fence_them() {
        let overlay = Overlay::default();
        write(&overlay, 0..10);
        let (first, same) = (overlay.take(INO).unwrap(), overlay.take(INO).unwrap());
        write(&overlay, 20..30);
        let later = overlay.take(INO).unwrap();
        assert!(!overlay.committed(INO, &first));
        assert!(overlay.left_of(INO, &same).is_empty());
        assert_eq!(overlay.left_of(INO, &later), std::iter::once(10..30).collect());
        overlay.sync_failed(INO);
        write(&overlay, 10..30);
        assert!(
            !overlay.is_fenced(INO),
            "of the first ten a client was told that they are durable"
        );
        assert!(overlay.committed(INO, &same), "a sync has failed since it was taken");
        assert_eq!(pending(&overlay), [(10, 30)]);
    }

    /// The same where the sync fails while the other commit is past its own: only what was written anew since then is
    /// lost.
    #[test]
    fn bytes_that_were_synced_before_another_sync_failed_are_not_lost() {
        let overlay = Overlay::default();
        write(&overlay, 0..20);
        let taken = overlay.take(INO).unwrap();
        write(&overlay, 5..10);
        overlay.sync_failed(INO);
        assert!(overlay.committed(INO, &taken));
        write(&overlay, 5..9);
        assert!(overlay.is_fenced(INO), "a byte that was written since is missing");
        write(&overlay, 9..10);
        assert!(!overlay.is_fenced(INO));
    }

    #[test]
    fn no_commit_makes_the_bytes_of_a_failed_write_good() {
        let overlay = Overlay::default();
        write(&overlay, 0..20);
        let taken = overlay.take(INO).unwrap();
        let begun = overlay.join(INO, &(5..10)).unwrap();
        overlay.write_failed(INO, begun, &(5..10));
        overlay.committed(INO, &taken);
        assert!(overlay.is_fenced(INO), "they may be anything by now");
        assert_eq!(pending(&overlay), [(5, 10)]);
        let begun = overlay.join(INO, &(0..5)).unwrap();
        overlay.not_written(INO, begun);
        let again = overlay.take(INO).unwrap();
        assert!(overlay.close(INO, &again).is_some(), "nothing is under way");
    }

    #[test]
    fn what_is_lost_goes_where_the_file_is_cut() {
        let overlay = Overlay::default();
        write(&overlay, 0..20);
        assert!(!overlay.cut_lost(INO, 0, 0), "nothing is lost");
        let begun = overlay.join(INO, &(10..15)).unwrap();
        overlay.write_failed(INO, begun, &(10..15));
        assert!(!overlay.cut_lost(INO, 15, 0), "not there");
        assert!(overlay.cut_lost(INO, 12, 0));
        assert!(overlay.is_fenced(INO), "the bytes before it are lost still");
        assert!(overlay.cut_lost(INO, 4, 0));
        assert!(!overlay.is_fenced(INO));
        assert_eq!(pending(&overlay), [(0, 4)]);
        assert_eq!(overlay.take(INO).unwrap().size, 4);
    }

    /// Goal: a commit that ends after the burst that it has taken takes nothing of the next one's.
    #[test]
    fn a_commit_of_an_earlier_burst_has_no_bytes_of_a_later_one() {
        let overlay = Overlay::default();
        write(&overlay, 0..10);
        overlay.take(INO).unwrap();
        write(&overlay, 10..20);
        let (late, last) = (overlay.take(INO).unwrap(), overlay.take(INO).unwrap());
        overlay.close(INO, &last).unwrap();
        overlay.committed(INO, &last);
        assert!(!overlay.has(INO));
        write(&overlay, 15..30);
        overlay.committed(INO, &late);
        assert_eq!(
            pending(&overlay),
            [(0, 30)],
            "as the file began anew, all before it counts as a hole"
        );
    }

    #[test]
    fn large_files_are_told_with_what_is_not_committed() {
        let overlay = Overlay::default();
        write(&overlay, 0..100);
        assert_eq!(overlay.large(100), [(INO, 100)]);
        assert!(overlay.large(101).is_empty());
        let taken = overlay.take(INO).unwrap();
        write(&overlay, 100..150);
        overlay.committed(INO, &taken);
        assert_eq!(overlay.large(100), [(INO, 50)]);
    }

    /// Goal: no commit passes for one of a write that ended after it had begun. Method: two writers, and a committer
    /// that takes what there is all the time; what it has taken is all that was written.
    #[test]
    fn a_write_that_ends_while_a_commit_is_under_way_is_not_forgotten() {
        const WRITES: u64 = 400_000;
        let overlay = Overlay::default();
        let commit = |committed: &mut RangeSet| {
            let Some(taken) = overlay.take(INO) else { return };
            committed.extend(&taken.ranges);
            // A sync's time, in which the last writes end.
            std::thread::yield_now();
            overlay.close(INO, &taken);
            overlay.committed(INO, &taken);
        };
        // As the file system has it: bursts begin and end in turns.
        let gate = Mutex::new(());
        let writer = |first: u64| {
            for at in (first..2 * WRITES).step_by(2) {
                let range = 2 * at..2 * at + 1;
                let joined = overlay.join(INO, &range);
                let begun = joined.unwrap_or_else(|| {
                    let _turn = gate.lock().unwrap();
                    let joined = overlay.join(INO, &range);
                    joined.unwrap_or_else(|| overlay.begin(INO, Burst::Noted(1), u64::MAX, &range))
                });
                let sums = WrittenSums::default();
                overlay.wrote(INO, begun, (&range, &sums), Timestamp::new(5, 0), false).unwrap();
                if at.is_multiple_of(3) {
                    std::thread::yield_now();
                }
            }
        };
        let mut committed = RangeSet::new();
        std::thread::scope(|threads| {
            let writers = [threads.spawn(|| writer(0)), threads.spawn(|| writer(1))];
            while !writers.iter().all(|writer| writer.is_finished()) {
                let _turn = gate.lock().unwrap();
                commit(&mut committed);
            }
        });
        commit(&mut committed);
        assert!(!overlay.has(INO));
        assert_eq!(committed.bytes(), 2 * WRITES, "bytes of writes are in no commit");
    }
}
