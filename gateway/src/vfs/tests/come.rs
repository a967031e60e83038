//! READs that are answered with what has come from S3 and is not in the cache yet.
use gateway_api::settings::ShareSettings;
use tokio::sync::oneshot;

use super::*;
use crate::{
    budget::MemoryBudget,
    catalog::ChangedObject,
    fetch::Fetcher,
    object::ObjectKey,
    refresh::Refresher,
    share::{Share, ShareHealth},
    store::{Expect, MemoryStore, ObjectStore as _, PutOptions},
    tasks::Tasks,
};

/// Bytes that come when the test says so.
#[derive(Debug)]
pub(in crate::vfs) struct Comes {
    come: Come,
    asked: oneshot::Sender<()>,
    may_come: oneshot::Receiver<()>,
}

impl Comes {
    pub(in crate::vfs) async fn in_time(self) -> Come {
        self.asked.send(()).unwrap();
        self.may_come.await.unwrap();
        self.come
    }
}

const OBJECT: &[u8] = b"0123456789";

/// Reads a file whose object's bytes come when `what` has happened to it; answers what was read, and whether it had to be
/// fetched into the cache.
async fn read_while(what: impl AsyncFnOnce(&Fixture, Ino)) -> (Vec<u8>, bool) {
    let f = Fixture::new().await;
    let file = f.object("o", OBJECT).await;
    f.fs.getattr(&owner(), file).await.unwrap();
    let (asked, is_asked) = oneshot::channel();
    let (go, may_come) = oneshot::channel();
    let etag = f.catalog.inode(file).await.unwrap().etag.clone().unwrap();
    let come = Come::all(&etag, 0, Bytes::from_static(OBJECT));
    *f.source.comes.lock().unwrap() = Some(Comes { come, asked, may_come });
    let happens = async {
        is_asked.await.unwrap();
        what(&f, file).await;
        go.send(()).unwrap();
    };
    let (read, ()) = tokio::join!(f.content(file), happens);
    (read, f.source.fetched.load(Ordering::SeqCst) > 0)
}

/// Goal: who reads what has come does not wait until the disk has it.
#[tokio::test]
async fn what_has_come_is_read_before_it_is_in_the_cache() {
    assert_eq!(read_while(async |_, _| ()).await, (OBJECT.to_vec(), false));
}

impl Fixture {
    /// The share on this store.
    pub(super) fn on(&self, store: Arc<MemoryStore>) -> Arc<Share> {
        let name: gateway_api::ShareName = "s".parse().unwrap();
        let bucket = "bucket".parse().unwrap();
        Arc::new(Share {
            id: self.share.id,
            root: self.share.root,
            settings: ShareSettings::new(name.clone(), bucket, "".parse().unwrap()),
            store,
            health: ShareHealth::new(name, self.events.clone()),
            gateway_id: "gw".to_owned(),
            catalog: self.catalog.generation(),
        })
    }
}

/// Goal: the same with the real movers. Method: the disk's syncs are held until the file was read.
#[tokio::test]
async fn a_read_does_not_wait_for_the_disk() {
    let f = Fixture::new().await;
    let file = f.object("o", OBJECT).await;
    let store = Arc::new(MemoryStore::new(f.clock.clone()));
    let (key, plain) = (ObjectKey::new("o").unwrap(), PutOptions::default());
    let body = Bytes::from_static(OBJECT);
    let stored = store.put(&key, body, &plain, &Expect::Anything).await.unwrap();
    let (now, known) = (f.clock.now(), f.catalog.inode(file).await.unwrap());
    let is = ChangedObject { size: 10, etag: stored.etag, last_modified: now, now };
    assert!(f.catalog.mark_changed(&known, is).await.unwrap());
    let share = f.on(store);
    let (catalog, cache, tasks) = (&f.catalog, &f.shared.cache, Tasks::default());
    let (locks, budget) = (f.shared.locks.clone(), MemoryBudget::new(1 << 20));
    let fetcher = Fetcher::new(
        Arc::clone(&share),
        catalog.clone(),
        cache.clone(),
        locks,
        f.clock.clone(),
        budget,
        tasks.clone(),
    );
    let refresher = Refresher::new(share, catalog.clone(), cache.clone(), f.clock.clone(), tasks);
    let movers = Arc::new(Movers::new(fetcher.clone(), refresher));
    let fs = Vfs::new(&f.share, f.shared.clone(), movers, ShareMode::ReadWrite);
    let held = f.disk.hold_syncs();
    let read = fs.read(&owner(), file, 0, 100).await.unwrap();
    assert_eq!((read.data, read.eof, read.attr.size), (Bytes::from_static(OBJECT), true, 10));
    assert!(catalog.ranges(file).await.unwrap().is_empty(), "it is not on the disk yet (I1)");
    drop(held);
    fetcher.fetch(file, 0..10).await.unwrap();
    assert_eq!(catalog.ranges(file).await.unwrap().bytes(), 10);
}

/// Goal: bytes of the object are not given for the file's where that is another one by then (R1): with something written
/// to it, committed or not, cut, extended, or with another object's.
#[tokio::test]
async fn what_has_come_is_not_read_for_a_file_that_has_changed() {
    for how in [Stability::Unstable, Stability::FileSync] {
        let write = async |f: &Fixture, file| {
            f.write(file, 3, b"xyz", how).await;
        };
        let written = read_while(write).await;
        assert_eq!(written, (b"012xyz6789".to_vec(), true), "{how:?}");
    }
    for (size, expected) in [(4, b"0123".as_slice()), (12, b"0123456789\0\0")] {
        let cut = async |f: &Fixture, file| {
            let set = SetAttr { size: Some(size), ..SetAttr::default() };
            f.fs.setattr(&owner(), file, set, None).await.unwrap();
        };
        assert_eq!(read_while(cut).await.0, expected, "{size}");
    }
    let cut_and_extended = async |f: &Fixture, file| {
        for size in [4, 10] {
            let set = SetAttr { size: Some(size), ..SetAttr::default() };
            f.fs.setattr(&owner(), file, set, None).await.unwrap();
        }
    };
    assert_eq!(read_while(cut_and_extended).await.0, b"0123\0\0\0\0\0\0");
    let replaced = async |f: &Fixture, _| {
        f.object("o", b"another").await;
    };
    let other = read_while(replaced).await;
    assert_eq!(other, (b"another".to_vec(), true));
    let sent = async |f: &Fixture, file| {
        f.write(file, 0, b"newer", Stability::FileSync).await;
        f.source.objects.lock().unwrap().insert(file, b"newer56789".to_vec());
        f.upload_all().await;
    };
    assert_eq!(read_while(sent).await.0, b"newer56789", "clean, and another object");
}
