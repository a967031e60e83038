//! The disks: finds the config partition and the cache disks, makes file systems where nothing is.
//!
//! Disks are known by what is on them, never by their names, which change from boot to boot. Which
//! ones are this appliance's cache disks is in its record (`record.rs`); `choice.rs` decides, as pure
//! functions, what becomes of those that are attached; `cache.rs` carries it out, in a child of PID 1
//! (`task.rs`), and leaves a report.
mod cache;
mod choice;
mod file_system;
mod order;
mod record;
mod report;
mod survey;
mod task;

use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};

pub(crate) use self::{
    order::Order,
    report::{Disk, Mounted, Report, Role},
    task::{Gateway, REPORT, Task, obey, run_task},
};
use crate::{
    claim::{self, Mark},
    modules::Modules,
    signatures::{self, Content},
    sys,
};

/// Label of cache disks.
pub(crate) const CACHE_LABEL: &str = "TGCACHE";
/// Where the primary cache disk is mounted: catalog and data.
pub(crate) const CACHE: &str = "/cache";
/// Below it each further one is mounted, under its UUID.
pub(crate) const FURTHER: &str = "/cache-disks";
/// Where the config partition is mounted.
pub(crate) const CONFIG: &str = "/config";
const CONFIG_LABEL: &str = "TGCONFIG";
const CONFIG_PARTITION: &str = "config";
/// Stage 1's word to stage 2; /run is carried over.
const SYSTEM_DISK: &str = "/run/system-disk";
/// How everything of ours on a disk is mounted.
const MOUNT_FLAGS: MsFlags = MsFlags::MS_NOATIME
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOSUID)
    .union(MsFlags::MS_NOEXEC);
const SECTOR: u64 = 512;

/// A partition with a name, as sysfs has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// `/dev/sda3`.
    pub(crate) device: String,
    /// Name of the disk that it is on: `sda`.
    pub(crate) disk: String,
}

/// Every partition with this name, in the order of their device names.
pub(crate) fn partitions(label: &str) -> Vec<Partition> {
    partitions_in(Path::new("/sys/class/block"), label)
}

fn partitions_in(class: &Path, label: &str) -> Vec<Partition> {
    let wanted = format!("PARTNAME={label}");
    let mut found = Vec::new();
    for entry in fs::read_dir(class).into_iter().flatten().flatten() {
        let uevent = sys::read_line(entry.path().join("uevent"));
        if !uevent.lines().any(|line| line == wanted) {
            continue;
        }
        // The link leads to …/block/sda/sda3.
        let disk = fs::canonicalize(entry.path())
            .ok()
            .and_then(|path| Some(path.parent()?.file_name()?.to_string_lossy().into_owned()));
        if let Some(disk) = disk {
            let device = format!("/dev/{}", entry.file_name().to_string_lossy());
            found.push(Partition { device, disk });
        }
    }
    found.sort_by(|a, b| a.device.cmp(&b.device));
    found
}

/// Notes for stage 2 which disk the root file system is on.
pub(crate) fn note_system_disk(disk: &str) -> io::Result<()> {
    fs::write(SYSTEM_DISK, disk)
}

/// The disk that stage 1 found the root file system on: `sda`.
pub(crate) fn system_disk() -> Option<String> {
    Some(sys::read_line(SYSTEM_DISK)).filter(|name| !name.is_empty())
}

