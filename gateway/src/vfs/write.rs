//! WRITE.
use std::ops::Range;

use bytes::Bytes;

use super::{Change, Credentials, FsError, Ino, Stability, Vfs, Written, permissions};
use crate::{
    cache::overlay::Seen,
    catalog::{FILE_BESIDES_BYTES, Inode},
    failpoint::{self, Point},
    sums::{BLOCK_BYTES, WrittenSums},
};

/// Largest file in bytes: what S3 takes as one object (5 TiB). Refused at WRITE, not at upload
/// (F40).
pub const FILE_BYTES_MAX: u64 = 5 << 40;

/// Bytes of the disk that a write of `range` to a file of `size` bytes takes: of a small one whole blocks, and the rows of
/// a file that had nothing.
fn room_for(range: &Range<u64>, size: u64) -> u64 {
    let end = range.end.next_multiple_of(BLOCK_BYTES);
    let begin = size.next_multiple_of(BLOCK_BYTES).max(range.start / BLOCK_BYTES * BLOCK_BYTES);
    let besides = if size == 0 { FILE_BESIDES_BYTES } else { 0 };
    end.saturating_sub(begin).max(range.end - range.start) + besides
}

/// Where a write of `range` to a file of `size` bytes leaves other bytes of a block as they are. Before one that begins
/// beyond the end that is the end, as the zeros after it count as written; nothing is left behind one that reaches it.
fn edges(range: &Range<u64>, size: u64) -> [u64; 2] {
    let end = if range.end < size { range.end } else { 0 };
    [range.start.min(size), end]
}

impl Vfs {
    pub(super) async fn do_write(
        &self,
        who: &Credentials,
        ino: Ino,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, FsError> {
        self.check_writable()?;
        let len = data.len() as u64;
        let end = offset.checked_add(len).filter(|end| *end <= FILE_BYTES_MAX);
        let range = offset..end.ok_or(FsError::FileTooBig)?;
        // Before the write: a verifier that changes under it makes the client send it again.
        let verifier = self.shared.verifier.get();
        let row = self.row_with_attr(ino).await?;
        Self::check_file(&row)?;
        permissions::check_data(&row, who, permissions::WRITE)?;
        self.check_blocks_at(&row, &edges(&range, row.size)).await?;
        self.admit(ino, room_for(&range, self.attr(&row).size)).await?;
        let _held = self.shared.locks.shared(ino).await;
        let count = u32::try_from(len).map_err(|_| FsError::Invalid)?;
        let change = if range.is_empty() {
            self.unchanged(ino).await?
        } else {
            self.put(who, ino, range, data).await?
        };
        let durable = stability != Stability::Unstable || self.shared.cache.overlay().is_full(ino);
        if durable {
            self.shared.commit(ino).await?;
        }
        let committed = if durable { Stability::FileSync } else { Stability::Unstable };
        Ok(Written { count, committed, verifier, change })
    }

    /// Writes `data` to the cache file. Call with the inode's shared lock held.
    async fn put(
        &self,
        who: &Credentials,
        ino: Ino,
        range: Range<u64>,
        data: Bytes,
    ) -> Result<Change, FsError> {
        let overlay = self.shared.cache.overlay();
        let begun = self.shared.begin(ino, &range).await?;
        let sums = WrittenSums::of(range.start, &data);
        // After the burst has begun: from here on nobody's commit closes it, so this row is what is seen
        // until a write ends.
        let row = match self.row(ino).await {
            Ok(row) => row,
            Err(error) => {
                overlay.not_written(ino, begun);
                return Err(error);
            }
        };
        if let Err(error) = self.shared.cache.write_at(ino, range.start, data).await {
            overlay.write_failed(ino, begun, &range);
            self.shared.verifier.rotate();
            return Err(error.into());
        }
        failpoint::passed(Point::BurstAfterWrite);
        let clears = permissions::write_clears_set_id(&row, who);
        let seen = overlay.wrote(ino, begun, (&range, &sums), self.tick(&row), clears);
        let (before, after) = seen.ok_or(FsError::Stale)?;
        Ok(Self::seen_change(&row, before, after))
    }

    /// What a write changed: nothing of what others, who may be writing too, have changed before and
    /// after it, or their changes would pass for known (RFC 1813 §2.6 wcc_data).
    fn seen_change(row: &Inode, before: Seen, after: Seen) -> Change {
        let attr = |seen: Seen| {
            let written = seen.mtime.map(|mtime| (seen.size, mtime, seen.clear_set_id));
            Self::attr_with(row, written)
        };
        Change { before: Some(attr(before).wcc()), after: attr(after) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_writes_take_whole_blocks_and_large_ones_what_they_have() {
        assert_eq!(room_for(&(0..100), 0), 4096 + 2560);
        assert_eq!(room_for(&(100..200), 100), 100, "its block is there");
        assert_eq!(room_for(&(4090..4100), 4090), 4096);
        assert_eq!(room_for(&(10_000..10_001), 100), 4096, "a hole takes nothing");
        assert_eq!(room_for(&(0..1 << 20), 0), (1 << 20) + 2560);
        assert_eq!(room_for(&(5..1 << 20), 1 << 20), (1 << 20) - 5);
        assert_eq!(edges(&(5..9), 20), [5, 9]);
        assert_eq!(edges(&(30..40), 20), [20, 0]);
    }
}
