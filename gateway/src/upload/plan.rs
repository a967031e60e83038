//! How a file is cut into requests. Pure.
use std::ops::Range;

use crate::{
    catalog::{LARGE_FILE_BYTES, PartRecord},
    object::ETag,
    ranges::RangeSet,
};

/// Up to this size a file goes in one PutObject.
pub(super) const SINGLE_PUT_BYTES_MAX: u64 = LARGE_FILE_BYTES;
/// S3: at most this many parts.
const PARTS_MAX: u64 = 10_000;
/// S3: CopyObject takes objects up to 5 GiB, UploadPartCopy ranges as well.
pub const COPY_BYTES_MAX: u64 = 5 << 30;
/// Ranges of a large object that the server copies, each: fewer than 10,000 for any object.
const COPY_PART_BYTES: u64 = 1 << 30;

const _: () = assert!(COPY_PART_BYTES <= COPY_BYTES_MAX);

/// How one part of an upload comes to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// S3 has it already.
    Done(ETag),
    /// These bytes are sent.
    Send(Range<u64>),
    /// The server copies them from the object that it has.
    Copy(Range<u64>),
}

/// The pieces of a file of which `changed` differs from the object that S3 has, with their part numbers;
/// `known` are good. A part's number tells where it begins, whatever has changed, so that a part stays
/// good when the file grows. Neighbours that the server copies are one piece, as far as that takes ranges
/// of `copy_max` bytes (1 GiB at most); their numbers are left out then.
pub(super) fn pieces(
    size: u64,
    changed: Option<&RangeSet>,
    known: &[PartRecord],
    copy_max: u64,
) -> Vec<(u32, Piece)> {
    let (part, copy_max) = (part_bytes(size), copy_max.min(COPY_PART_BYTES));
    let mut pieces: Vec<(u32, Piece)> = Vec::new();
    let mut at = 0;
    while at < size {
        let number = u32::try_from(at / part + 1).unwrap_or(u32::MAX);
        let is_whole = |known: &&PartRecord| {
            let Range { start, end } = known.range;
            start == at && (end == size || (end < size && end % part == 0))
        };
        if let Some(known) = part_of(known, number).filter(is_whole) {
            pieces.push((number, Piece::Done(known.etag.clone())));
            at = known.range.end;
            continue;
        }
        let range = at..(at + part).min(size);
        at = range.end;
        let same = changed.is_some_and(|changed| changed.overlapping(&range).is_empty());
        match pieces.last_mut() {
            Some((_, Piece::Copy(before))) if same && range.end - before.start <= copy_max => {
                before.end = range.end;
            }
            _ if same => pieces.push((number, Piece::Copy(range))),
            _ => pieces.push((number, Piece::Send(range))),
        }
    }
    pieces
}

/// Whether S3 has every part of a file of `size` bytes that goes in parts.
pub(super) fn is_done(size: u64, known: &[PartRecord]) -> bool {
    pieces(size, None, known, COPY_PART_BYTES)
        .iter()
        .all(|(_, piece)| matches!(piece, Piece::Done(_)))
}

/// Bytes of a file of `size` bytes that S3 has in parts that are parts of it. Parts of a file that has
/// outgrown 10,000 of them are not.
pub(super) fn done_bytes(size: u64, known: &[PartRecord]) -> u64 {
    let done = |(number, piece): &(u32, Piece)| match piece {
        Piece::Done(_) => part_of(known, *number).map(|part| part.range.end - part.range.start),
        Piece::Send(_) | Piece::Copy(_) => None,
    };
    pieces(size, None, known, COPY_PART_BYTES).iter().filter_map(done).sum()
}

/// The part of this number among `known`, which are by number.
pub(super) fn part_of(known: &[PartRecord], number: u32) -> Option<&PartRecord> {
    known.binary_search_by_key(&number, |part| part.number).ok().map(|at| &known[at])
}

/// The whole parts of a file that has `size` bytes so far and may grow, with their numbers: those that it
/// will have at the end as well, unless it outgrows 10,000 of them.
pub(super) fn early_parts(size: u64) -> impl Iterator<Item = (u32, Range<u64>)> {
    let part = part_bytes(0);
    let whole = if size <= part * PARTS_MAX { size / part } else { 0 };
    (1..).zip((0..whole).map(move |i| i * part..(i + 1) * part))
}

/// Bytes of each part but the last: 16 MiB, more when 10,000 would not do.
pub(super) fn part_bytes(size: u64) -> u64 {
    SINGLE_PUT_BYTES_MAX.max(size.div_ceil(PARTS_MAX))
}

