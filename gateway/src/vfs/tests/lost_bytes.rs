//! Bytes that a failed write or sync has lost: for whom, until when, and for nobody else.
use super::*;
use crate::ids::DiskId;

/// Goal: a client that was told that its bytes are durable need not send them again because another one's sync fails.
/// Method: both commits have taken the first bytes; the second one's sync fails when the first is done.
#[tokio::test]
async fn a_failed_sync_keeps_nobody_s_durable_bytes_away() {
    let f = Fixture::new().await;
    let (who, file) = (owner(), f.create("f").await);
    f.write(file, 0, &[1; 100_000], Stability::FileSync).await;
    f.write(file, 0, &[2; 10_000], Stability::Unstable).await;
    let mut first = Box::pin(f.fs.commit(&who, file));
    let held = until_it_syncs(f.disk.hold_syncs(), &mut first).await;
    f.write(file, 50_000, &[3; 10_000], Stability::Unstable).await;
    let mut second = Box::pin(f.fs.commit(&who, file));
    let next = f.disk.hold_syncs();
    drop(held);
    let next = tokio::select! {
        biased;
        next = until_it_syncs(next, &mut second) => next,
        done = &mut first => panic!("the second one's sync was to come first: {done:?}"),
    };
    first.await.unwrap();
    f.disk.fail_syncs(1);
    drop(next);
    assert_eq!(second.await.unwrap_err(), FsError::Io);
    f.write(file, 50_000, &[3; 10_000], Stability::FileSync).await;
    f.upload_all().await;
    assert!(!f.catalog.inode(file).await.unwrap().dirty, "it goes to S3");
    let f = f.power_cut(1).await;
    assert!(f.content(file).await.starts_with(&[2; 10_000]));
}

impl Fixture {
    /// Sees that a file of 8000 threes is carried until its bytes are on the disk, where a power cut leaves them.
    pub(super) async fn stays_carried_until_settled(self, file: Ino, seed: u64) {
        assert!(self.catalog.carried_of(file).await.unwrap().is_some());
        self.shared.settle().await.unwrap();
        assert_eq!(self.catalog.carried_of(file).await.unwrap(), None);
        let f = self.power_cut(seed).await;
        assert_eq!(f.content(file).await, [3; 8000], "seed {seed}");
    }
}

/// Goal: carried bytes are kept where a sync of their file that began before them fails. Method: such a sync is held
/// until they are carried.
#[tokio::test]
async fn bytes_that_were_carried_while_a_sync_failed_are_not_forgotten() {
    for seed in 0..8 {
        let f = Fixture::new().await;
        let (who, file) = (owner(), f.create("f").await);
        f.write(file, 0, &[1; 8000], Stability::FileSync).await;
        f.shared.settle().await.unwrap();
        f.write(file, 0, &[2; 100], Stability::Unstable).await;
        let mut part = Box::pin(f.fs.commit(&who, file));
        let held = until_it_syncs(f.disk.hold_syncs(), &mut part).await;
        f.write(file, 0, &[3; 8000], Stability::FileSync).await;
        assert!(f.catalog.carried_of(file).await.unwrap().is_some());
        f.disk.fail_syncs(1);
        drop(held);
        assert_eq!(part.await.unwrap_err(), FsError::Io);
        f.stays_carried_until_settled(file, seed).await;
    }
}

/// Goal: the same where nobody's commit asked for that sync, but a fetch did. Method: a sync without a commit fails; then a
/// commit of other bytes of the file, or the settling of all, would let the catalog forget.
#[tokio::test]
async fn bytes_that_were_carried_when_the_sync_of_a_fetch_failed_are_not_forgotten() {
    for (seed, commits) in (0..8).flat_map(|seed| [(seed, true), (seed, false)]) {
        let f = Fixture::new().await;
        let (who, file) = (owner(), f.create("f").await);
        f.write(file, 0, &[1; 8000], Stability::FileSync).await;
        f.shared.settle().await.unwrap();
        f.write(file, 0, &[3; 8000], Stability::FileSync).await;
        assert!(f.catalog.carried_of(file).await.unwrap().is_some());
        f.disk.fail_syncs(1);
        f.shared.cache.sync(file).await.unwrap_err();
        let mut expected = vec![3; 8000];
        if commits {
            f.write(file, 0, &[4; 100], Stability::Unstable).await;
            while let Err(error) = f.fs.commit(&who, file).await {
                assert_eq!(error, FsError::TryLater);
                f.shared.settle().await.unwrap();
                f.write(file, 0, &[4; 100], Stability::Unstable).await;
            }
            expected[..100].fill(4);
        } else {
            f.shared.settle().await.unwrap();
            assert_eq!(f.catalog.carried_of(file).await.unwrap(), None);
        }
        let f = f.power_cut(seed).await;
        assert_eq!(f.content(file).await, expected, "seed {seed}, commits: {commits}");
    }
}

