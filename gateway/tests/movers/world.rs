//! A gateway's movers, a bucket, and other clients of the bucket.
#[path = "world/mounts.rs"]
mod mounts;

use std::{ops::Range, os::unix::fs::FileExt, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use gateway::{
    budget::MemoryBudget,
    cache::{CacheStore, DiskAt, HostDisk, small_disk::SmallDisk},
    catalog::{
        AttrChange, Catalog, DurableBytes, Inode, NewInode, NewKind, RemoveKind, RenameSpec,
        RootAttr, Stamp, WriteCommit,
    },
    clock::{Clock, ManualClock, Timestamp},
    fetch::Fetcher,
    ids::Ino,
    locks::InodeLocks,
    recovery,
    refresh::Refresher,
    share::{Events, Share, ShareHealth},
    store::{DegradedStore, FaultStore, KnownAbilities, ObjectStore, RetryingStore, S3Bucket},
    sums::WrittenSums,
    tasks::Tasks,
    upload::{COPY_BYTES_MAX, ShareMovers, Uploader, UploaderOptions},
};
use gateway_api::{
    Secret,
    settings::{Addressing, S3Settings, ShareSettings},
    status::{Ability, Capabilities, HealthEvent, HealthEventKind},
};
use s3_store::{S3Store, StoreConfig, StoredObject};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const BUCKET: &str = "bucket";
/// A cache disk of tests is full soon enough to give others a turn.
const DISK_BYTES: u64 = 1 << 30;
/// Long enough for a busy machine, short enough to see a test hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A read that is repeated need not wait for a server on this machine.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// The settings for a running store.
pub(crate) fn s3_settings(s3: &S3Store) -> S3Settings {
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

/// In memory where the machine has such a file system: syncs of the real one are not the subject here.
pub(crate) fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// The way from the gateway to its bucket.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) bucket: S3Bucket,
    /// What the bucket was found to do, of a server that is not quite S3.
    pub(crate) known: Option<KnownAbilities>,
}

impl Line {
    /// To the embedded server.
    pub(crate) fn to(s3: &S3Store) -> Self {
        Self { bucket: S3Bucket::new(&s3_settings(s3), &BUCKET.parse().unwrap()), known: None }
    }
}

/// What becomes of the clock while a test waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    Moves,
    Stands,
}

/// What a share has between itself and the bucket.
fn store(faults: &FaultStore, known: &KnownAbilities) -> Arc<dyn ObjectStore> {
    let retrying = RetryingStore::new(Arc::new(faults.clone())).with_first_pause(RETRY_PAUSE);
    Arc::new(DegradedStore::new(Arc::new(retrying), known.clone(), "p/"))
}

/// A cache disk besides the primary.
#[derive(Debug)]
struct ExtraDisk {
    name: String,
    dir: TempDir,
}

pub(crate) struct World {
    /// The embedded server. Asked by nobody where the line leads to another.
    pub(crate) s3: Arc<S3Store>,
    pub(crate) line: Line,
    pub(crate) dir: Arc<TempDir>,
    /// The cache disks that are attached, besides that one.
    disks: Vec<Arc<ExtraDisk>>,
    /// What the start has found.
    pub(crate) found: Vec<HealthEvent>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) catalog: Catalog,
    pub(crate) cache: CacheStore,
    /// Between the gateway and the server.
    pub(crate) faults: FaultStore,
    /// What the gateway knows of the server.
    pub(crate) known: KnownAbilities,
    pub(crate) share: Arc<Share>,
    pub(crate) events: Events,
    pub(crate) locks: InodeLocks,
    pub(crate) tasks: Tasks,
    pub(crate) fetcher: Fetcher,
    pub(crate) refresher: Refresher,
    uploader: Uploader,
    pub(crate) budget: MemoryBudget,
    options: UploaderOptions,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
}

impl World {
    /// An empty bucket and a gateway whose uploader runs.
    pub(crate) async fn new() -> Self {
        Self::with_line(None).await
    }

    /// The same with a bucket elsewhere.
    pub(crate) async fn on(line: Line) -> Self {
        Self::with_line(Some(line)).await
    }

