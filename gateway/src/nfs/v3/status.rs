//! [`FsError`] as NFS says it: the only place where that is decided.
use nfsserve::nfs::nfsstat3;

use crate::vfs::FsError;

/// The status of a failed operation (RFC 1813 §2.6).
pub(crate) fn status(error: FsError) -> nfsstat3 {
    match error {
        FsError::NotFound => nfsstat3::NFS3ERR_NOENT,
        FsError::NotDirectory => nfsstat3::NFS3ERR_NOTDIR,
        FsError::IsDirectory => nfsstat3::NFS3ERR_ISDIR,
        FsError::Exists => nfsstat3::NFS3ERR_EXIST,
        FsError::NotEmpty => nfsstat3::NFS3ERR_NOTEMPTY,
        FsError::Access => nfsstat3::NFS3ERR_ACCES,
        FsError::NotOwner => nfsstat3::NFS3ERR_PERM,
        FsError::NameTooLong => nfsstat3::NFS3ERR_NAMETOOLONG,
        FsError::Invalid => nfsstat3::NFS3ERR_INVAL,
        FsError::FileTooBig => nfsstat3::NFS3ERR_FBIG,
        FsError::NoSpace => nfsstat3::NFS3ERR_NOSPC,
        FsError::ReadOnly => nfsstat3::NFS3ERR_ROFS,
        FsError::Stale => nfsstat3::NFS3ERR_STALE,
        FsError::NotSync => nfsstat3::NFS3ERR_NOT_SYNC,
        FsError::BadCookie => nfsstat3::NFS3ERR_BAD_COOKIE,
        FsError::CrossShare => nfsstat3::NFS3ERR_XDEV,
        FsError::NotSupported => nfsstat3::NFS3ERR_NOTSUPP,
        FsError::TryLater => nfsstat3::NFS3ERR_JUKEBOX,
        FsError::Io => nfsstat3::NFS3ERR_IO,
    }
}
