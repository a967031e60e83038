//! Bytes: writes, commits, reads, crashes, failing disks, a full cache.
use super::*;
use crate::{
    ids::ShareId,
    share::{Right, Share},
    store::{MemoryStore, StoreError, StoreErrorKind, StoreOp},
};

#[tokio::test]
async fn unstable_writes_are_seen_at_once_and_committed_by_commit() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let written = f.write(file, 0, b"hello", Stability::Unstable).await;
    assert_eq!((written.committed, written.count), (Stability::Unstable, 5));
    assert_eq!((written.change.before.unwrap().size, written.change.after.size), (0, 5));
    assert_eq!(f.fs.getattr(&owner(), file).await.unwrap().size, 5);
    assert_eq!(f.catalog.inode(file).await.unwrap().size, 0);
    assert_eq!(f.content(file).await, b"hello");
    let (change, verifier) = f.fs.commit(&owner(), file).await.unwrap();
    assert_eq!((change.after.size, verifier), (5, written.verifier));
    let row = f.catalog.inode(file).await.unwrap();
    assert!(row.size == 5 && row.dirty && !row.writing);
    let attr = f.fs.getattr(&owner(), file).await.unwrap();
    assert_eq!(attr, change.after, "a commit changes nothing that a client sees");
    let stable = f.write(file, 5, b"!", Stability::DataSync).await;
    assert_eq!(stable.committed, Stability::FileSync);
    assert_eq!(f.catalog.inode(file).await.unwrap().size, 6);
}

/// Goal: what COMMIT acknowledged survives, and lost unstable writes show in the verifier (A0, A1).
/// Method: many seeds on a disk that forgets unsynced sectors.
#[tokio::test]
async fn crash_write_then_commit_survives_power_loss() {
    for seed in 0..12 {
        let f = Fixture::new().await;
        let file = f.create("f").await;
        let verifier = f.write(file, 0, &[1; 30_000], Stability::Unstable).await.verifier;
        f.fs.commit(&owner(), file).await.unwrap();
        f.write(file, 30_000, &[2; 3000], Stability::Unstable).await;
        let f = f.power_cut(seed).await;
        assert_ne!(f.fs.verifier(), verifier);
        let found = f.fs.lookup(&owner(), f.root(), b"f").await.unwrap();
        assert_eq!((found.ino, found.size), (file, 30_000), "seed {seed}");
        assert_eq!(f.content(file).await, [1; 30_000], "seed {seed}");
        let extend = SetAttr { size: Some(32_000), ..SetAttr::default() };
        f.fs.setattr(&owner(), file, extend, None).await.unwrap();
        let tail = f.fs.read(&owner(), file, 30_000, 2000).await.unwrap().data;
        assert!(tail.iter().all(|byte| *byte == 0), "seed {seed}: old bytes beyond the end");
        assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_failed_sync_fences_the_bytes_until_they_are_written_again() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let precious = vec![b'p'; 20_000];
    let written = f.write(file, 0, &precious, Stability::Unstable).await;
    f.disk.fail_syncs(1);
    assert_eq!(f.fs.commit(&owner(), file).await.unwrap_err(), FsError::Io);
    assert_ne!(f.fs.verifier(), written.verifier, "the client must send it again");
    assert_eq!(f.fs.commit(&owner(), file).await.unwrap_err(), FsError::Io);
    f.write(file, 0, &precious, Stability::Unstable).await;
    f.fs.commit(&owner(), file).await.unwrap();
    let f = f.power_cut(1).await;
    assert_eq!(f.content(file).await, precious);
}

/// Goal: a sync that another caller asked for and that fails is nobody's success. Method: the sync
/// between a write and its commit fails; after it the disk takes everything but what it has lost.
#[tokio::test]
async fn a_sync_that_failed_for_somebody_else_fails_the_next_commit() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, &[1; 20_000], Stability::Unstable).await;
    let before = f.shared.verifier.get();
    f.disk.fail_syncs(1);
    f.shared.cache.sync(file).await.unwrap_err();
    assert_eq!(f.fs.commit(&owner(), file).await.unwrap_err(), FsError::Io);
    assert_ne!(f.shared.verifier.get(), before, "clients send everything again");
    f.write(file, 0, &[2; 20_000], Stability::Unstable).await;
    f.fs.commit(&owner(), file).await.unwrap();
    let f = f.power_cut(2).await;
    assert_eq!(f.content(file).await, [2; 20_000]);
}

