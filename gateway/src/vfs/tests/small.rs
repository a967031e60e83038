//! Small files, whose bytes the catalog carries until they are on the disk in their cache file.
use super::*;
use crate::{
    catalog::{CARRIED_BYTES_MAX, DurableBytes, WriteCommit},
    ids::DiskId,
};

async fn commit(f: &Fixture, file: Ino) {
    f.fs.commit(&owner(), file).await.unwrap();
}

/// Settles over and over.
struct Settling(tokio::task::JoinHandle<()>);

impl Settling {
    fn start(shared: &Arc<WriteBack>) -> Self {
        let shared = Arc::clone(shared);
        Self(tokio::spawn(async move {
            loop {
                shared.settle().await.unwrap();
                tokio::task::yield_now().await;
            }
        }))
    }

    /// Ends it; it has not failed until then.
    async fn stop(self) {
        self.0.abort();
        assert!(self.0.await.unwrap_err().is_cancelled());
    }
}

/// Goal: a small file waits for no sync of the cache disk and survives a power cut all the same (A1).
/// Method: many seeds on a disk that forgets unsynced sectors and names, before and after settling.
#[tokio::test]
async fn crash_a_committed_small_file_survives_power_loss_before_and_after_it_is_settled() {
    for seed in 0..12 {
        let f = Fixture::new().await;
        let (early, late) = (f.create("early").await, f.create("late").await);
        f.write(early, 0, &[1; 5000], Stability::Unstable).await;
        commit(&f, early).await;
        f.shared.settle().await.unwrap();
        assert_eq!(f.catalog.carried_until().await.unwrap(), None);
        f.write(late, 0, &[2; 4096], Stability::FileSync).await;
        assert!(f.catalog.carried_until().await.unwrap().is_some());
        assert_eq!(f.disk.syncs(), 0, "of single files");
        let f = f.power_cut(seed).await;
        assert_eq!(f.content(early).await, [1; 5000], "seed {seed}");
        assert_eq!(f.content(late).await, [2; 4096], "seed {seed}");
        assert_eq!(f.catalog.carried_until().await.unwrap(), None, "restored");
        let f = f.power_cut(seed + 100).await;
        assert_eq!(f.content(late).await, [2; 4096], "seed {seed}");
        assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
    }
}

/// Goal: the first bytes of a new file cost no question for a cache file that cannot be there. Method: the disk counts those
/// questions; after a start nobody knows any more, and it is asked.
#[tokio::test]
async fn nobody_looks_for_the_cache_file_of_a_new_file() {
    let f = Fixture::new().await;
    let (first, later) = (f.create("first").await, f.create("later").await);
    let mode = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    f.fs.setattr(&owner(), first, mode, None).await.unwrap();
    f.write(first, 0, &[1; 100], Stability::FileSync).await;
    assert_eq!(f.disk.misses(), 0);
    let f = f.power_cut(1).await;
    let before = f.disk.misses();
    f.write(later, 0, &[2; 100], Stability::FileSync).await;
    assert_eq!(f.disk.misses(), before + 1);
    assert_eq!(f.content(first).await, [1; 100]);
}

#[tokio::test]
async fn crash_the_latest_commit_counts_whichever_way_it_went() {
    for seed in 0..12 {
        let f = Fixture::new().await;
        let file = f.create("f").await;
        f.write(file, 0, &[1; 1000], Stability::FileSync).await;
        // As a whole, then a part, then more than is carried.
        f.write(file, 0, &[2; 1000], Stability::FileSync).await;
        let f = f.power_cut(seed).await;
        assert_eq!(f.content(file).await, [2; 1000], "seed {seed}");
        f.write(file, 0, &[3; 1000], Stability::FileSync).await;
        f.write(file, 500, &[4; 100], Stability::FileSync).await;
        let expected = [&[3; 500][..], &[4; 100], &[3; 400]].concat();
        let f = f.power_cut(seed).await;
        assert_eq!(f.content(file).await, expected, "seed {seed}");
        f.write(file, 0, &[5; 1000], Stability::FileSync).await;
        f.write(file, 1000, &[6; 20_000], Stability::FileSync).await;
        f.write(file, 0, &[7; 1000], Stability::FileSync).await;
        let f = f.power_cut(seed).await;
        assert_eq!(f.content(file).await, [&[7; 1000][..], &[6; 20_000]].concat(), "seed {seed}");
    }
}

