//! CREATE, MKDIR, SYMLINK.
use std::sync::Arc;

use super::{
    CreateHow, Created, Credentials, FileKind, FsError, Ino, RequestContext, RequestId, SetAttr,
    Vfs, attr::resolve, names, permissions, write,
};
use crate::{
    catalog::{Inode, NewInode, NewKind},
    share::keymap,
};

/// How often an entry may come or go between looking it up and locking it.
const RACES_MAX: usize = 8;
/// Mode of a file created without one.
const FILE_MODE: u32 = 0o644;
/// Mode of a directory created without one.
const DIRECTORY_MODE: u32 = 0o755;
/// Mode of every symlink: nobody asks for it.
const SYMLINK_MODE: u32 = 0o777;
/// Longest target of a symlink in bytes (Linux PATH_MAX without its NUL).
const TARGET_BYTES_MAX: usize = 4095;
const SETGID: u32 = 0o2000;

impl Vfs {
    pub(super) async fn do_create(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
        how: CreateHow,
    ) -> Result<Created, FsError> {
        if let Some(ino) = self.done_before(cx) {
            return self.created_before(dir, ino).await;
        }
        let who = &cx.credentials;
        self.check_writable()?;
        let name = names::for_new(name)?;
        let (set, verifier) = match how {
            CreateHow::Unchecked(set) | CreateHow::Guarded(set) => (set, None),
            CreateHow::Exclusive(verifier) => (SetAttr::default(), Some(verifier)),
        };
        if set.size.is_some_and(|size| size > write::FILE_BYTES_MAX) {
            return Err(FsError::FileTooBig);
        }
        let dir_row = self.directory(dir).await?;
        permissions::check(&dir_row, who, permissions::EXECUTE)?;
        let mut known = match self.source.look_up(dir, name).await {
            // Whoever has the name and is not in memory is met when it is to be taken.
            Ok(()) if !keymap::is_reserved(name) => self.shared.catalog.child_in_memory(dir, name),
            Ok(()) => self.shared.catalog.child(dir, name).await?,
            Err(_) => self.entry(dir, name).await?,
        };
        for _ in 0..RACES_MAX {
            let Some(entry) = known else {
                let _held = self.shared.locks.shared(dir).await;
                let new = NewKind::File { verifier };
                match self.create_file(cx, dir, name, new, &set).await {
                    // The name is taken, which also decides whether the caller needs rights on the
                    // directory.
                    Err(error @ (FsError::Exists | FsError::Access | FsError::NotOwner)) => {
                        known = self.shared.catalog.child(dir, name).await?;
                        if known.is_none() && error != FsError::Exists {
                            return Err(error);
                        }
                        continue;
                    }
                    done => return done,
                }
            };
            if matches!(how, CreateHow::Unchecked(_))
                && entry.kind == FileKind::File
                && set.size.is_some_and(|size| size > 0)
            {
                match self.check_open_cut(who, &entry, set.size).await {
                    // It has gone since: of a CREATE that would be said of the directory.
                    Err(FsError::Stale) => {
                        known = self.shared.catalog.child(dir, name).await?;
                        continue;
                    }
                    checked => checked?,
                }
            }
            let _held = self.shared.locks.entry(dir, entry.ino).await;
            let now_there = self.shared.catalog.child(dir, name).await?;
            if now_there.as_ref().map(|row| row.ino) == Some(entry.ino) {
                let dir_row = self.row(dir).await?;
                return self.open_existing(cx, &dir_row, entry, how).await;
            }
            known = now_there;
        }
        Err(FsError::TryLater)
    }

    /// Checks the block that a file which is there is to end inside of. Call without locks.
    async fn check_open_cut(
        &self,
        who: &Credentials,
        entry: &Inode,
        size: Option<u64>,
    ) -> Result<(), FsError> {
        let row = self.row_with_attr(entry.ino).await?;
        permissions::check_data(&row, who, permissions::WRITE)?;
        self.check_cut(&row, size).await
    }

    /// Creates a file of a name that nobody has, or that somebody has just taken. Call with the
    /// directory's shared lock held.
    async fn create_file(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &str,
        kind: NewKind,
        set: &SetAttr,
    ) -> Result<Created, FsError> {
        let dir_row = self.row(dir).await?;
        let new = self.new_inode(&cx.credentials, &dir_row, name, kind, set)?;
        let Some(size) = set.size.filter(|size| *size > 0) else {
            return self.place(&dir_row, new, cx.request).await;
        };
        // The request is done with the second step.
        let created = self.place(&dir_row, new, None).await?;
        let _held = self.shared.locks.exclusive(created.attr.ino).await;
        // Somebody may have found the name and written already.
        self.shared.commit(created.attr.ino).await?;
        let row = self.row(created.attr.ino).await?;
        let sized = SetAttr { size: Some(size), ..SetAttr::default() };
        let after = self.apply(cx, &row, &sized).await?;
        Ok(Created { attr: self.attr(&after), dir: created.dir })
    }

    pub(super) async fn do_mkdir(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
        set: SetAttr,
    ) -> Result<Created, FsError> {
        self.create_new(cx, dir, name, NewKind::Directory, set).await
    }

