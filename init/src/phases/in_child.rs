//! What a child of PID 1 does, because it can hang: it is given what it has to know as JSON on its standard
//! input, and PID 1 hears of the outcome as one JSON document, `{"Ok": …}`, `{"Err": "why"}`,
//! `{"MayBeDone": "why"}`, or `{"Unreadable": "why"}`.
use std::{
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, chown},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Boot, CONFIG_PARTITION, MACHINE_FILE, MACHINE_SETTINGS};
use crate::{
    children::{Begun, ChildError},
    disks, journald,
    machine::{Machine, Unreadable},
    modules::Modules,
    mounts, reserve,
    seed::{self, Replaces},
    service, sys, time,
    update::{NOTE, Note},
};

/// Loads the driver of the firmware's variables.
pub(super) const EFI: &str = "efi-variables";
/// Loads drivers, and waits for the disks that they bring up.
pub(super) const DRIVERS: &str = "drivers";
/// Mounts the config partition, and sees to what has to be on it.
pub(super) const CONFIG: &str = "config-partition";
/// Reads the machine's settings: [`Read`].
pub(super) const MACHINE: &str = "machine-settings";
/// Reads them when the system disk answers after all, and applies a seed if it is told one: [`Asked`], [`Late`].
pub(super) const LATE: &str = "late-settings";
/// Applies a seed: [`Found`], [`Seeded`].
pub(super) const SEED: &str = "seed";
/// Prepares what journald wants to find.
pub(super) const JOURNAL: &str = "journal";
/// Keeps the machine's settings.
pub(super) const KEEP_SETTINGS: &str = "keep-settings";
/// Reads what is noted of the last update, if anything is.
pub(super) const READ_NOTE: &str = "read-update-note";
/// Keeps it.
pub(super) const KEEP_NOTE: &str = "keep-update-note";

/// These change the machine's settings on the disk, by one temporary file, or where they are: one at a time.
const SETTINGS: [&str; 5] = [CONFIG, MACHINE, LATE, SEED, KEEP_SETTINGS];

/// Without it, a change of the settings may fail later.
const NO_RESERVE: &str = "the system disk is full: its partition for settings has no room to spare";

/// The machine's settings as they were found; the second is what was wrong with them.
pub(super) type Read = (Option<Machine>, Option<String>);

/// What a late reading has to know.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Asked {
    /// The seed that is to be applied.
    pub(super) told: Option<seed::Told>,
    /// Whether an operator has given up what cannot be read.
    pub(super) given_up: bool,
    /// The settings in use, which stay where there are none.
    pub(super) machine: Machine,
}

/// What the boot would have found, had the system disk answered.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Late {
    pub(super) machine: Machine,
    /// What the boot would have failed in.
    pub(super) failed: Vec<Failed>,
    /// Whether the gateway's part of a seed was written.
    pub(super) gateway: bool,
    /// What is noted of the last update.
    pub(super) note: Option<Note>,
}

/// A phase of the boot, and why it has failed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) phase: String,
    pub(super) why: String,
}

impl Failed {
    pub(super) fn new(phase: &str, why: impl std::fmt::Display) -> Self {
        Self { phase: phase.to_owned(), why: format!("{why:#}") }
    }
}

/// A seed, and the settings in use.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) told: seed::Told,
    pub(super) machine: Machine,
    /// Whether those on the disk were given up.
    pub(super) given_up: bool,
}

/// The machine's settings of a seed, if they are others, and why they or the rest of it could not be kept.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Seeded {
    pub(super) machine: Option<Machine>,
    pub(super) problem: Option<String>,
    /// Whether its part for the gateway was written, whatever became of the rest.
    #[serde(default)]
    pub(super) gateway: bool,
}

/// Waits for nobody: while an earlier child that does the same lingers, none begins. It would come after this
/// one, with what is older.
fn takes_its_turn(boot: &mut Boot, phase: &str) -> Result<()> {
    let same: &[&str] = if SETTINGS.contains(&phase) { &SETTINGS } else { &[phase] };
    if same.iter().any(|earlier| boot.entries.lingers(&["phase", earlier])) {
        bail!("an earlier attempt has not ended yet");
    }
    Ok(())
}

