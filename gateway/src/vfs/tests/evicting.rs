//! What leaves the cache: parts, the coldest first, in time, and never what S3 does not have.
use super::*;
use crate::cache::{
    evict::Pinned,
    recency::PART_BYTES,
    space::{reserve_bytes, spare_bytes},
};

/// What the simulated disk says it has.
const TOTAL: u64 = 1 << 40;

#[tokio::test]
async fn of_a_large_file_the_cold_part_leaves_and_comes_back() {
    let f = Fixture::new().await;
    let size = 2 * PART_BYTES + 1000;
    let body: Vec<u8> = (0..size).map(|i| (i / 4096 + i).to_le_bytes()[0]).collect();
    let file = f.object("o", &body).await;
    let read = async |at: u64| {
        let read = f.fs.read(&owner(), file, at, 1000).await.unwrap().data;
        let at = usize::try_from(at).unwrap();
        assert!(read == body[at..at + 1000]);
    };
    f.source.fetch(file, 0..size).await.unwrap();
    for at in [PART_BYTES, 0, 2 * PART_BYTES] {
        read(at).await;
    }
    let freed = f.shared.evict(1, Pinned::Stay).await.unwrap();
    assert_eq!(freed, PART_BYTES, "the part that was not read for longest");
    let left: Vec<_> = f.catalog.ranges(file).await.unwrap().iter().collect();
    assert_eq!(left, [0..PART_BYTES, 2 * PART_BYTES..size]);
    let before = f.source.fetched.load(Ordering::SeqCst);
    read(2 * PART_BYTES).await;
    read(PART_BYTES).await;
    assert_eq!(f.source.fetched.load(Ordering::SeqCst) - before, 1000);
    assert_eq!(f.shared.evict(size, Pinned::Stay).await.unwrap(), PART_BYTES + 2000);
    assert!(!f.shared.cache.exists(file).await.unwrap(), "nothing is left of it");
    assert!(f.events.list().is_empty());
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn room_is_made_before_anybody_needs_it_and_dirty_files_stay() {
    let f = Fixture::new().await;
    let clean = f.object("clean", &[1; 5000]).await;
    f.content(clean).await;
    let dirty = f.create("dirty").await;
    f.write(dirty, 0, &[2; 5000], Stability::FileSync).await;
    let open = f.object("open", &[3; 5000]).await;
    f.content(open).await;
    f.write(open, 0, &[4; 10], Stability::Unstable).await;
    let enough = reserve_bytes(TOTAL) + spare_bytes(TOTAL);
    f.disk.set_available(enough);
    assert_eq!(f.shared.evict_ahead().await.unwrap(), 0);
    f.disk.set_available(enough - 1);
    assert_eq!(f.shared.evict_ahead().await.unwrap(), 5000);
    assert!(f.catalog.ranges(clean).await.unwrap().is_empty());
    assert_eq!(f.content(dirty).await, [2; 5000]);
    f.source.down.store(true, Ordering::SeqCst);
    assert_eq!(f.content(open).await[..11], [4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3]);
}

/// Goal: files that nobody has used since the start leave before those that somebody has. Method: a restart
/// forgets all use.
#[tokio::test]
async fn what_was_not_used_since_the_start_leaves_first() {
    let f = Fixture::new().await;
    let mut files = Vec::new();
    for i in 0..20_u64 {
        let file = f.object(&format!("o{i}"), &[7; 3000]).await;
        f.content(file).await;
        files.push(file);
    }
    let objects = std::mem::take(&mut *f.source.objects.lock().unwrap());
    let f = f.power_cut(1).await;
    *f.source.objects.lock().unwrap() = objects;
    let (used, unused) = files.split_at(8);
    for file in used {
        f.content(*file).await;
    }
    assert_eq!(f.shared.evict(12 * 3000, Pinned::Stay).await.unwrap(), 12 * 3000);
    for file in used {
        assert!(!f.catalog.ranges(*file).await.unwrap().is_empty());
    }
    for file in unused {
        assert!(f.catalog.ranges(*file).await.unwrap().is_empty());
    }
    // And then the others, although nothing unknown is left.
    assert_eq!(f.shared.evict(u64::MAX, Pinned::Stay).await.unwrap(), 8 * 3000);
    assert_eq!(f.shared.evict(1, Pinned::Stay).await.unwrap(), 0);
}

/// Goal: while the cache is nearly full of what S3 does not have, writers are told to come again instead of
/// being kept, commits go on, and writing does as soon as uploads have got through.
#[tokio::test]
async fn writers_are_slowed_by_what_is_not_uploaded_and_commits_are_not() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, &[1; 9000], Stability::Unstable).await;
    f.shared.pacer.looked(f.clock.now(), (1 << 40, 1 << 40), 0);
    let data = || Bytes::from(vec![2; 8 << 20]);
    // The first takes its time by itself, at 4 MiB a second; the next would wait for it.
    let cx = owner();
    let mut first = Box::pin(f.fs.write(&cx, file, 9000, data(), Stability::Unstable));
    let polled =
        std::future::poll_fn(|cx| std::task::Poll::Ready(first.as_mut().poll(cx).is_pending()));
    assert!(polled.await, "it waits, and holds no lock");
    let second = f.fs.write(&cx, file, 9000, data(), Stability::Unstable).await;
    assert_eq!(second.unwrap_err(), FsError::TryLater);
    f.fs.commit(&cx, file).await.unwrap();
    drop(first);
    f.clock.advance_millis(5000);
    f.shared.look_at_pressure().await.unwrap();
    f.write(file, 9000, &data(), Stability::FileSync).await;
    assert_eq!(f.catalog.inode(file).await.unwrap().size, 9000 + (8 << 20));
}

fn pinning(f: &Fixture, paths: &[&str]) -> Pinning {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let pins = crate::share::Pins::new(&paths);
    f.shared.set_pins([(f.share.id, pins.clone())].into());
    Pinning::new("s".parse().unwrap(), f.root(), pins, f.shared.clone(), f.source.clone())
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

    assert_eq!(f.shared.evict(u64::MAX, Pinned::Stay).await.unwrap(), 700);
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
    assert!(!pinning.status().unwrap().complete);
    f.source.down.store(false, Ordering::SeqCst);
    pinning.round().await.unwrap();
    assert!(pinning.status().unwrap().complete);
    let before = f.source.fetched.load(Ordering::SeqCst);
    pinning.round().await.unwrap();
    assert_eq!(f.source.fetched.load(Ordering::SeqCst), before);
}