    /// The same with a bucket that keeps old versions of its objects.
    pub(crate) async fn versioned() -> Self {
        let w = Self::new().await;
        w.s3.keep_versions(BUCKET);
        w
    }

    async fn with_line(line: Option<Line>) -> Self {
        let config = StoreConfig { buckets: vec![BUCKET.to_owned()], ..StoreConfig::default() };
        let s3 = Arc::new(S3Store::start(config).await.unwrap());
        let line = line.unwrap_or_else(|| Line::to(&s3));
        let clock = Arc::new(ManualClock::new(Timestamp::new(1_800_000_000, 0)));
        let mut world = Self::open(s3, line, Arc::new(directory()), clock).await;
        world.start();
        world
    }

    /// A gateway on several small disks, of which these have names. Its uploader runs.
    pub(crate) async fn with_disks(names: &[&str]) -> Self {
        let mut world = Self::new().await;
        world.halt().await;
        for name in names {
            let dir = TempDir::new().unwrap();
            world.disks.push(Arc::new(ExtraDisk { name: (*name).to_owned(), dir }));
        }
        let mut world = world.restart_with(names).await;
        world.start();
        world
    }

    /// Ends this process and starts another with these of the disks attached.
    pub(crate) async fn restart_with(mut self, names: &[&str]) -> Self {
        self.halt().await;
        self.catalog.close().await.unwrap();
        self.reopen(Some(names)).await
    }

    /// Starts another process on the same directories, with these of the disks or all attached.
    async fn reopen(self, names: Option<&[&str]>) -> Self {
        let (s3, dir, clock) =
            (Arc::clone(&self.s3), Arc::clone(&self.dir), Arc::clone(&self.clock));
        let (line, disks) = (self.line.clone(), self.disks.clone());
        let attached = disks
            .iter()
            .filter(|disk| names.is_none_or(|names| names.contains(&disk.name.as_str())));
        let attached = attached.cloned().collect();
        drop(self);
        let mut world = Self::open_on(s3, line, dir, clock, attached).await;
        world.disks = disks;
        world
    }

    /// A gateway on what the directory holds; its uploader does not run yet.
    pub(crate) async fn open(
        s3: Arc<S3Store>,
        line: Line,
        dir: Arc<TempDir>,
        clock: Arc<ManualClock>,
    ) -> Self {
        Self::open_on(s3, line, dir, clock, Vec::new()).await
    }

    /// The same with other disks.
    async fn open_on(
        s3: Arc<S3Store>,
        line: Line,
        dir: Arc<TempDir>,
        clock: Arc<ManualClock>,
        disks: Vec<Arc<ExtraDisk>>,
    ) -> Self {
        let catalog = Catalog::open(dir.path()).unwrap();
        let is_one = disks.is_empty() && catalog.disks().await.unwrap().is_empty();
        let (cache, found) = if is_one {
            catalog.recover_journal(clock.now()).await.unwrap();
            (CacheStore::open(Arc::new(HostDisk), dir.path()).unwrap(), Vec::new())
        } else {
            let small = || Arc::new(SmallDisk::new(DISK_BYTES));
            let mut all = vec![DiskAt::primary(small(), dir.path())];
            for disk in &disks {
                let row = catalog.ensure_disk(&disk.name, "somewhere").await.unwrap();
                let (id, name, draining) = (row.id, row.name, row.draining);
                let dir = disk.dir.path().to_owned();
                all.push(DiskAt { id, name, dir, io: small(), draining });
            }
            let cache = CacheStore::open_all(all).unwrap();
            let recovered = recovery::recover(&catalog, &cache, clock.as_ref()).await.unwrap();
            (cache, recovered.events)
        };
        let attr = RootAttr { mode: 0o777, uid: 0, gid: 0, now: clock.now() };
        let row = catalog.ensure_share("share", BUCKET, "p/", attr).await.unwrap();
        let name: gateway_api::ShareName = "share".parse().unwrap();
        let events = Events::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let bucket = BUCKET.parse().unwrap();
        let faults = FaultStore::new(Arc::new(line.bucket.clone()));
        let known = line.known.clone().unwrap_or_else(|| {
            let s3 = KnownAbilities::default();
            s3.set(Capabilities::all(Ability::Yes));
            s3
        });
        let share = Arc::new(Share {
            id: row.id,
            root: row.root,
            settings: ShareSettings::new(name.clone(), bucket, "p/".parse().unwrap()),
            store: store(&faults, &known),
            health: ShareHealth::new(name, events.clone()),
            gateway_id: "gw1".to_owned(),
            catalog: catalog.generation(),
        });
        let (locks, tasks) = (InodeLocks::default(), Tasks::default());
        let budget = MemoryBudget::new(128 << 20);
        let ticking = || Arc::clone(&clock) as Arc<dyn Clock>;
        let fetcher = Fetcher::new(
            Arc::clone(&share),
            catalog.clone(),
            cache.clone(),
            locks.clone(),
            ticking(),
            budget.clone(),
            tasks.clone(),
        );
        let refresher = Refresher::new(
            Arc::clone(&share),
            catalog.clone(),
            cache.clone(),
            ticking(),
            tasks.clone(),
        );
        let options =
            UploaderOptions { jobs_max: 4, budget: budget.clone(), copy_bytes_max: COPY_BYTES_MAX };
        let uploader = Uploader::new(
            catalog.clone(),
            cache.clone(),
            locks.clone(),
            ticking(),
            options.clone(),
        );
        let world = Self {
            s3,
            line,
            dir,
            disks,
            found,
            clock,
            catalog,
            cache,
            faults,
            known,
            share,
            events,
            locks,
            tasks,
            fetcher,
            refresher,
            uploader,
            budget,
            options,
            stop: CancellationToken::new(),
            running: None,
        };
        world.wake();
        world
    }

