//! The only wiring: builds the parts in the order of recovery, serves, and stops in order.
//!
//! Nothing knows this module. Start: state lock and identity → settings → catalog and cache →
//! recovery → movers → shares → NFS → admin socket → `READY=1`. Stop: no new calls, calls in
//! execution finished, written bytes committed, movers let go, catalog closed clean. Uploads go on at
//! the next start.
mod bandwidth;
mod credentials;
mod damage;
mod disk_control;
mod disk_counts;
mod disks;
mod failing;
mod gateway;
mod machine;
mod metrics;
mod orphans;
mod probe;
mod rounds;
mod shares;
mod status;
mod stranded;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use gateway_api::status::HealthEventKind;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    admin,
    cache::{CacheError, CacheStore, DiskIo, HostDisk},
    catalog::{Catalog, CatalogError},
    cli::ServeArgs,
    clock::{Clock, SystemClock},
    identity::{DirectoryLock, Identity, IdentityError},
    locks::InodeLocks,
    nfs::{self, Exports, HandleCodec, Limits, NFS_PORT},
    recovery::{self, RecoveryError},
    settings::{SettingsStore, StoreError},
    share::Events,
    store::S3Credentials,
    systemd::{self, HandedSockets},
    tasks::Tasks,
    vfs::{Verifier, WriteBack},
};
use bandwidth::Bandwidth;
pub use disks::DiskError;
use gateway::Gateway;
use machine::Machine;
use shares::Shares;

