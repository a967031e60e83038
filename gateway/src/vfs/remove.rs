//! REMOVE and RMDIR.
use std::sync::Arc;

use super::{Change, FileKind, FsError, Ino, RequestContext, Vfs, names, permissions};
use crate::{
    catalog::{Inode, RemoveKind},
    failpoint::{self, Point},
};

/// How often an entry may be replaced between looking it up and locking it.
const RACES_MAX: usize = 8;

impl Vfs {
    pub(super) async fn do_remove(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
    ) -> Result<Change, FsError> {
        let name = names::parse(name)?;
        if names::is_dot(name) {
            return Err(FsError::IsDirectory);
        }
        self.take_out(cx, dir, name, RemoveKind::NotDirectory).await
    }

    pub(super) async fn do_rmdir(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
    ) -> Result<Change, FsError> {
        match names::parse(name)? {
            "." => Err(FsError::Invalid),
            // The parent holds at least this directory.
            ".." => Err(FsError::NotEmpty),
            name => self.take_out(cx, dir, name, RemoveKind::EmptyDirectory).await,
        }
    }

    async fn take_out(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &str,
        kind: RemoveKind,
    ) -> Result<Change, FsError> {
        if self.done_before(cx).is_some() {
            return self.changed_before(dir).await;
        }
        let who = &cx.credentials;
        self.check_writable()?;
        let dir_row = self.directory(dir).await?;
        permissions::check(&dir_row, who, permissions::EXECUTE)?;
        for _ in 0..RACES_MAX {
            let entry = self.entry(dir, name).await?.ok_or(FsError::NotFound)?;
            if entry.kind == FileKind::Directory && kind == RemoveKind::EmptyDirectory {
                // Only a listing tells whether it is empty, and whether it has a marker object.
                self.source.refresh_dir(entry.ino).await?;
            }
            let _held = self.shared.locks.entry(dir, entry.ino).await;
            let now_there = self.shared.catalog.child(dir, name).await?;
            if now_there.as_ref().map(|row| row.ino) != Some(entry.ino) {
                continue;
            }
            let dir_row = self.row(dir).await?;
            permissions::check_removal(&dir_row, &entry, who)?;
            let stamp = self.stamp(&dir_row, cx.request);
            let removed = self.shared.catalog.remove(dir, name, kind, stamp).await?;
            self.drop_file(&removed.inode).await;
            let before = self.wcc(&removed.dir_before);
            return Ok(self.change(before, &removed.dir));
        }
        Err(FsError::TryLater)
    }

    /// Removes the cache file of an inode that is gone; nobody waits for it unless many files are
    /// waiting already. A failure costs space until the next start, when recovery removes files of no
    /// inode.
    pub(super) async fn drop_file(&self, gone: &Inode) {
        if gone.kind != FileKind::File {
            return;
        }
        failpoint::passed(Point::RemoveAfterCatalog);
        let (cache, ino) = (self.shared.cache.clone(), gone.ino);
        cache.overlay().forget(ino);
        let permit = Arc::clone(&self.shared.removals).try_acquire_owned();
        let waits = permit.is_err();
        let removing = async move {
            let _permit = permit;
            if let Err(error) = cache.remove(ino).await {
                tracing::warn!(ino = ino.0, "cache file of a removed file stays for now: {error}");
            }
        };
        if waits {
            removing.await;
        } else {
            tokio::spawn(removing);
        }
    }
}
