//! One step of a sequence of operations, as an input says it: every value of every field means
//! something, so that no input is wasted.
use arbitrary::{Arbitrary, Result, Unstructured};

use super::{wire::Caller, world::FILE_BYTES_MAX};
use crate::nfs::rpc::limits::IO_BYTES_MAX;

/// What names there are: so few that they meet again.
const NAMES: [&[u8]; 8] = [b"a", b"b", b"c", b"d\xc3\xa9", b".", b"..", &[b'x'; 255], &[b'x'; 256]];

/// Procedures of NFS, then MNT, then "send an earlier call again".
const PROCEDURES: u8 = 24;

/// Fields are read in this order, numbers with their low byte first.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
pub(super) struct Operation {
    pub(super) procedure: u8,
    pub(super) caller: u8,
    /// Which of the objects known so far.
    pub(super) object: u8,
    pub(super) name: u8,
    /// RENAME, LINK: the other directory.
    pub(super) to_object: u8,
    pub(super) to_name: u8,
    pub(super) offset: u32,
    pub(super) length: u16,
    /// See the methods below.
    pub(super) flags: u8,
}

/// Bytes of an operation in an input.
const OPERATION_BYTES: usize = 13;

impl Operation {
    /// All operations of an input.
    pub(super) fn all(input: &[u8]) -> Result<Vec<Self>> {
        let mut input = Unstructured::new(input);
        let count = input.len() / OPERATION_BYTES;
        (0..count).map(|_| input.arbitrary()).collect()
    }

    /// What an input says for this operation.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let Self { procedure, caller, object, name, to_object, to_name, .. } = *self;
        let mut bytes = vec![procedure, caller, object, name, to_object, to_name];
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.push(self.flags);
        bytes
    }

    pub(super) fn procedure(&self) -> u32 {
        u32::from(self.procedure % PROCEDURES)
    }

    pub(super) fn caller(&self) -> Caller {
        Caller::of(self.caller)
    }

    pub(super) fn name(&self) -> &'static [u8] {
        NAMES[usize::from(self.name) % NAMES.len()]
    }

    pub(super) fn other_name(&self) -> &'static [u8] {
        NAMES[usize::from(self.to_name) % NAMES.len()]
    }

    /// Mostly near the beginning of a file, where it is quick; by the two highest bits anywhere in
    /// it or just beyond, or at the end of all numbers.
    pub(super) fn offset(&self) -> u64 {
        let low = u64::from(self.offset & 0x3fff_ffff);
        match self.offset >> 30 {
            3 => u64::MAX - low,
            2 => low % (FILE_BYTES_MAX + 2),
            _ => low % 0x4000,
        }
    }

    /// Bytes to read or write: few, or about as many as one call may have.
    pub(super) fn length(&self) -> u32 {
        let length = u32::from(self.length);
        if self.flags & 0x80 == 0 { length % 0x2000 } else { IO_BYTES_MAX - 0x8000 + length }
    }

    /// Whether the call is sent twice.
    pub(super) fn is_repeated(&self) -> bool {
        self.flags & 0x40 != 0
    }

    /// Whether attributes hold a size.
    pub(super) fn size(&self) -> Option<u64> {
        (self.flags & 0x20 != 0).then(|| self.offset())
    }

    /// Whether SETATTR is guarded, by a time that no object has.
    pub(super) fn is_guarded(&self) -> bool {
        self.flags & 0x10 != 0
    }

    /// RFC 1813: stable_how of WRITE, createmode3 of CREATE.
    pub(super) fn how(&self) -> u32 {
        u32::from(self.flags & 0x0f) % 3
    }
}
