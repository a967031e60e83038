//! The file system's way to S3: the fetcher and the refresher of its share, with their errors in the
//! file system's words.
use std::ops::Range;

use async_trait::async_trait;

use super::{FsError, source::Source};
use crate::{
    fetch::{FetchError, Fetcher},
    ids::Ino,
    refresh::{RefreshError, Refresher},
    store::StoreErrorKind,
};

/// One share's movers.
#[derive(Debug)]
pub struct Movers {
    fetcher: Fetcher,
    refresher: Refresher,
}

impl Movers {
    /// Of one share.
    pub fn new(fetcher: Fetcher, refresher: Refresher) -> Self {
        Self { fetcher, refresher }
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
            RefreshError::Catalog(error) => error.into(),
        }
    }
}

#[async_trait]
impl Source for Movers {
    async fn fetch(&self, ino: Ino, range: Range<u64>) -> Result<(), FsError> {
        Ok(self.fetcher.fetch(ino, range).await?)
    }

    async fn refresh_dir(&self, dir: Ino) -> Result<(), FsError> {
        Ok(self.refresher.on_access(dir).await?)
    }

    async fn load_attr(&self, ino: Ino) -> Result<(), FsError> {
        self.refresher.load_attr(ino).await?;
        Ok(())
    }

    async fn list_subtree(&self, dir: Ino) -> Result<(), FsError> {
        Ok(self.refresher.whole_subtree(dir).await?)
    }
}