#[tokio::test]
async fn crash_a_truncated_small_file_keeps_its_size_and_zeros_behind_it() {
    let set = |size| SetAttr { size: Some(size), ..SetAttr::default() };
    for seed in 0..12 {
        let f = Fixture::new().await;
        let file = f.create("f").await;
        f.write(file, 0, b"0123456789", Stability::FileSync).await;
        f.fs.setattr(&owner(), file, set(4), None).await.unwrap();
        let f = f.power_cut(seed).await;
        assert_eq!(f.content(file).await, b"0123", "seed {seed}");
        f.write(file, 0, b"abcdef", Stability::FileSync).await;
        f.fs.setattr(&owner(), file, set(2), None).await.unwrap();
        f.fs.setattr(&owner(), file, set(5), None).await.unwrap();
        let f = f.power_cut(seed).await;
        assert_eq!(f.content(file).await, b"ab\0\0\0", "seed {seed}");
        assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn crash_what_was_never_committed_of_a_new_file_does_not_come_back() {
    for seed in 0..12 {
        let f = Fixture::new().await;
        let file = f.create("f").await;
        f.write(file, 0, &[9; 3000], Stability::Unstable).await;
        let f = f.power_cut(seed).await;
        assert_eq!(f.content(file).await, b"", "seed {seed}");
        f.write(file, 0, b"ab", Stability::Unstable).await;
        f.write(file, 99, b"z", Stability::FileSync).await;
        let expected = [&b"ab"[..], &[0; 97], b"z"].concat();
        assert_eq!(f.content(file).await, expected, "seed {seed}");
    }
}

/// Goal: what a failed sync of the disk has lost is written again from the catalog, never just synced
/// again (D7). Method: the simulated disk forgets for good what a failed sync should have written.
#[tokio::test]
async fn a_failed_settling_loses_nothing_and_is_told_to_whoever_writes() {
    let f = Fixture::new().await;
    let (quiet, busy) = (f.create("quiet").await, f.create("busy").await);
    f.write(quiet, 0, b"committed", Stability::FileSync).await;
    f.write(busy, 0, b"committed too", Stability::FileSync).await;
    f.write(busy, 0, b"not", Stability::Unstable).await;
    let verifier = f.fs.verifier();
    f.disk.fail_syncs(1);
    assert_eq!(f.shared.settle().await.unwrap_err(), FsError::Io);
    assert_ne!(f.fs.verifier(), verifier, "clients send uncommitted writes again");
    assert_eq!(f.fs.commit(&owner(), busy).await.unwrap_err(), FsError::Io, "until they have");
    assert!(f.catalog.carried_until().await.unwrap().is_some());
    f.shared.settle().await.unwrap();
    assert_eq!(f.catalog.carried_until().await.unwrap(), None);
    let f = f.power_cut(3).await;
    assert_eq!(f.content(quiet).await, b"committed");
    assert_eq!(f.content(busy).await, b"committed too");
}

/// Goal: a sync of one file that fails may lose bytes that only the catalog has for sure: they are not
/// forgotten because a later sync, of other bytes, succeeds (D7).
#[tokio::test]
async fn carried_bytes_outlive_a_failed_sync_of_their_file() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, &[1; 8192], Stability::FileSync).await;
    f.write(file, 0, &[2; 100], Stability::Unstable).await;
    f.disk.fail_syncs(1);
    assert_eq!(f.fs.commit(&owner(), file).await.unwrap_err(), FsError::Io);
    f.write(file, 0, &[2; 100], Stability::Unstable).await;
    assert_eq!(f.fs.commit(&owner(), file).await.unwrap_err(), FsError::TryLater, "not yet");
    f.shared.settle().await.unwrap();
    f.write(file, 0, &[2; 100], Stability::Unstable).await;
    f.fs.commit(&owner(), file).await.unwrap();
    let f = f.power_cut(4).await;
    assert_eq!(f.content(file).await, [&[2; 100][..], &[1; 8092]].concat());
}

