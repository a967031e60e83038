//! A cache on several disks: semantics.md "Several cache disks".
use bytes::Bytes;
use gateway::{
    ids::{DiskId, Ino},
    vfs::{Credentials, FsError, RequestContext, SetAttr, ShareFs, Stability},
};
use gateway_api::status::HealthEventKind;

use crate::world::{World, pattern};

const KIB: usize = 1024;

fn user() -> RequestContext {
    RequestContext {
        peer: ([127, 0, 0, 1], 900).into(),
        credentials: Credentials { uid: 0, gid: 0, groups: vec![] },
        request: None,
    }
}

async fn disk_of(world: &World, ino: Ino) -> DiskId {
    world.catalog.disk_of(ino).await.unwrap()
}

async fn id(world: &World, name: &str) -> DiskId {
    world.catalog.disks().await.unwrap().into_iter().find(|disk| disk.name == name).unwrap().id
}

/// Files of which each disk has some, not uploaded.
async fn spread(world: &World, count: u8) -> Vec<Ino> {
    let mut files = Vec::new();
    for n in 0..count {
        let body = pattern(64 * KIB + usize::from(n), n);
        files.push(world.file(&format!("f{n:02}"), &body).await);
    }
    files
}

async fn check(world: &World, files: &[Ino]) {
    for (n, ino) in (0..).zip(files) {
        let body = pattern(64 * KIB + usize::from(n), n);
        assert!(world.read(*ino, 0..body.len() as u64).await == body, "file {n} is another one");
    }
}

async fn check_bucket(world: &World, count: u8) {
    for n in 0..count {
        let body = pattern(64 * KIB + usize::from(n), n);
        assert!(world.object(&format!("p/f{n:02}")).body == body, "object {n} is another one");
    }
}

/// Files of this disk, by what its directory says.
async fn on_disk(world: &World, disk: DiskId) -> usize {
    let mut found = 0;
    for shard in 0..=u8::MAX {
        found += world.cache.list(disk, shard).await.unwrap().len();
    }
    found
}

