//! What comes of one file by several GETs at once, and what happens while the disk has it.
use std::{path::Path, time::Duration};

use gateway_api::settings::ShareSettings;
use tempfile::TempDir;

use super::*;
use crate::{
    budget::MemoryBudget,
    cache::{CacheStore, overlay::Burst, sim_disk::SimDisk},
    catalog::{
        Catalog, ChangedObject, DurableBytes, ListDefaults, ListedEntry, ListedKind, ListedPage,
        RootAttr, WriteCommit,
    },
    clock::{ManualClock, Timestamp},
    fetch::{Fetcher, single_flight::Block},
    ids::DiskId,
    locks::{ExclusiveGuard, InodeLocks},
    object::ObjectKey,
    share::{Events, Share, ShareHealth},
    store::{Expect, MemoryStore, ObjectStore as _, PutOptions},
    sums::WrittenSums,
    tasks::Tasks,
    verified,
};

const MIB: u64 = 1 << 20;

fn arrive(arrivals: &Arrivals, object: &(Ino, ETag), at: u64) {
    let (done, _) = oneshot::channel();
    let arrived = Arrived { hull: at..at + MIB, bytes: Bytes::new(), done };
    arrivals.push(object.clone(), arrived);
}

#[test]
fn what_has_come_of_an_object_goes_together_up_to_a_bound() {
    let (arrivals, tag) = (Arrivals::default(), ETag::new("a"));
    let (object, other) = ((Ino(16), tag.clone()), (Ino(17), tag));
    (0..20).for_each(|number| arrive(&arrivals, &object, number * MIB));
    arrive(&arrivals, &other, 0);
    let starts = |taken: Vec<Arrived>| {
        taken.iter().map(|arrived| arrived.hull.start / MIB).collect::<Vec<_>>()
    };
    assert_eq!(starts(arrivals.take(&object)), (0..16).collect::<Vec<_>>());
    assert_eq!(starts(arrivals.take(&object)), (16..20).collect::<Vec<_>>());
    assert_eq!(starts(arrivals.take(&object)), Vec::<u64>::new());
    assert_eq!(starts(arrivals.take(&other)), [0]);
}

/// Two blocks that have sums.
const SIZE: u64 = 2 * sums::BLOCK_BYTES;
/// In the second of them.
const SEAM: u64 = 6000;
const ROOT: RootAttr = RootAttr { mode: 0o777, uid: 0, gid: 0, now: Timestamp::from_nanos(1) };

/// A file of which nothing is here.
struct Fixture {
    fetcher: Fetcher,
    catalog: Catalog,
    cache: CacheStore,
    locks: InodeLocks,
    disk: SimDisk,
    store: Arc<MemoryStore>,
    ino: Ino,
    bytes: Bytes,
    _dir: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        let disk = SimDisk::default();
        let cache = CacheStore::open(Arc::new(disk.clone()), Path::new("/cache")).unwrap();
        let row = catalog.ensure_share("s", "bucket", "", ROOT).await.unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::new(1000, 0)));
        let name: gateway_api::ShareName = "s".parse().unwrap();
        let settings =
            ShareSettings::new(name.clone(), "bucket".parse().unwrap(), "".parse().unwrap());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let share = Share {
            id: row.id,
            root: row.root,
            settings,
            store: store.clone(),
            health: ShareHealth::new(name, Events::new(clock.clone())),
            gateway_id: "gw".to_owned(),
            catalog: catalog.generation(),
        };
        let locks = InodeLocks::default();
        let fetcher = Fetcher::new(
            Arc::new(share),
            catalog.clone(),
            cache.clone(),
            locks.clone(),
            clock,
            MemoryBudget::new(1 << 20),
            Tasks::default(),
        );
        let ino = list(&catalog, row.root).await;
        let bytes = (0..SIZE).map(|at| u8::try_from(at % 251).unwrap()).collect();
        Self { fetcher, catalog, cache, locks, disk, store, ino, bytes, _dir: dir }
    }

    /// Puts the object, which the file is from here on; its tag.
    async fn put(&self) -> ETag {
        let (key, options) = (ObjectKey::new("f").unwrap(), PutOptions::default());
        let put = self.store.put(&key, self.bytes.clone(), &options, &Expect::Anything);
        let etag = put.await.unwrap().etag;
        let now = Timestamp::from_nanos(3);
        let is = ChangedObject { size: SIZE, etag: etag.clone(), last_modified: now, now };
        let seen = self.catalog.inode(self.ino).await.unwrap();
        assert!(self.catalog.mark_changed(&seen, is).await.unwrap());
        etag
    }

    /// Brings the bytes at `hull` of the object `etag`.
    async fn installed(&self, etag: &str, hull: Range<u64>) -> Result<(), FetchError> {
        let at = |byte: u64| usize::try_from(byte).unwrap();
        let bytes = self.bytes.slice(at(hull.start)..at(hull.end));
        self.fetcher.inner.installed(self.ino, &ETag::new(etag), hull, bytes).await
    }

    /// The two sides of the seam, both of which have come when the lock is given back.
    async fn both(&self, held: ExclusiveGuard) -> [Result<(), FetchError>; 2] {
        let (one, two) = (self.installed("e", 0..SEAM), self.installed("e", SEAM..SIZE));
        // In this order: who waits for the lock has come before it is given back.
        let (one, two, ()) = tokio::join!(biased; one, two, async { drop(held) });
        [one, two]
    }

    async fn held(&self) -> ExclusiveGuard {
        self.locks.exclusive(self.ino).await
    }

    async fn here(&self) -> Vec<Range<u64>> {
        self.catalog.ranges(self.ino).await.unwrap().iter().collect()
    }

    async fn sums(&self) -> BlockSums {
        self.catalog.sums_now(self.ino, 0..SIZE).await.unwrap().sums
    }

    /// The sum of the whole of a block.
    fn sum(&self, block: u64) -> (u64, u32) {
        let at = usize::try_from(block).unwrap() * sums::BLOCK;
        (block, sums::of_block(&self.bytes[at..at + sums::BLOCK]))
    }
}