#[tokio::test]
async fn what_is_removed_or_evicted_is_not_carried_any_more() {
    let f = Fixture::new().await;
    let (gone, evicted) = (f.create("gone").await, f.create("evicted").await);
    for file in [gone, evicted] {
        f.write(file, 0, b"bytes", Stability::FileSync).await;
    }
    f.fs.remove(&owner(), f.root(), b"gone").await.unwrap();
    f.upload_all().await;
    assert!(f.catalog.drop_ranges(evicted).await.unwrap());
    assert_eq!(f.catalog.carried_until().await.unwrap(), None);
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// Goal: commits, whole and in parts, and settling at the same time lose nothing. Method: many tasks,
/// each the only writer of its file, beside one that settles; then a power cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_files_written_while_others_are_settled_survive() {
    const ROUNDS: u8 = 20;
    let f = Fixture::new().await;
    let mut files = Vec::new();
    for n in 0..32 {
        files.push(f.create(&format!("f{n}")).await);
    }
    let fs = Arc::new(f.fs);
    let mut tasks = tokio::task::JoinSet::new();
    for (n, file) in files.iter().copied().enumerate() {
        let fs = fs.clone();
        tasks.spawn(async move {
            for round in 1..=ROUNDS {
                // Every third file has a size that is not carried.
                let len = if n % 3 == 0 { CARRIED_BYTES_MAX + 1 } else { 100 * n as u64 + 1 };
                let data = Bytes::from(vec![round; usize::try_from(len).unwrap()]);
                fs.write(&owner(), file, 0, data, Stability::Unstable).await.unwrap();
                fs.commit(&owner(), file).await.unwrap();
            }
        });
    }
    let settling = Settling::start(&f.shared);
    tasks.join_all().await;
    settling.stop().await;
    let fs = Arc::into_inner(fs).unwrap();
    let f = Fixture { fs, ..f };
    let f = f.power_cut(7).await;
    for file in files {
        let content = f.content(file).await;
        assert!(!content.is_empty() && content.iter().all(|byte| *byte == ROUNDS), "{file:?}");
    }
}

/// Goal: commits of one file that carry its bytes and commits that sync them take nothing of each other
/// back, in whatever order they begin and end. Method: one who writes the file as a whole, others who write
/// a part of it, one who makes it too large to be carried, and one that settles, for a moment; what is
/// read then is what a power cut leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_what_several_writers_of_one_file_have_committed_survives() {
    const ROUNDS: u8 = 3;
    const FAR: u64 = CARRIED_BYTES_MAX + 1000;
    let writes = [(0, 2400), (0, 2400), (0, 600), (600, 600), (1800, 600), (FAR, 100)];
    for seed in 0..40 {
        let f = Fixture::new().await;
        let file = f.create("f").await;
        let fs = Arc::new(f.fs);
        let mut tasks = tokio::task::JoinSet::new();
        for (writer, (at, len)) in (0u8..).zip(writes) {
            let fs = fs.clone();
            tasks.spawn(async move {
                for round in 1..=ROUNDS {
                    let data = Bytes::from(vec![round * 16 + writer; len]);
                    // The far end comes last, or nothing would be carried.
                    if at < FAR || round == ROUNDS {
                        fs.write(&owner(), file, at, data, Stability::FileSync).await.unwrap();
                    }
                }
            });
        }
        let settling = Settling::start(&f.shared);
        tasks.join_all().await;
        settling.stop().await;
        let f = Fixture { fs: Arc::into_inner(fs).unwrap(), ..f };
        let before = f.content(file).await;
        let f = f.power_cut(seed).await;
        assert!(f.content(file).await == before, "seed {seed}");
        assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
    }
}

