//! Moments that mean the same in every process of this machine.
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Seconds of the kernel's monotonic clock (`clock_gettime`, `CLOCK_MONOTONIC`).
pub fn now() -> f64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock that every Linux has");
    Duration::from(now).as_secs_f64()
}
