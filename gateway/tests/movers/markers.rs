//! Keys that end in `/` and have content: to clients they are directories, and their bytes stay as they were whatever
//! is done to the directory, but for its removal.
use gateway::vfs::{ReadDir, SetAttr, ShareFs};
use s3_store::{FaultAction, FaultRule};

use crate::{
    listing::root_user,
    world::{BUCKET, World},
};

const WHOLE: ReadDir = ReadDir { cookie: 0, verifier: [0; 8], entries_max: 100, want_attr: true };

/// Two such keys, one with an object below it, and whether the gateway has listed them.
async fn with_markers(are_listed: bool) -> World {
    let w = World::new().await;
    w.foreign("p/empty/", b"what was put at a key that ends in a slash");
    w.foreign("p/full/", b"and another");
    w.foreign("p/full/x", b"below it");
    w.refresher.now(w.share.root).await.unwrap();
    if are_listed {
        for name in ["empty", "full"] {
            let dir = w.entry(name).await.unwrap().ino;
            w.refresher.now(dir).await.unwrap();
        }
    }
    w
}

fn body(w: &World, key: &str) -> String {
    String::from_utf8(w.object(key).body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_looked_at_is_not_touched() {
    let w = with_markers(true).await;
    let before: Vec<_> = w.keys().into_iter().map(|key| (w.object(&key), key)).collect();
    let (fs, who) = (w.mount(), root_user());
    for (name, inside) in [("empty", 0), ("full", 1)] {
        let dir = w.entry(name).await.unwrap().ino;
        let listed = fs.readdir(&who, dir, WHOLE).await.unwrap();
        assert_eq!(listed.entries.len(), 2 + inside, "{name}");
    }
    w.drain().await;
    let after: Vec<_> = w.keys().into_iter().map(|key| (w.object(&key), key)).collect();
    assert!(before == after, "an object was touched");
    assert_eq!(w.requests("PutObject") + w.requests("CopyObject") + w.requests("DeleteObject"), 0);
}

/// Goal: new attributes and a new name are the directory's, and the bytes stay. Method: with the object known, and
/// with a directory that nobody has listed.
#[tokio::test(flavor = "multi_thread")]
async fn the_content_of_a_directory_s_own_object_outlives_new_attributes_and_a_new_name() {
    for are_listed in [true, false] {
        let w = with_markers(are_listed).await;
        let (fs, who, root) = (w.mount(), root_user(), w.share.root);
        let mode = |mode| SetAttr { mode: Some(mode), ..SetAttr::default() };
        for name in ["empty", "full"] {
            let dir = w.entry(name).await.unwrap().ino;
            fs.setattr(&who, dir, mode(0o700), None).await.unwrap();
        }
        w.drain().await;
        for key in ["p/empty/", "p/full/"] {
            let kept = if key == "p/full/" {
                "and another"
            } else {
                "what was put at a key that ends in a slash"
            };
            assert_eq!(body(&w, key), kept, "{key}, listed: {are_listed}");
            assert_eq!(w.object(key).user_meta["file-permissions"], "0040700", "{key}");
        }
        assert_eq!(w.keys(), ["p/empty/", "p/full/", "p/full/x"], "listed: {are_listed}");

        fs.rename(&who, root, b"full", root, b"moved").await.unwrap();
        w.drain().await;
        assert_eq!(w.keys(), ["p/empty/", "p/moved/", "p/moved/x"], "listed: {are_listed}");
        assert_eq!(body(&w, "p/moved/"), "and another");
        assert_eq!(body(&w, "p/moved/x"), "below it");
        assert!(w.catalog.verify().await.unwrap().is_empty());
    }
}

/// Of a directory that is renamed before its object was touched; and the object of one that is removed goes.
#[tokio::test(flavor = "multi_thread")]
async fn the_content_goes_along_at_once_and_goes_with_the_directory() {
    let mut w = with_markers(true).await;
    // Or what others have meanwhile is found before a directory takes its place.
    w.stale_after(0);
    let (fs, who, root) = (w.mount(), root_user(), w.share.root);
    fs.rename(&who, root, b"full", root, b"moved").await.unwrap();
    fs.rmdir(&who, root, b"empty").await.unwrap();
    w.drain().await;
    assert_eq!(w.keys(), ["p/moved/", "p/moved/x"]);
    assert_eq!(body(&w, "p/moved/"), "and another");
    // A new directory in the place of one that others have meanwhile.
    w.foreign("p/new/", b"theirs");
    fs.mkdir(&who, root, b"new", SetAttr::default()).await.unwrap();
    w.drain().await;
    assert_eq!(body(&w, "p/new/"), "theirs");
    assert_eq!((w.s3.keys(BUCKET).len(), w.conflicts()), (3, 0));
}

/// Where S3 does not copy, or not in one request, the content goes by other ways.
#[tokio::test(flavor = "multi_thread")]
async fn the_content_stays_where_the_store_makes_no_copies() {
    for copies in [false, true] {
        let mut w = with_markers(true).await;
        if copies {
            w.copy_at_most(5);
        } else {
            let lacks = FaultAction::FailBefore { status: 501, code: "NotImplemented".to_owned() };
            w.s3.faults().add(FaultRule::new(lacks).operation("CopyObject").times(u64::MAX));
        }
        let (fs, who, root) = (w.mount(), root_user(), w.share.root);
        let dir = w.entry("full").await.unwrap().ino;
        let mode = SetAttr { mode: Some(0o700), ..SetAttr::default() };
        fs.setattr(&who, dir, mode, None).await.unwrap();
        w.drain().await;
        assert_eq!(body(&w, "p/full/"), "and another", "copies: {copies}");
        fs.rename(&who, root, b"full", root, b"moved").await.unwrap();
        w.drain().await;
        assert_eq!(w.keys(), ["p/empty/", "p/moved/", "p/moved/x"], "copies: {copies}");
        assert_eq!(body(&w, "p/moved/"), "and another", "copies: {copies}");
        assert_eq!(w.object("p/moved/").user_meta["file-permissions"], "0040700");
    }
}

/// Content that went along with its directory, or was removed with it, does not come back with a new one of the name.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_directory_of_the_name_has_none_of_the_content() {
    let mut w = with_markers(true).await;
    w.halt().await;
    let (fs, who, root) = (w.mount(), root_user(), w.share.root);
    fs.rename(&who, root, b"full", root, b"moved").await.unwrap();
    fs.mkdir(&who, root, b"full", SetAttr::default()).await.unwrap();
    fs.rmdir(&who, root, b"empty").await.unwrap();
    fs.mkdir(&who, root, b"empty", SetAttr::default()).await.unwrap();
    w.start();
    w.drain().await;
    assert_eq!(w.keys(), ["p/empty/", "p/full/", "p/moved/", "p/moved/x"]);
    let bodies = ["p/empty/", "p/full/", "p/moved/"].map(|key| body(&w, key));
    assert_eq!(bodies, ["", "", "and another"]);
}
