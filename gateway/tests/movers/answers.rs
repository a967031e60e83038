//! Answers that are lost, wrong or late although S3 has done what it was asked: settled without another
//! version, a conflict copy or a mixed file.
use gateway::store::{
    StoreErrorKind, StoreOp,
    fault::{Fault, FaultRule, Gate},
};

use crate::world::{World, pattern};

/// What an answer may say of a publish that was done: nothing in time, or, when somebody on the way has
/// repeated the request, that its condition does not hold.
const LOST: [StoreErrorKind; 3] =
    [StoreErrorKind::Timeout, StoreErrorKind::Unavailable, StoreErrorKind::Changed];

/// A world whose next request of this kind is done and said to have failed; its uploader stands.
async fn losing(op: StoreOp, kind: StoreErrorKind, prepared: Option<&[u8]>) -> World {
    let mut w = World::new().await;
    if let Some(body) = prepared {
        w.file("f", body).await;
        w.drain().await;
    }
    w.halt().await;
    w.faults.add(FaultRule::new(Fault::FailAfter(kind)).on(op).below("p/"));
    w
}

/// Runs the uploader to the end. The fault has happened, and nothing tells of another writer.
async fn settled(w: &mut World) {
    w.start();
    w.drain().await;
    assert_eq!((w.faults.happened(), w.conflicts()), (1, 0));
    assert_eq!(w.catalog.pending(None).await.unwrap().failing, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_was_done_is_not_done_again() {
    for kind in LOST {
        let mut w = losing(StoreOp::PutObject, kind, None).await;
        w.file("f", b"once").await;
        settled(&mut w).await;
        assert_eq!((w.keys(), w.object("p/f").body), (vec!["p/f".to_owned()], b"once".to_vec()));
        assert_eq!(w.requests("PutObject"), 1, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_done_is_not_done_again() {
    for kind in LOST {
        let mut w = losing(StoreOp::CopyObject, kind, Some(b"moved")).await;
        let before = w.requests("PutObject");
        w.rename("f", "g").await;
        settled(&mut w).await;
        assert_eq!((w.keys(), w.object("p/g").body), (vec!["p/g".to_owned()], b"moved".to_vec()));
        let sent = (w.requests("CopyObject"), w.requests("PutObject") - before);
        assert_eq!(sent, (1, 0), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multipart_upload_that_was_completed_is_not_sent_again() {
    let body = pattern((17 << 20) + 5, 3);
    for kind in LOST {
        let mut w = losing(StoreOp::CompleteMultipartUpload, kind, None).await;
        w.file("f", &body).await;
        settled(&mut w).await;
        assert_eq!(w.keys(), ["p/f"]);
        assert!(w.object("p/f").body == body, "{kind:?}");
        let sent = (w.requests("UploadPart"), w.requests("CompleteMultipartUpload"));
        assert_eq!(sent, (2, 1), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_was_done_is_no_conflict() {
    for kind in [StoreErrorKind::Timeout, StoreErrorKind::Unavailable] {
        let mut w = losing(StoreOp::DeleteObject, kind, Some(b"gone")).await;
        w.remove("f").await;
        settled(&mut w).await;
        assert_eq!(w.keys(), Vec::<String>::new(), "{kind:?}");
    }
}

/// The catalog believes in a tag that no object has; the next publish finds its own object there.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_tag_in_an_answer_is_no_other_writer() {
    let mut w = World::new().await;
    w.halt().await;
    w.faults.add(FaultRule::new(Fault::WrongETag).on(StoreOp::PutObject));
    let ino = w.file("f", b"first").await;
    w.start();
    w.drain().await;
    let believed = w.catalog.inode(ino).await.unwrap().etag.clone().unwrap();
    assert_ne!(believed.as_str().trim_matches('"'), w.object("p/f").etag, "nothing was at stake");
    w.write(ino, 0, b"again").await;
    w.drain().await;
    assert_eq!((w.keys(), w.object("p/f").body), (vec!["p/f".to_owned()], b"again".to_vec()));
    assert_eq!(w.conflicts(), 0);
}

/// Bytes that were asked for before the file was cut are not brought back by its growing again.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_while_its_bytes_are_on_their_way_stays_cut() {
    let body = pattern((3 << 20) + 100, 1);
    let mut w = World::new().await;
    w.foreign("p/f", &body);
    w.refresher.on_access(w.share.root).await.unwrap();
    let ino = w.entry("f").await.unwrap().ino;
    w.halt().await;
    let gate = Gate::default();
    w.faults.add(FaultRule::new(Fault::Hold(gate.clone())).on(StoreOp::GetObject));
    let fetched = tokio::spawn({
        let fetcher = w.fetcher.clone();
        async move { fetcher.fetch(ino, 2 << 20..3 << 20).await }
    });
    gate.arrived(1).await;
    w.resize(ino, 100).await;
    w.resize(ino, 3 << 20).await;
    gate.open();
    fetched.await.unwrap().unwrap();
    let expected = [&body[..100], &vec![0; (3 << 20) - 100]].concat();
    assert!(w.read(ino, 0..3 << 20).await == expected, "what was cut off is back");
    w.start();
    w.drain().await;
    assert!(w.object("p/f").body == expected);
}
