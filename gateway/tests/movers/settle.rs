//! Attempts whose success was not heard of, and bytes that others have taken away.
use gateway::{
    catalog::{AttrChange, DurableBytes, WriteCommit},
    clock::Clock,
    fetch::FetchError,
    ids::{DiskId, Ino},
    vfs::{FsError, ShareFs},
};
use s3_store::{FaultAction, FaultRule};

use crate::{
    listing::root_user,
    world::{BUCKET, World, pattern},
};

/// Three parts: 16, 16 and 8 MiB.
const SIZE: usize = 40 << 20;

fn refuse(operation: &str) -> FaultRule {
    let refused = FaultAction::FailBefore { status: 503, code: "SlowDown".to_owned() };
    FaultRule::new(refused).operation(operation).times(u64::MAX)
}

/// Runs the uploader until `operation` was done and not heard of, and starts anew, as an attempt may be under
/// way; whoever looks before that is refused. The uploader does not run then.
pub(crate) async fn lose_reply(w: World, operation: &str) -> World {
    lose_reply_after(w, operation, 0).await
}

/// The same of the copy of an object, before which S3 is asked what that says.
pub(crate) async fn lose_reply_of_copy(w: World, operation: &str) -> World {
    lose_reply_after(w, operation, 1).await
}

async fn lose_reply_after(mut w: World, operation: &str, heads: u64) -> World {
    w.s3.faults().add(FaultRule::fail_after().operation(operation));
    w.s3.faults().add(refuse("HeadObject").skip(heads));
    let before = w.requests(operation);
    w.start();
    w.until("the reply is lost", || async { w.requests(operation) > before }).await;
    w.until("and noted", || async { w.catalog.pending(None).await.unwrap().failing > 0 }).await;
    w.halt().await;
    w.s3.faults().clear();
    w.restart().await
}

