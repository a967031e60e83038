//! The system under test: a bucket that lives through everything, and a gateway that starts, stops and
//! dies.
//!
//! Each start of the gateway is a runtime of its own. To drop that is what a crash looks like: whatever
//! the gateway was doing ends where it waits.
use std::{
    cell::Cell,
    future::Future,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gateway::{
    budget::MemoryBudget,
    cache::{
        CacheStore, DiskAt, DiskIo, HostDisk,
        evict::{Evictor, Files, Need, Pinned},
        sim_disk::SimDisk,
    },
    catalog::{Catalog, RootAttr},
    clock::{Clock, ManualClock, Timestamp},
    fetch::Fetcher,
    ids::Ino,
    locks::InodeLocks,
    recovery,
    refresh::Refresher,
    share::{Events, Share, ShareHealth},
    store::{DegradedStore, KnownAbilities, RetryingStore, S3Bucket},
    tasks::Tasks,
    upload::{COPY_BYTES_MAX, ShareMovers, Uploader, UploaderOptions},
    vfs::{Movers, ShareMode, Verifier, Vfs, WriteBack},
};
use gateway_api::{
    Secret,
    settings::{Addressing, S3Settings, ShareSettings},
    status::{Ability, Capabilities},
};
use s3_store::{FaultAction, FaultRule, Hold, S3Store, StoreConfig};
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    ops::Disk,
    reached::{self, Reached},
    tree::Tree,
};

pub(crate) const BUCKET: &str = "bucket";
pub(crate) const PREFIX: &str = "p/";
/// Quiet time before an upload.
const UPLOAD_DELAY_MS: u64 = 2_000;
/// Long enough for a busy machine, short enough to see a case hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// What S3's side does is not in the journal: look again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A read that is repeated need not wait for a server on this machine.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// Uploads at a time.
const JOBS_MAX: usize = 4;
/// More moves of the clock to what is due next than anything takes that ends.
const MOVES_MAX: u32 = 200;

/// Whether what is waited for has come about.
type Asked<'w> = Pin<Box<dyn Future<Output = Result<bool, String>> + 'w>>;

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) fs: Arc<Vfs>,
    pub(crate) catalog: Catalog,
    pub(crate) write_back: Arc<WriteBack>,
    pub(crate) share: Arc<Share>,
    pub(crate) movers: Arc<Movers>,
    pub(crate) cache: CacheStore,
    pub(crate) events: Events,
    locks: InodeLocks,
    uploader: Uploader,
    options: UploaderOptions,
    tasks: Tasks,
    stop: CancellationToken,
    uploading: Option<JoinHandle<()>>,
    runtime: Runtime,
}

/// The bucket, the disk, the time, and the gateway.
#[derive(Debug)]
pub(crate) struct World {
    /// `None` only while one ends and another starts. Ends before what it is on.
    gateway: Option<Gateway>,
    pub(crate) s3: S3Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) stale_seconds: u32,
    dir: TempDir,
    disk: Option<SimDisk>,
    /// The cache disk besides the primary. Every other start of a gateway finds it released.
    second: Option<SimDisk>,
    crashes: u64,
    /// Whether S3 may begin uploads in parts, and not say so.
    pub(crate) has_unheard_beginnings: bool,
    starts: AtomicU64,
}

/// In memory where the machine has such a file system: syncs of the real one are not the subject here.
fn directory() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// A simulated disk that has less room the more is on it.
fn filling() -> SimDisk {
    let disk = SimDisk::default();
    disk.set_total(4 << 30);
    disk
}

fn settings(s3: &S3Store) -> S3Settings {
    S3Settings {
        endpoint: s3.endpoint(),
        region: "us-east-1".to_owned(),
        addressing: Addressing::Path,
        allow_http: true,
        access_key_id: "tidegate".to_owned(),
        secret_access_key: Secret::new("tidegate-secret"),
        ..S3Settings::default()
    }
}

