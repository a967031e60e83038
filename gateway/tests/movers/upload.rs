//! What reaches the bucket, in how many requests, and that it does so whatever goes wrong.
use gateway::{
    catalog::NewKind,
    vfs::{SetAttr, ShareFs},
};
use gateway_api::status::{HealthEventKind, ShareState};
use s3_store::{FaultAction, FaultRule};

use crate::{
    listing::root_user,
    world::{BUCKET, World, pattern},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_is_one_put_that_carries_everything() {
    let mut w = World::new().await;
    // As the quiet time has it: nothing is sent before the file is whole.
    w.halt().await;
    let ino = w.create(w.share.root, "a report.html", NewKind::File { verifier: None }).await;
    w.write(ino, 0, b"<p>hello</p>").await;
    w.start();
    w.drain().await;
    let object = w.object("p/a report.html");
    assert_eq!(object.body, b"<p>hello</p>");
    assert_eq!(
        (object.content_type.as_str(), object.storage_class.as_str()),
        ("text/html", "STANDARD")
    );
    let meta: Vec<_> =
        object.user_meta.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let version = w.catalog.inode(ino).await.unwrap().version;
    assert_eq!(
        meta,
        [
            ("file-atime", "1800000000000000000ns"),
            ("file-group", "1001"),
            ("file-mtime", "1800000000000000000ns"),
            ("file-owner", "1000"),
            ("file-permissions", "0100640"),
            (
                "tidegate-gen",
                format!("gw1-{:x}:{}:{version}", w.catalog.generation(), ino.0).as_str()
            ),
            ("user-agent", "tidegate"),
        ]
    );
    assert_eq!(
        w.s3.request_counts().into_iter().collect::<Vec<_>>(),
        [("PutObject".to_owned(), 1)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_file_that_waits_for_its_upload_cost_no_request() {
    let mut w = World::new().await;
    w.halt().await;
    let ino = w.file("draft", b"text").await;
    w.chmod(ino, 0o600).await;
    let owner = SetAttr { uid: Some(7), gid: Some(8), ..SetAttr::default() };
    w.mount().setattr(&root_user(), ino, owner, None).await.unwrap();
    w.rename("draft", "final").await;
    w.start();
    w.drain().await;
    assert_eq!(w.keys(), ["p/final"]);
    let said = w.object("p/final").user_meta;
    let said = ["file-permissions", "file-owner", "file-group"].map(|name| said[name].clone());
    assert_eq!(said, ["0100600", "7", "8"]);
    assert_eq!(
        w.s3.request_counts().into_iter().collect::<Vec<_>>(),
        [("PutObject".to_owned(), 1)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_and_symlinks_are_objects_too() {
    let w = World::new().await;
    let dir = w.create(w.share.root, "dir", NewKind::Directory).await;
    w.create(dir, "link", NewKind::Symlink(b"../target".to_vec())).await;
    w.create(dir, "empty", NewKind::File { verifier: None }).await;
    w.drain().await;
    assert_eq!(w.keys(), ["p/dir/", "p/dir/empty", "p/dir/link"]);
    assert_eq!(w.object("p/dir/").user_meta["file-permissions"], "0040640");
    assert!(w.object("p/dir/").body.is_empty() && w.object("p/dir/empty").body.is_empty());
    assert_eq!(w.object("p/dir/link").body, b"../target");
    assert_eq!(w.object("p/dir/link").user_meta["file-permissions"], "0120640");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_written_while_it_is_sent_ends_in_its_last_version() {
    let w = World::new().await;
    let slow = FaultAction::Delay(std::time::Duration::from_millis(300));
    w.s3.faults().add(FaultRule::new(slow).operation("PutObject"));
    let ino = w.file("f", b"first").await;
    w.until("the first is under way", || async { w.requests("PutObject") > 0 }).await;
    w.write(ino, 0, b"second").await;
    w.drain().await;
    assert_eq!(w.object("p/f").body, b"second");
    assert!(!w.catalog.inode(ino).await.unwrap().dirty);
    assert_eq!((w.keys().len(), w.conflicts()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_of_an_uploaded_file_is_copied_by_the_server() {
    let w = World::new().await;
    w.file("old", b"body").await;
    w.drain().await;
    let sent = w.requests("PutObject");
    w.rename("old", "new name + more").await;
    w.drain().await;
    assert_eq!(w.keys(), ["p/new name + more"]);
    assert_eq!(w.object("p/new name + more").body, b"body");
    assert_eq!((w.requests("PutObject"), w.requests("CopyObject")), (sent, 1));
    assert_eq!(w.requests("DeleteObject"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_over_an_uploaded_file_leaves_one() {
    let w = World::new().await;
    w.file("a", b"of a").await;
    w.file("b", b"of b").await;
    w.drain().await;
    w.rename("a", "b").await;
    w.drain().await;
    assert_eq!(w.keys(), ["p/b"]);
    assert_eq!((w.object("p/b").body, w.conflicts()), (b"of a".to_vec(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_swap_names_swap_contents() {
    let w = World::new().await;
    w.file("a", b"of a").await;
    w.file("b", b"of b").await;
    w.drain().await;
    w.rename("a", "t").await;
    w.rename("b", "a").await;
    w.rename("t", "b").await;
    w.drain().await;
    assert_eq!(w.keys(), ["p/a", "p/b"]);
    assert_eq!((w.object("p/a").body, w.object("p/b").body), (b"of b".to_vec(), b"of a".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_directory_takes_everything_below_along() {
    let w = World::new().await;
    let dir = w.create(w.share.root, "old", NewKind::Directory).await;
    for i in 0..20 {
        let ino = w.create(dir, &format!("f{i:02}"), NewKind::File { verifier: None }).await;
        w.write(ino, 0, format!("body {i}").as_bytes()).await;
    }
    w.drain().await;
    w.rename("old", "new").await;
    w.drain().await;
    let keys = w.keys();
    assert_eq!((keys.len(), keys[0].as_str()), (21, "p/new/"));
    assert!(keys.iter().all(|key| key.starts_with("p/new/")), "{keys:?}");
    assert_eq!(w.object("p/new/f07").body, b"body 7");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_attributes_of_an_uploaded_file_are_set_in_place() {
    let w = World::new().await;
    let ino = w.file("f", b"body").await;
    w.drain().await;
    let sent = w.requests("PutObject");
    w.chmod(ino, 0o755).await;
    w.drain().await;
    let object = w.object("p/f");
    assert_eq!(
        (object.body, object.user_meta["file-permissions"].as_str()),
        (b"body".to_vec(), "0100755")
    );
    assert_eq!((w.requests("PutObject"), w.requests("CopyObject")), (sent, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_success_was_not_heard_of_is_not_sent_again() {
    for fault in [FaultRule::fail_after(), FaultRule::new(FaultAction::DropAfter)] {
        let mut w = World::new().await;
        w.halt().await;
        w.s3.faults().add(fault.clone().operation("PutObject"));
        let ino = w.file("f", b"once").await;
        w.start();
        w.drain().await;
        assert_eq!(w.requests("PutObject"), 1, "{fault:?}");
        assert_eq!((w.object("p/f").body, w.conflicts()), (b"once".to_vec(), 0));
        assert!(!w.catalog.inode(ino).await.unwrap().dirty);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_removed_after_an_unknown_outcome_does_not_come_back() {
    let w = World::new().await;
    w.s3.faults().add(FaultRule::fail_after().operation("PutObject"));
    w.s3.faults().add(
        FaultRule::new(FaultAction::FailBefore { status: 500, code: "InternalError".to_owned() })
            .operation("HeadObject")
            .times(4),
    );
    w.file("f", b"gone").await;
    w.until("the object is there", || async { !w.keys().is_empty() }).await;
    w.remove("f").await;
    w.drain().await;
    assert!(w.keys().is_empty(), "{:?}", w.keys());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_created_where_one_was_removed_is_the_new_one() {
    let w = World::new().await;
    w.file("f", b"old").await;
    w.drain().await;
    w.remove("f").await;
    w.file("f", b"new").await;
    w.drain().await;
    assert_eq!((w.keys(), w.object("p/f").body), (vec!["p/f".to_owned()], b"new".to_vec()));
    assert_eq!(w.conflicts(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_said_and_ends_by_itself() {
    let mut w = World::new().await;
    w.halt().await;
    let down = FaultAction::FailBefore { status: 503, code: "ServiceUnavailable".to_owned() };
    w.s3.faults().add(FaultRule::new(down).times(5));
    w.file("f", b"kept").await;
    w.start();
    w.until("the outage shows", || async {
        matches!(w.share.health.state(), ShareState::Unavailable(_))
    })
    .await;
    assert!(w.catalog.pending(None).await.unwrap().dirty_files > 0);
    w.drain().await;
    assert_eq!(w.share.health.state(), ShareState::Available);
    assert_eq!(w.object("p/f").body, b"kept");
    assert_eq!(w.catalog.pending(None).await.unwrap().failing, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_share_is_left_alone_but_for_a_probe_now_and_then() {
    let mut w = World::new().await;
    w.halt().await;
    let refused = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    w.s3.faults().add(FaultRule::new(refused).operation("PutObject").times(8));
    for i in 0..50 {
        w.file(&format!("f{i:02}"), b"x").await;
    }
    let before = w.clock.as_ref().clone_now();
    w.start();
    w.drain().await;
    assert_eq!(w.keys().len(), 50);
    let refused_for = w.clock.as_ref().clone_now() - before;
    assert!(refused_for >= 10, "{refused_for} s passed before it was asked again");
    assert!(w.requests("PutObject") <= 50 + 8);
    assert_eq!(w.share.health.state(), ShareState::Available);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_is_sent_after_a_restart() {
    let mut w = World::new().await;
    w.halt().await;
    w.file("f", b"survives").await;
    let mut w = w.restart().await;
    w.start();
    w.drain().await;
    assert_eq!(w.object("p/f").body, b"survives");
    assert_eq!(w.s3.keys(BUCKET).len(), 1);
}

/// Seconds of a hand-driven clock.
trait Seconds {
    fn clone_now(&self) -> i64;
}

impl<C: gateway::clock::Clock> Seconds for C {
    fn clone_now(&self) -> i64 {
        self.now().seconds()
    }
}

/// Goal: bytes that the disk has changed never reach the bucket, in one piece or in parts, and the file is
/// uploaded once it has been written again.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_the_cache_disk_has_changed_are_not_uploaded() {
    for size in [30_000, (17 << 20) + 5] {
        let mut w = World::new().await;
        w.halt().await;
        let body = pattern(size, 9);
        let ino = w.file("f", &body).await;
        w.flip_bit(ino, size as u64 - 1);
        w.start();
        w.until("the upload has failed", || async {
            w.catalog.pending(None).await.unwrap().failing > 0
        })
        .await;
        let pending = w.catalog.pending(None).await.unwrap();
        let error = pending.last_error.unwrap();
        assert!(error.contains("are not what was written"), "{error}");
        let told = w.events.list();
        assert!(
            told.iter().any(|event| event.kind == HealthEventKind::CacheDamaged
                && event.message.starts_with("f: bytes ")),
            "{told:?}"
        );
        assert_eq!(w.keys(), Vec::<String>::new());
        w.write(ino, 0, &body).await;
        w.drain().await;
        assert!(w.object("p/f").body == body);
    }
}

/// A log that is rotated by a rename while its writer goes on: the new one is uploaded all the same, and the
/// old one's object is never gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_name_a_file_had_that_is_still_written_is_uploaded() {
    let w = World::new().await;
    let old = w.file("log", b"old").await;
    w.drain().await;
    let burst = w.catalog.begin_write(old, w.stamp().due).await.unwrap();
    w.rename("log", "log.1").await;
    w.file("log", b"new").await;
    w.until("the new one is there", || async {
        w.s3.object(BUCKET, "p/log").is_some_and(|object| object.body == b"new")
    })
    .await;
    assert_eq!(w.keys().len(), 2, "the old one's object is aside: {:?}", w.keys());
    let row = w.catalog.inode(old).await.unwrap();
    assert!(row.writing && row.version == burst.version + 1, "{row:?}");
    w.write(old, 3, b" and more").await;
    w.drain().await;
    assert_eq!(w.keys(), ["p/log", "p/log.1"]);
    assert_eq!(
        (w.object("p/log").body, w.object("p/log.1").body),
        (b"new".to_vec(), b"old and more".to_vec())
    );
    assert_eq!(w.conflicts(), 0);
}
