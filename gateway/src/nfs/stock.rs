//! nfsserve's own file-system trait over a [`ShareFs`], so that its stock listener can serve the
//! same share on loopback: the differential oracle of our tests. What that trait cannot say
//! (callers, stability, cookies that are not fileids) is left out of the comparison.
use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use nfsserve::{
    nfs::{fattr3, fileid3, filename3, nfspath3, nfsstat3, sattr3},
    vfs::{DirEntry, NFSFileSystem, ReadDirResult, VFSCapabilities},
};

use super::v3::{fattr, set_attr, status};
use crate::vfs::{
    CreateHow, Credentials, Ino, ReadDir, RequestContext, ShareFs, ShareId, Stability,
};

/// A share as nfsserve wants it, always seen by one caller.
#[derive(Debug)]
pub struct StockAdapter {
    fs: Arc<dyn ShareFs>,
    cx: RequestContext,
}

/// There is only one.
const SHARE: ShareId = ShareId(1);
/// Entries asked for at once while searching for a fileid, which nfsserve uses as its cookie.
const PAGE_ENTRIES: usize = 1024;

impl StockAdapter {
    /// Every call is made as `credentials`.
    pub fn new(fs: Arc<dyn ShareFs>, credentials: Credentials) -> Self {
        let peer = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { fs, cx: RequestContext { peer, credentials, request: None } }
    }
}

#[async_trait]
impl NFSFileSystem for StockAdapter {
    fn capabilities(&self) -> VFSCapabilities {
        VFSCapabilities::ReadWrite
    }

    fn root_dir(&self) -> fileid3 {
        self.fs.root().0
    }

    async fn lookup(&self, dir: fileid3, name: &filename3) -> Result<fileid3, nfsstat3> {
        Ok(self.fs.lookup(&self.cx, Ino(dir), name).await.map_err(status)?.ino.0)
    }

    async fn getattr(&self, id: fileid3) -> Result<fattr3, nfsstat3> {
        Ok(fattr(SHARE, &self.fs.getattr(&self.cx, Ino(id)).await.map_err(status)?))
    }

    async fn setattr(&self, id: fileid3, set: sattr3) -> Result<fattr3, nfsstat3> {
        let set = set_attr(&set)?;
        let change = self.fs.setattr(&self.cx, Ino(id), set, None).await.map_err(status)?;
        Ok(fattr(SHARE, &change.after))
    }

    async fn read(
        &self,
        id: fileid3,
        offset: u64,
        count: u32,
    ) -> Result<(Vec<u8>, bool), nfsstat3> {
        let read = self.fs.read(&self.cx, Ino(id), offset, count).await.map_err(status)?;
        Ok((read.data.into(), read.eof))
    }

    /// nfsserve answers FILE_SYNC to every WRITE, so every WRITE must be that.
    async fn write(&self, id: fileid3, offset: u64, data: &[u8]) -> Result<fattr3, nfsstat3> {
        let data = bytes::Bytes::copy_from_slice(data);
        let written = self.fs.write(&self.cx, Ino(id), offset, data, Stability::FileSync);
        Ok(fattr(SHARE, &written.await.map_err(status)?.change.after))
    }

    async fn create(
        &self,
        dir: fileid3,
        name: &filename3,
        set: sattr3,
    ) -> Result<(fileid3, fattr3), nfsstat3> {
        let how = CreateHow::Unchecked(set_attr(&set)?);
        let created = self.fs.create(&self.cx, Ino(dir), name, how).await.map_err(status)?;
        Ok((created.attr.ino.0, fattr(SHARE, &created.attr)))
    }

    async fn create_exclusive(&self, dir: fileid3, name: &filename3) -> Result<fileid3, nfsstat3> {
        let how = CreateHow::Guarded(Default::default());
        Ok(self.fs.create(&self.cx, Ino(dir), name, how).await.map_err(status)?.attr.ino.0)
    }

    async fn mkdir(&self, dir: fileid3, name: &filename3) -> Result<(fileid3, fattr3), nfsstat3> {
        let made = self.fs.mkdir(&self.cx, Ino(dir), name, Default::default());
        let made = made.await.map_err(status)?;
        Ok((made.attr.ino.0, fattr(SHARE, &made.attr)))
    }

    /// nfsserve has one procedure for REMOVE and RMDIR.
    async fn remove(&self, dir: fileid3, name: &filename3) -> Result<(), nfsstat3> {
        let removed = match self.fs.remove(&self.cx, Ino(dir), name).await {
            Err(crate::vfs::FsError::IsDirectory) => self.fs.rmdir(&self.cx, Ino(dir), name).await,
            removed => removed,
        };
        removed.map(drop).map_err(status)
    }

    async fn rename(
        &self,
        from_dir: fileid3,
        from: &filename3,
        to_dir: fileid3,
        to: &filename3,
    ) -> Result<(), nfsstat3> {
        let renamed = self.fs.rename(&self.cx, Ino(from_dir), from, Ino(to_dir), to);
        renamed.await.map(drop).map_err(status)
    }

    async fn readdir(
        &self,
        dir: fileid3,
        start_after: fileid3,
        max_entries: usize,
    ) -> Result<ReadDirResult, nfsstat3> {
        let mut ask =
            ReadDir { cookie: 0, verifier: [0; 8], entries_max: PAGE_ENTRIES, want_attr: true };
        let (mut found, mut entries) = (start_after == 0, Vec::new());
        loop {
            let page = self.fs.readdir(&self.cx, Ino(dir), ask).await.map_err(status)?;
            for entry in page.entries {
                ask.cookie = entry.cookie;
                if found && entries.len() == max_entries {
                    return Ok(ReadDirResult { entries, end: false });
                }
                let dot = matches!(&entry.name[..], b"." | b"..");
                match entry.attr {
                    Some(attr) if found && !dot => entries.push(DirEntry {
                        fileid: entry.ino.0,
                        name: entry.name.into(),
                        attr: fattr(SHARE, &attr),
                    }),
                    _ => found |= !dot && entry.ino.0 == start_after,
                }
            }
            if page.end {
                return Ok(ReadDirResult { entries, end: true });
            }
            ask.verifier = page.verifier;
        }
    }

    async fn symlink(
        &self,
        dir: fileid3,
        name: &filename3,
        target: &nfspath3,
        set: &sattr3,
    ) -> Result<(fileid3, fattr3), nfsstat3> {
        let set = set_attr(set)?;
        let made = self.fs.symlink(&self.cx, Ino(dir), name, target, set).await.map_err(status)?;
        Ok((made.attr.ino.0, fattr(SHARE, &made.attr)))
    }

    async fn readlink(&self, id: fileid3) -> Result<nfspath3, nfsstat3> {
        let (target, _) = self.fs.readlink(&self.cx, Ino(id)).await.map_err(status)?;
        Ok(target.to_vec().into())
    }
}
