//! What a peer can make the server hold, wait for and spend: every bound of the NFS edge.
use std::time::Duration;

/// Most bytes of one READ or WRITE (FSINFO rtmax, wtmax): the most that Linux asks for.
pub const IO_BYTES_MAX: u32 = 1 << 20;

/// Room in a record beside the data of a WRITE: RPC header, credential (≤ 400 + 400 bytes),
/// handle, and names that are too long but shall be answered (NFS3ERR_NAMETOOLONG).
const RECORD_OVERHEAD_BYTES: usize = 64 * 1024;

/// Longest record (RFC 5531 §11) that is read.
pub const RECORD_BYTES_MAX: usize = IO_BYTES_MAX as usize + RECORD_OVERHEAD_BYTES;

/// Most fragments of one record. Known clients send one.
pub const FRAGMENTS_MAX: usize = 16;

/// Longest credential or verifier body (RFC 5531 §8.2).
pub const AUTH_BYTES_MAX: usize = 400;

/// Longest machine name in an AUTH_SYS credential (RFC 5531 appendix A).
pub const MACHINE_NAME_BYTES_MAX: usize = 255;

/// Most supplementary groups in an AUTH_SYS credential (RFC 5531 appendix A).
pub const GROUPS_MAX: u32 = 16;

/// Longest name of a directory entry that is looked at.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest target of a symbolic link (Linux PATH_MAX with its NUL).
pub const SYMLINK_BYTES_MAX: usize = 4095;

/// Requests up to this size, and replies, pass the byte budgets freely: small calls never wait
/// behind a peer that holds back large ones. Their number is bounded all the same: both for each
/// of [`Limits::calls_max`] is 64 MiB.
pub const UNBUDGETED_BYTES: usize = 4 * 1024;

/// Bounds that depend on the machine or are short in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at one time.
    pub connections_max: usize,
    /// Most connections of one address at one time.
    pub connections_per_peer_max: usize,
    /// Most calls of one connection that are being answered; beyond, it is not read.
    pub calls_per_connection_max: usize,
    /// Most such calls of all connections of one address.
    pub calls_per_peer_max: usize,
    /// Most such calls in all.
    pub calls_max: usize,
    /// Most bytes of large calls and their replies that one connection holds.
    pub bytes_per_connection_max: usize,
    /// Most such bytes of all connections of one address.
    pub bytes_per_peer_max: usize,
    /// Most such bytes in all.
    pub bytes_max: usize,
    /// Most remembered replies in all ([`crate::nfs::drc`]).
    pub remembered_replies_max: usize,
    /// Most remembered replies of one address.
    pub remembered_replies_per_peer_max: usize,
    /// Time from accept to the end of the first record.
    pub first_record_timeout: Duration,
    /// Time from the first to the last byte of a record.
    pub partial_record_timeout: Duration,
    /// Silence after which a connection is idle: it gives its read buffer back, and its slot if
    /// another connection needs it.
    pub idle_after: Duration,
    /// Time in which a peer must take at least one byte of its replies.
    pub write_stall_timeout: Duration,
    /// Time that calls in flight get to finish when the server stops.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            connections_per_peer_max: 128,
            calls_per_connection_max: 64,
            calls_per_peer_max: 2048,
            calls_max: 8192,
            bytes_per_connection_max: 8 << 20,
            bytes_per_peer_max: 32 << 20,
            bytes_max: 96 << 20,
            remembered_replies_max: 16_384,
            remembered_replies_per_peer_max: 4096,
            first_record_timeout: Duration::from_secs(10),
            partial_record_timeout: Duration::from_secs(30),
            idle_after: Duration::from_secs(1),
            write_stall_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

// The largest call (a whole record, or a READ of the most bytes) must fit each budget alone, or
// it would wait for ever. Checked for the default here, for others by `Limits::checked`.
impl Limits {
    /// These limits, raised where one would let no call pass.
    pub(crate) fn checked(mut self) -> Self {
        let least = 2 * RECORD_BYTES_MAX;
        // A connection whose record is coming holds one call.
        self.calls_per_connection_max = self.calls_per_connection_max.max(1);
        self.calls_per_peer_max = self.calls_per_peer_max.max(2 * self.connections_per_peer_max);
        self.calls_max = self.calls_max.max(2 * self.connections_max);
        self.bytes_per_connection_max = self.bytes_per_connection_max.max(least);
        self.bytes_per_peer_max = self.bytes_per_peer_max.max(self.bytes_per_connection_max);
        self.bytes_max = self.bytes_max.max(self.bytes_per_peer_max);
        self
    }
}
