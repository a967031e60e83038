//! The running gateway as its admin API sees it.
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use gateway_api::{
    ByteSize, FileStatus, GatewayStatus, Settings, ShareName,
    admin::{
        AliasedKey, FileRequest, KeysPage, KeysRequest, RefreshReport, RefreshRequest,
        ReplaceQuery, SettingsReport,
    },
    connection::{ConnectionTest, Step, StepReport},
    disks::{DiskRequest, DisksStatus, ForgetReport, ForgetRequest},
    failing::{FailingPage, FailingRequest},
    settings::MetricsSettings,
    status::{FileState, StrandedShare},
};
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};

use super::{
    credentials, disk_control, failing,
    machine::Machine,
    shares::Shares,
    status::{self, Pending},
    stranded,
};
use crate::{
    admin::{Control, ControlError},
    catalog::{Aliased, Catalog, CatalogError, Left, Standing},
    clock::Timestamp,
    connection,
    ids::{FileKind, Ino, ShareId},
    nfs,
    refresh::RefreshError,
    settings::{SettingsStore, StoreError},
    share::keymap,
    tasks::Tasks,
    upload::Uploader,
};

/// How often a flush looks whether it is done, besides every change of the journal.
const FLUSH_LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Pause between two looks of a flush: for each operation that is left, and at most.
const FLUSH_PAUSE_PER_OPERATION: Duration = Duration::from_micros(10);
const FLUSH_PAUSE: Duration = Duration::from_millis(500);

/// Keys in one page of those that are shown under an alias.
const KEYS_MAX: usize = 1000;

/// What runs, and the settings it follows. One lock: changes of settings wait for each other.
#[derive(Debug)]
pub(super) struct Gateway {
    started: Instant,
    serving: AtomicBool,
    state: AsyncMutex<State>,
    uploader: Uploader,
    machine: Arc<Machine>,
    server: nfs::Server,
    metrics: watch::Sender<MetricsSettings>,
    metrics_problem: Mutex<Option<String>>,
    /// One test of a connection at a time.
    testing: Arc<AsyncMutex<()>>,
}

#[derive(Debug)]
struct State {
    shares: Shares,
    settings: SettingsStore,
}

impl Gateway {
    /// Of shares that do not run yet.
    pub(super) fn new(
        shares: Shares,
        settings: SettingsStore,
        machine: Arc<Machine>,
        server: nfs::Server,
    ) -> Self {
        Self {
            machine,
            server,
            metrics: watch::channel(settings.current().settings.metrics.clone()).0,
            metrics_problem: Mutex::default(),
            testing: Arc::default(),
            started: Instant::now(),
            serving: AtomicBool::new(false),
            uploader: shares.uploader(),
            state: AsyncMutex::new(State { shares, settings }),
        }
    }

    /// Makes the shares match the settings.
    pub(super) async fn apply(&self) {
        self.state.lock().await.apply().await;
    }

    /// Where metrics are to be served.
    pub(super) fn metrics_wanted(&self) -> watch::Receiver<MetricsSettings> {
        self.metrics.subscribe()
    }

