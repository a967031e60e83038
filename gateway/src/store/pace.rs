//! A bound on bytes per second that all transfers in one direction share.
use std::{
    sync::{Arc, Mutex as Lock, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, Notify};

/// How far ahead of the bound bytes may be: what a timer of a busy machine may be late.
const SLACK: Duration = Duration::from_millis(50);
/// A second's bytes go in this many steps at least, so that all who share the bound move on.
const STEPS_PER_SECOND: u64 = 20;
/// Smallest and largest step in bytes.
const STEP_BYTES: (u64, u64) = (1 << 10, 64 << 10);

/// The two directions' bounds. Cloning gives another handle to the same ones.
#[derive(Clone, Debug, Default)]
pub struct Paces {
    /// To the store.
    pub upload: Arc<Pace>,
    /// From the store.
    pub download: Arc<Pace>,
}

/// The bound. It may change at any time.
#[derive(Debug, Default)]
pub struct Pace {
    per_second: Lock<Option<u64>>,
    changed: Notify,
    /// Who waits longest passes first.
    through: Mutex<Through>,
}

impl Pace {
    /// Sets the bound in bytes per second; `None` takes it away.
    pub fn set(&self, per_second: Option<u64>) {
        let per_second = per_second.map(|bytes| bytes.max(1));
        let mut now = self.per_second.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != per_second {
            *now = per_second;
            self.changed.notify_waiters();
        }
    }

    fn per_second(&self) -> Option<u64> {
        *self.per_second.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes should pass at once; `None` when it does not matter.
    pub fn step(&self) -> Option<usize> {
        let bytes = (self.per_second()? / STEPS_PER_SECOND).clamp(STEP_BYTES.0, STEP_BYTES.1);
        usize::try_from(bytes).ok()
    }

    /// Returns when `bytes` may pass. Fair and cancel safe: who gives up has passed nothing.
    pub async fn pass(&self, bytes: usize) {
        if self.per_second().is_none() {
            return;
        }
        let mut through = self.through.lock().await;
        loop {
            let changed = self.changed.notified();
            let Some(per_second) = self.per_second() else {
                *through = Through::default();
                return;
            };
            let Err(wait) = through.pass(Instant::now(), bytes as u64, per_second) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(wait.into()) => {}
                // The bytes before these went at the old bound; they do not hold up the new one.
                () = changed => *through = Through::default(),
            }
        }
    }
}

/// When what has passed so far is through.
#[derive(Debug, Default)]
struct Through(Option<Instant>);

impl Through {
    /// Passes `bytes` at `now`, or says until when to wait.
    fn pass(&mut self, now: Instant, bytes: u64, per_second: u64) -> Result<(), Instant> {
        let from = self.0.map_or(now, |through| through.max(now));
        if from > now + SLACK {
            return Err(from - SLACK);
        }
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(per_second);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.0 = Some(from.checked_add(takes).unwrap_or(from));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long `steps` of `bytes` take one after the other, on a clock that only waiting moves.
    fn time_for(through: &mut Through, steps: u32, bytes: u64, per_second: u64) -> Duration {
        let begun = Instant::now();
        let mut now = begun;
        for _ in 0..steps {
            while let Err(wait) = through.pass(now, bytes, per_second) {
                assert!(wait > now, "waiting for the past");
                now = wait;
            }
        }
        now - begun
    }

    #[test]
    fn bytes_pass_at_the_bound() {
        let took = time_for(&mut Through::default(), 101, 100, 1000);
        assert_eq!(took, Duration::from_secs(10) - SLACK);
        let mut through = Through::default();
        assert_eq!(
            time_for(&mut through, 1, u64::MAX, 1),
            Duration::ZERO,
            "the first goes at once"
        );
        // Who comes after a pause gets nothing for it.
        let mut through = Through::default();
        through.pass(Instant::now(), 1000, 1000).unwrap();
        let later = Instant::now() + Duration::from_secs(3600);
        through.pass(later, 1000, 1000).unwrap();
        assert_eq!(through.pass(later, 1, 1000), Err(later + Duration::from_secs(1) - SLACK));
    }

    #[test]
    fn sixty_four_transfers_at_the_least_bound_each_move_within_the_stall_limit() {
        let pace = Pace::default();
        pace.set(Some(51_200 / 8));
        let step = pace.step().unwrap() as u64;
        let took = time_for(&mut Through::default(), 64, step, 51_200 / 8);
        assert!(took < Duration::from_secs(15), "{took:?}");
    }

    #[tokio::test]
    async fn a_new_bound_counts_at_once_for_who_waits() {
        let pace = Arc::new(Pace::default());
        assert_eq!(pace.step(), None);
        pace.pass(usize::MAX).await;
        pace.set(Some(1));
        pace.pass(1 << 30).await;
        let waiting = tokio::spawn({
            let pace = Arc::clone(&pace);
            async move { pace.pass(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "years at the old bound");
        pace.set(Some(1 << 30));
        waiting.await.unwrap();
    }
}