/// How often files that nobody committed are looked for.
const FLUSH_IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the free space of the cache disk is looked at.
const EVICT_INTERVAL: Duration = Duration::from_millis(500);
/// How often it is looked whether something can leave a released cache disk.
const DRAIN_INTERVAL: Duration = Duration::from_secs(2);
/// Time for tasks to end at a stop, requests in flight included; what is written is committed after
/// that. PID 1 waits for half a minute.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Why the gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The sockets of the supervisor cannot be taken over.
    #[error("the sockets handed over cannot be used: {0}")]
    Sockets(#[source] io::Error),
    /// The async runtime or its signal handlers cannot start.
    #[error("the runtime cannot start: {0}")]
    Runtime(#[source] io::Error),
    /// The file of `--settings` cannot be read.
    #[error("cannot read the settings file {path}: {source}")]
    Seed {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The settings cannot be kept.
    #[error(transparent)]
    Settings(#[from] StoreError),
    /// The cache directory cannot be made.
    #[error("the cache directory {path} cannot be used: {source}")]
    CacheDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The catalog cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The catalog was found damaged while it was in use: the next start makes it anew.
    #[error("the catalog is damaged ({0}): started again, the gateway makes it anew")]
    CatalogDamaged(String),
    /// A cache disk is not what it is given for.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// What an earlier run left cannot be put right.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// No random numbers for the write verifier.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// Neither `--listen` nor handed sockets.
    #[error("nothing to listen on: give --listen ADDR:PORT, such as --listen 127.0.0.1:12049")]
    NoListener,
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The admin socket cannot be made.
    #[error(transparent)]
    Admin(#[from] admin::ServerError),
    /// A part without which the gateway must not go on has ended; its log line says which.
    #[error("a critical task has ended")]
    CriticalTask,
}

impl RunError {
    /// Whether starting again would meet the same error until somebody does something.
    pub fn needs_operator(&self) -> bool {
        let catalog = |error: &CatalogError| {
            error.is_corruption()
                || matches!(
                    error,
                    CatalogError::SqliteTooOld { .. } | CatalogError::NewerSchema { .. }
                )
        };
        match self {
            Self::Catalog(error) | Self::Recovery(RecoveryError::Catalog(error)) => catalog(error),
            Self::Disk(DiskError::Catalog(error)) => catalog(error),
            Self::Disk(DiskError::Io { .. }) => false,
            Self::Disk(
                DiskError::NotPrimary { .. }
                | DiskError::NoCatalog { .. }
                | DiskError::Arguments(_),
            ) => true,
            Self::Identity(IdentityError::Damaged { .. }) | Self::NoListener => true,
            Self::Sockets(_)
            | Self::Runtime(_)
            | Self::Seed { .. }
            | Self::Identity(IdentityError::Io { .. } | IdentityError::InUse(_))
            | Self::Settings(_)
            | Self::CacheDirectory { .. }
            | Self::Cache(_)
            | Self::Recovery(RecoveryError::Cache(_))
            | Self::Random(_)
            | Self::Listen { .. }
            | Self::Admin(_)
            | Self::CatalogDamaged(_)
            | Self::CriticalTask => false,
        }
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`].
pub async fn serve(args: ServeArgs, sockets: HandedSockets) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Runtime)?;
    let _state_lock = DirectoryLock::take(&args.state)?;
    let identity = Identity::load_or_create(&args.state)?;
    let settings = open_settings(&args)?;
    let listeners = bind(&args, sockets).await?;

    std::fs::create_dir_all(&args.cache)
        .map_err(|source| RunError::CacheDirectory { path: args.cache.clone(), source })?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    disks::check_primary(&args.cache)?;
    let catalog = Catalog::open(&args.cache)?;
    let events = Events::new(Arc::clone(&clock));
    if let Some(rebuilt) = catalog.rebuilt() {
        damage::tell(&events, rebuilt);
    }
    let disks::Given { disks, mut left_out } =
        disks::open(&catalog, &args.cache, &args.cache_disk, || disk(&args)).await?;
    let (cache, unopened) = CacheStore::open_those_that_open(disks)?;
    left_out.extend(
        unopened
            .into_iter()
            .filter_map(|(name, error)| Some((name.parse().ok()?, error.to_string()))),
    );
    let recovered = recovery::recover(&catalog, &cache, clock.as_ref())
        .await
        .map_err(|error| damage::note_of_recovery(&args.cache, &catalog, error))?;
    tracing::info!("catalog and cache are in order: {recovered}");
    for event in recovered.events {
        events.add(event.kind, event.share, event.message);
    }
    for (name, why) in &left_out {
        let message = format!("the cache disk {name} is not used: {why}");
        tracing::error!("{message}");
        events.add(HealthEventKind::CacheDiskMissing, None, message);
    }

    let locks = InodeLocks::default();
    let write_back = Arc::new(WriteBack::new(
        catalog.clone(),
        cache.clone(),
        locks.clone(),
        Arc::clone(&clock),
        Verifier::random().map_err(RunError::Random)?,
        events.clone(),
        settings.current().settings.cache.upload_delay_ms,
    ));
    let tasks = Tasks::default();
    let exports = Arc::new(Exports::new());
    let handles = HandleCodec::new(&identity.handle_key, catalog.generation());
    let bandwidth = Arc::new(Bandwidth::new(Arc::clone(&clock), events.clone()));
    let shares = Shares::new(shares::Parts {
        catalog: catalog.clone(),
        cache: cache.clone(),
        locks,
        clock: Arc::clone(&clock),
        write_back: Arc::clone(&write_back),
        events,
        exports: Arc::clone(&exports),
        tasks: tasks.clone(),
        gateway_id: identity.gateway_id,
        bandwidth: Arc::clone(&bandwidth),
        orphaned_upload_days: Arc::default(),
        credentials: S3Credentials::new(&settings.current().settings.s3),
        disks_left_out: Arc::new(left_out),
        disk_counts: Arc::default(),
    });
    let lanes = nfs::Lanes::new().map_err(RunError::Runtime)?;
    let server = nfs::Server::new(exports, handles, Limits::default()).on_lanes(lanes);
    let machine = Arc::new(Machine::default());
    let gateway = Arc::new(Gateway::new(shares, settings, Arc::clone(&machine), server.clone()));
    gateway.apply().await;
    tasks.spawn_critical("upload", gateway.uploader().run(tasks.stopping().clone()));
    tasks.spawn_critical("evict", evict_ahead(Arc::clone(&write_back), tasks.clone()));
    tasks.spawn_critical("drain", drain(Arc::clone(&write_back), tasks.clone()));
    tasks.spawn_critical("write-back", flush_idle(Arc::clone(&write_back), tasks.clone()));

    let stop = tasks.stopping().clone();
    tasks.spawn("machine", async move { machine.watch(stop).await });
    let stop = tasks.stopping().clone();
    tasks.spawn_critical("bandwidth", async move { bandwidth.run(stop).await });
    tasks.spawn_critical("metrics", metrics::serve(Arc::clone(&gateway), tasks.clone()));
    let serving = listeners.serve(&server, &tasks);
    let socket = args.admin.clone().unwrap_or_else(|| args.state.join("admin.sock"));
    let admin = admin::Server::bind(&socket)?;
    tasks.spawn_critical("admin", admin.serve(Arc::clone(&gateway) as _, tasks.stopping().clone()));
    tasks.spawn("watchdog", systemd::keep_watchdog(tasks.stopping().clone()));
    gateway.now_serving();
    for address in &serving {
        println!("serving NFS on {address}");
        tracing::info!("serving NFS on {address}");
    }
    systemd::ready("serving");

    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = tasks.critical_task_died() => Err(RunError::CriticalTask),
        words = catalog.damaged() => Err(damage::note(&args.cache, words)),
    };
    systemd::stopping();
    tracing::info!("stopping");
    if tokio::time::timeout(STOP_LIMIT, tasks.stop()).await.is_err() {
        tracing::warn!(
            "some tasks still wait for S3; what they were doing is done at the next start"
        );
    }
    let flushed = write_back.flush_all().await;
    if let Err(error) = write_back.doubt_uncommitted().await {
        tracing::error!("writes that could not be committed may look like damage later: {error}");
    }
    write_back.removals_done().await;
    if let Err(error) = write_back.settle().await {
        tracing::warn!("some small files go to the cache disk at the next start: {error}");
    }
    tracing::info!("stopped; written bytes of {flushed} files were brought to the cache disk");
    let closed = catalog.close().await;
    ended?;
    Ok(closed?)
}

/// What the cache is on.
#[cfg(not(feature = "testing"))]
fn disk(_: &ServeArgs) -> Arc<dyn DiskIo> {
    Arc::new(HostDisk)
}

#[cfg(feature = "testing")]
fn disk(args: &ServeArgs) -> Arc<dyn DiskIo> {
    match args.cache_bytes {
        Some(bytes) => Arc::new(crate::cache::small_disk::SmallDisk::new(bytes)),
        None => Arc::new(HostDisk),
    }
}

fn open_settings(args: &ServeArgs) -> Result<SettingsStore, RunError> {
    let seed = match &args.settings {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|source| RunError::Seed { path: path.clone(), source })?,
        ),
        None => None,
    };
    let store = SettingsStore::open(&args.state, seed.as_deref())?;
    if let Some(problem) = store.problem() {
        tracing::error!("settings: {problem}");
    }
    Ok(store)
}

/// Commits what was written and then left alone, until the stop.
async fn flush_idle(write_back: Arc<WriteBack>, tasks: Tasks) {
    let mut ticks = tokio::time::interval(FLUSH_IDLE_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                write_back.flush_idle().await;
                write_back.flush_growing().await;
                if let Err(error) = write_back.settle().await {
                    tracing::error!("the cache disk cannot be synced, trying again: {error}");
                }
            }
            () = tasks.stopping().cancelled() => return,
        }
    }
}

/// Empties cache disks that were released, until the stop.
async fn drain(write_back: Arc<WriteBack>, tasks: Tasks) {
    let mut ticks = tokio::time::interval(DRAIN_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = tasks.stopping().cancelled() => return,
        }
        // A round over many files need not end before the stop: the next start goes on.
        tokio::select! {
            drained = write_back.drain() => if let Err(error) = drained {
                tracing::error!("a released cache disk cannot be emptied, trying again: {error}");
            },
            () = tasks.stopping().cancelled() => return,
        }
    }
}

/// Keeps some of the cache disk free for what comes next, until the stop.
async fn evict_ahead(write_back: Arc<WriteBack>, tasks: Tasks) {
    let mut ticks = tokio::time::interval(EVICT_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if let Err(error) = write_back.evict_ahead().await {
                    tracing::error!("no room can be made on the cache disk, trying again: {error}");
                }
                if let Err(error) = write_back.look_at_pressure().await {
                    tracing::error!("the pace of writers is as it was: {error}");
                }
            }
            () = tasks.stopping().cancelled() => return,
        }
    }
}

/// What the server listens on.
struct Listeners {
    tcp: Vec<TcpListener>,
    udp: Vec<tokio::net::UdpSocket>,
}

async fn bind(args: &ServeArgs, sockets: HandedSockets) -> Result<Listeners, RunError> {
    let mut listeners = Listeners { tcp: Vec::new(), udp: Vec::new() };
    for socket in sockets.tcp {
        listeners.tcp.push(TcpListener::from_std(socket).map_err(RunError::Sockets)?);
    }
    for socket in sockets.portmap_udp {
        let socket = tokio::net::UdpSocket::from_std(socket).map_err(RunError::Sockets)?;
        listeners.udp.push(socket);
    }
    if let Some(address) = args.listen {
        let bound = TcpListener::bind(address).await;
        listeners.tcp.push(bound.map_err(|source| RunError::Listen { address, source })?);
    }
    if listeners.tcp.is_empty() {
        return Err(RunError::NoListener);
    }
    Ok(listeners)
}

impl Listeners {
    /// Serves on all of them; answers the addresses where NFS is.
    fn serve(self, server: &nfs::Server, tasks: &Tasks) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for listener in self.tcp {
            let (server, stop) = (server.clone(), tasks.stopping().clone());
            let Ok(address) = listener.local_addr() else { continue };
            if address.port() == nfs::PORTMAP_PORT {
                tasks.spawn_critical("portmap", async move {
                    server.serve_portmap_tcp(listener, NFS_PORT, stop).await;
                });
            } else {
                addresses.push(address);
                tasks.spawn_critical("nfs", async move {
                    if let Err(error) = server.serve(listener, stop).await {
                        tracing::error!("cannot serve on {address}: {error}");
                    }
                });
            }
        }
        for socket in self.udp {
            let (server, stop) = (server.clone(), tasks.stopping().clone());
            tasks.spawn_critical("portmap over UDP", async move {
                server.serve_portmap_udp(socket, NFS_PORT, stop).await;
            });
        }
        addresses
    }
}
