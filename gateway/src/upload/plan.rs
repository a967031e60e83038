//! How a file is cut into requests. Pure.
use std::ops::Range;

/// Up to this size a file goes in one PutObject.
pub(super) const SINGLE_PUT_BYTES_MAX: u64 = 16 << 20;
/// S3: at most this many parts.
const PARTS_MAX: u64 = 10_000;
/// S3: CopyObject takes objects up to 5 GiB, UploadPartCopy ranges as well.
pub(super) const COPY_BYTES_MAX: u64 = 5 << 30;
/// Ranges of a large object that the server copies, each: fewer than 10,000 for any object.
const COPY_PART_BYTES: u64 = 1 << 30;

const _: () = assert!(COPY_PART_BYTES <= COPY_BYTES_MAX);

/// The parts of a file of `size` bytes, in order: 16 MiB each, larger when 10,000 would not do.
pub(super) fn parts(size: u64) -> impl Iterator<Item = Range<u64>> {
    cut(size, SINGLE_PUT_BYTES_MAX.max(size.div_ceil(PARTS_MAX)))
}

/// The ranges in which the server copies an object of `size` bytes.
pub(super) fn copy_parts(size: u64) -> impl Iterator<Item = Range<u64>> {
    cut(size, COPY_PART_BYTES.max(size.div_ceil(PARTS_MAX)))
}

fn cut(size: u64, part: u64) -> impl Iterator<Item = Range<u64>> {
    (0..size.div_ceil(part)).map(move |i| i * part..((i + 1) * part).min(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_file_without_gaps_within_s3_s_limits() {
        for size in [16 << 20, (16 << 20) + 1, 100 << 20, 160_000 << 20, 5 << 40] {
            let parts: Vec<_> = parts(size).collect();
            assert!(parts.len() as u64 <= PARTS_MAX, "{size}");
            assert_eq!(parts.first().unwrap().start, 0);
            assert_eq!(parts.last().unwrap().end, size);
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            let all_but_last = &parts[..parts.len() - 1];
            assert!(all_but_last.iter().all(|p| p.end - p.start >= 5 << 20), "S3's least part");
        }
        assert!(copy_parts(50 << 40).count() as u64 <= PARTS_MAX);
    }
}
