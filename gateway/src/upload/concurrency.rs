//! How many uploads go on at once: as many as bring more. Pure.
//!
//! A hill climb over the rate at which jobs end. In the beginning the number doubles as long as that brings more, as
//! a TCP connection begins (RFC 5681 §3.1): thousands of small files are gone before a climb by small steps
//! has come far. Of small files some go at once in any case. From there on, while another step up brings more, it goes on; when a
//! step has brought less, it goes back; a store that puts requests off is given a quarter less at
//! once. Small files need many at once because each waits for a round trip; large ones soon fill the
//! link, and more of them would only wait for each other.
use std::time::Duration;

/// Where it begins.
const FIRST: usize = 8;
/// An uploader that finds no place for two cannot tell what one brings.
const LEAST: usize = 2;
/// A job counts as so many bytes besides its own: what a link carries in a round trip's time, roughly.
const JOB_BYTES: u64 = 64 << 10;
/// Shortest time for one measurement.
const EPOCH: Duration = Duration::from_millis(500);
/// The same while the number doubles, in which each place has been filled twice as well: by then it shows. As long as
/// it doubles in any case, once is enough.
const DOUBLING_EPOCH: Duration = Duration::from_millis(10);
/// Measurements in a row without more after which it does not double any more: the first are short, and what else
/// goes on shows in them.
const MISSES: u32 = 3;
/// So many small jobs at once burden nobody, unless the store says so: up to there the number doubles whatever that
/// brings, and it does not go below. While clients make files, they keep the catalog's writer busy; more uploads bring
/// nothing until they are done, and much then.
const SMALL_AT_ONCE: usize = 64;
/// A change of the rate by less than one part in so many is noise.
const NOISE: u64 = 10;
/// Measurements without news after which a step up is tried.
const PATIENCE: u32 = 8;

/// What became of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    /// Bytes that the store has taken from it.
    pub(super) bytes: u64,
    /// The store has put it off (503 SlowDown, 429).
    pub(super) throttled: bool,
}

/// The number, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Concurrency {
    limit: usize,
    /// Of the measurement under way.
    begun: Duration,
    jobs: u64,
    work: u64,
    full: bool,
    throttled: bool,
    /// Of the one before: work per second, and the step taken after it.
    rate: Option<u64>,
    step: Step,
    quiet: u32,
    /// Nothing is known yet but that more has brought more; so again when nothing was left to do.
    doubling: bool,
    /// The store has put requests off since then.
    burdened: bool,
    /// Measurements while it doubles that have not shown more, in a row.
    misses: u32,
    /// When a job ended last.
    ended: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Up,
    Stay,
    Down,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self {
            limit: FIRST,
            begun: Duration::ZERO,
            jobs: 0,
            work: 0,
            full: false,
            throttled: false,
            rate: None,
            step: Step::Stay,
            quiet: 0,
            doubling: true,
            burdened: false,
            misses: 0,
            ended: Duration::ZERO,
        }
    }
}

impl Concurrency {
    /// How many may go on at once, `most` at most.
    pub(super) fn limit(&self, most: usize) -> usize {
        self.limit.min(most)
    }

    /// A job begins at `now` while no other is under way: the time before is part of no measurement of which no job has
    /// ended yet. When nothing went on for longer than one takes, it is as if nothing had been left to do, though
    /// something waits that is due later; but a store that has put requests off is not to be burdened anew by those
    /// that wait to be tried again.
    pub(super) fn begins(&mut self, now: Duration) {
        if now.saturating_sub(self.ended) > EPOCH && !self.burdened {
            self.nothing_left(now);
        }
        if self.jobs == 0 {
            self.begun = now;
        }
    }

    /// Nothing is left to do. What comes next may be of another kind, and the store may have other things to do then.
    pub(super) fn nothing_left(&mut self, now: Duration) {
        *self = Self { limit: self.limit, begun: now, ended: self.ended, ..Self::default() };
    }

