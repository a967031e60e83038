//! Counters, rates and latencies that the parts keep as they work.
//!
//! All of them only grow, are shared by `Arc` and never wait: what they count must not slow it down.
//! Names and units as users see them are in `gateway_api::figures`.
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gateway_api::figures::{LATENCY_BOUNDS_MS, Latency};

/// Whole seconds that a rate looks back on.
const RATE_SECONDS: u64 = 10;
/// Those, and the running one.
const SLOTS: usize = 11;

const _: () = assert!(SLOTS as u64 == RATE_SECONDS + 1);

/// Something counted.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How fast something goes: an amount per second, over the last ten whole seconds.
#[derive(Debug)]
pub struct Rate {
    started: Instant,
    seconds: Mutex<Seconds>,
}

impl Default for Rate {
    fn default() -> Self {
        Self { started: Instant::now(), seconds: Mutex::default() }
    }
}

impl Rate {
    /// Notes an amount.
    pub fn add(&self, amount: u64) {
        let now = self.started.elapsed().as_secs();
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner).add(now, amount);
    }

    /// The amount per second.
    pub fn per_second(&self) -> u64 {
        let now = self.started.elapsed().as_secs();
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner).per_second(now)
    }
}

/// Amounts of the running second and of those before it.
#[derive(Debug, Default)]
struct Seconds {
    /// The second of the latest amount.
    latest: u64,
    /// By second, modulo their number.
    amounts: [u64; SLOTS],
}

impl Seconds {
    fn slot(second: u64) -> usize {
        usize::try_from(second % (RATE_SECONDS + 1)).unwrap_or(0)
    }

    /// Forgets what is too old at `now`.
    fn advance(&mut self, now: u64) {
        let from = (self.latest + 1).max(now.saturating_sub(RATE_SECONDS));
        for second in from..=now {
            self.amounts[Self::slot(second)] = 0;
        }
        self.latest = self.latest.max(now);
    }

    fn add(&mut self, now: u64, amount: u64) {
        self.advance(now);
        self.amounts[Self::slot(now)] += amount;
    }

    fn per_second(&mut self, now: u64) -> u64 {
        self.advance(now);
        let whole: u64 = self.amounts.iter().sum::<u64>() - self.amounts[Self::slot(now)];
        // Before the first ten are over there are fewer; in the first, what it has so far.
        match now.min(RATE_SECONDS) {
            0 => self.amounts[Self::slot(now)],
            seconds => whole / seconds,
        }
    }
}

/// How long something takes, in the classes of [`LATENCY_BOUNDS_MS`].
#[derive(Debug, Default)]
pub struct Latencies {
    classes: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
    total_micros: AtomicU64,
}

impl Latencies {
    /// Notes one.
    pub fn note(&self, took: Duration) {
        let millis = took.as_millis();
        let class = LATENCY_BOUNDS_MS.partition_point(|bound| u128::from(*bound) < millis);
        self.classes[class].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.total_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// All noted so far.
    pub fn get(&self) -> Latency {
        Latency {
            classes: std::array::from_fn(|class| self.classes[class].load(Ordering::Relaxed)),
            total_ms: self.total_micros.load(Ordering::Relaxed) / 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_forgets_what_is_older_than_ten_seconds() {
        let mut seconds = Seconds::default();
        seconds.add(0, 500);
        assert_eq!(seconds.per_second(0), 500, "what there is so far");
        assert_eq!(seconds.per_second(1), 500);
        seconds.add(5, 500);
        assert_eq!(seconds.per_second(6), 1000 / 6);
        assert_eq!(seconds.per_second(10), 100);
        assert_eq!(seconds.per_second(11), 50, "the first second is too old");
        assert_eq!(seconds.per_second(15), 50);
        assert_eq!(seconds.per_second(16), 0);
        seconds.add(1_000_000, 10);
        assert_eq!(seconds.per_second(1_000_001), 1);
    }

    #[test]
    fn latencies_fall_into_the_class_that_holds_them() {
        let latencies = Latencies::default();
        for millis in [0, 5, 6, 30_000, 30_001] {
            latencies.note(Duration::from_millis(millis));
        }
        let seen = latencies.get();
        assert_eq!((seen.classes[0], seen.classes[1]), (2, 1));
        assert_eq!((seen.classes[11], seen.classes[12]), (1, 1));
        assert_eq!((seen.count(), seen.total_ms), (5, 60_012));
    }
}