#[tokio::test]
async fn files_are_spread_over_the_disks_and_are_there_after_a_restart() {
    let mut world = World::with_disks(&["a", "b"]).await;
    world.halt().await;
    let files = spread(&world, 24).await;
    let (a, b) = (id(&world, "a").await, id(&world, "b").await);
    for disk in [DiskId::PRIMARY, a, b] {
        assert!(on_disk(&world, disk).await >= 4, "{disk:?}");
    }
    let counts = world.catalog.disk_counts().await.unwrap();
    let sum: u64 = counts.values().map(|disk| disk.dirty_files).sum();
    assert_eq!((counts.len(), sum), (3, 24));
    for again in 0..2 {
        world = if again == 0 { world.restart().await } else { world.crash().await };
        assert!(world.found.is_empty(), "{:?}", world.found);
        check(&world, &files).await;
    }
    world.start();
    world.drain().await;
    check_bucket(&world, 24).await;
    assert_eq!(world.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// Goal: a released disk takes nothing new and gives everything away: what S3 has is dropped, the rest is on
/// other disks, and is still what it was; a restart in between changes nothing.
#[tokio::test]
async fn a_released_disk_is_emptied_over_restarts_and_nothing_is_lost() {
    let mut world = World::with_disks(&["a"]).await;
    let files = spread(&world, 8).await;
    world.drain().await;
    world.halt().await;
    let more: Vec<_> = {
        let mut more = Vec::new();
        for n in 8..24 {
            more.push(
                world.file(&format!("f{n:02}"), &pattern(64 * KIB + usize::from(n), n)).await,
            );
        }
        more
    };
    let all: Vec<_> = files.into_iter().chain(more).collect();
    let a = id(&world, "a").await;
    let (before, dirty) = {
        let counts = world.catalog.disk_counts().await.unwrap()[&a];
        (counts.files, counts.dirty_files)
    };
    assert!(dirty >= 2 && before > dirty, "{before} {dirty}");
    world.catalog.set_draining(a, true).await.unwrap();
    let world = world.crash().await;
    assert!(world.cache.disk(a).unwrap().is_draining(), "a restart has forgotten it");
    let new = world.file("new", &pattern(64 * KIB, 99)).await;
    assert_eq!(disk_of(&world, new).await, DiskId::PRIMARY);
    let write_back = world.write_back(0);
    let drained = write_back.drain().await.unwrap();
    assert_eq!((drained.gone, drained.left), (before, 0));
    assert!(!world.cache.disk(a).unwrap().is_empty(), "it was not when it was looked at");
    write_back.drain().await.unwrap();
    assert!(world.cache.disk(a).unwrap().is_empty());
    assert_eq!(on_disk(&world, a).await, 0);
    assert!(!world.catalog.disk_counts().await.unwrap().contains_key(&a));
    check(&world, &all).await;
    drop(write_back);
    // It can be taken away, and nobody misses it.
    let mut world = world.restart_with(&[]).await;
    assert!(world.found.is_empty(), "{:?}", world.found);
    assert!(world.catalog.disks().await.unwrap().is_empty(), "it is forgotten");
    check(&world, &all).await;
    world.start();
    world.drain().await;
    check_bucket(&world, 24).await;
}

/// Goal: at whatever step of a move the machine stops, the file is whole, and on one disk.
#[tokio::test]
async fn crash_a_move_that_is_cut_off_leaves_one_file() {
    for catalog_knows in [false, true] {
        let mut world = World::with_disks(&["a"]).await;
        world.halt().await;
        let files = spread(&world, 6).await;
        let a = id(&world, "a").await;
        let mut moved = 0;
        for ino in &files {
            if disk_of(&world, *ino).await != a {
                continue;
            }
            let ranges = world.catalog.ranges(*ino).await.unwrap();
            world.cache.copy_to(*ino, ranges, (a, DiskId::PRIMARY)).await.unwrap();
            if catalog_knows {
                world.catalog.move_to_disk(*ino, DiskId::PRIMARY).await.unwrap();
            }
            moved += 1;
        }
        assert!(moved > 1);
        assert_eq!(on_disk(&world, a).await + on_disk(&world, DiskId::PRIMARY).await, 6 + moved);
        let mut world = world.crash().await;
        assert_eq!(on_disk(&world, a).await, if catalog_knows { 0 } else { moved });
        assert_eq!(on_disk(&world, a).await + on_disk(&world, DiskId::PRIMARY).await, 6);
        check(&world, &files).await;
        world.start();
        world.drain().await;
        check_bucket(&world, 6).await;
    }
}

/// Goal: without a disk the gateway starts; what S3 has is fetched, what only that disk has is EIO, is not
/// uploaded and is told of; with the disk everything is as it was, and what came about meanwhile counts.
#[tokio::test]
async fn a_missing_disk_costs_only_what_is_on_it_and_only_as_long_as_it_is_missing() {
    let mut world = World::with_disks(&["a"]).await;
    let clean = spread(&world, 8).await;
    world.drain().await;
    world.halt().await;
    let a = id(&world, "a").await;
    let mut dirty = Vec::new();
    for n in 50_u8..58 {
        let body = pattern(64 * KIB + usize::from(n), n);
        dirty.push((world.file(&format!("d{n}"), &body).await, body));
    }
    let mut there = Vec::new();
    for (ino, body) in &dirty {
        if disk_of(&world, *ino).await == a {
            there.push((*ino, body.clone()));
        }
    }
    assert!(there.len() >= 2);
    let mut on_a = None;
    for (n, ino) in (0..).zip(&clean) {
        if disk_of(&world, *ino).await == a {
            on_a = Some(n);
        }
    }
    let on_a: usize = on_a.unwrap();
    let had_clean = world.catalog.disk_counts().await.unwrap()[&a].files - there.len() as u64;
    assert!(had_clean > 1);

    let mut world = world.restart_with(&[]).await;
    let [event] = &world.found[..] else { panic!("{:?}", world.found) };
    assert_eq!(event.kind, HealthEventKind::CacheDiskMissing);
    let words = format!("cache disk a with {} dirty files", there.len());
    assert!(event.message.contains(&words) && event.message.contains("attach it again"));
    check(&world, &clean).await;
    let fs = world.mount();
    for (ino, _) in &there {
        assert_eq!(fs.read(&user(), *ino, 0, 4096).await.unwrap_err(), FsError::Io);
        let (who, one) = (user(), Bytes::from_static(b"x"));
        let write = fs.write(&who, *ino, 0, one, Stability::FileSync);
        assert_eq!(write.await.unwrap_err(), FsError::Io);
    }
    drop(fs);
    // One of the clean ones is another file by now; its old bytes on the disk must not come back.
    let changed = pattern(64 * KIB, 200);
    world.write(clean[on_a], 0, &changed).await;
    world.start();
    let left = there.len() as u64;
    world
        .until("the rest is uploaded", || async {
            let pending = world.catalog.pending(None).await.unwrap();
            pending.dirty_files == left && pending.failing == left
        })
        .await;
    for n in 50_u8..58 {
        let is_there = there.iter().any(|(ino, _)| *ino == dirty[usize::from(n) - 50].0);
        let key = format!("p/d{n}");
        assert_eq!(world.keys().contains(&key), !is_there, "{key}");
    }

    let mut world = world.restart_with(&["a"]).await;
    assert!(world.found.is_empty(), "{:?}", world.found);
    let again = world.read(clean[on_a], 0..changed.len() as u64).await;
    assert!(again == changed, "old bytes have come back");
    for (ino, body) in &there {
        assert!(world.read(*ino, 0..body.len() as u64).await == *body);
    }
    world.start();
    world.drain().await;
    for (n, (_, body)) in (50..).zip(&dirty) {
        assert!(world.object(&format!("p/d{n}")).body == *body, "object d{n} is another one");
    }
    assert_eq!(world.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// Goal: a file on a missing disk can be written anew as a whole; the disk's old bytes never come back.
#[tokio::test]
async fn a_file_of_a_missing_disk_can_be_written_anew() {
    let mut world = World::with_disks(&["a"]).await;
    world.halt().await;
    let files = spread(&world, 6).await;
    let a = id(&world, "a").await;
    let mut found = None;
    for ino in &files {
        if disk_of(&world, *ino).await == a {
            found = Some(*ino);
        }
    }
    let ino = found.unwrap();
    let world = world.restart_with(&[]).await;
    let fs = world.mount();
    let cut = |size| SetAttr { size: Some(size), ..SetAttr::default() };
    assert_eq!(fs.setattr(&user(), ino, cut(5), None).await.unwrap_err(), FsError::Io);
    fs.setattr(&user(), ino, cut(0), None).await.unwrap();
    world.write(ino, 0, b"anew").await;
    drop(fs);
    let mut world = world.restart_with(&["a"]).await;
    assert!(world.found.is_empty(), "{:?}", world.found);
    assert_eq!(world.read(ino, 0..4).await, b"anew");
    world.start();
    world.drain().await;
    let bodies: Vec<_> = world.keys().iter().map(|key| world.object(key).body).collect();
    assert!(bodies.iter().any(|body| body == b"anew"));
}
