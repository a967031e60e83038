//! The file system over the real catalog, a simulated disk and a source that is a map of objects.
mod come;
mod damage;
mod data;
mod evicting;
mod failing_catalog;
mod lost_bytes;
mod metered;
mod names_and_rights;
mod pinning;
mod repeated;
mod side_by_side;
mod small;
mod tiny_disk;
mod two_disks;

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::{
    cache::{
        CacheStore, DiskAt,
        sim_disk::{Held, SimDisk},
    },
    catalog::{
        Catalog, Inode, Job, ListDefaults, ListedEntry, ListedKind, ListedPage, RootAttr, ShareRow,
    },
    clock::{Clock, ManualClock},
    fetch::Come,
    locks::InodeLocks,
    object::ETag,
    ranges::RangeSet,
    share::Events,
    sums::{self, BlockSums, WrittenSums},
};

pub(super) const DELAY_MS: u64 = 2000;

/// S3 as a map from ino to bytes; says no while `down`.
#[derive(Debug)]
pub(super) struct FakeSource {
    catalog: Catalog,
    cache: CacheStore,
    locks: InodeLocks,
    pub(super) objects: Mutex<HashMap<Ino, Vec<u8>>>,
    pub(super) down: AtomicBool,
    /// So many of the next fetches are put off.
    pub(super) put_off: AtomicU64,
    /// Fetches asked for.
    pub(super) asked: AtomicU64,
    pub(super) fetched: AtomicU64,
    pub(super) read_on: Mutex<Vec<Range<u64>>>,
    /// What the next reader gets before it is in the cache.
    pub(super) comes: Mutex<Option<come::Comes>>,
}

impl FakeSource {
    fn check(&self) -> Result<(), FsError> {
        if self.down.load(Ordering::SeqCst) { Err(FsError::TryLater) } else { Ok(()) }
    }

    /// The sums of the blocks that `filled` has made whole, of what the disk has.
    async fn sums(
        &self,
        row: &Inode,
        present: &RangeSet,
        filled: &[Range<u64>],
    ) -> Result<BlockSums, FsError> {
        let mut whole: BlockSums =
            filled.iter().flat_map(sums::blocks).map(|block| (block, sums::UNKNOWN)).collect();
        whole.dedup();
        whole.retain(|(block, _)| present.covers(&sums::bytes_of(*block, row.size)));
        // What is written and not committed gets its sum with its commit.
        let written = self.cache.overlay().touched(row.ino, &whole);
        let whole = whole.into_iter().map(|(block, _)| block).filter(|b| !written.contains(b));
        Ok(self.cache.sums_of(row.ino, whole.collect(), row.size).await?)
    }
}