    pub(crate) fn start(&mut self) {
        self.running = Some(tokio::spawn(self.uploader.clone().run(self.stop.clone())));
    }

    /// Stops the uploader wherever it is.
    pub(crate) async fn halt(&mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
        self.stop = CancellationToken::new();
    }

    /// Ends this process and starts another on the same disk; its uploader does not run yet.
    pub(crate) async fn restart(self) -> Self {
        let line = self.line.clone();
        self.restart_by(line).await
    }

    /// The same; the other one goes another way to S3.
    pub(crate) async fn restart_by(mut self, line: Line) -> Self {
        self.halt().await;
        self.catalog.close().await.unwrap();
        self.line = line;
        self.reopen(None).await
    }

    /// The process is gone without a word; another starts on the same disks.
    pub(crate) async fn crash(mut self) -> Self {
        self.halt().await;
        self.reopen(None).await
    }

    /// Lets the uploader look at the clock again.
    pub(crate) fn wake(&self) {
        let movers = ShareMovers { share: Arc::clone(&self.share) };
        self.uploader.replace(vec![movers], self.options.clone());
    }

    /// Has objects above `bytes` copied in parts of so many bytes.
    pub(crate) fn copy_at_most(&mut self, bytes: u64) {
        self.options.copy_bytes_max = bytes;
        self.wake();
    }

    /// Has so many uploads go on at once, and no more.
    pub(crate) fn upload_at_once(&mut self, jobs: usize) {
        self.options.jobs_max = jobs;
        self.wake();
    }

    /// Gives uploads a budget of their own.
    pub(crate) fn upload_within(&mut self, budget: MemoryBudget) {
        self.options.budget = budget;
        self.wake();
    }

    /// Moves the clock to whatever is due next, until S3 has everything.
    pub(crate) async fn drain(&self) {
        self.drain_but(0).await;
    }

    /// The same with so many uploads in parts of others left.
    pub(crate) async fn drain_but(&self, others: usize) {
        self.until("S3 has everything", || async {
            let pending = self.catalog.pending(None).await.unwrap();
            pending.dirty_files + pending.pending_deletes + pending.pending_moves == 0
                && self.catalog.next_due().await.unwrap().is_none()
                && self.uploads_in_progress().await == others
        })
        .await;
    }

    /// Uploads in parts that are neither completed nor aborted, whoever began them.
    async fn uploads_in_progress(&self) -> usize {
        if self.line.known.is_some() {
            return self.line.bucket.list_multipart("", None).await.unwrap().uploads.len();
        }
        self.s3.uploads_in_progress(BUCKET)
    }