    /// Says in the status why metrics are not served, or takes it back.
    pub(super) fn cannot_serve_metrics(&self, problem: Option<String>) {
        if let Some(problem) = &problem {
            tracing::error!("{problem}");
        }
        *self.metrics_problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    fn metrics_problem(&self) -> Option<String> {
        self.metrics_problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The uploader.
    pub(super) fn uploader(&self) -> Uploader {
        self.uploader.clone()
    }

    /// NFS is being served from here on.
    pub(super) fn now_serving(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }
}

impl State {
    async fn apply(&mut self) {
        let settings = self.settings.current().settings.clone();
        self.shares.reconcile(&settings).await;
        let parts = self.shares.parts();
        let pending = Pending::of(&parts.catalog).await;
        match self.stranded(&settings, &pending).await {
            Ok(stranded) => stranded::tell(&parts.events, &settings.shares, &stranded),
            // The status says so as soon as the catalog tells.
            Err(error) => tracing::error!("shares that were left are not known: {error}"),
        }
    }

    /// What would be left behind if these were the settings, with what is now.
    async fn stranded(
        &self,
        settings: &Settings,
        pending: &Pending,
    ) -> Result<Vec<StrandedShare>, String> {
        let parts = self.shares.parts();
        stranded::of(&parts.catalog, &settings.shares, pending, parts.clock.now()).await
    }

    /// Whether these settings leave nothing behind that those in force do not.
    async fn leaves_nothing(&self, settings: &Settings) -> Result<(), ControlError> {
        let pending = Pending::of(&self.shares.parts().catalog).await;
        let mut left = self.stranded(settings, &pending).await.map_err(ControlError::Failed)?;
        let now = &self.settings.current().settings.shares;
        left.retain(|left| now.iter().any(|share| share.name == left.name));
        if left.is_empty() { Ok(()) } else { Err(ControlError::Conflict(stranded::refusal(&left))) }
    }

    /// All that is wrong with the settings, and with what they name.
    async fn problems(
        &self,
        stranded: &[StrandedShare],
        of_metrics: Option<String>,
    ) -> Option<String> {
        let (parts, settings) = (self.shares.parts(), &self.settings.current().settings);
        let no_share = settings.shares.is_empty().then_some("no file share is defined yet");
        let set = [self.settings.problem(), settings.missing_for_s3(), no_share];
        let mut all: Vec<String> = set.into_iter().flatten().map(str::to_owned).collect();
        all.extend(stranded.iter().map(stranded::words));
        all.extend(status::missing_disks(&parts.cache, &parts.disks_left_out));
        all.extend(of_metrics);
        all.extend(parts.bandwidth.problem());
        all.extend(credentials::problem(parts).await);
        (!all.is_empty()).then(|| all.join("; "))
    }
}

fn file_state(standing: &Standing) -> FileState {
    match &standing.failures {
        _ if standing.uploading => FileState::Uploading,
        Some((_, reason)) if standing.is_incomplete => {
            FileState::Incomplete { reason: reason.clone() }
        }
        Some((attempts, error)) => FileState::Failing { attempts: *attempts, error: error.clone() },
        None if standing.inode.dirty => FileState::Waiting,
        None => FileState::InS3,
    }
}

/// The inode at `path` below `root`, of those that are known.
async fn find(
    catalog: &Catalog,
    root: Ino,
    share: &ShareName,
    path: &str,
) -> Result<Ino, ControlError> {
    let mut at = root;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        at = match catalog.child(at, part).await {
            Ok(Some(child)) => child.ino,
            Ok(None) | Err(CatalogError::NotDirectory | CatalogError::Gone(_)) => {
                return Err(unlisted(share, path));
            }
            Err(error) => return Err(failed(&error)),
        };
    }
    Ok(at)
}

/// What S3 has and nobody has asked for is not known yet.
fn unlisted(share: &ShareName, path: &str) -> ControlError {
    let dir = path.trim_matches('/').rsplit_once('/').map_or("", |(dir, _)| dir);
    let command = if dir.is_empty() {
        format!("gateway refresh {share}")
    } else {
        format!("gateway refresh {share} '{dir}'")
    };
    ControlError::NotFound(format!(
        "{share}:/{path} is not known here: if it is in the bucket, {command} lists its directory"
    ))
}

fn failed(error: &CatalogError) -> ControlError {
    ControlError::Failed(error.to_string())
}

/// Returns when everything that is in the journal now is done, and what it leads to.
async fn finished(
    catalog: &Catalog,
    now: Timestamp,
    tasks: &Tasks,
    served: &[ShareId],
) -> Result<(), ControlError> {
    let mut journal = catalog.journal_changed();
    let watermark = catalog.hasten(now).await.map_err(|e| failed(&e))?;
    loop {
        journal.mark_unchanged();
        let left = catalog.left_of(&watermark, served).await.map_err(|e| failed(&e))?;
        if left.operations == 0 {
            // Whoever is told so may go on from it: after a power cut, too, S3 has it.
            return catalog.settled().await.map_err(|e| failed(&e));
        }
        if left.operations <= left.put_off + left.unserved {
            return Err(ControlError::Failed(put_off(&left)));
        }
        tracing::debug!(?left, "flush waits");
        let changed = async {
            // A look takes the longer, the more is left.
            tokio::time::sleep(FLUSH_PAUSE.min(FLUSH_PAUSE_PER_OPERATION * capped(&left))).await;
            journal.changed().await
        };
        tokio::select! {
            _ = changed => {}
            () = tokio::time::sleep(FLUSH_LOOK_INTERVAL) => {}
            () = tasks.stopping().cancelled() => {
                return Err(ControlError::Failed("the gateway is stopping".to_owned()));
            }
        }
    }
}

/// How many operations are left, as far as it matters for a pause.
fn capped(left: &Left) -> u32 {
    u32::try_from(left.operations).unwrap_or(u32::MAX).min(100_000)
}

/// What is said when nothing is left but what waits for somebody to mend something.
fn put_off(left: &Left) -> String {
    let mut what = Vec::new();
    if left.put_off > 0 {
        let why = left.last_error.as_deref().unwrap_or("no reason is known");
        what.push(format!("{} files cannot be uploaded ({why})", left.put_off));
    }
    if left.unserved > 0 {
        what.push(format!("{} changes are of shares that are not served", left.unserved));
    }
    format!("everything else is in S3, but {}", what.join(", and "))
}

#[async_trait]
impl Control for Gateway {
    async fn status(&self) -> GatewayStatus {
        let state = self.state.lock().await;
        let parts = state.shares.parts();
        let now = parts.clock.now();
        let pending = Pending::of(&parts.catalog).await;
        let shares = state.shares.status(&pending, now);
        let mut figures = status::sum(&shares);
        figures.notifications = parts.events.count(None);
        let upload = pending.of_all(now, figures.upload_bytes_per_second);
        let renames = status::renames(&parts.catalog, |share| state.shares.name_of(share)).await;
        let settings = &state.settings.current().settings;
        let stranded = state.stranded(settings, &pending).await.unwrap_or_else(|error| {
            tracing::error!("the catalog does not tell of shares that were left: {error}");
            Vec::new()
        });
        let mut machine = self.machine.status();
        machine.nfs_sessions = self.server.connections() as u64;
        GatewayStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            serving: self.serving.load(Ordering::Relaxed),
            settings_problem: state.problems(&stranded, self.metrics_problem()).await,
            cache: status::cache(&parts.cache),
            shutdown: status::shutdown(&upload, &shares),
            upload,
            figures,
            machine,
            renames: renames.unwrap_or_else(|error| {
                tracing::error!("the catalog does not tell of renames: {error}");
                Vec::new()
            }),
            shares,
            stranded,
            events: parts.events.list(),
        }
    }

