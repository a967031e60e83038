//! What the cases of a test have come to, all together: an operation that never does what it is for, or a crash with
//! nothing at stake, tests nothing.
//!
//! Counted for the thread of the test, which runs its cases one after the other.
use std::{cell::RefCell, collections::BTreeMap};

use crate::{lockstep::Pair, world::World};

thread_local! {
    static REACHED: RefCell<BTreeMap<Reached, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Something that cases are there to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reached {
    /// A part of a file left the cache while others of the same file stayed.
    PartLeft,
    /// S3 has copied a part because it had not changed.
    PartCopied,
    /// A crash while a client had written bytes that it had not committed.
    CrashWithUnstable,
    /// A crash while S3 had not all that was acknowledged.
    CrashWithDirty,
    /// A crash while an upload, a copy or a deletion was under way.
    CrashInUpload,
    /// S3 has given a wrong answer.
    Fault,
    /// A call was put off or refused because of one.
    CallFailed,
    /// A version of another writer was kept beside ours.
    Conflict,
    /// An object that others changed in the middle of the gateway's uploads.
    Late,
    /// A file was written here whose key has an object of another writer that the gateway had not seen.
    Met,
}

/// Notes that it was come to so many times more.
pub(crate) fn note(what: Reached, times: u64) {
    REACHED.with_borrow_mut(|reached| *reached.entry(what).or_default() += times);
}

/// Notes what is at stake in a crash that comes next.
pub(crate) fn note_crash(pair: &Pair) {
    let gateway = pair.world.gateway();
    let mut files = pair.tree.nodes.values().filter_map(|node| node.file());
    note(Reached::CrashWithUnstable, files.any(|file| !file.unstable.is_empty()).into());
    let (pending, out) = pair.world.run(async {
        let out = gateway.catalog.jobs_out().await.unwrap();
        (gateway.catalog.pending(None).await.unwrap(), out)
    });
    note(Reached::CrashWithDirty, (pending.dirty_files > 0).into());
    note(Reached::CrashInUpload, (out > 0).into());
}

/// Notes what one case has come to.
pub(crate) fn note_end(world: &World) {
    let copied = world.s3.request_counts().get("UploadPartCopy").copied().unwrap_or(0);
    note(Reached::PartCopied, copied);
}

/// Fails unless each was come to at least so often.
pub(crate) fn assert_often(least: &[(Reached, u64)]) {
    REACHED.with_borrow(|reached| {
        println!("{reached:?}");
        for (what, times) in least {
            let often = reached.get(what).copied().unwrap_or(0);
            assert!(often >= *times, "{what:?} {often} times only: the cases test little of it");
        }
    });
}