/// Goal: the same of a sync that fails while all are being settled. Method: their sync is held meanwhile.
#[tokio::test]
async fn bytes_that_were_carried_when_a_sync_failed_beside_the_settling_are_not_forgotten() {
    for seed in 0..8 {
        let f = Fixture::new().await;
        let file = f.create("f").await;
        f.write(file, 0, &[3; 8000], Stability::FileSync).await;
        let mut settled = Box::pin(f.shared.settle());
        let held = until_it_syncs(f.disk.hold_whole_syncs(), &mut settled).await;
        f.shared.cache.losses().note(DiskId::PRIMARY);
        drop(held);
        settled.await.unwrap_err();
        f.stays_carried_until_settled(file, seed).await;
    }
}

/// Goal: when the sync of a whole disk has failed, no commit that comes then passes for durable, however long it takes to
/// tell all files of it. Method: one of two files that wait for their commits is held.
#[tokio::test]
async fn no_commit_succeeds_after_the_sync_of_the_whole_disk_has_failed() {
    let f = Fixture::new().await;
    let who = owner();
    let small = f.create("small").await;
    f.write(small, 0, b"carried", Stability::FileSync).await;
    let files = [f.create("a").await, f.create("b").await];
    for file in files {
        f.write(file, 0, &[1; 100_000], Stability::Unstable).await;
    }
    let held = f.shared.locks.shared(files[0]).await;
    f.disk.fail_syncs(1);
    let committed = async {
        while !f.shared.cache.losses().has(DiskId::PRIMARY) {
            tokio::task::yield_now().await;
        }
        let committed = f.fs.commit(&who, files[1]).await;
        drop(held);
        committed
    };
    let (settled, committed) = tokio::join!(f.shared.settle(), committed);
    settled.unwrap_err();
    assert_eq!(committed.unwrap_err(), FsError::Io);
}

/// Goal: a file with bytes that a failed write has lost can be emptied and written anew, as `cp` does. Method: by SETATTR
/// and by CREATE.
#[tokio::test]
async fn a_file_whose_bytes_are_lost_can_be_cut_and_written_anew() {
    for by_create in [false, true] {
        let f = Fixture::new().await;
        let file = f.create("f").await;
        f.write(file, 0, b"kept", Stability::Unstable).await;
        f.disk.fail_writes(1);
        let data = Bytes::from_static(b"never");
        f.fs.write(&owner(), file, 4, data, Stability::Unstable).await.unwrap_err();
        let to = |size| SetAttr { size: Some(size), ..SetAttr::default() };
        let refused = f.fs.setattr(&owner(), file, to(9), None).await;
        assert_eq!(refused.unwrap_err(), FsError::Io, "it would have the lost bytes");
        let stranger = f.fs.setattr(&user(2000), file, to(0), None).await;
        assert_eq!(stranger.unwrap_err(), FsError::Access);
        assert_eq!(f.fs.commit(&owner(), file).await.unwrap_err(), FsError::Io, "as before");
        let verifier = f.fs.verifier();
        if by_create {
            let how = CreateHow::Unchecked(to(0));
            f.fs.create(&owner(), f.root(), b"f", how).await.unwrap();
        } else {
            f.fs.setattr(&owner(), file, to(0), None).await.unwrap();
        }
        assert_ne!(f.fs.verifier(), verifier, "whatever went with them is sent again");
        f.write(file, 0, b"anew", Stability::Unstable).await;
        f.fs.commit(&owner(), file).await.unwrap();
        let f = f.power_cut(2).await;
        assert_eq!(f.content(file).await, b"anew");
    }
}

#[tokio::test]
async fn a_burst_in_which_nothing_was_written_ends_with_the_quiet_time() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, b"x", Stability::FileSync).await;
    f.upload_all().await;
    let begun = f.shared.begin(file, &(0..1)).await.unwrap();
    assert!(f.catalog.inode(file).await.unwrap().writing);
    assert_eq!(f.shared.flush_idle().await, 0, "it is under way");
    f.shared.cache.overlay().not_written(file, begun);
    assert_eq!(f.shared.flush_idle().await, 1);
    assert!(!f.catalog.inode(file).await.unwrap().writing);
}
