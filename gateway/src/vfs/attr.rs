//! GETATTR, SETATTR, ACCESS, FSSTAT.
use super::{
    Attr, Change, Credentials, FileKind, FsError, FsStat, Ino, RequestContext, SetAttr, SetTime,
    Vfs, permissions, write,
};
use crate::{
    cache::CacheError,
    catalog::{AttrChange, EndSum, Inode},
    clock::Timestamp,
    essential::{self, Step},
    failpoint::{self, Point},
    sums::{self, BLOCK_BYTES},
    verified,
};

impl Vfs {
    pub(super) async fn do_getattr(&self, ino: Ino) -> Result<Attr, FsError> {
        let read = self.shared.catalog.moment();
        let row = self.row(ino).await?;
        let listed = if row.kind == FileKind::Directory { ino } else { row.parent };
        let row = match self.source.look_again(listed).await {
            Ok(()) => self.row(ino).await?,
            Err(error) => {
                // What is known of a known inode is served while S3 does not answer.
                tracing::debug!(dir = listed.0, %error, "serving attributes without a listing");
                row
            }
        };
        self.attr_by_now(read, self.row_with_best_attr(row).await?.as_ref()).await
    }

    pub(super) async fn do_access(
        &self,
        who: &Credentials,
        ino: Ino,
        ask: u32,
    ) -> Result<(u32, Attr), FsError> {
        let read = self.shared.catalog.moment();
        let row = self.row_with_best_attr(self.row(ino).await?).await?;
        let granted = permissions::granted(&row, who, ask, self.is_read_only());
        Ok((granted, self.attr_by_now(read, &row).await?))
    }

    pub(super) async fn do_setattr(
        &self,
        cx: &RequestContext,
        ino: Ino,
        set: SetAttr,
        guard: Option<Timestamp>,
    ) -> Result<Change, FsError> {
        if self.done_before(cx).is_some() {
            return self.changed_before(ino).await;
        }
        let who = &cx.credentials;
        self.check_writable()?;
        if set.size.is_some_and(|size| size > write::FILE_BYTES_MAX) {
            return Err(FsError::FileTooBig);
        }
        let row = self.row_with_attr(ino).await?;
        if set.size.is_some() {
            self.check_setattr(&row, who, &set, guard)?;
            self.check_cut(&row, set.size).await?;
        }
        let _held = self.shared.locks.exclusive(ino).await;
        if let Some(size) = set.size {
            let row = self.row(ino).await?;
            self.check_setattr(&row, who, &set, guard)?;
            self.shared.cut_lost(&row, size);
        }
        // Uncommitted writes must not come back over the attributes set here.
        self.shared.commit(ino).await?;
        let row = self.row(ino).await?;
        let before = self.wcc(&row);
        self.check_setattr(&row, who, &set, guard)?;
        let after = self.apply(cx, &row, &set).await?;
        Ok(self.change(before, &after))
    }

    /// Checks the block that the file is to end inside of. Call without locks.
    pub(super) async fn check_cut(&self, row: &Inode, to: Option<u64>) -> Result<(), FsError> {
        match to.filter(|size| *size < row.size && row.kind == FileKind::File) {
            Some(size) => self.check_blocks_at(row, &[size]).await,
            None => Ok(()),
        }
    }