/// Goal: no moment in which a file's old size is told after the new one. Method: a row that was read
/// before a commit, and shown after it.
#[tokio::test]
async fn a_row_from_before_a_commit_is_not_told_after_it() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, b"uncommitted", Stability::Unstable).await;
    let read = f.catalog.moment();
    let row = f.catalog.inode(file).await.unwrap();
    assert_eq!((row.size, f.fs.attr_by_now(read, &row).await.unwrap().size), (0, 11));
    commit(&f, file).await;
    assert_eq!(f.fs.attr_by_now(read, &row).await.unwrap().size, 11);
}

/// The same from outside: a file that only grows never seems to shrink, whoever asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_grows_never_seems_to_shrink() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let root = f.root();
    let fs = Arc::new(f.fs);
    let done = Arc::new(AtomicBool::new(false));
    let (writer, is_done) = (fs.clone(), done.clone());
    let writing = tokio::spawn(async move {
        for at in 0..600 {
            let byte = Bytes::from_static(b"x");
            writer.write(&owner(), file, at, byte, Stability::Unstable).await.unwrap();
            writer.commit(&owner(), file).await.unwrap();
        }
        is_done.store(true, Ordering::Release);
    });
    let who = owner();
    let mut largest = 0;
    while !done.load(Ordering::Acquire) {
        let page = ReadDir { cookie: 0, verifier: [0; 8], entries_max: 10, want_attr: true };
        let listed = fs.readdir(&who, root, page).await.unwrap();
        let listed = listed.entries.iter().find(|entry| entry.ino == file).unwrap();
        let (change, _) = fs.commit(&who, file).await.unwrap();
        for size in [
            listed.attr.as_ref().unwrap().size,
            change.after.size,
            fs.getattr(&who, file).await.unwrap().size,
            fs.lookup(&who, root, b"f").await.unwrap().size,
            fs.access(&who, file, 0x3f).await.unwrap().1.size,
            fs.read(&who, file, 0, 10).await.unwrap().attr.size,
        ] {
            assert!(size >= largest, "{size} after {largest}");
            largest = size;
        }
    }
    writing.await.unwrap();
    assert!(largest > 0, "something was seen");
}

/// Goal: what a commit has synced is what a power cut leaves, though another one's bytes were carried since its sync
/// began that had been read before. Method: the sync is held until the catalog has the other commit.
#[tokio::test(flavor = "multi_thread")]
async fn crash_bytes_carried_during_a_sync_do_not_go_over_what_it_has_synced() {
    for seed in 0..4 {
        let f = Fixture::new().await;
        let file = f.create("f").await;
        f.write(file, 0, &[1; 100], Stability::Unstable).await;
        let sums = WrittenSums::of(0, &[1; 100]);
        let other = WriteCommit {
            noted: None,
            size: 100,
            mtime: f.clock.now(),
            clear_set_id: false,
            ranges: std::iter::once(0..100).collect(),
            sums: sums.whole.into_iter().chain(sums.tail).collect(),
            disk: DiskId::PRIMARY,
            bytes: DurableBytes::Carried(Bytes::from_static(&[1; 100])),
            closes: false,
            due: f.clock.now(),
        };
        f.write(file, 0, &[2; 100], Stability::Unstable).await;
        f.write(file, CARRIED_BYTES_MAX, &[3; 100], Stability::Unstable).await;
        let held = f.disk.hold_syncs();
        let carrying = async {
            let held = held.come(1).await;
            f.catalog.commit_write(file, other).await.unwrap();
            drop(held);
        };
        tokio::join!(commit(&f, file), carrying);
        let f = f.power_cut(seed).await;
        assert!(f.content(file).await.starts_with(&[2; 100]), "seed {seed}");
        assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
    }
}
