//! Shares as they run: each with its bucket, movers and file system, made to match the settings.
//!
//! Level-triggered: [`Shares::reconcile`] compares what runs with what is wanted, does the
//! difference, and may be called again at any time. A share that is unchanged is not touched.
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use gateway_api::{
    Settings, SettingsError, ShareName, ShareSettings,
    admin::RefusedShare,
    figures::Figures,
    settings::S3Settings,
    status::{Capabilities, HealthEventKind, ShareState, ShareStatus, UploadStatus},
};

use tokio::sync::Mutex;

use super::{
    bandwidth::Bandwidth,
    credentials,
    disk_counts::Counted,
    disks::LeftOut,
    machine,
    orphans::{self, Sweeps},
    probe::{Asked, Probe},
    rounds::{Rounds, keep},
    status::Pending,
};
use crate::{
    budget::MemoryBudget,
    cache::CacheStore,
    catalog::{Catalog, CatalogError, RootAttr},
    clock::{Clock, Timestamp},
    fetch::Fetcher,
    ids::{Ino, ShareId},
    locks::InodeLocks,
    nfs::{Export, Exports},
    refresh::Refresher,
    share::{Events, Pins, Share, ShareHealth, access::AccessPolicy},
    store::{
        DegradedStore, KnownAbilities, MeteredStore, ObjectStore, RetryingStore, S3Bucket,
        S3Credentials, StoreMeter, UnsetStore,
    },
    tasks::Tasks,
    upload::{COPY_BYTES_MAX, ShareMovers, Uploader, UploaderOptions},
    vfs::{IoMeter, Movers, Pinning, ShareFs, ShareMode, Source, Vfs, WriteBack, pinned},
};

/// Memory for bodies on their way to S3, in bytes: an eighth of the machine's, 4 parts of 16 MiB at least,
/// which fit a VM of 512 MiB.
const UPLOAD_BYTES: (u64, u64) = (64 << 20, 1 << 30);
/// Memory for bodies on their way from S3, in bytes: a tenth of the machine's.
const FETCH_BYTES: (u64, u64) = (48 << 20, 512 << 20);

/// What every share is made of.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) catalog: Catalog,
    pub(super) cache: CacheStore,
    pub(super) locks: InodeLocks,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) write_back: Arc<WriteBack>,
    pub(super) events: Events,
    pub(super) exports: Arc<Exports>,
    pub(super) tasks: Tasks,
    pub(super) gateway_id: String,
    pub(super) bandwidth: Arc<Bandwidth>,
    /// Age of uploads in parts that nobody goes on with; 0: none is aborted.
    pub(super) orphaned_upload_days: Arc<AtomicU32>,
    pub(super) credentials: S3Credentials,
    pub(super) disks_left_out: Arc<LeftOut>,
    pub(super) disk_counts: Arc<Counted>,
}

/// One running share.
#[derive(Clone, Debug)]
struct Running {
    /// Without credentials: those are replaced under the share.
    s3: S3Settings,
    missing: Option<&'static str>,
    known: KnownAbilities,
    share: Arc<Share>,
    movers: Arc<Movers>,
    fs: Arc<Vfs>,
    meters: Meters,
    pinning: Arc<Pinning>,
}

/// What a share has done; outlives changes of its settings.
#[derive(Clone, Debug, Default)]
struct Meters {
    store: Arc<StoreMeter>,
    io: Arc<IoMeter>,
}

/// A share that the settings name and that cannot be served.
#[derive(Debug)]
struct Refused {
    settings: ShareSettings,
    reason: String,
}

/// Why a share cannot be served.
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// The catalog does not take it.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Its bucket cannot be spoken to with these settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// All shares.
#[derive(Debug)]
pub(super) struct Shares {
    parts: Parts,
    uploader: Uploader,
    upload_budget: MemoryBudget,
    fetch_budget: MemoryBudget,
    probe_turn: Arc<Mutex<()>>,
    running: Vec<Running>,
    refused: Vec<Refused>,
    /// Of every share that has run since the start.
    meters: HashMap<ShareName, Meters>,
}

