//! CREATE, MKDIR, SYMLINK, MKNOD (RFC 1813 §3.3.8 to §3.3.11).
use nfsserve::nfs::{nfsstat3, sattr3, specdata3};

use super::{Intent, Request, Target, args, attr::post_op, status};
use crate::{
    nfs::rpc::{
        decode::{DecodeError, Decoder},
        limits::SYMLINK_BYTES_MAX,
        reply::Reply,
    },
    vfs::{CreateHow, Created},
};

/// RFC 1813 §3.3.8 createhow3, its attributes not yet judged.
enum How {
    Unchecked(sattr3),
    Guarded(sattr3),
    Exclusive([u8; 8]),
}

impl How {
    fn decode(args: &mut Decoder) -> Result<Self, DecodeError> {
        match args.u32()? {
            0 => Ok(Self::Unchecked(args.wire()?)),
            1 => Ok(Self::Guarded(args.wire()?)),
            2 => Ok(Self::Exclusive(args.fixed()?)),
            _ => Err(DecodeError::Unknown),
        }
    }

    fn judge(&self) -> Result<CreateHow, nfsstat3> {
        Ok(match self {
            Self::Unchecked(set) => CreateHow::Unchecked(args::set_attr(set)?),
            Self::Guarded(set) => CreateHow::Guarded(args::set_attr(set)?),
            Self::Exclusive(verifier) => CreateHow::Exclusive(*verifier),
        })
    }
}

impl Request<'_> {
    async fn created(&self, dir: &Target, done: Result<Created, nfsstat3>) -> Reply {
        match done {
            Ok(created) => {
                let mut reply = self.ok();
                reply.bool(true);
                reply.opaque(&self.handle(dir, created.attr.ino));
                post_op(&mut reply, Some((dir, &created.attr)));
                dir.wcc(&mut reply, &created.dir);
                reply
            }
            Err(status) => self.failed_change(status, [Some(dir)]).await,
        }
    }

    pub(super) async fn create(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let (handle, name) = (args::handle(&mut args)?, args::name(&mut args)?);
        let how = How::decode(&mut args)?;
        args.end()?;
        let dir = match self.target(&handle, Intent::Change) {
            Ok(dir) => dir,
            Err(status) => return Ok(self.failed_change(status, [None]).await),
        };
        let done = match name.get().and_then(|name| Ok((name, how.judge()?))) {
            Ok((name, how)) => {
                dir.export.fs.create(&dir.cx, dir.ino, name, how).await.map_err(status)
            }
            Err(status) => Err(status),
        };
        Ok(self.created(&dir, done).await)
    }

    pub(super) async fn mkdir(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let (handle, name) = (args::handle(&mut args)?, args::name(&mut args)?);
        let set: sattr3 = args.wire()?;
        args.end()?;
        let dir = match self.target(&handle, Intent::Change) {
            Ok(dir) => dir,
            Err(status) => return Ok(self.failed_change(status, [None]).await),
        };
        let done = match name.get().and_then(|name| Ok((name, args::set_attr(&set)?))) {
            Ok((name, set)) => {
                dir.export.fs.mkdir(&dir.cx, dir.ino, name, set).await.map_err(status)
            }
            Err(status) => Err(status),
        };
        Ok(self.created(&dir, done).await)
    }

    pub(super) async fn symlink(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let (handle, name) = (args::handle(&mut args)?, args::name(&mut args)?);
        let set: sattr3 = args.wire()?;
        let path = args.opaque_unbounded()?;
        args.end()?;
        let dir = match self.target(&handle, Intent::Change) {
            Ok(dir) => dir,
            Err(status) => return Ok(self.failed_change(status, [None]).await),
        };
        let judged = name.get().and_then(|name| {
            if path.len() > SYMLINK_BYTES_MAX {
                return Err(nfsstat3::NFS3ERR_NAMETOOLONG);
            }
            Ok((name, args::set_attr(&set)?))
        });
        let done = match judged {
            Ok((name, set)) => {
                let done = dir.export.fs.symlink(&dir.cx, dir.ino, name, &path, set);
                done.await.map_err(status)
            }
            Err(status) => Err(status),
        };
        Ok(self.created(&dir, done).await)
    }

    /// An object store has no place for devices, sockets and pipes.
    pub(super) async fn mknod(&self, mut args: Decoder) -> Result<Reply, DecodeError> {
        let (handle, _name) = (args::handle(&mut args)?, args::name(&mut args)?);
        let status = match args.u32()? {
            // NF3BLK, NF3CHR
            3 | 4 => {
                args.wire::<sattr3>()?;
                args.wire::<specdata3>()?;
                nfsstat3::NFS3ERR_NOTSUPP
            }
            // NF3SOCK, NF3FIFO
            6 | 7 => {
                args.wire::<sattr3>()?;
                nfsstat3::NFS3ERR_NOTSUPP
            }
            // NF3REG, NF3DIR, NF3LNK have procedures of their own.
            1 | 2 | 5 => nfsstat3::NFS3ERR_BADTYPE,
            _ => return Err(DecodeError::Unknown),
        };
        args.end()?;
        let dir = match self.target(&handle, Intent::Change) {
            Ok(dir) => dir,
            Err(status) => return Ok(self.failed_change(status, [None]).await),
        };
        Ok(self.failed_change(status, [Some(&dir)]).await)
    }
}
