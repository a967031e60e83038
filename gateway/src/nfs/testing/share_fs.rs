//! [`ShareFs`] in memory.
use async_trait::async_trait;
use bytes::Bytes;

use super::{
    MemoryFs,
    tree::{Content, Tree},
};
use crate::{
    clock::Timestamp,
    vfs::{
        Attr, Change, CreateHow, Created, DirEntry, DirPage, FileKind, FsError, FsStat, Ino,
        ReadData, ReadDir, Renamed, RequestContext, SetAttr, ShareFs, Stability, WriteVerifier,
        Written, access,
    },
};

const COOKIE_VERIFIER: [u8; 8] = *b"cookies1";

/// The permission bits that apply to the caller: read 4, write 2, execute 1.
fn permissions(cx: &RequestContext, attr: &Attr) -> u32 {
    let who = &cx.credentials;
    if who.uid == 0 {
        7
    } else if who.uid == attr.uid {
        attr.mode >> 6 & 7
    } else if who.gid == attr.gid || who.groups.contains(&attr.gid) {
        attr.mode >> 3 & 7
    } else {
        attr.mode & 7
    }
}

fn need(cx: &RequestContext, attr: &Attr, permission: u32) -> Result<(), FsError> {
    // The owner may always read and write what he could open.
    let owner = cx.credentials.uid == attr.uid && attr.kind == FileKind::File;
    if owner || permissions(cx, attr) & permission == permission {
        Ok(())
    } else {
        Err(FsError::Access)
    }
}

fn created(tree: &mut Tree, dir: Ino, ino: Ino, set: SetAttr) -> Result<Created, FsError> {
    tree.set(ino, set)?;
    let before = tree.wcc(dir)?;
    Ok(Created { attr: tree.attr(ino)?, dir: tree.changed(dir, before)? })
}

fn create(
    tree: &mut Tree,
    cx: &RequestContext,
    dir: Ino,
    name: &[u8],
    how: CreateHow,
) -> Result<Created, FsError> {
    let who = (cx.credentials.uid, cx.credentials.gid);
    let file = |exclusive| Content::File { data: Vec::new(), exclusive };
    let there = tree.find(dir, name)?.map(|(_, ino)| ino);
    match (there, how) {
        (Some(ino), CreateHow::Unchecked(set)) => {
            if tree.attr(ino)?.kind == FileKind::Directory {
                return Err(FsError::Exists);
            }
            created(tree, dir, ino, SetAttr { size: set.size, ..SetAttr::default() })
        }
        (Some(ino), CreateHow::Exclusive(verifier)) => match &tree.node(ino)?.content {
            Content::File { exclusive: Some(known), .. } if *known == verifier => {
                created(tree, dir, ino, SetAttr::default())
            }
            _ => Err(FsError::Exists),
        },
        (Some(_), CreateHow::Guarded(_)) => Err(FsError::Exists),
        (None, CreateHow::Unchecked(set) | CreateHow::Guarded(set)) => {
            tree.check_size(set.size.unwrap_or(0))?;
            let ino = tree.add(dir, name, file(None), 0o666, who)?;
            created(tree, dir, ino, set)
        }
        (None, CreateHow::Exclusive(verifier)) => {
            let ino = tree.add(dir, name, file(Some(verifier)), 0o600, who)?;
            created(tree, dir, ino, SetAttr::default())
        }
    }
}

#[async_trait]
impl ShareFs for MemoryFs {
    fn root(&self) -> Ino {
        Tree::ROOT
    }

    fn verifier(&self) -> WriteVerifier {
        self.verifier
    }

    async fn getattr(&self, _cx: &RequestContext, ino: Ino) -> Result<Attr, FsError> {
        self.tree().attr(ino)
    }

    async fn setattr(
        &self,
        cx: &RequestContext,
        ino: Ino,
        set: SetAttr,
        guard: Option<Timestamp>,
    ) -> Result<Change, FsError> {
        let mut tree = self.tree();
        let (before, attr) = (tree.wcc(ino)?, tree.attr(ino)?);
        if guard.is_some_and(|guard| guard != before.ctime) {
            return Err(FsError::NotSync);
        }
        if cx.credentials.uid != 0 && cx.credentials.uid != attr.uid {
            return Err(FsError::NotOwner);
        }
        tree.set(ino, set)?;
        Ok(Change { before: Some(before), after: tree.attr(ino)? })
    }

    async fn lookup(&self, cx: &RequestContext, dir: Ino, name: &[u8]) -> Result<Attr, FsError> {
        let tree = self.tree();
        tree.entries(dir)?;
        need(cx, &tree.attr(dir)?, 1)?;
        let ino = match name {
            b"." => dir,
            b".." => tree.parent(dir)?,
            name => tree.find(dir, name)?.ok_or(FsError::NotFound)?.1,
        };
        tree.attr(ino)
    }

    async fn access(
        &self,
        cx: &RequestContext,
        ino: Ino,
        ask: u32,
    ) -> Result<(u32, Attr), FsError> {
        let attr = self.tree().attr(ino)?;
        let have = permissions(cx, &attr);
        let directory = attr.kind == FileKind::Directory;
        let mut granted = 0;
        let mut grant = |bit: u32, if_any: u32| {
            if have & bit != 0 {
                granted |= if_any
            }
        };
        grant(4, access::READ);
        grant(2, access::MODIFY | access::EXTEND | if directory { access::DELETE } else { 0 });
        grant(1, if directory { access::LOOKUP } else { access::EXECUTE });
        Ok((granted & ask, attr))
    }

    async fn readlink(&self, _cx: &RequestContext, ino: Ino) -> Result<(Bytes, Attr), FsError> {
        let tree = self.tree();
        match &tree.node(ino)?.content {
            Content::Symlink { target } => Ok((target.clone().into(), tree.attr(ino)?)),
            Content::File { .. } | Content::Directory { .. } => Err(FsError::Invalid),
        }
    }

