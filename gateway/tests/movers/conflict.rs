//! Other writers in the bucket: no version is lost, none is overwritten silently (I10).
use std::time::UNIX_EPOCH;

use gateway::catalog::NewKind;
use s3_store::{FaultAction, FaultRule};

use crate::world::{BUCKET, World};

/// The key of a conflict copy of the object at `key`: by when that was made.
fn conflict_name(w: &World, key: &str) -> String {
    let made = w.object(key).last_modified.duration_since(UNIX_EPOCH).unwrap();
    format!("{key}.conflict-gw1-{}", made.as_secs())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_and_a_new_object_of_one_name_are_both_kept() {
    let mut w = World::new().await;
    w.halt().await;
    let ino = w.file("f", b"ours").await;
    w.foreign("p/f", b"theirs");
    w.start();
    w.drain().await;
    assert_eq!(w.object("p/f").body, b"ours");
    assert_eq!(w.keys().len(), 2, "{:?}", w.keys());
    assert!(w.keys()[1].starts_with("p/f.conflict-gw1-"), "{:?}", w.keys());
    assert_eq!(w.object(&w.keys()[1]).body, b"theirs");
    assert_eq!(w.conflicts(), 1);
    assert!(!w.catalog.inode(ino).await.unwrap().dirty);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_changed_behind_a_changed_file_is_kept_beside_it() {
    let mut w = World::new().await;
    let ino = w.file("f", b"base").await;
    w.drain().await;
    w.halt().await;
    w.write(ino, 0, b"ours").await;
    w.foreign("p/f", b"theirs");
    w.start();
    w.drain().await;
    assert_eq!(w.object("p/f").body, b"ours");
    assert_eq!(w.object(&w.keys()[1]).body, b"theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_of_another_writer_is_kept_even_within_one_second() {
    let mut w = World::new().await;
    w.halt().await;
    w.file("f", b"ours").await;
    w.foreign("p/f", b"theirs 1");
    // The copy of the first is made, then the object changes again before ours is published.
    w.foreign(&conflict_name(&w, "p/f"), b"theirs 0");
    w.start();
    w.drain().await;
    let mut bodies: Vec<_> = w.keys().iter().map(|key| w.object(key).body).collect();
    bodies.sort();
    assert_eq!(bodies, [b"ours".to_vec(), b"theirs 0".to_vec(), b"theirs 1".to_vec()]);
}

/// The copy's name is that of the first attempt, however much later the second is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_theirs_whose_reply_was_lost_is_not_made_again() {
    for operation in ["CopyObject", "PutObject"] {
        let mut w = World::new().await;
        let ino = w.file("f", b"base").await;
        w.drain().await;
        w.halt().await;
        w.write(ino, 0, b"ours").await;
        w.foreign("p/f", b"theirs");
        let copy = conflict_name(&w, "p/f");
        if operation == "PutObject" {
            let lacks = FaultAction::FailBefore { status: 501, code: "NotImplemented".to_owned() };
            w.s3.faults().add(FaultRule::new(lacks).operation("CopyObject").times(u64::MAX));
        }
        let lost = FaultRule::fail_after().operation(operation).key_prefix(&copy);
        w.s3.faults().add(lost);
        w.start();
        w.drain().await;
        assert_eq!(w.keys(), ["p/f".to_owned(), copy.clone()], "{operation}");
        assert_eq!(w.object("p/f").body, b"ours");
        assert_eq!((w.object(&copy).body, w.conflicts()), (b"theirs".to_vec(), 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_deleted_behind_a_changed_file_is_put_back() {
    let mut w = World::new().await;
    let ino = w.file("f", b"base").await;
    w.drain().await;
    w.halt().await;
    w.write(ino, 0, b"ours").await;
    w.s3.delete(BUCKET, "p/f");
    w.start();
    w.drain().await;
    assert_eq!((w.keys(), w.object("p/f").body), (vec!["p/f".to_owned()], b"ours".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_changed_behind_new_attributes_keeps_its_bytes_and_gets_them() {
    let mut w = World::new().await;
    let ino = w.file("f", b"old bytes").await;
    w.drain().await;
    w.halt().await;
    w.chmod(ino, 0o600).await;
    w.foreign("p/f", b"new and longer bytes");
    w.start();
    w.drain().await;
    assert_eq!(w.keys(), ["p/f"]);
    let object = w.object("p/f");
    assert_eq!(object.body, b"new and longer bytes");
    assert_eq!(object.user_meta["file-permissions"], "0100600");
    let size = w.catalog.inode(ino).await.unwrap().size;
    assert_eq!(w.read(ino, 0..size).await, b"new and longer bytes", "never a mixture");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_changed_behind_a_rename_takes_its_new_bytes_along() {
    let mut w = World::new().await;
    let ino = w.file("f", b"old bytes").await;
    w.drain().await;
    w.halt().await;
    w.rename("f", "g").await;
    w.foreign("p/f", b"new");
    w.start();
    w.drain().await;
    assert_eq!((w.keys(), w.object("p/g").body), (vec!["p/g".to_owned()], b"new".to_vec()));
    assert_eq!(w.read(ino, 0..3).await, b"new");
    assert_eq!(w.catalog.inode(ino).await.unwrap().size, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_deleted_behind_a_rename_comes_back_from_the_cache() {
    let mut w = World::new().await;
    w.file("f", b"cached").await;
    w.drain().await;
    w.halt().await;
    w.rename("f", "g").await;
    w.s3.delete(BUCKET, "p/f");
    w.start();
    w.drain().await;
    assert_eq!((w.keys(), w.object("p/g").body), (vec!["p/g".to_owned()], b"cached".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_changed_before_its_deletion_arrives_is_kept() {
    let mut w = World::new().await;
    w.file("f", b"ours").await;
    w.drain().await;
    w.halt().await;
    w.remove("f").await;
    w.foreign("p/f", b"theirs");
    w.start();
    w.drain().await;
    assert_eq!((w.object("p/f").body, w.conflicts()), (b"theirs".to_vec(), 1));
}

/// Another client copies an object, as `aws s3 cp` does: the copy carries our generation tag.
async fn others_copy(w: &World, from: &str, to: &str) {
    let store = w.store();
    let [from, to] = [from, to].map(|key| gateway::object::ObjectKey::new(key).unwrap());
    let head = store.head(&from).await.unwrap();
    let options = gateway::store::PutOptions { user: head.user, ..Default::default() };
    let absent = gateway::store::Expect::Absent;
    store.copy(&from, &head.etag, &to, &options, &absent).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_another_client_made_of_our_object_is_not_taken_for_ours() {
    let mut w = World::new().await;
    w.file("f", b"published").await;
    w.drain().await;
    w.halt().await;
    others_copy(&w, "p/f", "p/g").await;
    w.file("g", b"ours").await;
    w.start();
    w.drain().await;
    assert_eq!(
        (w.object("p/f").body, w.object("p/g").body),
        (b"published".to_vec(), b"ours".to_vec())
    );
    assert_eq!(w.keys().len(), 3, "{:?}", w.keys());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_cache_disk_does_not_take_the_old_one_s_objects_for_its_uploads() {
    let w = World::new().await;
    let old = w.file("f", b"of the old disk").await;
    w.drain().await;
    let mut w = w.with_new_disk().await;
    // The same inode number and version, of another file.
    let new = w.file("f", b"of the new disk").await;
    assert_eq!(old, new);
    w.start();
    w.drain().await;
    assert_eq!(w.object("p/f").body, b"of the new disk");
    assert_eq!(w.object(&w.keys()[1]).body, b"of the old disk");
}

/// What was there before our file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    Ours,
    OurLink,
}

/// Goal: what others put under a file's key is theirs for good once the file has left that key, even if it
/// was about to be replaced there. Method: the conflict is found, the publish after that is refused, the file
/// is renamed.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_others_stays_where_it_is_when_our_file_leaves_the_name() {
    for (before, removed) in [
        (Before::Nothing, false),
        (Before::Ours, false),
        (Before::OurLink, false),
        (Before::Nothing, true),
    ] {
        let case = format!("{before:?}, removed: {removed}");
        let mut w = World::new().await;
        let ino = match before {
            Before::Nothing => None,
            Before::Ours => Some(w.file("f", b"base").await),
            Before::OurLink => {
                Some(w.create(w.share.root, "f", NewKind::Symlink(b"ours".to_vec())).await)
            }
        };
        w.drain().await;
        w.halt().await;
        match (before, ino) {
            (Before::OurLink, Some(ino)) => w.chmod(ino, 0o700).await,
            (_, Some(ino)) => w.write(ino, 0, b"ours").await,
            (_, None) => {
                w.file("f", b"ours").await;
            }
        }
        w.foreign("p/f", b"theirs");
        let refused = FaultAction::FailBefore { status: 503, code: "SlowDown".to_owned() };
        let refused = FaultRule::new(refused).operation("PutObject").skip(1).times(u64::MAX);
        w.s3.faults().add(refused);
        w.start();
        w.until("the conflict is known", || async {
            w.conflicts() == 1 && w.catalog.pending(None).await.unwrap().failing > 0
        })
        .await;
        w.halt().await;
        w.s3.faults().clear();
        if removed {
            w.remove("f").await;
        } else {
            w.rename("f", "g").await;
        }
        w.start();
        w.drain().await;
        assert_eq!(w.object("p/f").body, b"theirs", "{case}: {:?}", w.keys());
        if !removed {
            assert!(w.object("p/g").body.starts_with(b"ours"), "{case}");
        }
        assert_eq!(w.catalog.verify().await.unwrap(), Vec::<String>::new(), "{case}");
        w.refresher.now(w.share.root).await.unwrap();
        let theirs = w.entry("f").await.unwrap_or_else(|| panic!("{case}: {:?}", w.keys()));
        assert_eq!(theirs.size, 6, "{case}");
    }
}

/// The same where our attempt has come to nothing and the file has been renamed since.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_another_client_made_is_not_taken_for_what_a_renamed_file_has_left() {
    let mut w = World::new().await;
    w.file("f", b"published").await;
    w.drain().await;
    w.file("g", b"ours").await;
    let refused = FaultAction::FailBefore { status: 503, code: "SlowDown".to_owned() };
    w.s3.faults().add(FaultRule::new(refused).operation("PutObject").times(u64::MAX));
    w.until("it is refused", || async { w.catalog.pending(None).await.unwrap().failing > 0 }).await;
    w.halt().await;
    w.s3.faults().clear();
    w.rename("g", "h").await;
    others_copy(&w, "p/f", "p/g").await;
    w.start();
    w.drain().await;
    assert_eq!(w.keys(), ["p/f", "p/g", "p/h"]);
    assert_eq!(
        (w.object("p/g").body, w.object("p/h").body),
        (b"published".to_vec(), b"ours".to_vec())
    );
}
