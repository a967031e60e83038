//! What S3 has already is copied there: objects too large for one copy, stores that cannot, swapped names.
//! "Too large" is 16 MiB here instead of S3's 5 GiB.
use gateway::ids::Ino;
use gateway_api::status::{Ability, Capabilities};
use s3_store::{FaultAction, FaultRule, Hold};

use crate::world::{BUCKET, World, pattern};

pub(crate) const PART: usize = 16 << 20;
/// Four pieces.
const SIZE: usize = 60 << 20;

fn bytes(seed: u8) -> Vec<u8> {
    pattern(SIZE, seed)
}

/// A bucket with the object `p/a` of a file that is not cached; what is above 16 MiB is copied in parts.
async fn with_large(seed: u8) -> World {
    with_object(&bytes(seed)).await
}

/// The same with this content.
pub(crate) async fn with_object(body: &[u8]) -> World {
    let mut w = World::new().await;
    let ino = w.file("a", body).await;
    w.drain().await;
    w.halt().await;
    w.evict(ino).await;
    w.copy_at_most(PART as u64);
    w
}

fn lacks(operation: &str) -> FaultRule {
    let action = FaultAction::FailBefore { status: 501, code: "NotImplemented".to_owned() };
    FaultRule::new(action).operation(operation).times(u64::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_is_copied_in_parts_side_by_side() {
    let mut w = with_large(1).await;
    let hold = Hold::default();
    let held = FaultAction::Hold(hold.clone());
    w.s3.faults().add(FaultRule::new(held).operation("UploadPartCopy").times(u64::MAX));
    w.rename("a", "b").await;
    w.start();
    w.until("all four copies are under way", || async { w.requests("UploadPartCopy") == 4 }).await;
    hold.come(4).await;
    hold.open();
    w.drain().await;
    assert!(w.object("p/b").body == bytes(1));
    assert_eq!(w.keys(), ["p/b"]);
    assert_eq!((w.requests("GetObject"), w.requests("CopyObject")), (0, 0));
    let mode = &w.object("p/b").user_meta["file-permissions"];
    assert_eq!(mode, "0100640");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_copy_goes_on_after_a_restart_with_the_parts_that_are_missing() {
    let mut w = with_large(2).await;
    let refused = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    w.s3.faults().add(FaultRule::new(refused).operation("UploadPartCopy").skip(2).times(u64::MAX));
    w.rename("a", "b").await;
    w.start();
    w.until("it failed", || async { w.catalog.pending(None).await.unwrap().failing > 0 }).await;
    let mut w = w.restart().await;
    w.copy_at_most(PART as u64);
    assert_eq!(w.s3.uploads_in_progress(BUCKET), 1, "its parts are kept");
    w.s3.faults().clear();
    let (copies, begun) = (w.requests("UploadPartCopy"), w.requests("CreateMultipartUpload"));
    w.start();
    w.drain().await;
    assert_eq!(w.requests("UploadPartCopy") - copies, 2, "what was copied is not copied again");
    assert_eq!(w.requests("CreateMultipartUpload"), begun);
    assert!(w.object("p/b").body == bytes(2));
}

/// Bytes of the object that was are never mixed with those of the one that took its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_copy_whose_source_changes_half_way_begins_anew() {
    let mut w = with_large(3).await;
    let refused = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    w.s3.faults().add(FaultRule::new(refused).operation("UploadPartCopy").skip(2).times(u64::MAX));
    w.rename("a", "b").await;
    w.start();
    w.until("it failed", || async { w.catalog.pending(None).await.unwrap().failing > 0 }).await;
    w.halt().await;
    w.foreign("p/a", &bytes(4));
    w.s3.faults().clear();
    w.start();
    w.drain().await;
    assert!(w.object("p/b").body == bytes(4), "their bytes, under our name");
    assert_eq!((w.keys().len(), w.conflicts()), (1, 1));
}

/// Attributes of a large object follow by a copy; a change of them while it is made begins it anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_copy_is_of_the_last_attributes() {
    let mut w = with_large(5).await;
    let slow = FaultAction::FailBefore { status: 503, code: "SlowDown".to_owned() };
    let complete = FaultRule::new(slow).operation("CompleteMultipartUpload");
    w.s3.faults().add(complete.times(u64::MAX));
    let ino = w.entry("a").await.unwrap().ino;
    w.chmod(ino, 0o600).await;
    w.start();
    let begun = w.requests("CompleteMultipartUpload");
    w.until("all parts are there", || async { w.requests("CompleteMultipartUpload") > begun })
        .await;
    w.halt().await;
    w.chmod(ino, 0o644).await;
    w.s3.faults().clear();
    let tried = w.requests("CompleteMultipartUpload");
    w.start();
    w.drain().await;
    let object = w.object("p/a");
    assert!(object.body == bytes(5));
    assert_eq!(object.user_meta["file-permissions"], "0100644");
    assert_eq!(w.requests("CompleteMultipartUpload") - tried, 1, "none for those before");
}

/// semantics.md "Stores that are not quite S3": whether that is known from the start or found out by trying.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_copy_parts_gets_a_large_file_by_way_of_here() {
    for known in [Ability::No, Ability::Yes] {
        let mut w = with_large(6).await;
        let mut capabilities = w.known.get();
        capabilities.upload_part_copy = known;
        w.known.set(capabilities);
        w.s3.faults().add(lacks("UploadPartCopy"));
        w.rename("a", "b").await;
        w.start();
        w.drain().await;
        assert!(w.object("p/b").body == bytes(6));
        assert_eq!(w.keys(), ["p/b"]);
        let asked = w.requests("UploadPartCopy");
        assert_eq!(asked, if known == Ability::No { 0 } else { 4 }, "{known:?}");
        let ino = w.entry("b").await.unwrap().ino;
        assert_eq!(w.catalog.ranges(ino).await.unwrap().bytes(), 0, "no room on the cache disk");
        // Attributes alone, and a change of a few bytes.
        w.chmod(ino, 0o600).await;
        w.drain().await;
        assert_eq!(w.object("p/b").user_meta["file-permissions"], "0100600");
        w.write(ino, 20 << 20, b"changed").await;
        w.drain().await;
        let mut expected = bytes(6);
        expected[20 << 20..][..7].copy_from_slice(b"changed");
        assert!(w.object("p/b").body == expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changes_is_noticed_where_its_bytes_go_by_way_of_here() {
    let mut w = with_large(7).await;
    w.known.set(Capabilities { upload_part_copy: Ability::No, ..w.known.get() });
    w.rename("a", "b").await;
    w.foreign("p/a", &bytes(8));
    w.start();
    w.drain().await;
    assert!(w.object("p/b").body == bytes(8), "their bytes, under our name");
    assert_eq!((w.keys().len(), w.conflicts()), (1, 1));
}

/// Its attributes could only be mended by sending all of it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_copy_parts_gets_no_upload_of_an_older_version() {
    let mut w = World::new().await;
    w.halt().await;
    w.copy_at_most(PART as u64);
    w.known.set(Capabilities { upload_part_copy: Ability::No, ..w.known.get() });
    let slow = FaultAction::FailBefore { status: 503, code: "SlowDown".to_owned() };
    let complete = FaultRule::new(slow).operation("CompleteMultipartUpload");
    w.s3.faults().add(complete.times(u64::MAX));
    let ino = w.file("f", &bytes(9)).await;
    w.start();
    w.until("all parts are there", || async { w.requests("CompleteMultipartUpload") > 0 }).await;
    w.halt().await;
    w.s3.faults().clear();
    w.write(ino, SIZE as u64, b"more").await;
    w.start();
    w.drain().await;
    assert!(w.object("p/f").body == [&bytes(9)[..], b"more"].concat());
    assert_eq!(w.requests("CreateMultipartUpload"), 2, "begun anew");
    assert_eq!((w.requests("GetObject"), w.requests("UploadPartCopy")), (0, 0));
}

/// Opens a burst of writes, offers what is committed so far, and waits until all that could go ahead has.
async fn goes_ahead(w: &mut World, ino: Ino, beside: &str) {
    w.catalog.begin_write(ino, w.stamp().due).await.unwrap();
    assert!(w.catalog.offer_early(ino).await.unwrap());
    // Claimed after what was offered.
    w.file(beside, b"beside").await;
    w.start();
    let beside = format!("p/{beside}");
    w.until("the other file is there, and nothing is under way", || async {
        w.keys().contains(&beside) && w.catalog.jobs_out().await.unwrap() == 0
    })
    .await;
    w.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_ahead_to_a_store_that_cannot_copy_parts() {
    for (known, parts) in [(Ability::No, 0), (Ability::Yes, 3)] {
        let mut w = World::new().await;
        w.halt().await;
        w.known.set(Capabilities { upload_part_copy: known, ..w.known.get() });
        let ino = w.file("f", &bytes(16)).await;
        goes_ahead(&mut w, ino, "beside").await;
        assert_eq!(w.requests("UploadPart"), parts);
        assert_eq!(w.requests("CreateMultipartUpload"), parts.min(1));
    }
}

/// A file that is written here and there, and committed all the time, would be sent many times over.
#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_written_again_and_again_go_ahead_once() {
    let mut w = World::new().await;
    w.halt().await;
    let ino = w.file("f", &bytes(17)).await;
    goes_ahead(&mut w, ino, "beside").await;
    assert_eq!(w.requests("UploadPart"), 3);
    w.write(ino, 20 << 20, b"again").await;
    goes_ahead(&mut w, ino, "beside2").await;
    assert_eq!(w.requests("UploadPart"), 3, "it goes with the rest");
    w.write(ino, 21 << 20, b"and again").await;
    w.start();
    w.drain().await;
    assert_eq!(w.requests("UploadPart"), 3 + 2, "what was written again, and the last part");
    w.halt().await;
    // In a file that S3 has, only parts that are new as a whole go ahead.
    w.write(ino, 1 << 20, b"a few bytes").await;
    w.write(ino, 32 << 20, &pattern(PART, 18)).await;
    goes_ahead(&mut w, ino, "beside3").await;
    assert_eq!(w.requests("UploadPart"), 5 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_copy_objects_gets_them_by_way_of_here() {
    let mut w = World::new().await;
    for (name, size) in [("small", 100), ("large", SIZE)] {
        let ino = w.file(name, &pattern(size, 10)).await;
        w.drain().await;
        w.evict(ino).await;
    }
    w.halt().await;
    w.s3.faults().add(lacks("CopyObject"));
    w.rename("small", "s").await;
    w.rename("large", "l").await;
    w.start();
    w.drain().await;
    assert!(w.object("p/s").body == pattern(100, 10) && w.object("p/l").body == pattern(SIZE, 10));
    assert_eq!(w.keys(), ["p/l", "p/s"]);
}

/// A conflict copy of an object that is too large for one copy is whole, with a store that copies parts and
/// with one that does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_of_another_writer_is_kept_beside_ours() {
    for known in [Ability::Yes, Ability::No] {
        let mut w = World::new().await;
        w.halt().await;
        w.copy_at_most(PART as u64);
        w.known.set(Capabilities { upload_part_copy: known, ..w.known.get() });
        w.file("f", b"ours").await;
        w.foreign("p/f", &bytes(11));
        w.start();
        w.drain().await;
        assert_eq!(w.object("p/f").body, b"ours");
        let aside = w.keys().into_iter().find(|key| key.contains(".conflict-")).unwrap();
        assert!(w.object(&aside).body == bytes(11));
        assert_eq!(w.requests("UploadPartCopy"), if known == Ability::Yes { 4 } else { 0 });
    }
}

/// Goal: swapped names end, and no byte of them comes here. Method: two objects of which nothing is cached
/// change names, small and too large for one copy.
#[tokio::test(flavor = "multi_thread")]
async fn objects_that_swap_names_step_aside_within_the_bucket() {
    for size in [1000, SIZE] {
        let mut w = World::new().await;
        for (name, seed) in [("a", 12), ("b", 13)] {
            let ino = w.file(name, &pattern(size, seed)).await;
            w.drain().await;
            w.evict(ino).await;
        }
        w.halt().await;
        w.copy_at_most(PART as u64);
        for (from, to) in [("a", "t"), ("b", "a"), ("t", "b")] {
            w.rename(from, to).await;
        }
        w.start();
        w.drain().await;
        assert!(w.object("p/a").body == pattern(size, 13), "{size}");
        assert!(w.object("p/b").body == pattern(size, 12), "{size}");
        assert_eq!(w.keys(), ["p/a", "p/b"], "nothing is left of the way there");
        assert_eq!((w.requests("GetObject"), w.conflicts()), (0, 0));
        for name in ["a", "b"] {
            let ino = w.entry(name).await.unwrap().ino;
            assert_eq!(w.catalog.ranges(ino).await.unwrap().bytes(), 0);
        }
        assert_eq!(w.catalog.verify().await.unwrap(), Vec::<String>::new());
    }
}

/// What steps aside is in no listing, and what a restart cut off leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_a_restart_cuts_off_ends_and_leaves_nothing() {
    let mut w = World::new().await;
    for (name, seed) in [("a", 14), ("b", 15)] {
        let ino = w.file(name, &pattern(1000, seed)).await;
        w.drain().await;
        w.evict(ino).await;
    }
    w.halt().await;
    for (from, to) in [("a", "t"), ("b", "a"), ("t", "b")] {
        w.rename(from, to).await;
    }
    // The first copy is made, and its success is not heard of before the end.
    w.s3.faults().add(FaultRule::fail_after().operation("CopyObject"));
    w.start();
    w.until("the copy is there", || async { w.keys().len() == 3 }).await;
    let mut w = w.crash().await;
    w.refresher.now(w.share.root).await.unwrap();
    let mut names = w.names().await;
    names.sort();
    assert_eq!(names, ["a", "b"], "the scratch object is not shown");
    w.start();
    w.drain().await;
    assert!(w.object("p/a").body == pattern(1000, 15));
    assert!(w.object("p/b").body == pattern(1000, 14));
    assert_eq!(w.keys(), ["p/a", "p/b"]);
    assert_eq!(w.conflicts(), 0);
}
