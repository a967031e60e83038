//! Checksums of a cache file's blocks: CRC-32C of 4 KiB each. Pure.
//!
//! A block's sum is of its 4,096 bytes with zeros for what lies beyond the file's end, so that it does
//! not change when the file grows by a hole. It means something only of a block that is here as a whole.
use std::ops::Range;

/// Bytes that have a sum of their own: a page, so that what clients read and write is whole blocks, and
/// neither a small read nor a small write has to read more than it was asked for.
pub const BLOCK_BYTES: u64 = BLOCK as u64;
/// The same, as memory counts.
pub const BLOCK: usize = 4096;

/// The sum of a block of which it is not known.
pub const UNKNOWN: u32 = 0;

/// Blocks and their sums, each block once, in order.
pub type BlockSums = Vec<(u64, u32)>;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// The sum of a block that begins with `bytes` and goes on with zeros. Never [`UNKNOWN`].
pub fn of_block(bytes: &[u8]) -> u32 {
    let bytes = &bytes[..bytes.len().min(BLOCK)];
    let sum = if bytes.len() == BLOCK {
        crc_fast::crc32_iscsi(bytes)
    } else {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        digest.update(bytes);
        digest.update(&ZEROS[bytes.len()..]);
        u32::try_from(digest.finalize()).expect("a CRC-32 has 32 bits")
    };
    if sum == UNKNOWN { !UNKNOWN } else { sum }
}

/// The numbers of the blocks that hold any of `range`.
pub fn blocks(range: &Range<u64>) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES)
}

/// The bytes of `block` in a file of `size` bytes.
pub fn bytes_of(block: u64, size: u64) -> Range<u64> {
    let start = block.saturating_mul(BLOCK_BYTES);
    start..start.saturating_add(BLOCK_BYTES).min(size).max(start)
}

/// What is known of the sums of bytes that are being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenSums {
    /// Of the blocks that they fill.
    pub whole: BlockSums,
    /// Of the last one, if they reach into it from its start and nothing comes after them.
    pub tail: Option<(u64, u32)>,
}

impl WrittenSums {
    /// Of `bytes` from `offset` on.
    pub fn of(offset: u64, bytes: &[u8]) -> Self {
        let skipped = offset.next_multiple_of(BLOCK_BYTES) - offset;
        let Ok(skipped) = usize::try_from(skipped) else { return Self::default() };
        let Some(bytes) = bytes.get(skipped..) else { return Self::default() };
        let first = offset.div_ceil(BLOCK_BYTES);
        let whole = bytes.chunks_exact(BLOCK);
        let rest = whole.remainder();
        let whole: BlockSums = (first..).zip(whole.map(of_block)).collect();
        let last = first + whole.len() as u64;
        let tail = (!rest.is_empty()).then(|| (last, of_block(rest)));
        Self { whole, tail }
    }
}

/// The blocks among `expected` whose bytes are others. `bytes` are the file's from `offset` on, up to its
/// end or that of a block; a block that they do not begin with is not looked at.
pub fn mismatches(offset: u64, bytes: &[u8], expected: &[(u64, u32)]) -> Vec<u64> {
    let differs = |block: u64, sum: u32| -> bool {
        let Some(from) = (block * BLOCK_BYTES).checked_sub(offset) else { return false };
        let Ok(from) = usize::try_from(from) else { return false };
        let to = from.saturating_add(BLOCK).min(bytes.len());
        bytes.get(from..to).is_some_and(|block| !block.is_empty() && of_block(block) != sum)
    };
    let known = expected.iter().filter(|(_, sum)| *sum != UNKNOWN);
    known.filter(|(block, sum)| differs(*block, *sum)).map(|(block, _)| *block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_crc_32c_and_zeros_beyond_the_end_count() {
        // RFC 3720 B.4 has 0x8a9136aa for 32 zeros; of a block of zeros as computed bit by bit.
        let mut crc = !0_u32;
        for _ in 0..BLOCK * 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
        assert_eq!(of_block(&ZEROS), !crc);
        let mut block = vec![7; 100];
        let short = of_block(&block);
        block.resize(BLOCK, 0);
        assert_eq!(of_block(&block), short);
        block[4095] = 1;
        assert_ne!(of_block(&block), short);
    }

    #[test]
    fn written_bytes_have_sums_where_they_fill_blocks() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let sums = WrittenSums::of(0, &bytes);
        assert_eq!(sums.whole.iter().map(|(block, _)| *block).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(sums.tail, Some((4, of_block(&bytes[16_384..]))));
        let sums = WrittenSums::of(4095, &bytes[..8193]);
        assert_eq!(sums.whole.iter().map(|(block, _)| *block).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(sums.tail, None);
        assert_eq!(WrittenSums::of(10, &bytes[..100]), WrittenSums::default());
    }

    #[test]
    fn one_bit_is_found_and_unknown_blocks_are_not_judged() {
        let bytes = vec![5; 10_000];
        let mut sums = WrittenSums::of(8192, &bytes).whole;
        sums.push((4, of_block(&bytes[8192..])));
        assert_eq!(mismatches(8192, &bytes, &sums), Vec::<u64>::new());
        let mut bad = bytes.clone();
        bad[5000] ^= 1;
        bad[9999] ^= 0x80;
        assert_eq!(mismatches(8192, &bad, &sums), [3, 4]);
        assert_eq!(mismatches(8192, &bad, &[(3, UNKNOWN), (900, 1)]), Vec::<u64>::new());
        assert_eq!(mismatches(9000, &bad[808..], &sums), [3, 4], "the first is not whole here");
    }
}
