//! The cache files on a simulated disk and on the host's; the overlay.
use std::{
    future::{Future, poll_fn},
    task::{Context, Poll},
};

use super::{overlay::Burst, sim_disk::SimDisk, *};
use crate::{
    blocking::{Patience, here},
    ids::DiskId,
    sums::WrittenSums,
};

fn cache(disk: &SimDisk) -> CacheStore {
    CacheStore::open(Arc::new(disk.clone()), Path::new("/cache")).unwrap()
}

const FILE: Ino = Ino(300);

/// Goal: a synced write is there after any power cut, a later unsynced one may not be. Method: many
/// seeds on the simulated disk.
#[tokio::test]
async fn crash_synced_bytes_survive_every_power_cut() {
    let mut lost_unsynced = 0;
    for seed in 0..64 {
        let disk = SimDisk::default();
        let store = cache(&disk);
        store.write_at(FILE, 0, Bytes::from(vec![1; 4096])).await.unwrap();
        store.sync(FILE).await.unwrap();
        store.write_at(FILE, 4096, Bytes::from(vec![2; 4096])).await.unwrap();
        disk.cut_power(seed);
        let store = cache(&disk);
        let kept = store.read_at(FILE, 0..4096).await.unwrap();
        assert!(kept.iter().all(|byte| *byte == 1), "seed {seed}");
        let tail = store.read_at(FILE, 4096..8192).await;
        lost_unsynced += usize::from(!tail.is_ok_and(|tail| tail.iter().all(|byte| *byte == 2)));
    }
    assert!(lost_unsynced > 32, "the simulated disk hardly ever loses anything: {lost_unsynced}");
}

/// Goal: what a read has brought into a file's cache file, and left beyond the end of the file since, is not taken for nothing.
#[tokio::test]
async fn a_file_that_has_got_a_cache_file_is_not_new() {
    let store = cache(&SimDisk::default());
    store.has_come(FILE);
    assert!(store.is_first_write(FILE) && !store.is_first_write(FILE));
    store.has_come(FILE);
    store.write_at(FILE, 0, Bytes::from_static(b"theirs")).await.unwrap();
    assert!(!store.is_first_write(FILE));
}

#[tokio::test]
async fn a_short_file_is_an_error_and_not_zeros() {
    let store = cache(&SimDisk::default());
    store.write_at(FILE, 0, Bytes::from_static(b"abc")).await.unwrap();
    assert!(matches!(store.read_at(FILE, 0..4).await, Err(CacheError::Short { end: 4, .. })));
    assert!(matches!(store.read_at(Ino(1), 0..1).await, Err(CacheError::Short { .. })));
    assert_eq!(&store.read_at(FILE, 1..3).await.unwrap()[..], b"bc");
}

#[tokio::test]
async fn extending_shows_zeros_even_where_old_bytes_lay_beyond_the_size() {
    let store = cache(&SimDisk::default());
    store.write_at(FILE, 0, Bytes::from_static(b"abcdef")).await.unwrap();
    store.set_len(FILE, 2, 5).await.unwrap();
    assert_eq!(&store.read_at(FILE, 0..5).await.unwrap()[..], b"ab\0\0\0");
    store.cut(FILE, 1).await.unwrap();
    assert_eq!(store.len(FILE).await.unwrap(), 1);
}

#[tokio::test]
async fn a_failed_sync_is_told_to_everybody_who_waited_for_it() {
    let disk = SimDisk::default();
    let store = cache(&disk);
    store.write_at(FILE, 0, Bytes::from_static(b"x")).await.unwrap();
    disk.fail_syncs(1);
    assert!(store.sync(FILE).await.is_err());
    store.sync(FILE).await.unwrap();
}

/// Goal: callers of one file share syncs, and none is answered by one that began before it asked. Method:
/// the first sync is held in the disk until all others have asked.
#[tokio::test]
async fn many_callers_share_one_sync_and_it_begins_after_they_asked() {
    let disk = SimDisk::default();
    let store = cache(&disk);
    store.write_at(FILE, 0, Bytes::from_static(b"x")).await.unwrap();
    let mut callers: Vec<_> = (0..200).map(|_| Box::pin(store.sync(FILE))).collect();
    let mut held = disk.hold_syncs();
    for (number, caller) in callers.iter_mut().enumerate() {
        let asked = |cx: &mut Context<'_>| {
            Poll::Ready(here(Patience::Moment, || caller.as_mut().poll(cx)).is_pending())
        };
        assert!(poll_fn(asked).await, "answered before any sync was done");
        if number == 0 {
            held = held.come(1).await;
        }
    }
    assert_eq!(disk.syncs(), 0, "the first is held");
    drop(held);
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(disk.syncs(), 2, "that of the first caller, and one for the others");
}

