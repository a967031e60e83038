//! The machine's memory and processors, as the kernel tells (`/proc/meminfo`, `/proc/stat`).
use std::{
    fs,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use gateway_api::{ByteSize, status::MachineStatus};
use tokio_util::sync::CancellationToken;

/// How long the processors are watched for one figure.
const WATCHED: Duration = Duration::from_secs(10);

/// Watches the machine.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// Shares of the last while, in percent: programs, waiting for disks.
    percent: Mutex<(f64, f64)>,
}

/// Processor time since the start of the machine, in the kernel's ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    user: u64,
    io_wait: u64,
    all: u64,
}

impl Machine {
    /// Watches until `stop`.
    pub(super) async fn watch(&self, stop: CancellationToken) {
        let mut before = ticks_now();
        loop {
            tokio::select! {
                () = tokio::time::sleep(WATCHED) => {}
                () = stop.cancelled() => return,
            }
            let now = ticks_now();
            *self.percent.lock().unwrap_or_else(PoisonError::into_inner) = between(before, now);
            before = now;
        }
    }

    /// As it is.
    pub(super) fn status(&self) -> MachineStatus {
        let (total, available) =
            memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()).unwrap_or_default();
        let (user_cpu_percent, io_wait_percent) =
            *self.percent.lock().unwrap_or_else(PoisonError::into_inner);
        MachineStatus {
            memory_total: ByteSize(total),
            memory_used: ByteSize(total.saturating_sub(available)),
            user_cpu_percent,
            io_wait_percent,
            nfs_sessions: 0,
        }
    }
}

/// The machine's memory in bytes; 0 if the kernel does not tell.
pub(super) fn memory_bytes() -> u64 {
    memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()).unwrap_or_default().0
}

fn ticks_now() -> Ticks {
    ticks(&fs::read_to_string("/proc/stat").unwrap_or_default()).unwrap_or_default()
}

/// The first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal …` (proc(5)).
fn ticks(stat: &str) -> Option<Ticks> {
    let numbers: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let [user, nice, _, _, io_wait, ..] = numbers[..] else { return None };
    Some(Ticks { user: user + nice, io_wait, all: numbers.iter().sum() })
}

/// Total and available bytes of `/proc/meminfo`.
fn memory(meminfo: &str) -> Option<(u64, u64)> {
    let of = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    };
    Some((of("MemTotal:")?, of("MemAvailable:")?))
}

fn between(before: Ticks, now: Ticks) -> (f64, f64) {
    let all = now.all.saturating_sub(before.all);
    let percent = |now: u64, before: u64| {
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        if all == 0 { 0.0 } else { now.saturating_sub(before) as f64 * 100.0 / all as f64 }
    };
    (percent(now.user, before.user), percent(now.io_wait, before.io_wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_as_the_kernel_writes_it() {
        let before = ticks("cpu  100 10 50 800 40 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(before, Ticks { user: 110, io_wait: 40, all: 1000 });
        let now = ticks("cpu  150 10 50 800 90 0 0 0 0 0\n").unwrap();
        assert_eq!(between(before, now), (50.0, 50.0));
        assert_eq!(between(now, now), (0.0, 0.0));
        assert_eq!(ticks("intr 5"), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let text = "MemTotal:         500 kB\nMemFree: 1 kB\nMemAvailable:     200 kB\n";
        assert_eq!(memory(text), Some((500 * 1024, 200 * 1024)));
        assert_eq!(memory("MemTotal: 5 kB\n"), None);
    }
}