#[tokio::test]
async fn files_never_committed_are_committed_when_quiet() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, b"abc", Stability::Unstable).await;
    assert_eq!(f.shared.flush_idle().await, 0);
    f.clock.advance_millis(i64::try_from(DELAY_MS).unwrap() + 1);
    assert_eq!(f.shared.flush_idle().await, 1);
    assert!(!f.catalog.inode(file).await.unwrap().writing);
    let due = f.catalog.next_due().await.unwrap().expect("its upload waits");
    assert!(due <= f.clock.now(), "it has been quiet for that long already");
    assert_eq!(f.shared.flush_idle().await, 0);
    f.write(file, 0, b"x", Stability::Unstable).await;
    assert_eq!(f.shared.flush_idle().await, 0);
    f.clock.advance_millis(-3_600_000);
    assert_eq!(f.shared.flush_idle().await, 1, "the clock was set back");
    f.write(file, 0, b"x", Stability::Unstable).await;
    assert_eq!(f.shared.flush_all().await, 1);
}

#[tokio::test]
async fn a_write_into_an_object_fetches_only_what_is_read_and_keeps_the_rest() {
    let f = Fixture::new().await;
    let file = f.object("o", b"0123456789").await;
    f.write(file, 3, b"XY", Stability::Unstable).await;
    assert_eq!(f.source.fetched.load(Ordering::SeqCst), 0);
    assert_eq!(f.content(file).await, b"012XY56789");
    assert_eq!(f.source.fetched.load(Ordering::SeqCst), 8);
    f.fs.commit(&owner(), file).await.unwrap();
    let attr = f.fs.getattr(&owner(), file).await.unwrap();
    assert_eq!((attr.mode, attr.uid, attr.size), (0o640, 1000, 10));
    let f = f.power_cut(3).await;
    assert_eq!(f.content(file).await, b"012XY56789");
}

#[tokio::test]
async fn an_uncommitted_write_into_an_object_leaves_old_or_new_bytes_after_a_crash() {
    for seed in 0..8 {
        let f = Fixture::new().await;
        let file = f.object("o", &[7; 2048]).await;
        f.write(file, 512, &[9; 512], Stability::Unstable).await;
        let objects = std::mem::take(&mut *f.source.objects.lock().unwrap());
        let f = f.power_cut(seed).await;
        *f.source.objects.lock().unwrap() = objects;
        let content = f.content(file).await;
        assert_eq!(content.len(), 2048);
        assert!(content.iter().all(|byte| [7, 9].contains(byte)), "seed {seed}");
    }
}

#[tokio::test]
async fn holes_and_truncated_parts_read_as_zero() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, b"abcdef", Stability::FileSync).await;
    let set = |size| SetAttr { size: Some(size), ..SetAttr::default() };
    f.fs.setattr(&owner(), file, set(2), None).await.unwrap();
    f.fs.setattr(&owner(), file, set(4), None).await.unwrap();
    assert_eq!(f.content(file).await, b"ab\0\0");
    f.write(file, 8, b"z", Stability::Unstable).await;
    assert_eq!(f.content(file).await, b"ab\0\0\0\0\0\0z");
    f.fs.commit(&owner(), file).await.unwrap();
    f.upload_all().await;
    assert_eq!(f.content(file).await, b"ab\0\0\0\0\0\0z");
    f.fs.setattr(&owner(), file, set(0), None).await.unwrap();
    assert_eq!(f.content(file).await, b"");
}

