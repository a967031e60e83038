//! How much memory the machine and its gateway use, in words for the console.
use std::{fs, path::Path};

use gateway_api::ByteSize;

use crate::sys;

/// What there is (`MemTotal`: without what the kernel keeps for itself); none if it is not told.
pub(crate) fn total() -> Option<ByteSize> {
    field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")
}

/// What is in use of what there is, and the gateway's part of it (`/proc/meminfo`, `VmRSS`).
pub(crate) fn in_words() -> String {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let machine = machine(&meminfo).unwrap_or_else(|| "not told by the kernel".to_owned());
    match resident_of("gateway") {
        Some(resident) => format!("{machine}; gateway {resident}"),
        None => machine,
    }
}

/// `MemAvailable` counts what the kernel can give back at once, such as cached files, as free.
fn machine(meminfo: &str) -> Option<String> {
    let total = field(meminfo, "MemTotal")?;
    let available = field(meminfo, "MemAvailable")?;
    Some(format!("{} in use of {total}", ByteSize(total.0.saturating_sub(available.0))))
}

/// The value of a line such as `VmRSS:     12345 kB`.
fn field(text: &str, name: &str) -> Option<ByteSize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(ByteSize(kib << 10))
}

/// Resident memory of the process with this name.
fn resident_of(name: &str) -> Option<ByteSize> {
    field(&status_of(name)?, "VmRSS")
}

/// What the kernel shows of the process with this name (proc_pid_status(5)).
pub(crate) fn status_of(name: &str) -> Option<String> {
    let mut processes = fs::read_dir("/proc").ok()?.flatten();
    processes.find_map(|process| {
        let ours = sys::read_line(process.path().join("comm")) == name;
        ours.then(|| read_status(&process.path())).flatten()
    })
}

fn read_status(process: &Path) -> Option<String> {
    fs::read_to_string(process.join("status")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_given_back_is_not_in_use() {
        let meminfo =
            "MemTotal:         500000 kB\nMemFree:   10 kB\nMemAvailable:     400000 kB\n";
        let expected = format!("{} in use of {}", ByteSize(100_000 << 10), ByteSize(500_000 << 10));
        assert_eq!(machine(meminfo), Some(expected));
        assert_eq!(machine("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn this_process_is_found_by_its_name() {
        let own = sys::read_line("/proc/self/comm");
        assert!(resident_of(&own).is_some_and(|resident| resident.0 > 0));
        assert_eq!(resident_of("no such process"), None);
    }
}
