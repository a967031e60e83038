//! Two disks under one file system: what is committed on each, and one that fails.
use gateway_api::status::HealthEventKind;

use super::*;
use crate::ids::DiskId;

const GIB: u64 = 1 << 30;

fn disks() -> [SimDisk; 2] {
    [SimDisk::default(), SimDisk::default()]
}

/// The next file is made on this one.
fn prefer(disks: &[SimDisk; 2], which: usize) {
    disks[which].set_available(900 * GIB);
    disks[1 - which].set_available(100 * GIB);
}

async fn disk_of(f: &Fixture, ino: Ino) -> DiskId {
    f.catalog.disk_of(ino).await.unwrap()
}

/// Goal: what is acknowledged survives a power cut on whichever disk it is: small files with their row, large
/// ones by their disk's sync; files of both that a move has taken elsewhere, too. Method: many seeds.
#[tokio::test]
async fn crash_what_is_committed_survives_on_each_disk_and_over_a_move() {
    for seed in 0..16 {
        let disks = disks();
        let mut f = Fixture::on_two(disks[0].clone(), disks[1].clone()).await;
        let mut files = Vec::new();
        for (n, len) in [(1_u8, 3000), (2, 90_000), (3, 3000), (4, 90_000)] {
            prefer(&disks, usize::from(n % 2));
            let file = f.create(&format!("f{n}")).await;
            f.write(file, 0, &vec![n; len], Stability::FileSync).await;
            files.push((file, vec![n; len]));
        }
        let second = disk_of(&f, files[0].0).await;
        assert_ne!(second, DiskId::PRIMARY);
        assert_eq!(disk_of(&f, files[1].0).await, DiskId::PRIMARY);
        if seed % 2 == 0 {
            f.shared.settle().await.unwrap();
        }
        f = f.power_cut(seed).await;
        for (file, body) in &files {
            assert!(f.content(*file).await == *body, "seed {seed}");
        }
        f.catalog.set_draining(second, true).await.unwrap();
        f.shared.cache.disk(second).unwrap().set_draining(true);
        // Uncommitted bytes move as well.
        f.write(files[0].0, 3000, &[9; 10], Stability::Unstable).await;
        files[0].1.extend([9; 10]);
        assert_eq!(f.shared.drain().await.unwrap(), Drained { gone: 2, left: 0 });
        f = f.power_cut(seed + 100).await;
        for (file, body) in &files {
            assert!(f.content(*file).await == *body, "seed {seed}");
            assert_eq!(disk_of(&f, *file).await, DiskId::PRIMARY);
        }
        assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
    }
}

/// Goal: a disk that takes nothing any more holds up no file of another; what the catalog carries for it stays
/// there, and is written when it works again.
#[tokio::test]
async fn a_failing_disk_holds_up_no_other() {
    let disks = disks();
    let f = Fixture::on_two(disks[0].clone(), disks[1].clone()).await;
    prefer(&disks, 1);
    let broken = f.create("broken").await;
    f.write(broken, 0, b"two", Stability::FileSync).await;
    prefer(&disks, 0);
    let good = f.create("good").await;
    f.write(good, 0, b"one", Stability::FileSync).await;
    disks[1].fail_syncs(1000);
    disks[1].fail_writes(1000);
    for _ in 0..2 {
        f.shared.settle().await.unwrap_err();
        assert_eq!(f.catalog.carried_of(good).await.unwrap(), None, "it is on its disk");
        assert!(f.catalog.carried_of(broken).await.unwrap().is_some());
        f.write(good, 0, &[7; 90_000], Stability::FileSync).await;
    }
    let events = f.events.list();
    let told = events.iter().find(|event| event.kind == HealthEventKind::CacheDiskFailing);
    assert!(told.is_some_and(|event| event.message.contains("cache disk second")), "{events:?}");
    let (who, large) = (owner(), Bytes::from(vec![1; 90_000]));
    let large = f.fs.write(&who, broken, 0, large, Stability::FileSync);
    large.await.unwrap_err();
    disks[1].fail_syncs(0);
    disks[1].fail_writes(0);
    f.shared.settle().await.unwrap();
    assert_eq!(f.catalog.carried_until().await.unwrap(), None);
    let f = f.power_cut(1).await;
    assert_eq!(f.content(broken).await, b"two");
    assert_eq!(f.content(good).await, [7; 90_000]);
}

/// Goal: a small file whose disk is missing before its bytes have come there from the catalog is whole on another
/// disk; what the first disk has does not come back with it.
#[tokio::test]
async fn what_the_catalog_carries_does_not_need_its_disk() {
    for seed in 0..8 {
        let disks = disks();
        let f = Fixture::on_two(disks[0].clone(), disks[1].clone()).await;
        prefer(&disks, 1);
        let file = f.create("f").await;
        f.write(file, 0, b"small", Stability::FileSync).await;
        let longer = SetAttr { size: Some(9), ..SetAttr::default() };
        f.fs.setattr(&owner(), file, longer, None).await.unwrap();
        assert_ne!(disk_of(&f, file).await, DiskId::PRIMARY);
        let f = f.power_cut_and_on(seed, None).await;
        assert_eq!(disk_of(&f, file).await, DiskId::PRIMARY);
        assert_eq!(f.content(file).await, b"small\0\0\0\0", "seed {seed}");
        f.write(file, 0, b"SMALL", Stability::FileSync).await;
        let f = f.power_cut_and_on(seed, Some(disks[1].clone())).await;
        assert_eq!(f.content(file).await, b"SMALL\0\0\0\0", "seed {seed}");
        assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
    }
}

