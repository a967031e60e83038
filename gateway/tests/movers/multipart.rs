//! Large files: parts, resumption, and no leftovers.
use s3_store::{FaultAction, FaultRule};

use crate::world::{BUCKET, World, pattern};

/// Three parts: 16, 16 and 8 MiB.
const SIZE: usize = 40 << 20;

/// Bytes of which no two parts are alike.
fn bytes(seed: u8) -> Vec<u8> {
    pattern(SIZE, seed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_goes_in_parts_and_carries_its_metadata() {
    let w = World::new().await;
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
    for pending in store.list_multipart("p/").await.unwrap() {
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
