//! Lists on access and on command.
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout_at};

use super::{
    flight::{Flight, Flights, Lead, Progress, Seen},
    heads::Heads,
    pages::PAGES_MAX,
    too_large::TooLarge,
    walk::Walks,
};
use crate::{
    cache::CacheStore,
    catalog::{Catalog, CatalogError, Inode},
    clock::{Clock, Timestamp},
    ids::{FileKind, Ino},
    share::{Right, Share},
    store::StoreError,
    tasks::Tasks,
};

/// Listings of one share at the same time, each one request at a time.
const LISTINGS_MAX: usize = 16;
/// How long a caller waits for news of a directory that he knows already, counted from when the listing
/// was asked for: long enough for one request, short against a client's patience.
const PATIENCE: Duration = Duration::from_secs(2);
/// After a listing has failed, how long directories that are known are not listed again on access, in
/// milliseconds: while S3 does not answer, not every call is to wait for it.
const PAUSE_MS: u64 = 5_000;

/// Why a directory could not be listed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RefreshError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalog failed; [`CatalogError::Gone`] when the directory is no more.
    #[error(transparent)]
    Catalog(Arc<CatalogError>),
    /// The gateway stops, or does not serve the share any more.
    #[error("the listing was given up")]
    Interrupted,
    /// Too many directories are being listed.
    #[error("too many directories are being listed")]
    Busy,
    /// The directory has more names than are listed.
    #[error("{0:?} holds more names than are listed; each can be asked for by itself")]
    TooLarge(String),
}

impl From<CatalogError> for RefreshError {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(Arc::new(error))
    }
}

impl RefreshError {
    /// Whether the directory is no more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Catalog(error)
            if matches!(**error, CatalogError::Gone(_) | CatalogError::NotDirectory))
    }
}

/// How much of a directory is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// All of it, as of its latest listing.
    Whole,
    /// Its first listing is under way: what is in the catalog is not all of it.
    Part(Progress),
}

/// Keeps one share's listings fresh. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Refresher {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) share: Arc<Share>,
    pub(super) catalog: Catalog,
    pub(super) cache: CacheStore,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: Tasks,
    flights: Flights,
    /// Directories of which everything below is being listed.
    pub(super) subtrees: Flights,
    pub(super) heads: Heads,
    pub(super) too_large: TooLarge,
    pub(super) pages_max: usize,
    pub(super) walks: Walks,
    turns: Semaphore,
    /// When a request for a listing failed last, in nanoseconds since 1970.
    failed_at: AtomicI64,
}

impl Refresher {
    /// A refresher of `share`'s tree, whose listings are `tasks`.
    pub fn new(
        share: Arc<Share>,
        catalog: Catalog,
        cache: CacheStore,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Self {
        let inner = Inner {
            share,
            catalog,
            cache,
            clock,
            tasks,
            flights: Flights::default(),
            subtrees: Flights::default(),
            heads: Heads::default(),
            too_large: TooLarge::default(),
            pages_max: PAGES_MAX,
            walks: Walks::default(),
            turns: Semaphore::new(LISTINGS_MAX),
            failed_at: AtomicI64::new(i64::MIN),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The same, giving up a listing after so many pages. Call it before there is another handle.
    #[must_use]
    pub fn with_pages_max(mut self, pages: usize) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.pages_max = pages;
        }
        self
    }

    /// Whether `dir` has been listed, and not too long ago. Usually known without asking anybody.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn is_fresh(&self, dir: Ino) -> Result<bool, CatalogError> {
        Ok(!self.inner.wants_listing(self.inner.catalog.inode(dir).await?.as_ref()))
    }

