//! A bucket that is gone while files wait for it, and comes back: it is never taken for an empty one.
use gateway::vfs::{FsError, ReadDir, ShareFs};
use gateway_api::status::{Ability, Capabilities, ShareState};
use s3_store::{FaultAction, FaultRule};

use crate::{
    listing::root_user,
    world::{BUCKET, World, pattern},
};

const WHOLE: ReadDir = ReadDir { cookie: 0, verifier: [0; 8], entries_max: 100, want_attr: false };
/// More than one request takes: two parts.
const LARGE: usize = (17 << 20) + 5;

/// Whatever it is asked, S3 says that there is no such bucket. To HEAD it says 404 and no more.
fn lose_bucket(w: &World) {
    let gone = FaultAction::FailBefore { status: 404, code: "NoSuchBucket".to_owned() };
    w.s3.faults().add(FaultRule::new(gone).times(u64::MAX));
}

/// Lets the uploader try, until the refusal is noted by this process.
async fn refused(w: &World) {
    w.until("the refusal is noted", || async {
        let pending = w.catalog.pending(None).await.unwrap();
        let is_said = matches!(w.share.health.state(), ShareState::Unavailable(_));
        is_said && pending.failing > 0 && w.catalog.jobs_out().await.unwrap() == 0
    })
    .await;
    let ShareState::Unavailable(why) = w.share.health.state() else { panic!("it is available") };
    assert!(why.contains("bucket"), "{why}");
}