impl Shares {
    /// No shares yet.
    pub(super) fn new(parts: Parts) -> Self {
        let memory = machine::memory_bytes();
        let upload_budget = MemoryBudget::new((memory / 8).clamp(UPLOAD_BYTES.0, UPLOAD_BYTES.1));
        parts.tasks.spawn("watch the credentials", credentials::watch(parts.clone()));
        let uploader = Uploader::new(
            parts.catalog.clone(),
            parts.cache.clone(),
            parts.locks.clone(),
            Arc::clone(&parts.clock),
            UploaderOptions {
                jobs_max: 1,
                budget: upload_budget.clone(),
                copy_bytes_max: COPY_BYTES_MAX,
            },
        );
        uploader.commit_by(Arc::clone(&parts.write_back) as _);
        Self {
            parts,
            uploader,
            upload_budget,
            fetch_budget: MemoryBudget::new((memory / 10).clamp(FETCH_BYTES.0, FETCH_BYTES.1)),
            probe_turn: Arc::default(),
            running: Vec::new(),
            refused: Vec::new(),
            meters: HashMap::new(),
        }
    }

    /// The parts that all shares have in common.
    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The uploader of all shares.
    pub(super) fn uploader(&self) -> Uploader {
        self.uploader.clone()
    }

    /// Makes what runs match `settings`.
    pub(super) async fn reconcile(&mut self, settings: &Settings) {
        let renewed = self.parts.credentials.replace(&settings.s3);
        let (s3, missing) = (settings.s3.without_credentials(), settings.missing_for_s3());
        let mut running = Vec::new();
        self.refused.clear();
        for wanted in &settings.shares {
            let same = |old: &&Running| {
                old.share.settings == *wanted && old.s3 == s3 && old.missing == missing
            };
            if let Some(old) = self.running.iter().find(same) {
                if renewed {
                    old.share.health.try_again();
                }
                running.push(old.clone());
                continue;
            }
            let meters = self.meters.entry(wanted.name.clone()).or_default().clone();
            match self.start(wanted, settings, meters).await {
                Ok(started) => running.push(started),
                Err(error) => {
                    let reason = error.to_string();
                    let name = Some(wanted.name.clone());
                    self.parts.events.add(HealthEventKind::ShareRefused, name, reason.clone());
                    self.refused.push(Refused { settings: wanted.clone(), reason });
                }
            }
        }
        self.running = running;
        self.parts.bandwidth.replace(&settings.bandwidth);
        let days = settings.cache.orphaned_upload_days;
        self.parts.orphaned_upload_days.store(days, Ordering::Relaxed);
        let pins = self
            .running
            .iter()
            .map(|running| (running.share.id, Pins::new(&running.share.settings.pinned)));
        self.parts.write_back.set_pins(pins.collect());
        let shares = self.running.iter().map(|running| Arc::clone(&running.share));
        self.parts.write_back.set_shares(shares.collect());
        self.parts.write_back.set_upload_delay_ms(settings.cache.upload_delay_ms);
        self.parts.catalog.set_upload_latest_ms(settings.cache.upload_latest_ms);
        self.parts.write_back.set_early_upload_bytes(settings.cache.early_upload_bytes);
        let movers =
            self.running.iter().map(|running| ShareMovers { share: Arc::clone(&running.share) });
        let jobs_max = usize::try_from(settings.cache.uploads_max).unwrap_or(usize::MAX);
        let options = UploaderOptions {
            jobs_max,
            budget: self.upload_budget.clone(),
            copy_bytes_max: COPY_BYTES_MAX,
        };
        self.uploader.replace(movers.collect(), options);
        self.parts.exports.replace(self.running.iter().map(Running::export).collect());
        if renewed {
            self.try_waiting().await;
        }
    }

    /// What was refused may be tried again at once.
    pub(super) fn try_again(&self) {
        self.running.iter().for_each(|running| running.share.health.try_again());
    }

    /// Tries at once what waits for its next attempt.
    async fn try_waiting(&self) {
        if let Err(error) = self.parts.catalog.try_again(self.parts.clock.now()).await {
            // They are tried all the same, when their pause is over.
            tracing::warn!("waiting uploads were not called: {error}");
        }
    }