    /// The sum of what a cut to `size` leaves of the block that it is in, if that is here. Call with the inode locked
    /// exclusively and nothing uncommitted.
    ///
    /// # Errors
    /// [`FsError::TryLater`] where the block is damaged by now: what looks at it next finds that.
    async fn end_sum(&self, row: &Inode, size: u64) -> Result<Option<EndSum>, FsError> {
        let (shared, block) = (&self.shared, size / BLOCK_BYTES);
        let left = sums::bytes_of(block, size);
        if left.is_empty() {
            return Ok(None);
        }
        let (now, present) = shared.catalog.inode_and_ranges(row.ino).await?;
        if !present.covers(&left) {
            return Ok(None);
        }
        let whole = sums::bytes_of(block, row.size);
        let here = if present.covers(&whole) { whole } else { left.clone() };
        let known = shared.catalog.sums_now(row.ino, here.clone()).await?;
        let found = match verified::read(&shared.cache, row.ino, here, row.size, known.sums).await {
            Ok(found) => found,
            // The cache lost a clean file: S3 has it.
            Err(CacheError::Short { .. }) if !row.content_dirty => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !found.damaged.is_empty() && !known.unsure {
            return Err(FsError::TryLater);
        }
        let left = usize::try_from(left.end - left.start).map_err(|_| FsError::Invalid)?;
        Ok(Some(EndSum { version: now.version, sum: sums::of_block(&found.bytes[..left]) }))
    }

    fn check_setattr(
        &self,
        row: &Inode,
        who: &Credentials,
        set: &SetAttr,
        guard: Option<Timestamp>,
    ) -> Result<(), FsError> {
        if guard.is_some_and(|guard| guard != self.wcc(row).ctime) {
            return Err(FsError::NotSync);
        }
        permissions::check_set(row, who, set)?;
        match row.kind {
            FileKind::Directory if set.size.is_some() => Err(FsError::IsDirectory),
            FileKind::Symlink if set.size.is_some() => Err(FsError::Invalid),
            FileKind::File | FileKind::Directory | FileKind::Symlink => Ok(()),
        }
    }

    /// Sets attributes that were checked. Call with the inode locked and nothing uncommitted.
    pub(super) async fn apply(
        &self,
        cx: &RequestContext,
        row: &Inode,
        set: &SetAttr,
    ) -> Result<Inode, FsError> {
        if row.needs_head {
            // Another object since they were asked for: what is not set here is still to come.
            return Err(FsError::TryLater);
        }
        let stamp = self.stamp(row, cx.request);
        let now = stamp.now;
        let size = set.size.filter(|size| *size != row.size);
        if size.is_some_and(|size| size > 0) && self.shared.cache.is_out_of_reach(row.ino) {
            return Err(FsError::Io);
        }
        let mut change = AttrChange {
            mode: permissions::mode_after(row, &cx.credentials, set),
            uid: set.uid.filter(|uid| *uid != row.uid),
            gid: set.gid.filter(|gid| *gid != row.gid),
            size,
            atime: resolve(set.atime, now),
            // Setting the size, even to what it is, modifies the file (POSIX ftruncate).
            mtime: resolve(set.mtime, now).or(set.size.map(|_| now)),
            end_sum: None,
            disk: None,
            told: true,
        };
        if let Some(size) = size.filter(|size| *size < row.size) {
            change.end_sum = self.end_sum(row, size).await?;
        }
        if let Some(size) = size.filter(|size| *size > row.size) {
            self.shared.cache.set_len(row.ino, row.size, size).await?;
            if !essential::is_left_out(Step::GrowthSync) {
                self.shared.cache.sync(row.ino).await?;
            }
            change.disk = Some(self.shared.cache.disk_of(row.ino).await?.id());
        }
        let after = self.shared.catalog.set_attr(row.ino, change, stamp).await?;
        if let Some(size) = size.filter(|size| *size < row.size) {
            failpoint::passed(Point::ResizeAfterCatalog);
            self.shared.cache.cut(row.ino, size).await?;
        }
        Ok(after)
    }

    pub(super) fn do_statfs(&self) -> Result<FsStat, FsError> {
        let spaces = self.shared.cache.space();
        let asked = spaces.now().and_then(|space| Ok((space, spaces.for_writers()?)));
        let (space, (_, free)) = asked.map_err(|error| {
            tracing::error!("cannot ask the cache disks for their space: {error}");
            FsError::Io
        })?;
        Ok(FsStat {
            total_bytes: space.total,
            free_bytes: free,
            available_bytes: free,
            total_files: space.files_total,
            free_files: space.files_free,
        })
    }
}

/// A time to set, as the catalog takes it.
pub(super) fn resolve(time: SetTime, now: Timestamp) -> Option<Timestamp> {
    match time {
        SetTime::Keep => None,
        SetTime::Now => Some(now),
        SetTime::To(time) => Some(time),
    }
}