/// Waits until no more disks appear: controllers probe in the background.
pub(crate) fn settle(modules: &mut Modules) {
    const QUIET_ROUNDS: u32 = 3;
    const PAUSE: Duration = Duration::from_millis(100);
    const ROUNDS_MAX: u32 = 50;
    let count = || fs::read_dir("/sys/block").map_or(0, Iterator::count);
    let (mut last, mut quiet) = (count(), 0);
    for _ in 0..ROUNDS_MAX {
        thread::sleep(PAUSE);
        modules.coldplug();
        let now = count();
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
        if quiet >= QUIET_ROUNDS {
            return;
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin")
        .output()
        .with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", output.status, words.trim());
    }
    Ok(())
}

fn size_of(device: &str) -> u64 {
    let name = device.trim_start_matches("/dev/");
    let sectors = sys::read_line(format!("/sys/class/block/{name}/size"));
    sectors.parse::<u64>().unwrap_or(0) * SECTOR
}

fn probe(device: &str) -> Result<Content> {
    let mut file = File::open(device).with_context(|| device.to_owned())?;
    signatures::probe(&mut file, size_of(device)).with_context(|| format!("reading {device}"))
}

/// Mounts the config partition of the disk that the root file system is on, making its file system at
/// the first boot and mending it after a power cut.
///
/// # Errors
/// [`NoSettings`] if it holds something else, or a damaged file system: what is configured then lasts until the next
/// boot. Else it is missing, or cannot be mounted for a reason that may pass.
pub(crate) fn mount_config(modules: &mut Modules) -> Result<()> {
    modules.load("ext4");
    let system = system_disk().context("stage 1 has not said which the system disk is")?;
    let device = partitions(CONFIG_PARTITION)
        .into_iter()
        .find(|partition| partition.disk == system)
        .with_context(|| format!("the system disk {system} has no config partition"))?
        .device;
    let size = size_of(&device);
    let mut partition = File::open(&device).with_context(|| device.clone())?;
    match config_content(&mut partition, size).with_context(|| format!("reading {device}"))? {
        Config::ToBeMade => make_config(Path::new(&device), size, |room| {
            let room = format!("{}k", room >> 10);
            run("/usr/sbin/mke2fs", &["-q", "-F", "-t", "ext4", "-L", CONFIG_LABEL, &device, &room])
        })
        // It is known that nothing is on it.
        .map_err(|error| NoSettings(format!("making the file system of {device}: {error:#}")))?,
        Config::Made => check_config(&device),
        Config::Foreign(content) => {
            let holds = format!("{device} holds {content:?} instead of our settings");
            bail!(NoSettings(format!("{holds}; it was left alone")))
        }
    }
    drop(partition);
    mount(Some(device.as_str()), CONFIG, Some("ext4"), MOUNT_FLAGS, None::<&str>)
        .map_err(|errno| not_mounted(&device, errno))
}

/// The config partition is not mounted because of what is on it, and that does not change by itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoSettings(String);

/// Why the config partition is not mounted.
pub(crate) fn not_mounted(device: &str, errno: Errno) -> anyhow::Error {
    let error = anyhow::Error::from(errno).context(format!("mounting {device} on {CONFIG}"));
    // As ext4 says that it finds no file system, a damaged one (EFSCORRUPTED), or a wrong checksum (EFSBADCRC).
    if matches!(errno, Errno::EINVAL | Errno::EUCLEAN | Errno::EBADMSG) {
        return NoSettings(format!("{error:#}")).into();
    }
    error
}

/// What is on the config partition.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Config {
    /// Nothing yet, or what a power cut at the first boot has left.
    ToBeMade,
    Made,
    Foreign(Content),
}

/// Looks what is on the config partition of `size` bytes.
///
/// The partition is on the system disk, where nobody but the appliance writes: while the mark says that
/// its file system is not made, whatever is on it is part of that one. `mke2fs` writes its superblock last.
fn config_content(partition: &mut (impl Read + Seek), size: u64) -> io::Result<Config> {
    if claim::mark_of(partition, size)? == Some(Mark::Claimed) {
        return Ok(Config::ToBeMade);
    }
    Ok(match signatures::probe(partition, size)? {
        Content::Blank => Config::ToBeMade,
        Content::Known("an ext file system") => Config::Made,
        other => Config::Foreign(other),
    })
}

/// Makes the file system of the config partition. `make` makes one of so many bytes, durable when it
/// returns.
fn make_config(device: &Path, size: u64, make: impl FnOnce(u64) -> Result<()>) -> Result<()> {
    claim::mark(device, size, Mark::Claimed)
        .with_context(|| format!("claiming {}", device.display()))?;
    make(claim::room(size))?;
    claim::unmark(device, size).with_context(|| format!("releasing {}", device.display()))
}

/// Replays the journal and mends what can be mended without asking; what cannot shows in the mount.
fn check_config(device: &str) {
    let outcome = Command::new("/usr/sbin/e2fsck").args(["-p", device]).env_clear().output();
    match outcome {
        Ok(output) if matches!(output.status.code(), Some(0)) => {}
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stdout);
            sys::say(&format!("e2fsck of {device}: {}, {}", output.status, words.trim()));
        }
        Err(error) => sys::say(&format!("e2fsck of {device}: {error}")),
    }
}

#[cfg(test)]
mod cut;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_knows_its_disk_even_where_names_begin_alike() {
        let dir = tempfile::tempdir().unwrap();
        let (devices, class) = (dir.path().join("devices"), dir.path().join("class"));
        fs::create_dir(&class).unwrap();
        for (disk, partition, label) in
            [("sda", "sda3", "config"), ("sdaa", "sdaa3", "config"), ("sda", "sda2", "root-a")]
        {
            let folder = devices.join(disk).join(partition);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("uevent"), format!("MAJOR=8\nPARTNAME={label}\n")).unwrap();
            std::os::unix::fs::symlink(&folder, class.join(partition)).unwrap();
        }
        let partition = |device: &str, disk: &str| Partition {
            device: device.to_owned(),
            disk: disk.to_owned(),
        };
        assert_eq!(
            partitions_in(&class, "config"),
            [partition("/dev/sda3", "sda"), partition("/dev/sdaa3", "sdaa")]
        );
        assert_eq!(partitions_in(&class, "root"), []);
    }
}
