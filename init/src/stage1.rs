//! Stage 1, in the initramfs: drivers for the disks, the verified root file system, and over to it.
use std::{
    ffi::CString,
    fs::{self, File},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    mount::{MsFlags, mount},
    unistd::{chdir, chroot, execv},
};

use crate::{
    disks::{self, Partition},
    modules::Modules,
    mounts, shutdown,
    slot::Slot,
    sys::{self, CommandLine},
    verity,
};

/// How long the disk with the root partition may take to appear.
const ROOT_ATTEMPTS: u32 = 600;
const ROOT_PAUSE: Duration = Duration::from_millis(50);
/// Time for somebody to read why the boot failed.
const READING_TIME: Duration = Duration::from_secs(10);

/// Runs stage 1; returns only by rebooting.
pub(crate) fn run() -> Result<()> {
    if let Err(error) = to_root() {
        sys::say(&format!("cannot start: {error:#}"));
        thread::sleep(READING_TIME);
    }
    shutdown::reboot_now()
}

fn to_root() -> Result<()> {
    mounts::mount_all(mounts::KERNEL)?;
    sys::say("stage 1");
    let line = CommandLine::read();
    let mut modules = Modules::open();
    for module in ["dm_mod", "dm_verity", "squashfs"] {
        modules.load(module);
    }
    let spec = line.get("tidegate.verity").context("the command line has no tidegate.verity")?;
    let spec = verity::Spec::parse(spec)?;
    let (slot, partition) = root_partition(&spec, &mut modules)?;
    disks::note_system_disk(&partition.disk).context("noting the system disk")?;
    slot.note_running().context("noting the slot")?;
    let device = verity::open(&partition.device, &spec)?;
    fs::create_dir_all("/newroot")?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV;
    mount(Some(device.as_str()), "/newroot", Some("squashfs"), flags, None::<&str>)
        .with_context(|| format!("mounting the root file system of {device}"))?;
    switch()
}

/// The partition that holds the version whose kernel this is. A disk that is slow to appear is waited
/// for, also while another one holds other versions.
fn root_partition(spec: &verity::Spec, modules: &mut Modules) -> Result<(Slot, Partition)> {
    let mut seen = Vec::new();
    for _ in 0..ROOT_ATTEMPTS {
        modules.coldplug();
        seen.clear();
        for slot in Slot::ALL {
            for partition in disks::partitions(slot.partition()) {
                let holds = File::open(&partition.device).and_then(|file| spec.stands_on(&file));
                match holds {
                    Ok(true) => return Ok((slot, partition)),
                    Ok(false) => seen.push(format!("{} holds another", partition.device)),
                    Err(error) => seen.push(format!("{}: {error}", partition.device)),
                }
            }
        }
        thread::sleep(ROOT_PAUSE);
    }
    if seen.is_empty() {
        bail!("no disk has a partition called root-a or root-b");
    }
    bail!("the version that this kernel belongs to is nowhere: {}", seen.join(", "))
}

/// Makes the root file system the root and becomes its PID 1.
fn switch() -> Result<()> {
    for folder in ["proc", "sys", "dev", "run"] {
        let (from, to) = (format!("/{folder}"), format!("/newroot/{folder}"));
        mount(Some(from.as_str()), to.as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .with_context(|| format!("moving {from}"))?;
    }
    chdir("/newroot")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .context("moving the root")?;
    chroot(".")?;
    chdir("/")?;
    let program = CString::new("/usr/sbin/init")?;
    execv(&program, &[&program]).context("starting /usr/sbin/init")?;
    Ok(())
}