    async fn start(
        &self,
        wanted: &ShareSettings,
        settings: &Settings,
        meters: Meters,
    ) -> Result<Running, StartError> {
        let parts = &self.parts;
        let root = RootAttr {
            mode: wanted.directory_mode,
            uid: wanted.owner_id,
            gid: wanted.group_id,
            now: parts.clock.now(),
        };
        let (bucket, prefix) = (wanted.bucket.as_str(), wanted.prefix.as_str());
        let row = parts.catalog.ensure_share(wanted.name.as_str(), bucket, prefix, root).await?;
        let missing = settings.missing_for_s3();
        let known = KnownAbilities::default();
        let (store, asked): (Arc<dyn ObjectStore>, _) = match missing {
            // What it refuses is no request to S3.
            Some(missing) => (Arc::new(UnsetStore::new(missing)), None),
            None => {
                let bucket = S3Bucket::open(&settings.s3, &wanted.bucket, &parts.credentials)?
                    .with_requester_pays(wanted.requester_pays)
                    .at_pace(parts.bandwidth.paces())
                    .with_meter(Arc::clone(&meters.store));
                let asked =
                    Asked::new(wanted, &parts.gateway_id, &bucket, &known, &self.probe_turn);
                (Arc::new(MeteredStore::new(Arc::new(bucket), Arc::clone(&meters.store))), asked)
            }
        };
        let store = Arc::new(RetryingStore::new(store));
        let store = Arc::new(DegradedStore::new(store, known.clone(), prefix));
        let share = Arc::new(Share {
            id: row.id,
            root: row.root,
            settings: wanted.clone(),
            store,
            health: ShareHealth::new(wanted.name.clone(), parts.events.clone()),
            gateway_id: parts.gateway_id.clone(),
            catalog: parts.catalog.generation(),
        });
        let fetcher = Fetcher::new(
            Arc::clone(&share),
            parts.catalog.clone(),
            parts.cache.clone(),
            parts.locks.clone(),
            Arc::clone(&parts.clock),
            self.fetch_budget.clone(),
            parts.tasks.clone(),
        );
        let refresher = Refresher::new(
            Arc::clone(&share),
            parts.catalog.clone(),
            parts.cache.clone(),
            Arc::clone(&parts.clock),
            parts.tasks.clone(),
        );
        let movers = Arc::new(Movers::new(fetcher, refresher));
        let mode = if wanted.read_only { ShareMode::ReadOnly } else { ShareMode::ReadWrite };
        let source: Arc<dyn Source> = Arc::clone(&movers) as _;
        let pinning = Arc::new(Pinning::new(
            wanted.name.clone(),
            row.root,
            Pins::new(&wanted.pinned),
            Arc::clone(&parts.write_back),
            Arc::clone(&source),
        ));
        self.keep("keep pinned files", &pinning, Duration::ZERO, KeepPinned);
        if parts.catalog.want_defaults(row.id, share.defaults()).await? {
            let given = give_defaults(parts.clone(), Arc::clone(&share));
            parts.tasks.spawn("give known entries the share's defaults", given);
        }
        let fs = Vfs::new(&row, Arc::clone(&parts.write_back), source, mode);
        let fs = Arc::new(fs.with_meter(Arc::clone(&meters.io)));
        self.keep("probe the bucket", &share, Duration::ZERO, Probe::new(asked, parts.clone()));
        self.keep("orphaned uploads", &share, orphans::FIRST, Sweeps(parts.clone()));
        let s3 = settings.s3.without_credentials();
        Ok(Running { s3, missing, known, share, movers, fs, meters, pinning })
    }

