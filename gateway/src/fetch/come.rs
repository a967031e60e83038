//! Bytes that have come from S3 and are not in the cache yet: whoever waits for them need not wait for the disk.
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::{catalog::Inode, object::ETag};

/// What one GET has brought.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Where in the object.
    pub(super) at: Range<u64>,
    pub(super) bytes: Bytes,
}

/// A range of an object.
#[derive(Clone, Debug)]
pub struct Come {
    etag: ETag,
    start: u64,
    bytes: Bytes,
}

impl Come {
    /// Of `range`, if the pieces, which are in order, hold all of it.
    pub(super) fn of(etag: &ETag, range: &Range<u64>, pieces: &[Piece]) -> Option<Self> {
        let (mut at, mut parts) = (range.start, Vec::new());
        for piece in pieces {
            if piece.at.contains(&at) && at < range.end {
                let end = piece.at.end.min(range.end);
                parts.push((slice(piece.at.start, &piece.bytes, &(at..end))?, piece.bytes.len()));
                at = end;
            }
        }
        if at < range.end {
            return None;
        }
        let bytes = match &parts[..] {
            // A slow reader of some bytes must not keep more than those in memory.
            [(one, whole)] if one.len() >= whole / 8 * 7 => one.clone(),
            parts => {
                let mut bytes =
                    BytesMut::with_capacity(parts.iter().map(|(part, _)| part.len()).sum());
                parts.iter().for_each(|(part, _)| bytes.extend_from_slice(part));
                bytes.freeze()
            }
        };
        Some(Self { etag: etag.clone(), start: range.start, bytes })
    }

    /// All of these, for tests.
    #[cfg(test)]
    pub(crate) fn all(etag: &ETag, start: u64, bytes: Bytes) -> Self {
        Self { etag: etag.clone(), start, bytes }
    }

    /// Bytes `wanted` of the file, if it is exactly this object. Call with the inode locked, when it was seen, before
    /// `row` was read, that nothing uncommitted was written to it.
    pub fn bytes_of(&self, row: &Inode, wanted: &Range<u64>) -> Option<Bytes> {
        let is_it = !row.dirty && !row.writing && row.etag.as_ref() == Some(&self.etag);
        if is_it { slice(self.start, &self.bytes, wanted) } else { None }
    }
}

/// Bytes `wanted` of those that begin at `start`, if they are all there.
fn slice(start: u64, bytes: &Bytes, wanted: &Range<u64>) -> Option<Bytes> {
    let from = usize::try_from(wanted.start.checked_sub(start)?).ok()?;
    let to = usize::try_from(wanted.end.checked_sub(start)?).ok()?;
    (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(at: Range<u64>) -> Piece {
        let bytes = at.clone().map(|byte| u8::try_from(byte % 251).unwrap()).collect::<Vec<_>>();
        Piece { at, bytes: bytes.into() }
    }

    fn come(range: Range<u64>, pieces: &[Piece]) -> Option<Bytes> {
        Come::of(&ETag::new("e"), &range, pieces).map(|come| come.bytes)
    }

    #[test]
    fn a_range_is_cut_out_of_one_piece_or_joined_of_several() {
        let two = [piece(100..200), piece(200..300)];
        for range in [100..200, 120..130, 150..250, 100..300, 299..300] {
            assert_eq!(come(range.clone(), &two).unwrap(), piece(range).bytes);
        }
        // As the blocks of one GET are: each has all of it.
        assert_eq!(come(90..110, &[piece(0..200), piece(0..200)]).unwrap(), piece(90..110).bytes);
    }

    #[test]
    fn what_lacks_a_byte_is_not_given() {
        for range in [99..101, 199..201, 250..301, 0..50] {
            assert_eq!(come(range, &[piece(100..200), piece(210..300)]), None);
        }
        assert_eq!(come(5..6, &[]), None);
    }

    #[test]
    fn a_few_bytes_keep_no_large_piece_in_memory() {
        let large = piece(0..4096);
        let few = come(0..16, std::slice::from_ref(&large)).unwrap();
        assert_ne!(few.as_ptr(), large.bytes.as_ptr());
        let most = come(0..4000, std::slice::from_ref(&large)).unwrap();
        assert_eq!(most.as_ptr(), large.bytes.as_ptr(), "not copied");
    }
}