    async fn read(
        &self,
        cx: &RequestContext,
        ino: Ino,
        offset: u64,
        count: u32,
    ) -> Result<ReadData, FsError> {
        self.pass_gate().await;
        let tree = self.tree();
        let node = tree.node(ino)?;
        let Content::File { data, .. } = &node.content else { return Err(FsError::IsDirectory) };
        need(cx, &node.attr, 4)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
        let end = start.saturating_add(count as usize).min(data.len());
        let eof = end == data.len();
        let data = Bytes::copy_from_slice(&data[start..end]);
        Ok(ReadData { data, eof, attr: node.attr.clone() })
    }

    async fn write(
        &self,
        cx: &RequestContext,
        ino: Ino,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, FsError> {
        let mut tree = self.tree();
        let (before, attr) = (tree.wcc(ino)?, tree.attr(ino)?);
        need(cx, &attr, 2)?;
        let end = offset.checked_add(data.len() as u64).ok_or(FsError::FileTooBig)?;
        tree.resize(ino, end.max(attr.size))?;
        let Content::File { data: held, .. } = &mut tree.node_mut(ino)?.content else {
            return Err(FsError::IsDirectory);
        };
        let start = usize::try_from(offset).map_err(|_| FsError::FileTooBig)?;
        held[start..start + data.len()].copy_from_slice(&data);
        Ok(Written {
            count: u32::try_from(data.len()).map_err(|_| FsError::FileTooBig)?,
            committed: stability,
            verifier: self.verifier,
            change: tree.changed(ino, before)?,
        })
    }

    async fn commit(
        &self,
        _cx: &RequestContext,
        ino: Ino,
    ) -> Result<(Change, WriteVerifier), FsError> {
        let tree = self.tree();
        Ok((Change { before: Some(tree.wcc(ino)?), after: tree.attr(ino)? }, self.verifier))
    }

    async fn create(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
        how: CreateHow,
    ) -> Result<Created, FsError> {
        create(&mut self.tree(), cx, dir, name, how)
    }

    async fn mkdir(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
        set: SetAttr,
    ) -> Result<Created, FsError> {
        self.pass_gate().await;
        let mut tree = self.tree();
        let content = Content::Directory { entries: Default::default(), parent: dir };
        let who = (cx.credentials.uid, cx.credentials.gid);
        let ino = tree.add(dir, name, content, 0o777, who)?;
        created(&mut tree, dir, ino, SetAttr { size: None, ..set })
    }

    async fn symlink(
        &self,
        cx: &RequestContext,
        dir: Ino,
        name: &[u8],
        target: &[u8],
        set: SetAttr,
    ) -> Result<Created, FsError> {
        let mut tree = self.tree();
        let who = (cx.credentials.uid, cx.credentials.gid);
        let content = Content::Symlink { target: target.to_vec() };
        let ino = tree.add(dir, name, content, 0o777, who)?;
        created(&mut tree, dir, ino, SetAttr { size: None, ..set })
    }

    async fn remove(&self, _cx: &RequestContext, dir: Ino, name: &[u8]) -> Result<Change, FsError> {
        let mut tree = self.tree();
        let before = tree.wcc(dir)?;
        tree.take(dir, name, false)?;
        tree.changed(dir, before)
    }

    async fn rmdir(&self, _cx: &RequestContext, dir: Ino, name: &[u8]) -> Result<Change, FsError> {
        let mut tree = self.tree();
        let before = tree.wcc(dir)?;
        tree.take(dir, name, true)?;
        tree.changed(dir, before)
    }

    async fn rename(
        &self,
        _cx: &RequestContext,
        from_dir: Ino,
        from_name: &[u8],
        to_dir: Ino,
        to_name: &[u8],
    ) -> Result<Renamed, FsError> {
        let mut tree = self.tree();
        let (from, to) = (tree.wcc(from_dir)?, tree.wcc(to_dir)?);
        tree.rename((from_dir, from_name), (to_dir, to_name))?;
        Ok(Renamed { from_dir: tree.changed(from_dir, from)?, to_dir: tree.changed(to_dir, to)? })
    }

    async fn readdir(
        &self,
        _cx: &RequestContext,
        dir: Ino,
        ask: ReadDir,
    ) -> Result<DirPage, FsError> {
        let tree = self.tree();
        if ask.cookie != 0 && ask.verifier != COOKIE_VERIFIER {
            return Err(FsError::BadCookie);
        }
        let dots = [(1, (b".".to_vec(), dir)), (2, (b"..".to_vec(), tree.parent(dir)?))];
        let named = tree.entries(dir)?.iter().map(|(cookie, entry)| (*cookie, entry.clone()));
        let mut rest = dots.into_iter().chain(named).filter(|(cookie, _)| *cookie > ask.cookie);
        let entry = |(cookie, (name, ino))| -> Result<DirEntry, FsError> {
            let attr = if ask.want_attr { Some(tree.attr(ino)?) } else { None };
            Ok(DirEntry { ino, name, cookie, attr })
        };
        let taken = rest.by_ref().take(ask.entries_max);
        let entries = taken.map(entry).collect::<Result<Vec<_>, _>>()?;
        let end = rest.next().is_none();
        Ok(DirPage { entries, end, verifier: COOKIE_VERIFIER, dir: tree.attr(dir)? })
    }

    async fn statfs(&self, _cx: &RequestContext) -> Result<FsStat, FsError> {
        Ok(FsStat {
            total_bytes: 1 << 40,
            free_bytes: 1 << 39,
            available_bytes: 1 << 38,
            total_files: 1 << 20,
            free_files: 1 << 19,
        })
    }
}
