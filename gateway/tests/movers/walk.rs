//! A refresh by command of a whole tree.
use gateway::{catalog::NewKind, ids::Ino, refresh::RefreshError, vfs::ShareFs};
use s3_store::{FaultAction, FaultRule, Hold};

use crate::{
    listing::root_user,
    world::{BUCKET, World},
};

/// The directory at a path below the root, as it is known.
async fn known(w: &World, path: &str) -> Option<Ino> {
    let mut at = w.share.root;
    for name in path.split('/') {
        at = w.catalog.child(at, name).await.unwrap()?.ino;
    }
    Some(at)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_listed_once_each_and_nothing_is_asked_one_by_one() {
    let w = World::new().await;
    for a in 0..12 {
        for b in 0..4 {
            w.foreign(&format!("p/a{a:02}/b{b}/file"), b"1");
        }
    }
    let report = w.refresher.tree(w.share.root, "", true).await.unwrap();
    assert_eq!((report.directories, report.names, report.failed), (1 + 12 + 48, 12 + 48 + 48, 0));
    assert_eq!(w.requests("ListObjectsV2"), 61);
    assert_eq!(w.requests("HeadObject"), 0);
    assert!(known(&w, "a11/b3/file").await.is_some());
    // What others did anywhere in it shows, and what was done here stays.
    w.s3.delete(BUCKET, "p/a11/b3/file");
    w.foreign("p/a05/b1/new/deep", b"1");
    let b2 = known(&w, "a05/b2").await.unwrap();
    w.create(b2, "ours", NewKind::Directory).await;
    let report = w.refresher.tree(w.share.root, "", true).await.unwrap();
    assert_eq!(report.failed, 0);
    assert!(known(&w, "a11/b3").await.is_none() && known(&w, "a05/b1/new/deep").await.is_some());
    assert!(known(&w, "a05/b2/ours").await.is_some());
    assert!(w.catalog.verify().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_one_directory_leaves_the_others_alone() {
    let w = World::new().await;
    w.foreign("p/a/b/c", b"1");
    let dir = w.refresher.find(w.share.root, "a/b").await.unwrap().unwrap();
    assert!(w.refresher.find(w.share.root, "a/none").await.unwrap().is_none());
    assert!(w.refresher.find(w.share.root, "a/b/c").await.unwrap().is_none(), "a file");
    w.foreign("p/a/b/new", b"1");
    w.foreign("p/a/new", b"1");
    let report = w.refresher.tree(dir, "a/b", false).await.unwrap();
    assert_eq!((report.directories, report.names), (1, 2));
    assert!(known(&w, "a/b/new").await.is_some() && known(&w, "a/new").await.is_none());
}

/// Goal: one directory that cannot be listed, or is not there any more, does not end the command, and
/// readers do not wait for it. Method: listings below the root are held back until then.
#[tokio::test(flavor = "multi_thread")]
async fn directories_that_fail_or_vanish_do_not_end_it() {
    let w = World::new().await;
    let fs = w.mount();
    for a in 0..6 {
        w.foreign(&format!("p/a{a}/file"), b"1");
    }
    w.refresher.tree(w.share.root, "", true).await.unwrap();
    let hold = Hold::new();
    let rule = FaultRule::new(FaultAction::Hold(hold.clone())).operation("ListObjectsV2");
    w.s3.faults().add(rule.skip(1).times(6));
    let refresher = w.refresher.clone();
    let root = w.share.root;
    let walking = tokio::spawn(async move { refresher.tree(root, "", true).await });
    hold.come(6).await;
    let status = w.refresher.under_way();
    assert_eq!(status.len(), 1);
    assert_eq!((status[0].directories_found, status[0].directories_done), (7, 1));
    let dir = fs.lookup(&root_user(), root, b"a3").await.unwrap().ino;
    fs.lookup(&root_user(), dir, b"file").await.unwrap();
    // One is removed here while its listing is under way.
    fs.remove(&root_user(), dir, b"file").await.unwrap();
    fs.rmdir(&root_user(), root, b"a3").await.unwrap();
    hold.open();
    let report = walking.await.unwrap().unwrap();
    assert_eq!((report.directories, report.failed), (6, 0));
    assert!(w.refresher.under_way().is_empty());

    let fault = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    w.s3.faults().add(FaultRule::new(fault.clone()).operation("ListObjectsV2").skip(3));
    let report = w.refresher.tree(root, "", true).await.unwrap();
    assert_eq!(report.failed, 1);
    assert!(report.first_failure.unwrap().contains("AccessDenied"));
    assert!(known(&w, "a0/file").await.is_some() && known(&w, "a5/file").await.is_some());
    w.s3.faults().add(FaultRule::new(fault).operation("ListObjectsV2"));
    let refused = w.refresher.tree(root, "", true).await;
    assert!(matches!(refused, Err(RefreshError::Store(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_it() {
    let w = World::new().await;
    w.foreign("p/a/file", b"1");
    let hold = Hold::new();
    let rule = FaultRule::new(FaultAction::Hold(hold.clone())).operation("ListObjectsV2");
    w.s3.faults().add(rule.skip(1));
    let (refresher, root) = (w.refresher.clone(), w.share.root);
    let walking = tokio::spawn(async move { refresher.tree(root, "", true).await });
    hold.come(1).await;
    w.tasks.stop().await;
    let ended = walking.await.unwrap();
    assert!(matches!(ended, Err(RefreshError::Interrupted)), "{ended:?}");
    assert!(w.refresher.under_way().is_empty());
}
