//! READ, WRITE, COMMIT (RFC 1813 §3.3.6, §3.3.7, §3.3.21).
use nfsserve::nfs::nfsstat3;

use super::{
    Intent, Request, args,
    attr::{post_op, stability_number},
    status,
};
use crate::{
    nfs::rpc::{
        decode::{DecodeError, Decoder},
        limits::{IO_BYTES_MAX, RECORD_BYTES_MAX},
        reply::Reply,
    },
    vfs::Stability,
};

/// What a READ's data will hold, for its budget. Arguments that do not decode get no data.
pub(super) fn read_reply_bytes(mut args: Decoder) -> usize {
    let count = || -> Result<u32, DecodeError> {
        args::handle(&mut args)?;
        args.u64()?;
        args.u32()
    };
    usize::try_from({ count }().unwrap_or(0).min(IO_BYTES_MAX)).unwrap_or(RECORD_BYTES_MAX)
}

fn stability(number: u32) -> Result<Stability, DecodeError> {
    match number {
        0 => Ok(Stability::Unstable),
        1 => Ok(Stability::DataSync),
        2 => Ok(Stability::FileSync),
        _ => Err(DecodeError::Unknown),
    }
}

impl Request<'_> {
    pub(super) async fn read(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let handle = args::handle(&mut args)?;
        let (offset, count) = (args.u64()?, args.u32()?);
        args.end()?;
        let target = match self.target(&handle, Intent::Read) {
            Ok(target) => target,
            Err(status) => return Ok(self.failed(status, None).await),
        };
        let count = count.min(IO_BYTES_MAX);
        Ok(match target.export.fs.read(&target.cx, target.ino, offset, count).await {
            Ok(read) => {
                let len = u32::try_from(read.data.len()).unwrap_or(u32::MAX);
                assert!(len <= count, "a share gives no more than it is asked for");
                let mut reply = self.ok();
                post_op(&mut reply, Some((&target, &read.attr)));
                reply.u32(len);
                reply.bool(read.eof);
                reply.opaque_tail(read.data)
            }
            Err(error) => self.failed(status(error), Some(&target)).await,
        })
    }

    pub(super) async fn write(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let handle = args::handle(&mut args)?;
        let (offset, count) = (args.u64()?, args.u32()?);
        let stability = stability(args.u32()?)?;
        let mut data = args.opaque_unbounded()?;
        args.end()?;
        let target = match self.target(&handle, Intent::Change) {
            Ok(target) => target,
            Err(status) => return Ok(self.failed_change(status, [None]).await),
        };
        if u32::try_from(data.len()) != Ok(count) {
            return Ok(self.failed_change(nfsstat3::NFS3ERR_INVAL, [Some(&target)]).await);
        }
        // More than FSINFO's wtmax is written in part, as the reply's count says.
        data.truncate(usize::try_from(IO_BYTES_MAX).unwrap_or(usize::MAX));
        if offset.checked_add(u64::from(count)).is_none() {
            return Ok(self.failed_change(nfsstat3::NFS3ERR_FBIG, [Some(&target)]).await);
        }
        let written = target.export.fs.write(&target.cx, target.ino, offset, data, stability);
        Ok(match written.await {
            Ok(written) => {
                let mut reply = self.ok();
                target.wcc(&mut reply, &written.change);
                reply.u32(written.count);
                reply.u32(stability_number(written.committed));
                reply.fixed(&written.verifier.0);
                reply
            }
            Err(error) => self.failed_change(status(error), [Some(&target)]).await,
        })
    }

    pub(super) async fn commit(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let handle = args::handle(&mut args)?;
        // The whole file is committed, whichever part is asked for.
        let (_offset, _count) = (args.u64()?, args.u32()?);
        args.end()?;
        // Not a change: what was written before a share became read-only is still made durable.
        let target = match self.target(&handle, Intent::Read) {
            Ok(target) => target,
            Err(status) => return Ok(self.failed_change(status, [None]).await),
        };
        Ok(match target.export.fs.commit(&target.cx, target.ino).await {
            Ok((change, verifier)) => {
                let mut reply = self.ok();
                target.wcc(&mut reply, &change);
                reply.fixed(&verifier.0);
                reply
            }
            Err(error) => self.failed_change(status(error), [Some(&target)]).await,
        })
    }
}
