//! RENAME.
use std::sync::Arc;

use super::{FileKind, FsError, Ino, Renamed, RequestContext, Vfs, names, permissions};
use crate::{
    catalog::{Inode, RenameSpec},
    share::keymap,
};

/// How often entries may be replaced between looking them up and locking them.
const RACES_MAX: usize = 8;

impl Vfs {
    pub(super) async fn do_rename(
        &self,
        cx: &RequestContext,
        (from_dir, from_name): (Ino, &[u8]),
        (to_dir, to_name): (Ino, &[u8]),
    ) -> Result<Renamed, FsError> {
        if self.done_before(cx).is_some() {
            let from_dir = self.changed_before(from_dir).await?;
            return Ok(Renamed { from_dir, to_dir: self.changed_before(to_dir).await? });
        }
        let who = &cx.credentials;
        self.check_writable()?;
        let (from_name, to_name) = (names::parse(from_name)?, names::parse(to_name)?);
        if names::is_dot(from_name) || names::is_dot(to_name) || keymap::is_reserved(to_name) {
            return Err(FsError::Invalid);
        }
        names::for_new(to_name.as_bytes())?;
        for dir in [from_dir, to_dir] {
            permissions::check(self.directory(dir).await?.as_ref(), who, permissions::EXECUTE)?;
        }
        for _ in 0..RACES_MAX {
            let entry = self.entry(from_dir, from_name).await?.ok_or(FsError::NotFound)?;
            let target = self.entry(to_dir, to_name).await?;
            let entry = self.row_with_attr(entry.ino).await?;
            if entry.kind == FileKind::Directory {
                self.source.list_subtree_soon(entry.ino).await?;
            }
            if let Some(target) = target.as_ref().filter(|row| row.kind == FileKind::Directory) {
                self.source.refresh_dir(target.ino).await?;
            }
            let mut inos = vec![from_dir, to_dir, entry.ino];
            inos.extend(target.as_ref().map(|row| row.ino));
            let _held = self.shared.locks.exclusive_many(&inos).await;
            let still =
                |row: &Option<Arc<Inode>>, was: Option<Ino>| row.as_ref().map(|r| r.ino) == was;
            let catalog = &self.shared.catalog;
            let unchanged = still(&catalog.child(from_dir, from_name).await?, Some(entry.ino))
                && still(&catalog.child(to_dir, to_name).await?, target.as_ref().map(|r| r.ino));
            if !unchanged {
                continue;
            }
            let spec = RenameSpec {
                from_dir,
                from_name: from_name.to_owned(),
                to_dir,
                to_name: to_name.to_owned(),
            };
            return self.rename_locked(cx, spec, &entry, target.as_deref()).await;
        }
        Err(FsError::TryLater)
    }

    async fn rename_locked(
        &self,
        cx: &RequestContext,
        spec: RenameSpec,
        entry: &Inode,
        target: Option<&Inode>,
    ) -> Result<Renamed, FsError> {
        let who = &cx.credentials;
        let (from_row, to_row) = (self.row(spec.from_dir).await?, self.row(spec.to_dir).await?);
        permissions::check_removal(&from_row, entry, who)?;
        match target {
            Some(target) => permissions::check_removal(&to_row, target, who)?,
            None => permissions::check_entries(&to_row, who)?,
        }
        if entry.kind == FileKind::Directory && from_row.ino != to_row.ino {
            // Its `..` changes (POSIX rename, EACCES).
            permissions::check(entry, who, permissions::WRITE)?;
        }
        let (from_before, to_before) = (self.wcc(&from_row), self.wcc(&to_row));
        let mut stamp = self.stamp(&from_row, cx.request);
        stamp.now = stamp.now.max(self.tick(&to_row));
        let renamed = self.shared.catalog.rename(spec, stamp).await?;
        if let Some(replaced) = &renamed.replaced {
            self.drop_file(replaced).await;
        }
        Ok(Renamed {
            from_dir: self.change(from_before, &renamed.from_dir),
            to_dir: self.change(to_before, &renamed.to_dir),
        })
    }
}
