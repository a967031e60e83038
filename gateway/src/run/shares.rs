//! Shares as they run: each with its bucket, movers and file system, made to match the settings.
//!
//! Level-triggered: [`Shares::reconcile`] compares what runs with what is wanted, does the
//! difference, and may be called again at any time. A share that is unchanged is not touched.
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use gateway_api::{
    Settings, ShareName, ShareSettings,
    settings::S3Settings,
    status::{HealthEventKind, ShareState, ShareStatus},
};

use crate::{
    budget::MemoryBudget,
    cache::CacheStore,
    catalog::{Catalog, CatalogError, RootAttr},
    clock::Clock,
    fetch::Fetcher,
    ids::{Ino, ShareId},
    locks::InodeLocks,
    nfs::{Export, Exports},
    refresh::Refresher,
    share::{Events, Share, ShareHealth, access::AccessPolicy},
    store::{ObjectStore, RetryingStore, S3Bucket, UnsetStore},
    tasks::Tasks,
    upload::{ShareMovers, Uploader, UploaderOptions},
    vfs::{Movers, ShareFs, ShareMode, Vfs, WriteBack},
};

/// Memory for bodies on their way to S3, in bytes: 4 parts of 16 MiB, and what fits a VM of 512 MiB.
const UPLOAD_BYTES_MAX: u64 = 64 << 20;
/// Memory for bodies on their way from S3, in bytes.
const FETCH_BYTES_MAX: u64 = 48 << 20;
/// Pause between two looks at a share whose bucket does not answer.
const PROBE_PAUSE: Duration = Duration::from_secs(5);

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
}

/// One running share.
#[derive(Clone, Debug)]
struct Running {
    s3: S3Settings,
    share: Arc<Share>,
    fetcher: Fetcher,
    movers: Arc<Movers>,
    fs: Arc<Vfs>,
}

/// A share that the settings name and that cannot be served.
#[derive(Debug)]
struct Refused {
    settings: ShareSettings,
    reason: String,
}

/// All shares.
#[derive(Debug)]
pub(super) struct Shares {
    parts: Parts,
    uploader: Uploader,
    upload_budget: MemoryBudget,
    fetch_budget: MemoryBudget,
    running: Vec<Running>,
    refused: Vec<Refused>,
}

impl Shares {
    /// No shares yet.
    pub(super) fn new(parts: Parts) -> Self {
        let upload_budget = MemoryBudget::new(UPLOAD_BYTES_MAX);
        let uploader = Uploader::new(
            parts.catalog.clone(),
            parts.cache.clone(),
            parts.locks.clone(),
            Arc::clone(&parts.clock),
            UploaderOptions { jobs_max: 1, budget: upload_budget.clone() },
        );
        Self {
            parts,
            uploader,
            upload_budget,
            fetch_budget: MemoryBudget::new(FETCH_BYTES_MAX),
            running: Vec::new(),
            refused: Vec::new(),
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
        let mut running = Vec::new();
        self.refused.clear();
        for wanted in &settings.shares {
            let same = |old: &&Running| old.share.settings == *wanted && old.s3 == settings.s3;
            if let Some(old) = self.running.iter().find(same) {
                running.push(old.clone());
                continue;
            }
            match self.start(wanted, settings).await {
                Ok(started) => running.push(started),
                Err(error) => {
                    let reason = error.to_string();
                    let name = Some(wanted.name.clone());
                    self.parts.events.add(HealthEventKind::UploadFailing, name, reason.clone());
                    self.refused.push(Refused { settings: wanted.clone(), reason });
                }
            }
        }
        self.running = running;
        self.parts.write_back.set_upload_delay_ms(settings.cache.upload_delay_ms);
        let movers = self.running.iter().map(|running| ShareMovers {
            share: Arc::clone(&running.share),
            fetcher: running.fetcher.clone(),
        });
        let jobs_max = usize::try_from(settings.cache.uploads_max).unwrap_or(usize::MAX);
        let options = UploaderOptions { jobs_max, budget: self.upload_budget.clone() };
        self.uploader.replace(movers.collect(), options);
        self.parts.exports.replace(self.running.iter().map(Running::export).collect());
    }

    async fn start(
        &self,
        wanted: &ShareSettings,
        settings: &Settings,
    ) -> Result<Running, CatalogError> {
        let parts = &self.parts;
        let root = RootAttr {
            mode: wanted.directory_mode,
            uid: wanted.owner_id,
            gid: wanted.group_id,
            now: parts.clock.now(),
        };
        let (bucket, prefix) = (wanted.bucket.as_str(), wanted.prefix.as_str());
        let row = parts.catalog.ensure_share(wanted.name.as_str(), bucket, prefix, root).await?;
        let store: Arc<dyn ObjectStore> = match settings.missing_for_s3() {
            Some(missing) => Arc::new(UnsetStore::new(missing)),
            None => Arc::new(
                S3Bucket::new(&settings.s3, &wanted.bucket)
                    .with_requester_pays(wanted.requester_pays),
            ),
        };
        let share = Arc::new(Share {
            id: row.id,
            root: row.root,
            settings: wanted.clone(),
            store: Arc::new(RetryingStore::new(store)),
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
        let movers = Arc::new(Movers::new(fetcher.clone(), refresher));
        let mode = if wanted.read_only { ShareMode::ReadOnly } else { ShareMode::ReadWrite };
        let source = Arc::clone(&movers) as _;
        let fs = Arc::new(Vfs::new(&row, Arc::clone(&parts.write_back), source, mode));
        self.parts.tasks.spawn("probe the bucket", probe(Arc::downgrade(&share), parts.clone()));
        Ok(Running { s3: settings.s3.clone(), share, fetcher, movers, fs })
    }

    /// The shares' states, in the order of the settings as far as they run.
    pub(super) fn status(&self) -> Vec<ShareStatus> {
        let running = self.running.iter().map(|running| {
            let health = &running.share.health;
            ShareStatus {
                refreshes: running.movers.refresher().under_way(),
                ..status_of(&running.share.settings, health.state(), health.unrepresentable_keys())
            }
        });
        let refused = self.refused.iter().map(|refused| {
            status_of(&refused.settings, ShareState::Unavailable(refused.reason.clone()), 0)
        });
        running.chain(refused).collect()
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

fn status_of(
    settings: &ShareSettings,
    state: ShareState,
    unrepresentable_keys: u64,
) -> ShareStatus {
    ShareStatus {
        name: settings.name.clone(),
        bucket: settings.bucket.clone(),
        prefix: settings.prefix.clone(),
        state,
        read_only: settings.read_only,
        unrepresentable_keys,
        refreshes: Vec::new(),
    }
}

/// Asks whether the bucket may be used, at the start and whenever it did not answer the last time, so
/// that the status is true although nobody reads or writes. Ends with the share.
async fn probe(share: Weak<Share>, parts: Parts) {
    let stopping = parts.tasks.stopping();
    while let Some(share) = share.upgrade() {
        if share.health.state() != ShareState::Available {
            let asked = tokio::select! {
                asked = share.store.probe(share.settings.prefix.as_str()) => asked,
                () = stopping.cancelled() => return,
            };
            match asked {
                Ok(()) => share.health.answered(),
                Err(error) => share.health.refused(&error, parts.clock.now()),
            }
        }
        drop(share);
        tokio::select! {
            () = tokio::time::sleep(PROBE_PAUSE) => {}
            () = stopping.cancelled() => return,
        }
    }
}
