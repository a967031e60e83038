//! FSSTAT, FSINFO, PATHCONF (RFC 1813 §3.3.18 to §3.3.20).
use nfsserve::nfs::{
    FSF_CANSETTIME, FSF_HOMOGENEOUS, FSF_SYMLINK, fsinfo3, nfstime3, post_op_attr,
};

use super::{
    Intent, Request, args,
    attr::{fattr, post_op},
    status,
};
use crate::nfs::rpc::{
    decode::{DecodeError, Decoder},
    limits::{IO_BYTES_MAX, NAME_BYTES_MAX},
    reply::Reply,
};

/// Sizes that suit the cache: its files are read and written in pages.
const IO_BYTES_MULTIPLE: u32 = 4096;
/// Preferred size of READDIR and READDIRPLUS: some hundred entries with attributes.
const DIRECTORY_BYTES_PREFERRED: u32 = 128 * 1024;
/// S3: the largest object that every compatible store takes, 5 TiB.
const FILE_BYTES_MAX: u64 = 5 << 40;
/// Times are kept to the nanosecond.
const TIME_STEP: nfstime3 = nfstime3 { seconds: 0, nseconds: 1 };
/// An object has one key.
const LINKS_MAX: u32 = 1;

impl Request<'_> {
    pub(super) async fn fsstat(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let handle = args::only_handle(&mut args)?;
        let target = match self.target(&handle, Intent::Read) {
            Ok(target) => target,
            Err(status) => return Ok(self.failed(status, None).await),
        };
        // A handle whose object is gone is stale here too.
        let attr = match target.export.fs.getattr(&target.cx, target.ino).await {
            Ok(attr) => attr,
            Err(error) => return Ok(self.failed(status(error), None).await),
        };
        Ok(match target.export.fs.statfs(&target.cx).await {
            Ok(stat) => {
                let mut reply = self.ok();
                post_op(&mut reply, Some((&target, &attr)));
                reply.u64(stat.total_bytes);
                reply.u64(stat.free_bytes);
                reply.u64(stat.available_bytes);
                reply.u64(stat.total_files);
                reply.u64(stat.free_files);
                // Free files available to the caller: as many as there are.
                reply.u64(stat.free_files);
                // invarsec: may change at any time.
                reply.u32(0);
                reply
            }
            Err(error) => self.failed(status(error), Some(&target)).await,
        })
    }

    pub(super) async fn fsinfo(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let handle = args::only_handle(&mut args)?;
        let target = match self.target(&handle, Intent::Read) {
            Ok(target) => target,
            Err(status) => return Ok(self.failed(status, None).await),
        };
        Ok(match target.export.fs.getattr(&target.cx, target.ino).await {
            Ok(attr) => {
                let mut reply = self.ok();
                reply.wire(&fsinfo3 {
                    obj_attributes: post_op_attr::attributes(fattr(target.export.id, &attr)),
                    rtmax: IO_BYTES_MAX,
                    rtpref: IO_BYTES_MAX,
                    rtmult: IO_BYTES_MULTIPLE,
                    wtmax: IO_BYTES_MAX,
                    wtpref: IO_BYTES_MAX,
                    wtmult: IO_BYTES_MULTIPLE,
                    dtpref: DIRECTORY_BYTES_PREFERRED,
                    maxfilesize: FILE_BYTES_MAX,
                    time_delta: TIME_STEP,
                    properties: FSF_SYMLINK | FSF_HOMOGENEOUS | FSF_CANSETTIME,
                });
                reply
            }
            Err(error) => self.failed(status(error), None).await,
        })
    }

    pub(super) async fn pathconf(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let handle = args::only_handle(&mut args)?;
        let target = match self.target(&handle, Intent::Read) {
            Ok(target) => target,
            Err(status) => return Ok(self.failed(status, None).await),
        };
        Ok(match target.export.fs.getattr(&target.cx, target.ino).await {
            Ok(attr) => {
                let mut reply = self.ok();
                post_op(&mut reply, Some((&target, &attr)));
                reply.u32(LINKS_MAX);
                reply.u32(u32::try_from(NAME_BYTES_MAX).unwrap_or(u32::MAX));
                // no_trunc, chown_restricted, case_insensitive, case_preserving
                [true, true, false, true].into_iter().for_each(|flag| reply.bool(flag));
                reply
            }
            Err(error) => self.failed(status(error), None).await,
        })
    }
}
