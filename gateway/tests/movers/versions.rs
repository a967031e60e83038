//! Buckets with versions: which version of its object a file is, as far as S3 has told.
use gateway::{ids::Ino, object::ObjectKey};
use s3_store::{FaultAction, FaultRule};

use crate::world::{BUCKET, World, pattern};

async fn noted(w: &World, ino: Ino) -> Option<String> {
    w.catalog.standing(ino).await.unwrap().version_id
}

/// What S3 says.
async fn current(w: &World, key: &str) -> Option<String> {
    let head = w.store().head(&ObjectKey::new(key).unwrap()).await.unwrap();
    head.version.map(|version| version.as_str().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_known_of_whatever_way_the_object_was_made() {
    let w = World::new().await;
    w.s3.keep_versions(BUCKET);
    let ino = w.file("f", b"put").await;
    w.drain().await;
    let put = noted(&w, ino).await;
    assert!(put.is_some() && put == current(&w, "p/f").await, "{put:?}");
    w.chmod(ino, 0o600).await;
    w.drain().await;
    let copied = noted(&w, ino).await;
    assert!(copied.is_some() && copied == current(&w, "p/f").await && copied != put, "{copied:?}");
    let large = w.file("large", &pattern(17 << 20, 1)).await;
    w.drain().await;
    let completed = noted(&w, large).await;
    assert!(completed.is_some() && completed == current(&w, "p/large").await, "{completed:?}");
}

/// HEAD tells it of objects that others made; a listing takes what was known of the one before away.
#[tokio::test(flavor = "multi_thread")]
async fn the_version_of_an_object_of_others_is_known_when_its_attributes_are() {
    let w = World::new().await;
    w.s3.keep_versions(BUCKET);
    for body in [b"first".as_slice(), b"second"] {
        w.foreign("p/f", body);
        w.refresher.now(w.share.root).await.unwrap();
        let ino = w.entry("f").await.unwrap().ino;
        assert_eq!(noted(&w, ino).await, None);
        w.refresher.load_attr(ino).await.unwrap();
        let told = noted(&w, ino).await;
        assert!(told.is_some() && told == current(&w, "p/f").await, "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_versions_has_none() {
    let w = World::new().await;
    let ino = w.file("f", b"put").await;
    w.drain().await;
    assert_eq!(noted(&w, ino).await, None);
}

/// What is done to a file, by one request each.
#[derive(Clone, Copy, Debug)]
enum Change {
    New(usize),
    Written(usize),
    Mode,
    Renamed,
}

/// Goal: what S3 has done and the gateway has not heard of is not done again after the process was cut off: each
/// change is one version. Method: the reply is lost, whoever looks is refused, and the process is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_reply_was_lost_before_a_crash_is_one_version() {
    const LARGE: usize = (17 << 20) + 5;
    for (change, operation, versions) in [
        (Change::New(1000), "PutObject", 1),
        (Change::Written(1000), "PutObject", 2),
        (Change::New(LARGE), "CompleteMultipartUpload", 1),
        (Change::Written(LARGE), "CompleteMultipartUpload", 2),
        (Change::Mode, "CopyObject", 2),
        (Change::Renamed, "CopyObject", 1),
    ] {
        let mut w = World::versioned().await;
        let (mut key, mut body) = ("p/f", pattern(1000, 1));
        // So that no file goes before it is written.
        w.halt().await;
        if !matches!(change, Change::New(_)) {
            w.file("f", &body).await;
            w.start();
            w.drain().await;
            w.halt().await;
        }
        let ino = w.entry("f").await.map(|there| there.ino);
        match change {
            Change::New(size) => {
                body = pattern(size, 2);
                w.file("f", &body).await;
            }
            Change::Written(size) => {
                body = pattern(size, 3);
                w.write(ino.unwrap(), 0, &body).await;
            }
            Change::Mode => w.chmod(ino.unwrap(), 0o600).await,
            Change::Renamed => {
                w.rename("f", "g").await;
                key = "p/g";
            }
        }
        w.s3.faults().add(FaultRule::fail_after().operation(operation));
        let refused = FaultAction::FailBefore { status: 503, code: "SlowDown".to_owned() };
        // Before a copy S3 is asked what the object says.
        let heads = u64::from(matches!(change, Change::Mode | Change::Renamed));
        let refused = FaultRule::new(refused).operation("HeadObject").skip(heads);
        w.s3.faults().add(refused.times(u64::MAX));
        let asked = w.requests(operation);
        w.start();
        w.until("it is done", || async {
            w.requests(operation) > asked && w.s3.versions(BUCKET, key) == versions
        })
        .await;
        assert!(w.catalog.pending(None).await.unwrap().dirty_files > 0, "{change:?}");
        let mut w = w.crash().await;
        w.s3.faults().clear();
        w.start();
        w.drain().await;
        let object = w.object(key);
        assert!(object.body == body, "{change:?}");
        assert_eq!((object.versions, w.conflicts()), (versions, 0), "{change:?}");
        assert_eq!(w.keys(), [key], "{change:?}");
    }
}

/// In a bucket with versions a deletion is one marker, and a rename one copy and one marker.
#[tokio::test(flavor = "multi_thread")]
async fn deletions_and_renames_make_no_version_more_than_they_must() {
    let mut w = World::versioned().await;
    w.halt().await;
    w.file("removed", b"1").await;
    w.file("old", b"2").await;
    w.start();
    w.drain().await;
    let versions = |key: &str| w.s3.versions(BUCKET, key);
    assert_eq!((versions("p/removed"), versions("p/old")), (1, 1));
    w.remove("removed").await;
    w.rename("old", "new").await;
    w.drain().await;
    assert_eq!(w.keys(), ["p/new"]);
    assert_eq!((versions("p/removed"), versions("p/old"), versions("p/new")), (2, 2, 1));
    assert_eq!((w.requests("DeleteObject"), w.requests("CopyObject")), (2, 1));
}
