//! READ.
use bytes::Bytes;

use super::{Credentials, FsError, Ino, ReadData, Vfs, permissions};
use crate::cache::CacheError;

/// How often bytes may vanish (eviction, a changed object) between fetching and reading them.
const TRIES_MAX: usize = 8;

impl Vfs {
    pub(super) async fn do_read(
        &self,
        who: &Credentials,
        ino: Ino,
        offset: u64,
        count: u32,
    ) -> Result<ReadData, FsError> {
        let row = self.row_with_best_attr(self.row(ino).await?).await?;
        Self::check_file(&row)?;
        permissions::check_data(&row, who, permissions::READ)?;
        let overlay = self.shared.cache.overlay();
        for attempt in 0..TRIES_MAX {
            let wanted = {
                let _held = self.shared.locks.shared(ino).await;
                let moment = self.shared.catalog.moment();
                let (row, present) = self.shared.catalog.inode_and_ranges(ino).await?;
                let attr = self.attr_by_now(moment, &row).await?;
                let size = attr.size;
                let end = offset.saturating_add(u64::from(count)).min(size);
                if offset >= end {
                    return Ok(ReadData { data: Bytes::new(), eof: offset >= size, attr });
                }
                let wanted = offset..end;
                if present.covers(&wanted) || overlay.covers(ino, &present, &wanted) {
                    let data = match self.shared.cache.read_at(ino, wanted).await {
                        Ok(data) => data,
                        // The cache lost a clean file: S3 has it.
                        Err(CacheError::Short { .. }) if !row.dirty => {
                            self.shared.catalog.drop_ranges(ino).await?;
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    };
                    let moment = self.shared.catalog.moment();
                    let after = self.row(ino).await?;
                    // Bytes of an object that was replaced meanwhile may be a mixture (R1).
                    // A publish of what is here changes the tag and not the version.
                    if after.etag == row.etag || after.version == row.version {
                        let attr = self.attr_by_now(moment, &after).await?;
                        return Ok(ReadData { data, eof: end == size, attr });
                    }
                    continue;
                }
                wanted
            };
            if attempt == 0 {
                self.meter.missed();
            }
            self.make_room(wanted.end - wanted.start).await?;
            self.source.fetch(ino, wanted).await?;
        }
        Err(FsError::TryLater)
    }
}
