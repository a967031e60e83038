//! Several simulated disks: where files go, that the right one is synced, what a move leaves after a crash.
use bytes::Bytes;

use super::*;
use crate::cache::{CacheStore, RangeSet, sim_disk::SimDisk};

const GIB: u64 = 1 << 30;
const SECOND: DiskId = DiskId(7);

struct Two {
    disks: [SimDisk; 2],
    store: CacheStore,
}

impl Two {
    fn new() -> Self {
        let disks = [SimDisk::default(), SimDisk::default()];
        let store = Self::open(&disks);
        Self { disks, store }
    }

    fn open(disks: &[SimDisk; 2]) -> CacheStore {
        CacheStore::open_all(Self::both(disks)).unwrap()
    }

    fn both(disks: &[SimDisk; 2]) -> Vec<DiskAt> {
        let second = DiskAt {
            id: SECOND,
            name: "second".to_owned(),
            dir: "/second".into(),
            io: Arc::new(disks[1].clone()),
            draining: false,
        };
        vec![DiskAt::primary(Arc::new(disks[0].clone()), Path::new("/first")), second]
    }

    /// Both lose their power.
    fn power_cut(&mut self, seed: u64) {
        self.disks[0].cut_power(seed);
        self.disks[1].cut_power(!seed);
        self.store = Self::open(&self.disks);
    }

    /// So many bytes may still be written.
    fn room(&self, first: u64, second: u64) {
        self.disks[0].set_available(first);
        self.disks[1].set_available(second);
    }

    async fn write(&self, ino: u64, byte: u8) -> DiskId {
        self.store.write_at(Ino(ino), 0, Bytes::from(vec![byte; 4096])).await.unwrap();
        self.store.disk_of(Ino(ino)).await.unwrap().id()
    }

    async fn has(&self, disk: DiskId, ino: u64) -> bool {
        let shard = u8::try_from(ino & 0xff).unwrap();
        self.store.list(disk, shard).await.unwrap().contains(&Ino(ino))
    }

    async fn byte(&self, ino: u64) -> u8 {
        let bytes = self.store.read_at(Ino(ino), 0..4096).await.unwrap();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        bytes[0]
    }
}

/// Goal: a file goes to the disk with more room for its size, stays there, and is found there after a restart;
/// a draining disk is given none.
#[tokio::test]
async fn a_file_is_made_where_there_is_most_room_and_stays_there() {
    let mut f = Two::new();
    f.room(50 * GIB, 500 * GIB);
    assert_eq!(f.write(1, 1).await, SECOND);
    f.room(500 * GIB, 50 * GIB);
    assert_eq!(f.write(2, 2).await, DiskId::PRIMARY);
    assert_eq!(f.write(1, 3).await, SECOND);
    for ino in [1, 2] {
        f.store.sync(Ino(ino)).await.unwrap();
    }
    f.power_cut(1);
    f.room(50 * GIB, 500 * GIB);
    f.store.disk(SECOND).unwrap().set_draining(true);
    assert_eq!((f.byte(1).await, f.byte(2).await), (3, 2));
    assert_eq!(f.write(3, 1).await, DiskId::PRIMARY);
    assert_eq!(f.write(1, 4).await, SECOND, "what is there is still written there");
    assert_eq!(f.store.space().now().unwrap().available, 50 * GIB, "its room is not counted");
    f.store.remove(Ino(1)).await.unwrap();
    assert!(!f.has(SECOND, 1).await);
    assert_eq!(f.write(1, 5).await, DiskId::PRIMARY);
}

/// Goal: a sync of a file reaches the disk that has it, its name included, whatever the other loses; a sync of
/// everything reaches both. Method: many seeds; unsynced files show that something was at stake.
#[tokio::test]
async fn crash_a_sync_reaches_the_disk_that_has_the_file() {
    let mut lost = 0;
    for seed in 0..32 {
        let mut f = Two::new();
        for (ino, first, second) in [(1, 1, 9), (2, 9, 1), (3, 1, 9), (4, 9, 1)] {
            f.room(first * GIB, second * GIB);
            f.write(ino, 7).await;
        }
        let before = f.disks.each_ref().map(SimDisk::syncs);
        f.store.sync(Ino(1)).await.unwrap();
        assert_eq!(f.disks.each_ref().map(SimDisk::syncs), [before[0], before[1] + 1]);
        f.store.sync(Ino(2)).await.unwrap();
        f.power_cut(seed);
        assert_eq!((f.byte(1).await, f.byte(2).await), (7, 7), "seed {seed}");
        for ino in [3, 4] {
            let kept = f.store.read_at(Ino(ino), 0..4096).await;
            lost += usize::from(!kept.is_ok_and(|kept| kept.iter().all(|byte| *byte == 7)));
        }
        for ino in [5, 6] {
            f.room(ino * GIB, (11 - ino) * GIB);
            f.write(ino, 8).await;
        }
        f.store.sync_all().await.unwrap();
        f.power_cut(seed + 1000);
        assert_eq!((f.byte(5).await, f.byte(6).await), (8, 8), "seed {seed}");
    }
    assert!(lost > 16, "the simulated disks hardly ever lose anything: {lost}");
    let f = Two::new();
    f.disks[1].fail_syncs(1);
    f.store.sync_all().await.unwrap_err();
}