    /// Whether `dir` has been listed, too long ago.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn is_stale(&self, dir: Ino) -> Result<bool, CatalogError> {
        let row = self.inner.catalog.inode(dir).await?;
        Ok(row.listed_at.is_some() && self.inner.wants_listing(&row))
    }

    /// Sees to it that `dir` is being listed if it never was, or if its listing is older than the share's
    /// stale time. Of a directory that never was, waits for the first page; of one that was, too, but for
    /// [`PATIENCE`] only: then what is known is good. A directory of one page is known as S3 has it.
    ///
    /// # Errors
    /// [`RefreshError`], of the store only when the directory has never been listed.
    pub async fn look(&self, dir: Ino) -> Result<Known, RefreshError> {
        let row = self.inner.catalog.inode(dir).await?;
        if !self.inner.wants_listing(&row) || !self.inner.may_ask(&row) {
            return Ok(Known::Whole);
        }
        let flight = match self.join(dir, row.listed_at) {
            Ok(flight) => flight,
            Err(RefreshError::Busy | RefreshError::TooLarge(_)) if row.listed_at.is_some() => {
                return Ok(Known::Whole);
            }
            Err(error) => return Err(error),
        };
        let first_page = flight.clone().beyond(Progress::default());
        if row.listed_at.is_none() {
            return known(first_page.await);
        }
        match timeout_at(flight.begun + PATIENCE, first_page).await {
            Ok(Seen::Ended(outcome)) => old_stays_good(outcome).map(|()| Known::Whole),
            Ok(Seen::Part(_)) | Err(_) => Ok(Known::Whole),
        }
    }

    /// Waits for more of a directory of which `seen` is known, and lists it if nobody does.
    ///
    /// # Errors
    /// [`RefreshError`]: the listing has failed.
    pub async fn more(&self, dir: Ino, seen: Progress) -> Result<Known, RefreshError> {
        if self.inner.catalog.inode(dir).await?.listed_at.is_some() {
            return Ok(Known::Whole);
        }
        known(self.join(dir, None)?.beyond(seen).await)
    }

    /// Sees to it that what S3 has under `name` in `dir` is in the catalog: as [`Refresher::look`], and
    /// while the first listing of many pages goes on, by asking for this name alone.
    ///
    /// # Errors
    /// [`RefreshError`], of the store only when the directory has never been listed.
    pub async fn look_up(&self, dir: Ino, name: &str) -> Result<(), RefreshError> {
        match self.look(dir).await {
            Ok(Known::Whole) => Ok(()),
            Ok(Known::Part(_)) | Err(RefreshError::TooLarge(_))
                if self.inner.catalog.child(dir, name).await?.is_some() =>
            {
                Ok(())
            }
            Ok(Known::Part(_)) | Err(RefreshError::TooLarge(_))
                if self.inner.ask_for(dir, name).await? =>
            {
                Ok(())
            }
            Ok(Known::Part(_)) => self.on_access(dir).await,
            Err(error) => Err(error),
        }
    }

    /// Lists `dir` to the end if it never was, or if its listing is older than the share's stale time. A
    /// listing that fails leaves the old one good.
    ///
    /// # Errors
    /// [`RefreshError`], of the store only when the directory has never been listed.
    pub async fn on_access(&self, dir: Ino) -> Result<(), RefreshError> {
        let row = self.inner.catalog.inode(dir).await?;
        if !self.inner.wants_listing(&row) || !self.inner.may_ask(&row) {
            return Ok(());
        }
        let ended = match self.join(dir, row.listed_at) {
            Ok(flight) => flight.ended().await,
            Err(error) => Err(error),
        };
        if row.listed_at.is_some() { old_stays_good(ended) } else { ended.map(drop) }
    }

    /// Lists `dir` now, and answers how many names it has. A listing that is under way does not count: it
    /// may have begun before what the caller wants to see.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub async fn now(&self, dir: Ino) -> Result<u64, RefreshError> {
        self.inner.catalog.inode(dir).await?;
        loop {
            let (flight, lead) = self.inner.flights.join(dir).ok_or(RefreshError::Busy)?;
            let Some(lead) = lead else {
                // How it ends is told to those who asked for it.
                drop(flight.ended().await);
                continue;
            };
            let inner = Arc::clone(&self.inner);
            self.inner.tasks.spawn("list directory", async move {
                let outcome = inner.take_turn(dir, &lead).await;
                lead.end(outcome);
            });
            return flight.ended().await;
        }
    }

    /// The listing of `dir` that is under way, or a new one, which does nothing if one has ended since
    /// the directory was found to be listed at `seen`.
    pub(super) fn join(&self, dir: Ino, seen: Option<Timestamp>) -> Result<Flight, RefreshError> {
        self.inner.too_large.check(dir, self.inner.clock.now())?;
        let (flight, lead) = self.inner.flights.join(dir).ok_or(RefreshError::Busy)?;
        if let Some(lead) = lead {
            let inner = Arc::clone(&self.inner);
            self.inner.tasks.spawn("list directory", async move {
                let outcome = match inner.catalog.inode(dir).await {
                    Ok(row) if row.listed_at != seen => Ok(0),
                    Ok(_) => inner.take_turn(dir, &lead).await,
                    Err(error) => Err(error.into()),
                };
                lead.end(outcome);
            });
        }
        Ok(flight)
    }
}

fn known(seen: Seen) -> Result<Known, RefreshError> {
    match seen {
        Seen::Part(progress) => Ok(Known::Part(progress)),
        Seen::Ended(outcome) => outcome.map(|_| Known::Whole),
    }
}

/// What became of the listing of a directory that was listed before.
fn old_stays_good(outcome: Result<u64, RefreshError>) -> Result<(), RefreshError> {
    match outcome {
        Err(
            error @ (RefreshError::Store(_)
            | RefreshError::Interrupted
            | RefreshError::Busy
            | RefreshError::TooLarge(_)),
        ) => {
            tracing::debug!(%error, "the old listing stays good");
            Ok(())
        }
        Err(error @ RefreshError::Catalog(_)) => Err(error),
        Ok(_) => Ok(()),
    }
}

impl Inner {
    fn wants_listing(&self, row: &Inode) -> bool {
        row.kind == FileKind::Directory && self.is_stale(row.listed_at)
    }

    fn is_stale(&self, listed_at: Option<Timestamp>) -> bool {
        let Some(listed_at) = listed_at else { return true };
        let seconds = u64::from(self.share.settings.cache_stale_timeout_seconds);
        let now = self.clock.now();
        // A clock that was set back must not keep a listing for ever.
        seconds > 0 && (now >= listed_at.plus_millis(seconds * 1000) || now < listed_at)
    }

    /// Whether S3 is to be asked: always for a directory that was never listed.
    fn may_ask(&self, row: &Inode) -> bool {
        if row.listed_at.is_none() {
            return true;
        }
        let now = self.clock.now();
        let failed_at = Timestamp::from_nanos(self.failed_at.load(Ordering::Relaxed));
        // A clock that was set back ends the pause.
        let pauses = now >= failed_at && now < failed_at.plus_millis(PAUSE_MS);
        !pauses && self.share.health.blocked_until(Right::Read, now).is_none()
    }

    /// A request for a listing has failed.
    pub(super) fn failed(&self, error: &StoreError) {
        let now = self.clock.now();
        self.share.health.failed(error, now);
        self.failed_at.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Lists when it is its turn, unless the gateway stops.
    async fn take_turn(&self, dir: Ino, lead: &Lead) -> Result<u64, RefreshError> {
        let listed = async {
            let _turn = self.turns.acquire().await.map_err(|_| RefreshError::Interrupted)?;
            self.list(dir, lead).await
        };
        tokio::select! {
            listed = listed => listed,
            () = self.tasks.stopping().cancelled() => Err(RefreshError::Interrupted),
        }
    }
}
