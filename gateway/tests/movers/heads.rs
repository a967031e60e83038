//! What a listing does not tell of an object's attributes: when S3 is asked for it, how often, and what
//! is shown until then. Requests are counted where S3 is.
use gateway::{
    catalog::NewKind,
    ids::Ino,
    vfs::{DirPage, ReadDir, ShareFs, Vfs},
};
use s3_store::{FaultAction, FaultRule, Hold};

use crate::{listing::root_user, world::World};

/// A bucket with so many objects of others in `p/`, listed.
async fn with_objects(names: usize) -> (World, Vfs) {
    let w = World::new().await;
    for number in 0..names {
        w.foreign(&format!("p/f{number:05}"), b"x");
    }
    w.refresher.now(w.share.root).await.unwrap();
    // Of the root itself, before anything is counted.
    w.refresher.load_attr(w.share.root).await.unwrap();
    let fs = w.mount();
    (w, fs)
}

async fn page(w: &World, fs: &Vfs, cookie: u64, entries_max: usize) -> DirPage {
    let ask = ReadDir { cookie, verifier: *b"by-ino-1", entries_max, want_attr: true };
    fs.readdir(&root_user(), w.share.root, ask).await.unwrap()
}

fn known(page: &DirPage) -> usize {
    page.entries.iter().filter(|entry| entry.cookie > 2 && entry.attr.is_some()).count()
}

async fn asked_for(w: &World, heads: u64) {
    w.until("S3 was asked", || async { w.requests("HeadObject") >= heads }).await;
}

/// semantics.md, POSIX metadata: a few entries come with what their objects say.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_a_few_entries_are_asked_for_at_once_and_once() {
    let (w, fs) = with_objects(64).await;
    for _ in 0..2 {
        assert_eq!(known(&page(&w, &fs, 2, 100).await), 64);
    }
    assert_eq!(w.requests("HeadObject"), 64);
}

/// Goal: the names of many entries do not wait for their attributes, which are asked for ahead, so many at
/// a time, and each object once, also when somebody wants one meanwhile. Method: every HEAD is held.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_many_entries_do_not_wait_and_attributes_follow_in_the_background() {
    const NAMES: usize = 3000;
    let (w, fs) = with_objects(NAMES).await;
    let hold = Hold::new();
    let rule = FaultRule::new(FaultAction::Hold(hold.clone())).operation("HeadObject");
    w.s3.faults().add(rule.times(u64::MAX));
    let first = page(&w, &fs, 2, 300).await;
    assert_eq!((first.entries.len(), known(&first)), (300, 0));
    hold.come(64).await;
    // A second reader, and one who wants a single entry that is being asked for.
    assert_eq!(known(&page(&w, &fs, 2, 300).await), 0);
    let who = root_user();
    let wanted = w.entry("f00000").await.unwrap().ino;
    let mut single = Box::pin(fs.getattr(&who, wanted));
    let pending = std::future::poll_fn(|cx| std::task::Poll::Ready(single.as_mut().poll(cx)));
    assert!(pending.await.is_pending(), "it waits for S3");
    assert_eq!(w.requests("HeadObject"), 64, "so many at a time");
    hold.open();
    assert_eq!(single.await.unwrap().ino, wanted);
    // The page, and so many entries after it.
    let ahead = 300 + 1024;
    w.until("all are known that are asked for ahead", || async {
        w.catalog.unknown_in(w.share.root, Ino(0), ahead).await.unwrap().is_empty()
    })
    .await;
    assert_eq!(w.requests("HeadObject"), ahead as u64, "each once, and no more");
    let again = page(&w, &fs, 2, 300).await;
    assert_eq!(known(&again), 300);
    let next = page(&w, &fs, again.entries.last().unwrap().cookie, 300).await;
    assert_eq!(known(&next), 300, "a reader who goes on finds them there");
    assert_eq!(w.requests("HeadObject"), ahead as u64);
}

/// Goal: no client is shown attributes that turn out to be others. Method: an object has its own, and S3
/// does not tell them for a while.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_do_not_flap() {
    let w = World::new().await;
    let ino = w.create(w.share.root, "secret", NewKind::File { verifier: None }).await;
    w.chmod(ino, 0o600).await;
    w.drain().await;
    let w = w.with_new_disk().await;
    w.refresher.now(w.share.root).await.unwrap();
    let fs = w.mount();
    let refused = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    w.s3.faults().add(FaultRule::new(refused).operation("HeadObject"));
    let read = page(&w, &fs, 2, 10).await;
    assert_eq!((read.entries.len(), known(&read)), (1, 0), "named, and nothing is made up");
    let read = page(&w, &fs, 2, 10).await;
    assert_eq!(read.entries[0].attr.as_ref().unwrap().mode, 0o600);
}

/// Goal: while S3 refuses, it is not asked for every entry of every page. Method: HEAD is refused, and
/// counted.
#[tokio::test(flavor = "multi_thread")]
async fn questions_ahead_end_when_s3_refuses() {
    let (w, fs) = with_objects(3000).await;
    let refused = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    w.s3.faults().add(FaultRule::new(refused).operation("HeadObject").times(u64::MAX));
    assert_eq!(page(&w, &fs, 2, 300).await.entries.len(), 300);
    asked_for(&w, 8).await;
    w.tasks.stop().await;
    let asked = w.requests("HeadObject");
    assert!(asked < 200, "{asked} of 1324 were asked for");
}