#[tokio::test]
async fn a_truncated_object_is_fetched_only_up_to_its_new_size() {
    let f = Fixture::new().await;
    let file = f.object("o", b"0123456789").await;
    let set = |size| SetAttr { size: Some(size), ..SetAttr::default() };
    f.fs.setattr(&owner(), file, set(4), None).await.unwrap();
    f.fs.setattr(&owner(), file, set(6), None).await.unwrap();
    assert_eq!(f.content(file).await, b"0123\0\0");
    assert_eq!(f.source.fetched.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn sizes_beyond_an_object_are_refused_at_the_write() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let one = || Bytes::from_static(b"x");
    for at in [FILE_BYTES_MAX, u64::MAX, u64::MAX - 1, 1 << 63] {
        let refused = f.fs.write(&owner(), file, at, one(), Stability::Unstable).await;
        assert_eq!(refused.unwrap_err(), FsError::FileTooBig, "{at}");
    }
    let set = SetAttr { size: Some(FILE_BYTES_MAX + 1), ..SetAttr::default() };
    assert_eq!(f.fs.setattr(&owner(), file, set, None).await.unwrap_err(), FsError::FileTooBig);
    assert_eq!(f.fs.getattr(&owner(), file).await.unwrap().size, 0);
    let read = f.fs.read(&owner(), file, u64::MAX, u32::MAX).await.unwrap();
    assert!(read.eof && read.data.is_empty());
}

#[tokio::test]
async fn a_full_cache_evicts_clean_files_then_asks_to_wait_then_says_no() {
    let f = Fixture::new().await;
    let clean = f.create("clean").await;
    f.write(clean, 0, &[5; 1000], Stability::FileSync).await;
    f.upload_all().await;
    let dirty = f.create("dirty").await;
    f.write(dirty, 0, &[6; 1000], Stability::FileSync).await;
    f.disk.set_available(0);
    let data = || Bytes::from(vec![1; 20 << 20]);
    let refused = f.fs.write(&owner(), dirty, 1000, data(), Stability::Unstable).await;
    assert_eq!(refused.unwrap_err(), FsError::TryLater);
    assert!(f.catalog.ranges(clean).await.unwrap().is_empty(), "evicted");
    assert_eq!(f.content(dirty).await, [6; 1000], "dirty bytes stay (I5)");
    f.fs.commit(&owner(), dirty).await.unwrap();
    f.fs.remove(&owner(), f.root(), b"clean").await.unwrap();
    let jobs = f.catalog.claim_jobs(Timestamp::new(9999, 0), 10).await.unwrap();
    for job in jobs {
        f.catalog.fail_job(job.op(), "S3 is down", Timestamp::new(9999, 0)).await.unwrap();
    }
    let refused = f.fs.write(&owner(), dirty, 1000, data(), Stability::Unstable).await;
    assert_eq!(refused.unwrap_err(), FsError::NoSpace);
    f.fs.commit(&owner(), dirty).await.unwrap();
}

/// Goal: a client is not kept trying until each of very many files has failed to get to S3, where S3 does not answer at
/// all. Method: one that has not been tried.
#[tokio::test]
async fn a_full_cache_says_no_while_no_bucket_answers_although_not_every_upload_was_tried() {
    let f = Fixture::new().await;
    let dirty = f.create("dirty").await;
    f.write(dirty, 0, &[6; 1000], Stability::FileSync).await;
    f.disk.set_available(0);
    let store = || Arc::new(MemoryStore::new(f.clock.clone()));
    let share = f.on(store());
    f.shared.set_shares(vec![share.clone()]);
    let write = async || {
        let data = Bytes::from(vec![1; 20 << 20]);
        f.fs.write(&owner(), dirty, 1000, data, Stability::Unstable).await.unwrap_err()
    };
    let look = async |times| {
        for _ in 0..times {
            f.shared.look_at_pressure().await.unwrap();
        }
    };
    look(200).await;
    f.clock.advance_millis(60_000);
    assert_eq!(write().await, FsError::TryLater, "nobody has asked the bucket");
    let denied = StoreError {
        op: StoreOp::ListObjects,
        key: None,
        kind: StoreErrorKind::NoBucket,
        request_id: None,
        message: "gone".to_owned(),
    };
    share.health.failed(&denied, f.clock.now());
    look(119).await;
    assert_eq!(write().await, FsError::TryLater, "for less than a minute");
    look(1).await;
    assert_eq!(write().await, FsError::NoSpace);
    // The other share's uploads were not tried, and its bucket does not refuse them.
    let other = Arc::new(Share { id: ShareId(99), ..Arc::into_inner(f.on(store())).unwrap() });
    f.shared.set_shares(vec![share.clone(), other]);
    assert_eq!(write().await, FsError::NoSpace, "nothing of it waits");
    share.health.answered(Right::Write);
    look(1).await;
    assert_eq!(write().await, FsError::TryLater);
}

#[tokio::test]
async fn a_clean_file_that_the_cache_lost_is_fetched_again() {
    let f = Fixture::new().await;
    let file = f.object("o", b"0123456789").await;
    assert_eq!(f.content(file).await, b"0123456789");
    f.shared.cache.remove(file).await.unwrap();
    assert_eq!(f.content(file).await, b"0123456789");
    assert_eq!(f.source.fetched.load(Ordering::SeqCst), 20);
}

/// Goal: commits and writes of one file at the same time end with everything durable and the file
/// ready for upload. Method: many tasks, then a power cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_and_commits_of_one_file_lose_nothing() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let fs = Arc::new(f.fs);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64_u64 {
        let fs = fs.clone();
        tasks.spawn(async move {
            let byte = u8::try_from(n).unwrap() + 1;
            let data = Bytes::from(vec![byte; 100]);
            fs.write(&owner(), file, n * 100, data, Stability::Unstable).await.unwrap();
            fs.commit(&owner(), file).await.unwrap();
        });
    }
    tasks.join_all().await;
    let fs = Arc::into_inner(fs).unwrap();
    let f = Fixture { fs, ..f };
    assert!(!f.catalog.inode(file).await.unwrap().writing);
    let f = f.power_cut(5).await;
    let content = f.content(file).await;
    assert_eq!(content.len(), 6400);
    for (n, chunk) in content.chunks(100).enumerate() {
        assert!(chunk.iter().all(|byte| usize::from(*byte) == n + 1), "chunk {n}");
    }
}

