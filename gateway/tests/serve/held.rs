//! What the gateway's process holds of the machine.
use std::fs;

use crate::process::Gateway;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: usize,
}

impl Held {
    pub(crate) fn by(gateway: &Gateway) -> Self {
        let of = format!("/proc/{}", gateway.pid());
        let status = fs::read_to_string(format!("{of}/status")).expect("it runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|line| line.split_whitespace().next()).expect("in KiB");
        Self {
            resident_kib: resident.parse().expect("a number"),
            descriptors: fs::read_dir(format!("{of}/fd")).expect("it runs").count(),
        }
    }
}
