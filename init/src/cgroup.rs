//! The gateway's share of the memory (cgroup v2, the kernel's `Documentation/admin-guide/cgroup-v2`):
//! when it takes too much, it alone is ended and started again, and PID 1, the network and the console
//! have what they need.
use std::{fs, io, path::Path};

use anyhow::{Context, Result};

use crate::memory;

/// The root of the tree.
const TREE: &str = "/sys/fs/cgroup";
const GATEWAY: &str = "/sys/fs/cgroup/gateway";
/// What is left to all others: kernel, PID 1, network, journal, consoles, mkfs and repair.
const OTHERS_BYTES_MIN: u64 = 96 << 20;
/// … and with more memory this part of it, because the kernel's own tables grow with it.
const OTHERS_PART: u64 = 12;

/// Makes the group with its limit.
///
/// # Errors
/// The kernel has no cgroups, or no control of memory: the gateway then runs without a limit.
pub(crate) fn prepare() -> Result<()> {
    let total = memory::total().context("the machine's memory is not known")?;
    fs::write(Path::new(TREE).join("cgroup.subtree_control"), "+memory")
        .context("control of memory")?;
    match fs::create_dir(GATEWAY) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).context(GATEWAY),
    }
    for (file, value) in
        [("memory.max", limit(total.0).to_string()), ("memory.oom.group", "1".to_owned())]
    {
        fs::write(Path::new(GATEWAY).join(file), value).context(file)?;
    }
    Ok(())
}

/// What the gateway may use of so much memory, its cached pages included.
fn limit(total: u64) -> u64 {
    total.saturating_sub(OTHERS_BYTES_MIN.max(total / OTHERS_PART)).max(total / 2)
}

/// Puts this process into the group, if there is one.
///
/// # Errors
/// There is one, and it cannot.
pub(crate) fn join_gateway() -> io::Result<()> {
    match fs::write(Path::new(GATEWAY).join("cgroup.procs"), "0") {
        // The phase has said why.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        joined => joined,
    }
}

/// The limit in force, in bytes.
pub(crate) fn limit_of_gateway() -> Option<u64> {
    fs::read_to_string(Path::new(GATEWAY).join("memory.max")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_keep_enough_and_the_gateway_most() {
        const MIB: u64 = 1 << 20;
        for (total, limit_mib) in [(480, 384), (2048, 1877), (16_384, 15_018), (128, 64)] {
            assert_eq!(limit(total * MIB) / MIB, limit_mib, "{total} MiB");
        }
    }
}