/// Goal: what was copied to another disk is whole there after any power cut, and the old copy is until it is
/// let go.
#[tokio::test]
async fn crash_a_moved_file_is_whole_on_its_new_disk() {
    for seed in 0..32 {
        let mut f = Two::new();
        f.room(9 * GIB, GIB);
        f.write(1, 7).await;
        f.store.write_at(Ino(1), 3 << 20, Bytes::from(vec![9; 5000])).await.unwrap();
        f.store.sync(Ino(1)).await.unwrap();
        let ranges: RangeSet = [0..4096, (3 << 20)..(3 << 20) + 5000].into_iter().collect();
        assert_eq!(f.store.disk_instead_of(DiskId::PRIMARY).unwrap().id(), SECOND);
        f.store.copy_to(Ino(1), ranges.clone(), (DiskId::PRIMARY, SECOND)).await.unwrap();
        assert_eq!(f.store.disk_of(Ino(1)).await.unwrap().id(), DiskId::PRIMARY);
        if seed % 2 == 0 {
            f.power_cut(seed);
            f.store.remove_on(DiskId::PRIMARY, Ino(1)).await.unwrap();
        } else {
            f.store.moved(Ino(1), (DiskId::PRIMARY, SECOND), &ranges).await.unwrap();
            assert_eq!(f.store.disk_of(Ino(1)).await.unwrap().id(), SECOND);
        }
        assert!(!f.has(DiskId::PRIMARY, 1).await);
        assert_eq!(f.byte(1).await, 7);
        let tail = f.store.read_at(Ino(1), 3 << 20..(3 << 20) + 5000).await.unwrap();
        assert!(tail.iter().all(|byte| *byte == 9));
        assert_eq!(f.store.len(Ino(1)).await.unwrap(), (3 << 20) + 5000);
    }
}

/// Goal: whoever opens a file without its lock while it moves gets neither the old copy kept open nor its disk taken for
/// the file's. Method: it is held in the disk until the file has moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_moves_while_it_is_opened_is_written_on_its_new_disk() {
    let mut f = Two::new();
    f.room(9 * GIB, GIB);
    f.write(1, 7).await;
    f.store.sync(Ino(1)).await.unwrap();
    f.store = Two::open(&f.disks);
    let held = f.disks[0].hold_opens();
    let opener = f.store.clone();
    let opening = tokio::spawn(async move { opener.occupied(Ino(1)).await });
    let held = held.come(1).await;
    // The copy opens the old file as well.
    let second = f.disks[1].clone();
    let path = f.store.disks()[1].path(Ino(1));
    second.open(&path, true).unwrap().write_all_at(&[7; 4096], 0).unwrap();
    let ranges: RangeSet = std::iter::once(0..4096).collect();
    f.store.moved(Ino(1), (DiskId::PRIMARY, SECOND), &ranges).await.unwrap();
    drop(held);
    assert_eq!(opening.await.unwrap().unwrap(), 4096);
    assert_eq!(f.store.disk_of(Ino(1)).await.unwrap().id(), SECOND);
    assert_eq!(f.write(1, 8).await, SECOND);
    f.store = Two::open(&f.disks);
    assert_eq!(f.byte(1).await, 8);
}

/// Goal: two writers that make one file at the same time make it on one disk, whatever each of them finds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_two_make_at_once_is_made_once() {
    let f = Two::new();
    for ino in 1..=200 {
        let writes = [0_u64, 4096].map(|at| {
            let (store, disk) = (f.store.clone(), usize::from(at > 0));
            // Which has more room changes in between.
            f.disks[disk].set_available((ino % 7 + 1) * GIB);
            tokio::spawn(async move {
                store.write_at(Ino(ino), at, Bytes::from(vec![1; 4096])).await.unwrap();
            })
        });
        for write in writes {
            write.await.unwrap();
        }
        assert_ne!(f.has(DiskId::PRIMARY, ino).await, f.has(SECOND, ino).await, "{ino}");
        assert_eq!(f.store.len(Ino(ino)).await.unwrap(), 8192);
    }
}

/// Goal: nothing of a file out of reach is read or written, until it is cut to nothing or removed.
#[tokio::test]
async fn a_file_out_of_reach_is_neither_read_nor_made_anew() {
    let f = Two::new();
    let gone: Arc<str> = "gone".into();
    f.store.put_out_of_reach(Ino(1), &gone, 500);
    f.store.put_out_of_reach(Ino(2), &gone, 70);
    let write = f.store.write_at(Ino(1), 0, Bytes::from_static(b"x")).await.unwrap_err();
    assert!(write.to_string().contains("cache disk gone"), "{write}");
    f.store.read_at(Ino(1), 0..1).await.unwrap_err();
    f.store.cut(Ino(1), 5).await.unwrap_err();
    f.store.sync(Ino(1)).await.unwrap_err();
    assert!(!f.has(DiskId::PRIMARY, 1).await && !f.has(SECOND, 1).await);
    assert_eq!((f.store.out_of_reach_bytes(), f.store.missing_disks()[&gone]), (570, 2));
    f.store.cut(Ino(1), 0).await.unwrap();
    f.store.write_at(Ino(1), 0, Bytes::from_static(b"x")).await.unwrap();
    f.store.remove(Ino(2)).await.unwrap();
    assert_eq!((f.store.out_of_reach_bytes(), f.store.missing_disks().len()), (0, 0));
}

/// Goal: a further disk whose file system has come up read-only is one that does not open: no start fails for it. Method:
/// either disk is so, having had files before.
#[tokio::test]
async fn a_further_disk_that_takes_no_files_is_left_out() {
    for slot in [0, 1] {
        let two = Two::new();
        two.room(0, GIB);
        two.write(1, 1).await;
        two.disks[slot].make_read_only();
        let opened = CacheStore::open_those_that_open(Two::both(&two.disks));
        match slot {
            0 => assert!(matches!(opened, Err(CacheError::Directory { .. }))),
            _ => {
                let (store, unopened) = opened.unwrap();
                assert_eq!(unopened[0].0, "second");
                assert_eq!(store.disks().len(), 1);
            }
        }
    }
}
