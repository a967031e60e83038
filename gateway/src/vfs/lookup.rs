//! LOOKUP and READLINK.
use std::sync::Arc;

use bytes::Bytes;

use super::{Attr, Credentials, FileKind, FsError, Ino, Vfs, names, permissions};
use crate::catalog::Inode;

impl Vfs {
    pub(super) async fn do_lookup(
        &self,
        who: &Credentials,
        dir: Ino,
        name: &[u8],
    ) -> Result<Attr, FsError> {
        let name = names::parse(name)?;
        let read = self.shared.catalog.moment();
        let row = self.directory(dir).await?;
        permissions::check(&row, who, permissions::EXECUTE)?;
        let entry = match name {
            "." => row,
            // The root's parent is the root: nobody leaves the share.
            ".." => self.row(row.parent).await?,
            _ => self.entry(dir, name).await?.ok_or(FsError::NotFound)?,
        };
        let of_dir = names::is_dot(name);
        let attr = async { self.attr_by_now(read, &*self.row_with_best_attr(entry).await?).await };
        match attr.await {
            // Of an entry that the bucket has just lost. A handle that is stale would be the directory's.
            Err(FsError::Stale) if !of_dir => Err(FsError::NotFound),
            done => done,
        }
    }

    pub(super) async fn do_readlink(&self, ino: Ino) -> Result<(Bytes, Attr), FsError> {
        let row = self.row_with_best_attr(self.row(ino).await?).await?;
        match (row.kind, &row.target) {
            (FileKind::Symlink, Some(target)) => {
                Ok((Bytes::copy_from_slice(target), self.attr(&row)))
            }
            (FileKind::Symlink | FileKind::File | FileKind::Directory, _) => Err(FsError::Invalid),
        }
    }

    /// The row of a directory, with its real attributes.
    pub(super) async fn directory(&self, dir: Ino) -> Result<Arc<Inode>, FsError> {
        let row = self.row(dir).await?;
        if row.kind != FileKind::Directory {
            return Err(FsError::NotDirectory);
        }
        self.row_with_best_attr(row).await
    }

    /// The entry `name` of the directory, as S3 has it if what is known is stale.
    pub(super) async fn entry(&self, dir: Ino, name: &str) -> Result<Option<Arc<Inode>>, FsError> {
        let listed = self.source.look_up(dir, name).await;
        let entry = self.shared.catalog.child(dir, name).await?;
        // An entry that is known is served; one that is not may exist in S3 (I13).
        if entry.is_none() {
            listed?;
        }
        Ok(entry)
    }
}
