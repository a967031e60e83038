//! A refresh by command, of one directory or of the whole tree below it: each directory is listed once,
//! some at a time, while clients go on. No object is asked for by itself.
//!
//! Bounded: what is still to be done is held as a position in each of the directories that lie on the
//! way, of which there are as many as directories are listed at the same time, times the depth.
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use gateway_api::{admin::RefreshReport, status::RefreshStatus};
use tokio::task::JoinSet;

use super::{RefreshError, Refresher};
use crate::{
    catalog::{Catalog, CatalogError},
    ids::Ino,
};

/// Directories listed at the same time by one command.
const LISTINGS_MAX: usize = 8;
/// Directories taken from the catalog at a time.
const STEP: usize = 64;
/// Directories that may fail before the whole command is given up.
const FAILURES_MAX: u64 = 100;
/// Commands of one share at the same time.
const WALKS_MAX: usize = 4;

/// How far a command has come.
#[derive(Debug)]
struct Walk {
    path: String,
    recursive: bool,
    begun_at_unix_seconds: i64,
    found: AtomicU64,
    done: AtomicU64,
    names: AtomicU64,
}

/// The commands of a share that are under way.
#[derive(Debug, Default)]
pub(super) struct Walks(Mutex<Vec<Arc<Walk>>>);

/// Ends a command's place in the list.
struct Place<'w>(&'w Walks, Arc<Walk>);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut under_way = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|walk| !Arc::ptr_eq(walk, &self.1));
    }
}

impl Walks {
    fn begin(&self, walk: Walk) -> Option<Place<'_>> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.len() >= WALKS_MAX {
            return None;
        }
        let walk = Arc::new(walk);
        under_way.push(Arc::clone(&walk));
        Some(Place(self, walk))
    }
}

/// Directories in one directory, those after a position.
pub(super) struct Frame {
    dir: Ino,
    after: Ino,
    /// The next ones, the last first.
    ready: Vec<Ino>,
}

impl Frame {
    /// All of them.
    pub(super) fn of(dir: Ino) -> Self {
        Self { dir, after: Ino(0), ready: Vec::new() }
    }
}

/// The next directory to be listed. Always from the directory listed last, so that few are on the way.
pub(super) async fn next(
    catalog: &Catalog,
    frames: &mut Vec<Frame>,
) -> Result<Option<Ino>, CatalogError> {
    while let Some(frame) = frames.last_mut() {
        if let Some(dir) = frame.ready.pop() {
            return Ok(Some(dir));
        }
        let mut step = catalog.directories_in(frame.dir, frame.after, STEP).await?;
        match step.last() {
            Some(last) => {
                frame.after = *last;
                step.reverse();
                frame.ready = step;
            }
            None => drop(frames.pop()),
        }
    }
    Ok(None)
}

impl Refresher {
    /// The directory at `path` below `root`, looked up in the bucket where it is not known; `None` if there
    /// is none.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub async fn find(&self, root: Ino, path: &str) -> Result<Option<Ino>, RefreshError> {
        let mut at = root;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            self.look_up(at, name).await?;
            at = match self.inner.catalog.child(at, name).await {
                Ok(Some(child)) => child.ino,
                Ok(None) | Err(CatalogError::NotDirectory | CatalogError::Gone(_)) => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
        }
        let found = self.inner.catalog.inode(at).await?;
        Ok(Some(at).filter(|_| found.kind == crate::ids::FileKind::Directory))
    }

    /// Lists `dir`, which is at `path`, and everything below it if `recursive`. Directories that vanish
    /// meanwhile are done. One that cannot be listed is counted, and the others go on. Dropping the
    /// future ends the command; listings under way come to their end.
    ///
    /// # Errors
    /// [`RefreshError`] of `dir` itself, or of the last of too many; [`RefreshError::Busy`] when too many
    /// commands are under way; [`RefreshError::Interrupted`] when the gateway stops.
    pub async fn tree(
        &self,
        dir: Ino,
        path: &str,
        recursive: bool,
    ) -> Result<RefreshReport, RefreshError> {
        let walk = Walk {
            path: path.to_owned(),
            recursive,
            begun_at_unix_seconds: self.inner.clock.now().seconds(),
            found: AtomicU64::new(1),
            done: AtomicU64::new(0),
            names: AtomicU64::new(0),
        };
        let place = self.inner.walks.begin(walk).ok_or(RefreshError::Busy)?;
        let walk = &place.1;
        let mut report = RefreshReport::default();
        let (mut frames, mut listings) = (Vec::new(), JoinSet::new());
        self.spawn(&mut listings, dir);
        loop {
            while recursive
                && listings.len() < LISTINGS_MAX
                && let Some(next) = next(&self.inner.catalog, &mut frames).await?
            {
                walk.found.fetch_add(1, Ordering::Relaxed);
                self.spawn(&mut listings, next);
            }
            let Some(listed) = listings.join_next().await else { break };
            let (listed, outcome) = listed.map_err(|_| RefreshError::Interrupted)?;
            match outcome {
                Ok(names) => {
                    report.directories += 1;
                    report.names += names;
                    walk.names.fetch_add(names, Ordering::Relaxed);
                    frames.push(Frame::of(listed));
                }
                Err(error) if listed == dir => return Err(error),
                Err(error) if error.is_gone() => {}
                Err(error @ (RefreshError::Interrupted | RefreshError::Catalog(_))) => {
                    return Err(error);
                }
                Err(
                    error @ (RefreshError::Store(_)
                    | RefreshError::Busy
                    | RefreshError::TooLarge(_)),
                ) => {
                    report.failed += 1;
                    if report.failed > FAILURES_MAX {
                        return Err(error);
                    }
                    report.first_failure.get_or_insert(error.to_string());
                }
            }
            walk.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(report)
    }

    fn spawn(&self, listings: &mut JoinSet<(Ino, Result<u64, RefreshError>)>, dir: Ino) {
        let refresher = self.clone();
        listings.spawn(async move { (dir, refresher.now(dir).await) });
    }

    /// The commands under way.
    pub fn under_way(&self) -> Vec<RefreshStatus> {
        let walks = self.inner.walks.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |walk: &Arc<Walk>| RefreshStatus {
            path: walk.path.clone(),
            recursive: walk.recursive,
            begun_at_unix_seconds: walk.begun_at_unix_seconds,
            directories_found: walk.found.load(Ordering::Relaxed),
            directories_done: walk.done.load(Ordering::Relaxed),
            names: walk.names.load(Ordering::Relaxed),
        };
        walks.iter().map(status).collect()
    }
}
