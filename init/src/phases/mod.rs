//! The boot of stage 2 as a list of named phases, each with what happens when it fails. A phase that
//! fails is worked around: the console must come up, because it is where the failure is mended.
//!
//! What can hang is done by a child of PID 1, which is given up after the phase's limit: drivers that probe,
//! and everything that writes to the system disk or reads its settings. The rest touches the kernel's own file
//! systems, and reads the root file system, from which PID 1 itself comes.
mod in_child;
mod late;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, chown},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use nix::unistd::sethostname;
use serde_json::Value;

pub(crate) use self::{
    in_child::print_phase,
    late::{begin_reading, take_in},
};
use crate::{
    cgroup,
    children::{Entries, OwnEntries},
    kernel_settings,
    machine::Machine,
    mounts,
    observed::{self, MachineState, NetworkPlan},
    seed, service,
    sys::{self, CommandLine},
    time,
    unread::Unread,
    update::Note,
};

/// The machine's settings file.
pub(crate) const MACHINE_FILE: &str = "/config/machine.toml";
/// A controller that probes each of its ports in turn.
const DRIVERS_LIMIT: Duration = Duration::from_secs(120);
/// Making, or mending after a power cut, a file system of 64 MiB.
const CONFIG_LIMIT: Duration = Duration::from_secs(120);
/// Every source of a seed: CDs that spin up, a host that does not answer.
const SEED_LIMIT: Duration = Duration::from_secs(60);
/// Some small files on a disk that may stand still while its storage fails over: who gives up begins without
/// his settings, and asks for them again (`late.rs`).
const FILES_LIMIT: Duration = Duration::from_secs(300);
/// A variable of the firmware.
const EFI_LIMIT: Duration = Duration::from_secs(30);
/// Some small files while the machine runs: so long PID 1 does nothing else, and the gateway's watchdog must not bite.
const KEEP_LIMIT: Duration = Duration::from_secs(25);

/// Phases without which the settings on the disk are not known.
const CONFIG_PARTITION: &str = "config partition";
const MACHINE_SETTINGS: &str = "machine settings";
const SEED: &str = "seed";

/// What the phases work on and leave behind.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) line: CommandLine,
    pub(crate) machine: Machine,
    pub(crate) state: MachineState,
    /// How long each phase took, in seconds.
    pub(crate) took: Vec<(&'static str, f64)>,
    /// Phases that failed and should not have.
    pub(crate) failed: Vec<&'static str>,
    /// What is for the journal, once there is one.
    pub(crate) notes: Vec<String>,
    /// Settings on the disk that are not those in use, because nobody could read them.
    pub(crate) unread: Unread,
    /// What was told from outside, and is to be applied to them once they are read.
    held_seed: Option<seed::Told>,
    /// Whether a child broke off that may have written the gateway's part of it.
    perhaps_seeded: bool,
    /// Has work done in children.
    entries: Box<dyn Entries>,
}

