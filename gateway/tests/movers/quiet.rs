//! The quiet time before an upload (settings.md `upload_delay_ms`; semantics.md, "One file is one object").
use bytes::Bytes;
use gateway::vfs::{CreateHow, SetAttr, ShareFs, Stability};

use crate::{
    listing::root_user,
    world::{World, pattern},
};

pub(crate) const QUIET_MS: u64 = 5_000;

/// Lets the uploader do all that is due by now: a file that is due as the last of them has gone.
pub(crate) async fn do_what_is_due(w: &World, last: &str) {
    w.file(last, b"due now").await;
    let key = format!("p/{last}");
    w.until_by_now("what is due is done", || async {
        w.keys().contains(&key) && w.catalog.jobs_out().await.unwrap() == 0
    })
    .await;
}

/// Goal: the upload of a file begins so long after its last write, and no sooner, however long ago the
/// first was. Method: a clock driven by hand stands a millisecond before the time is over, with
/// another file that is due; four times.
#[tokio::test(flavor = "multi_thread")]
async fn the_quiet_time_begins_again_with_each_write() {
    let w = World::versioned().await;
    let (fs, who) = (w.mount_with_quiet_time(QUIET_MS), root_user());
    let how = CreateHow::Guarded(SetAttr::default());
    let file = fs.create(&who, w.share.root, b"f", how).await.unwrap().attr.ino;
    let mut body = Vec::new();
    for round in 0..4 {
        let more = pattern(5000, round);
        let written = Bytes::from(more.clone());
        let at = body.len() as u64;
        fs.write(&who, file, at, written, Stability::FileSync).await.unwrap();
        body.extend(more);
        w.clock.advance_millis(i64::try_from(QUIET_MS).unwrap() - 1);
        do_what_is_due(&w, &format!("beside{round}")).await;
        assert!(!w.keys().contains(&"p/f".to_owned()), "too soon after write {round}");
    }
    w.clock.advance_millis(1);
    w.until_by_now("it is there", || async { w.keys().contains(&"p/f".to_owned()) }).await;
    w.drain().await;
    assert!(w.object("p/f").body == body);
    assert_eq!(w.object("p/f").versions, 1, "one upload for all the writes");
}

/// A change of attributes is no write of content, and begins the quiet time anew all the same: it would cost
/// another version of the object.
#[tokio::test(flavor = "multi_thread")]
async fn the_quiet_time_begins_again_with_a_change_of_attributes_and_names() {
    let w = World::versioned().await;
    let (fs, who, root) = (w.mount_with_quiet_time(QUIET_MS), root_user(), w.share.root);
    let how = CreateHow::Guarded(SetAttr::default());
    let file = fs.create(&who, root, b"f", how).await.unwrap().attr.ino;
    fs.write(&who, file, 0, Bytes::from_static(b"x"), Stability::FileSync).await.unwrap();
    w.clock.advance_millis(i64::try_from(QUIET_MS).unwrap() - 1);
    let mode = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    fs.setattr(&who, file, mode, None).await.unwrap();
    w.clock.advance_millis(i64::try_from(QUIET_MS).unwrap() - 1);
    fs.rename(&who, root, b"f", root, b"g").await.unwrap();
    w.clock.advance_millis(i64::try_from(QUIET_MS).unwrap() - 1);
    do_what_is_due(&w, "beside").await;
    assert_eq!(w.keys(), ["p/beside"]);
    w.drain().await;
    let object = w.object("p/g");
    assert_eq!((object.versions, object.user_meta["file-permissions"].as_str()), (1, "0100600"));
}
