//! What leaves the cache: parts, the coldest first, in time, and never what S3 does not have.
use gateway_api::status::HealthEventKind;

use super::*;
use crate::cache::{
    evict::{Need, Pinned},
    recency::PART_BYTES,
    space::{reserve_bytes, spare_bytes},
};
use crate::vfs::pace::Turn;

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
    let freed = f.shared.evict(Need::Bytes(1), Pinned::Stay).await.unwrap();
    assert_eq!(freed, PART_BYTES, "the part that was not read for longest");
    let left: Vec<_> = f.catalog.ranges(file).await.unwrap().iter().collect();
    assert_eq!(left, [0..PART_BYTES, 2 * PART_BYTES..size]);
    let before = f.source.fetched.load(Ordering::SeqCst);
    read(2 * PART_BYTES).await;
    read(PART_BYTES).await;
    assert_eq!(f.source.fetched.load(Ordering::SeqCst) - before, 1000);
    assert_eq!(f.shared.evict(Need::Bytes(size), Pinned::Stay).await.unwrap(), PART_BYTES + 2000);
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
    assert_eq!(f.shared.evict(Need::Bytes(12 * 3000), Pinned::Stay).await.unwrap(), 12 * 3000);
    for file in used {
        assert!(!f.catalog.ranges(*file).await.unwrap().is_empty());
    }
    for file in unused {
        assert!(f.catalog.ranges(*file).await.unwrap().is_empty());
    }
    // And then the others, although nothing unknown is left.
    assert_eq!(f.shared.evict(Need::Bytes(u64::MAX), Pinned::Stay).await.unwrap(), 8 * 3000);
    assert_eq!(f.shared.evict(Need::Bytes(1), Pinned::Stay).await.unwrap(), 0);
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

/// Goal: what takes no room slows nobody: holes, and what S3 has of a large file. Method: a disk that is full of a
/// clean file, a file that is made larger than the disk, and a few bytes written into a large object; then a look.
#[tokio::test]
async fn what_takes_no_room_on_the_disk_slows_no_writer() {
    const MIB: usize = 1 << 20;
    let f = Fixture::new().await;
    f.disk.set_total(60 * MIB as u64);
    let clean = f.object("clean", &vec![5; 40 * MIB]).await;
    f.source.fetch(clean, 0..40 * MIB as u64).await.unwrap();
    let theirs = f.object("theirs", &vec![5; 40 * MIB]).await;
    f.write(theirs, 7, b"changed", Stability::FileSync).await;
    let sparse = f.create("sparse").await;
    let size = SetAttr { size: Some(100 * MIB as u64), ..SetAttr::default() };
    f.fs.setattr(&owner(), sparse, size, None).await.unwrap();
    let (seeming, capacity) = f.shared.unsent_of_capacity(0).unwrap();
    assert!(seeming * 10 >= capacity * 8, "{seeming} of {capacity}, as they are counted at first");
    f.shared.look_at_pressure().await.unwrap();
    assert!(matches!(f.shared.pacer.turn(f.clock.now(), MIB as u64), Turn::Now));
    assert!(!f.events.list().iter().any(|event| event.kind == HealthEventKind::CacheFull));
    // What differs is what is to be uploaded, and all of the new file.
    let pending = f.catalog.pending(None).await.unwrap();
    assert_eq!(pending.dirty_bytes, 7 + 100 * MIB as u64);
}
