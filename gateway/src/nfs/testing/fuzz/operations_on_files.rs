//! Operations on what a handle names: GETATTR, SETATTR, ACCESS, READLINK, READ, WRITE.
use nfs3_types::nfs3::{self as v3, Nfs3Result, nfsstat3};

use super::{
    model::{Content, Number},
    operation::Operation,
    operations::Session,
    wire::{Caller, Procedure, hyper, opaque, sattr, words},
    world::FILE_BYTES_MAX,
};
use crate::{nfs::rpc::limits::IO_BYTES_MAX, vfs::access};

impl Session {
    pub(super) fn getattr(&mut self, op: &Operation) {
        let number = self.model.pick(op.object);
        let args = [self.handle(number)];
        match self.ask::<v3::GETATTR3res>(op, Procedure::nfs(1), &args) {
            Nfs3Result::Ok(ok) => {
                let (object, attr) = (&self.model.objects[number], ok.obj_attributes);
                assert!(object.alive, "attributes of what is gone");
                let (kind, size) = match &object.content {
                    Content::File(data) => (v3::ftype3::NF3REG, Some(data.len())),
                    Content::Directory { .. } => (v3::ftype3::NF3DIR, None),
                    Content::Symlink(target) => (v3::ftype3::NF3LNK, Some(target.len())),
                };
                assert_eq!(attr.type_, kind);
                assert!(size.is_none_or(|size| size as u64 == attr.size), "size {}", attr.size);
            }
            Nfs3Result::Err((status, _)) => {
                assert_eq!(status, nfsstat3::NFS3ERR_STALE);
                assert!(!self.model.objects[number].alive, "stale although it has a name");
            }
        }
    }

    pub(super) fn setattr(&mut self, op: &Operation) {
        let number = self.model.pick(op.object);
        let guard = if op.is_guarded() { words(&[1, 7, 7]) } else { words(&[0]) };
        let args = [self.handle(number), sattr(Some(0o644), op.size()), guard];
        match self.ask::<v3::SETATTR3res>(op, Procedure::nfs(2), &args) {
            Nfs3Result::Ok(_) => {
                assert!(!op.is_guarded(), "the guard held");
                if let Some(size) = op.size() {
                    self.model.resize(number, size);
                }
            }
            Nfs3Result::Err(_) => {}
        }
    }

    pub(super) fn access(&mut self, op: &Operation) {
        let asked = op.offset & (access::READ | access::LOOKUP | access::MODIFY);
        let args = [self.handle(self.model.pick(op.object)), words(&[asked])];
        if let Nfs3Result::Ok(ok) = self.ask::<v3::ACCESS3res>(op, Procedure::nfs(4), &args) {
            assert_eq!(ok.access & !asked, 0, "granted what was not asked for");
        }
    }

    pub(super) fn readlink(&mut self, op: &Operation) {
        let number = self.model.pick(op.object);
        let args = [self.handle(number)];
        if let Nfs3Result::Ok(ok) = self.ask::<v3::READLINK3res>(op, Procedure::nfs(5), &args) {
            let Content::Symlink(target) = &self.model.objects[number].content else {
                panic!("a target of what is no symbolic link");
            };
            assert_eq!(*ok.data.0, target[..]);
        }
    }

    /// Whether root can read and write it.
    fn is_open(&self, op: &Operation, number: Number) -> bool {
        let object = &self.model.objects[number];
        op.caller() == Caller::Root && object.alive && matches!(object.content, Content::File(_))
    }

    pub(super) fn read(&mut self, op: &Operation) {
        let number = self.model.pick(op.object);
        let args = [self.handle(number), hyper(op.offset()), words(&[op.length()])];
        match self.ask::<v3::READ3res>(op, Procedure::nfs(6), &args) {
            Nfs3Result::Ok(ok) => {
                let data = self.model.data(number).expect("only files are read");
                let start = usize::try_from(op.offset()).expect("64 bits").min(data.len());
                let count = op.length().min(IO_BYTES_MAX) as usize;
                let end = start.saturating_add(count).min(data.len());
                assert!(*ok.data == data[start..end], "what is read is what was written");
                assert_eq!(ok.eof, end == data.len(), "eof");
            }
            Nfs3Result::Err((status, _)) => {
                assert!(!self.is_open(op, number), "root cannot read: {status:?}");
            }
        }
    }

    pub(super) fn write(&mut self, op: &Operation) {
        let number = self.model.pick(op.object);
        let (offset, length) = (op.offset(), op.length());
        // No two writes write the same.
        let seed = self.xid.wrapping_mul(31);
        let data: Vec<u8> = (0..length).map(|at| (seed.wrapping_add(at) % 251) as u8).collect();
        let how = words(&[length, op.how()]);
        let args = [self.handle(number), hyper(offset), how, opaque(&data)];
        match self.ask::<v3::WRITE3res>(op, Procedure::nfs(7), &args) {
            Nfs3Result::Ok(ok) => {
                assert_eq!(ok.count, length.min(IO_BYTES_MAX), "as much is written as may be");
                assert!(ok.committed as u32 >= op.how(), "no less stable than asked for");
                self.model.write(number, offset, &data[..ok.count as usize]);
            }
            Nfs3Result::Err((status, _)) => {
                let fits = offset.saturating_add(u64::from(length)) <= FILE_BYTES_MAX;
                assert!(!self.is_open(op, number) || !fits, "root cannot write: {status:?}");
            }
        }
    }
}
