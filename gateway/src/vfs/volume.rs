//! [`Vfs`]: one share's file system, put together from one file per family of operations.
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use gateway_api::ShareName;

use super::{
    Attr, Change, CreateHow, Created, DirPage, FileKind, FsError, FsStat, Ino, ReadData, ReadDir,
    Renamed, RequestContext, RequestId, SetAttr, ShareFs, ShareId, Stability, WccAttr,
    WriteVerifier, Written, meter::IoMeter, source::Source, write_back::WriteBack,
};
use crate::{
    catalog::{Inode, ShareRow, Since, Stamp},
    clock::Timestamp,
};

/// One share's file system.
#[derive(Debug)]
pub struct Vfs {
    pub(super) share: ShareId,
    pub(super) root: Ino,
    pub(super) name: Option<ShareName>,
    pub(super) shared: Arc<WriteBack>,
    pub(super) source: Arc<dyn Source>,
    pub(super) meter: Arc<IoMeter>,
    read_only: AtomicBool,
}

/// Whether clients may change the share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareMode {
    /// They may.
    ReadWrite,
    /// Every change is [`FsError::ReadOnly`].
    ReadOnly,
}

impl Vfs {
    /// The file system of `share`, with `source` as its way to S3.
    pub fn new(
        share: &ShareRow,
        shared: Arc<WriteBack>,
        source: Arc<dyn Source>,
        mode: ShareMode,
    ) -> Self {
        Self {
            share: share.id,
            root: share.root,
            name: share.name.parse().ok(),
            shared,
            source,
            meter: Arc::default(),
            read_only: AtomicBool::new(mode == ShareMode::ReadOnly),
        }
    }

    /// The same, counting what clients do with it in `meter`.
    #[must_use]
    pub fn with_meter(self, meter: Arc<IoMeter>) -> Self {
        Self { meter, ..self }
    }

    /// Changes whether clients may change the share, for requests from now on.
    pub fn set_mode(&self, mode: ShareMode) {
        self.read_only.store(mode == ShareMode::ReadOnly, Ordering::Relaxed);
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    pub(super) fn check_writable(&self) -> Result<(), FsError> {
        if self.is_read_only() { Err(FsError::ReadOnly) } else { Ok(()) }
    }

    /// The inode's row; an inode of another share is as good as gone.
    pub(super) async fn row(&self, ino: Ino) -> Result<Arc<Inode>, FsError> {
        self.of_this_share(self.shared.catalog.inode(ino).await?)
    }

    pub(super) fn of_this_share(&self, inode: Arc<Inode>) -> Result<Arc<Inode>, FsError> {
        if inode.share == self.share { Ok(inode) } else { Err(FsError::Stale) }
    }

    /// The row with its real attributes.
    pub(super) async fn row_with_attr(&self, ino: Ino) -> Result<Arc<Inode>, FsError> {
        let row = self.row(ino).await?;
        if !row.needs_head {
            return Ok(row);
        }
        self.source.load_attr(ino).await?;
        self.row(ino).await
    }

    /// The row with its real attributes, or with defaults while S3 does not tell them.
    pub(super) async fn row_with_best_attr(&self, row: Arc<Inode>) -> Result<Arc<Inode>, FsError> {
        if !row.needs_head {
            return Ok(row);
        }
        match self.source.load_attr(row.ino).await {
            Ok(()) => self.row(row.ino).await,
            Err(FsError::Stale | FsError::NotFound) => Err(FsError::Stale),
            Err(error) => {
                tracing::debug!(ino = row.ino.0, %error, "serving default attributes");
                Ok(row)
            }
        }
    }

    /// What clients see of the row, with writes that are not committed.
    pub(super) fn attr(&self, row: &Inode) -> Attr {
        Self::attr_with(row, self.shared.cache.overlay().attr(row.ino))
    }

    /// The same for a row that was read after `read`, while others may commit: what was written may have
    /// become the row's since.
    pub(super) async fn attr_by_now(&self, read: Since, row: &Inode) -> Result<Attr, FsError> {
        let written = self.shared.cache.overlay().attr(row.ino);
        // The overlay forgets what a commit took after the catalog has it.
        if written.is_none() && self.shared.catalog.changed_since(read, row.ino) {
            return Ok(Self::attr_with(self.row(row.ino).await?.as_ref(), None));
        }
        Ok(Self::attr_with(row, written))
    }

    /// What clients see of the row with `written`: size, time and whether setuid and setgid are gone.
    pub(super) fn attr_with(row: &Inode, written: Option<(u64, Timestamp, bool)>) -> Attr {
        let (size, mtime, clear) = written.unwrap_or((row.size, row.mtime, false));
        let mode = if clear { super::permissions::without_set_id(row.mode) } else { row.mode };
        Attr {
            ino: row.ino,
            kind: row.kind,
            mode: mode & 0o7777,
            links: links(row),
            uid: row.uid,
            gid: row.gid,
            size,
            used: size,
            atime: row.atime,
            mtime,
            ctime: if written.is_some() { row.ctime.max(mtime) } else { row.ctime },
        }
    }

    pub(super) fn wcc(&self, row: &Inode) -> WccAttr {
        self.attr(row).wcc()
    }

    pub(super) fn change(&self, before: WccAttr, after: &Inode) -> Change {
        Change { before: Some(before), after: self.attr(after) }
    }

    /// What is told by a call that changes nothing that is seen.
    pub(super) async fn unchanged(&self, ino: Ino) -> Result<Change, FsError> {
        let read = self.shared.catalog.moment();
        let attr = self.attr_by_now(read, self.row(ino).await?.as_ref()).await?;
        Ok(Change { before: Some(attr.wcc()), after: attr })
    }

    /// The stamp of a change to `row` that answers `request`.
    pub(super) fn stamp(&self, row: &Inode, request: Option<RequestId>) -> Stamp {
        Stamp { now: self.tick(row), due: self.shared.due(), request }
    }

    /// What a request made or changed that was done before the gateway's last start.
    pub(super) fn done_before(&self, cx: &RequestContext) -> Option<Option<Ino>> {
        self.shared.catalog.done_before(cx.request?)
    }

    /// The directory as it is, in answer to a request that changed it before the last start.
    pub(super) async fn changed_before(&self, ino: Ino) -> Result<Change, FsError> {
        Ok(Change { before: None, ..self.unchanged(ino).await? })
    }

    /// The time for a change to `row`: never the one it has, so that clients see every change.
    pub(super) fn tick(&self, row: &Inode) -> Timestamp {
        let last = self.attr(row).ctime;
        let now = self.shared.clock.now();
        now.max(last.next())
    }
}

#[async_trait]
impl ShareFs for Vfs {
    fn root(&self) -> Ino {
        self.root
    }

