//! How writers are slowed when the cache fills up with what S3 does not have: smoothly, down to the pace at
//! which uploads make room, so that nobody runs into a wall. The decision is pure; the one who waits is
//! the caller.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Timestamp;

/// Of a thousand parts of the cache dirty: below it nobody is slowed.
const FREE_PERMILLE: u64 = 700;
/// Uploads are taken to be at least so fast, in bytes per second: one that has just begun has shown nothing.
const DRAIN_MIN: u64 = 4 << 20;
/// Longest wait of one WRITE; whoever would wait longer is told to try again.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(1);
/// WRITEs that wait at once; further ones are told to try again.
const WAITERS_MAX: usize = 256;
/// Without anything uploaded for so long, uploads are stuck.
const STUCK_NANOS: i64 = 60_000_000_000;
/// Writers that are told to come again do so within this time: so long is a disk on which one found no room full.
const NO_ROOM_NANOS: u64 = 30_000_000_000;
/// Looks closer together than this say nothing of a speed.
const LOOK_NANOS_MIN: i64 = 100_000_000;

/// How full the cache is of what S3 does not have, and how fast that gets less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pressure {
    /// Bytes that S3 does not have.
    pub(super) dirty: u64,
    /// Bytes that could be.
    pub(super) capacity: u64,
    /// Bytes that reach S3 in a second.
    pub(super) drain: u64,
    /// Whether a write has found no room lately, whatever the figures say.
    pub(super) is_full: bool,
}

impl Pressure {
    fn permille(self) -> u64 {
        let of = u128::from(self.capacity.max(1));
        u64::try_from(u128::from(self.dirty) * 1000 / of).unwrap_or(u64::MAX).min(1000)
    }

    /// Whether the operator should know.
    pub(super) fn is_high(self) -> bool {
        self.is_full || (self.capacity > 0 && self.permille() >= 900)
    }

    /// How long a write of `len` bytes keeps others waiting: nothing below the mark, at the end as long as
    /// uploads take for as many bytes, and in between in proportion.
    pub(super) fn takes(self, len: u64) -> Duration {
        let above = self.permille().saturating_sub(FREE_PERMILLE);
        let drain = u128::from(self.drain.max(DRAIN_MIN)) * u128::from(1000 - FREE_PERMILLE);
        let nanos = u128::from(len) * u128::from(above) * 1_000_000_000 / drain;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// When a write may begin.
#[derive(Debug)]
pub(super) enum Turn {
    /// At once.
    Now,
    /// After this time; hold the place meanwhile.
    After(Duration, OwnedSemaphorePermit),
    /// Too late to be waited for: the client is to try again.
    TooLate,
}

/// Gives writers their turns.
#[derive(Debug)]
pub(super) struct Pacer {
    state: Mutex<State>,
    waiters: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    pressure: Pressure,
    /// When the next write may begin, in nanoseconds since 1970.
    next: i64,
    /// Bytes written since the last look.
    written: u64,
    looked_at: Option<i64>,
    /// When S3 last took something.
    drained_at: Option<i64>,
    /// What it had taken by then.
    progress: Option<u64>,
    /// When a write last found no room.
    no_room_at: Option<i64>,
}

impl Default for Pacer {
    fn default() -> Self {
        Self { state: Mutex::default(), waiters: Arc::new(Semaphore::new(WAITERS_MAX)) }
    }
}

impl Pacer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn of a write of `len` bytes. One that is too late has taken nobody's.
    pub(super) fn turn(&self, now: Timestamp, len: u64) -> Turn {
        let mut state = self.lock();
        let takes = state.pressure.takes(len);
        if takes.is_zero() {
            state.written = state.written.saturating_add(len);
            return Turn::Now;
        }
        let now = now.as_nanos();
        // A clock that was set back must not keep anybody waiting.
        let most = i64::try_from(WAIT_MAX.as_nanos()).unwrap_or(i64::MAX).saturating_mul(2);
        let begin = state.next.clamp(now, now.saturating_add(most));
        let nanos = i64::try_from(takes.as_nanos()).unwrap_or(i64::MAX);
        let end = begin.saturating_add(nanos);
        let wait = Duration::from_nanos(u64::try_from(end - now).unwrap_or(0));
        // What a single write takes longer than that is waited for by who comes next.
        let wait = if begin == now { wait.min(WAIT_MAX) } else { wait };
        if wait > WAIT_MAX {
            return Turn::TooLate;
        }
        let Some(place) = self.place() else { return Turn::TooLate };
        state.next = end;
        state.written = state.written.saturating_add(len);
        Turn::After(wait, place)
    }

    /// A write has found no room, and nothing that could leave.
    pub(super) fn found_no_room(&self, now: Timestamp) {
        self.lock().no_room_at = Some(now.as_nanos());
    }

    /// A write that had its turn was not done.
    pub(super) fn refused(&self, len: u64) {
        let mut state = self.lock();
        state.written = state.written.saturating_sub(len);
    }

    /// A place among those who wait; `None` when there are too many.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.waiters).try_acquire_owned().ok()
    }

