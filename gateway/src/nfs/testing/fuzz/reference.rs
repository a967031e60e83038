//! Record marking (RFC 5531 §11) once more, on a whole stream at once: what the record reader is
//! compared with.
use crate::nfs::rpc::limits::{FRAGMENTS_MAX, RECORD_BYTES_MAX};

const LAST_FRAGMENT: u32 = 1 << 31;

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Between two records.
    Clean,
    /// Within one.
    Cut,
    /// With a record that is too long.
    TooLong,
    /// With a record of too many fragments.
    TooManyFragments,
}

/// The records of a stream, and what ends it.
pub(super) fn records(mut stream: &[u8]) -> (Vec<Vec<u8>>, End) {
    let mut records = Vec::new();
    loop {
        if stream.is_empty() {
            return (records, End::Clean);
        }
        match record(&mut stream) {
            Ok(record) => records.push(record),
            Err(end) => return (records, end),
        }
    }
}

fn record(stream: &mut &[u8]) -> Result<Vec<u8>, End> {
    let mut record = Vec::new();
    for _ in 0..FRAGMENTS_MAX {
        let (mark, rest) = stream.split_first_chunk().ok_or(End::Cut)?;
        let mark = u32::from_be_bytes(*mark);
        let len = usize::try_from(mark & !LAST_FRAGMENT).map_err(|_| End::TooLong)?;
        if record.len() + len > RECORD_BYTES_MAX {
            return Err(End::TooLong);
        }
        let (fragment, rest) = rest.split_at_checked(len).ok_or(End::Cut)?;
        record.extend_from_slice(fragment);
        *stream = rest;
        if mark & LAST_FRAGMENT != 0 {
            return Ok(record);
        }
    }
    Err(End::TooManyFragments)
}