/// Goal: what a reply says of before and after holds nobody else's change (RFC 1813 §2.6), or a client
/// would keep what it has cached over it. Method: writes and commits of one file at once, while the
/// clock stands still; put in order, each write begins where the one before it ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_of_many_clients_are_told_apart_in_their_consistency_data() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let first = f.fs.getattr(&owner(), file).await.unwrap().wcc();
    let fs = Arc::new(f.fs);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64_u64 {
        let fs = fs.clone();
        tasks.spawn(async move {
            let stability = if n % 3 == 0 { Stability::FileSync } else { Stability::Unstable };
            let data = Bytes::from(vec![1; 100]);
            let written = fs.write(&owner(), file, n * 50, data, stability).await.unwrap();
            let (committed, _) = fs.commit(&owner(), file).await.unwrap();
            assert_eq!(committed.before, Some(committed.after.wcc()), "a commit changes nothing");
            written.change
        });
    }
    let mut changes = tasks.join_all().await;
    changes.sort_by_key(|change| change.after.ctime);
    let mut last = first;
    for change in changes {
        assert_eq!(change.before, Some(last));
        last = change.after.wcc();
    }
    assert_eq!(fs.getattr(&owner(), file).await.unwrap().wcc(), last);
}

#[tokio::test]
async fn a_write_to_a_file_from_the_future_sets_its_time_and_is_flushed_when_quiet() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let future = SetTime::To(Timestamp::new(4_000_000_000, 0));
    let set = SetAttr { mtime: future, ..SetAttr::default() };
    f.fs.setattr(&owner(), file, set, None).await.unwrap();
    let after = f.write(file, 0, b"now", Stability::Unstable).await.change.after;
    assert_eq!((after.mtime.seconds(), after.ctime), (1000, after.mtime));
    f.clock.advance_millis(i64::try_from(DELAY_MS).unwrap() + 1);
    assert_eq!(f.shared.flush_idle().await, 1);
    assert_eq!(f.fs.getattr(&owner(), file).await.unwrap(), after, "a commit changes nothing");
}

