//! GETATTR, SETATTR, ACCESS (RFC 1813 §3.3.1, §3.3.2, §3.3.4).
use nfsserve::nfs::{nfsstat3, nfstime3, sattr3};

use super::{
    Intent, Request, args,
    attr::{fattr, post_op},
    status,
};
use crate::{
    nfs::rpc::{
        decode::{DecodeError, Decoder},
        reply::Reply,
    },
    vfs::access,
};

impl Request<'_> {
    pub(super) async fn getattr(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let handle = args::only_handle(&mut args)?;
        let target = match self.target(&handle, Intent::Read) {
            Ok(target) => target,
            Err(status) => return Ok(self.with_status(status)),
        };
        Ok(match target.export.fs.getattr(&target.cx, target.ino).await {
            Ok(attr) => {
                let mut reply = self.ok();
                reply.wire(&fattr(target.export.id, &attr));
                reply
            }
            Err(error) => self.with_status(status(error)),
        })
    }

    pub(super) async fn setattr(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let handle = args::handle(&mut args)?;
        let set: sattr3 = args.wire()?;
        let guard: Option<nfstime3> = if args.bool()? { Some(args.wire()?) } else { None };
        args.end()?;
        let target = match self.target(&handle, Intent::Change) {
            Ok(target) => target,
            Err(status) => return Ok(self.failed_change(status, [None]).await),
        };
        let asked =
            args::set_attr(&set).and_then(|set| Ok((set, guard.map(args::timestamp).transpose()?)));
        let done = match asked {
            Ok((set, guard)) => {
                target.export.fs.setattr(&target.cx, target.ino, set, guard).await.map_err(status)
            }
            Err(status) => Err(status),
        };
        Ok(match done {
            Ok(change) => {
                let mut reply = self.ok();
                target.wcc(&mut reply, &change);
                reply
            }
            Err(status) => self.failed_change(status, [Some(&target)]).await,
        })
    }

    pub(super) async fn access(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        const CHANGES: u32 = access::MODIFY | access::EXTEND | access::DELETE;
        let handle = args::handle(&mut args)?;
        let asked = args.u32()?;
        args.end()?;
        let target = match self.target(&handle, Intent::Read) {
            Ok(target) => target,
            Err(status) => return Ok(self.failed(status, None).await),
        };
        Ok(match target.export.fs.access(&target.cx, target.ino, asked).await {
            Ok((granted, attr)) => {
                let withheld = if target.export.policy.read_only { CHANGES } else { 0 };
                let mut reply = self.with_status(nfsstat3::NFS3_OK);
                post_op(&mut reply, Some((&target, &attr)));
                reply.u32(granted & asked & !withheld);
                reply
            }
            Err(error) => self.failed(status(error), Some(&target)).await,
        })
    }
}