    /// Moves the clock to whatever is due next, until `done`.
    pub(crate) async fn until<F, Fut>(&self, what: &str, done: F)
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = bool>,
    {
        self.wait(what, Time::Moves, done).await;
    }

    /// Lets the uploader do what is due by now, and nothing else, until `done`.
    pub(crate) async fn until_by_now<F, Fut>(&self, what: &str, done: F)
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = bool>,
    {
        self.wake();
        self.wait(what, Time::Stands, done).await;
    }

    async fn wait<F, Fut>(&self, what: &str, time: Time, mut done: F)
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = bool>,
    {
        let mut journal = self.catalog.journal_changed();
        let driven = async {
            loop {
                journal.mark_unchanged();
                if done().await {
                    return;
                }
                if let Some(due) = self.catalog.next_due().await.unwrap()
                    && time == Time::Moves
                {
                    let behind = due.as_nanos() - self.clock.now().as_nanos();
                    self.clock.advance_millis((behind / 1_000_000 + 1).max(0));
                    self.wake();
                }
                // What S3's side does is not in the journal: look again after a moment.
                tokio::time::timeout(Duration::from_millis(10), journal.changed()).await.ok();
            }
        };
        if tokio::time::timeout(PATIENCE, driven).await.is_err() {
            let pending = self.catalog.pending(None).await.unwrap();
            let (out, due) = (self.catalog.jobs_out().await, self.catalog.next_due().await);
            let (now, asked) = (self.clock.now(), self.s3.request_counts());
            let keys = self.keys();
            panic!(
                "gave up waiting until {what}: {pending:?}; out {out:?}, due {due:?} at {now:?}; {asked:?}; {keys:?}; {:?}",
                self.events.list()
            );
        }
    }

    /// Gives up listings after so many pages, from here on.
    pub(crate) fn limit_pages(&mut self, pages: usize) {
        self.refresher = self.refresher_of(&self.share).with_pages_max(pages);
    }

    /// Takes listings for stale after so many seconds, from here on; 0 is never.
    pub(crate) fn stale_after(&mut self, seconds: u32) {
        self.set(|settings| settings.cache_stale_timeout_seconds = seconds);
    }

    /// Changes the share's settings, from here on.
    pub(crate) fn set(&mut self, change: impl FnOnce(&mut ShareSettings)) {
        let mut settings = self.share.settings.clone();
        change(&mut settings);
        let share = Share {
            id: self.share.id,
            root: self.share.root,
            settings,
            store: Arc::clone(&self.share.store),
            health: ShareHealth::new(self.share.settings.name.clone(), self.events.clone()),
            gateway_id: self.share.gateway_id.clone(),
            catalog: self.share.catalog,
        };
        self.share = Arc::new(share);
        self.refresher = self.refresher_of(&self.share);
        self.wake();
    }

    fn refresher_of(&self, share: &Arc<Share>) -> Refresher {
        Refresher::new(
            Arc::clone(share),
            self.catalog.clone(),
            self.cache.clone(),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            self.tasks.clone(),
        )
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { now: self.clock.now(), due: self.clock.now(), request: None }
    }

    pub(crate) async fn create(&self, dir: Ino, name: &str, kind: NewKind) -> Ino {
        let now = self.clock.now();
        let new = NewInode {
            parent: dir,
            name: name.to_owned(),
            kind,
            mode: 0o640,
            uid: 1000,
            gid: 1001,
            atime: now,
            mtime: now,
        };
        self.catalog.create(new, self.stamp()).await.unwrap().inode.ino
    }

    /// A new file in the root, with its content in the same breath.
    pub(crate) async fn file(&self, name: &str, body: &[u8]) -> Ino {
        let ino = self.create(self.share.root, name, NewKind::File { verifier: None }).await;
        if !body.is_empty() {
            self.write(ino, 0, body).await;
        }
        ino
    }