#[tokio::test]
async fn a_failed_write_changes_the_verifier_and_its_bytes_are_no_success_until_written_again() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let earlier = f.write(file, 0, b"kept?", Stability::Unstable).await;
    f.disk.fail_writes(1);
    let data = Bytes::from_static(b"never");
    let failed = f.fs.write(&owner(), file, 5, data, Stability::Unstable).await;
    assert_eq!(failed.unwrap_err(), FsError::Io);
    assert_ne!(f.fs.verifier(), earlier.verifier, "clients send everything again");
    assert_eq!(f.fs.commit(&owner(), file).await.unwrap_err(), FsError::Io);
    f.write(file, 0, b"kept!again", Stability::Unstable).await;
    f.fs.commit(&owner(), file).await.unwrap();
    let f = f.power_cut(6).await;
    assert_eq!(f.content(file).await, b"kept!again");
}

/// Goal: a write that fails before it has begun keeps no upload away (the catalog knew of it already).
#[tokio::test]
async fn a_write_that_could_not_begin_keeps_no_upload_away() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, b"kept", Stability::FileSync).await;
    f.upload_all().await;
    // What a longer object would have left on the disk.
    f.shared.cache.write_at(file, 4, Bytes::from_static(b"rest")).await.unwrap();
    f.disk.fail_cuts(1);
    let data = Bytes::from_static(b"never");
    let failed = f.fs.write(&owner(), file, 0, data, Stability::Unstable).await;
    assert_eq!(failed.unwrap_err(), FsError::Io);
    let row = f.catalog.inode(file).await.unwrap();
    assert!(row.dirty && !row.writing, "{row:?}");
    f.upload_all().await;
    assert!(!f.catalog.inode(file).await.unwrap().dirty);
    assert_eq!(f.content(file).await, b"kept");
    f.write(file, 4, b"!", Stability::FileSync).await;
    assert_eq!(f.content(file).await, b"kept!");
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// Goal: a write that finds the disk full although there was room when it was let in is no success, and
/// neither is the commit of what was written before it (A0).
#[tokio::test]
async fn a_write_that_finds_no_room_after_all_changes_the_verifier_and_is_no_success() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let earlier = f.write(file, 0, b"kept?", Stability::Unstable).await;
    for how in [Stability::Unstable, Stability::FileSync] {
        let before = f.fs.verifier();
        f.disk.fail_writes_for_room(1);
        let data = Bytes::from_static(b"never");
        let refused = f.fs.write(&owner(), file, 5, data, how).await.unwrap_err();
        assert!(matches!(refused, FsError::NoSpace | FsError::TryLater), "{refused:?}");
        assert_ne!(f.fs.verifier(), before, "clients send everything again");
        assert_eq!(f.fs.commit(&owner(), file).await.unwrap_err(), FsError::Io, "{how:?}");
    }
    assert_ne!(f.fs.verifier(), earlier.verifier);
    f.write(file, 0, b"kept!again", Stability::Unstable).await;
    f.fs.commit(&owner(), file).await.unwrap();
    let f = f.power_cut(6).await;
    assert_eq!(f.content(file).await, b"kept!again");
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn the_space_told_is_what_can_still_be_written() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let before = f.fs.statfs(&owner()).await.unwrap();
    assert!(before.available_bytes > 0 && before.available_bytes <= before.total_bytes);
    assert_eq!(before.free_bytes, before.available_bytes);
    f.disk.set_available(0);
    assert_eq!(f.fs.statfs(&owner()).await.unwrap().available_bytes, 0);
    let data = Bytes::from_static(b"x");
    f.fs.write(&owner(), file, 0, data, Stability::Unstable).await.unwrap_err();
}

#[tokio::test]
async fn readers_are_followed_only_where_something_is_left_to_fetch() {
    let f = Fixture::new().await;
    let file = f.object("o", &[7; 30_000]).await;
    f.fs.read(&owner(), file, 0, 10_000).await.unwrap();
    f.fs.read(&owner(), file, 0, 5000).await.unwrap();
    assert_eq!(*f.source.read_on.lock().unwrap(), [0..10_000, 0..5000], "hits as well");
    f.fs.read(&owner(), file, 10_000, 20_000).await.unwrap();
    f.fs.read(&owner(), file, 0, 10_000).await.unwrap();
    assert_eq!(f.source.read_on.lock().unwrap().len(), 2, "a file that is here costs nothing");
}