    fn verifier(&self) -> WriteVerifier {
        self.shared.verifier.get()
    }

    async fn getattr(&self, _cx: &RequestContext, ino: Ino) -> Result<Attr, FsError> {
        self.do_getattr(ino).await
    }

    async fn setattr(
        &self,
        cx: &RequestContext,
        ino: Ino,
        set: SetAttr,
        guard: Option<Timestamp>,
    ) -> Result<Change, FsError> {
        self.do_setattr(cx, ino, set, guard).await
    }

    async fn lookup(&self, cx: &RequestContext, dir: Ino, name: &[u8]) -> Result<Attr, FsError> {
        self.do_lookup(&cx.credentials, dir, name).await
    }

    async fn access(
        &self,
        cx: &RequestContext,
        ino: Ino,
        ask: u32,
    ) -> Result<(u32, Attr), FsError> {
        self.do_access(&cx.credentials, ino, ask).await
    }

    async fn readlink(&self, _cx: &RequestContext, ino: Ino) -> Result<(Bytes, Attr), FsError> {
        self.do_readlink(ino).await
    }

    async fn read(
        &self,
        cx: &RequestContext,
        ino: Ino,
        offset: u64,
        count: u32,
    ) -> Result<ReadData, FsError> {
        self.meter.read(self.do_read(&cx.credentials, ino, offset, count).await)
    }

    async fn write(
        &self,
        cx: &RequestContext,
        ino: Ino,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, FsError> {
        self.meter.wrote(self.do_write(&cx.credentials, ino, offset, data, stability).await)
    }

    async fn commit(
        &self,
        _cx: &RequestContext,
        ino: Ino,
    ) -> Result<(Change, WriteVerifier), FsError> {
        self.do_commit(ino).await
    }

    async fn create(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
        how: CreateHow,
    ) -> Result<Created, FsError> {
        self.do_create(cx, dir, name, how).await
    }

    async fn mkdir(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
        set: SetAttr,
    ) -> Result<Created, FsError> {
        self.do_mkdir(cx, dir, name, set).await
    }

    async fn symlink(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
        target: &[u8],
        set: SetAttr,
    ) -> Result<Created, FsError> {
        self.do_symlink(cx, dir, name, target, set).await
    }

    async fn remove(&self, cx: &RequestContext, dir: Ino, name: &[u8]) -> Result<Change, FsError> {
        self.do_remove(cx, dir, name).await
    }

    async fn rmdir(&self, cx: &RequestContext, dir: Ino, name: &[u8]) -> Result<Change, FsError> {
        self.do_rmdir(cx, dir, name).await
    }

    async fn rename(
        &self,
        cx: &RequestContext,
        from_dir: Ino,
        from_name: &[u8],
        to_dir: Ino,
        to_name: &[u8],
    ) -> Result<Renamed, FsError> {
        let (from, to) = ((from_dir, from_name), (to_dir, to_name));
        self.meter.renamed(self.do_rename(cx, from, to).await)
    }

    async fn readdir(
        &self,
        cx: &RequestContext,
        dir: Ino,
        ask: ReadDir,
    ) -> Result<DirPage, FsError> {
        self.do_readdir(&cx.credentials, dir, ask).await
    }

    async fn statfs(&self, _cx: &RequestContext) -> Result<FsStat, FsError> {
        self.do_statfs()
    }
}

fn links(row: &Inode) -> u32 {
    match row.kind {
        // As file systems say that do not count: nobody may conclude that there are none.
        FileKind::Directory if row.listed_at.is_none() => 1,
        FileKind::Directory => row.subdirectories.saturating_add(2),
        FileKind::File | FileKind::Symlink => 1,
    }
}