/// Goal: of two copies the one that the catalog names is the file, whatever was looked at last: emptying the other's
/// disk takes that other away, and nothing else.
#[tokio::test]
async fn emptying_a_disk_of_an_old_copy_leaves_the_file() {
    let disks = disks();
    let f = Fixture::on_two(disks[0].clone(), disks[1].clone()).await;
    let second = f.catalog.disks().await.unwrap()[0].id;
    prefer(&disks, 0);
    let file = f.create("f").await;
    f.write(file, 0, &[1; 90_000], Stability::FileSync).await;
    // What a move leaves whose removal failed; nothing is open, and the cache takes it for the file.
    let f = f.power_cut(0).await;
    let old = Bytes::from(vec![2; 90_000]);
    f.shared.cache.write_on(second, file, old, 90_000).await.unwrap();
    assert_eq!(f.shared.cache.disk_of(file).await.unwrap().id(), second);
    f.catalog.set_draining(second, true).await.unwrap();
    f.shared.cache.disk(second).unwrap().set_draining(true);
    assert_eq!(f.shared.drain().await.unwrap(), Drained { gone: 1, left: 0 });
    assert!(f.content(file).await == [1; 90_000]);
    assert!(f.power_cut(1).await.content(file).await == [1; 90_000]);
}

/// Goal: a file whose move nobody waits for any more, as the gateway is stopping, is not written on the disk that it has
/// left. Method: the round is given up when the catalog has said where the file is, before it hears of that.
#[tokio::test]
async fn a_move_that_nobody_waits_for_is_not_left_half_done() {
    for seed in 0..16 {
        let disks = disks();
        let f = Fixture::on_two(disks[0].clone(), disks[1].clone()).await;
        let second = f.catalog.disks().await.unwrap()[0].id;
        prefer(&disks, 1);
        let file = f.create("f").await;
        f.write(file, 0, &[1; 90_000], Stability::FileSync).await;
        prefer(&disks, 0);
        f.catalog.set_draining(second, true).await.unwrap();
        f.shared.cache.disk(second).unwrap().set_draining(true);
        let mut round = Box::pin(f.shared.drain());
        while disk_of(&f, file).await == second {
            tokio::select! {
                biased;
                _ = &mut round => break,
                () = tokio::task::yield_now() => {}
            }
            // Behind whatever the round has asked for: that is done, and the round does not know.
            f.catalog.set_draining(second, true).await.unwrap();
        }
        drop(round);
        f.write(file, 90_000, &[2; 90_000], Stability::FileSync).await;
        assert_eq!(disk_of(&f, file).await, DiskId::PRIMARY, "{seed}");
        assert_eq!(f.shared.cache.disk_of(file).await.unwrap().id(), DiskId::PRIMARY, "{seed}");
        let shard = u8::try_from(file.0 & 0xff).unwrap();
        assert!(f.shared.cache.list(second, shard).await.unwrap().is_empty(), "{seed}");
        let f = f.power_cut(seed).await;
        let content = f.content(file).await;
        assert!(content[..90_000] == [1; 90_000] && content[90_000..] == [2; 90_000], "{seed}");
    }
}

/// Goal: what waits on a disk that takes no new files slows nobody who writes to another one.
#[tokio::test]
async fn what_stays_on_a_released_disk_is_no_reason_to_slow_writers() {
    const KIB: usize = 1024;
    let disks = disks();
    let f = Fixture::on_two(disks[0].clone(), disks[1].clone()).await;
    let second = f.catalog.disks().await.unwrap()[0].id;
    disks[0].set_total(400 * KIB as u64);
    prefer(&disks, 1);
    let file = f.create("waits").await;
    f.write(file, 0, &[1; 280 * KIB], Stability::FileSync).await;
    prefer(&disks, 0);
    let other = f.create("fills").await;
    f.write(other, 0, &[2; 100 * KIB], Stability::FileSync).await;
    f.shared.settle().await.unwrap();
    f.catalog.set_draining(second, true).await.unwrap();
    f.shared.cache.disk(second).unwrap().set_draining(true);
    assert_eq!(f.shared.drain().await.unwrap(), Drained { gone: 0, left: 1 }, "there is no room");
    let (unsent, capacity) = f.shared.unsent_of_capacity(0).unwrap();
    assert_eq!((unsent, capacity), (100 * KIB as u64, 300 * KIB as u64));
    f.shared.cache.disk(second).unwrap().set_draining(false);
    let (unsent, _) = f.shared.unsent_of_capacity(0).unwrap();
    // And what each of the two has besides.
    assert_eq!(unsent, 380 * KIB as u64 + 2 * 2560);
}

/// Goal: what the catalog carries of a file that leaves a disk while that disk's sync fails is not forgotten with what the
/// other disk has. Method: the sync is held until the file has moved.
#[tokio::test]
async fn what_moves_off_a_disk_while_its_sync_fails_stays_carried() {
    for seed in 0..8 {
        let disks = disks();
        let f = Fixture::on_two(disks[0].clone(), disks[1].clone()).await;
        prefer(&disks, 1);
        let file = f.create("f").await;
        f.write(file, 0, &[3; 8000], Stability::FileSync).await;
        let second = disk_of(&f, file).await;
        assert_ne!(second, DiskId::PRIMARY);
        f.catalog.set_draining(second, true).await.unwrap();
        f.shared.cache.disk(second).unwrap().set_draining(true);
        let mut settled = Box::pin(f.shared.settle());
        let held = until_it_syncs(disks[1].hold_whole_syncs(), &mut settled).await;
        assert_eq!(f.shared.drain().await.unwrap(), Drained { gone: 1, left: 0 });
        assert_eq!(disk_of(&f, file).await, DiskId::PRIMARY);
        disks[1].fail_syncs(1);
        drop(held);
        settled.await.unwrap_err();
        f.stays_carried_until_settled(file, seed).await;
    }
}
