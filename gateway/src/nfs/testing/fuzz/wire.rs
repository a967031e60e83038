//! Calls as a client writes them.
use bytes::Bytes;

use crate::nfs::{mount::MOUNT_PROGRAM, rpc::call::Call};

/// RFC 1813 §3.1.
pub(super) const NFS_PROGRAM: u32 = 100_003;
/// RFC 1833 §3.2.
pub(super) const PORTMAP_PROGRAM: u32 = 100_000;

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Procedure {
    pub(super) program: u32,
    pub(super) version: u32,
    pub(super) number: u32,
}

impl Procedure {
    pub(super) fn of(call: &Call) -> Self {
        Self { program: call.program, version: call.version, number: call.procedure }
    }

    pub(super) fn nfs(number: u32) -> Self {
        Self { program: NFS_PROGRAM, version: 3, number }
    }

    pub(super) fn mount(number: u32) -> Self {
        Self { program: MOUNT_PROGRAM, version: 3, number }
    }

    /// Version 2 is the portmapper, 3 and 4 are rpcbind.
    pub(super) fn portmap(version: u32, number: u32) -> Self {
        Self { program: PORTMAP_PROGRAM, version, number }
    }

    /// Whether a second execution of a repeated call would do harm.
    pub(super) fn is_executed_once(self) -> bool {
        self.program == NFS_PROGRAM && matches!(self.number, 2 | 8 | 9 | 10 | 12 | 13 | 14)
    }
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// AUTH_SYS, uid 0.
    Root,
    /// AUTH_SYS, uid 1000 with two groups.
    User,
    /// AUTH_NONE.
    Anonymous,
}

impl Caller {
    /// Any number is a caller; every other is root, who may do everything.
    pub(super) fn of(number: u8) -> Self {
        match number % 4 {
            1 => Self::User,
            3 => Self::Anonymous,
            _ => Self::Root,
        }
    }

    fn credential(self) -> Vec<u8> {
        let sys = |body: &[u32]| [words(&[1]), opaque(&words(body))].concat();
        match self {
            Self::Root => sys(&[0, 0, 0, 0, 0]),
            Self::User => sys(&[0, 0, 1000, 100, 2, 7, 8]),
            Self::Anonymous => words(&[0, 0]),
        }
    }
}

/// A call to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) xid: u32,
    pub(super) procedure: Procedure,
    pub(super) caller: Caller,
    pub(super) args: &'a [u8],
}

impl Outgoing<'_> {
    /// The call without its record mark.
    pub(super) fn record(&self) -> Bytes {
        let Procedure { program, version, number } = self.procedure;
        let header = [self.xid, 0, 2, program, version, number];
        let credential = self.caller.credential();
        [&words(&header), &credential, &words(&[0, 0])[..], self.args].concat().into()
    }

    /// The call with its record mark.
    pub(super) fn marked(&self) -> Vec<u8> {
        let record = self.record();
        [&words(&[length(&record) | 1 << 31])[..], &record].concat()
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("calls are shorter than 4 GiB")
}

/// Unsigned integers.
pub(super) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// An unsigned hyper integer.
pub(super) fn hyper(value: u64) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

/// Opaque data of variable length, or a string.
pub(super) fn opaque(bytes: &[u8]) -> Vec<u8> {
    let mut out = words(&[length(bytes)]);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// RFC 1813 §2.5.3 sattr3 with at most a mode and a size.
pub(super) fn sattr(mode: Option<u32>, size: Option<u64>) -> Vec<u8> {
    let mode = mode.map_or(words(&[0]), |mode| words(&[1, mode]));
    let size = size.map_or(words(&[0]), |size| [words(&[1]), hyper(size)].concat());
    // No uid, no gid; times are left alone.
    [mode, words(&[0, 0]), size, words(&[0, 0])].concat()
}
