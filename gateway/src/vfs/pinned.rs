//! Pinned paths: what is at or below them is fetched in the background, one piece at a time, and stays on the
//! cache disk.
//!
//! A round walks through what is pinned, as far as listings have it; directories that were never listed
//! are. What others change in the bucket is fetched anew once a listing has shown it.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gateway_api::{
    ByteSize, ShareName,
    status::{HealthEventKind, PinnedStatus},
};

use super::{FileKind, FsError, Ino, Source, evict::not_told, write_back::WriteBack};
use crate::{
    cache::{
        evict::{Need, Pinned},
        recency::PART_BYTES,
    },
    catalog::{Inode, Since},
    share::Pins,
};

/// Pause between two rounds.
pub const ROUND_PAUSE: Duration = Duration::from_secs(15);
/// Tries of one request to S3 that is to come again; the round ends with the last, two minutes after the
/// first.
const TRIES_MAX: u32 = 8;
/// Pause after the first of them; doubles with each.
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Entries of a directory taken at a time.
const PAGE_ENTRIES: usize = 500;
/// Directories of which it is still to be looked into; a pinned tree with more waiting at once is not followed
/// to its end.
const DIRECTORIES_MAX: usize = 100_000;

/// The pinned paths of one share.
#[derive(Debug)]
pub struct Pinning {
    name: ShareName,
    root: Ino,
    pins: Pins,
    shared: Arc<WriteBack>,
    source: Arc<dyn Source>,
    first_pause: Duration,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    status: PinnedStatus,
    /// When the last round began that found everything here.
    complete_at: Option<Since>,
}

/// What one round has found.
#[derive(Debug, Default)]
struct Round {
    total: u64,
    cached: u64,
    /// Whether there was room for everything.
    fits: bool,
    /// Whether S3 does not answer for long: nothing more is asked for.
    gave_up: bool,
    /// Whether something that is not known yet was not told.
    unknown: bool,
    /// Whether there is more than was looked at.
    cut: bool,
}

impl Pinning {
    /// Of the share `name`, whose file system is below `root`.
    pub fn new(
        name: ShareName,
        root: Ino,
        pins: Pins,
        shared: Arc<WriteBack>,
        source: Arc<dyn Source>,
    ) -> Self {
        let (first_pause, seen) = (RETRY_PAUSE_MIN, Mutex::default());
        Self { name, root, pins, shared, source, first_pause, seen }
    }

    /// The same with another pause after the first try.
    #[must_use]
    pub fn with_first_pause(self, first_pause: Duration) -> Self {
        Self { first_pause, ..self }
    }

    /// What the last round found; `None` when nothing is pinned.
    pub fn status(&self) -> Option<PinnedStatus> {
        (!self.pins.is_empty()).then(|| self.lock().status.clone())
    }

