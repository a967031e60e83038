//! How much of the processors another process has taken.
//!
//! The kernel's clock of the process (`clock_getcpuclockid`): nanoseconds, user and system time, of
//! all its threads, those that have ended included. `/proc/PID/stat` has the same sum in ticks of
//! 10 ms, `/proc/PID/task/*/schedstat` loses threads that end.
use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};

/// A process that takes less than [`IDLE`] in one look has done nothing in it.
const LOOK: Duration = Duration::from_millis(100);
const IDLE: Duration = Duration::from_millis(1);
/// A process that is still busy after this time never ends.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// The processor time of one process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessClock {
    pid: i32,
    clock: ClockId,
}

impl ProcessClock {
    /// Of the process `pid`.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: i32) -> Result<Self> {
        let clock = clock_getcpuclockid(Pid::from_raw(pid))
            .with_context(|| format!("the processor time of process {pid}"))?;
        Ok(Self { pid, clock })
    }

    /// What it has taken since it began.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn now(&self) -> Result<Duration> {
        let now = self.clock.now().with_context(|| format!("process {} has ended", self.pid))?;
        Ok(now.into())
    }

    /// Waits until the process has done nothing for the time `quiet`; what it has taken by then.
    ///
    /// # Errors
    /// When it ends, or is still busy after half a minute.
    pub fn settle(&self, quiet: Duration) -> Result<Duration> {
        let begun = Instant::now();
        let mut busy = begun;
        let mut before = self.now()?;
        while begun.elapsed() < SETTLE_LIMIT {
            thread::sleep(LOOK);
            let now = self.now()?;
            if now.saturating_sub(before) >= IDLE {
                busy = Instant::now();
            } else if busy.elapsed() >= quiet {
                return Ok(now);
            }
            before = now;
        }
        bail!("process {} never comes to rest", self.pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_a_thread_that_has_ended_counts() {
        let own = ProcessClock::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let before = own.now().unwrap();
        let wanted = Duration::from_millis(20);
        let worker = thread::spawn(move || while own.now().unwrap() < before + wanted {});
        worker.join().unwrap();
        assert!(own.now().unwrap() >= before + wanted);
    }

    #[test]
    fn a_process_that_has_ended_has_no_clock() {
        let mut process = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(process.id()).unwrap();
        process.wait().unwrap();
        assert!(ProcessClock::of(pid).is_err());
    }
}
