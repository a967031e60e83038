//! Large files: parts, resumption, and no leftovers.
use gateway::budget::MemoryBudget;
use s3_store::{FaultAction, FaultRule, Hold};

use crate::world::{BUCKET, World, pattern};

/// Three parts: 16, 16 and 8 MiB.
const SIZE: usize = 40 << 20;

/// Bytes of which no two parts are alike.
fn bytes(seed: u8) -> Vec<u8> {
    pattern(SIZE, seed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_goes_in_parts_and_carries_its_metadata() {
    let w = World::versioned().await;
    w.file("large.bin", &bytes(0)).await;
    w.drain().await;
    let object = w.object("p/large.bin");
    assert!(object.body == bytes(0), "the bytes are not the file's");
    assert_eq!(object.user_meta["file-permissions"], "0100640");
    assert_eq!((w.requests("UploadPart"), w.requests("CompleteMultipartUpload")), (3, 1));
    assert_eq!(object.versions, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_after_a_restart_with_the_parts_that_are_missing() {
    let mut w = World::new().await;
    w.halt().await;
    let refused = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    w.s3.faults().add(FaultRule::new(refused).operation("UploadPart").skip(1).times(1000));
    w.file("large.bin", &bytes(1)).await;
    w.start();
    w.until("a part was refused", || async { w.requests("UploadPart") >= 3 }).await;
    w.until("the failure is noted", || async {
        w.catalog.pending(None).await.unwrap().failing > 0
    })
    .await;
    let mut w = w.restart().await;
    assert_eq!(w.s3.uploads_in_progress(BUCKET), 1, "its parts are kept");
    w.s3.faults().clear();
    let before = w.requests("UploadPart");
    w.start();
    w.drain().await;
    assert_eq!(w.requests("UploadPart") - before, 2, "the part that was taken is not sent again");
    assert_eq!(w.requests("CreateMultipartUpload"), 1);
    assert!(w.object("p/large.bin").body == bytes(1));
}

/// 404 is what S3 says to `If-Match` of an object that is gone, and of an upload that is.
#[tokio::test(flavor = "multi_thread")]
async fn regression_a_large_file_whose_object_was_deleted_is_put_back() {
    let mut w = World::new().await;
    let ino = w.file("large.bin", &bytes(8)).await;
    w.drain().await;
    w.halt().await;
    w.write(ino, 0, &bytes(9)).await;
    w.s3.delete(BUCKET, "p/large.bin");
    w.start();
    w.drain().await;
    assert!(w.object("p/large.bin").body == bytes(9));
    assert_eq!((w.keys().len(), w.conflicts()), (1, 1));
    assert_eq!(w.requests("CompleteMultipartUpload"), 3, "the second one met the condition");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_s3_has_dropped_begins_anew() {
    let mut w = World::new().await;
    w.halt().await;
    let refused = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    w.s3.faults().add(FaultRule::new(refused).operation("UploadPart").skip(2).times(1000));
    w.file("large.bin", &bytes(2)).await;
    w.start();
    w.until("the failure is noted", || async {
        w.catalog.pending(None).await.unwrap().failing > 0
    })
    .await;
    w.halt().await;
    let store = w.store();
    for pending in store.list_multipart("p/", None).await.unwrap().uploads {
        let key = gateway::object::ObjectKey::new(pending.key).unwrap();
        store.abort_multipart(&key, &pending.upload_id).await.unwrap();
    }
    w.s3.faults().clear();
    w.start();
    w.drain().await;
    assert!(w.object("p/large.bin").body == bytes(2));
    assert_eq!((w.conflicts(), w.requests("CreateMultipartUpload")), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_written_between_two_parts_is_never_published_half_and_half() {
    let w = World::new().await;
    let slow = FaultAction::Delay(std::time::Duration::from_millis(200));
    w.s3.faults().add(FaultRule::new(slow).operation("UploadPart").times(3));
    let ino = w.file("large.bin", &bytes(3)).await;
    w.until("parts are under way", || async { w.requests("UploadPart") > 0 }).await;
    w.write(ino, 0, &bytes(4)).await;
    w.drain().await;
    assert!(w.object("p/large.bin").body == bytes(4));
    assert_eq!((w.s3.uploads_in_progress(BUCKET), w.conflicts()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_whose_success_was_not_heard_of_is_settled_by_a_look() {
    let mut w = World::new().await;
    w.halt().await;
    w.s3.faults().add(FaultRule::fail_after().operation("CompleteMultipartUpload"));
    w.file("large.bin", &bytes(5)).await;
    w.start();
    w.drain().await;
    assert_eq!((w.requests("UploadPart"), w.requests("CompleteMultipartUpload")), (3, 1));
    assert_eq!((w.keys().len(), w.conflicts()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_inside_a_200_is_an_error() {
    let mut w = World::new().await;
    w.halt().await;
    let inside = FaultAction::FailBefore { status: 200, code: "InternalError".to_owned() };
    w.s3.faults().add(FaultRule::new(inside).operation("CompleteMultipartUpload"));
    w.file("large.bin", &bytes(6)).await;
    w.start();
    w.drain().await;
    assert!(w.object("p/large.bin").body == bytes(6));
    assert_eq!(w.requests("CompleteMultipartUpload"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_removed_while_it_is_sent_leaves_nothing() {
    let w = World::new().await;
    let slow = FaultAction::Delay(std::time::Duration::from_millis(200));
    w.s3.faults().add(FaultRule::new(slow).operation("UploadPart").times(3));
    w.file("large.bin", &bytes(7)).await;
    w.until("parts are under way", || async { w.requests("UploadPart") > 0 }).await;
    w.remove("large.bin").await;
    w.drain().await;
    assert!(w.keys().is_empty(), "{:?}", w.keys());
    assert_eq!(w.s3.uploads_in_progress(BUCKET), 0);
}

/// The part of the object that has not changed is copied within S3, not sent and not fetched.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_large_file_that_was_appended_to_only_the_end_is_sent() {
    let w = World::new().await;
    let ino = w.file("log", &bytes(8)).await;
    w.drain().await;
    w.evict(ino).await;
    w.write(ino, SIZE as u64, b"one more line").await;
    w.drain().await;
    let object = w.object("p/log");
    assert!(object.body == [&bytes(8)[..], b"one more line"].concat());
    assert_eq!((w.requests("UploadPart"), w.requests("UploadPartCopy")), (3 + 1, 1));
    assert_eq!(w.requests("GetObject"), 1, "the last part's old 8 MiB, and nothing else");
    let cached = w.catalog.ranges(ino).await.unwrap().bytes();
    assert_eq!(cached, 13, "an upload takes no room on the cache disk");
    assert_eq!(w.s3.uploads_in_progress(BUCKET), 0);
    assert_eq!(w.read(ino, 0..100).await, bytes(8)[..100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_large_file_changed_in_the_middle_one_part_is_sent_and_after_a_restart_too() {
    let mut w = World::new().await;
    let ino = w.file("db", &bytes(9)).await;
    w.drain().await;
    w.halt().await;
    w.write(ino, 20 << 20, b"changed").await;
    let mut w = w.restart().await;
    w.write(ino, 21 << 20, b"again").await;
    w.start();
    w.drain().await;
    let mut expected = bytes(9);
    expected[20 << 20..][..7].copy_from_slice(b"changed");
    expected[21 << 20..][..5].copy_from_slice(b"again");
    assert!(w.object("p/db").body == expected);
    assert_eq!((w.requests("UploadPart"), w.requests("UploadPartCopy")), (3 + 1, 2));
}

/// A file cut short and made longer again is zero in between, whatever the object had there.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_is_not_copied_back() {
    let mut w = World::new().await;
    let ino = w.file("f", &bytes(10)).await;
    w.drain().await;
    w.halt().await;
    for size in [18 << 20, SIZE as u64] {
        w.resize(ino, size).await;
    }
    w.start();
    w.drain().await;
    let mut expected = bytes(10);
    expected[18 << 20..].fill(0);
    assert!(w.object("p/f").body == expected);
    assert_eq!(w.requests("UploadPartCopy"), 1);
}

/// The object changes after its parts were copied: all bytes are in S3 by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_changes_before_the_end_is_kept_beside_the_file() {
    let mut w = World::new().await;
    let ino = w.file("f", &bytes(13)).await;
    w.drain().await;
    w.halt().await;
    w.evict(ino).await;
    w.write(ino, 20 << 20, b"ours").await;
    let refused = FaultAction::FailBefore { status: 503, code: "SlowDown".to_owned() };
    let complete = FaultRule::new(refused).operation("CompleteMultipartUpload");
    w.s3.faults().add(complete.times(u64::MAX));
    w.start();
    w.until("the parts are there", || async { w.requests("CompleteMultipartUpload") > 1 }).await;
    let mut w = w.restart().await;
    w.foreign("p/f", &bytes(14));
    w.s3.faults().clear();
    w.start();
    w.drain().await;
    let mut expected = bytes(13);
    expected[20 << 20..][..4].copy_from_slice(b"ours");
    assert!(w.object("p/f").body == expected);
    let aside = w.keys().into_iter().find(|key| key.contains(".conflict-")).unwrap();
    assert!(w.object(&aside).body == bytes(14));
    assert_eq!(w.conflicts(), 1);
}

/// Parts that a change has not touched stay good; the attributes follow by a copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_grows_while_it_is_sent_keeps_its_parts() {
    let mut w = World::new().await;
    w.halt().await;
    let refused = FaultAction::FailBefore { status: 503, code: "SlowDown".to_owned() };
    let complete = FaultRule::new(refused).operation("CompleteMultipartUpload");
    w.s3.faults().add(complete.times(u64::MAX));
    let ino = w.file("f", &bytes(15)).await;
    w.start();
    w.until("all parts are there", || async { w.requests("CompleteMultipartUpload") > 0 }).await;
    let mut w = w.restart().await;
    w.s3.faults().clear();
    w.clock.advance_millis(5000);
    w.write(ino, SIZE as u64, b"more").await;
    w.start();
    w.drain().await;
    let object = w.object("p/f");
    assert!(object.body == [&bytes(15)[..], b"more"].concat());
    assert_eq!(w.requests("UploadPart"), 3 + 1, "only the last part is another one");
    let mtime = w.entry("f").await.unwrap().mtime.as_nanos();
    assert_eq!(object.user_meta["file-mtime"], format!("{mtime}ns"));
    assert_eq!(w.s3.uploads_in_progress(BUCKET), 0);
}

/// settings.md `orphaned_upload_days`: uploads that nobody knows go when they are old; those of the journal
/// stay however old they are, and so do young ones.
#[tokio::test(flavor = "multi_thread")]
async fn orphaned_uploads_are_aborted_and_no_others() {
    let mut w = World::new().await;
    w.halt().await;
    let refused = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    w.s3.faults().add(FaultRule::new(refused).operation("UploadPart").times(u64::MAX));
    w.file("large.bin", &bytes(16)).await;
    w.start();
    w.until("the failure is noted", || async {
        w.catalog.pending(None).await.unwrap().failing > 0
    })
    .await;
    w.halt().await;
    w.s3.faults().clear();
    let store = w.store();
    let orphan = gateway::object::ObjectKey::new("p/orphan").unwrap();
    let elsewhere = gateway::object::ObjectKey::new("q/elsewhere").unwrap();
    for key in [&orphan, &elsewhere] {
        store.create_multipart(key, &gateway::store::PutOptions::default()).await.unwrap();
    }
    let begun = store.list_multipart("p/orphan", None).await.unwrap().uploads[0].initiated;
    let before = begun.plus_millis(0);
    assert_eq!(
        gateway::upload::sweep(&w.share, &w.catalog, before).await.unwrap().aborted,
        0,
        "too young"
    );
    assert_eq!(w.s3.uploads_in_progress(BUCKET), 3);
    let after = begun.plus_millis(1);
    assert_eq!(gateway::upload::sweep(&w.share, &w.catalog, after).await.unwrap().aborted, 1);
    assert!(store.list_multipart("p/orphan", None).await.unwrap().uploads.is_empty());
    w.start();
    w.drain_but(1).await;
    assert!(w.object("p/large.bin").body == bytes(16), "its upload went on");
}

/// Goal: an upload whose beginning S3 has and the gateway has not heard of is left by no crash for ever: the file
/// goes another way, and the sweep takes what is old.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_a_crash_has_left_is_aborted_when_it_is_old() {
    let mut w = World::new().await;
    w.halt().await;
    w.s3.faults().add(FaultRule::fail_after().operation("CreateMultipartUpload"));
    w.file("large.bin", &bytes(21)).await;
    w.start();
    w.until("it was begun", || async { w.s3.uploads_in_progress(BUCKET) > 0 }).await;
    let mut w = w.crash().await;
    w.s3.faults().clear();
    w.start();
    w.drain_but(1).await;
    assert!(w.object("p/large.bin").body == bytes(21));
    let left = w.store().list_multipart("p/", None).await.unwrap().uploads;
    let begun = left[0].initiated;
    let sweep = async |before| gateway::upload::sweep(&w.share, &w.catalog, before).await.unwrap();
    assert_eq!((left.len(), sweep(begun).await.aborted), (1, 0), "it is young");
    assert_eq!(sweep(begun.plus_millis(1)).await.aborted, 1);
    assert_eq!(w.s3.uploads_in_progress(BUCKET), 0);
    assert!(w.object("p/large.bin").body == bytes(21));
}

/// ListMultipartUploads tells a thousand at a time, several of one key among them.
#[tokio::test(flavor = "multi_thread")]
async fn more_orphans_than_one_page_tells_are_aborted() {
    let mut w = World::new().await;
    w.halt().await;
    let store = w.store();
    let options = gateway::store::PutOptions::default();
    for number in 0..1100 {
        let key = format!("p/{:03}", number / 3);
        let key = gateway::object::ObjectKey::new(key).unwrap();
        store.create_multipart(&key, &options).await.unwrap();
    }
    let first = store.list_multipart("p/", None).await.unwrap();
    assert!(first.next.is_some(), "they fit one page: nothing is tried");
    let later = first.uploads[0].initiated.plus_millis(3_600_000);
    let swept = gateway::upload::sweep(&w.share, &w.catalog, later).await.unwrap();
    assert_eq!((swept.aborted, swept.is_all), (1100, true));
    assert_eq!(w.s3.uploads_in_progress(BUCKET), 0);
}

/// A file that is just as long as one part has all of that part changed by a write, whatever it was before.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_to_a_file_of_exactly_one_part_is_sent_when_the_file_grows() {
    const PART: u64 = 16 << 20;
    for short in [PART - 1, PART, PART + 1] {
        let mut w = World::new().await;
        let ino = w.file("f", &bytes(17)).await;
        w.drain().await;
        w.halt().await;
        w.resize(ino, short).await;
        w.write(ino, 0, b"changed").await;
        w.write(ino, short, &pattern(5 << 20, 18)).await;
        w.start();
        w.drain().await;
        let mut expected = bytes(17);
        expected.truncate(usize::try_from(short).unwrap());
        expected[..7].copy_from_slice(b"changed");
        expected.extend(pattern(5 << 20, 18));
        assert!(w.object("p/f").body == expected, "cut to {short}");
    }
}

/// After a crash in the middle of a write the cache file may hold bytes that nobody committed: the object
/// is made of what clients read, not of what it was.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_in_a_burst_the_object_has_what_is_read() {
    let mut w = World::new().await;
    let ino = w.file("f", &bytes(19)).await;
    w.drain().await;
    w.halt().await;
    w.catalog.begin_write(ino, w.stamp().due).await.unwrap();
    let written = bytes::Bytes::from_static(b"never committed");
    w.cache.write_at(ino, 20 << 20, written).await.unwrap();
    let mut w = w.crash().await;
    w.start();
    w.drain().await;
    let read = w.read(ino, 0..SIZE as u64).await;
    assert!(w.object("p/f").body == read, "S3 has other bytes than clients read");
}

/// Parts that memory has no room for are put together in the bucket, and nothing of that stays there.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_larger_than_the_memory_is_sent_piece_by_piece() {
    let mut w = World::new().await;
    w.halt().await;
    w.upload_within(MemoryBudget::new(6 << 20));
    let ino = w.file("f", &bytes(20)).await;
    let dropped = FaultAction::FailAfter { status: 500, code: "InternalError".to_owned() };
    w.s3.faults().add(FaultRule::new(dropped).operation("UploadPartCopy"));
    w.start();
    w.drain().await;
    assert!(w.object("p/f").body == bytes(20));
    assert_eq!(w.keys(), ["p/f"], "the objects that parts were made of are gone");
    assert!(w.requests("UploadPartCopy") >= 3);
    assert_eq!(w.object("p/f").user_meta["file-permissions"], "0100640");
    // Of a file that is written meanwhile no part is of two versions.
    w.halt().await;
    w.write(ino, 0, &bytes(21)).await;
    let hold = Hold::new();
    let held = FaultAction::Hold(hold.clone());
    w.s3.faults().add(FaultRule::new(held).operation("UploadPartCopy").times(u64::MAX));
    w.start();
    hold.come(1).await;
    w.write(ino, 1 << 20, b"later").await;
    hold.open();
    w.drain().await;
    let mut expected = bytes(21);
    expected[1 << 20..][..5].copy_from_slice(b"later");
    assert!(w.object("p/f").body == expected);
    assert_eq!(w.keys(), ["p/f"]);
}

/// The upload goes under the part's feet: it is begun anew, and no conflict is seen in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_composed_part_of_an_upload_that_s3_has_dropped_begins_anew() {
    let mut w = World::new().await;
    w.halt().await;
    w.upload_within(MemoryBudget::new(6 << 20));
    w.file("f", &bytes(22)).await;
    let gone = FaultAction::FailBefore { status: 404, code: "NoSuchUpload".to_owned() };
    w.s3.faults().add(FaultRule::new(gone).operation("UploadPartCopy"));
    w.start();
    w.drain().await;
    assert!(w.object("p/f").body == bytes(22));
    assert_eq!((w.keys(), w.conflicts()), (vec!["p/f".to_owned()], 0));
}