    /// Does `rounds` while `of` is there.
    fn keep<R>(&self, name: &'static str, of: &Arc<R::Of>, first: Duration, rounds: R)
    where
        R: Rounds<Of: 'static> + 'static,
    {
        let tasks = &self.parts.tasks;
        tasks.spawn(name, keep(Arc::downgrade(of), first, rounds, tasks.stopping().clone()));
    }

    /// The shares' states, in the order of the settings as far as they run.
    pub(super) fn status(&self, pending: &Pending, now: Timestamp) -> Vec<ShareStatus> {
        let running = self.running.iter().map(|running| {
            let health = &running.share.health;
            let mut figures = Figures::default();
            running.meters.store.add_to(&mut figures);
            running.meters.io.add_to(&mut figures);
            figures.notifications = self.parts.events.count(Some(&running.share.settings.name));
            let rate = figures.upload_bytes_per_second;
            ShareStatus {
                unrepresentable_keys: health.unrepresentable_keys(),
                capabilities: running.known.get(),
                upload: pending.of_share(running.share.id, now, rate),
                figures,
                pinned: running.pinning.status(),
                refreshes: running.movers.refresher().under_way(),
                ..status_of(&running.share.settings, health.state())
            }
        });
        let refused = self.refused.iter().map(|refused| {
            let state = ShareState::Unavailable(refused.reason.clone());
            let mut status = status_of(&refused.settings, state);
            status.figures.notifications = self.parts.events.count(Some(&status.name));
            status
        });
        running.chain(refused).collect()
    }

    /// The shares that the settings name and that cannot be served.
    pub(super) fn refused(&self) -> Vec<RefusedShare> {
        let told = |refused: &Refused| RefusedShare {
            share: refused.settings.name.clone(),
            reason: refused.reason.clone(),
        };
        self.refused.iter().map(told).collect()
    }

    /// The name of a share that runs.
    pub(super) fn name_of(&self, id: ShareId) -> Option<ShareName> {
        let running = self.running.iter().find(|running| running.share.id == id)?;
        Some(running.share.settings.name.clone())
    }

    /// The numbers of the shares that are served.
    pub(super) fn served(&self) -> Vec<ShareId> {
        self.running.iter().map(|running| running.share.id).collect()
    }

    /// The number of a share in the catalog.
    pub(super) fn id(&self, name: &ShareName) -> Option<ShareId> {
        let running = self.running.iter().find(|running| running.share.settings.name == *name)?;
        Some(running.share.id)
    }

    /// The movers and the root directory of a share.
    pub(super) fn movers(&self, name: &ShareName) -> Option<(Arc<Movers>, Ino)> {
        let running = self.running.iter().find(|running| running.share.settings.name == *name)?;
        Some((Arc::clone(&running.movers), running.share.root))
    }
}

impl Running {
    fn export(&self) -> Export {
        Export {
            id: self.share.id,
            name: self.share.settings.name.clone(),
            policy: AccessPolicy::from(&self.share.settings),
            fs: Arc::clone(&self.fs) as Arc<dyn ShareFs>,
        }
    }
}

/// The status of a share that nothing else is known of.
fn status_of(settings: &ShareSettings, state: ShareState) -> ShareStatus {
    ShareStatus {
        name: settings.name.clone(),
        bucket: settings.bucket.clone(),
        prefix: settings.prefix.clone(),
        state,
        read_only: settings.read_only,
        unrepresentable_keys: 0,
        upload: UploadStatus::default(),
        figures: Figures::default(),
        capabilities: Capabilities::default(),
        pinned: None,
        refreshes: Vec::new(),
    }
}

/// Lets rows follow a change of the share's defaults. A restart goes on with what is left.
async fn give_defaults(parts: Parts, share: Arc<Share>) {
    let stopping = parts.tasks.stopping();
    while !stopping.is_cancelled() {
        match parts.catalog.give_defaults(share.id, share.defaults(), parts.clock.now()).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let name = &share.settings.name;
                tracing::error!("entries of {name} keep the defaults that they had: {error}");
                return;
            }
        }
    }
}

/// Fetches what is pinned.
struct KeepPinned;

#[async_trait]
impl Rounds for KeepPinned {
    type Of = Pinning;

    async fn round(&mut self, pinning: &Pinning) -> Duration {
        if let Err(error) = pinning.round().await {
            tracing::error!("pinned files cannot be looked after, trying again: {error}");
        }
        pinned::ROUND_PAUSE
    }
}