    /// Fetches what is pinned and not here. Run it every [`ROUND_PAUSE`]; it does nothing while nothing
    /// has changed. Cancel safe.
    ///
    /// # Errors
    /// Of the catalog or the disk. That S3 does not answer, or that there is no room, is in the status; what S3
    /// puts off is asked for again meanwhile.
    pub async fn round(&self) -> Result<(), FsError> {
        let catalog = &self.shared.catalog;
        let begun = catalog.moment();
        if self.pins.is_empty() || self.lock().complete_at == Some(begun) {
            return Ok(());
        }
        let mut round = Round { fits: true, ..Round::default() };
        for path in self.pins.paths() {
            match self.find(path, &mut round).await? {
                Some(found) if found.kind == FileKind::Directory => {
                    self.tree(found.ino, &mut round).await?;
                }
                Some(found) => self.file(&found, &mut round).await?,
                // It may come to be.
                None => {}
            }
        }
        if !round.fits {
            let message = format!(
                "{} of pinned files, {} of them cached, do not fit on the cache disk: pin less, or make it larger",
                ByteSize(round.total),
                ByteSize(round.cached)
            );
            let events = &self.shared.events;
            events.add(HealthEventKind::PinsDoNotFit, Some(self.name.clone()), message);
        }
        let complete =
            round.cached >= round.total && !(round.gave_up || round.unknown || round.cut);
        let status = PinnedStatus {
            total: ByteSize(round.total),
            cached: ByteSize(round.cached),
            complete,
            problem: self.lock().status.problem.clone().filter(|_| round.gave_up),
        };
        let ended = catalog.moment();
        *self.lock() = Seen { status, complete_at: (complete && begun == ended).then_some(begun) };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is at `path`, if anything is known to be.
    async fn find(&self, path: &str, round: &mut Round) -> Result<Option<Arc<Inode>>, FsError> {
        let catalog = &self.shared.catalog;
        let mut at = catalog.inode(self.root).await?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if at.kind != FileKind::Directory {
                return Ok(None);
            }
            if at.listed_at.is_none() {
                let listed = self.patiently(round, path, || self.source.refresh_dir(at.ino)).await;
                if listed.is_err() {
                    // What is there is not known: the next round asks again.
                    round.unknown = true;
                    return Ok(None);
                }
            }
            match catalog.child(at.ino, name).await? {
                Some(child) => at = child,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    async fn tree(&self, top: Ino, round: &mut Round) -> Result<(), FsError> {
        let listed = self.patiently(round, "a directory", || self.source.list_subtree(top)).await;
        round.unknown |= listed.is_err();
        let mut directories = vec![top];
        while let Some(dir) = directories.pop() {
            let mut after = Ino(0);
            loop {
                let page = match self.shared.catalog.children(dir, after, PAGE_ENTRIES).await {
                    Ok(page) => page,
                    // Removed meanwhile.
                    Err(crate::catalog::CatalogError::Gone(_)) => break,
                    Err(error) => return Err(error.into()),
                };
                for entry in &page {
                    match entry.kind {
                        FileKind::File => self.file(entry, round).await?,
                        FileKind::Directory if directories.len() < DIRECTORIES_MAX => {
                            directories.push(entry.ino);
                        }
                        FileKind::Directory => round.cut = true,
                        FileKind::Symlink => {}
                    }
                }
                match page.last() {
                    Some(last) if page.len() == PAGE_ENTRIES => after = last.ino,
                    Some(_) | None => break,
                }
            }
        }
        Ok(())
    }

    /// Fetches what is missing of one file.
    async fn file(&self, row: &Inode, round: &mut Round) -> Result<(), FsError> {
        if row.kind != FileKind::File {
            return Ok(());
        }
        round.total += row.size;
        let mut present = self.shared.catalog.ranges(row.ino).await?;
        present.extend(&self.shared.cache.overlay().ranges(row.ino));
        let cached = |present: &crate::cache::RangeSet| -> u64 {
            present.overlapping(&(0..row.size)).iter().map(|part| part.end - part.start).sum()
        };
        for gap in present.missing(0..row.size) {
            for at in
                (gap.start..gap.end).step_by(usize::try_from(PART_BYTES).unwrap_or(usize::MAX))
            {
                if round.gave_up || !round.fits {
                    break;
                }
                let piece = at..(at + PART_BYTES).min(gap.end);
                if !self.has_room(row.ino, piece.end - piece.start).await? {
                    round.fits = false;
                    break;
                }
                let fetch = || self.source.fetch(row.ino, piece.clone());
                match self.patiently(round, &row.name, fetch).await {
                    Ok(()) => present.insert(piece),
                    Err(FsError::TryLater) => {}
                    // Of this file alone: it is gone, or cannot be read.
                    Err(error) => {
                        tracing::debug!(ino = row.ino.0, %error, "a pinned file was not fetched");
                        break;
                    }
                }
            }
        }
        round.cached += cached(&present);
        Ok(())
    }

    /// Asks S3, again and again with pauses in between while it says to come later, and shows that. In the end
    /// the round is given up with [`FsError::TryLater`], and so is whatever is asked after that.
    async fn patiently<F>(
        &self,
        round: &mut Round,
        what: &str,
        ask: impl Fn() -> F,
    ) -> Result<(), FsError>
    where
        F: Future<Output = Result<(), FsError>>,
    {
        if round.gave_up {
            return Err(FsError::TryLater);
        }
        let mut pause = self.first_pause;
        for tries in 1..=TRIES_MAX {
            match ask().await {
                Err(FsError::TryLater) => {}
                done => {
                    self.lock().status.problem = None;
                    return done;
                }
            }
            let is_last = tries == TRIES_MAX;
            let wait = if is_last { ROUND_PAUSE } else { pause };
            self.lock().status.problem = Some(format!(
                "{what} cannot be had: S3 puts it off, or there is no room ({tries} tries); it is asked for \
                 again in {} s",
                wait.as_secs()
            ));
            if !is_last {
                tokio::time::sleep(wait).await;
                pause = (pause * 2).min(RETRY_PAUSE_MAX);
            }
        }
        round.gave_up = true;
        Err(FsError::TryLater)
    }

    /// Whether so many bytes fit beside what is kept free for writers, when unpinned files have left.
    async fn has_room(&self, ino: Ino, len: u64) -> Result<bool, FsError> {
        let disk = self.shared.cache.disk_of(ino).await?;
        let space = disk.space();
        let ask = |error: std::io::Error| not_told(disk, &error);
        if space.short_of_spare().map_err(ask)? > 0 {
            self.shared.evict_on(disk.id(), Need::Spare(u64::MAX), Pinned::Stay).await?;
            if space.short_of_spare().map_err(ask)? > 0 {
                return Ok(false);
            }
        }
        space.admit(len).map_err(ask)
    }
}