/// Has the catalog know the file `f`, whose object is `e`.
async fn list(catalog: &Catalog, root: Ino) -> Ino {
    let now = Timestamp::from_nanos(2);
    let kind = ListedKind::File { size: SIZE, etag: ETag::new("e"), last_modified: now };
    let page = ListedPage {
        entries: vec![ListedEntry { name: "f".to_owned(), part: None, kind }],
        marker: None,
        defaults: ListDefaults { file_mode: 0o666, directory_mode: 0o777, uid: 0, gid: 0 },
        beside: str::to_owned,
        now,
    };
    let mut token = catalog.begin_listing(root).await.unwrap();
    catalog.merge_listing_page(&mut token, page).await.unwrap();
    catalog.child(root, "f").await.unwrap().unwrap().ino
}

/// A block of which one GET has brought one end and another the other has the sum of both.
#[tokio::test]
async fn two_that_share_a_block_go_together_and_it_has_its_sum() {
    let f = Fixture::new().await;
    let syncs = f.disk.syncs();
    let [one, two] = f.both(f.held().await).await;
    one.unwrap();
    two.unwrap();
    assert_eq!(f.disk.syncs() - syncs, 1, "one sync for both");
    assert_eq!(f.here().await, std::slice::from_ref(&(0..SIZE)));
    assert_eq!(f.sums().await, [f.sum(0), f.sum(1)]);
    assert_eq!(f.cache.read_at(f.ino, 0..SIZE).await.unwrap(), f.bytes);
}

/// What the disk did not take is not here, and who waits for it is told; what came with it is.
#[tokio::test]
async fn one_that_cannot_be_written_takes_no_other_along() {
    let f = Fixture::new().await;
    let held = f.held().await;
    f.disk.fail_writes(1);
    let [one, two] = f.both(held).await;
    assert!(matches!(one, Err(FetchError::Local(_))), "{one:?}");
    two.unwrap();
    assert_eq!(f.here().await, std::slice::from_ref(&(SEAM..SIZE)));
    assert_eq!(f.sums().await, [], "of half a block there is none");
    f.installed("e", 0..SEAM).await.unwrap();
    assert_eq!(f.here().await, std::slice::from_ref(&(0..SIZE)));
    assert_eq!(f.sums().await, [f.sum(0), f.sum(1)]);
}

