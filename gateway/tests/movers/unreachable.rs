//! S3 that is not reached, whatever the way to it is like: told to clients as passing and to the operator
//! with a reason, tried again later and later, and nothing is lost or taken for absent meanwhile.
//!
//! Method: a gateway with files that are cached, known or neither starts anew on a way of `ways.rs`, is
//! asked and changed there, and starts once more on the right one.
use bytes::Bytes;
use gateway::{
    clock::Clock,
    object::{ETag, ObjectKey},
    store::{Expect, ObjectStore, PutOptions, StoreError},
    vfs::{FsError, ReadDir, ShareFs},
};
use gateway_api::status::{HealthEventKind, ShareState};
use s3_store::S3Store;

use crate::{
    listing::root_user,
    ways::{self, Way},
    world::{BUCKET, Line, World},
};

const WHOLE: ReadDir = ReadDir { cookie: 0, verifier: [0; 8], entries_max: 100, want_attr: false };

/// What each kind of request comes to. None of those that may keep the store busy for minutes: they are
/// sent in the same way.
async fn requests(bucket: &dyn ObjectStore) -> Vec<(&'static str, StoreError)> {
    let key = ObjectKey::new("p/there").unwrap();
    let (etag, options) = (ETag::new("\"e\""), PutOptions::default());
    let body = || Bytes::from_static(b"a body to be cut");
    let put = bucket.put(&key, body(), &options, &Expect::Anything).await;
    vec![
        ("probe", bucket.probe("p/").await.unwrap_err()),
        ("head", bucket.head(&key).await.unwrap_err()),
        ("get", bucket.get(&key, 0..5, &etag).await.unwrap_err()),
        ("list", bucket.list("p/", None).await.unwrap_err()),
        ("put", put.unwrap_err()),
        ("put_part", bucket.put_part(&key, "id", 1, body()).await.unwrap_err()),
        ("delete", bucket.delete(&key, None).await.unwrap_err()),
    ]
}

/// People read it: no library's inner state (`DispatchFailure(DispatchFailure { source: ConnectorError …`).
fn check_words(words: &str) {
    let inner = ["DispatchFailure", "ConnectorError", " { ", "Some("];
    assert!(!inner.iter().any(|inner| words.contains(inner)), "{words}");
}

async fn check_kinds(way: &Way) {
    for (request, error) in requests(&way.bucket).await {
        check_words(&error.message);
        assert_eq!(error.kind, way.kind, "{request}: {error}");
        assert!(error.kind.is_retryable());
        let body_stood_still = error.message.contains("stopped moving");
        assert!(body_stood_still || error.message.contains(way.says), "{request}: {error}");
    }
}

/// Files of ours that are cached (`cached`), in S3 only (`evicted`) and to be removed (`gone`); of others
/// a directory that was listed (`d`) and one that was not (`e`).
async fn prepared() -> World {
    let w = World::new().await;
    for name in ["cached", "evicted", "gone"] {
        w.file(name, name.as_bytes()).await;
    }
    w.foreign("p/d/theirs", b"theirs");
    w.foreign("p/e/unseen", b"unseen");
    w.drain().await;
    let evicted = w.entry("evicted").await.unwrap().ino;
    w.evict(evicted).await;
    w.refresher.now(w.share.root).await.unwrap();
    let listed = w.entry("d").await.unwrap().ino;
    w.refresher.now(listed).await.unwrap();
    w
}

/// What clients see while S3 is away.
async fn check_clients(w: &World) {
    let (fs, who, root) = (w.mount(), root_user(), w.share.root);
    let ino = async |name: &str| w.entry(name).await.unwrap().ino;
    let cached = fs.read(&who, ino("cached").await, 0, 100).await.unwrap();
    assert_eq!(cached.data, b"cached".as_slice());
    let evicted = fs.read(&who, ino("evicted").await, 0, 100).await;
    assert_eq!(evicted.unwrap_err(), FsError::TryLater);
    // Listings that are too old, and cannot be had anew.
    w.clock.advance_millis(5_000);
    let before = w.names().await;
    w.refresher.now(root).await.unwrap_err();
    let listed = fs.readdir(&who, root, WHOLE).await.unwrap();
    assert!(listed.end);
    assert_eq!(listed.entries.len(), 2 + before.len(), "with `.` and `..`");
    assert_eq!(w.names().await, before);
    let listed = ino("d").await;
    fs.lookup(&who, listed, b"theirs").await.unwrap();
    // A directory of which nobody knows what is in it is not empty.
    let unlisted = ino("e").await;
    assert_eq!(fs.readdir(&who, unlisted, WHOLE).await.unwrap_err(), FsError::TryLater);
    assert_eq!(fs.lookup(&who, unlisted, b"unseen").await.unwrap_err(), FsError::TryLater);
    assert_eq!(fs.rmdir(&who, root, b"e").await.unwrap_err(), FsError::TryLater);
}

/// What the operator sees, and when the next attempt is.
async fn check_changes(w: &mut World, says: &str) {
    w.file("new", b"new").await;
    w.remove("gone").await;
    w.start();
    w.until("both have failed and wait", || async {
        let pending = w.catalog.pending(None).await.unwrap();
        let due = w.catalog.next_due().await.unwrap();
        let waits = due.is_some_and(|due| due > w.clock.now());
        pending.failing == 2 && waits && w.catalog.jobs_out().await.unwrap() == 0
    })
    .await;
    let pending = w.catalog.pending(None).await.unwrap();
    assert_eq!((pending.dirty_files, pending.pending_deletes), (1, 1));
    let words = pending.last_error.unwrap();
    assert!(words.contains(says) || words.contains("stopped moving"), "{words}");
    let ShareState::Unavailable(reason) = w.share.health.state() else { panic!("it is available") };
    assert!(reason.contains("check the network"), "{reason}");
    let told = w.events.list();
    assert!(told.iter().any(|event| event.kind == HealthEventKind::UploadFailing), "{told:?}");
    let events = told.iter().map(|event| event.message.as_str());
    events.chain([words.as_str(), reason.as_str()]).for_each(check_words);
}

async fn check(make: impl AsyncFn(&S3Store) -> Way) {
    let w = prepared().await;
    let way = make(&w.s3).await;
    check_kinds(&way).await;
    let mut w = w.restart_by(Line { bucket: way.bucket.clone(), known: None }).await;
    check_clients(&w).await;
    check_changes(&mut w, way.says).await;
    let right = Line::to(&w.s3);
    let mut w = w.restart_by(right).await;
    w.start();
    w.drain().await;
    assert_eq!(w.keys(), ["p/cached", "p/d/theirs", "p/e/unseen", "p/evicted", "p/new"]);
    assert_eq!((w.object("p/new").body, w.conflicts()), (b"new".to_vec(), 0));
    let evicted = w.entry("evicted").await.unwrap().ino;
    assert_eq!(w.read(evicted, 0..7).await, b"evicted");
    assert_eq!(w.share.health.state(), ShareState::Available);
    assert_eq!(w.s3.uploads_in_progress(BUCKET), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve() {
    check(ways::name_unknown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_refused() {
    check(ways::refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_never_made() {
    check(ways::connect_unanswered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_never_answered() {
    check(ways::request_unanswered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_begins_tls() {
    check(ways::tls_unanswered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_trusts() {
    check(ways::certificate_untrusted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_speak_tls() {
    check(ways::no_tls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_reset_in_the_middle_of_a_body() {
    check(ways::reset_in_the_body).await;
}
