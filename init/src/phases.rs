//! The boot of stage 2 as a list of named phases. A phase that fails is said and worked around: the
//! console must come up, because it is where the failure is mended.
use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, chown},
    path::Path,
};

use anyhow::{Context, Result};
use nix::unistd::sethostname;

use crate::{
    disks, journald,
    machine::Machine,
    modules::Modules,
    mounts,
    observed::{self, MachineState},
    seed, service,
    sys::{self, CommandLine},
    time,
};

/// The machine's settings file.
pub(crate) const MACHINE_FILE: &str = "/config/machine.toml";
const GATEWAY_STATE: &str = "/config/gateway";

/// What the phases work on and leave behind.
#[derive(Debug, Default)]
pub(crate) struct Boot {
    pub(crate) line: CommandLine,
    pub(crate) modules: Modules,
    pub(crate) machine: Machine,
    pub(crate) state: MachineState,
    /// Name of the mounted cache disk: `sdb`.
    pub(crate) cache_device: String,
    /// How long each phase took, in seconds.
    pub(crate) took: Vec<(&'static str, f64)>,
}

/// One phase.
pub(crate) struct Phase {
    /// What it is called when it fails.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) run: fn(&mut Boot) -> Result<()>,
}

/// All phases before the services, in order.
pub(crate) const PHASES: &[Phase] = &[
    Phase { name: "mounts", run: mount_everything },
    Phase { name: "drivers", run: load_drivers },
    Phase { name: "config partition", run: mount_config },
    Phase { name: "machine settings", run: load_machine },
    Phase { name: "seed", run: apply_seed },
    Phase { name: "host name", run: |boot| set_hostname(boot, &boot.machine.hostname.clone()) },
    Phase { name: "time zone", run: set_zone },
    Phase { name: "network settings", run: plan_network },
    Phase { name: "journal", run: |_| journald::prepare() },
    Phase { name: "cache disk", run: mount_cache },
];

/// Runs all phases.
pub(crate) fn run(boot: &mut Boot) {
    for phase in PHASES {
        let begun = sys::since_boot();
        let done = (phase.run)(boot);
        boot.took.push((phase.name, sys::since_boot().saturating_sub(begun).as_secs_f64()));
        if let Err(error) = done {
            let problem = format!("{}: {error:#}", phase.name);
            sys::say(&problem);
            boot.state.problems.push(problem);
        }
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

fn load_drivers(boot: &mut Boot) -> Result<()> {
    for module in ["button", "evdev"] {
        boot.modules.load(module);
    }
    boot.modules.coldplug();
    disks::settle(&mut boot.modules);
    Ok(())
}

fn mount_config(boot: &mut Boot) -> Result<()> {
    disks::mount_config(&mut boot.modules)?;
    let (uid, gid) = service::user("gateway")?;
    if !Path::new(GATEWAY_STATE).exists() {
        DirBuilder::new().mode(0o700).create(GATEWAY_STATE).context(GATEWAY_STATE)?;
    }
    chown(GATEWAY_STATE, Some(uid), Some(gid)).context(GATEWAY_STATE)
}

fn load_machine(boot: &mut Boot) -> Result<()> {
    let (machine, problem) = Machine::load(Path::new(MACHINE_FILE), Path::new(time::ZONES));
    boot.machine = machine.unwrap_or_default();
    match problem {
        Some(problem) => Err(anyhow::anyhow!(problem)),
        None => Ok(()),
    }
}

fn apply_seed(boot: &mut Boot) -> Result<()> {
    let Some(text) = seed::find(&boot.line, &mut boot.modules)? else { return Ok(()) };
    let gateway = service::user("gateway")?;
    let zones = Path::new(time::ZONES);
    let machine = &mut boot.machine;
    // Noted as applied only after everything in it is: a power cut in between repeats it.
    seed::apply(&text, Path::new(disks::CONFIG), zones, gateway, |seeded| {
        *machine = seeded;
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

/// Tells the network service what is set. It looks at its start and on SIGHUP.
pub(crate) fn plan_network(boot: &mut Boot) -> Result<()> {
    observed::write(observed::NETWORK_PLAN, &boot.machine.network).context(observed::NETWORK_PLAN)
}

/// Mounts the cache disk; why there is none is for the status page, not a failure of the boot.
pub(crate) fn mount_cache(boot: &mut Boot) -> Result<()> {
    let owner = service::user("gateway")?;
    match disks::mount_cache(&mut boot.modules, owner) {
        Ok(disk) => {
            boot.state.cache = format!("{} on {}", disk.size, disk.device);
            boot.state.cache_mounted = true;
            disk.device.trim_start_matches("/dev/").clone_into(&mut boot.cache_device);
            sys::say(&format!("cache disk {} mounted", boot.state.cache));
        }
        Err(error) => {
            boot.state.cache = format!("{error:#}");
            boot.state.cache_mounted = false;
            sys::say(&format!("no cache disk: {error:#}"));
        }
    }
    Ok(())
}
