//! Faults on demand: latency, rate and rules that make chosen requests fail, changeable while the store runs.
//!
//! Deterministic: rules count the requests they match, or draw from a generator with a given seed. Bounded: a rule
//! fires at most `times` times, and there are at most [`RULES_MAX`] rules.

mod hold;
mod parse;
mod rule;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use hold::Hold;
pub use parse::ParseFaultError;
pub use rule::{FaultAction, FaultRule};

use rule::Armed;

/// The most rules at one time.
pub const RULES_MAX: usize = 1024;

/// A handle to the faults of a running store. Clones share the same faults.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    latency_us: AtomicU64,
    rate_bytes_per_s: AtomicU64,
    ignore_write_conditions: AtomicBool,
    ignore_part_sources: AtomicBool,
    ignore_part_ranges: AtomicBool,
    requester_pays: AtomicBool,
    unknown_headers: Mutex<Vec<String>>,
    rules: Mutex<Vec<Armed>>,
}

impl Faults {
    /// Delays the start of every request by `latency`.
    pub fn set_latency(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.shared.latency_us.store(us, Ordering::Relaxed);
    }

    /// The delay of every request.
    #[must_use]
    pub fn latency(&self) -> Duration {
        Duration::from_micros(self.shared.latency_us.load(Ordering::Relaxed))
    }

    /// Limits every connection, in each direction, to so many bytes a second; `None` is no limit.
    pub fn set_rate_per_connection(&self, bytes_per_second: Option<u64>) {
        self.shared.rate_bytes_per_s.store(bytes_per_second.unwrap_or(0), Ordering::Relaxed);
    }

    /// The limit of every connection in bytes a second.
    #[must_use]
    pub fn rate_per_connection(&self) -> Option<u64> {
        Some(self.shared.rate_bytes_per_s.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Plays a store that silently ignores If-Match and If-None-Match on writes, copies and deletes.
    pub fn set_ignore_write_conditions(&self, ignore: bool) {
        self.shared.ignore_write_conditions.store(ignore, Ordering::Relaxed);
    }

    pub(crate) fn ignores_write_conditions(&self) -> bool {
        self.shared.ignore_write_conditions.load(Ordering::Relaxed)
    }

    /// Plays a store that silently ignores the conditions on the source of UploadPartCopy.
    pub fn set_ignore_part_sources(&self, ignore: bool) {
        self.shared.ignore_part_sources.store(ignore, Ordering::Relaxed);
    }

    pub(crate) fn ignores_part_sources(&self) -> bool {
        self.shared.ignore_part_sources.load(Ordering::Relaxed)
    }

    /// Plays a store that copies the whole source to a part, whatever range of it UploadPartCopy asks for.
    pub fn set_ignore_part_ranges(&self, ignore: bool) {
        self.shared.ignore_part_ranges.store(ignore, Ordering::Relaxed);
    }

    pub(crate) fn ignores_part_ranges(&self) -> bool {
        self.shared.ignore_part_ranges.load(Ordering::Relaxed)
    }

    /// Plays somebody else's bucket whose requesters pay: requests that do not say so are refused (S3 User
    /// Guide, Requester Pays).
    pub fn set_requester_pays(&self, pays: bool) {
        self.shared.requester_pays.store(pays, Ordering::Relaxed);
    }

    pub(crate) fn requester_pays(&self) -> bool {
        self.shared.requester_pays.load(Ordering::Relaxed)
    }

    /// Plays a store that does not know request headers which begin so: writes that carry one are refused
    /// with 501 NotImplemented.
    pub fn set_unknown_headers(&self, prefixes: &[&str]) {
        let mut unknown =
            self.shared.unknown_headers.lock().unwrap_or_else(PoisonError::into_inner);
        *unknown = prefixes.iter().map(|prefix| prefix.to_ascii_lowercase()).collect();
    }

    pub(crate) fn knows_header(&self, name: &str) -> bool {
        let unknown = self.shared.unknown_headers.lock().unwrap_or_else(PoisonError::into_inner);
        !unknown.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    /// Adds a rule; the first rule that matches and fires decides a request.
    ///
    /// # Panics
    /// With more than [`RULES_MAX`] rules: a test that adds rules without end.
    pub fn add(&self, rule: FaultRule) {
        let mut rules = self.rules();
        assert!(
            rules.len() < RULES_MAX,
            "more than {RULES_MAX} fault rules; clear() those that are done"
        );
        rules.push(Armed::new(rule));
    }

    /// Removes all rules; latency and rate stay.
    pub fn clear(&self) {
        self.rules().clear();
    }

    /// How many more times the rules can fire.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.rules().iter().map(Armed::left).fold(0, u64::saturating_add)
    }

    /// The fault of a request, if any rule fires for it.
    pub(crate) fn draw(&self, operation: &str, key: &str) -> Option<FaultAction> {
        self.rules().iter_mut().find_map(|rule| rule.draw(operation, key))
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<Armed>> {
        // Counters stay usable after a panic elsewhere.
        self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_skips_then_fires_so_many_times() {
        let faults = Faults::default();
        faults.add(
            FaultRule::new(FaultAction::DropBefore)
                .operation("PutObject")
                .key_prefix("a/")
                .skip(1)
                .times(2),
        );
        let fired: Vec<bool> = (0..5).map(|_| faults.draw("PutObject", "a/x").is_some()).collect();
        assert_eq!(fired, [false, true, true, false, false]);
        assert_eq!(faults.pending(), 0);
    }

    #[test]
    fn a_rule_leaves_other_operations_and_keys_alone() {
        let faults = Faults::default();
        faults.add(FaultRule::new(FaultAction::DropBefore).operation("PutObject").key_prefix("a/"));
        assert!(faults.draw("GetObject", "a/x").is_none());
        assert!(faults.draw("PutObject", "b/x").is_none());
        assert!(faults.draw("PutObject", "a/x").is_some());
    }

    #[test]
    fn the_same_seed_fails_the_same_requests() {
        let run = || {
            let faults = Faults::default();
            faults.add(FaultRule::new(FaultAction::DropBefore).chance(300, 7).times(u64::MAX));
            (0..200).map(|_| faults.draw("GetObject", "k").is_some()).collect::<Vec<_>>()
        };
        let fired = run().iter().filter(|fired| **fired).count();
        assert_eq!(run(), run());
        assert!((30..90).contains(&fired), "{fired} of 200 at 30 %");
    }
}