/// Goal: a file that is measured or synced just when it is taken off the disk is not kept open: what is written
/// to it next has a name. Method: whoever opens it is held in the disk until it is gone; then it is
/// written and read by a gateway that was started anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_is_taken_off_while_it_is_opened_is_not_written_without_a_name() {
    for synced in [false, true] {
        let disk = SimDisk::default();
        let store = cache(&disk);
        store.write_at(FILE, 0, Bytes::from_static(b"old")).await.unwrap();
        store.sync(FILE).await.unwrap();
        let store = cache(&disk);
        let held = disk.hold_opens();
        let opener = store.clone();
        let opening = tokio::spawn(async move {
            match synced {
                true => opener.sync(FILE).await.unwrap(),
                false => assert_eq!(opener.occupied(FILE).await.unwrap(), 0, "it is gone"),
            }
        });
        let held = held.come(1).await;
        store.take_off(FILE).await.unwrap();
        drop(held);
        opening.await.unwrap();
        store.write_at(FILE, 0, Bytes::from_static(b"new")).await.unwrap();
        store.sync(FILE).await.unwrap();
        assert_eq!(&cache(&disk).read_at(FILE, 0..3).await.unwrap()[..], b"new", "{synced}");
    }
}

/// Goal: whoever has opened a file in time, and is slow, does not keep it from being taken off. Method: as above, but it
/// is kept open before it goes.
#[tokio::test]
async fn a_file_that_was_opened_before_it_was_taken_off_is_not_kept() {
    let disk = SimDisk::default();
    let store = cache(&disk);
    store.write_at(FILE, 0, Bytes::from_static(b"old")).await.unwrap();
    let held = disk.hold_removals();
    let remover = store.clone();
    let removing = tokio::spawn(async move { remover.take_off(FILE).await });
    let held = held.come(1).await;
    assert_eq!(store.occupied(FILE).await.unwrap(), 4096, "it is still there");
    drop(held);
    removing.await.unwrap().unwrap();
    store.write_at(FILE, 0, Bytes::from_static(b"new")).await.unwrap();
    store.sync(FILE).await.unwrap();
    assert_eq!(&cache(&disk).read_at(FILE, 0..3).await.unwrap()[..], b"new");
}

/// Goal: what was written and is not there any more is not taken for durable. Method: the file is lost beside its open
/// handle's end.
#[tokio::test]
async fn a_lost_file_that_was_written_is_not_synced() {
    let disk = SimDisk::default();
    let store = cache(&disk);
    let write = store.overlay().begin(FILE, Burst::Noted(1), 0, &(0..0));
    let now = crate::clock::Timestamp::from_nanos(1);
    store.overlay().wrote(FILE, write, (&(0..3), &WrittenSums::default()), now, false);
    let lost = store.sync(FILE).await.unwrap_err();
    assert!(lost.to_string().contains("gone"), "{lost}");
    assert!(store.overlay().is_fenced(FILE));
}

#[tokio::test]
async fn files_are_listed_by_shard_and_removed() {
    let store = cache(&SimDisk::default());
    store.write_at(Ino(0x1ff), 0, Bytes::from_static(b"x")).await.unwrap();
    store.write_at(Ino(0x2ff), 0, Bytes::from_static(b"y")).await.unwrap();
    assert_eq!(store.list(DiskId::PRIMARY, 0xff).await.unwrap().len(), 2);
    store.remove(Ino(0x1ff)).await.unwrap();
    store.remove(Ino(0x1ff)).await.unwrap();
    assert_eq!(store.list(DiskId::PRIMARY, 0xff).await.unwrap(), [Ino(0x2ff)]);
    assert!(!store.exists(Ino(0x1ff)).await.unwrap());
}

#[tokio::test]
async fn the_host_disk_keeps_what_the_simulated_one_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let store = CacheStore::open(Arc::new(HostDisk), dir.path()).unwrap();
    store.write_at(FILE, 1 << 20, Bytes::from_static(b"tail")).await.unwrap();
    store.sync(FILE).await.unwrap();
    assert_eq!(store.len(FILE).await.unwrap(), (1 << 20) + 4);
    assert_eq!(&store.read_at(FILE, (1 << 20) - 2..(1 << 20) + 4).await.unwrap()[..], b"\0\0tail");
    assert!(store.space().now().unwrap().total > 0);
}

