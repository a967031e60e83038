//! Attributes as NFS sends them (RFC 1813 §2.5, §2.6).
use nfsserve::nfs::{
    fattr3, ftype3, nfstime3, post_op_attr, pre_op_attr, specdata3, wcc_attr, wcc_data,
};

use super::Target;
use crate::{
    clock::Timestamp,
    nfs::rpc::reply::Reply,
    vfs::{Attr, Change, FileKind, ShareId, Stability, WccAttr},
};

/// An object's attributes. Each share is a file system of its own to clients.
pub(crate) fn fattr(share: ShareId, attr: &Attr) -> fattr3 {
    let ftype = match attr.kind {
        FileKind::File => ftype3::NF3REG,
        FileKind::Directory => ftype3::NF3DIR,
        FileKind::Symlink => ftype3::NF3LNK,
    };
    fattr3 {
        ftype,
        mode: attr.mode,
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        size: attr.size,
        used: attr.used,
        rdev: specdata3::default(),
        fsid: u64::from(share.0),
        fileid: attr.ino.0,
        atime: time(attr.atime),
        mtime: time(attr.mtime),
        ctime: time(attr.ctime),
    }
}

/// A moment; NFS has none before 1970 or after 2106: the nearest it has.
fn time(time: Timestamp) -> nfstime3 {
    match u32::try_from(time.seconds()) {
        Ok(seconds) => nfstime3 { seconds, nseconds: time.subsec_nanos() },
        Err(_) if time.seconds() < 0 => nfstime3::default(),
        Err(_) => nfstime3 { seconds: u32::MAX, nseconds: 999_999_999 },
    }
}

/// RFC 1813 §3.3.7 stable_how.
pub(crate) fn stability_number(stability: Stability) -> u32 {
    match stability {
        Stability::Unstable => 0,
        Stability::DataSync => 1,
        Stability::FileSync => 2,
    }
}

/// Post-operation attributes, or their absence.
pub(super) fn post_op(reply: &mut Reply, of: Option<(&Target, &Attr)>) {
    reply.wire(&post_op_attr3(of));
}

fn post_op_attr3(of: Option<(&Target, &Attr)>) -> post_op_attr {
    match of {
        Some((target, attr)) => post_op_attr::attributes(fattr(target.export.id, attr)),
        None => post_op_attr::Void,
    }
}

fn before(before: Option<WccAttr>) -> pre_op_attr {
    let Some(before) = before else { return pre_op_attr::Void };
    pre_op_attr::attributes(wcc_attr {
        size: before.size,
        mtime: time(before.mtime),
        ctime: time(before.ctime),
    })
}

/// Weak cache consistency data of a change.
pub(super) fn wcc(reply: &mut Reply, target: &Target, change: &Change) {
    reply.wire(&wcc_data {
        before: before(change.before),
        after: post_op_attr3(Some((target, &change.after))),
    });
}

/// Weak cache consistency data where nothing was changed: what is, and nothing of what was, as
/// only attributes taken together with the operation may be sent as such.
pub(super) fn wcc_after(reply: &mut Reply, of: Option<(&Target, &Attr)>) {
    reply.wire(&wcc_data { before: pre_op_attr::Void, after: post_op_attr3(of) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_outside_of_what_nfs_can_say_are_held_to_it() {
        let said = |seconds, nanos| {
            let time = time(Timestamp::new(seconds, nanos));
            (time.seconds, time.nseconds)
        };
        assert_eq!(said(1, 2), (1, 2));
        assert_eq!(said(-1, 5), (0, 0));
        assert_eq!(said(1 << 32, 5), (u32::MAX, 999_999_999));
        assert_eq!(said(i64::from(u32::MAX), 5), (u32::MAX, 5));
    }
}
