//! Requests that come again after the gateway has started anew (RFC 1813 §4.5).
use super::*;

fn asking(request: u128) -> RequestContext {
    RequestContext { request: Some(RequestId(request)), ..owner() }
}

fn guarded() -> CreateHow {
    CreateHow::Guarded(SetAttr { mode: Some(0o644), ..SetAttr::default() })
}

#[tokio::test]
async fn what_was_made_is_answered_with_again_after_a_power_cut() {
    let f = Fixture::new().await;
    let root = f.root();
    let file = f.fs.create(&asking(1), root, b"f", guarded()).await.unwrap().attr.ino;
    let dir = f.fs.mkdir(&asking(2), root, b"d", SetAttr::default()).await.unwrap().attr.ino;
    let set = SetAttr::default();
    let link = f.fs.symlink(&asking(3), root, b"l", b"f", set).await.unwrap().attr.ino;

    let f = f.power_cut(1).await;
    let made = f.fs.create(&asking(1), root, b"f", guarded()).await.unwrap();
    assert_eq!(made.attr.ino, file);
    assert_eq!(made.dir.before, None, "what was before is not known any more");
    let made = f.fs.mkdir(&asking(2), root, b"d", SetAttr::default()).await.unwrap();
    assert_eq!(made.attr.ino, dir);
    let made = f.fs.symlink(&asking(3), root, b"l", b"f", SetAttr::default()).await.unwrap();
    assert_eq!(made.attr.ino, link);
    // Other requests for the same are other requests.
    for cx in [asking(4), owner()] {
        let again = f.fs.create(&cx, root, b"f", guarded()).await;
        assert_eq!(again.unwrap_err(), FsError::Exists);
        let again = f.fs.mkdir(&cx, root, b"d", SetAttr::default()).await;
        assert_eq!(again.unwrap_err(), FsError::Exists);
    }
}

#[tokio::test]
async fn what_was_removed_and_renamed_stays_so_and_is_told_so_after_a_power_cut() {
    let f = Fixture::new().await;
    let root = f.root();
    for name in ["gone", "from"] {
        f.create(name).await;
    }
    f.fs.mkdir(&owner(), root, b"empty", SetAttr::default()).await.unwrap();
    f.fs.remove(&asking(1), root, b"gone").await.unwrap();
    f.fs.rmdir(&asking(2), root, b"empty").await.unwrap();
    f.fs.rename(&asking(3), root, b"from", root, b"to").await.unwrap();

    let f = f.power_cut(2).await;
    // Somebody makes the names again; a repetition must not take these.
    for name in ["gone", "from"] {
        f.create(name).await;
    }
    f.fs.remove(&asking(1), root, b"gone").await.unwrap();
    f.fs.rmdir(&asking(2), root, b"empty").await.unwrap();
    f.fs.rename(&asking(3), root, b"from", root, b"to").await.unwrap();
    for name in [&b"gone"[..], b"from", b"to"] {
        f.fs.lookup(&owner(), root, name).await.unwrap();
    }
    assert_eq!(f.fs.rmdir(&asking(4), root, b"empty").await.unwrap_err(), FsError::NotFound);
    f.fs.remove(&asking(5), root, b"gone").await.unwrap();
    assert_eq!(f.fs.remove(&asking(6), root, b"gone").await.unwrap_err(), FsError::NotFound);
}

#[tokio::test]
async fn a_guarded_setattr_that_comes_again_is_no_conflict() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let ctime = f.fs.getattr(&owner(), file).await.unwrap().ctime;
    let set = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    f.fs.setattr(&asking(1), file, set, Some(ctime)).await.unwrap();

    let f = f.power_cut(3).await;
    let again = f.fs.setattr(&asking(1), file, set, Some(ctime)).await.unwrap();
    assert_eq!((again.before, again.after.mode & 0o777), (None, 0o600));
    let other = f.fs.setattr(&asking(2), file, set, Some(ctime)).await;
    assert_eq!(other.unwrap_err(), FsError::NotSync);
}

#[tokio::test]
async fn a_request_that_failed_is_tried_again() {
    let f = Fixture::new().await;
    let root = f.root();
    assert_eq!(f.fs.remove(&asking(1), root, b"f").await.unwrap_err(), FsError::NotFound);
    f.create("f").await;
    let f = f.power_cut(4).await;
    f.fs.remove(&asking(1), root, b"f").await.unwrap();
    assert_eq!(f.fs.lookup(&owner(), root, b"f").await.unwrap_err(), FsError::NotFound);
}
