//! The clock port: wall time for attributes and schedules, and a hand-driven clock for tests.
use std::{
    fmt,
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// A moment in wall time: nanoseconds since 1970-01-01T00:00:00Z. Reaches from 1677 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    nanos: i64,
}

impl Timestamp {
    /// The last representable moment.
    pub const MAX: Self = Self { nanos: i64::MAX };
    /// Earlier than any other.
    pub const MIN: Self = Self { nanos: i64::MIN };

    /// From nanoseconds since 1970.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self { nanos }
    }

    /// From seconds and nanoseconds since 1970, held to the representable range.
    pub fn new(seconds: i64, nanos: u32) -> Self {
        Self { nanos: seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanos)) }
    }

    /// Nanoseconds since 1970.
    pub fn as_nanos(self) -> i64 {
        self.nanos
    }

    /// Whole seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.nanos.div_euclid(1_000_000_000)
    }

    /// Nanoseconds within the second.
    pub fn subsec_nanos(self) -> u32 {
        u32::try_from(self.nanos.rem_euclid(1_000_000_000)).expect("a remainder below 1e9 fits")
    }

    /// The moment after this one.
    pub fn next(self) -> Self {
        Self { nanos: self.nanos.saturating_add(1) }
    }

    /// This moment plus `millis`, held to the representable range.
    pub fn plus_millis(self, millis: u64) -> Self {
        let nanos = i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        Self { nanos: self.nanos.saturating_add(nanos) }
    }
}

/// Where the time comes from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall time.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        #[cfg(feature = "testing")]
        let now = now.saturating_add(jumps::wrong_by_seconds().saturating_mul(1_000_000_000));
        Timestamp::from_nanos(now)
    }
}

/// With feature `testing` the clock of a process can jump: it is wrong by the seconds that the file says which
/// `TIDEGATE_CLOCK` names. Requests to S3 are signed with the right time: one with a wrong time it refuses.
#[cfg(feature = "testing")]
mod jumps {
    use std::{env, fs, path::PathBuf, sync::LazyLock};

    static FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| env::var_os("TIDEGATE_CLOCK").map(PathBuf::from));

    /// # Panics
    /// When the file has no number: a test would show nothing.
    pub(super) fn wrong_by_seconds() -> i64 {
        let Some(file) = &*FILE else { return 0 };
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        text.trim().parse().unwrap_or_else(|e| panic!("{}: {text:?}: {e}", file.display()))
    }
}

/// A clock that moves when a test moves it.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Starts at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_nanos()))
    }

    /// Moves on by `millis`.
    pub fn advance_millis(&self, millis: i64) {
        self.0.fetch_add(millis * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::SeqCst))
    }
}