    /// A job has ended at `now`, a time that only grows, when `under_way` were going on with it.
    pub(super) fn ended(&mut self, now: Duration, job: Ended, under_way: usize, most: usize) {
        self.ended = now;
        self.jobs += 1;
        self.work += job.bytes + JOB_BYTES;
        self.full |= under_way >= self.limit(most);
        self.throttled |= job.throttled;
        let took = now.saturating_sub(self.begun);
        let (epoch, turns) = match self.doubling {
            true if self.doubles_in_any_case() => (DOUBLING_EPOCH, 1),
            true => (DOUBLING_EPOCH, 2),
            false => (EPOCH, 1),
        };
        if took < epoch || self.jobs < turns * self.limit(most) as u64 {
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let rate = self.work.saturating_mul(1_000_000) / micros;
        self.limit = self.limit.min(most);
        self.decide(rate);
        if self.step == Step::Up && self.limit > most {
            // There is no further up: what the same number brings next says nothing of a step.
            self.step = Step::Stay;
        }
        self.limit = self.limit.clamp(LEAST.min(most), most);
        (self.begun, self.jobs, self.work, self.full, self.throttled) = (now, 0, 0, false, false);
    }

    /// Whether the jobs of this measurement are small, and few.
    fn doubles_in_any_case(&self) -> bool {
        self.doubling && self.is_small() && self.limit < SMALL_AT_ONCE
    }

    fn is_small(&self) -> bool {
        self.work < 2 * JOB_BYTES * self.jobs
    }

    fn decide(&mut self, rate: u64) {
        if self.throttled {
            self.limit -= self.limit / 4;
            (self.rate, self.step, self.quiet, self.doubling) = (None, Step::Down, 0, false);
            self.burdened = true;
            return;
        }
        if !self.full {
            // There was less to do than was allowed: the rate tells nothing of the limit.
            (self.rate, self.step) = (None, Step::Stay);
            return;
        }
        if self.doubles_in_any_case() {
            (self.rate, self.step, self.limit) = (Some(rate), Step::Up, 2 * self.limit);
            return;
        }
        let before = self.rate.replace(rate);
        let noise = before.unwrap_or(0) / NOISE;
        let is_more = before.is_none_or(|before| rate > before + noise);
        let is_less = before.is_some_and(|before| rate + noise < before);
        if self.doubling && !is_more && self.misses + 1 < MISSES {
            // It is measured again.
            (self.rate, self.misses) = (before, self.misses + 1);
            return;
        }
        self.misses = 0;
        self.step = match self.step {
            Step::Up if is_more => Step::Up,
            Step::Up if is_less => Step::Down,
            // The step brought nothing: it is not worth its place.
            Step::Up => Step::Down,
            Step::Stay | Step::Down if self.quiet >= PATIENCE || before.is_none() => Step::Up,
            Step::Stay | Step::Down => Step::Stay,
        };
        self.quiet = if self.step == Step::Stay { self.quiet + 1 } else { 0 };
        let was_doubling = self.doubling;
        self.doubling &= self.step == Step::Up;
        let quarter = (self.limit / 4).max(1);
        match self.step {
            Step::Up if self.doubling => self.limit *= 2,
            Step::Up => self.limit += quarter,
            Step::Down if was_doubling => self.limit /= 2,
            Step::Down => self.limit -= quarter.min(self.limit),
            Step::Stay => {}
        }
        if self.is_small() && !self.burdened {
            self.limit = self.limit.max(SMALL_AT_ONCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs against a store where each job takes `latency` and all together move `bandwidth` bytes per
    /// second, as many at once as it is told; answers the limit after each second.
    fn climb(
        concurrency: &mut Concurrency,
        seconds: u64,
        (bytes, latency, bandwidth): (u64, Duration, u64),
        throttled_above: usize,
    ) -> Vec<usize> {
        let mut now = Duration::ZERO;
        let mut seen = Vec::new();
        while now < Duration::from_secs(seconds) {
            let at_once = concurrency.limit(64);
            let wire = Duration::from_secs_f64((bytes * at_once as u64) as f64 / bandwidth as f64);
            now += latency.max(wire);
            for left in (1..=at_once).rev() {
                let job = Ended { bytes, throttled: at_once > throttled_above };
                concurrency.ended(now, job, left, 64);
            }
            if now.as_secs() >= seen.len() as u64 {
                seen.push(concurrency.limit(64));
            }
        }
        seen
    }

    const GIGABIT: u64 = 110 << 20;

    #[test]
    fn small_files_over_a_long_way_go_many_at_once() {
        let mut concurrency = Concurrency::default();
        let way = (4096, Duration::from_millis(50), GIGABIT);
        let seen = climb(&mut concurrency, 30, way, usize::MAX);
        assert!(seen.iter().any(|limit| *limit >= 48), "{seen:?}");
        assert!(seen[seen.len() / 2..].iter().all(|limit| *limit >= 32), "{seen:?}");
    }

    #[test]
    fn a_directory_of_small_files_does_not_wait_for_the_climb() {
        let mut concurrency = Concurrency::default();
        let way = (4096, Duration::from_millis(20), GIGABIT);
        let seen = climb(&mut concurrency, 2, way, usize::MAX);
        assert!(seen[1..].iter().all(|limit| *limit >= 48), "{seen:?}");
    }

    /// Goal: small files are sent many at once as soon as those who make them are done. Method: for a while jobs end at
    /// the same rate however many there are.
    #[test]
    fn small_files_that_wait_with_the_clients_for_the_writer_do_not_stay_few() {
        for bytes in [0, 4096, 60 << 10] {
            let mut concurrency = Concurrency::default();
            for job in 1..=200_u64 {
                let limit = concurrency.limit(64);
                let ended = Ended { bytes, throttled: false };
                concurrency.ended(Duration::from_micros(job * 2500), ended, limit, 64);
            }
            assert!(concurrency.limit(64) >= 48, "{bytes} bytes: {}", concurrency.limit(64));
            assert!(concurrency.limit(16) == 16, "but no more than may go");
        }
        let mut concurrency = Concurrency::default();
        for job in 1..=200_u64 {
            let limit = concurrency.limit(64);
            let ended = Ended { bytes: 1 << 20, throttled: false };
            concurrency.ended(Duration::from_micros(job * 2500), ended, limit, 64);
        }
        assert!(concurrency.limit(64) <= 16, "large ones: {}", concurrency.limit(64));
    }

    #[test]
    fn the_number_doubles_again_when_nothing_was_left() {
        let mut concurrency = Concurrency::default();
        let end = |concurrency: &mut Concurrency, from: u64, jobs: u64| {
            concurrency.begins(Duration::from_millis(from));
            for job in 1..=jobs {
                let limit = concurrency.limit(256);
                // As many more as there are places, to begin with; none more than that later.
                let micros =
                    from * 1000 + job * if from == 0 { 2500 } else { 20_000 / limit as u64 };
                concurrency.ended(Duration::from_micros(micros), Ended::default(), limit, 256);
            }
            concurrency.limit(256)
        };
        assert_eq!(end(&mut concurrency, 0, 1000), 64, "more bring nothing");
        let mut later = concurrency.clone();
        concurrency.nothing_left(Duration::from_millis(2501));
        assert!(end(&mut concurrency, 2502, 1000) >= 128, "{concurrency:?}");
        // The same when something waits that is due much later, and nothing has gone on for a while.
        assert!(end(&mut later, 60_000, 1000) >= 128, "{later:?}");
    }

    #[test]
    fn a_store_that_slows_down_is_not_given_more_because_its_jobs_wait_to_be_tried_again() {
        let mut concurrency = Concurrency::default();
        let mut now = Duration::ZERO;
        for round in 0..40_u64 {
            now += Duration::from_secs(30);
            concurrency.begins(now);
            let limit = concurrency.limit(64);
            for _ in 0..2 * limit {
                now += Duration::from_millis(20);
                let ended = Ended { bytes: 4096, throttled: round % 4 == 0 };
                concurrency.ended(now, ended, limit, 64);
            }
            assert!(concurrency.limit(64) <= FIRST, "round {round}: {concurrency:?}");
        }
    }

    /// Goal: where each place brings more, all are used, and stay so. Method: the rate grows with the number, up to the
    /// most that may go at once.
    #[test]
    fn the_most_that_may_go_at_once_stays_where_each_brings_more() {
        let mut concurrency = Concurrency::default();
        let mut now = Duration::ZERO;
        for job in 0..30_000_u64 {
            let limit = concurrency.limit(128);
            now += Duration::from_micros(50_000 / limit as u64);
            concurrency.ended(now, Ended::default(), limit, 128);
            assert!(job < 2000 || concurrency.limit(128) == 128, "after {job}: {concurrency:?}");
        }
    }

    #[test]
    fn large_files_stay_few_when_the_link_is_full() {
        let mut concurrency = Concurrency::default();
        let way = (16 << 20, Duration::from_millis(20), GIGABIT);
        let seen = climb(&mut concurrency, 300, way, usize::MAX);
        assert!(seen.iter().all(|limit| *limit <= 16), "{seen:?}");
    }

    #[test]
    fn a_store_that_slows_down_is_given_less_and_later_tried_again() {
        let mut concurrency = Concurrency::default();
        let way = (4096, Duration::from_millis(50), GIGABIT);
        let seen = climb(&mut concurrency, 60, way, 20);
        let after = &seen[10..];
        assert!(after.iter().all(|limit| (4..=26).contains(limit)), "{seen:?}");
        assert!(after.iter().any(|limit| *limit >= 15), "{seen:?}");
    }

    #[test]
    fn who_has_little_to_do_and_who_may_do_little_change_nothing() {
        let mut concurrency = Concurrency::default();
        for second in 1..100 {
            for _ in 0..8 {
                let job = Ended::default();
                concurrency.ended(Duration::from_secs(second), job, 1, 64);
            }
        }
        assert_eq!(concurrency.limit(64), FIRST);
        assert_eq!(concurrency.limit(1), 1);
        let throttled = Ended { throttled: true, ..Ended::default() };
        for second in 100..200 {
            concurrency.ended(Duration::from_secs(second), throttled, 1, 1);
        }
        assert_eq!(concurrency.limit(64), 1, "never none");
    }
}