#[test]
fn a_burst_closes_only_when_nothing_was_written_since() {
    let overlay = Overlay::default();
    let now = crate::clock::Timestamp::from_nanos(1);
    assert!(overlay.join(FILE, &(0..0)).is_none());
    let write = overlay.begin(FILE, Burst::Noted(7), 10, &(0..0));
    overlay.wrote(FILE, write, (&(20..30), &WrittenSums::default()), now, false);
    let taken = overlay.take(FILE).unwrap();
    assert_eq!((taken.size, &taken.ranges), (30, &std::iter::once(10..30).collect()));
    let write = overlay.join(FILE, &(0..0)).unwrap();
    assert!(overlay.close(FILE, &taken).is_none());
    overlay.wrote(FILE, write, (&(0..1), &WrittenSums::default()), now, false);
    let taken = overlay.take(FILE).unwrap();
    assert!(matches!(overlay.close(FILE, &taken), Some(Burst::Noted(7))));
    overlay.committed(FILE, &taken);
    assert!(overlay.get(FILE).is_none());
}

/// Goal: every write shows in the time, and what is told of it has nobody else's in it (RFC 1813
/// §2.6). Method: two writes under way at once, at the same time of the clock.
#[test]
fn writes_at_the_same_time_are_told_one_after_the_other() {
    let overlay = Overlay::default();
    let now = crate::clock::Timestamp::from_nanos(50);
    let (first, second) =
        (overlay.begin(FILE, Burst::Noted(7), 10, &(0..0)), overlay.join(FILE, &(0..0)).unwrap());
    assert_eq!(overlay.attr(FILE), None, "nothing is written yet");
    let (before, between) =
        overlay.wrote(FILE, second, (&(20..30), &WrittenSums::default()), now, false).unwrap();
    let (told, after) =
        overlay.wrote(FILE, first, (&(0..5), &WrittenSums::default()), now, false).unwrap();
    assert_eq!((before.size, before.mtime), (10, None));
    assert_eq!((between.size, between.mtime), (30, Some(now)));
    assert_eq!(told, between);
    assert_eq!((after.size, after.mtime), (30, Some(now.next())));
}

#[test]
fn a_commit_that_comes_late_closes_no_later_burst() {
    let overlay = Overlay::default();
    let now = crate::clock::Timestamp::from_nanos(1);
    let write = overlay.begin(FILE, Burst::Noted(7), 0, &(0..0));
    overlay.wrote(FILE, write, (&(0..10), &WrittenSums::default()), now, false);
    let (late, timely) = (overlay.take(FILE).unwrap(), overlay.take(FILE).unwrap());
    assert!(matches!(overlay.close(FILE, &timely), Some(Burst::Noted(7))));
    overlay.committed(FILE, &timely);
    let write = overlay.begin(FILE, Burst::Noted(8), 10, &(0..0));
    overlay.wrote(FILE, write, (&(10..20), &WrittenSums::default()), now, false);
    assert!(overlay.close(FILE, &late).is_none());
    overlay.committed(FILE, &late);
    assert!(matches!(overlay.get(FILE).unwrap().burst, Some(Burst::Noted(8))));
}

#[test]
fn fenced_bytes_hold_until_written_again() {
    let overlay = Overlay::default();
    let now = crate::clock::Timestamp::from_nanos(1);
    let write = overlay.begin(FILE, Burst::Noted(1), 0, &(0..0));
    overlay.wrote(FILE, write, (&(0..10), &WrittenSums::default()), now, false);
    let under_way = overlay.join(FILE, &(0..0)).unwrap();
    overlay.sync_failed(FILE);
    assert!(overlay.is_fenced(FILE));
    // Its bytes may have been among those that the failed sync has lost.
    overlay.wrote(FILE, under_way, (&(20..30), &WrittenSums::default()), now, false);
    for (range, is_fenced) in [(0..4, true), (4..10, true), (10..30, false)] {
        let write = overlay.join(FILE, &(0..0)).unwrap();
        overlay.wrote(FILE, write, (&range, &WrittenSums::default()), now, false);
        assert_eq!(overlay.is_fenced(FILE), is_fenced, "{range:?}");
    }
}
