//! How old a listing may get (settings.md `cache_stale_timeout_seconds`).
use gateway::vfs::{FsError, ReadDir, ShareFs, Vfs};

use crate::{
    listing::root_user,
    world::{BUCKET, World},
};

/// Looks at the root in every way that a client has.
async fn look_around(w: &World, fs: &Vfs) {
    let (who, root) = (root_user(), w.share.root);
    fs.getattr(&who, root).await.unwrap();
    for want_attr in [false, true] {
        let ask = ReadDir { cookie: 0, verifier: [0; 8], entries_max: 100, want_attr };
        fs.readdir(&who, root, ask).await.unwrap();
    }
    let unknown = fs.lookup(&who, root, b"unknown").await;
    assert_eq!(unknown.unwrap_err(), FsError::NotFound);
}

/// 0 is never by itself, whatever the clock says; a command lists all the same.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_stale_time_of_zero_only_a_command_lists_again() {
    const YEAR_MS: i64 = 365 * 24 * 3_600_000;
    let mut w = World::new().await;
    w.stale_after(0);
    let fs = w.mount();
    w.foreign("p/a", b"1");
    look_around(&w, &fs).await;
    assert_eq!(w.requests("ListObjectsV2"), 1, "what was never listed is");
    w.s3.delete(BUCKET, "p/a");
    w.foreign("p/b", b"2");
    for millis in [999, 1, 4_000, 300_000, YEAR_MS, -2 * YEAR_MS] {
        w.clock.advance_millis(millis);
        look_around(&w, &fs).await;
        w.refresher.on_access(w.share.root).await.unwrap();
        assert_eq!(w.requests("ListObjectsV2"), 1, "after {millis} ms more");
    }
    assert_eq!(w.names().await, ["a"]);
    w.refresher.now(w.share.root).await.unwrap();
    assert_eq!((w.names().await, w.requests("ListObjectsV2")), (vec!["b".to_owned()], 2));
    let found = fs.lookup(&root_user(), w.share.root, b"b").await.unwrap();
    assert_eq!(found.size, 1);
}

/// One second is the shortest, and is one second.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_stale_time_of_one_second_a_listing_is_good_for_one_second() {
    let mut w = World::new().await;
    w.stale_after(1);
    let fs = w.mount();
    for asked in 1..4 {
        look_around(&w, &fs).await;
        assert_eq!(w.requests("ListObjectsV2"), asked);
        w.clock.advance_millis(999);
        look_around(&w, &fs).await;
        assert_eq!(w.requests("ListObjectsV2"), asked, "not yet");
        w.clock.advance_millis(1);
    }
}
