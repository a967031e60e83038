//! How much memory the C library keeps for itself.
//!
//! Once a large block has been freed, glibc takes the next ones of up to its size from its arenas, and lets each arena
//! keep twice as much when it is free again; there are eight arenas for each processor (mallopt(3), "dynamic mmap
//! threshold"). With parts of 16 MiB that is half a gibibyte on two processors, of which no budget knows.
use nix::libc;

/// Blocks from this size on are the kernel's again as soon as they are freed.
const MAPPED_BYTES: libc::c_int = 4 << 20;
/// What an arena keeps at its end.
const KEPT_BYTES: libc::c_int = 8 << 20;

/// Holds what is kept to these sizes. Call before other threads are there.
#[cfg(target_env = "gnu")]
pub(crate) fn keep_little() {
    let limits = [(libc::M_MMAP_THRESHOLD, MAPPED_BYTES), (libc::M_TRIM_THRESHOLD, KEPT_BYTES)];
    for (limit, bytes) in limits {
        // SAFETY: two numbers; it changes how later calls of the allocator behave, and nothing that was allocated.
        let is_set = unsafe { libc::mallopt(limit, bytes) } == 1;
        if !is_set {
            eprintln!(
                "gateway: the C library does not limit the memory that it keeps (mallopt {limit})"
            );
        }
    }
}

/// Other C libraries keep little.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn keep_little() {}