#[async_trait]
impl Source for FakeSource {
    async fn fetch(&self, ino: Ino, range: Range<u64>) -> Result<(), FsError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.check()?;
        let left = |left: u64| left.checked_sub(1);
        if self.put_off.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            return Err(FsError::TryLater);
        }
        let held = self.locks.exclusive(ino).await;
        let (row, ranges) = self.catalog.inode_and_ranges(ino).await?;
        let mut present = Arc::unwrap_or_clone(ranges);
        present.extend(&self.cache.overlay().ranges(ino));
        let missing = present.missing(range);
        if missing.is_empty() {
            // It was committed since it was asked for.
            return Ok(());
        }
        for gap in &missing {
            let bytes = self.objects.lock().unwrap()[&ino]
                [usize::try_from(gap.start).unwrap()..usize::try_from(gap.end).unwrap()]
                .to_vec();
            self.fetched.fetch_add(gap.end - gap.start, Ordering::SeqCst);
            self.cache.write_at(ino, gap.start, Bytes::from(bytes)).await?;
            present.insert(gap.clone());
        }
        drop(held);
        self.cache.sync(ino).await?;
        let etag = row.etag.as_ref().ok_or(FsError::Io)?;
        let disk = self.cache.disk_of(ino).await?.id();
        let _held = self.locks.exclusive(ino).await;
        let sums = self.sums(&row, &present, &missing).await?;
        self.catalog.add_clean_ranges(ino, etag, disk, missing, sums).await?;
        Ok(())
    }

    async fn bring(&self, ino: Ino, range: Range<u64>) -> Result<Option<Come>, FsError> {
        let comes = self.comes.lock().unwrap().take();
        match comes {
            Some(comes) => Ok(Some(comes.in_time().await)),
            None => self.fetch(ino, range).await.map(|()| None),
        }
    }

    fn read_on(&self, _ino: Ino, range: &Range<u64>) {
        self.read_on.lock().unwrap().push(range.clone());
    }

    async fn refresh_dir(&self, dir: Ino) -> Result<(), FsError> {
        let known = self.catalog.inode(dir).await?.listed_at.is_some();
        if known { Ok(()) } else { self.check() }
    }

    async fn load_attr(&self, ino: Ino) -> Result<(), FsError> {
        self.check()?;
        let row = self.catalog.inode(ino).await?;
        let attr = crate::catalog::HeadAttr {
            mode: Some(0o640),
            uid: Some(1000),
            gid: Some(1000),
            atime: row.atime,
            mtime: row.mtime,
            defaults: DEFAULTS,
        };
        let object = row.etag.clone().map(|etag| (etag.into(), attr));
        self.catalog.apply_head(ino, object).await?;
        Ok(())
    }

    async fn list_subtree(&self, _dir: Ino) -> Result<(), FsError> {
        self.check()
    }
}

/// Attributes of what nothing is told of.
const DEFAULTS: ListDefaults =
    ListDefaults { file_mode: 0o666, directory_mode: 0o777, uid: 65534, gid: 65534 };

pub(super) struct Fixture {
    pub(super) fs: Vfs,
    pub(super) source: Arc<FakeSource>,
    pub(super) shared: Arc<WriteBack>,
    pub(super) catalog: Catalog,
    pub(super) clock: Arc<ManualClock>,
    pub(super) disk: SimDisk,
    /// Besides that one.
    second: Option<SimDisk>,
    pub(super) events: Events,
    share: ShareRow,
    dir: TempDir,
}

/// Waits until a sync has come to the disk, and drives `call`, which waits for it.
async fn until_it_syncs<T: std::fmt::Debug>(
    held: Held,
    call: &mut (impl Future<Output = T> + Unpin),
) -> Held {
    tokio::select! {
        biased;
        done = call => panic!("its sync is held: {done:?}"),
        held = held.come(1) => held,
    }
}

pub(super) fn user(uid: u32) -> RequestContext {
    RequestContext {
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 900)),
        credentials: Credentials { uid, gid: uid, groups: vec![50] },
        request: None,
    }
}

