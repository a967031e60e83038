//! What the file system needs of S3, as the movers provide it.
use std::{fmt, ops::Range};

use async_trait::async_trait;

use super::FsError;
use crate::ids::Ino;

/// The side that S3 is on. One per share. Called without any lock held.
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// Makes `range` of the file present in the cache and in the catalog's ranges, except bytes that
    /// the overlay holds. Installs fetched bytes under the inode's exclusive lock.
    ///
    /// # Errors
    /// [`FsError::TryLater`] when the object has changed or S3 does not answer,
    /// [`FsError::Stale`] when it is gone, [`FsError::Access`], [`FsError::Io`].
    async fn fetch(&self, ino: Ino, range: Range<u64>) -> Result<(), FsError>;

    /// Notes that `range` of a file was read of which not everything behind that is here: what comes next
    /// may be fetched in the background. Does not wait.
    fn read_on(&self, ino: Ino, range: &Range<u64>);

    /// Lists the directory if what is known of it is older than the share's stale time.
    ///
    /// # Errors
    /// Only when the directory has never been listed; else what is known is served.
    async fn refresh_dir(&self, dir: Ino) -> Result<(), FsError>;

    /// Asks for the real attributes of an inode that has defaults from a listing (HEAD).
    ///
    /// # Errors
    /// [`FsError::TryLater`], [`FsError::Stale`], [`FsError::Access`], [`FsError::Io`].
    async fn load_attr(&self, ino: Ino) -> Result<(), FsError>;

    /// Lists the directory and everything below it that has never been listed: before it is renamed.
    ///
    /// # Errors
    /// As [`Source::load_attr`]; the rename must not happen then.
    async fn list_subtree(&self, dir: Ino) -> Result<(), FsError>;
}