    /// Notes that `dirty` of `capacity` bytes are not in S3 at `now`, and what the uploads have done
    /// so far ([`crate::catalog::Catalog::progress`]).
    pub(super) fn looked(
        &self,
        now: Timestamp,
        (dirty, capacity): (u64, u64),
        progress: u64,
    ) -> Pressure {
        let mut state = self.lock();
        let now = now.as_nanos();
        // The first look of a run is no reason to give up either.
        if state.progress.replace(progress).is_none_or(|before| before != progress) {
            state.drained_at = Some(now);
        }
        let lately = |at: i64| now.abs_diff(at) < NO_ROOM_NANOS;
        let is_full = state.no_room_at.is_some_and(lately);
        let since = now.saturating_sub(state.looked_at.unwrap_or(now));
        if state.looked_at.is_some() && since < LOOK_NANOS_MIN {
            state.pressure = Pressure { dirty, capacity, is_full, ..state.pressure };
            return state.pressure;
        }
        let drained = state.pressure.dirty.saturating_add(state.written).saturating_sub(dirty);
        let mut drain = state.pressure.drain;
        if since > 0 {
            let speed = u128::from(drained) * 1_000_000_000 / u128::from(since.unsigned_abs());
            let speed = u64::try_from(speed).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
            // Uploads end in lumps.
            drain = (drain * 3 + speed) / 4;
        }
        state.looked_at = Some(now);
        state.written = 0;
        state.pressure = Pressure { dirty, capacity, drain, is_full };
        state.pressure
    }