    async fn settings(&self) -> (u64, Settings) {
        let state = self.state.lock().await;
        let stored = state.settings.current();
        let mut settings = stored.settings.clone();
        settings.s3.forget_secrets();
        (stored.revision, settings)
    }

    async fn replace_settings(
        &self,
        mut settings: Settings,
        how: ReplaceQuery,
    ) -> Result<SettingsReport, ControlError> {
        let mut state = self.state.lock().await;
        if !how.force_delete {
            state.leaves_nothing(&settings).await?;
        }
        settings.s3.keep_secrets_of(&state.settings.current().settings.s3);
        state.settings.replace(settings, how.revision).map_err(|error| match error {
            StoreError::Settings(error) => ControlError::Invalid(error.to_string()),
            StoreError::Outdated { .. } => ControlError::Conflict(error.to_string()),
            StoreError::Io { .. } | StoreError::Unusable { .. } => {
                ControlError::Failed(error.to_string())
            }
        })?;
        state.apply().await;
        let current = state.settings.current();
        let wanted = &current.settings.metrics;
        self.metrics.send_if_modified(|metrics| {
            let changed = metrics != wanted;
            metrics.clone_from(wanted);
            changed
        });
        Ok(SettingsReport { revision: current.revision, refused: state.shares.refused() })
    }

    async fn flush(&self) -> Result<(), ControlError> {
        let (parts, served) = {
            let state = self.state.lock().await;
            // Whoever asks for a flush may have mended what was refused.
            state.shares.try_again();
            (state.shares.parts().clone(), state.shares.served())
        };
        let catalog = parts.catalog;
        // A commit is not to be let go of in its midst where whoever asked goes away.
        let write_back = Arc::clone(&parts.write_back);
        let flushed = tokio::spawn(async move { write_back.flush_all().await });
        flushed.await.map_err(|died| ControlError::Failed(died.to_string()))?;
        finished(&catalog, parts.clock.now(), &parts.tasks, &served).await
    }

    async fn file(&self, request: FileRequest) -> Result<FileStatus, ControlError> {
        let (found, catalog, bucket) = {
            let state = self.state.lock().await;
            let settings = &state.settings.current().settings;
            let share = settings.shares.iter().find(|share| share.name == request.share);
            let bucket = share.map(|share| share.bucket.clone());
            (state.shares.movers(&request.share), state.shares.parts().catalog.clone(), bucket)
        };
        let (Some((_, root)), Some(bucket)) = (found, bucket) else {
            return Err(ControlError::NotFound(format!("no share is called {}", request.share)));
        };
        let ino = find(&catalog, root, &request.share, &request.path).await?;
        let standing = catalog.standing(ino).await.map_err(|e| failed(&e))?;
        let inode = &standing.inode;
        let kind = match inode.kind {
            FileKind::File => "file",
            FileKind::Directory => "directory",
            FileKind::Symlink => "symlink",
        };
        Ok(FileStatus {
            kind: kind.to_owned(),
            size: ByteSize(inode.size),
            cached: ByteSize(standing.cached),
            bucket,
            etag: inode.etag.as_ref().map(|etag| etag.as_str().to_owned()),
            version_id: standing.version_id.clone(),
            state: file_state(&standing),
            key: standing.key,
        })
    }

