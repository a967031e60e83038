//! The boot of stage 2 as a list of named phases, each with what happens when it fails. A phase that
//! fails is worked around: the console must come up, because it is where the failure is mended.
//!
//! What can hang is done by a child of PID 1, which is given up after the phase's limit; the rest
//! touches nothing but the kernel's own file systems and the mounted config partition.
mod in_child;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, chown},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use nix::unistd::sethostname;

pub(crate) use self::in_child::print_phase;
use crate::{
    cgroup,
    children::{Entries, OwnEntries},
    disks, journald, kernel_settings,
    machine::Machine,
    modules::Modules,
    mounts,
    observed::{self, MachineState, NetworkPlan},
    reserve, seed, service,
    sys::{self, CommandLine},
    time,
};

/// The machine's settings file.
pub(crate) const MACHINE_FILE: &str = "/config/machine.toml";
/// Making, or mending after a power cut, a file system of 64 MiB.
const CONFIG_LIMIT: Duration = Duration::from_secs(120);
/// Without it, a change of the settings may fail later.
const NO_RESERVE: &str = "the system disk is full: its partition for settings has no room to spare";
/// Every source of a seed: CDs that spin up, a host that does not answer.
const SEED_LIMIT: Duration = Duration::from_secs(60);

/// What the phases work on and leave behind.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) line: CommandLine,
    pub(crate) modules: Modules,
    pub(crate) machine: Machine,
    pub(crate) state: MachineState,
    /// How long each phase took, in seconds.
    pub(crate) took: Vec<(&'static str, f64)>,
    /// Phases that failed and should not have.
    pub(crate) failed: Vec<&'static str>,
    /// What is for the journal, once there is one.
    pub(crate) notes: Vec<String>,
    /// Has work done in children.
    entries: Box<dyn Entries>,
}

impl Default for Boot {
    fn default() -> Self {
        Self {
            line: CommandLine::default(),
            modules: Modules::default(),
            machine: Machine::default(),
            state: MachineState::default(),
            took: Vec::new(),
            failed: Vec::new(),
            notes: Vec::new(),
            entries: Box::new(OwnEntries),
        }
    }
}

/// One phase.
pub(crate) struct Phase {
    /// What it is called when it fails.
    name: &'static str,
    work: Work,
    on_failure: OnFailure,
}

/// What a phase does.
enum Work {
    /// Something that cannot hang, by PID 1 itself.
    Here(fn(&mut Boot) -> Result<()>),
    /// Something that a child does, which is given up after so long.
    InChild(Duration, fn(&mut Boot, Duration) -> Result<()>),
}

/// What becomes of a failure. The boot goes on after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFailure {
    /// The operator is told, on the kernel's log and on the status page.
    Say,
    /// It is for the journal: nothing that an operator could mend.
    Note,
}

const fn here(name: &'static str, run: fn(&mut Boot) -> Result<()>) -> Phase {
    Phase { name, work: Work::Here(run), on_failure: OnFailure::Say }
}

const fn in_child(
    name: &'static str,
    limit: Duration,
    run: fn(&mut Boot, Duration) -> Result<()>,
) -> Phase {
    Phase { name, work: Work::InChild(limit, run), on_failure: OnFailure::Say }
}

/// All phases before the services, in order. The cache disks come after them (`pid1/disks.rs`): nothing
/// but the gateway waits for them.
pub(crate) const PHASES: &[Phase] = &[
    here("mounts", mount_everything),
    Phase {
        on_failure: OnFailure::Note,
        ..here("kernel settings", |boot| kernel_settings::apply(&mut boot.notes))
    },
    Phase { on_failure: OnFailure::Note, ..here("processes", protect_processes) },
    here("drivers", load_drivers),
    in_child("config partition", CONFIG_LIMIT, mount_config),
    here("machine settings", load_machine),
    in_child("seed", SEED_LIMIT, apply_seed),
    here("host name", |boot| set_hostname(boot, &boot.machine.hostname.clone())),
    here("time zone", set_zone),
    here("network settings", plan_network),
    here("journal", |_| journald::prepare()),
];

/// Runs phases in their order.
pub(crate) fn run(phases: &[Phase], boot: &mut Boot) {
    for phase in phases {
        let begun = sys::since_boot();
        let done = match phase.work {
            Work::Here(run) => run(boot),
            Work::InChild(limit, run) => run(boot, limit),
        };
        boot.took.push((phase.name, sys::since_boot().saturating_sub(begun).as_secs_f64()));
        if let Err(error) = done {
            let problem = format!("{}: {error:#}", phase.name);
            match phase.on_failure {
                OnFailure::Say => {
                    boot.failed.push(phase.name);
                    boot.say(problem);
                }
                OnFailure::Note => boot.notes.push(problem),
            }
        }
    }
}

impl Boot {
    /// Tells the operator of a problem.
    pub(crate) fn say(&mut self, problem: String) {
        sys::say(&problem);
        self.state.problems.push(problem);
    }
}

