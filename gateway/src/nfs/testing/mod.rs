//! A file system in memory, to test the protocol edge against: POSIX-like, deterministic (time is
//! a counter), with a gate that holds operations back until a test lets them go on.
#[cfg(feature = "testing")]
pub mod fuzz;
mod share_fs;
mod tree;

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use gateway_api::{ClientSpec, settings::Squash};
use tokio::sync::watch;

use crate::{share::access::AccessPolicy, vfs::WriteVerifier};

use tree::Tree;

/// Everybody may use the share as who they say they are.
pub fn open_policy() -> AccessPolicy {
    AccessPolicy {
        clients: ClientSpec::everyone(),
        read_only: false,
        squash: Squash::NoSquash,
        anonymous_uid: 65534,
        anonymous_gid: 65534,
        require_privileged_port: false,
    }
}

/// A share in memory.
#[derive(Debug)]
pub struct MemoryFs {
    tree: Mutex<Tree>,
    gate: watch::Sender<bool>,
    executed: AtomicU64,
    verifier: WriteVerifier,
}

/// A file must fit in memory.
const FILE_BYTES_MAX: u64 = 64 << 20;

impl Default for MemoryFs {
    fn default() -> Self {
        Self::with_files_up_to(FILE_BYTES_MAX)
    }
}

impl MemoryFs {
    /// An empty share whose root anybody may write to.
    pub fn new() -> Self {
        Self::default()
    }

    /// One whose files have at most `file_bytes_max` bytes.
    pub fn with_files_up_to(file_bytes_max: u64) -> Self {
        Self {
            tree: Mutex::new(Tree::new(file_bytes_max)),
            gate: watch::Sender::new(true),
            executed: AtomicU64::new(0),
            verifier: WriteVerifier(*b"verifier"),
        }
    }

    /// Holds READ and MKDIR back from now on.
    pub fn close_gate(&self) {
        self.gate.send_replace(false);
    }

    /// Lets READ and MKDIR go on.
    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// How many READ and MKDIR have come as far as the gate.
    pub fn arrived(&self) -> u64 {
        self.executed.load(Ordering::SeqCst)
    }

    async fn pass_gate(&self) {
        self.executed.fetch_add(1, Ordering::SeqCst);
        let open = self.gate.subscribe().wait_for(|open| *open).await.is_ok();
        assert!(open, "the gate lives as long as the share");
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
