//! LOOKUP, READLINK (RFC 1813 §3.3.3, §3.3.5).
use super::{Intent, Request, args, attr::post_op, status};
use crate::nfs::rpc::{
    decode::{DecodeError, Decoder},
    reply::Reply,
};

impl Request<'_> {
    pub(super) async fn lookup(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let (handle, name) = args::only_entry(&mut args)?;
        let dir = match self.target(&handle, Intent::Read) {
            Ok(dir) => dir,
            Err(status) => return Ok(self.failed(status, None).await),
        };
        let found = match name.get() {
            Ok(name) => dir.export.fs.lookup(&dir.cx, dir.ino, name).await.map_err(status),
            Err(status) => Err(status),
        };
        Ok(match found {
            Ok(attr) => {
                // The directory's attributes let the client keep what it knows of other names.
                let dir_attr = dir.attr().await;
                let mut reply = self.ok();
                reply.opaque(&self.handle(&dir, attr.ino));
                post_op(&mut reply, Some((&dir, &attr)));
                post_op(&mut reply, dir_attr.as_ref().map(|attr| (&dir, attr)));
                reply
            }
            Err(status) => self.failed(status, Some(&dir)).await,
        })
    }

    pub(super) async fn readlink(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let handle = args::only_handle(&mut args)?;
        let target = match self.target(&handle, Intent::Read) {
            Ok(target) => target,
            Err(status) => return Ok(self.failed(status, None).await),
        };
        Ok(match target.export.fs.readlink(&target.cx, target.ino).await {
            Ok((path, attr)) => {
                let mut reply = self.ok();
                post_op(&mut reply, Some((&target, &attr)));
                reply.opaque_tail(path)
            }
            Err(error) => self.failed(status(error), Some(&target)).await,
        })
    }
}
