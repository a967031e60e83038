//! Bytes of the cache disk, checked against the catalog's checksums: none is given out that is not what
//! was written or fetched.
//!
//! The one place where both leaves meet for reading. A READ looks while others write, and may meet bytes
//! of which the sum is not committed yet: it looks again with the inode locked exclusively. What does not
//! match then is damage.
use std::{fmt::Write, ops::Range};

use bytes::Bytes;
use gateway_api::status::HealthEventKind;

use crate::{
    cache::{CacheError, CacheStore},
    catalog::{Catalog, CatalogError, SumsNow},
    essential::{self, Step},
    ids::Ino,
    share::ShareHealth,
    sums::{self, BLOCK_BYTES, BlockSums, WrittenSums},
};

/// What a read found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The bytes asked for.
    pub bytes: Bytes,
    /// Blocks of which they are not what was written. Give no bytes out unless there are none.
    pub damaged: Vec<u64>,
}

/// Reads `range`, which must be here, of a file of `size` bytes, and compares what it can with `known`.
/// Writes that are under way while it reads may look like damage, unless the inode is locked
/// exclusively and `known` was read since.
///
/// # Errors
/// Of the cache.
pub async fn read(
    cache: &CacheStore,
    ino: Ino,
    range: Range<u64>,
    size: u64,
    mut known: BlockSums,
) -> Result<Found, CacheError> {
    let touched = cache.overlay().touched(ino, &known);
    known.retain(|(block, _)| touched.binary_search(block).is_err());
    // A block is judged as a whole. It is here as a whole, or nothing would be known of its sum.
    let is_known = |at: u64| known.binary_search_by_key(&(at / BLOCK_BYTES), |(b, _)| *b).is_ok();
    let from =
        if is_known(range.start) { range.start / BLOCK_BYTES * BLOCK_BYTES } else { range.start };
    let to = if is_known(range.end - 1) {
        sums::bytes_of((range.end - 1) / BLOCK_BYTES, size).end.max(range.end)
    } else {
        range.end
    };
    let bytes = cache.read_at(ino, from..to).await?;
    let damaged = match essential::is_left_out(Step::SumsCheck) {
        false => sums::mismatches(from, &bytes, &known),
        true => Vec::new(),
    };
    let within = |at: u64| usize::try_from(at - from).expect("within what was read");
    Ok(Found { bytes: bytes.slice(within(range.start)..within(range.end)), damaged })
}

/// Takes `blocks` of a file of `size` bytes for what they are, if a write was under way when the gateway was cut off:
/// old bytes or new ones are both right then. What changes from here on is damage. `false` if S3 has the file by now.
/// Call with the inode's exclusive lock held.
///
/// # Errors
/// Of the catalog and the cache.
pub async fn take<E>(
    catalog: &Catalog,
    cache: &CacheStore,
    ino: Ino,
    blocks: Vec<u64>,
    size: u64,
) -> Result<bool, E>
where
    E: From<CatalogError> + From<CacheError>,
{
    let found = cache.sums_of(ino, blocks, size).await?;
    Ok(catalog.take_sums(ino, found).await?)
}

/// A file that is to be uploaded, of which nothing is uncommitted: its inode's exclusive lock is held.
#[derive(Clone, Copy, Debug)]
pub struct Locked<'a> {
    /// What knows its sums.
    pub catalog: &'a Catalog,
    /// What has its bytes.
    pub cache: &'a CacheStore,
    /// Where damage is told.
    pub health: &'a ShareHealth,
    /// The file.
    pub ino: Ino,
}

impl Locked<'_> {
    /// Reads `range`, which must be here.
    ///
    /// # Errors
    /// [`CacheError::Damaged`] for bytes that are not what was written, which an event says; of the
    /// catalog and the cache.
    pub async fn read<E>(self, range: Range<u64>) -> Result<Bytes, E>
    where
        E: From<CatalogError> + From<CacheError>,
    {
        let size = self.catalog.inode(self.ino).await?.size;
        let known = self.catalog.sums_now(self.ino, range.clone()).await?;
        self.read_known(range, size, known).await
    }

    /// The same of a file of `size` bytes, of which `known` was read since it was locked.
    ///
    /// # Errors
    /// As [`Locked::read`].
    pub async fn read_known<E>(
        self,
        range: Range<u64>,
        size: u64,
        known: SumsNow,
    ) -> Result<Bytes, E>
    where
        E: From<CatalogError> + From<CacheError>,
    {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let Self { catalog, cache, health, ino } = self;
        let (start, end) = (range.start, range.end);
        let before = if known.unsure { known.sums.clone() } else { BlockSums::new() };
        let found = read(cache, ino, range, size, known.sums).await?;
        if known.unsure {
            // After a lost catalog nothing is known of a file.
            let WrittenSums { mut whole, tail } = WrittenSums::of(start, &found.bytes);
            whole.extend(tail.filter(|_| end == size));
            whole.retain(|(block, _)| before.binary_search_by_key(block, |(b, _)| *b).is_err());
            if !whole.is_empty() {
                catalog.take_sums(ino, whole).await?;
            }
            let differing = found.damaged.clone();
            if !differing.is_empty() && take::<E>(catalog, cache, ino, differing, size).await? {
                return Ok(found.bytes);
            }
        }
        let Some(first) = found.damaged.first() else { return Ok(found.bytes) };
        let (first, count) = (*first, found.damaged.len());
        let words = lost(&catalog.path(ino).await?, &found.damaged);
        health.event(HealthEventKind::CacheDamaged, words);
        Err(CacheError::Damaged { ino, first, count }.into())
    }
}

/// What the operator is told of damage to bytes that S3 does not have.
pub fn lost(path: &str, damaged: &[u64]) -> String {
    format!(
        "{path}: {} on the cache disk are not what was written, and S3 does not have them yet; they are \
         neither served nor uploaded. Check the disk, then write the file again",
        places(damaged)
    )
}

/// What the operator is told of damage to bytes that S3 has.
pub fn mended(path: &str, damaged: &[u64]) -> String {
    format!(
        "{path}: {} on the cache disk were not what was written; they are fetched again from S3. Check \
         the disk",
        places(damaged)
    )
}

/// Where the blocks are, in bytes; the first few of them.
fn places(damaged: &[u64]) -> String {
    const NAMED_MAX: usize = 4;
    let mut words = "bytes".to_owned();
    for (i, block) in damaged.iter().take(NAMED_MAX).enumerate() {
        let (from, to) = (block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES - 1);
        write!(words, "{}{from}-{to}", if i == 0 { " " } else { ", " })
            .expect("writing to a string works");
    }
    if damaged.len() > NAMED_MAX {
        write!(words, " and {} blocks more", damaged.len() - NAMED_MAX)
            .expect("writing to a string works");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_is_told_where_and_not_too_much() {
        assert!(lost("a/b", &[0, 2]).contains("a/b: bytes 0-4095, 8192-12287 on"));
        let many: Vec<u64> = (0..100).collect();
        assert!(mended("a", &many).contains("12288-16383 and 96 blocks more on"));
    }
}