/// Has a child do something.
///
/// # Errors
/// What the child says, or that it took longer than `limit`; that an earlier one lingers.
pub(super) fn run<T: DeserializeOwned>(
    boot: &mut Boot,
    phase: &str,
    input: &impl Serialize,
    limit: Duration,
) -> Result<T> {
    takes_its_turn(boot, phase)?;
    let input = serde_json::to_vec(input).context("what it has to know")?;
    outcome(&boot.entries.run(&["phase", phase], &input, limit)?)
}

/// Has a child begin something; PID 1 does not wait for it.
///
/// # Errors
/// It cannot be started, or an earlier one lingers.
pub(super) fn begin(boot: &mut Boot, phase: &str, input: &impl Serialize) -> Result<Begun> {
    takes_its_turn(boot, phase)?;
    let input = serde_json::to_vec(input).context("what it has to know")?;
    Ok(boot.entries.begin(&["phase", phase], &input)?)
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Outcome<T> {
    Ok(T),
    /// Nothing; why.
    Err(String),
    /// Perhaps what was to come: a file has its name, and nobody knows whether for good; why.
    MayBeDone(String),
    /// The disk does not give the settings that are on it; why.
    Unreadable(String),
}

impl<T> From<Result<T>> for Outcome<T> {
    fn from(done: Result<T>) -> Self {
        match done {
            Ok(value) => Self::Ok(value),
            Err(error) if error.downcast_ref().is_some_and(sys::may_be_replaced) => {
                Self::MayBeDone(format!("{error:#}"))
            }
            Err(error) if error.is::<Unreadable>() => Self::Unreadable(format!("{error:#}")),
            Err(error) => Self::Err(format!("{error:#}")),
        }
    }
}

/// Why nothing has come of it, in a child's own words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Said(String);

/// What a child says in the end.
///
/// # Errors
/// It has failed, with [`Said`], [`ChildError::MayBeDone`], or [`Unreadable`] where it says so, or has said nothing of
/// use.
pub(super) fn outcome<T: DeserializeOwned>(said: &[u8]) -> Result<T> {
    match serde_json::from_slice(said).context("its outcome")? {
        Outcome::Ok(value) => Ok(value),
        Outcome::Err(why) => bail!(Said(why)),
        Outcome::MayBeDone(why) => bail!(ChildError::MayBeDone(why)),
        Outcome::Unreadable(why) => bail!(Unreadable(why)),
    }
}

/// Does something, as a child of PID 1, and prints its outcome.
///
/// # Errors
/// There is nothing of this name, or nobody takes the outcome.
pub(crate) fn print_phase(name: &str) -> Result<()> {
    let nothing = |done: Result<()>| done.map(|()| Value::Null);
    let outcome = match name {
        EFI => {
            Modules::open().load("efivarfs");
            Ok(Value::Null)
        }
        DRIVERS => {
            load_drivers();
            Ok(Value::Null)
        }
        CONFIG => nothing(mount_config()),
        MACHINE => Machine::load(Path::new(MACHINE_FILE), Path::new(time::ZONES))
            .map_err(anyhow::Error::from)
            .and_then(value),
        LATE => input().and_then(read_late).and_then(value),
        SEED => input().and_then(|found| value(apply_seed(found))),
        JOURNAL => nothing(journald::prepare()),
        KEEP_SETTINGS => nothing(input().and_then(|machine: Machine| {
            machine.store(Path::new(MACHINE_FILE)).map_err(anyhow::Error::from)
        })),
        READ_NOTE => Note::load(Path::new(NOTE)).and_then(value),
        KEEP_NOTE => nothing(input().and_then(|note: Note| note.store(Path::new(NOTE)))),
        _ => bail!("there is no phase {name}"),
    };
    let outcome = Outcome::from(outcome);
    Ok(io::stdout().write_all(&serde_json::to_vec(&outcome)?)?)
}

fn input<T: DeserializeOwned>() -> Result<T> {
    serde_json::from_reader(io::stdin().lock()).context("what it has to know")
}

fn value(of: impl Serialize) -> Result<Value> {
    Ok(serde_json::to_value(of)?)
}

fn load_drivers() {
    let mut modules = Modules::open();
    for module in ["button", "evdev"] {
        modules.load(module);
    }
    if sys::is_vmware() {
        // By which its tools talk to the host. There is no modprobe here that a socket would call for.
        for module in ["vmw_vmci", "vsock", "vmw_vsock_vmci_transport"] {
            modules.load(module);
        }
    }
    modules.coldplug();
    disks::settle(&mut modules);
}

fn mount_config() -> Result<()> {
    // Whoever was given up while he mounted it may have done so all the same.
    if !mounts::is_mounted(disks::CONFIG) {
        disks::mount_config(&mut Modules::open()).map_err(unless_known)?;
    }
    let (uid, gid) = service::user("gateway")?;
    if !Path::new(service::GATEWAY_STATE).exists() {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(service::GATEWAY_STATE)
            .context(service::GATEWAY_STATE)?;
    }
    chown(service::GATEWAY_STATE, Some(uid), Some(gid)).context(service::GATEWAY_STATE)?;
    reserve::hold(Path::new(disks::CONFIG)).context(NO_RESERVE)
}

/// Only what is on the partition is a reason to go on without it. Every other one may pass: a storage has failed over, whoever
/// holds the partition ends, there is memory again.
pub(super) fn unless_known(error: anyhow::Error) -> anyhow::Error {
    if error.is::<disks::NoSettings>() {
        return error;
    }
    Unreadable(format!("{error:#}")).into()
}

fn read_late(asked: Asked) -> Result<Late> {
    let mounted = mount_config();
    late_in(Path::new(MACHINE_FILE), Path::new(time::ZONES), mounted, asked, apply_seed)
}

/// What a boot would have found: the settings as they are read, those in use where there are none; after `apply` has
/// applied a seed to them. A partition that was not `mounted` because of what is on it is as one without settings.
///
/// # Errors
/// They cannot be read.
pub(super) fn late_in(
    path: &Path,
    zones: &Path,
    mounted: Result<()>,
    asked: Asked,
    apply: impl FnOnce(Found) -> Seeded,
) -> Result<Late> {
    let Asked { told, given_up, machine: in_use } = asked;
    let mut failed = Vec::new();
    match mounted {
        Err(error) if error.is::<Unreadable>() && !given_up => return Err(error),
        Err(error) => failed.push(Failed::new(CONFIG_PARTITION, error)),
        Ok(()) => {}
    }
    let (machine, problem) =
        if given_up { Machine::load_or_give_up(path, zones) } else { Machine::load(path, zones)? };
    failed.extend(problem.map(|problem| Failed::new(MACHINE_SETTINGS, problem)));
    let note = path.with_file_name(Path::new(NOTE).file_name().expect("it names a file"));
    let note = Note::load(&note).unwrap_or_else(|error| {
        failed.push(Failed::new("update", error));
        None
    });
    // Others may have been read in the end.
    let given_up = given_up && machine.is_none();
    let (mut machine, mut gateway) = (machine.unwrap_or(in_use), false);
    if let Some(told) = told {
        let seeded = apply(Found { told, machine: machine.clone(), given_up });
        gateway = seeded.gateway;
        machine = seeded.machine.unwrap_or(machine);
        failed.extend(seeded.problem.map(|problem| Failed::new(super::SEED, problem)));
    }
    Ok(Late { machine, failed, gateway, note })
}

fn apply_seed(found: Found) -> Seeded {
    match service::user("gateway") {
        Ok(gateway) => seed_in(found, Path::new(disks::CONFIG), Path::new(time::ZONES), gateway),
        Err(error) => Seeded { problem: Some(format!("{error:#}")), ..Seeded::default() },
    }
}

pub(super) fn seed_in(found: Found, config: &Path, zones: &Path, gateway: (u32, u32)) -> Seeded {
    let Found { told, machine, given_up } = found;
    let file = config.join(Path::new(MACHINE_FILE).file_name().expect("it names a file"));
    let part = seed::gateway_part(config);
    // Each that is written is another file, also where it says the same: who has read it may have read it before that.
    let for_gateway = || std::fs::metadata(&part).map(|file| file.ino()).ok();
    let before = for_gateway();
    let mut seeded = Seeded::default();
    // A power cut may come between giving them up and this.
    let lost = given_up || Machine::is_lost(&file, zones);
    let replaces = if lost { Replaces::Nothing } else { Replaces::Settings };
    // Noted as applied only after everything in it is: a power cut in between repeats it.
    let done = seed::apply(&told, config, zones, gateway, replaces, |of_seed| {
        let of_seed = of_seed.keeping_password_of(&machine);
        let kept = of_seed.store(&file).with_context(|| file.display().to_string());
        // They are used all the same.
        seeded.machine = Some(of_seed);
        kept
    });
    seeded.problem = done.err().map(|error| format!("{error:#}"));
    seeded.gateway = for_gateway() != before;
    seeded
}
