//! REMOVE, RMDIR, RENAME, LINK (RFC 1813 §3.3.12 to §3.3.15).
use nfsserve::nfs::nfsstat3;

use super::{Intent, Request, Target, args, attr::wcc_after, status};
use crate::{
    nfs::rpc::{
        decode::{DecodeError, Decoder},
        reply::Reply,
    },
    vfs::Change,
};

impl Request<'_> {
    async fn removed(&self, dir: &Target, done: Result<Change, nfsstat3>) -> Reply {
        match done {
            Ok(change) => {
                let mut reply = self.ok();
                dir.wcc(&mut reply, &change);
                reply
            }
            Err(status) => self.failed_change(status, [Some(dir)]).await,
        }
    }

    pub(super) async fn remove(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let (handle, name) = args::only_entry(&mut args)?;
        let dir = match self.target(&handle, Intent::Change) {
            Ok(dir) => dir,
            Err(status) => return Ok(self.failed_change(status, [None]).await),
        };
        let done = match name.get() {
            Ok(name) => dir.export.fs.remove(&dir.cx, dir.ino, name).await.map_err(status),
            Err(status) => Err(status),
        };
        Ok(self.removed(&dir, done).await)
    }

    pub(super) async fn rmdir(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let (handle, name) = args::only_entry(&mut args)?;
        let dir = match self.target(&handle, Intent::Change) {
            Ok(dir) => dir,
            Err(status) => return Ok(self.failed_change(status, [None]).await),
        };
        let done = match name.get() {
            // RFC 1813 §3.3.13 names the two statuses.
            Ok(b".") => Err(nfsstat3::NFS3ERR_INVAL),
            Ok(b"..") => Err(nfsstat3::NFS3ERR_EXIST),
            Ok(name) => dir.export.fs.rmdir(&dir.cx, dir.ino, name).await.map_err(status),
            Err(status) => Err(status),
        };
        Ok(self.removed(&dir, done).await)
    }

    pub(super) async fn rename(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let (from_handle, from_name) = (args::handle(&mut args)?, args::name(&mut args)?);
        let (to_handle, to_name) = args::only_entry(&mut args)?;
        let from = self.target(&from_handle, Intent::Change);
        let to = self.target(&to_handle, Intent::Change);
        let (from, to) = match (from, to) {
            (Ok(from), Ok(to)) => (from, to),
            (Err(status), to) => {
                return Ok(self.failed_change(status, [None, to.ok().as_ref()]).await);
            }
            (Ok(from), Err(status)) => {
                return Ok(self.failed_change(status, [Some(&from), None]).await);
            }
        };
        let judged = from_name.get().and_then(|from_name| {
            let to_name = to_name.get()?;
            if from.export.id == to.export.id {
                Ok((from_name, to_name))
            } else {
                Err(nfsstat3::NFS3ERR_XDEV)
            }
        });
        let done = match judged {
            Ok((from_name, to_name)) => {
                let fs = &from.export.fs;
                let done = fs.rename(&from.cx, from.ino, from_name, to.ino, to_name);
                done.await.map_err(status)
            }
            Err(status) => Err(status),
        };
        Ok(match done {
            Ok(renamed) => {
                let mut reply = self.ok();
                from.wcc(&mut reply, &renamed.from_dir);
                to.wcc(&mut reply, &renamed.to_dir);
                reply
            }
            Err(status) => self.failed_change(status, [Some(&from), Some(&to)]).await,
        })
    }

    /// An object has one key: there are no hard links.
    pub(super) async fn link(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let file_handle = args::handle(&mut args)?;
        let (dir_handle, _name) = args::only_entry(&mut args)?;
        let file = self.target(&file_handle, Intent::Change);
        let dir = self.target(&dir_handle, Intent::Change);
        let status = match (&file, &dir) {
            (Ok(_), Ok(_)) => nfsstat3::NFS3ERR_NOTSUPP,
            (Err(status), _) | (_, Err(status)) => *status,
        };
        let mut reply = self.failed(status, file.as_ref().ok()).await;
        let attr = match &dir {
            Ok(dir) => dir.attr().await,
            Err(_) => None,
        };
        wcc_after(&mut reply, dir.as_ref().ok().zip(attr.as_ref()));
        Ok(reply)
    }
}