/// Bytes of the object that was are not those of the one that took its place while they waited; nor do they keep
/// that one's from coming.
#[tokio::test]
async fn one_whose_object_has_changed_while_it_waited_leaves_nothing() {
    let f = Fixture::new().await;
    let held = f.held().await;
    let changes = async {
        let now = Timestamp::from_nanos(3);
        let etag = ETag::new("new");
        let is = ChangedObject { size: SIZE, etag, last_modified: now, now };
        let seen = f.catalog.inode(f.ino).await.unwrap();
        assert!(f.catalog.mark_changed(&seen, is).await.unwrap());
        drop(held);
    };
    let (old, ()) = tokio::join!(biased; f.installed("e", 0..SEAM), changes);
    assert!(matches!(old, Err(FetchError::Changed)), "{old:?}");
    assert_eq!((f.here().await, f.cache.occupied(f.ino).await.unwrap()), (Vec::new(), 0));
    f.installed("new", SEAM..SIZE).await.unwrap();
    assert_eq!(f.here().await, std::slice::from_ref(&(SEAM..SIZE)));
}

/// The whole file comes, and `what` happens to it while the disk syncs that; nobody has its lock then.
async fn meanwhile(f: Fixture, what: impl AsyncFnOnce(&Fixture)) -> Fixture {
    let f = Arc::new(f);
    let syncs = f.disk.hold_syncs();
    let comes = Arc::clone(&f);
    let comes = tokio::spawn(async move { comes.installed("e", 0..SIZE).await });
    let syncs = syncs.come(1).await;
    assert_eq!(f.here().await, Vec::new(), "nothing counts before it is on the disk (I1)");
    let lock = tokio::time::timeout(Duration::ZERO, f.held()).await.expect("nobody has the lock");
    what(&f).await;
    drop((lock, syncs));
    comes.await.unwrap().unwrap();
    Arc::into_inner(f).unwrap()
}

#[tokio::test]
async fn the_file_is_free_while_the_disk_works() {
    let f = meanwhile(Fixture::new().await, async |_| ()).await;
    assert_eq!(f.disk.syncs(), 1, "nothing was written twice");
    assert_eq!(f.here().await, std::slice::from_ref(&(0..SIZE)));
    assert_eq!(f.sums().await, [f.sum(0), f.sum(1)]);
}

/// Goal: who reads has the bytes when they have come, and they come to the cache all the same. Method: the disk's syncs are
/// held until they were read; who asks while they are held is given the same ones, without another GET.
#[tokio::test]
async fn who_reads_does_not_wait_for_the_disk() {
    let f = Fixture::new().await;
    f.put().await;
    let held = f.disk.hold_syncs();
    for range in [0..SIZE, 7..5000] {
        let come = f.fetcher.bring(f.ino, range.clone()).await.unwrap().expect("it has come");
        let row = f.catalog.inode(f.ino).await.unwrap();
        let at = |byte: u64| usize::try_from(byte).unwrap();
        assert_eq!(
            come.bytes_of(&row, &range),
            Some(f.bytes.slice(at(range.start)..at(range.end)))
        );
        assert_eq!(come.bytes_of(&row, &(range.start..SIZE + 1)), None, "there is no more");
        assert_eq!(f.here().await, Vec::new(), "nothing counts before it is on the disk (I1)");
        // There was one GET.
        f.store.delete(&ObjectKey::new("f").unwrap(), None).await.unwrap();
    }
    drop(held);
    f.fetcher.fetch(f.ino, 0..SIZE).await.unwrap();
    assert_eq!(f.here().await, std::slice::from_ref(&(0..SIZE)));
    assert!(f.fetcher.bring(f.ino, 0..SIZE).await.unwrap().is_none(), "it is in the cache");
}

/// Goal: a cache disk that does not take what comes is not offered what nobody waits for, and is tried again with what somebody
/// does. Method: whether somebody brings the file's first block shows.
#[tokio::test]
async fn nothing_is_fetched_ahead_into_a_cache_that_takes_nothing() {
    let f = Fixture::new().await;
    let etag = f.put().await;
    let is_coming = || {
        let block = Block { ino: f.ino, number: 0, etag: Some(etag.clone()) };
        f.fetcher.inner.flights.join(block).1.is_none()
    };
    f.disk.fail_writes(1);
    let refused = f.fetcher.fetch(f.ino, 0..SIZE).await;
    assert!(matches!(refused, Err(FetchError::Local(_))), "{refused:?}");
    f.fetcher.ahead(f.ino, 0..SIZE).await;
    assert!(!is_coming());
    f.fetcher.fetch(f.ino, 0..SIZE).await.unwrap();
    f.cache.remove(f.ino).await.unwrap();
    f.catalog.drop_ranges(f.ino).await.unwrap();
    let held = f.held().await;
    f.fetcher.ahead(f.ino, 0..SIZE).await;
    assert!(is_coming(), "it takes bytes again");
    drop(held);
}