    /// Writes and commits.
    pub(crate) async fn write(&self, ino: Ino, offset: u64, body: &[u8]) {
        let begun = self.catalog.begin_write(ino, self.clock.now()).await.unwrap();
        let end = offset + body.len() as u64;
        self.cache.write_at(ino, offset, Bytes::copy_from_slice(body)).await.unwrap();
        self.cache.sync(ino).await.unwrap();
        let known = WrittenSums::of(offset, body);
        let tail = known.tail.filter(|_| end >= begun.inode.size);
        let commit = WriteCommit {
            sums: known.whole.into_iter().chain(tail).collect(),
            noted: Some(begun.version),
            disk: self.cache.disk_of(ino).await.unwrap().id(),
            bytes: DurableBytes::Synced(None),
            size: begun.inode.size.max(end),
            mtime: self.clock.now(),
            clear_set_id: false,
            ranges: std::iter::once(offset..end).collect(),
            closes: true,
            due: self.clock.now(),
        };
        self.catalog.commit_write(ino, commit).await.unwrap();
    }

    /// The file's bytes leave the cache.
    pub(crate) async fn evict(&self, ino: Ino) {
        assert!(self.catalog.drop_ranges(ino).await.unwrap(), "it is clean");
        self.cache.remove(ino).await.unwrap();
    }

    /// Cuts the file short, or makes it longer with zeros.
    pub(crate) async fn resize(&self, ino: Ino, size: u64) {
        let before = self.catalog.inode(ino).await.unwrap().size;
        let change = AttrChange { size: Some(size), ..AttrChange::default() };
        self.catalog.set_attr(ino, change, self.stamp()).await.unwrap();
        self.cache.set_len(ino, before, size).await.unwrap();
    }

    pub(crate) async fn chmod(&self, ino: Ino, mode: u32) {
        let change = AttrChange { mode: Some(mode), ..AttrChange::default() };
        self.catalog.set_attr(ino, change, self.stamp()).await.unwrap();
    }

    pub(crate) async fn rename(&self, from: &str, to: &str) {
        let spec = RenameSpec {
            from_dir: self.share.root,
            from_name: from.to_owned(),
            to_dir: self.share.root,
            to_name: to.to_owned(),
        };
        self.catalog.rename(spec, self.stamp()).await.unwrap();
    }

    pub(crate) async fn remove(&self, name: &str) {
        self.catalog
            .remove(self.share.root, name, RemoveKind::NotDirectory, self.stamp())
            .await
            .unwrap();
    }

    /// Turns one bit of the file's bytes on the cache disk around.
    pub(crate) fn flip_bit(&self, ino: Ino, at: u64) {
        let path = self.dir.path().join(format!("data/{:02x}/{}", ino.0 & 0xff, ino.0));
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    /// What a reader gets, brought from S3 if need be.
    pub(crate) async fn read(&self, ino: Ino, range: Range<u64>) -> Vec<u8> {
        self.fetcher.fetch(ino, range.clone()).await.unwrap();
        self.cache.read_at(ino, range).await.unwrap().to_vec()
    }

    /// The entry `name` of the root.
    pub(crate) async fn entry(&self, name: &str) -> Option<Arc<Inode>> {
        self.catalog.child(self.share.root, name).await.unwrap()
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        let children = self.catalog.children(self.share.root, Ino(0), 1000).await.unwrap();
        let mut names: Vec<_> = children.into_iter().map(|child| child.name).collect();
        names.sort();
        names
    }

    pub(crate) fn object(&self, key: &str) -> StoredObject {
        self.s3.object(BUCKET, key).unwrap_or_else(|| panic!("no object {key}"))
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.s3.keys(BUCKET)
    }

    /// Another client of the bucket puts an object.
    pub(crate) fn foreign(&self, key: &str, body: &[u8]) {
        self.s3.put(BUCKET, key, body);
    }

    pub(crate) fn requests(&self, operation: &str) -> u64 {
        self.s3.request_counts().get(operation).copied().unwrap_or(0)
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.share.store)
    }

    pub(crate) fn conflicts(&self) -> usize {
        let events = self.events.list();
        events.iter().filter(|event| event.kind == HealthEventKind::Conflict).count()
    }
}

/// Bytes of which no two blocks are alike.
pub(crate) fn pattern(length: usize, seed: u8) -> Vec<u8> {
    let low = |number: usize| u8::try_from(number % 251).unwrap();
    (0..length).map(|i| low(i / 4096) ^ low(i) ^ seed).collect()
}
