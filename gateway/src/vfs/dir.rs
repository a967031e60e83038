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

/// Some entries of a directory.
struct Stretch {
    /// The directory, right before.
    dir: Arc<Inode>,
    rows: Vec<Inode>,
    /// Whether there are no more.
    end: bool,
}

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
        let known = if ask.cookie == 0 {
            self.source.look(dir).await?
        } else {
            row.listed_at.map_or(Known::Part(Progress::default()), |_| Known::Whole)
        };
        let most = ask.entries_max.clamp(1, PAGE_ENTRIES_MAX);
        let parent = self.row(dir).await?.parent;
        let mut entries = Vec::new();
        for (cookie, name, ino) in [(DOT, ".", dir), (DOT_DOT, "..", parent)] {
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
        let mut after = Ino(ask.cookie.max(DOT_DOT));
        let read = self.shared.catalog.moment();
        let Stretch { dir: row, rows, end } = loop {
            let mut next = self.stretch(dir, after, room, known, !entries.is_empty()).await?;
            let last = next.rows.last().map(|row| row.ino);
            if ask.want_attr {
                next.rows = self.with_attributes(next.rows).await?;
            }
            match last.filter(|_| next.rows.is_empty() && entries.is_empty() && !next.end) {
                // The bucket has lost all of them: a page without entries would be taken for an end.
                Some(last) => after = last,
                None => break next,
            }
        };
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

    /// At most `room` entries of `dir` above `after`. Where its first listing is under way, waits until there
    /// are some, unless the caller `has_others`: that a reader has caught up is not the end.
    async fn stretch(
        &self,
        dir: Ino,
        after: Ino,
        room: usize,
        mut known: Known,
        has_others: bool,
    ) -> Result<Stretch, FsError> {
        loop {
            // Before its entries: a client must not take them for newer than they are.
            let row = self.row(dir).await?;
            let mut rows = self.shared.catalog.children(dir, after, room + 1).await?;
            match known {
                Known::Part(seen) if rows.is_empty() && !has_others => {
                    known = self.source.more(dir, seen).await?;
                }
                Known::Part(_) | Known::Whole => {
                    let end = known == Known::Whole && rows.len() <= room;
                    rows.truncate(room);
                    return Ok(Stretch { dir: row, rows, end });
                }
            }
        }
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