/// The parts of a piece of a file of `size` bytes that begins with part `number`, each with its number.
pub(super) fn parts_of(
    number: u32,
    piece: Range<u64>,
    size: u64,
) -> impl Iterator<Item = (u32, Range<u64>)> {
    let part = part_bytes(size);
    let count = (piece.end - piece.start).div_ceil(part);
    let start = move |i: u64| piece.start + i * part;
    let end = piece.end;
    (number..).zip((0..count).map(move |i| start(i)..(start(i) + part).min(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mib(from: u64, to: u64) -> Range<u64> {
        from << 20..to << 20
    }

    /// Where each piece ends, if numbers and beginnings are as they must be.
    fn ends(size: u64, pieces: &[(u32, Piece)], known: &[PartRecord]) -> Vec<u64> {
        let mut at = 0;
        let part = part_bytes(size);
        let mut ends = Vec::new();
        for (number, piece) in pieces {
            assert_eq!(u64::from(*number), at / part + 1);
            at = match piece {
                Piece::Send(range) | Piece::Copy(range) => {
                    assert_eq!(range.start, at);
                    range.end
                }
                Piece::Done(_) => known.iter().find(|k| k.number == *number).unwrap().range.end,
            };
            ends.push(at);
        }
        assert_eq!(at, size);
        ends
    }

    #[test]
    fn parts_cover_the_file_without_gaps_within_s3_s_limits() {
        // 48.8 TiB are S3's largest object (S3 User Guide, "Multipart upload limits").
        for size in [16 << 20, (16 << 20) + 1, 100 << 20, 160_000 << 20, 5 << 40, 50_000 << 30] {
            assert!(part_bytes(size) <= 5 << 30, "S3's largest part");
            let pieces = pieces(size, None, &[], COPY_BYTES_MAX);
            assert!(pieces.len() as u64 <= PARTS_MAX, "{size}");
            let mut ends = ends(size, &pieces, &[]);
            ends.insert(0, 0);
            let all_but_last = &ends[..ends.len() - 1];
            assert!(all_but_last.windows(2).all(|p| p[1] - p[0] >= 5 << 20), "S3's least part");
        }
        let copied = pieces(40 << 40, Some(&RangeSet::new()), &[], COPY_BYTES_MAX);
        assert!(copied.len() as u64 <= PARTS_MAX);
        assert!(copied.iter().all(|(_, piece)| matches!(piece, Piece::Copy(range)
            if range.end - range.start <= COPY_BYTES_MAX)));
    }

    #[test]
    fn only_what_has_changed_is_sent() {
        let appended = pieces(
            100 << 20,
            Some(&RangeSet::from_iter(std::iter::once(mib(95, 100)))),
            &[],
            COPY_BYTES_MAX,
        );
        assert_eq!(
            appended,
            [
                (1, Piece::Copy(mib(0, 80))),
                (6, Piece::Send(mib(80, 96))),
                (7, Piece::Send(mib(96, 100)))
            ]
        );
        let one_byte = RangeSet::from_iter(std::iter::once((1 << 30)..(1 << 30) + 1));
        let pieces = pieces(5 << 30, Some(&one_byte), &[], COPY_BYTES_MAX);
        let sent: Vec<_> = pieces.iter().filter(|(_, p)| matches!(p, Piece::Send(_))).collect();
        assert_eq!(sent, [&(65, Piece::Send(mib(1024, 1040)))]);
        assert!(pieces.len() < 8, "what is copied is copied in large pieces: {pieces:?}");
        ends(5 << 30, &pieces, &[]);
    }

    #[test]
    fn parts_sent_early_are_parts_of_the_whole() {
        let etag = ETag::new("e");
        let record = |(number, range)| PartRecord { number, etag: etag.clone(), range };
        let early: Vec<_> = early_parts((40 << 20) + 5).map(record).collect();
        assert_eq!(
            early.iter().map(|p| p.range.clone()).collect::<Vec<_>>(),
            [mib(0, 16), mib(16, 32)]
        );
        let whole = pieces(100 << 20, None, &early, COPY_BYTES_MAX);
        assert!(matches!(&whole[..2], [(1, Piece::Done(_)), (2, Piece::Done(_))]));
        assert_eq!(early_parts(160_001 << 20).count(), 0, "its parts would be larger");
    }

    #[test]
    fn parts_of_a_file_that_has_outgrown_them_are_not_its_own() {
        let etag = ETag::new("e");
        let record = |(number, range)| PartRecord { number, etag: etag.clone(), range };
        let early: Vec<_> = early_parts(64 << 20).map(record).collect();
        assert_eq!(done_bytes(100 << 20, &early), 64 << 20);
        assert_eq!(done_bytes(160_001 << 20, &early), 0);
    }

    #[test]
    fn parts_that_s3_has_are_not_sent_again_whatever_made_them() {
        let etag = ETag::new("e");
        let part = |number, range| PartRecord { number, etag: etag.clone(), range };
        let known = [part(1, mib(0, 80)), part(6, mib(80, 96)), part(7, mib(96, 100))];
        let all = pieces(100 << 20, None, &known, COPY_BYTES_MAX);
        assert_eq!(all, [1, 6, 7].map(|number| (number, Piece::Done(etag.clone()))));
        // The file has grown: its last part is another one, the rest is good.
        let grown = pieces(120 << 20, None, &known, COPY_BYTES_MAX);
        assert_eq!(grown[2..], [(7, Piece::Send(mib(96, 112))), (8, Piece::Send(mib(112, 120)))],);
        ends(120 << 20, &grown, &known);
        // One in the middle is gone.
        let pieces = pieces(100 << 20, None, &known[..1], COPY_BYTES_MAX);
        assert_eq!(pieces[0].1, Piece::Done(etag));
        assert_eq!(pieces[1..].len(), 2);
    }

    #[test]
    fn a_piece_that_cannot_be_copied_falls_into_parts_with_their_own_numbers() {
        let size = 100 << 20;
        let copied = pieces(size, Some(&RangeSet::new()), &[], 40 << 20);
        let (number, last) = copied.last().cloned().unwrap();
        let Piece::Copy(range) = last else { panic!("{last:?}") };
        assert_eq!((copied.len(), number, range.clone()), (3, 5, mib(64, 100)));
        for (number, piece) in copied {
            let Piece::Copy(range) = piece else { panic!("{piece:?}") };
            for (number, part) in parts_of(number, range, size) {
                let at = u64::from(number - 1) * part_bytes(size);
                assert_eq!(part, at..(at + part_bytes(size)).min(size));
            }
        }
    }
}
