//! What is pinned: fetched in the background, patiently, and kept.
use std::time::Duration;

use super::*;
use crate::cache::{
    evict::{Need, Pinned},
    recency::PART_BYTES,
    space::{reserve_bytes, spare_bytes},
};

/// What the simulated disk says it has.
const TOTAL: u64 = 1 << 40;

fn pinning(f: &Fixture, paths: &[&str]) -> Pinning {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let pins = crate::share::Pins::new(&paths);
    f.shared.set_pins([(f.share.id, pins.clone())].into());
    Pinning::new("s".parse().unwrap(), f.root(), pins, f.shared.clone(), f.source.clone())
        .with_first_pause(Duration::from_millis(1))
}

#[tokio::test]
async fn what_is_pinned_is_fetched_and_stays_when_everything_else_leaves() {
    let f = Fixture::new().await;
    let set = SetAttr { mode: Some(0o755), ..SetAttr::default() };
    let dir = f.fs.mkdir(&owner(), f.root(), b"reports", set).await.unwrap().attr.ino;
    let how = CreateHow::Guarded(SetAttr::default());
    let below = f.fs.create(&owner(), dir, b"a", how).await.unwrap().attr.ino;
    f.write(below, 0, &[1; 3000], Stability::FileSync).await;
    f.upload_all().await;
    f.source.objects.lock().unwrap().insert(below, vec![1; 3000]);
    let single = f.object("single", &vec![2; usize::try_from(PART_BYTES).unwrap() + 500]).await;
    let other = f.object("singles", &[3; 700]).await;
    f.content(other).await;

    let pinning = pinning(&f, &["reports/", "single", "not/there"]);
    assert!(!pinning.status().unwrap().complete, "nobody has looked yet");
    pinning.round().await.unwrap();
    let status = pinning.status().unwrap();
    let total = 3000 + PART_BYTES + 500;
    assert_eq!((status.total.0, status.cached.0, status.complete), (total, total, true));
    assert_eq!(f.source.fetched.load(Ordering::SeqCst), PART_BYTES + 500 + 700);

    assert_eq!(f.shared.evict(Need::Bytes(u64::MAX), Pinned::Stay).await.unwrap(), 700);
    assert!(f.catalog.ranges(other).await.unwrap().is_empty());
    // What the bucket has changed is fetched anew.
    assert!(f.catalog.drop_ranges(below).await.unwrap());
    pinning.round().await.unwrap();
    assert!(pinning.status().unwrap().complete);
    assert_eq!(f.catalog.ranges(below).await.unwrap().bytes(), 3000);

    // A writer comes before pins.
    f.disk.set_available(0);
    let cx = owner();
    let data = Bytes::from(vec![9; 20 << 20]);
    let write = f.fs.write(&cx, below, 0, data, Stability::Unstable);
    assert_eq!(write.await.unwrap_err(), FsError::NoSpace, "the simulated disk stays full");
    assert!(f.catalog.ranges(single).await.unwrap().is_empty());
    let events = f.events.list();
    assert!(events.is_empty(), "they made no room: {events:?}");
}

#[tokio::test]
async fn pins_that_do_not_fit_are_told_and_come_when_there_is_room() {
    let f = Fixture::new().await;
    f.object("large", &[7; 5000]).await;
    let pinning = pinning(&f, &["large"]);
    f.disk.set_available(reserve_bytes(TOTAL) + spare_bytes(TOTAL) - 1);
    pinning.round().await.unwrap();
    let status = pinning.status().unwrap();
    assert_eq!((status.total.0, status.cached.0, status.complete), (5000, 0, false));
    let events = f.events.list();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, gateway_api::status::HealthEventKind::PinsDoNotFit);
    f.disk.set_available(TOTAL);
    f.source.down.store(true, Ordering::SeqCst);
    pinning.round().await.unwrap();
    let status = pinning.status().unwrap();
    assert!(!status.complete && status.problem.unwrap().contains("8 tries"));
    f.source.down.store(false, Ordering::SeqCst);
    pinning.round().await.unwrap();
    let status = pinning.status().unwrap();
    assert!(status.complete && status.problem.is_none());
    let before = f.source.fetched.load(Ordering::SeqCst);
    pinning.round().await.unwrap();
    assert_eq!(f.source.fetched.load(Ordering::SeqCst), before);
}

/// Goal: an S3 that puts some requests off does not end the round.
#[tokio::test]
async fn what_s3_puts_off_is_asked_for_again_in_the_same_round() {
    let f = Fixture::new().await;
    f.object("a", &vec![7; usize::try_from(2 * PART_BYTES).unwrap()]).await;
    f.object("b", &[8; 5000]).await;
    let pinning = pinning(&f, &["a", "b"]);
    f.source.put_off.store(5, Ordering::SeqCst);
    pinning.round().await.unwrap();
    let status = pinning.status().unwrap();
    assert!(status.complete && status.problem.is_none(), "{status:?}");
    assert_eq!(f.source.asked.load(Ordering::SeqCst), 3 + 5);
}

#[tokio::test]
async fn while_s3_puts_everything_off_the_status_says_so_and_nothing_else_is_asked() {
    let f = Fixture::new().await;
    f.object("a", &[7; 5000]).await;
    f.object("b", &[8; 5000]).await;
    f.source.put_off.store(u64::MAX, Ordering::SeqCst);
    let slow = pinning(&f, &["a", "b"]).with_first_pause(Duration::from_secs(3600));
    let mut round = Box::pin(slow.round());
    let problem = loop {
        let polled =
            std::future::poll_fn(|cx| std::task::Poll::Ready(round.as_mut().poll(cx).is_pending()));
        assert!(polled.await, "it goes on");
        if let Some(problem) = slow.status().unwrap().problem {
            break problem;
        }
        tokio::task::yield_now().await;
    };
    assert!(problem.starts_with("a ") && problem.contains("again in 3600 s"), "{problem}");
    drop(round);
    f.source.asked.store(0, Ordering::SeqCst);
    let pinning = pinning(&f, &["a", "b"]);
    pinning.round().await.unwrap();
    assert_eq!(f.source.asked.load(Ordering::SeqCst), 8, "of the first file alone");
    let status = pinning.status().unwrap();
    // Whether there is another nobody is asked any more.
    assert_eq!((status.total.0, status.cached.0, status.complete), (5_000, 0, false));
}
