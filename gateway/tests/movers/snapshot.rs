//! A cache disk that goes back to a snapshot (semantics.md, "When something is wrong"): what was written after the
//! snapshot is forgotten here and is in the bucket, and the two courses of events must not be taken for one.
use std::{fs, path::Path, sync::Arc};

use gateway::catalog::NewKind;
use s3_store::{FaultAction, FaultRule};
use tempfile::TempDir;

use crate::world::{BUCKET, World, directory};

impl World {
    /// Loses the cache disk: the same gateway on an empty one; its uploader does not run yet.
    pub(crate) async fn with_new_disk(self) -> Self {
        self.with_disk(directory()).await
    }

    /// The same on one that has something.
    pub(crate) async fn with_disk(mut self, disk: TempDir) -> Self {
        self.halt().await;
        let (s3, clock) = (Arc::clone(&self.s3), Arc::clone(&self.clock));
        let line = self.line.clone();
        drop(self);
        Self::open(s3, line, Arc::new(disk), clock).await
    }
}

/// Copies what is in a directory.
fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// The disk as it is at this moment; nothing is under way.
async fn snapshot(w: &mut World) -> TempDir {
    w.halt().await;
    let copy = TempDir::new().unwrap();
    copy_all(w.dir.path(), copy.path());
    w.start();
    copy
}

/// Every body in the bucket.
fn bodies(w: &World) -> Vec<Vec<u8>> {
    let object = |key: String| w.s3.object(BUCKET, &key).map(|object| object.body.to_vec());
    w.keys().into_iter().filter_map(object).collect()
}

async fn symlink(w: &World, name: &str, target: &'static [u8]) {
    let kind = NewKind::Symlink(target.to_vec());
    w.create(w.share.root, name, kind).await;
}

/// Goal: what is written after the disk went back is uploaded, though inode numbers and versions are given out
/// again; what the other course of events has left in the bucket is kept beside it.
#[tokio::test(flavor = "multi_thread")]
async fn two_courses_of_events_are_not_taken_for_one() {
    for starts in 0..3 {
        two_courses(starts).await;
    }
}

/// Uploads begin after so many more starts: each knows what the one before it has given out, and what it has not.
async fn two_courses(starts: usize) {
    let mut w = World::new().await;
    let changed = w.file("changed", b"before").await;
    w.drain().await;
    let before = snapshot(&mut w).await;
    w.write(changed, 0, b"future").await;
    w.file("new", b"future, too").await;
    symlink(&w, "link", b"to-the-future").await;
    w.drain().await;
    assert_eq!(w.object("p/changed").body, b"future");

    let mut w = w.with_disk(before).await;
    w.write(changed, 0, b"presen").await;
    w.file("new", b"present too").await;
    symlink(&w, "link", b"to-the-present").await;
    for _ in 0..starts {
        w = w.crash().await;
    }
    w.start();
    w.drain().await;
    assert_eq!(w.object("p/changed").body, b"presen");
    assert_eq!(w.object("p/new").body, b"present too");
    assert_eq!(w.object("p/link").body, b"to-the-present");
    let bodies = bodies(&w);
    for lost in [b"future".as_slice(), b"future, too", b"to-the-future"] {
        assert!(bodies.iter().any(|body| body == lost), "{:?}", w.keys());
    }
    assert_eq!(w.conflicts(), 3);
}

/// Goal: the same of a file whose upload was under way when the snapshot was taken.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_under_way_is_not_taken_for_the_other_one() {
    let mut w = World::new().await;
    let file = w.file("f", b"before").await;
    w.drain().await;
    w.halt().await;
    let down = FaultAction::FailBefore { status: 503, code: "ServiceUnavailable".to_owned() };
    w.s3.faults().add(FaultRule::new(down).operation("PutObject").times(100));
    w.write(file, 0, b"middle").await;
    w.start();
    w.until_by_now("it was tried", || async {
        w.catalog.pending(None).await.unwrap().failing == 1
    })
    .await;
    let before = snapshot(&mut w).await;
    w.s3.faults().clear();
    w.write(file, 0, b"future").await;
    w.drain().await;

    let mut w = w.with_disk(before).await;
    w.write(file, 0, b"presen").await;
    w.start();
    w.drain().await;
    assert_eq!(w.object("p/f").body, b"presen");
    assert!(bodies(&w).iter().any(|body| body == b"future"), "{:?}", w.keys());
}
