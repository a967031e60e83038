//! What the pages show: one look at everything, taken off the key loop.
use std::{
    fs, io,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use gateway_api::{
    ByteSize, GatewayStatus, Settings,
    admin::ADMIN_SOCKET,
    client::{AdminClient, ClientError},
};

use super::routes;
use crate::{
    confine, control, disks,
    gateway_disks::{self, GatewayDisk},
    gateway_tool::{self, GatewayTool},
    machine::Machine,
    memory, not_toml,
    observed::{self, MachineState, NetworkState},
    sys, time,
};

/// How long the gateway may take to answer.
pub(super) const GATEWAY_TIME: Duration = Duration::from_secs(5);

/// Settings that the gateway keeps and that cannot be read are asked for again after this time.
const STORED_PAUSE: Duration = Duration::from_secs(30);

/// Regions with their cities.
pub(super) type Zones = Vec<(String, Vec<String>)>;

/// Everything that the pages show.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) machine: MachineState,
    pub(super) network: NetworkState,
    /// The machine's settings, or why there are none.
    pub(super) settings: Result<Machine, String>,
    /// Counts their changes; 0 as long as there are none.
    pub(super) settings_revision: u64,
    /// Whether the console has a password, or why that is not known.
    pub(super) password_set: Result<bool, String>,
    /// The gateway's status, or why there is none.
    pub(super) gateway: Result<GatewayStatus, String>,
    /// The gateway's settings and their revision, or why there are none.
    pub(super) gateway_settings: Result<(u64, Settings), String>,
    /// The settings that the gateway keeps, without secrets, while it does not answer; else why there
    /// are none.
    pub(super) stored_settings: Result<Settings, String>,
    /// What `date` says.
    pub(super) clock: String,
    pub(super) resources: Resources,
    /// What the gateway says of its cache disks, or why it does not.
    pub(super) gateway_disks: Result<Vec<GatewayDisk>, String>,
    /// The kernel's routes.
    pub(super) routes: Vec<String>,
    /// Regions of the tz database with their cities.
    pub(super) zones: Arc<Zones>,
    /// Time since boot, for what has an end.
    pub(super) now: Duration,
}

/// What the machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resources {
    pub(super) cpus: usize,
    pub(super) memory: ByteSize,
    /// How much of it is in use, and by whom.
    pub(super) memory_in_use: String,
    /// The system disk's partition for settings and the journal: its size and what is free.
    pub(super) config: Option<(ByteSize, ByteSize)>,
    /// What the gateway may touch.
    pub(super) confinement: String,
}

impl View {
    /// Before the first look.
    pub(super) fn unseen() -> Self {
        let unseen = || "not asked yet".to_owned();
        Self {
            machine: MachineState::default(),
            network: NetworkState::default(),
            settings: Err(unseen()),
            settings_revision: 0,
            password_set: Err(unseen()),
            gateway: Err(unseen()),
            gateway_settings: Err(unseen()),
            stored_settings: Err(unseen()),
            clock: String::new(),
            resources: Resources::default(),
            gateway_disks: Err(unseen()),
            routes: Vec::new(),
            zones: Arc::default(),
            now: Duration::ZERO,
        }
    }
}

/// Looks at everything. Takes as long as the gateway and PID 1 take to answer.
pub(super) fn look() -> View {
    static ZONES: OnceLock<Arc<Zones>> = OnceLock::new();
    let client = AdminClient::new(ADMIN_SOCKET, GATEWAY_TIME);
    let gateway = client.status().map_err(|error| why(&error));
    let gateway_settings = match &gateway {
        Ok(_) => client.settings().map_err(|error| why(&error)),
        Err(why) => Err(why.clone()),
    };
    let stored_settings = stored_settings(gateway_settings.is_ok());
    let gateway_disks = match &gateway {
        Ok(_) => gateway_disks::list(),
        Err(why) => Err(why.clone()),
    };
    // Before the settings: whoever sees that a trial is over sees those that are in use since.
    let machine = observed::read(observed::MACHINE);
    let (settings, settings_revision, password_set) = match control::settings() {
        Ok((settings, revision, set)) => (Ok(settings), revision, Ok(set)),
        Err(why) => (Err(why.clone()), 0, Err(why)),
    };
    View {
        machine,
        network: observed::read(observed::NETWORK),
        settings,
        settings_revision,
        password_set,
        gateway,
        gateway_settings,
        stored_settings,
        clock: output("/usr/bin/date", &["+%Y-%m-%d %H:%M:%S %Z (%z)"]),
        resources: resources(),
        gateway_disks,
        routes: routes(),
        zones: Arc::clone(ZONES.get_or_init(|| Arc::new(zones(Path::new(time::ZONES))))),
        now: sys::since_boot(),
    }
}

/// The settings that the gateway keeps. While it does not run nobody changes them: they are asked for
/// once, and again after a while if they cannot be read.
fn stored_settings(gateway_answers: bool) -> Result<Settings, String> {
    static STORED: Mutex<Option<(Duration, Result<Settings, String>)>> = Mutex::new(None);
    let mut stored = STORED.lock().unwrap_or_else(PoisonError::into_inner);
    if gateway_answers {
        *stored = None;
        return Err("the gateway answers for them".to_owned());
    }
    let now = sys::since_boot();
    let (_, settings) = match stored.take() {
        Some((at, Err(why))) if now < at + STORED_PAUSE => stored.insert((at, Err(why))),
        Some((at, Ok(settings))) => stored.insert((at, Ok(settings))),
        Some((_, Err(_))) | None => stored.insert((now, ask_for_stored_settings())),
    };
    settings.clone()
}

fn ask_for_stored_settings() -> Result<Settings, String> {
    let mut text = String::new();
    gateway_tool::ask(GatewayTool::Settings, b"", |line| {
        text.push_str(&line);
        text.push('\n');
    })?;
    not_toml::gateway_settings(&text)
}

/// Why the gateway does not tell its status. PID 1 starts it whenever it does not run, and lists what
/// goes wrong with that among the problems.
fn why(error: &ClientError) -> String {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    match error {
        ClientError::Unreachable { source, .. }
            if matches!(source.kind(), NotFound | ConnectionRefused) =>
        {
            "it is being started".to_owned()
        }
        ClientError::Unreachable { .. }
        | ClientError::Broken(_)
        | ClientError::Unreadable(_)
        | ClientError::Refused { .. } => error.to_string(),
    }
}

fn zones(database: &Path) -> Zones {
    let regions = time::regions(database).into_iter();
    regions
        .map(|region| {
            let cities = time::cities(database, &region);
            (region, cities)
        })
        .collect()
}

fn resources() -> Resources {
    let config = nix::sys::statvfs::statvfs(disks::CONFIG).ok().map(|stat| {
        let unit = stat.fragment_size();
        (
            ByteSize(stat.blocks().saturating_mul(unit)),
            ByteSize(stat.blocks_available().saturating_mul(unit)),
        )
    });
    Resources {
        cpus: std::thread::available_parallelism().map_or(0, usize::from),
        memory: memory::total().unwrap_or_default(),
        memory_in_use: memory::in_words(),
        config,
        confinement: confine::in_words(),
    }
}

/// The kernel's routes.
pub(super) fn routes() -> Vec<String> {
    // Without IPv6 there is no such file, and without routes nothing to show.
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    routes::all(&read("/proc/net/route"), &read("/proc/net/ipv6_route"))
}

/// What a program prints, or why it does not.
fn output(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).env_clear().output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
        }
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            format!("{program}: {} {}", output.status, words.trim())
        }
        Err(error) => format!("{program}: {error}"),
    }
}
