//! What the cases have come to, all together: an operation that never does what it is for tests nothing.
use std::sync::atomic::{AtomicU64, Ordering};

use crate::world::World;

/// Parts of files that left the cache while others of the same file stayed.
pub(crate) static PARTS_LEFT: AtomicU64 = AtomicU64::new(0);
/// Parts that S3 has copied because they had not changed.
pub(crate) static PARTS_COPIED: AtomicU64 = AtomicU64::new(0);

/// Notes what one case has come to.
pub(crate) fn note(world: &World) {
    let copied = world.s3.request_counts().get("UploadPartCopy").copied().unwrap_or(0);
    PARTS_COPIED.fetch_add(copied, Ordering::Relaxed);
}

/// Fails unless every one has been come to at least so often.
pub(crate) fn assert_often(times: u64) {
    for (what, reached) in [("parts left", &PARTS_LEFT), ("parts copied", &PARTS_COPIED)] {
        let reached = reached.load(Ordering::Relaxed);
        println!("{what}: {reached}");
        assert!(reached >= times, "{what} {reached} times only: the cases test little of it");
    }
}
