//! The file system's way to S3: the fetcher and the refresher of its share, with their errors in the
//! file system's words.
//!
//! What goes to S3 runs on the runtime that [`Movers::new`] was called on, whoever waits for it: the
//! threads that answer clients do no TLS.
use std::{future::Future, ops::Range};

use async_trait::async_trait;
use tokio::runtime::Handle;

use super::{FsError, source::Source};
use crate::{
    fetch::{Come, FetchError, Fetcher},
    ids::Ino,
    refresh::{Known, Progress, RefreshError, Refresher},
    store::StoreErrorKind,
};

/// One share's movers.
#[derive(Debug)]
pub struct Movers {
    fetcher: Fetcher,
    refresher: Refresher,
    runtime: Handle,
}

impl Movers {
    /// Of one share. Call it on the runtime that is to carry what goes to S3.
    pub fn new(fetcher: Fetcher, refresher: Refresher) -> Self {
        Self { fetcher, refresher, runtime: Handle::current() }
    }

    async fn elsewhere<T: Send + 'static, E: Into<FsError> + Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, FsError> {
        match self.runtime.spawn(work).await {
            Ok(done) => done.map_err(Into::into),
            Err(error) => {
                tracing::error!("a transfer with S3 died: {error}");
                Err(FsError::Io)
            }
        }
    }

    /// Its refresher, for commands of the operator.
    pub fn refresher(&self) -> &Refresher {
        &self.refresher
    }
}

impl From<StoreErrorKind> for FsError {
    fn from(kind: StoreErrorKind) -> Self {
        match kind {
            StoreErrorKind::NotFound => Self::Stale,
            StoreErrorKind::Changed
            | StoreErrorKind::Throttled
            | StoreErrorKind::Unavailable
            | StoreErrorKind::Timeout => Self::TryLater,
            StoreErrorKind::Denied => Self::Access,
            StoreErrorKind::TooLarge => Self::FileTooBig,
            StoreErrorKind::Credentials
            | StoreErrorKind::Archived
            | StoreErrorKind::NoBucket
            | StoreErrorKind::Integrity
            | StoreErrorKind::Invalid => Self::Io,
        }
    }
}

impl From<FetchError> for FsError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Store { kind, .. } => kind.into(),
            FetchError::Changed => Self::TryLater,
            FetchError::Gone => Self::Stale,
            FetchError::Incomplete => Self::Io,
            // The reader comes again, and asks for room first.
            FetchError::NoRoom(what) => {
                tracing::warn!("no room for bytes of an object: {what}");
                Self::TryLater
            }
            FetchError::Local(what) => {
                tracing::error!("bytes of an object could not be kept: {what}");
                Self::Io
            }
        }
    }
}

impl From<RefreshError> for FsError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Store(error) => error.kind.into(),
            RefreshError::Catalog(error) => Self::from(&*error),
            RefreshError::Interrupted | RefreshError::Busy => Self::TryLater,
            RefreshError::TooLarge(_) => Self::Io,
        }
    }
}

#[async_trait]
impl Source for Movers {
    async fn fetch(&self, ino: Ino, range: Range<u64>) -> Result<(), FsError> {
        let fetcher = self.fetcher.clone();
        self.elsewhere(async move { fetcher.fetch(ino, range).await }).await
    }

    async fn bring(&self, ino: Ino, range: Range<u64>) -> Result<Option<Come>, FsError> {
        let fetcher = self.fetcher.clone();
        self.elsewhere(async move { fetcher.bring(ino, range).await }).await
    }

    fn read_on(&self, ino: Ino, range: &Range<u64>) {
        if let Some(ahead) = self.fetcher.read_on(ino, range) {
            let fetcher = self.fetcher.clone();
            // It only begins what the fetcher's own tasks do; nobody waits for it.
            drop(self.runtime.spawn(async move { fetcher.ahead(ino, ahead).await }));
        }
    }

    async fn refresh_dir(&self, dir: Ino) -> Result<(), FsError> {
        if self.refresher.is_fresh(dir).await? {
            return Ok(());
        }
        let refresher = self.refresher.clone();
        self.elsewhere(async move { refresher.on_access(dir).await }).await
    }

    async fn look(&self, dir: Ino) -> Result<Known, FsError> {
        if self.refresher.is_fresh(dir).await? {
            return Ok(Known::Whole);
        }
        let refresher = self.refresher.clone();
        self.elsewhere(async move { refresher.look(dir).await }).await
    }

    async fn look_again(&self, dir: Ino) -> Result<(), FsError> {
        if !self.refresher.is_stale(dir).await? {
            return Ok(());
        }
        let refresher = self.refresher.clone();
        self.elsewhere(async move { refresher.look(dir).await }).await.map(drop)
    }

    async fn more(&self, dir: Ino, seen: Progress) -> Result<Known, FsError> {
        let refresher = self.refresher.clone();
        self.elsewhere(async move { refresher.more(dir, seen).await }).await
    }

    async fn look_up(&self, dir: Ino, name: &str) -> Result<(), FsError> {
        if self.refresher.is_fresh(dir).await? {
            return Ok(());
        }
        let (refresher, name) = (self.refresher.clone(), name.to_owned());
        self.elsewhere(async move { refresher.look_up(dir, &name).await }).await
    }

    async fn load_attr(&self, ino: Ino) -> Result<(), FsError> {
        let refresher = self.refresher.clone();
        self.elsewhere(async move { refresher.load_attr(ino).await }).await
    }

    fn load_ahead(&self, inos: Vec<Ino>) {
        // Whoever calls is on a thread that answers clients.
        let _runtime = self.runtime.enter();
        self.refresher.ahead(inos);
    }

    async fn list_subtree(&self, dir: Ino) -> Result<(), FsError> {
        let refresher = self.refresher.clone();
        self.elsewhere(async move { refresher.whole_subtree(dir).await }).await
    }

    async fn list_subtree_soon(&self, dir: Ino) -> Result<(), FsError> {
        let refresher = self.refresher.clone();
        let listed = self.elsewhere(async move { refresher.whole_subtree_soon(dir).await }).await?;
        if listed { Ok(()) } else { Err(FsError::TryLater) }
    }
}
