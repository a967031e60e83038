//! READDIR and READDIRPLUS.
use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Credentials, DirEntry, DirPage, FileKind, FsError, Ino, ReadDir, Vfs, permissions};
use crate::{
    catalog::Inode,
    refresh::{Known, Progress},
};

/// Names the cookies: an entry's cookie is its ino, for ever; so this never changes.
const COOKIE_SPACE: [u8; 8] = *b"by-ino-1";
/// Cookie of `.`; of `..` it is one more. Entries begin above (inos begin at 16).
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;
/// Entries in one page, whatever is asked for.
const PAGE_ENTRIES_MAX: usize = 1024;
/// HEAD requests at the same time for one page.
const HEADS_MAX: usize = 16;

impl Vfs {
    pub(super) async fn do_readdir(
        &self,
        who: &Credentials,
        dir: Ino,
        ask: ReadDir,
    ) -> Result<DirPage, FsError> {
        let row = self.directory(dir).await?;
        permissions::check(&row, who, permissions::READ)?;
        if ask.cookie != 0 && ask.verifier != COOKIE_SPACE {
            return Err(FsError::BadCookie);
        }
        let mut known = if ask.cookie == 0 {
            self.source.look(dir).await?
        } else {
            row.listed_at.map_or(Known::Part(Progress::default()), |_| Known::Whole)
        };
        let most = ask.entries_max.clamp(1, PAGE_ENTRIES_MAX);
        let mut row = self.row(dir).await?;
        let mut entries = Vec::new();
        for (cookie, name, ino) in [(DOT, ".", dir), (DOT_DOT, "..", row.parent)] {
            if ask.cookie < cookie && entries.len() < most {
                let attr = if ask.want_attr {
                    Some(self.attr(self.row(ino).await?.as_ref()))
                } else {
                    None
                };
                entries.push(DirEntry { ino, name: name.into(), cookie, attr });
            }
        }
        let room = most - entries.len();
        let after = Ino(ask.cookie.max(DOT_DOT));
        let read = self.shared.catalog.moment();
        let mut rows = self.shared.catalog.children(dir, after, room + 1).await?;
        while let Known::Part(seen) = known
            && rows.is_empty()
            && entries.is_empty()
        {
            // The reader has caught up with the listing: that is not the end of the directory.
            known = self.source.more(dir, seen).await?;
            row = self.row(dir).await?;
            rows = self.shared.catalog.children(dir, after, room + 1).await?;
        }
        let end = known == Known::Whole && rows.len() <= room;
        rows.truncate(room);
        if ask.want_attr {
            rows = self.with_attributes(rows).await?;
        }
        for row in rows {
            let attr = match ask.want_attr {
                true => match self.attr_by_now(read, &row).await {
                    Ok(attr) => Some(attr),
                    // It was there when the page was read.
                    Err(FsError::Stale) => None,
                    Err(error) => return Err(error),
                },
                false => None,
            };
            let (ino, cookie) = (row.ino, row.ino.0);
            entries.push(DirEntry { ino, cookie, attr, name: row.name.into_bytes() });
        }
        Ok(DirPage { entries, end, verifier: COOKIE_SPACE, dir: self.attr(&row) })
    }

    /// Asks for the real attributes of rows that have defaults, some at a time. Those that S3 does
    /// not tell keep the defaults.
    async fn with_attributes(&self, rows: Vec<Inode>) -> Result<Vec<Inode>, FsError> {
        let mut waiting: Vec<Ino> =
            rows.iter().filter(|row| row.needs_head).map(|row| row.ino).collect();
        if waiting.is_empty() {
            return Ok(rows);
        }
        let mut asking = JoinSet::new();
        while !waiting.is_empty() || !asking.is_empty() {
            while asking.len() < HEADS_MAX
                && let Some(ino) = waiting.pop()
            {
                let source = self.source.clone();
                asking.spawn(async move { source.load_attr(ino).await });
            }
            if let Some(asked) = asking.join_next().await {
                match asked {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "serving default attributes"),
                    Err(_) => return Err(FsError::Io),
                }
            }
        }
        let mut fresh = Vec::with_capacity(rows.len());
        for row in rows {
            if !row.needs_head {
                fresh.push(row);
                continue;
            }
            match self.row(row.ino).await {
                Ok(row) => fresh.push(Arc::unwrap_or_clone(row)),
                // Gone meanwhile: not an entry any more.
                Err(FsError::Stale) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(fresh)
    }

    /// Whether the row is a directory, as an error when it is what the caller cannot use.
    pub(super) fn check_file(row: &Inode) -> Result<(), FsError> {
        match row.kind {
            FileKind::File => Ok(()),
            FileKind::Directory => Err(FsError::IsDirectory),
            FileKind::Symlink => Err(FsError::Invalid),
        }
    }
}
