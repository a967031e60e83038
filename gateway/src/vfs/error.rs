//! What a file system operation can answer, protocol-neutral.
use crate::{cache::CacheError, catalog::CatalogError};

/// Why an operation failed, as the protocol edge must tell it to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each says itself; nfs/status.rs maps each to its NFS status")]
pub enum FsError {
    #[error("no such file or directory")]
    NotFound,
    #[error("not a directory")]
    NotDirectory,
    #[error("is a directory")]
    IsDirectory,
    #[error("exists already")]
    Exists,
    #[error("directory is not empty")]
    NotEmpty,
    #[error("permission denied")]
    Access,
    #[error("not the owner")]
    NotOwner,
    #[error("name or key too long")]
    NameTooLong,
    #[error("invalid argument")]
    Invalid,
    #[error("file too large")]
    FileTooBig,
    #[error("no space on the cache disk")]
    NoSpace,
    #[error("read-only share")]
    ReadOnly,
    #[error("stale file handle")]
    Stale,
    #[error("guard does not match")]
    NotSync,
    #[error("directory cookie is not valid any more")]
    BadCookie,
    #[error("across shares")]
    CrossShare,
    #[error("not supported")]
    NotSupported,
    #[error("try again later")]
    TryLater,
    #[error("input/output error")]
    Io,
}

impl From<CatalogError> for FsError {
    fn from(error: CatalogError) -> Self {
        Self::from(&error)
    }
}

impl From<&CatalogError> for FsError {
    fn from(error: &CatalogError) -> Self {
        match error {
            CatalogError::Gone(_) => Self::Stale,
            CatalogError::NoEntry => Self::NotFound,
            CatalogError::Exists => Self::Exists,
            CatalogError::NotDirectory => Self::NotDirectory,
            CatalogError::IsDirectory => Self::IsDirectory,
            CatalogError::NotEmpty => Self::NotEmpty,
            CatalogError::IntoItself => Self::Invalid,
            CatalogError::KeyTooLong => Self::NameTooLong,
            CatalogError::Changed | CatalogError::ListingExpired => Self::TryLater,
            CatalogError::Sqlite(_)
            | CatalogError::Commit(_)
            | CatalogError::Closed
            | CatalogError::Corrupt(_)
            | CatalogError::SqliteTooOld { .. }
            | CatalogError::NewerSchema { .. }
            | CatalogError::ShareBusy { .. } => {
                tracing::error!("catalog operation failed: {error}");
                Self::Io
            }
        }
    }
}

impl From<CacheError> for FsError {
    fn from(error: CacheError) -> Self {
        tracing::error!("cache operation failed: {error}");
        if error.is_no_space() { Self::NoSpace } else { Self::Io }
    }
}