    async fn refresh(&self, request: RefreshRequest) -> Result<RefreshReport, ControlError> {
        let found = self.state.lock().await.shares.movers(&request.share);
        let Some((movers, root)) = found else { return Err(no_share(&request.share)) };
        let refresher = movers.refresher();
        let (share, path) = (&request.share, request.path.trim_matches('/'));
        let dir = refresher.find(root, path).await.map_err(|error| not_refreshed(&error))?;
        let Some(dir) = dir else {
            return Err(ControlError::NotFound(format!("{share}:/{path} is no directory")));
        };
        let done = refresher.tree(dir, path, request.recursive).await;
        done.map_err(|error| not_refreshed(&error))
    }

    async fn keys(&self, request: KeysRequest) -> Result<KeysPage, ControlError> {
        let (id, catalog) = {
            let state = self.state.lock().await;
            (state.shares.id(&request.share), state.shares.parts().catalog.clone())
        };
        let Some(id) = id else { return Err(no_share(&request.share)) };
        let after = Ino(request.after);
        let found = catalog.aliased(id, after, KEYS_MAX).await.map_err(|e| failed(&e))?;
        let next = found.last().filter(|_| found.len() == KEYS_MAX).map(|last| last.ino.0);
        let shown = |one: Aliased| AliasedKey {
            reason: keymap::reason(&one.part).to_owned(),
            key: one.key,
            path: one.path,
        };
        Ok(KeysPage { keys: found.into_iter().map(shown).collect(), next })
    }

    async fn failing(&self, request: FailingRequest) -> Result<FailingPage, ControlError> {
        let catalog = self.state.lock().await.shares.parts().catalog.clone();
        failing::page(&catalog, &request).await
    }

    async fn disks(&self) -> Result<DisksStatus, ControlError> {
        let parts = self.state.lock().await.shares.parts().clone();
        disk_control::status(&parts).await
    }

    async fn release_disk(&self, request: DiskRequest) -> Result<(), ControlError> {
        let state = self.state.lock().await;
        disk_control::set_draining(state.shares.parts(), &request.name, true).await
    }

    async fn keep_disk(&self, request: DiskRequest) -> Result<(), ControlError> {
        let state = self.state.lock().await;
        disk_control::set_draining(state.shares.parts(), &request.name, false).await
    }

    async fn forget_disk(&self, request: ForgetRequest) -> Result<ForgetReport, ControlError> {
        let parts = self.state.lock().await.shares.parts().clone();
        disk_control::forget(&parts, &request).await
    }

    async fn test_connection(
        &self,
        mut target: ConnectionTest,
    ) -> Result<mpsc::Receiver<StepReport>, ControlError> {
        let turn = Arc::clone(&self.testing).try_lock_owned().map_err(|_| {
            ControlError::Conflict("another test of a connection is under way".to_owned())
        })?;
        target.s3.keep_secrets_of(&self.state.lock().await.settings.current().settings.s3);
        let name = connection::scratch_name();
        // Room for every report: the test goes on to its end, and cleans up, even if nobody looks.
        let (sender, reports) = mpsc::channel(Step::ALL.len());
        tokio::spawn(async move {
            let _turn = turn;
            let mut report = |report: StepReport| {
                let _nobody_looks = sender.try_send(report);
            };
            connection::test(&target, &name, &mut report).await;
        });
        Ok(reports)
    }
}

fn no_share(share: &ShareName) -> ControlError {
    ControlError::NotFound(format!("no share is called {share}"))
}

fn not_refreshed(error: &RefreshError) -> ControlError {
    match error {
        RefreshError::Busy => {
            ControlError::Conflict("too many refreshes are under way: try again later".to_owned())
        }
        RefreshError::Store(_)
        | RefreshError::Catalog(_)
        | RefreshError::Interrupted
        | RefreshError::TooLarge(_) => ControlError::Failed(error.to_string()),
    }
}
