//! What a file system operation can answer, protocol-neutral.

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