    /// Whether S3 has taken anything lately: an object or a part.
    pub(super) fn drains(&self, now: Timestamp) -> bool {
        let since = self.lock().drained_at.map(|at| now.as_nanos().saturating_sub(at));
        since.is_some_and(|since| since < STUCK_NANOS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn full(permille: u64) -> Pressure {
        Pressure { dirty: permille * MIB, capacity: 1000 * MIB, drain: 100 * MIB, is_full: false }
    }

    #[test]
    fn the_pace_falls_smoothly_to_that_of_the_uploads() {
        assert_eq!(full(0).takes(MIB), Duration::ZERO);
        assert_eq!(full(700).takes(MIB), Duration::ZERO);
        assert_eq!(full(1000).takes(MIB), Duration::from_millis(10), "100 MiB in a second");
        assert_eq!(full(850).takes(MIB), Duration::from_millis(5), "twice the pace");
        assert_eq!(full(5000).takes(MIB), full(1000).takes(MIB));
        let all: Vec<_> = (700..=1000).map(|permille| full(permille).takes(MIB)).collect();
        assert!(all.windows(2).all(|two| two[0] < two[1]));
        assert!(all.windows(2).all(|two| two[1] - two[0] < Duration::from_micros(40)), "no step");
        let unknown = Pressure { drain: 0, ..full(1000) };
        assert_eq!(unknown.takes(4 * MIB), Duration::from_secs(1));
        assert!(full(900).is_high() && !full(899).is_high() && !Pressure::default().is_high());
    }

    #[test]
    fn writers_share_the_pace_and_nobody_waits_for_long() {
        let pacer = Pacer::default();
        let now = Timestamp::new(1000, 0);
        pacer.lock().pressure = full(1000);
        let mut waits = Vec::new();
        let mut places = Vec::new();
        while let Turn::After(wait, place) = pacer.turn(now, 10 * MIB) {
            waits.push(wait);
            places.push(place);
        }
        let expected: Vec<_> = (1..=10).map(|n| Duration::from_millis(100 * n)).collect();
        assert_eq!(waits, expected, "100 MiB in a second, all together");
        let later = now.plus_millis(500);
        assert!(
            matches!(pacer.turn(later, 10 * MIB), Turn::After(wait, _) if wait.as_millis() == 600)
        );
        let much_later = now.plus_millis(60_000);
        assert!(
            matches!(pacer.turn(much_later, 1000 * MIB), Turn::After(wait, _) if wait == WAIT_MAX),
            "one that takes longer by itself is not refused for ever"
        );
        assert!(matches!(pacer.turn(much_later, 1), Turn::TooLate));
        let set_back = Timestamp::new(10, 0);
        assert!(matches!(
            pacer.turn(set_back.plus_millis(3000), 1),
            Turn::TooLate | Turn::After(..)
        ));
        assert!(pacer.lock().next <= much_later.plus_millis(11_000).as_nanos());
    }

    /// S3 is away and the disk is full: clients try again and again, and must be told in the end.
    #[test]
    fn writes_that_found_no_room_are_no_upload() {
        let pacer = Pacer::default();
        let mut now = Timestamp::new(1000, 0);
        for _ in 0..300 {
            pacer.looked(now, (1000 * MIB, 1000 * MIB), 7);
            if matches!(pacer.turn(now, MIB), Turn::Now | Turn::After(..)) {
                pacer.refused(MIB);
            }
            now = now.plus_millis(500);
        }
        assert!(!pacer.drains(now));
        assert_eq!(pacer.lock().pressure.drain, 0);
    }

    /// Files of a few bytes fill a disk although all their bytes are little.
    #[test]
    fn a_disk_without_room_is_full_whatever_the_figures_say() {
        let (pacer, now) = (Pacer::default(), Timestamp::new(1000, 0));
        let is_high = |now| pacer.looked(now, (MIB, 1000 * MIB), 7).is_high();
        assert!(!is_high(now));
        pacer.found_no_room(now);
        assert!(is_high(now.plus_millis(1)) && is_high(now.plus_millis(29_999)));
        assert!(!is_high(now.plus_millis(30_000)) && !is_high(Timestamp::new(900, 0)));
    }

    #[test]
    fn waiters_are_bounded() {
        let pacer = Pacer::default();
        let now = Timestamp::new(1000, 0);
        pacer.lock().pressure = full(1000);
        let places: Vec<_> = (0..WAITERS_MAX).map(|_| pacer.turn(now, 100)).collect();
        assert!(places.iter().all(|turn| matches!(turn, Turn::After(..))));
        assert!(matches!(pacer.turn(now, 100), Turn::TooLate));
        drop(places);
        assert!(matches!(pacer.turn(now, 100), Turn::After(..)));
    }

    #[test]
    fn the_speed_of_uploads_is_what_becomes_less_although_more_was_written() {
        let pacer = Pacer::default();
        let mut now = Timestamp::new(1000, 0);
        assert!(!pacer.drains(now));
        pacer.looked(now, (500 * MIB, 1000 * MIB), 0);
        assert!(pacer.drains(now), "a run that has just begun has had no time");
        for taken in 1..=40 {
            assert!(matches!(pacer.turn(now, 30 * MIB), Turn::Now));
            now = now.plus_millis(500);
            // 30 more and 30 fewer.
            pacer.looked(now, (500 * MIB, 1000 * MIB), taken);
        }
        let drain = pacer.lock().pressure.drain;
        assert!((59 * MIB..=60 * MIB).contains(&drain), "{drain}");
        assert!(pacer.drains(now.plus_millis(59_000)) && !pacer.drains(now.plus_millis(60_000)));
        pacer.looked(now.plus_millis(1), (100 * MIB, 1000 * MIB), 1);
        assert_eq!(pacer.lock().pressure.drain, drain, "too soon to say anything");
    }
}
