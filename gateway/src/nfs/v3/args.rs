//! Arguments that several procedures take.
use bytes::Bytes;
use nfsserve::nfs::{
    nfsstat3, nfstime3, sattr3, set_atime, set_gid3, set_mode3, set_mtime, set_size3, set_uid3,
};

use super::HANDLE_BYTES_MAX;
use crate::{
    clock::Timestamp,
    nfs::rpc::{
        decode::{DecodeError, Decoder},
        limits::NAME_BYTES_MAX,
    },
    vfs::{SetAttr, SetTime},
};

/// Bits of a mode that can be set.
const MODE_BITS: u32 = 0o7777;
const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// A name as it came (RFC 1813 §2.5.1 filename3 has no bound of its own).
#[derive(Clone, Debug)]
pub(super) struct Name(Bytes);

impl Name {
    /// The name, if it is not too long to be looked at.
    pub(super) fn get(&self) -> Result<&[u8], nfsstat3> {
        if self.0.len() > NAME_BYTES_MAX {
            return Err(nfsstat3::NFS3ERR_NAMETOOLONG);
        }
        Ok(&self.0)
    }
}

pub(super) fn handle(args: &mut Decoder) -> Result<Bytes, DecodeError> {
    args.opaque(HANDLE_BYTES_MAX)
}

pub(super) fn name(args: &mut Decoder) -> Result<Name, DecodeError> {
    Ok(Name(args.opaque_unbounded()?))
}

/// A handle that is the whole argument.
pub(super) fn only_handle(args: &mut Decoder) -> Result<Bytes, DecodeError> {
    let handle = handle(args)?;
    args.end()?;
    Ok(handle)
}

/// A directory and a name that are the whole argument.
pub(super) fn only_entry(args: &mut Decoder) -> Result<(Bytes, Name), DecodeError> {
    let entry = (handle(args)?, name(args)?);
    args.end()?;
    Ok(entry)
}

/// Attributes to be set (RFC 1813 §2.5.3 sattr3).
///
/// # Errors
/// NFS3ERR_INVAL for a time whose nanoseconds make a second.
pub(crate) fn set_attr(set: &sattr3) -> Result<SetAttr, nfsstat3> {
    Ok(SetAttr {
        mode: match set.mode {
            set_mode3::Void => None,
            set_mode3::mode(mode) => Some(mode & MODE_BITS),
        },
        uid: match set.uid {
            set_uid3::Void => None,
            set_uid3::uid(uid) => Some(uid),
        },
        gid: match set.gid {
            set_gid3::Void => None,
            set_gid3::gid(gid) => Some(gid),
        },
        size: match set.size {
            set_size3::Void => None,
            set_size3::size(size) => Some(size),
        },
        atime: match set.atime {
            set_atime::DONT_CHANGE => SetTime::Keep,
            set_atime::SET_TO_SERVER_TIME => SetTime::Now,
            set_atime::SET_TO_CLIENT_TIME(time) => SetTime::To(timestamp(time)?),
        },
        mtime: match set.mtime {
            set_mtime::DONT_CHANGE => SetTime::Keep,
            set_mtime::SET_TO_SERVER_TIME => SetTime::Now,
            set_mtime::SET_TO_CLIENT_TIME(time) => SetTime::To(timestamp(time)?),
        },
    })
}

/// A moment as NFS sends it: unsigned seconds since 1970.
pub(super) fn timestamp(time: nfstime3) -> Result<Timestamp, nfsstat3> {
    if time.nseconds >= NANOS_PER_SECOND {
        return Err(nfsstat3::NFS3ERR_INVAL);
    }
    Ok(Timestamp::new(i64::from(time.seconds), time.nseconds))
}
