//! What the catalog can refuse.
use crate::ids::Ino;

/// Why a catalog operation failed. After any error nothing of the operation has happened, except
/// for [`CatalogError::Commit`], after which it may have.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The library is too old to be trusted with a write-ahead log (sqlite.org/wal.html#walresetbug).
    #[error("SQLite {found} can lose committed data; build with SQLite 3.51.3 or newer")]
    SqliteTooOld {
        /// The version that was linked.
        found: &'static str,
    },
    /// A newer gateway has written this catalog.
    #[error(
        "the catalog has schema {found}, this gateway knows up to {known}: start the newer gateway again, or use an empty cache disk"
    )]
    NewerSchema {
        /// Its `user_version`.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// SQLite refused.
    #[error("catalog: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The transaction that held the operation could not be made durable.
    #[error("catalog commit failed: {0}")]
    Commit(String),
    /// The writer thread has ended (the gateway is stopping, or it panicked).
    #[error("the catalog is closed")]
    Closed,
    /// A row says what no gateway writes.
    #[error("the catalog is damaged: {0}")]
    Corrupt(String),
    /// The share has data that S3 does not have.
    #[error(
        "share {name} still has {pending} changes for {bucket}/{prefix}: wait until they are uploaded, or set the share back to that bucket and prefix"
    )]
    ShareBusy {
        /// The share.
        name: String,
        /// Journal operations not done.
        pending: u64,
        /// The bucket they are for.
        bucket: String,
        /// The prefix they are for.
        prefix: String,
    },
    /// No such inode: removed, or never given out.
    #[error("inode {} is gone", .0.0)]
    Gone(Ino),
    /// No entry of that name.
    #[error("no such entry")]
    NoEntry,
    /// The name is taken.
    #[error("the name is taken")]
    Exists,
    /// The inode is no directory.
    #[error("not a directory")]
    NotDirectory,
    /// The inode is a directory.
    #[error("is a directory")]
    IsDirectory,
    /// The directory has entries.
    #[error("the directory is not empty")]
    NotEmpty,
    /// A directory would become its own descendant.
    #[error("a directory cannot be moved into itself")]
    IntoItself,
    /// The path makes an object key of more than 1,024 bytes.
    #[error("the object key would be longer than 1,024 bytes")]
    KeyTooLong,
    /// The object is not the one that the caller means (its tag has changed).
    #[error("the object has changed")]
    Changed,
    /// The listing took so long that what happened meanwhile is forgotten; start it again.
    #[error("the listing is too old to be merged")]
    ListingExpired,
}

impl CatalogError {
    /// Whether SQLite has met a page that is not what it wrote.
    pub(super) fn is_damaged_file(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let Self::Sqlite(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
    }

    /// Whether the database itself is damaged, so that serving must stop (exit code 3).
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Corrupt(_) => true,
            Self::Sqlite(_) => self.is_damaged_file(),
            Self::SqliteTooOld { .. }
            | Self::NewerSchema { .. }
            | Self::Commit(_)
            | Self::Closed
            | Self::ShareBusy { .. }
            | Self::Gone(_)
            | Self::NoEntry
            | Self::Exists
            | Self::NotDirectory
            | Self::IsDirectory
            | Self::NotEmpty
            | Self::IntoItself
            | Self::KeyTooLong
            | Self::Changed
            | Self::ListingExpired => false,
        }
    }
}
