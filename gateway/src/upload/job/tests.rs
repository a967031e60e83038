//! What jobs tell the scheduler, against a bucket in memory.
use bytes::Bytes;
use gateway_api::settings::ShareSettings;
use tempfile::TempDir;

use super::*;
use crate::{
    cache::HostDisk,
    catalog::{DurableBytes, NewInode, NewKind, RootAttr, Stamp, WriteCommit},
    clock::{ManualClock, Timestamp},
    ids::{DiskId, Ino},
    share::{Events, ShareHealth},
    store::{
        FaultStore, MemoryStore, StoreOp,
        fault::{Fault, FaultRule},
    },
    upload::places::Places,
};

/// Four parts of an upload, and a little.
const SIZE: u64 = (64 << 20) + 5;

pub(in crate::upload) struct Fixture {
    _dir: TempDir,
    pub(in crate::upload) tools: Tools,
    faults: FaultStore,
    root: Ino,
}

impl Fixture {
    pub(in crate::upload) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::new(1_800_000_000, 0)));
        let catalog = Catalog::open(dir.path()).unwrap();
        let cache = CacheStore::open(Arc::new(HostDisk), dir.path()).unwrap();
        let attr = RootAttr { mode: 0o777, uid: 0, gid: 0, now: clock.now() };
        let row = catalog.ensure_share("share", "bucket", "p/", attr).await.unwrap();
        let faults = FaultStore::new(Arc::new(MemoryStore::new(Arc::clone(&clock) as _)));
        let name: gateway_api::ShareName = "share".parse().unwrap();
        let events = Events::new(Arc::clone(&clock) as _);
        let settings =
            ShareSettings::new(name.clone(), "bucket".parse().unwrap(), "p/".parse().unwrap());
        let share = Arc::new(Share {
            id: row.id,
            root: row.root,
            settings,
            store: Arc::new(faults.clone()),
            health: ShareHealth::new(name, events),
            gateway_id: "gw1".to_owned(),
            catalog: catalog.generation(),
        });
        let tools = Tools {
            share,
            catalog,
            cache,
            locks: InodeLocks::default(),
            clock,
            budget: MemoryBudget::new(128 << 20),
            copy_bytes_max: super::super::COPY_BYTES_MAX,
            sent: Arc::default(),
            ahead: Arc::default(),
            taken: Arc::default(),
            is_turn: false,
            bursts: None,
            stranded: Arc::default(),
            claimed: Arc::default(),
            place: Held::default(),
        };
        Self { _dir: dir, tools, faults, root: row.root }
    }

    /// A file without bytes, which is due.
    pub(in crate::upload) async fn empty(&self, name: &str) -> Ino {
        let now = self.tools.clock.now();
        let new = NewInode {
            parent: self.root,
            name: name.to_owned(),
            kind: NewKind::File { verifier: None },
            mode: 0o640,
            uid: 0,
            gid: 0,
            atime: now,
            mtime: now,
        };
        let stamp = Stamp { now, due: now, request: None };
        self.tools.catalog.create(new, stamp).await.unwrap().inode.ino
    }

    /// A file of [`SIZE`] bytes, committed; its burst is open unless it `closes`.
    async fn file(&self, closes: bool) -> Ino {
        let now = self.tools.clock.now();
        let (catalog, cache) = (&self.tools.catalog, &self.tools.cache);
        let ino = self.empty("f").await;
        let begun = catalog.begin_write(ino, now).await.unwrap();
        let body = vec![7; usize::try_from(SIZE).unwrap()];
        cache.write_at(ino, 0, Bytes::from(body)).await.unwrap();
        cache.sync(ino).await.unwrap();
        let commit = WriteCommit {
            noted: Some(begun.version),
            size: SIZE,
            mtime: now,
            clear_set_id: false,
            ranges: std::iter::once(0..SIZE).collect(),
            sums: Vec::new(),
            disk: DiskId::PRIMARY,
            bytes: DurableBytes::Synced(None),
            closes,
            due: now,
        };
        catalog.commit_write(ino, commit).await.unwrap();
        ino
    }

    /// What is due, which is one job.
    async fn claimed(&self) -> Job {
        let mut jobs = self.tools.catalog.claim_jobs(self.tools.clock.now(), 4).await.unwrap();
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        jobs.remove(0)
    }

    async fn run(&self) -> Ended {
        self.tools.run(self.claimed().await).await
    }
}

#[tokio::test]
async fn what_goes_ahead_counts_with_its_bytes_and_when_it_is_put_off() {
    let f = Fixture::new().await;
    let ino = f.file(false).await;
    let slow = Fault::FailBefore(StoreErrorKind::Throttled);
    f.faults.add(FaultRule::new(slow).on(StoreOp::UploadPart).nth(2));
    assert!(f.tools.catalog.offer_early(ino).await.unwrap());
    let ended = f.run().await;
    assert!(ended.throttled && ended.bytes < SIZE, "{ended:?}");
    f.tools.sent.store(0, Ordering::Relaxed);
    assert!(f.tools.catalog.offer_early(ino).await.unwrap());
    let rest = f.run().await;
    assert!(!rest.throttled);
    assert_eq!(ended.bytes + rest.bytes, 64 << 20, "four parts, each once");
}

/// Goal: that nothing may be deleted keeps no upload waiting, and the other way round.
#[tokio::test]
async fn a_denied_deletion_blocks_deletions_alone() {
    let f = Fixture::new().await;
    let denied = Fault::FailBefore(StoreErrorKind::Denied);
    f.faults.add(FaultRule::new(denied).on(StoreOp::AbortMultipartUpload).times(2));
    let (op, share) = (OpId(1 << 40), f.tools.share.id);
    let key = ObjectKey::new("p/old".to_owned()).unwrap();
    let abort = Job::Abort { op, share, key, upload_id: "u".to_owned(), attempts: 0 };
    f.tools.run(abort.clone()).await;
    f.tools.run(abort).await;
    assert_eq!(f.faults.happened(), 1, "it is left alone");
    f.file(true).await;
    assert_eq!(f.run().await, Ended { bytes: SIZE, throttled: false });
}

#[tokio::test]
async fn a_job_counts_for_the_bytes_that_the_store_took_whatever_became_of_it() {
    let f = Fixture::new().await;
    f.file(true).await;
    let slow = Fault::FailBefore(StoreErrorKind::Throttled);
    f.faults.add(FaultRule::new(slow).on(StoreOp::CompleteMultipartUpload));
    assert_eq!(f.run().await, Ended { bytes: SIZE, throttled: true });
}

/// Goal: the next upload begins when S3 has this one, and does not wait until that is noted. Method: a publish that
/// cannot be noted, as nobody has claimed it by then.
#[tokio::test]
async fn a_job_leaves_its_place_when_s3_has_its_object() {
    let f = Fixture::new().await;
    f.empty("f").await;
    let places = Places::default();
    places.allow(1);
    f.tools.place.take(places.take().unwrap());
    let mut next = places.take().unwrap_err();
    let job = f.claimed().await;
    let op = job.op();
    f.tools.catalog.free_claims(vec![op]).await.unwrap();
    f.tools.run(job).await;
    let failing = f.tools.catalog.failing(None, None, 9).await.unwrap();
    assert_eq!(failing.len(), 1, "that it is in S3 was not noted");
    assert!(next.try_recv().is_ok());
}