/// What was evicted, or cut off, between the write and the sync is not there.
#[tokio::test]
async fn what_leaves_the_disk_meanwhile_is_written_again() {
    for way in ["a part", "the whole file", "its end"] {
        let f = meanwhile(Fixture::new().await, async |f| {
            let left = match way {
                "a part" => f.cache.punch(f.ino, 0..sums::BLOCK_BYTES).await,
                "the whole file" => f.cache.take_off(f.ino).await,
                _ => f.cache.cut(f.ino, SEAM).await,
            };
            left.unwrap();
        })
        .await;
        assert_eq!(f.here().await, std::slice::from_ref(&(0..SIZE)));
        assert_eq!(f.cache.read_at(f.ino, 0..SIZE).await.unwrap(), f.bytes);
    }
}

/// A burst that is open when the object's bytes are written may be committed before they are counted: what it has
/// written keeps its sums, and so does the block that it makes longer.
#[tokio::test]
async fn what_is_committed_meanwhile_of_an_open_burst_stays_with_its_sums() {
    let f = Fixture::new().await;
    let now = Timestamp::from_nanos(5);
    let begun = f.catalog.begin_write(f.ino, now).await.unwrap();
    let behind = SIZE..SIZE + 4;
    let burst = || Burst::Noted(begun.version);
    let write = f.cache.overlay().begin(f.ino, burst(), SIZE, &behind);
    f.cache.write_at(f.ino, SIZE, Bytes::from_static(b"more")).await.unwrap();
    let end = |begun, range: &Range<u64>, known: &WrittenSums| {
        f.cache.overlay().wrote(f.ino, begun, (range, known), now, false).unwrap();
    };
    end(write, &behind, &WrittenSums::of(SIZE, b"more"));
    let new = vec![7; sums::BLOCK];
    let (version, bytes) = (begun.version, Bytes::from(new.clone()));
    let f = meanwhile(f, async |f| {
        let overlay = f.cache.overlay();
        let range = 0..sums::BLOCK_BYTES;
        let write = overlay.join(f.ino, &range).unwrap();
        f.cache.write_at(f.ino, 0, bytes).await.unwrap();
        let known = WrittenSums::of(0, &new);
        overlay.wrote(f.ino, write, (&range, &known), now, false).unwrap();
        let taken = overlay.take(f.ino).unwrap();
        assert!(overlay.close(f.ino, &taken).is_some());
        let commit = WriteCommit {
            noted: Some(version),
            size: taken.size,
            mtime: now,
            clear_set_id: false,
            ranges: taken.ranges.iter().collect(),
            sums: known.whole,
            disk: DiskId::PRIMARY,
            bytes: DurableBytes::Synced(None),
            closes: true,
            due: now,
        };
        f.catalog.commit_write(f.ino, commit).await.unwrap();
        overlay.committed(f.ino, &taken);
    })
    .await;
    let size = SIZE + 4;
    assert_eq!(f.here().await, std::slice::from_ref(&(0..size)));
    let known = f.catalog.sums_now(f.ino, 0..size).await.unwrap().sums;
    assert!(known.iter().any(|(block, _)| *block == 0), "what was written has its sum");
    let found = verified::read(&f.cache, f.ino, 0..size, size, known).await.unwrap();
    assert_eq!(found.damaged, Vec::<u64>::new());
    assert_eq!(
        (&found.bytes[..4], &found.bytes[found.bytes.len() - 4..]),
        (&[7; 4][..], &b"more"[..])
    );
}

/// Bytes that a client writes between the write and the sync are newer than the object, and have no sum of it.
#[tokio::test]
async fn what_is_written_meanwhile_stays_and_is_none_of_the_object() {
    let f = meanwhile(Fixture::new().await, async |f| {
        let written = 0..3;
        let burst = Burst::Held(Arc::new(()));
        let begun = f.cache.overlay().begin(f.ino, burst, SIZE, &written);
        f.cache.write_at(f.ino, 0, Bytes::from_static(b"new")).await.unwrap();
        let (sums, now) = (WrittenSums::default(), Timestamp::new(1001, 0));
        f.cache.overlay().wrote(f.ino, begun, (&written, &sums), now, false).unwrap();
    })
    .await;
    assert_eq!(f.here().await, std::slice::from_ref(&(3..SIZE)));
    assert_eq!(f.cache.read_at(f.ino, 0..3).await.unwrap(), "new");
    assert_eq!(f.sums().await, [f.sum(1)]);
}