fn mount_everything(boot: &mut Boot) -> Result<()> {
    mounts::mount_all(mounts::KERNEL)?;
    boot.modules = Modules::open();
    boot.modules.load("efivarfs");
    mounts::mount_all(mounts::ROOT)?;
    boot.line = CommandLine::read();
    for folder in ["/run/etc", "/run/tidegate", "/run/lock", "/var/log", "/var/lib"] {
        fs::create_dir_all(folder).with_context(|| folder.to_owned())?;
    }
    fs::write("/run/etc/resolv.conf", "")?;
    for (folder, user) in
        [("/var/lib/chrony", "chrony"), ("/run/chrony", "chrony"), ("/run/gateway", "gateway")]
    {
        let (uid, gid) = service::user(user)?;
        DirBuilder::new().mode(0o750).create(folder).with_context(|| folder.to_owned())?;
        chown(folder, Some(uid), Some(gid)).with_context(|| folder.to_owned())?;
    }
    Ok(())
}

/// Hides processes from one another, and sees to it that those who want too much memory go before those
/// who mend it.
fn protect_processes(_boot: &mut Boot) -> Result<()> {
    let hidden = mounts::hide_processes(service::group("console")?);
    let last_to_go = fs::write("/proc/self/oom_score_adj", "-1000").context("oom_score_adj");
    let bounded = cgroup::prepare().context("the gateway's memory is not bounded");
    // Each is of use without the others.
    hidden.and(last_to_go).and(bounded)
}

fn load_drivers(boot: &mut Boot) -> Result<()> {
    for module in ["button", "evdev"] {
        boot.modules.load(module);
    }
    if sys::is_vmware() {
        // By which its tools talk to the host. There is no modprobe here that a socket would call for.
        for module in ["vmw_vmci", "vsock", "vmw_vsock_vmci_transport"] {
            boot.modules.load(module);
        }
    }
    boot.modules.coldplug();
    disks::settle(&mut boot.modules);
    Ok(())
}

fn mount_config(boot: &mut Boot, limit: Duration) -> Result<()> {
    in_child::run(boot, in_child::CONFIG, limit)?;
    let (uid, gid) = service::user("gateway")?;
    if !Path::new(service::GATEWAY_STATE).exists() {
        DirBuilder::new()
            .mode(0o700)
            .create(service::GATEWAY_STATE)
            .context(service::GATEWAY_STATE)?;
    }
    chown(service::GATEWAY_STATE, Some(uid), Some(gid)).context(service::GATEWAY_STATE)?;
    reserve::hold(Path::new(disks::CONFIG)).context(NO_RESERVE)
}

fn load_machine(boot: &mut Boot) -> Result<()> {
    let (machine, problem) = Machine::load(Path::new(MACHINE_FILE), Path::new(time::ZONES));
    boot.machine = machine.unwrap_or_default();
    match problem {
        Some(problem) => Err(anyhow!(problem)),
        None => Ok(()),
    }
}

fn apply_seed(boot: &mut Boot, limit: Duration) -> Result<()> {
    let found = boot.entries.run(&["find-seed"], limit).context("looking for one")?;
    let told: seed::Told = serde_json::from_slice(&found).context("what was found")?;
    for problem in &told.problems {
        boot.say(format!("seed: {problem}"));
    }
    if !told.from.is_empty() {
        boot.notes.push(format!("seed: {}", told.from.join(", ")));
    }
    let gateway = service::user("gateway")?;
    let zones = Path::new(time::ZONES);
    let machine = &mut boot.machine;
    // Noted as applied only after everything in it is: a power cut in between repeats it.
    seed::apply(&told, Path::new(disks::CONFIG), zones, gateway, |seeded| {
        *machine = seeded.keeping_password_of(machine);
        machine.store(Path::new(MACHINE_FILE)).context(MACHINE_FILE)
    })
}

/// Gives the machine a name: that of its settings, or the one that DHCP has given it.
pub(crate) fn set_hostname(boot: &mut Boot, name: &str) -> Result<()> {
    name.clone_into(&mut boot.state.hostname);
    fs::write("/run/etc/hostname", format!("{name}\n"))?;
    Ok(sethostname(name)?)
}

/// Puts the machine into the time zone of its settings.
pub(crate) fn set_zone(boot: &mut Boot) -> Result<()> {
    boot.state.timezone.clone_from(&boot.machine.timezone);
    time::set_zone(&boot.machine.timezone).context("setting the time zone")
}

/// Tells the network service what is set at the boot.
fn plan_network(boot: &mut Boot) -> Result<()> {
    tell_network(&boot.machine, false)
}

/// Tells the network service what is set, and whether that may be taken back. It looks at its start and on
/// SIGHUP.
pub(crate) fn tell_network(machine: &Machine, on_trial: bool) -> Result<()> {
    let plan = NetworkPlan { network: machine.network.clone(), on_trial };
    observed::write(observed::NETWORK_PLAN, &plan).context(observed::NETWORK_PLAN)
}
