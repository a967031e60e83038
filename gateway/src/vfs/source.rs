//! What the file system needs of S3, as the movers provide it.
use std::{fmt, ops::Range};

use async_trait::async_trait;

use super::FsError;
use crate::{
    fetch::Come,
    ids::Ino,
    refresh::{Known, Progress},
};

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

    /// As [`Source::fetch`], for who wants to read: may answer the bytes themselves before they are in the cache.
    ///
    /// # Errors
    /// As [`Source::fetch`].
    async fn bring(&self, ino: Ino, range: Range<u64>) -> Result<Option<Come>, FsError> {
        self.fetch(ino, range).await.map(|()| None)
    }

    /// Notes that `range` of a file was read of which not everything behind that is here: what comes next
    /// may be fetched in the background. Does not wait.
    fn read_on(&self, ino: Ino, range: &Range<u64>);

    /// Lists the directory to its end if what is known of it is older than the share's stale time.
    ///
    /// # Errors
    /// Only when the directory has never been listed; else what is known is served.
    async fn refresh_dir(&self, dir: Ino) -> Result<(), FsError>;

    /// Sees to it that the directory is listed if what is known of it is older than the share's stale
    /// time, and answers soon: what is known is then good enough to be read.
    ///
    /// # Errors
    /// As [`Source::refresh_dir`].
    async fn look(&self, dir: Ino) -> Result<Known, FsError> {
        self.refresh_dir(dir).await.map(|()| Known::Whole)
    }

    /// The same for a directory that was listed before; one that never was is left alone.
    ///
    /// # Errors
    /// Of the gateway's own parts only.
    async fn look_again(&self, dir: Ino) -> Result<(), FsError> {
        self.look(dir).await.map(drop)
    }

    /// Waits until more of the directory is known than had been `seen`.
    ///
    /// # Errors
    /// As [`Source::load_attr`]: the listing has failed, and nobody knows what else there is.
    async fn more(&self, dir: Ino, _seen: Progress) -> Result<Known, FsError> {
        self.look(dir).await
    }

    /// Sees to it that an entry of this name is known if S3 has one, as fresh as [`Source::look`] says.
    ///
    /// # Errors
    /// As [`Source::refresh_dir`].
    async fn look_up(&self, dir: Ino, _name: &str) -> Result<(), FsError> {
        self.look(dir).await.map(drop)
    }

    /// Asks for the real attributes of an inode that has defaults from a listing (HEAD).
    ///
    /// # Errors
    /// [`FsError::TryLater`], [`FsError::Stale`], [`FsError::Access`], [`FsError::Io`].
    async fn load_attr(&self, ino: Ino) -> Result<(), FsError>;

    /// Notes that somebody is going to want the real attributes of these inodes, in this order: they may
    /// be asked for in the background. Does not wait.
    fn load_ahead(&self, _inos: Vec<Ino>) {}

    /// Lists the directory and everything below it that has never been listed.
    ///
    /// # Errors
    /// As [`Source::load_attr`].
    async fn list_subtree(&self, dir: Ino) -> Result<(), FsError>;

    /// The same, before the directory is renamed: answers within about a second.
    ///
    /// # Errors
    /// As [`Source::load_attr`]; [`FsError::TryLater`] when more time is needed, and it goes on. The rename
    /// must not happen then.
    async fn list_subtree_soon(&self, dir: Ino) -> Result<(), FsError> {
        self.list_subtree(dir).await
    }
}
