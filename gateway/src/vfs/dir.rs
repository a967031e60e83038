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
/// Entries of a page whose attributes are not known, and which are asked for before the page is
/// answered. Of a page that has more, the names are worth more than the wait.
const UNKNOWN_WAITED_FOR: usize = 64;
/// HEAD requests at the same time for one page.
const HEADS_MAX: usize = 16;
/// Entries after a page whose attributes are asked for ahead.
const AHEAD_ENTRIES: usize = 1024;

/// Some entries of a directory.
struct Stretch {
    /// The directory, right before.
    dir: Arc<Inode>,
    rows: Vec<Inode>,
    /// Whether there are no more.
    end: bool,
    /// Whether S3 had not been asked for attributes of some of them.
    had_unknown: bool,
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
                let attr = match ask.want_attr {
                    true => Some(self.row(ino).await?).filter(|row| !row.needs_head),
                    false => None,
                };
                let attr = attr.map(|row| self.attr(&row));
                entries.push(DirEntry { ino, name: name.into(), cookie, attr });
            }
        }
        let room = most - entries.len();
        let mut after = Ino(ask.cookie.max(DOT_DOT));
        let read = self.shared.catalog.moment();
        let Stretch { dir: row, rows, end, .. } = loop {
            let mut next = self.stretch(dir, after, room, known, !entries.is_empty()).await?;
            let last = next.rows.last().map(|row| row.ino);
            if ask.want_attr {
                next.rows = self.with_attributes(next.rows).await?;
                if let Some(last) = last.filter(|_| next.had_unknown && !next.end) {
                    let ahead = self.shared.catalog.unknown_in(dir, last, AHEAD_ENTRIES).await?;
                    self.source.load_ahead(ahead);
                }
            }
            match last.filter(|_| next.rows.is_empty() && entries.is_empty() && !next.end) {
                // The bucket has lost all of them: a page without entries would be taken for an end.
                Some(last) => after = last,
                None => break next,
            }
        };
        for row in rows {
            let attr = match ask.want_attr && !row.needs_head {
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
        let mut failed = None;
        loop {
            // Before its entries: a client must not take them for newer than they are.
            let row = self.row(dir).await?;
            let mut rows = self.shared.catalog.children(dir, after, room + 1).await?;
            match known {
                Known::Part(seen) if rows.is_empty() && !has_others => {
                    if let Some(error) = failed {
                        return Err(error);
                    }
                    // What came before the listing broke off is given first; who asks on hears of it then.
                    match self.source.more(dir, seen).await {
                        Ok(more) => known = more,
                        Err(error) => failed = Some(error),
                    }
                }
                Known::Part(_) | Known::Whole => {
                    let end = known == Known::Whole && rows.len() <= room;
                    rows.truncate(room);
                    let had_unknown = rows.iter().any(|row| row.needs_head);
                    return Ok(Stretch { dir: row, rows, end, had_unknown });
                }
            }
        }
    }

    /// Sees to the real attributes of rows that have defaults: of a few by asking for them, some at a time;
    /// of many by having them asked for in the background. Those that S3 does not tell keep the defaults.
    async fn with_attributes(&self, rows: Vec<Inode>) -> Result<Vec<Inode>, FsError> {
        let unknown: Vec<Ino> =
            rows.iter().filter(|row| row.needs_head).map(|row| row.ino).collect();
        if unknown.is_empty() {
            return Ok(rows);
        }
        if unknown.len() > UNKNOWN_WAITED_FOR {
            self.source.load_ahead(unknown);
            return Ok(rows);
        }
        let mut waiting = unknown.into_iter();
        let mut asking = JoinSet::new();
        loop {
            while asking.len() < HEADS_MAX
                && let Some(ino) = waiting.next()
            {
                let source = self.source.clone();
                asking.spawn(async move { source.load_attr(ino).await });
            }
            match asking.join_next().await {
                Some(Ok(Ok(()))) => {}
                // One that is gone says nothing of the others.
                Some(Ok(Err(FsError::Stale | FsError::NotFound))) => {}
                Some(Ok(Err(error))) => {
                    tracing::debug!(%error, "a page goes without some attributes");
                    // Those that are being asked for may come; the others would fail as this one has.
                    waiting = Vec::new().into_iter();
                }
                Some(Err(_)) => return Err(FsError::Io),
                None => break,
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
