//! Directories that are renamed before anybody has listed what is below them.
use gateway::vfs::{FsError, ShareFs};
use s3_store::{FaultAction, FaultRule, Hold};

use crate::{listing::root_user, world::World};

/// More than are listed at the same time, and more than a client would wait for one by one.
const DIRECTORIES: usize = 40;

/// semantics.md, "One file is one object": the client is told to come again while the listing goes on, and
/// finds it done then. Method: the store holds what is asked below `d`.
#[tokio::test(flavor = "multi_thread")]
async fn the_rename_of_a_tree_that_was_never_listed_is_put_off_and_done_when_it_is_known() {
    let w = World::new().await;
    for number in 0..DIRECTORIES {
        w.foreign(&format!("p/d/s{number:02}/deep/file"), b"1");
    }
    let (hold, root) = (Hold::new(), w.share.root);
    let rule = FaultRule::new(FaultAction::Hold(hold.clone())).operation("ListObjectsV2");
    // The root and `d` itself are told.
    w.s3.faults().add(rule.skip(2).times(u64::MAX));
    let (fs, who) = (w.mount(), root_user());
    for _client_comes_again in 0..2 {
        let put_off = fs.rename(&who, root, b"d", root, b"e").await;
        assert!(matches!(put_off, Err(FsError::TryLater)), "{put_off:?}");
        hold.come(8).await;
        assert_eq!(w.requests("ListObjectsV2"), 2 + 8, "side by side, and no more");
    }
    hold.open();
    let mut renamed = fs.rename(&who, root, b"d", root, b"e").await;
    // Each takes a second at most; the listing of a slow machine may take several.
    for _client_comes_again in 0..60 {
        if !matches!(renamed, Err(FsError::TryLater)) {
            break;
        }
        renamed = fs.rename(&who, root, b"d", root, b"e").await;
    }
    renamed.unwrap();
    assert_eq!(w.requests("ListObjectsV2"), 2 + 2 * DIRECTORIES as u64, "each once");
    w.drain().await;
    let moved = (0..DIRECTORIES).map(|number| format!("p/e/s{number:02}/deep/file"));
    // A directory that was renamed here has an object.
    let wanted: Vec<_> = std::iter::once("p/e/".to_owned()).chain(moved).collect();
    assert_eq!(w.keys(), wanted);
    assert_eq!(w.catalog.verify().await.unwrap(), Vec::<String>::new());
}
