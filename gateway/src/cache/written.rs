//! The checksums of what has been written to one file and not been committed.
//!
//! They are of the bytes that came from the client, not of what a disk gave back, wherever a write fills
//! a block. Of other blocks, and of those that two writes were in at the same time, nobody knows what is
//! there before the disk is asked: the commit does that.
use std::{collections::BTreeMap, ops::Range};

use crate::{
    ranges::RangeSet,
    sums::{self, BlockSums, UNKNOWN, WrittenSums},
};

/// Blocks kept together.
const CHUNK: usize = 128;
const CHUNK_BLOCKS: u64 = CHUNK as u64;

#[derive(Clone, Debug)]
struct Chunk {
    sums: [u32; CHUNK],
    written: u128,
}

/// A write that is under way, by the number that it was given.
#[derive(Clone, Debug)]
struct Flight {
    number: u64,
    blocks: Range<u64>,
    /// Whether another was in one of its blocks at the same time.
    crossed: bool,
}

/// One file's.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    chunks: BTreeMap<u64, Chunk>,
    flights: Vec<Flight>,
}

impl Written {
    /// A write begins.
    pub(super) fn begin(&mut self, number: u64, range: &Range<u64>) {
        let blocks = sums::blocks(range);
        let mut crossed = false;
        for other in &mut self.flights {
            if other.blocks.start < blocks.end && blocks.start < other.blocks.end {
                other.crossed = true;
                crossed = true;
            }
        }
        self.flights.push(Flight { number, blocks, crossed });
    }

    /// A write ends; `known` is of its bytes if it has succeeded, `reaches_end` whether nothing of the file
    /// comes after it.
    pub(super) fn end(&mut self, number: u64, known: Option<&WrittenSums>, reaches_end: bool) {
        let Some(at) = self.flights.iter().position(|flight| flight.number == number) else {
            return;
        };
        let flight = self.flights.swap_remove(at);
        flight.blocks.clone().for_each(|block| self.set(block, UNKNOWN));
        let Some(known) = known.filter(|_| !flight.crossed) else { return };
        let tail = known.tail.iter().filter(|_| reaches_end);
        known.whole.iter().chain(tail).for_each(|(block, sum)| self.set(*block, *sum));
    }

    /// Bytes of the block have changed in another way.
    pub(super) fn touch(&mut self, block: u64) {
        self.set(block, UNKNOWN);
    }

    fn set(&mut self, block: u64, sum: u32) {
        let nothing = || Chunk { sums: [UNKNOWN; CHUNK], written: 0 };
        let chunk = self.chunks.entry(block / CHUNK_BLOCKS).or_insert_with(nothing);
        let place = block % CHUNK_BLOCKS;
        chunk.sums[usize::try_from(place).expect("less than a chunk")] = sum;
        chunk.written |= 1 << place;
    }

    /// Forgets blocks that hold nothing of `ranges`.
    pub(super) fn keep(&mut self, ranges: &RangeSet) {
        let before = std::mem::take(&mut self.chunks);
        let kept = |block: u64| -> Option<u32> {
            let chunk = before.get(&(block / CHUNK_BLOCKS))?;
            let place = block % CHUNK_BLOCKS;
            (chunk.written & (1 << place) != 0)
                .then(|| chunk.sums[usize::try_from(place).expect("less than a chunk")])
        };
        for block in ranges.iter().flat_map(|range| sums::blocks(&range)) {
            if let Some(sum) = kept(block) {
                self.set(block, sum);
            }
        }
    }

    /// A write ends that has not changed a byte.
    pub(super) fn not_begun(&mut self, number: u64) {
        self.flights.retain(|flight| flight.number != number);
    }

    /// The file is about to be cut to `size`, which may not come about: of the block that the end is in, and of those
    /// beyond that were written, nobody knows what will be there.
    pub(super) fn cut(&mut self, size: u64) {
        let whole = size / sums::BLOCK_BYTES;
        for (at, chunk) in self.chunks.range_mut(whole / CHUNK_BLOCKS..) {
            let gone =
                (at * CHUNK_BLOCKS..).zip(&mut chunk.sums).filter(|(block, _)| *block >= whole);
            gone.for_each(|(_, sum)| *sum = UNKNOWN);
        }
        if !size.is_multiple_of(sums::BLOCK_BYTES) {
            self.touch(whole);
        }
    }