    pub(super) async fn do_symlink(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
        target: &[u8],
        set: SetAttr,
    ) -> Result<Created, FsError> {
        if target.is_empty() || target.contains(&0) {
            return Err(FsError::Invalid);
        }
        if target.len() > TARGET_BYTES_MAX {
            return Err(FsError::NameTooLong);
        }
        self.create_new(cx, dir, name, NewKind::Symlink(target.to_vec()), set).await
    }

    async fn create_new(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
        kind: NewKind,
        set: SetAttr,
    ) -> Result<Created, FsError> {
        if let Some(ino) = self.done_before(cx) {
            return self.created_before(dir, ino).await;
        }
        let who = &cx.credentials;
        self.check_writable()?;
        let name = names::for_new(name)?;
        let dir_row = self.directory(dir).await?;
        permissions::check(&dir_row, who, permissions::EXECUTE)?;
        if self.entry(dir, name).await?.is_some() {
            return Err(FsError::Exists);
        }
        let _held = self.shared.locks.shared(dir).await;
        let dir_row = self.row(dir).await?;
        let new = self.new_inode(who, &dir_row, name, kind, &set)?;
        self.place(&dir_row, new, cx.request).await
    }

    /// The answer to a request that made `ino` in `dir` before the gateway's last start.
    async fn created_before(&self, dir: Ino, ino: Option<Ino>) -> Result<Created, FsError> {
        let made = self.row(ino.ok_or(FsError::Stale)?).await?;
        let dir = self.changed_before(dir).await?;
        Ok(Created { attr: self.attr(&made), dir })
    }

    /// CREATE of a name that is there (RFC 1813 §3.3.8). Call with the entry locked.
    async fn open_existing(
        &self,
        cx: &RequestContext,
        dir: &Inode,
        entry: Arc<Inode>,
        how: CreateHow,
    ) -> Result<Created, FsError> {
        let who = &cx.credentials;
        let set = match how {
            CreateHow::Unchecked(set) if entry.kind == FileKind::File => set,
            CreateHow::Exclusive(verifier) if entry.create_verifier == Some(verifier) => {
                SetAttr::default()
            }
            CreateHow::Unchecked(_) | CreateHow::Guarded(_) | CreateHow::Exclusive(_) => {
                return Err(FsError::Exists);
            }
        };
        let before = self.wcc(dir);
        let after = match set.size {
            // Of an existing file UNCHECKED sets the size and nothing else, as open(O_TRUNC) does.
            Some(size) => {
                let row = self.row_with_attr(entry.ino).await?;
                permissions::check_data(&row, who, permissions::WRITE)?;
                self.shared.cut_lost(&row, size);
                self.shared.commit(entry.ino).await?;
                let row = self.row(entry.ino).await?;
                let only = SetAttr { size: Some(size), ..SetAttr::default() };
                Arc::new(self.apply(cx, &row, &only).await?)
            }
            None => self.row_with_best_attr(entry).await?,
        };
        Ok(Created { attr: self.attr(&after), dir: self.change(before, dir) })
    }

    /// The new inode's attributes: the caller's, as far as he may set them.
    fn new_inode(
        &self,
        who: &Credentials,
        dir: &Inode,
        name: &str,
        kind: NewKind,
        set: &SetAttr,
    ) -> Result<NewInode, FsError> {
        permissions::check_entries(dir, who)?;
        if keymap::is_reserved(name) {
            return Err(FsError::Invalid);
        }
        let is_root = who.uid == 0;
        let inherits = dir.mode & SETGID != 0;
        let uid = set.uid.unwrap_or(who.uid);
        let gid = set.gid.unwrap_or(if inherits { dir.gid } else { who.gid });
        let may_give =
            set.gid.is_none_or(|gid| permissions::is_in_group(who, gid) || gid == dir.gid);
        if !is_root && (uid != who.uid || !may_give) {
            return Err(FsError::NotOwner);
        }
        let mut mode = match &kind {
            NewKind::File { .. } => set.mode.unwrap_or(FILE_MODE),
            NewKind::Directory => set.mode.unwrap_or(DIRECTORY_MODE),
            NewKind::Symlink(_) => SYMLINK_MODE,
        } & 0o7777;
        match &kind {
            NewKind::Directory if inherits => mode |= SETGID,
            NewKind::File { .. } if !is_root && !permissions::is_in_group(who, gid) => {
                mode &= !SETGID;
            }
            NewKind::File { .. } | NewKind::Directory | NewKind::Symlink(_) => {}
        }
        let now = self.tick(dir);
        Ok(NewInode {
            parent: dir.ino,
            name: name.to_owned(),
            kind,
            mode,
            uid,
            gid,
            atime: resolve(set.atime, now).unwrap_or(now),
            mtime: resolve(set.mtime, now).unwrap_or(now),
        })
    }

    async fn place(
        &self,
        dir: &Inode,
        new: NewInode,
        request: Option<RequestId>,
    ) -> Result<Created, FsError> {
        let stamp = self.stamp(dir, request);
        let placed = self.shared.catalog.create(new, stamp).await?;
        if placed.inode.kind == FileKind::File {
            self.shared.cache.has_come(placed.inode.ino);
        }
        let before = self.wcc(&placed.dir_before);
        Ok(Created { attr: self.attr(&placed.inode), dir: self.change(before, &placed.dir) })
    }
}