pub(super) fn owner() -> RequestContext {
    user(1000)
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::new(1000, 0)));
        Self::start(dir, (SimDisk::default(), None), clock).await
    }

    /// On these two disks.
    pub(super) async fn on_two(first: SimDisk, second: SimDisk) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::new(1000, 0)));
        Self::start(dir, (first, Some(second)), clock).await
    }

    async fn start(
        dir: TempDir,
        (disk, second): (SimDisk, Option<SimDisk>),
        clock: Arc<ManualClock>,
    ) -> Self {
        let catalog = Catalog::open(dir.path()).unwrap();
        let mut disks = vec![DiskAt::primary(Arc::new(disk.clone()), Path::new("/cache"))];
        if let Some(second) = second.clone() {
            let row = catalog.ensure_disk("second", "/second").await.unwrap();
            let (id, name, draining) = (row.id, row.name, row.draining);
            disks.push(DiskAt { id, name, dir: "/second".into(), io: Arc::new(second), draining });
        }
        let cache = CacheStore::open_all(disks).unwrap();
        start::restore_carried::<FsError>(&catalog, &cache).await.unwrap();
        catalog.recover_journal(clock.now()).await.unwrap();
        start::remove_unused::<FsError>(&catalog, &cache).await.unwrap();
        let root = RootAttr { mode: 0o777, uid: 0, gid: 0, now: clock.now() };
        let share = catalog.ensure_share("s", "bucket", "", root).await.unwrap();
        let locks = InodeLocks::default();
        let source = Arc::new(FakeSource {
            catalog: catalog.clone(),
            cache: cache.clone(),
            locks: locks.clone(),
            objects: Mutex::default(),
            down: AtomicBool::new(false),
            put_off: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            read_on: Mutex::default(),
            comes: Mutex::default(),
        });
        let events = Events::new(clock.clone());
        let shared = Arc::new(WriteBack::new(
            catalog.clone(),
            cache,
            locks,
            clock.clone(),
            Verifier::random().unwrap(),
            events.clone(),
            DELAY_MS,
        ));
        let fs = Vfs::new(&share, shared.clone(), source.clone(), ShareMode::ReadWrite);
        Self { fs, source, shared, catalog, clock, disk, second, events, share, dir }
    }

    /// The machine loses its power: the process is gone, the disks forget what was not synced.
    pub(super) async fn power_cut(self, seed: u64) -> Self {
        let second = self.second.clone();
        self.power_cut_and_on(seed, second).await
    }

    /// The same; it comes back with this second disk, or without one.
    pub(super) async fn power_cut_and_on(self, seed: u64, attached: Option<SimDisk>) -> Self {
        let Self { fs, source, shared, catalog, clock, disk, second, events: _, share: _, dir } =
            self;
        drop((fs, source, shared, catalog));
        disk.cut_power(seed);
        second.iter().for_each(|second| second.cut_power(!seed));
        Self::start(dir, (disk, attached), clock).await
    }

    pub(super) fn root(&self) -> Ino {
        self.share.root
    }

    pub(super) async fn create(&self, name: &str) -> Ino {
        let how = CreateHow::Guarded(SetAttr { mode: Some(0o644), ..SetAttr::default() });
        self.fs.create(&owner(), self.root(), name.as_bytes(), how).await.unwrap().attr.ino
    }

    pub(super) async fn write(&self, ino: Ino, at: u64, bytes: &[u8], how: Stability) -> Written {
        let data = Bytes::copy_from_slice(bytes);
        self.fs.write(&owner(), ino, at, data, how).await.unwrap()
    }

    pub(super) async fn content(&self, ino: Ino) -> Vec<u8> {
        let read = self.fs.read(&owner(), ino, 0, 1 << 20).await.unwrap();
        assert!(read.eof);
        read.data.to_vec()
    }

    /// Puts an object into the bucket and lists it.
    pub(super) async fn object(&self, name: &str, bytes: &[u8]) -> Ino {
        let mut token = self.catalog.begin_listing(self.root()).await.unwrap();
        let kind = ListedKind::File {
            size: bytes.len() as u64,
            etag: ETag::new(format!("{name}-{}", bytes.len())),
            last_modified: self.clock.now(),
        };
        let page = ListedPage {
            entries: vec![ListedEntry { name: name.to_owned(), part: None, kind }],
            marker: None,
            defaults: DEFAULTS,
            beside: str::to_owned,
            now: self.clock.now(),
        };
        self.catalog.merge_listing_page(&mut token, page).await.unwrap();
        drop(token);
        let ino = self.catalog.child(self.root(), name).await.unwrap().unwrap().ino;
        self.source.objects.lock().unwrap().insert(ino, bytes.to_vec());
        ino
    }

    /// Uploads everything: what is dirty becomes clean.
    pub(super) async fn upload_all(&self) {
        let now = self.clock.now().plus_millis(10 * DELAY_MS);
        for job in self.catalog.claim_jobs(now, 100).await.unwrap() {
            match job {
                Job::Sync(job) => {
                    let etag = ETag::new(format!("up{}", job.op.0));
                    let (op, version) = (job.op, job.inode.version);
                    self.catalog.finish_sync(op, version, &job.key, &etag, now).await.unwrap();
                    let ranges = self.catalog.ranges(job.inode.ino).await.unwrap();
                    self.shared.cache.note_clean(job.inode.ino, &ranges);
                }
                other => self.catalog.finish_delete(other.op()).await.unwrap(),
            }
        }
    }
}
