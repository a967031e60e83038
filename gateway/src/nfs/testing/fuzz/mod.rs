//! What hostile bytes may do to the NFS edge, as functions of their input: each [`Target`] feeds
//! it to one part and panics when that part does not keep its word.
//!
//! `gateway/fuzz` runs them under libFuzzer; `tests/fuzz_corpus.rs` runs the committed inputs with
//! the other tests. [`seeds`] makes those inputs.
mod arguments;
mod call;
mod connection;
mod handle;
mod model;
mod operation;
mod operations;
mod operations_on_files;
mod operations_on_names;
mod pieces;
mod record;
mod reference;
mod replies;
mod seed_sequences;
mod seeds;
mod walk;
mod wire;
mod world;

pub use seeds::{Seed, seeds};

/// One part of the NFS edge and how to try it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also that of its corpus folder.
    pub name: &'static str,
    /// Tries one input; a panic is a finding.
    pub run: fn(&[u8]),
    /// Most bytes of memory that one input may make it hold at one time.
    pub memory_bytes_max: usize,
}

/// A record of the largest size, its growing copy, and the buffer that it is read through: what
/// the reader needs, and no target holds more than a few of them.
const RECORD_MEMORY_BYTES: usize = 8 << 20;
/// A file of the largest size for each operation of an input, here and in the model; for a
/// connection, as many replies as one input can ask for.
const SHARE_MEMORY_BYTES: usize = 240 << 20;

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "record", run: record::run, memory_bytes_max: RECORD_MEMORY_BYTES },
    Target { name: "call", run: call::run, memory_bytes_max: RECORD_MEMORY_BYTES },
    Target { name: "handle", run: handle::run, memory_bytes_max: RECORD_MEMORY_BYTES },
    Target { name: "nfs", run: arguments::nfs, memory_bytes_max: RECORD_MEMORY_BYTES },
    Target { name: "mount", run: arguments::mount, memory_bytes_max: RECORD_MEMORY_BYTES },
    Target { name: "portmap", run: arguments::portmap, memory_bytes_max: RECORD_MEMORY_BYTES },
    Target { name: "operations", run: operations::run, memory_bytes_max: SHARE_MEMORY_BYTES },
    Target { name: "connection", run: connection::run, memory_bytes_max: SHARE_MEMORY_BYTES },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