/// A file of which all bytes are in the object, and a change in its second part is not sent yet.
async fn changed_in_part(w: &mut World, seed: u8) -> (Ino, Vec<u8>) {
    let mut expected = pattern(SIZE, seed);
    let ino = w.file("f", &expected).await;
    w.drain().await;
    w.halt().await;
    w.evict(ino).await;
    w.write(ino, 20 << 20, b"ours").await;
    expected[20 << 20..][..4].copy_from_slice(b"ours");
    (ino, expected)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_completion_of_an_early_upload_is_recognised() {
    let mut w = World::new().await;
    let body = pattern(SIZE, 1);
    let ino = w.file("f", b"").await;
    w.drain().await;
    let begun = w.catalog.begin_write(ino, w.stamp().due).await.unwrap();
    w.cache.write_at(ino, 0, bytes::Bytes::from(body.clone())).await.unwrap();
    w.cache.sync(ino).await.unwrap();
    let commit = WriteCommit {
        sums: Vec::new(),
        noted: Some(begun.version),
        disk: DiskId::PRIMARY,
        bytes: DurableBytes::Synced(None),
        size: SIZE as u64,
        mtime: w.clock.as_ref().now(),
        clear_set_id: false,
        ranges: std::iter::once(0..SIZE as u64).collect(),
        closes: false,
        due: w.clock.as_ref().now(),
    };
    w.catalog.commit_write(ino, commit).await.unwrap();
    assert!(w.catalog.offer_early(ino).await.unwrap());
    w.until("two parts went ahead", || async { w.requests("UploadPart") == 2 }).await;
    w.until("and are noted", || async { w.catalog.jobs_out().await.unwrap() == 0 }).await;
    w.halt().await;
    w.write(ino, SIZE as u64, b"end").await;
    w.s3.faults().add(FaultRule::fail_after().operation("CompleteMultipartUpload"));
    w.start();
    w.drain().await;
    assert!(w.object("p/f").body == [&body[..], b"end"].concat());
    assert_eq!((w.requests("UploadPart"), w.requests("CreateMultipartUpload")), (3, 1));
    let mtime = w.entry("f").await.unwrap().mtime.as_nanos();
    assert_eq!(w.object("p/f").user_meta["file-mtime"], format!("{mtime}ns"));
    assert_eq!(w.conflicts(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_completion_of_a_resumed_upload_is_recognised() {
    let mut w = World::new().await;
    w.halt().await;
    w.s3.faults().add(refuse("CompleteMultipartUpload"));
    let ino = w.file("f", &pattern(SIZE, 2)).await;
    w.start();
    w.until("all parts are there", || async { w.requests("CompleteMultipartUpload") > 0 }).await;
    let mut w = w.restart().await;
    w.s3.faults().clear();
    w.write(ino, SIZE as u64, b"more").await;
    w.s3.faults().add(FaultRule::fail_after().operation("CompleteMultipartUpload"));
    w.start();
    w.drain().await;
    assert!(w.object("p/f").body == [&pattern(SIZE, 2)[..], b"more"].concat());
    assert_eq!((w.requests("UploadPart"), w.requests("CreateMultipartUpload")), (4, 1));
}

/// The object that had the bytes is replaced by our own: they are in that, whatever changes meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_completion_over_the_object_that_alone_had_the_bytes_is_recognised() {
    for renamed in [false, true] {
        let mut w = World::new().await;
        let (ino, mut expected) = changed_in_part(&mut w, 3).await;
        w = lose_reply(w, "CompleteMultipartUpload").await;
        w.write(ino, 1 << 20, b"later").await;
        expected[1 << 20..][..5].copy_from_slice(b"later");
        if renamed {
            w.rename("f", "g").await;
        }
        let sent = w.requests("UploadPart");
        w.start();
        w.drain().await;
        let key = if renamed { "p/g" } else { "p/f" };
        assert_eq!((w.keys(), w.conflicts()), (vec![key.to_owned()], 0));
        assert!(w.object(key).body == expected, "renamed: {renamed}");
        assert!(w.requests("UploadPart") <= sent + 2, "what S3 has is not sent again");
        assert!(w.read(ino, 0..SIZE as u64).await == expected);
    }
}

/// An upload in parts that is overtaken by one request does not stay open.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_a_file_that_has_become_small_is_aborted() {
    let mut w = World::new().await;
    w.halt().await;
    w.s3.faults().add(refuse("CompleteMultipartUpload"));
    let ino = w.file("f", &pattern(SIZE, 9)).await;
    w.start();
    w.until("all parts are there", || async { w.requests("CompleteMultipartUpload") > 0 }).await;
    let mut w = w.restart().await;
    w.resize(ino, 1 << 20).await;
    w.start();
    w.until("it is in S3", || async { w.requests("PutObject") > 0 }).await;
    w.until("its upload is aborted", || async { w.requests("AbortMultipartUpload") > 0 }).await;
    w.drain().await;
    assert!(w.object("p/f").body == pattern(SIZE, 9)[..1 << 20]);
    assert_eq!(w.s3.uploads_in_progress(BUCKET), 0);
}

/// What a new file's object has of it is not sent again after a change.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_completion_only_what_was_appended_since_is_sent() {
    let mut w = World::new().await;
    w.halt().await;
    let ino = w.file("f", &pattern(SIZE, 4)).await;
    w = lose_reply(w, "CompleteMultipartUpload").await;
    w.write(ino, SIZE as u64, b"since").await;
    w.start();
    w.drain().await;
    assert!(w.object("p/f").body == [&pattern(SIZE, 4)[..], b"since"].concat());
    assert_eq!((w.requests("UploadPart"), w.conflicts()), (3 + 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_put_over_the_object_that_alone_had_the_bytes_is_recognised() {
    for renamed in [false, true] {
        let mut w = World::new().await;
        let mut expected = pattern(1 << 20, 5);
        let ino = w.file("f", &expected).await;
        w.drain().await;
        w.halt().await;
        w.evict(ino).await;
        w.write(ino, 0, b"first").await;
        w = lose_reply(w, "PutObject").await;
        w.write(ino, 1000, b"second").await;
        expected[..5].copy_from_slice(b"first");
        expected[1000..1006].copy_from_slice(b"second");
        if renamed {
            w.rename("f", "g").await;
        }
        w.start();
        w.drain().await;
        let key = if renamed { "p/g" } else { "p/f" };
        assert_eq!((w.keys(), w.conflicts()), (vec![key.to_owned()], 0));
        assert!(w.object(key).body == expected, "renamed: {renamed}");
    }
}

/// 404 to UploadPartCopy: it is the upload that is gone, not the object.
#[tokio::test(flavor = "multi_thread")]
async fn regression_a_dropped_upload_begins_anew_when_bytes_are_only_in_the_object() {
    let mut w = World::new().await;
    let (_, expected) = changed_in_part(&mut w, 6).await;
    w.s3.faults().add(refuse("UploadPartCopy"));
    w.start();
    w.until("it failed", || async { w.catalog.pending(None).await.unwrap().failing > 0 }).await;
    let mut w = w.restart().await;
    w.s3.faults().clear();
    let store = w.store();
    for pending in store.list_multipart("p/", None).await.unwrap().uploads {
        let key = gateway::object::ObjectKey::new(pending.key).unwrap();
        store.abort_multipart(&key, &pending.upload_id).await.unwrap();
    }
    w.start();
    w.drain().await;
    assert!(w.object("p/f").body == expected);
    assert_eq!(w.conflicts(), 0);
}

async fn is_parked(w: &World, ino: Ino) -> bool {
    w.catalog.standing(ino).await.unwrap().is_incomplete
        && w.catalog.next_due().await.unwrap().is_none()
}

/// semantics.md, "Objects that others write": the path has theirs; ours is kept beside it, says what it
/// lacks, is not sent, and is sent once it is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_other_bytes_are_gone_is_set_aside_until_it_is_whole() {
    for (size, replaced) in [(SIZE, true), (SIZE, false), (1 << 20, true), (1 << 20, false)] {
        let mut w = World::new().await;
        let ino = w.file("f", &pattern(size, 7)).await;
        w.drain().await;
        w.halt().await;
        w.evict(ino).await;
        w.write(ino, 4096, b"ours").await;
        let theirs = pattern(5000, 8);
        if replaced {
            w.foreign("p/f", &theirs);
        } else {
            w.s3.delete(BUCKET, "p/f");
        }
        w.start();
        w.until("it waits", || async { is_parked(&w, ino).await }).await;
        let mut w = w.restart().await;
        w.start();
        w.until("it waits again", || async { is_parked(&w, ino).await }).await;
        let name = w.catalog.inode(ino).await.unwrap().name.clone();
        assert!(name.starts_with("f.conflict-gw1-") && name.ends_with(".incomplete"), "{name}");
        assert_eq!(w.keys().len(), usize::from(replaced), "{:?}", w.keys());
        assert_eq!(w.entry("f").await.is_some(), replaced);
        if let Some(there) = w.entry("f").await {
            assert!(w.read(there.ino, 0..5000).await == theirs);
        }
        assert_eq!(w.read(ino, 4096..4100).await, b"ours");
        let missing = w.fetcher.fetch(ino, 0..10).await;
        assert!(matches!(missing, Err(FetchError::Incomplete)), "{missing:?}");
        let read = w.mount().read(&root_user(), ino, 0, 10).await;
        assert_eq!(read.err(), Some(FsError::Io));
        let pending = w.catalog.pending(None).await.unwrap();
        assert!(pending.last_error.unwrap().contains("is not whole: bytes 0-4095"));
        assert!(w.catalog.verify().await.unwrap().is_empty());
        // Somebody writes the rest.
        let whole = pattern(size, 9);
        w.write(ino, 0, &whole).await;
        w.drain().await;
        assert!(w.object(&format!("p/{name}")).body == whole);
        assert_eq!(w.keys().len(), 1 + usize::from(replaced));
    }
}

/// The same when it was renamed first: what took its object's place shows where it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_file_whose_other_bytes_are_gone_is_set_aside_under_its_new_name() {
    let mut w = World::new().await;
    let (ino, _) = changed_in_part(&mut w, 10).await;
    w.rename("f", "g").await;
    w.foreign("p/f", b"theirs");
    w.start();
    w.until("it waits", || async { is_parked(&w, ino).await }).await;
    // Said after it is so.
    w.until("it is said", || async { w.conflicts() > 0 }).await;
    w.refresher.on_access(w.share.root).await.unwrap();
    let names = w.names().await;
    assert!(names[0] == "f" && names[1].starts_with("g.conflict-"), "{names:?}");
    assert_eq!((w.keys(), w.conflicts()), (vec!["p/f".to_owned()], 1));
    // A change that leaves it as incomplete as it was does not send it.
    let mode = AttrChange { mode: Some(0o600), ..AttrChange::default() };
    w.catalog.set_attr(ino, mode, w.stamp()).await.unwrap();
    w.until("it waits again", || async { is_parked(&w, ino).await }).await;
    w.remove(&names[1]).await;
    w.drain().await;
    assert_eq!(w.keys(), ["p/f"]);
}
