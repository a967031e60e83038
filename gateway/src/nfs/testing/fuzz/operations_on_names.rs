//! Operations on names: LOOKUP, CREATE, MKDIR, SYMLINK, REMOVE, RMDIR, RENAME, and MNT.
use nfs3_types::{
    mount::mountres3,
    nfs3::{self as v3, Nfs3Option, Nfs3Result, nfs_fh3, nfsstat3},
};

use super::{
    model::{Content, Number},
    operation::Operation,
    operations::Session,
    wire::{Caller, Procedure, hyper, opaque, sattr, words},
    world::FILE_BYTES_MAX,
};
use crate::nfs::rpc::limits::NAME_BYTES_MAX;

impl Session {
    pub(super) fn lookup(&mut self, op: &Operation) {
        let dir = self.model.pick(op.object);
        let args = [self.handle(dir), opaque(op.name())];
        let expected = self.model.find(dir, op.name());
        match self.ask::<v3::LOOKUP3res>(op, Procedure::nfs(3), &args) {
            Nfs3Result::Ok(ok) => {
                let found = expected.expect("a name that was never given");
                assert_eq!(*ok.object.data, self.model.objects[found].handle[..]);
            }
            Nfs3Result::Err((nfsstat3::NFS3ERR_NOENT, _)) => {
                assert_eq!(expected, None, "a name that was given and not taken away");
            }
            Nfs3Result::Err((status, _)) => {
                let alive = self.model.objects[dir].alive;
                let refused = op.caller() == Caller::Root && alive && expected.is_some();
                assert!(!refused, "root is refused: {status:?}");
            }
        }
    }

    pub(super) fn create(&mut self, op: &Operation) {
        let dir = self.model.pick(op.object);
        let how = op.how();
        let (verifier, attributes) = (hyper(u64::from(op.length)), sattr(Some(0o644), op.size()));
        let what = [words(&[how]), if how == 2 { verifier } else { attributes }].concat();
        let args = [self.handle(dir), opaque(op.name()), what];
        match self.ask::<v3::CREATE3res>(op, Procedure::nfs(8), &args) {
            Nfs3Result::Ok(ok) => {
                let there = self.model.find(dir, op.name()).is_some();
                assert!(how != 1 || !there, "GUARDED found the name taken");
                self.enter(op, dir, &ok.obj, Content::File(Vec::new()));
                let file = self.model.find(dir, op.name()).expect("just entered");
                if let Some(size) = op.size().filter(|_| how != 2) {
                    self.model.resize(file, size);
                }
            }
            Nfs3Result::Err((status, _)) => {
                let large = op.size().is_some_and(|size| size > FILE_BYTES_MAX);
                assert!(large || !self.is_free(op, dir), "root cannot create: {status:?}");
            }
        }
    }

    /// Whether root can give the name.
    fn is_free(&self, op: &Operation, dir: Number) -> bool {
        let free = self.model.find(dir, op.name()).is_none() && op.name().len() <= NAME_BYTES_MAX;
        let alive = self.model.objects[dir].alive && self.model.is_directory(dir);
        op.caller() == Caller::Root && alive && free
    }

    fn enter(&mut self, op: &Operation, dir: Number, made: &Nfs3Option<nfs_fh3>, what: Content) {
        let Nfs3Option::Some(handle) = made else { panic!("made, and without a handle") };
        self.model.enter(dir, op.name(), &handle.data, what);
    }

    pub(super) fn mkdir(&mut self, op: &Operation) {
        let dir = self.model.pick(op.object);
        let args = [self.handle(dir), opaque(op.name()), sattr(Some(0o755), op.size())];
        match self.ask::<v3::MKDIR3res>(op, Procedure::nfs(9), &args) {
            Nfs3Result::Ok(ok) => {
                assert_eq!(self.model.find(dir, op.name()), None, "MKDIR found the name taken");
                let content = Content::Directory { entries: Default::default(), parent: dir };
                self.enter(op, dir, &ok.obj, content);
            }
            Nfs3Result::Err((status, _)) => {
                assert!(!self.is_free(op, dir), "root cannot make a directory: {status:?}");
            }
        }
    }

    pub(super) fn symlink(&mut self, op: &Operation) {
        let dir = self.model.pick(op.object);
        let target = vec![b't'; usize::from(op.length)];
        let args = [self.handle(dir), opaque(op.name()), sattr(None, None), opaque(&target)];
        if let Nfs3Result::Ok(ok) = self.ask::<v3::SYMLINK3res>(op, Procedure::nfs(10), &args) {
            assert_eq!(self.model.find(dir, op.name()), None, "SYMLINK found the name taken");
            self.enter(op, dir, &ok.obj, Content::Symlink(target));
        }
    }

    pub(super) fn remove(&mut self, op: &Operation, directory: bool) {
        let dir = self.model.pick(op.object);
        let args = [self.handle(dir), opaque(op.name())];
        let procedure = Procedure::nfs(if directory { 13 } else { 12 });
        if let Nfs3Result::Ok(_) = self.ask::<v3::REMOVE3res>(op, procedure, &args) {
            self.model.remove(dir, op.name(), directory);
        }
    }

    pub(super) fn rename(&mut self, op: &Operation) {
        let (from, to) = (self.model.pick(op.object), self.model.pick(op.to_object));
        let from_args = [self.handle(from), opaque(op.name())].concat();
        let args = [from_args, self.handle(to), opaque(op.other_name())];
        if let Nfs3Result::Ok(_) = self.ask::<v3::RENAME3res>(op, Procedure::nfs(14), &args) {
            self.model.rename((from, op.name()), (to, op.other_name()));
        }
    }

    pub(super) fn mount(&mut self, op: &Operation) {
        let path = [b"/share/", op.name()].concat();
        let found = self.model.find(0, op.name());
        if let mountres3::Ok(ok) = self.ask::<mountres3>(op, Procedure::mount(1), &[opaque(&path)])
        {
            let found = found.expect("a mount of a directory that is not there");
            assert!(self.model.is_directory(found), "a mount of what is no directory");
            assert_eq!(*ok.fhandle.0, self.model.objects[found].handle[..]);
        }
    }
}
