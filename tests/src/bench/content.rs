//! What the files of the benchmark hold: bytes that do not compress, and of which each tells whether it is at its
//! place. The load writes and expects them, and so does whoever puts the same files into S3.
use std::sync::LazyLock;

/// Content repeats after so many bytes: no power of two, so that a block at a wrong place shows.
pub const PERIOD: usize = (1 << 20) + (4 << 10);
/// The largest block.
pub const BLOCK_MAX: u32 = 1 << 20;

/// One period and as much of the next as a block may reach into it.
static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..PERIOD + BLOCK_MAX as usize)
        .step_by(8)
        .flat_map(|at| word(at as u64).to_le_bytes())
        .collect()
});

/// The eight bytes of content at `offset`, a multiple of 8; they do not compress.
pub fn word(offset: u64) -> u64 {
    // SplitMix64.
    let mut x = (offset % PERIOD as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The content of `length` bytes at `offset`, [`BLOCK_MAX`] at most.
///
/// # Panics
/// When `length` is more.
pub fn content(offset: u64, length: usize) -> &'static [u8] {
    let at = usize::try_from(offset % PERIOD as u64).expect("less than the period");
    &CONTENT[at..at + length]
}

/// Makes it, so that no measured work has to.
pub fn prepare() {
    LazyLock::force(&CONTENT);
}

/// The first `length` bytes of a file, in memory of their own.
pub fn whole(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let step = (length - bytes.len()).min(BLOCK_MAX as usize);
        bytes.extend_from_slice(content(bytes.len() as u64, step));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_has_every_block_at_its_place() {
        let length = PERIOD * 2 + 4096;
        let bytes = whole(length);
        assert_eq!(bytes.len(), length);
        for at in [0, PERIOD - 8, PERIOD, PERIOD + 8, BLOCK_MAX as usize, length - 8] {
            let at = at / 8 * 8;
            assert_eq!(bytes[at..at + 8], word(at as u64).to_le_bytes(), "{at}");
        }
    }
}
