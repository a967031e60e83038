//! The fuzz targets of the gateway under libFuzzer. What they do is in the gateway's
//! `nfs::testing::fuzz`; here each input gets its bound on memory.
use std::alloc::System;

use cap::Cap;
use gateway::nfs::testing::fuzz;

/// All memory but libFuzzer's own. An allocation beyond the limit fails, which aborts.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Tries one input.
///
/// # Panics
/// When the target finds something.
pub fn run(name: &str, input: &[u8]) {
    let target = fuzz::target(name).expect("a target of the gateway");
    let limit = MEMORY.allocated() + target.memory_bytes_max;
    MEMORY.set_limit(limit).expect("the limit is above what is allocated");
    (target.run)(input);
}