    /// Whether a write that is under way, or has ended, is in the block.
    pub(super) fn touches(&self, block: u64) -> bool {
        let written = self.chunks.get(&(block / CHUNK_BLOCKS));
        written.is_some_and(|chunk| chunk.written & (1 << (block % CHUNK_BLOCKS)) != 0)
            || self.flights.iter().any(|flight| flight.blocks.contains(&block))
    }

    /// The sums that are known, and the blocks whose are not.
    pub(super) fn sums(&self) -> (BlockSums, Vec<u64>) {
        let (mut known, mut unknown) = (BlockSums::new(), Vec::new());
        for (at, chunk) in &self.chunks {
            for (place, sum) in (0..).zip(chunk.sums).filter(|(p, _)| chunk.written & (1 << p) != 0)
            {
                let block = at * CHUNK_BLOCKS + place;
                if sum == UNKNOWN {
                    unknown.push(block);
                } else {
                    known.push((block, sum));
                }
            }
        }
        (known, unknown)
    }

    /// Half a kilobyte each.
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(written: &mut Written, offset: u64, bytes: &[u8], reaches_end: bool) {
        written.begin(1, &(offset..offset + bytes.len() as u64));
        written.end(1, Some(&WrittenSums::of(offset, bytes)), reaches_end);
    }

    #[test]
    fn the_last_write_of_a_block_counts_and_one_of_a_part_leaves_it_open() {
        let mut written = Written::default();
        write(&mut written, 0, &[1; 9000], true);
        let expected = vec![
            (0, sums::of_block(&[1; 4096])),
            (1, sums::of_block(&[1; 4096])),
            (2, sums::of_block(&[1; 808])),
        ];
        assert_eq!(written.sums(), (expected, vec![]));
        write(&mut written, 4096, &[2; 4096], false);
        write(&mut written, 8192, &[2; 10], false);
        let expected = vec![(0, sums::of_block(&[1; 4096])), (1, sums::of_block(&[2; 4096]))];
        assert_eq!(written.sums(), (expected, vec![2]));
        assert!(written.touches(2) && !written.touches(3));
    }

    #[test]
    fn what_a_commit_has_taken_is_forgotten_and_what_came_since_is_not() {
        let mut written = Written::default();
        write(&mut written, 0, &[1; 16384], true);
        let before = written.sums().0;
        written.begin(9, &(16384..20480));
        written.keep(&RangeSet::from_iter([4097..4098, 12288..16384]));
        assert_eq!(written.sums().0, [before[1], before[3]]);
        assert!(!written.touches(0) && written.touches(1) && written.touches(4), "under way");
        written.keep(&RangeSet::new());
        assert_eq!(written.chunks(), 0);
    }

    #[test]
    fn nobody_knows_which_of_two_writes_at_once_came_last() {
        let mut written = Written::default();
        let sums = WrittenSums::of(0, &[1; 8192]);
        written.begin(1, &(0..8192));
        written.begin(2, &(4096..4097));
        assert!(written.touches(1), "under way");
        written.end(2, Some(&WrittenSums::of(4096, &[7])), false);
        written.end(1, Some(&sums), true);
        assert_eq!(written.sums(), (vec![], vec![0, 1]));
        write(&mut written, 0, &[1; 8192], true);
        assert_eq!(written.sums(), (sums.whole, vec![]));
        written.begin(3, &(0..4096));
        written.end(3, None, false);
        assert_eq!(written.sums().1, [0], "a write that failed leaves anything");
    }

    #[test]
    fn of_a_file_that_is_cut_what_is_left_is_known_but_for_its_end() {
        let mut written = Written::default();
        let far = CHUNK_BLOCKS * sums::BLOCK_BYTES;
        write(&mut written, far - 4096, &[1; 3 * 4096], true);
        let before = written.sums().0;
        written.cut(far + 5000);
        assert_eq!(written.sums(), (before[..2].to_vec(), vec![CHUNK_BLOCKS + 1]));
        written.cut(far);
        let beyond = vec![CHUNK_BLOCKS, CHUNK_BLOCKS + 1];
        assert_eq!(written.sums(), (before[..1].to_vec(), beyond), "it may not come about");
        written.begin(9, &(0..4096));
        written.not_begun(9);
        assert!(!written.touches(0), "nothing has changed");
        written.cut(0);
        assert_eq!(written.sums().0, []);
        let mut untouched = Written::default();
        untouched.cut(5000);
        assert_eq!(untouched.sums(), (vec![], vec![1]));
    }
}
