//! READDIR and READDIRPLUS until the end, in pages as small as the input says: every name once,
//! nothing else.
use std::collections::BTreeSet;

use nfs3_types::nfs3::{self as v3, Nfs3Option, Nfs3Result, nfsstat3};

use super::{
    operation::Operation,
    operations::Session,
    wire::{Procedure, hyper, words},
};

/// Every entry fits a page of this size.
const PAGE_BYTES_ENOUGH: u32 = 1024;

/// One page of a listing.
struct Page {
    /// Name, cookie, handle where asked for.
    entries: Vec<(Vec<u8>, u64, Option<Vec<u8>>)>,
    verifier: [u8; 8],
    eof: bool,
}

impl Session {
    /// Lists a directory whole.
    pub(super) fn list(&mut self, op: &Operation) {
        let dir = self.model.pick(op.object);
        let expected = self.model.entries(dir);
        let (mut cookie, mut verifier, mut names) = (0, [0; 8], BTreeSet::new());
        // Each page holds one entry at least.
        for _ in 0..expected.len() + 3 {
            let page = match self.page(op, cookie, verifier) {
                Ok(page) => page,
                Err(nfsstat3::NFS3ERR_TOOSMALL) => {
                    assert!(op.length() < PAGE_BYTES_ENOUGH, "no room in {}", op.length());
                    return;
                }
                Err(_) => {
                    let alive = self.model.objects[dir].alive && self.model.is_directory(dir);
                    assert!(!alive, "a directory that cannot be listed");
                    return;
                }
            };
            verifier = page.verifier;
            assert!(page.eof || !page.entries.is_empty(), "a page that leads nowhere");
            for (name, next, handle) in page.entries {
                assert!(next > cookie, "cookies go on");
                cookie = next;
                let found = self.model.find(dir, &name).expect("a name that was never given");
                let object = &self.model.objects[found];
                assert!(handle.is_none_or(|handle| handle == object.handle), "its handle");
                assert!(names.insert(name), "a name twice");
            }
            if page.eof {
                let dots = [b".".to_vec(), b"..".to_vec()];
                let all = expected.into_keys().chain(dots).collect::<BTreeSet<_>>();
                assert_eq!(names, all, "all names of the directory");
                return;
            }
        }
        panic!("a listing without end");
    }

    fn page(&mut self, op: &Operation, cookie: u64, verifier: [u8; 8]) -> Result<Page, nfsstat3> {
        let length = op.length();
        let from = [hyper(cookie), verifier.to_vec()].concat();
        let handle = self.handle(self.model.pick(op.object));
        if op.procedure() == 16 {
            let args = [handle, from, words(&[length])];
            let ok = match self.ask::<v3::READDIR3res>(op, Procedure::nfs(16), &args) {
                Nfs3Result::Ok(ok) => ok,
                Nfs3Result::Err((status, _)) => return Err(status),
            };
            let entries = ok.reply.entries.0.into_iter();
            let entries = entries.map(|entry| (entry.name.0.to_vec(), entry.cookie, None));
            let (eof, verifier) = (ok.reply.eof, ok.cookieverf.0);
            return Ok(Page { entries: entries.collect(), verifier, eof });
        }
        let args = [handle, from, words(&[length, length])];
        let ok = match self.ask::<v3::READDIRPLUS3res>(op, Procedure::nfs(17), &args) {
            Nfs3Result::Ok(ok) => ok,
            Nfs3Result::Err((status, _)) => return Err(status),
        };
        let entries = ok.reply.entries.0.into_iter().map(|entry| {
            let Nfs3Option::Some(handle) = entry.name_handle else { panic!("without a handle") };
            (entry.name.0.to_vec(), entry.cookie, Some(handle.data.to_vec()))
        });
        let (eof, verifier) = (ok.reply.eof, ok.cookieverf.0);
        Ok(Page { entries: entries.collect(), verifier, eof })
    }
}
