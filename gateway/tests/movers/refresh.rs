//! What others do in the bucket shows; an error is never taken for absence; local changes stay.
use gateway::{catalog::NewKind, ids::FileKind};
use s3_store::{FaultAction, FaultRule};

use crate::world::{BUCKET, World};

#[tokio::test(flavor = "multi_thread")]
async fn what_others_put_and_delete_shows() {
    let w = World::new().await;
    w.foreign("p/a", b"1");
    w.foreign("p/dir/x", b"2");
    w.foreign("elsewhere", b"3");
    w.refresher.on_access(w.share.root).await.unwrap();
    assert_eq!(w.names().await, ["a", "dir"]);
    w.s3.delete(BUCKET, "p/a");
    w.foreign("p/b", b"4");
    w.refresher.on_access(w.share.root).await.unwrap();
    assert_eq!(w.names().await, ["a", "dir"], "the listing is not stale yet");
    w.clock.advance_millis(5_000);
    w.refresher.on_access(w.share.root).await.unwrap();
    assert_eq!(w.names().await, ["b", "dir"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_lists_at_once() {
    let w = World::new().await;
    w.refresher.on_access(w.share.root).await.unwrap();
    w.foreign("p/new", b"1");
    w.refresher.now(w.share.root).await.unwrap();
    assert_eq!(w.names().await, ["new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_not_absence() {
    let w = World::new().await;
    for i in 0..1500 {
        w.foreign(&format!("p/f{i:04}"), b"x");
    }
    w.refresher.on_access(w.share.root).await.unwrap();
    assert_eq!(w.names().await.len(), 1000, "as many as one call shows");
    for (status, code, skip) in [
        (403, "AccessDenied", 0),
        (404, "NoSuchBucket", 0),
        (500, "InternalError", 1),
        (403, "SignatureDoesNotMatch", 1),
    ] {
        let fault = FaultAction::FailBefore { status, code: code.to_owned() };
        w.s3.faults().add(FaultRule::new(fault).operation("ListObjectsV2").skip(skip).times(100));
        w.refresher.now(w.share.root).await.unwrap_err();
        w.clock.advance_millis(60_000);
        w.refresher.on_access(w.share.root).await.unwrap();
        w.s3.faults().clear();
        assert!(w.entry("f0000").await.is_some() && w.entry("f1499").await.is_some(), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_never_listed_cannot_be_served_from_an_error() {
    let w = World::new().await;
    let fault = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    w.s3.faults().add(FaultRule::new(fault).operation("ListObjectsV2"));
    w.refresher.on_access(w.share.root).await.unwrap_err();
    w.clock.advance_millis(60_000);
    w.refresher.on_access(w.share.root).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn local_changes_are_never_eaten() {
    let mut w = World::new().await;
    w.foreign("p/kept", b"theirs");
    w.foreign("p/removed", b"theirs");
    w.foreign("p/written", b"theirs");
    w.refresher.now(w.share.root).await.unwrap();
    w.halt().await;
    w.file("new", b"ours").await;
    w.remove("removed").await;
    let written = w.entry("written").await.unwrap().ino;
    w.write(written, 0, b"longer than theirs").await;
    w.rename("kept", "renamed").await;
    w.s3.delete(BUCKET, "p/written");
    w.refresher.now(w.share.root).await.unwrap();
    assert_eq!(w.names().await, ["new", "renamed", "written"]);
    assert_eq!(w.entry("written").await.unwrap().size, 18);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_no_file_name_can_stand_for_are_counted_once() {
    let w = World::new().await;
    for key in ["p//x", "p/./y", "p/a\u{1}b", "p/both", "p/both/in", "p/fine"] {
        w.foreign(key, b"odd");
    }
    for _ in 0..2 {
        w.refresher.now(w.share.root).await.unwrap();
        assert_eq!(w.share.health.unrepresentable_keys(), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_come_from_the_object_s_metadata_and_else_from_the_share() {
    let w = World::new().await;
    let ino = w.file("ours", b"x").await;
    w.chmod(ino, 0o4711).await;
    w.create(w.share.root, "d", NewKind::Directory).await;
    w.drain().await;
    w.foreign("p/theirs", b"x");
    // Another cache disk on the same bucket.
    let other = tempfile::TempDir::new().unwrap();
    let catalog = gateway::catalog::Catalog::open(other.path()).unwrap();
    let attr = gateway::catalog::RootAttr { mode: 0o755, uid: 0, gid: 0, now: w.stamp().now };
    let row = catalog.ensure_share("share", BUCKET, "p/", attr).await.unwrap();
    let cache = gateway::cache::CacheStore::open(
        std::sync::Arc::new(gateway::cache::HostDisk),
        other.path(),
    )
    .unwrap();
    let refresher = gateway::refresh::Refresher::new(
        std::sync::Arc::clone(&w.share),
        catalog.clone(),
        cache,
        w.clock.clone(),
        gateway::tasks::Tasks::default(),
    );
    refresher.on_access(row.root).await.unwrap();
    let load = async |name: &str| {
        let found = catalog.child(row.root, name).await.unwrap().unwrap();
        refresher.load_attr(found.ino).await.unwrap();
        catalog.inode(found.ino).await.unwrap()
    };
    let ours = load("ours").await;
    assert_eq!((ours.mode, ours.uid, ours.gid), (0o4711, 1000, 1001));
    assert_eq!(ours.mtime.seconds(), 1_800_000_000);
    assert_eq!(load("d").await.mode, 0o640);
    let theirs = load("theirs").await;
    assert_eq!((theirs.mode, theirs.uid, theirs.gid), (0o666, 65534, 65534));
}

#[tokio::test(flavor = "multi_thread")]
async fn symlinks_come_back_from_the_bucket_as_symlinks() {
    let w = World::new().await;
    let target = b"../some where/else".to_vec();
    w.create(w.share.root, "link", NewKind::Symlink(target.clone())).await;
    w.drain().await;
    assert_eq!(w.object("p/link").body, target);
    assert_eq!(w.object("p/link").user_meta["file-permissions"], "0120640");
    let w = w.with_new_disk().await;
    let load = async || {
        w.refresher.now(w.share.root).await.unwrap();
        let found = w.entry("link").await.unwrap();
        w.refresher.load_attr(found.ino).await.unwrap();
        w.entry("link").await.unwrap()
    };
    let link = load().await;
    assert_eq!((link.kind, &link.target, link.size), (FileKind::Symlink, &Some(target), 18));
    assert_eq!((link.mode, link.uid), (0o640, 1000));

    // Somebody puts a file in its place.
    w.foreign("p/link", b"bytes");
    let file = load().await;
    assert_eq!((file.kind, &file.target, file.size), (FileKind::File, &None, 5));
    assert_eq!(w.read(file.ino, 0..5).await, b"bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_below_a_renamed_directory_leaves_no_marker_behind() {
    let mut w = World::new().await;
    let docs = w.create(w.share.root, "docs", NewKind::Directory).await;
    let deep = w.create(docs, "deep", NewKind::Directory).await;
    let er = w.create(deep, "er", NewKind::Directory).await;
    w.drain().await;
    w.halt().await;
    w.rename("docs", "papers").await;
    // A client looks around before anything has moved in the bucket.
    for dir in [docs, deep, er] {
        w.refresher.now(dir).await.unwrap();
    }
    w.start();
    w.drain().await;
    assert_eq!(w.keys(), ["p/papers/", "p/papers/deep/", "p/papers/deep/er/"]);
    w.refresher.now(w.share.root).await.unwrap();
    assert_eq!(w.names().await, ["papers"]);
}