impl World {
    /// An empty bucket and a gateway whose uploader does not run yet. `stale_seconds`: 0 is never.
    pub(crate) fn new(asked: Disk, stale_seconds: u32) -> Self {
        let config = StoreConfig { buckets: vec![BUCKET.to_owned()], ..StoreConfig::default() };
        let s3 = S3Store::start_blocking(config).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::new(1_800_000_000, 0)));
        let disk = match asked {
            Disk::Host => None,
            Disk::Simulated => Some(SimDisk::default()),
            Disk::TwoSimulated => Some(filling()),
        };
        let second = (asked == Disk::TwoSimulated).then(filling);
        let mut world = Self {
            s3,
            clock,
            stale_seconds,
            dir: directory(),
            disk,
            second,
            gateway: None,
            crashes: 0,
            has_unheard_beginnings: false,
            starts: 0.into(),
        };
        world.gateway = Some(world.start());
        world
    }

    /// Starts a gateway on what the disk holds.
    fn start(&self) -> Gateway {
        let disk: Arc<dyn DiskIo> = match &self.disk {
            None => Arc::new(HostDisk),
            Some(disk) => Arc::new(disk.clone()),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let _on = runtime.enter();
        let clock = || Arc::clone(&self.clock) as Arc<dyn Clock>;
        let catalog = Catalog::open(self.dir.path()).unwrap();
        let mut disks = vec![DiskAt::primary(disk, self.dir.path())];
        if let Some(second) = &self.second {
            let row = runtime.block_on(catalog.ensure_disk("second", "/second")).unwrap();
            let draining = self.starts.fetch_add(1, Ordering::Relaxed) % 2 == 1;
            let (io, dir) = (Arc::new(second.clone()) as _, "/second".into());
            disks.push(DiskAt { id: row.id, name: row.name, dir, io, draining });
        }
        let cache = CacheStore::open_all(disks).unwrap();
        let recovered = runtime.block_on(recovery::recover(&catalog, &cache, &*clock())).unwrap();
        assert!(recovered.events.is_empty(), "data lost: {:?}", recovered.events);
        let root = RootAttr { mode: 0o777, uid: 0, gid: 0, now: self.clock.now() };
        let row = runtime.block_on(catalog.ensure_share("share", BUCKET, PREFIX, root)).unwrap();
        let name: gateway_api::ShareName = "share".parse().unwrap();
        let events = Events::new(clock());
        let bucket = BUCKET.parse().unwrap();
        let store = Arc::new(S3Bucket::new(&settings(&self.s3), &bucket));
        let store = Arc::new(RetryingStore::new(store).with_first_pause(RETRY_PAUSE));
        let known = KnownAbilities::default();
        known.set(Capabilities::all(Ability::Yes));
        let share_settings = ShareSettings {
            cache_stale_timeout_seconds: self.stale_seconds,
            ..ShareSettings::new(name.clone(), bucket, PREFIX.parse().unwrap())
        };
        let share = Arc::new(Share {
            id: row.id,
            root: row.root,
            settings: share_settings,
            store: Arc::new(DegradedStore::new(store, known, PREFIX)),
            health: ShareHealth::new(name, events.clone()),
            gateway_id: "gw1".to_owned(),
            catalog: catalog.generation(),
        });
        let locks = InodeLocks::default();
        let budget = MemoryBudget::new(128 << 20);
        let tasks = Tasks::default();
        let fetcher = Fetcher::new(
            Arc::clone(&share),
            catalog.clone(),
            cache.clone(),
            locks.clone(),
            clock(),
            budget.clone(),
            tasks.clone(),
        );
        let refresher = Refresher::new(
            Arc::clone(&share),
            catalog.clone(),
            cache.clone(),
            clock(),
            tasks.clone(),
        );
        let movers = Arc::new(Movers::new(fetcher, refresher));
        let write_back = Arc::new(WriteBack::new(
            catalog.clone(),
            cache.clone(),
            locks.clone(),
            clock(),
            Verifier::random().unwrap(),
            events.clone(),
            UPLOAD_DELAY_MS,
        ));
        let source = Arc::clone(&movers) as _;
        let fs = Vfs::new(&row, Arc::clone(&write_back), source, ShareMode::ReadWrite);
        let options =
            UploaderOptions { jobs_max: JOBS_MAX, budget, copy_bytes_max: COPY_BYTES_MAX };
        let uploader =
            Uploader::new(catalog.clone(), cache.clone(), locks.clone(), clock(), options.clone());
        drop(_on);
        let gateway = Gateway {
            fs: Arc::new(fs),
            catalog,
            write_back,
            share,
            movers,
            cache,
            events,
            locks,
            uploader,
            options,
            tasks,
            stop: CancellationToken::new(),
            uploading: None,
            runtime,
        };
        gateway.wake();
        gateway
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    fn gateway_mut(&mut self) -> &mut Gateway {
        self.gateway.as_mut().unwrap()
    }

    /// Runs one call on the gateway's runtime.
    pub(crate) fn run<F: Future>(&self, call: F) -> F::Output {
        self.gateway().runtime.block_on(call)
    }

    /// An orderly stop, as `run::serve` does it, and a start.
    pub(crate) fn restart(&mut self) {
        self.stop_uploads();
        let gateway = self.gateway.take().unwrap();
        let Gateway { catalog, write_back, tasks, runtime, .. } = &gateway;
        runtime.block_on(async {
            tasks.stop().await;
            write_back.flush_all().await;
            write_back.removals_done().await;
            catalog.close().await.unwrap();
        });
        gateway.end();
        self.gateway = Some(self.start());
    }

    /// The process is gone, or the machine loses its power, and comes back.
    pub(crate) fn crash(&mut self) {
        let gateway = self.gateway.take().unwrap();
        gateway.end();
        self.let_requests_end();
        self.crashes += 1;
        if let Some(disk) = &self.disk {
            disk.cut_power(self.crashes);
        }
        if let Some(second) = &self.second {
            second.cut_power(!self.crashes);
        }
        self.gateway = Some(self.start());
    }

    /// Returns when nothing is under way in S3 that a gateway which is gone has asked for: what lands after the next
    /// start, at a key that its file has left, is no fault of that start's, and how much does is up to the machine.
    ///
    /// A connection that the server has not accepted yet counts as well: the one made here is accepted after it.
    fn let_requests_end(&self) {
        let address = self.s3.endpoint();
        let mut last = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
        last.write_all(b"GET / HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n").unwrap();
        last.read_to_end(&mut Vec::new()).unwrap();
        let given_up = Instant::now() + PATIENCE;
        while self.s3.connections() > 0 {
            assert!(Instant::now() < given_up, "requests of a gateway that is gone do not end");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Uploads in the background from here on.
    pub(crate) fn upload_beside(&mut self) {
        let gateway = self.gateway_mut();
        if gateway.uploading.is_none() {
            let running = gateway.uploader.clone().run(gateway.stop.clone());
            gateway.uploading = Some(gateway.runtime.spawn(running));
        }
    }

    /// Uploads what is due by now, as far as S3 takes it.
    pub(crate) fn upload(&mut self) -> Result<(), String> {
        self.upload_beside();
        self.until("nothing is due", |world| Box::pin(async { Ok(world.is_idle().await) }))?;
        self.stop_uploads();
        Ok(())
    }

    /// Uploads until S3 has everything, moving the clock to whatever is due next.
    pub(crate) fn drain(&mut self) -> Result<(), String> {
        self.upload_beside();
        let moves = &Cell::new(0);
        self.until("S3 has everything", |world| Box::pin(world.is_drained(moves)))?;
        self.stop_uploads();
        Ok(())
    }

    /// Uploads until S3 has been asked `requests` more times, or nothing is due.
    pub(crate) fn upload_some(&mut self, requests: u64) -> Result<(), String> {
        // Else what was written last is not due, and nothing is under way.
        self.clock.advance_millis(i64::try_from(UPLOAD_DELAY_MS).unwrap() + 1);
        let enough = self.requests() + requests;
        self.upload_beside();
        self.until("S3 is asked", move |world| {
            Box::pin(async move { Ok(world.requests() >= enough || world.is_idle().await) })
        })
    }

    /// Uploads, one thing at a time, until another request comes after `requests` of them, or nothing is due. It is held
    /// where it is not done yet, and so is whatever comes after it: all that came before is done.
    pub(crate) fn upload_held(&mut self, requests: u64) -> Result<Hold, String> {
        self.clock.advance_millis(i64::try_from(UPLOAD_DELAY_MS).unwrap() + 1);
        let hold = Hold::new();
        let rule = FaultRule::new(FaultAction::Hold(hold.clone())).key_prefix(PREFIX);
        self.s3.faults().add(rule.skip(requests).times(u64::MAX));
        self.upload_at_once(1);
        self.upload_beside();
        let is_held = hold.clone();
        self.until("a request is held", move |world| {
            let held = is_held.clone();
            Box::pin(async move {
                let held = timeout(Duration::ZERO, held.come(1)).await.is_ok();
                Ok(held || world.is_idle().await)
            })
        })?;
        Ok(hold)
    }

    /// Lets everything that is held go on, as many things at a time as ever.
    pub(crate) fn let_go(&mut self, hold: &Hold) {
        self.upload_at_once(JOBS_MAX);
        hold.open();
    }

    fn upload_at_once(&mut self, jobs: usize) {
        let gateway = self.gateway_mut();
        gateway.options.jobs_max = jobs;
        gateway.wake();
    }

    /// Uploads in parts that nobody will complete. Of one that was begun while the gateway was cut off, or whose
    /// beginning was not answered, S3 alone knows (semantics.md, "One file is one object"): it goes with its age.
    pub(crate) fn uploads_left(&self) -> u64 {
        if self.crashes > 0 || self.has_unheard_beginnings {
            let Gateway { share, catalog, .. } = self.gateway();
            let all = Timestamp::from_nanos(i64::MAX);
            self.run(gateway::upload::sweep(share, catalog, all)).unwrap();
        }
        self.s3.uploads_in_progress(BUCKET) as u64
    }

    fn requests(&self) -> u64 {
        self.s3.request_counts().values().sum()
    }

    async fn is_idle(&self) -> bool {
        let catalog = &self.gateway().catalog;
        let due = catalog.next_due().await.unwrap();
        due.is_none_or(|due| due > self.clock.now()) && catalog.jobs_out().await.unwrap() == 0
    }

    /// Whether S3 has everything. If not, moves the clock; what needs too many moves never ends.
    async fn is_drained(&self, moves: &Cell<u32>) -> Result<bool, String> {
        let catalog = &self.gateway().catalog;
        let due = catalog.next_due().await.unwrap();
        let pending = catalog.pending(None).await.unwrap();
        let out = catalog.jobs_out().await.unwrap();
        let left = pending.dirty_files + pending.pending_deletes + pending.pending_moves;
        if due.is_none() && left == 0 && out == 0 {
            return Ok(true);
        }
        if out == 0 {
            // What nobody commits is committed when it has been quiet for the upload delay.
            let due = due.unwrap_or_else(|| self.clock.now().plus_millis(UPLOAD_DELAY_MS));
            let behind = due.as_nanos() - self.clock.now().as_nanos();
            if behind > 0 {
                self.clock.advance_millis(behind / 1_000_000 + 1);
                moves.set(moves.get() + 1);
            }
            self.gateway().write_back.flush_idle().await;
            self.gateway().wake();
        }
        if moves.get() > MOVES_MAX {
            return Err(format!("something is put off for ever: {}", self.pending().await));
        }
        Ok(false)
    }

    /// What has not been uploaded, in words.
    async fn pending(&self) -> String {
        let pending = self.gateway().catalog.pending(None).await.unwrap();
        format!("{pending:?}; {:?}", self.gateway().events.list())
    }

    fn until<'w>(
        &'w self,
        what: &str,
        mut done: impl FnMut(&'w Self) -> Asked<'w>,
    ) -> Result<(), String> {
        let mut journal = self.gateway().catalog.journal_changed();
        let driven = async {
            loop {
                journal.mark_unchanged();
                if done(self).await? {
                    return Ok(());
                }
                // Either end is a reason to look again.
                timeout(LOOK_AGAIN, journal.changed()).await.ok();
            }
        };
        let gave_up = || format!("gave up waiting until {what}: {}", self.run(self.pending()));
        self.run(async { timeout(PATIENCE, driven).await }).unwrap_or_else(|_| Err(gave_up()))
    }

    /// Ends uploads wherever they are.
    fn stop_uploads(&mut self) {
        let gateway = self.gateway_mut();
        gateway.stop.cancel();
        if let Some(running) = gateway.uploading.take() {
            gateway.runtime.block_on(running).unwrap();
        }
        gateway.stop = CancellationToken::new();
    }

    /// One round of emptying the disk that is released, if one is.
    pub(crate) fn empty_released(&self) -> Result<(), String> {
        let drained = self.run(self.gateway().write_back.drain());
        drained.map(drop).map_err(|error| error.to_string())
    }

    /// Forgets the bytes of every clean file.
    pub(crate) fn evict(&self) {
        let Gateway { cache, locks, write_back, .. } = self.gateway();
        let files = Files { cache, locks, index: write_back.as_ref() };
        self.run(Evictor::default().free(files, Need::Bytes(u64::MAX), Pinned::Stay)).unwrap();
    }

    /// Lets parts of clean files leave until so many bytes are free.
    pub(crate) fn evict_some(&self, bytes: u64, tree: &Tree) {
        let Gateway { cache, catalog, locks, write_back, .. } = self.gateway();
        let files = || tree.nodes.values().filter(|node| node.file().is_some());
        let cached = |ino| self.run(catalog.ranges(ino)).unwrap().bytes();
        let before: Vec<_> = files().map(|node| (node.ino, cached(node.ino))).collect();
        let from = Files { cache, locks, index: write_back.as_ref() };
        self.run(Evictor::default().free(from, Need::Bytes(bytes), Pinned::Stay)).unwrap();
        for (ino, before) in before {
            let after = cached(ino);
            if after > 0 && after < before {
                reached::note(Reached::PartLeft, 1);
            }
        }
    }

    /// The figure that the pace of writers follows is what the catalog counts, and what each file takes besides.
    pub(crate) fn figures_agree(&self) -> Result<(), String> {
        /// The rest of its last block, and its rows.
        const BESIDES_BYTES_MAX: u64 = 4095 + 2560;
        let catalog = &self.gateway().catalog;
        // An upload beside may end in between.
        for _ in 0..100 {
            let (figure, pending) =
                (catalog.unsent_room(), self.run(catalog.pending(None)).unwrap());
            let counted = pending.dirty_bytes;
            let most = counted + pending.dirty_files * BESIDES_BYTES_MAX;
            // Of a large file that was changed in part only what differs is to be sent.
            let has_large = !self.run(catalog.largest_unsent(1)).unwrap().is_empty();
            if (counted..=most).contains(&figure) || (has_large && figure > counted) {
                return Ok(());
            }
        }
        Err("the catalog counts other bytes than its figure says".to_owned())
    }

    /// Lists a directory anew.
    pub(crate) fn refresh(&self, dir: Ino) -> Result<(), gateway::refresh::RefreshError> {
        self.run(self.gateway().movers.refresher().now(dir)).map(drop)
    }

    /// Goes on with an empty disk, as another gateway of the same bucket would begin.
    pub(crate) fn lose_disk(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.end();
        }
        self.disk = self.disk.as_ref().map(|_| SimDisk::default());
        self.second = self.second.as_ref().map(|_| filling());
        self.dir = directory();
        self.gateway = Some(self.start());
    }
}

impl Gateway {
    /// Lets the uploader look at the clock again.
    fn wake(&self) {
        let movers = ShareMovers { share: Arc::clone(&self.share) };
        self.uploader.replace(vec![movers], self.options.clone());
    }

    /// Ends every task where it waits. Within this process the catalog's writer must have ended, too,
    /// before another opens its file: whatever it was given is committed.
    fn end(self) {
        let catalog = self.catalog.clone();
        self.runtime.shutdown_timeout(PATIENCE);
        let last = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Closed already after an orderly stop.
        last.block_on(catalog.next_due()).ok();
    }
}