/// What clients are told meanwhile: what is known is served, and nothing is denied that may be there.
async fn check_clients(w: &World) {
    let (fs, who, root) = (w.mount(), root_user(), w.share.root);
    let ino = async |name: &str| w.entry(name).await.unwrap().ino;
    let kept = fs.read(&who, ino("kept").await, 0, 100).await.unwrap();
    assert_eq!(kept.data, b"kept".as_slice());
    let evicted = ino("evicted").await;
    assert_eq!(fs.read(&who, evicted, 0, 100).await.unwrap_err(), FsError::Io);
    // Listings that are too old, and cannot be had anew.
    w.clock.advance_millis(5_000);
    let before = w.names().await;
    w.refresher.now(root).await.unwrap_err();
    let listed = fs.readdir(&who, root, WHOLE).await.unwrap();
    assert_eq!(listed.entries.len(), 2 + before.len(), "with `.` and `..`");
    assert_eq!(w.names().await, before);
    let theirs = fs.lookup(&who, ino("d").await, b"theirs").await;
    assert_ne!(theirs.err(), Some(FsError::NotFound));
    let unlisted = ino("e").await;
    assert_eq!(fs.readdir(&who, unlisted, WHOLE).await.unwrap_err(), FsError::Io);
    assert_eq!(fs.lookup(&who, unlisted, b"unseen").await.unwrap_err(), FsError::Io);
    assert_eq!(fs.rmdir(&who, root, b"e").await.unwrap_err(), FsError::Io);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_goes_while_files_are_dirty_and_comes_back_becomes_the_tree() {
    let mut w = World::new().await;
    for name in ["kept", "evicted", "changed", "renamed", "removed"] {
        w.file(name, name.as_bytes()).await;
    }
    w.foreign("p/d/theirs", b"theirs");
    w.foreign("p/e/unseen", b"unseen");
    w.drain().await;
    let ino = async |w: &World, name: &str| w.entry(name).await.unwrap().ino;
    w.evict(ino(&w, "evicted").await).await;
    w.refresher.now(w.share.root).await.unwrap();
    w.refresher.now(ino(&w, "d").await).await.unwrap();
    w.halt().await;
    let before: Vec<_> = w.keys().into_iter().map(|key| (w.object(&key), key)).collect();

    lose_bucket(&w);
    w.file("new", b"new").await;
    w.file("large", &pattern(LARGE, 1)).await;
    w.write(ino(&w, "changed").await, 0, b"CHANGED").await;
    w.chmod(ino(&w, "kept").await, 0o600).await;
    w.rename("renamed", "moved").await;
    w.remove("removed").await;
    w.start();
    refused(&w).await;
    check_clients(&w).await;
    let mut w = w.restart().await;
    w.start();
    refused(&w).await;
    check_clients(&w).await;
    let pending = w.catalog.pending(None).await.unwrap();
    assert_eq!((pending.dirty_files, pending.pending_deletes), (5, 1), "{pending:?}");

    w.halt().await;
    w.s3.faults().clear();
    let after: Vec<_> = w.keys().into_iter().map(|key| (w.object(&key), key)).collect();
    assert!(before == after, "an object was touched");
    w.start();
    w.drain().await;
    for (name, body) in [
        ("kept", b"kept".to_vec()),
        ("evicted", b"evicted".to_vec()),
        ("changed", b"CHANGED".to_vec()),
        ("moved", b"renamed".to_vec()),
        ("new", b"new".to_vec()),
        ("large", pattern(LARGE, 1)),
        ("d/theirs", b"theirs".to_vec()),
        ("e/unseen", b"unseen".to_vec()),
    ] {
        assert!(w.object(&format!("p/{name}")).body == body, "{name}");
    }
    assert_eq!((w.keys().len(), w.conflicts()), (8, 0), "{:?}", w.keys());
    assert_eq!(w.share.health.state(), ShareState::Available);
    assert_eq!(w.s3.uploads_in_progress(BUCKET), 0);
    assert!(!w.s3.request_counts().contains_key("CreateBucket"));
    let evicted = ino(&w, "evicted").await;
    assert_eq!(w.read(evicted, 0..7).await, b"evicted");
}

/// Goal: a deletion waits for a bucket that is away where a HEAD decides it: after a start, when nobody knows yet what the
/// store can do, and in a store that keeps no condition.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_a_look_decides_outlives_a_bucket_that_is_away() {
    for ability in [Ability::Unknown, Ability::No] {
        let mut w = World::new().await;
        w.file("f", b"removed").await;
        w.drain().await;
        w.halt().await;
        lose_bucket(&w);
        w.remove("f").await;
        w.known.set(Capabilities::all(ability));
        w.start();
        w.until("it is tried", || async {
            let pending = w.catalog.pending(None).await.unwrap();
            pending.failing > 0 || pending.pending_deletes == 0
        })
        .await;
        w.halt().await;
        assert_eq!(w.catalog.pending(None).await.unwrap().pending_deletes, 1, "{ability:?}");
        assert_eq!(w.keys(), ["p/f"]);
        w.s3.faults().clear();
        // Nor is it put off for ever by a HEAD that does not know what the listing shows.
        let unknown = FaultAction::FailBefore { status: 404, code: "NoSuchKey".to_owned() };
        let unknown = FaultRule::new(unknown).operation("HeadObject").key_prefix("p/f");
        w.s3.faults().add(unknown.times(u64::MAX));
        w.start();
        w.drain().await;
        assert_eq!(w.keys(), Vec::<String>::new(), "{ability:?}");
    }
}

/// Goal: a removed file whose object may or may not be there does not come back. Method: its upload was done and
/// not heard of; when it is to be deleted, the bucket is gone, of which HEAD tells no more than 404.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_may_be_there_is_deleted_when_the_bucket_is_back() {
    let mut w = World::new().await;
    w.halt().await;
    w.s3.faults().add(FaultRule::fail_after().operation("PutObject"));
    let unheard = FaultAction::FailBefore { status: 503, code: "SlowDown".to_owned() };
    w.s3.faults().add(FaultRule::new(unheard).operation("HeadObject").times(u64::MAX));
    w.file("f", b"gone").await;
    w.start();
    w.until("the reply is lost", || async { w.catalog.pending(None).await.unwrap().failing > 0 })
        .await;
    w.halt().await;
    assert_eq!(w.keys(), ["p/f"]);
    w.s3.faults().clear();
    lose_bucket(&w);
    w.remove("f").await;
    let heads = w.requests("HeadObject");
    w.start();
    w.until("the deletion was tried", || async {
        w.requests("HeadObject") > heads && w.catalog.jobs_out().await.unwrap() == 0
    })
    .await;
    w.halt().await;
    w.s3.faults().clear();
    w.start();
    w.drain().await;
    assert_eq!(w.keys(), Vec::<String>::new());
}