impl Default for Boot {
    fn default() -> Self {
        Self {
            line: CommandLine::default(),
            machine: Machine::default(),
            state: MachineState::default(),
            took: Vec::new(),
            failed: Vec::new(),
            notes: Vec::new(),
            unread: Unread::default(),
            held_seed: None,
            perhaps_seeded: false,
            entries: Box::new(OwnEntries::default()),
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
    in_child("drivers", DRIVERS_LIMIT, |boot, limit| {
        in_child::run(boot, in_child::DRIVERS, &Value::Null, limit)
    }),
    in_child(CONFIG_PARTITION, CONFIG_LIMIT, mount_config),
    in_child(MACHINE_SETTINGS, FILES_LIMIT, load_machine),
    in_child(SEED, SEED_LIMIT, apply_seed),
    here("host name", |boot| set_hostname(boot, &boot.machine.hostname.clone())),
    here("time zone", set_zone),
    here("network settings", plan_network),
    in_child("journal", FILES_LIMIT, |boot, limit| {
        in_child::run(boot, in_child::JOURNAL, &Value::Null, limit)
    }),
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
    /// One whose children are recorded.
    #[cfg(test)]
    pub(crate) fn with(entries: Box<dyn Entries>) -> Self {
        Self { entries, ..Self::default() }
    }

    /// Tells the operator of a problem.
    pub(crate) fn say(&mut self, problem: String) {
        sys::say(&problem);
        self.state.problems.push(problem);
    }

    /// Forgets children that were given up and have ended; to be called every second.
    pub(crate) fn forget_ended(&mut self) {
        self.entries.forget_ended();
    }

    /// Why the settings on the disk cannot be read, if whoever stands before the console may give them up: where a
    /// password is known, that is not anybody.
    pub(crate) fn lost_settings(&self) -> Option<&str> {
        self.unread.can_be_given_up().filter(|_| self.machine.password_hash.is_none())
    }

    /// Gives them up.
    ///
    /// # Errors
    /// They may not be; what to do.
    pub(crate) fn give_up_settings(&mut self, now: Duration) -> Result<(), String> {
        if self.unread.can_be_given_up().is_some() && self.lost_settings().is_none() {
            return Err("a password is known: restart the appliance first".to_owned());
        }
        self.unread.give_up(now)
    }

    /// The settings on the disk are not known, because of this phase.
    fn miss(&mut self, phase: &'static str, why: &anyhow::Error) {
        self.unread.missed(phase, why.into(), sys::since_boot());
    }
}

fn mount_everything(boot: &mut Boot) -> Result<()> {
    mounts::mount_all(mounts::KERNEL)?;
    // Its file system is optional, and so is whatever the driver has to say.
    let _absent: Result<()> = in_child::run(boot, in_child::EFI, &Value::Null, EFI_LIMIT);
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

fn mount_config(boot: &mut Boot, limit: Duration) -> Result<()> {
    let mounted = in_child::run(boot, in_child::CONFIG, &Value::Null, limit);
    // Whoever has not said what is on it has not said that there are no settings: he may have mounted it yet, or another
    // one may later.
    mounted.inspect_err(|error| {
        if !error.is::<in_child::Said>() {
            boot.miss(CONFIG_PARTITION, error);
        }
    })
}

fn load_machine(boot: &mut Boot, limit: Duration) -> Result<()> {
    if boot.unread.any() {
        // Once it was waited for the disk: that is said.
        return Ok(());
    }
    let read: Result<in_child::Read> = in_child::run(boot, in_child::MACHINE, &Value::Null, limit);
    let (machine, problem) = read.inspect_err(|error| boot.miss(MACHINE_SETTINGS, error))?;
    boot.machine = machine.unwrap_or_default();
    match problem {
        Some(problem) => Err(anyhow!(problem)),
        None => Ok(()),
    }
}

fn apply_seed(boot: &mut Boot, limit: Duration) -> Result<()> {
    let found = boot.entries.run(&["find-seed"], &[], limit).context("looking for one")?;
    let told: seed::Told = serde_json::from_slice(&found).context("what was found")?;
    for problem in &told.problems {
        boot.say(format!("seed: {problem}"));
    }
    if !told.from.is_empty() {
        boot.notes.push(format!("seed: {}", told.from.join(", ")));
    }
    if boot.unread.any() {
        // Applied to others, it would take their password's place.
        boot.held_seed = Some(told);
        return Ok(());
    }
    let found = in_child::Found { told, machine: boot.machine.clone(), given_up: false };
    let seeded: Result<in_child::Seeded> = in_child::run(boot, in_child::SEED, &found, FILES_LIMIT);
    let seeded = seeded.inspect_err(|error| {
        // What it has done, and does yet, is not known.
        boot.miss(SEED, error);
        boot.held_seed = Some(found.told);
    })?;
    if let Some(machine) = seeded.machine {
        boot.machine = machine;
    }
    match seeded.problem {
        Some(problem) => Err(anyhow!(problem)),
        None => Ok(()),
    }
}

/// Keeps the machine's settings on the config partition, but never over others that nobody has read.
///
/// # Errors
/// They may not be kept: it takes nothing, or not in time.
pub(crate) fn keep_settings(boot: &mut Boot, settings: &Machine) -> Result<()> {
    boot.unread.allows_change().map_err(|why| anyhow!(why))?;
    in_child::run(boot, in_child::KEEP_SETTINGS, settings, KEEP_LIMIT)
}

/// Reads what is noted of the last update.
///
/// # Errors
/// It cannot be read, or not in time.
pub(crate) fn read_note(boot: &mut Boot) -> Result<Option<Note>> {
    in_child::run(boot, in_child::READ_NOTE, &Value::Null, KEEP_LIMIT)
}

/// Keeps what is noted of the last update.
///
/// # Errors
/// As [`keep_settings`].
pub(crate) fn keep_note(boot: &mut Boot, note: &Note) -> Result<()> {
    in_child::run(boot, in_child::KEEP_NOTE, note, KEEP_LIMIT)
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
