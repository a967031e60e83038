//! The disks: finds the config partition and the cache disk, makes file systems where nothing is.
//!
//! Disks are known by what is on them, never by their names, which change from boot to boot.
use std::{
    fs::{self, File},
    io,
    os::unix::fs::chown,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use gateway_api::ByteSize;
use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};

use crate::{
    claim,
    modules::Modules,
    mounts,
    signatures::{self, Content},
    sys,
};

/// Label of cache disks.
pub(crate) const CACHE_LABEL: &str = "TGCACHE";
/// Where the cache disk is mounted.
pub(crate) const CACHE: &str = "/cache";
/// Where the config partition is mounted.
pub(crate) const CONFIG: &str = "/config";
/// The recorded identity of the cache disk.
const CACHE_RECORD: &str = "/config/cache-disk";
const CONFIG_LABEL: &str = "TGCONFIG";
const CONFIG_PARTITION: &str = "config";
/// Stage 1's word to stage 2; /run is carried over.
const SYSTEM_DISK: &str = "/run/system-disk";
/// Smallest cache disk.
const CACHE_BYTES_MIN: u64 = 1 << 30;
/// Block devices of these kinds are never cache disks.
const NEVER: &[&str] = &["loop", "ram", "sr", "fd", "dm-", "zram", "md"];
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
/// The partition is missing, holds something else, or cannot be mounted: what is configured then
/// lasts until the next boot.
pub(crate) fn mount_config(modules: &mut Modules) -> Result<()> {
    modules.load("ext4");
    let system = system_disk().context("stage 1 has not said which the system disk is")?;
    let device = partitions(CONFIG_PARTITION)
        .into_iter()
        .find(|partition| partition.disk == system)
        .with_context(|| format!("the system disk {system} has no config partition"))?
        .device;
    match probe(&device)? {
        Content::Blank | Content::Claimed(_) => {
            let size = size_of(&device);
            claim::claim(Path::new(&device), size).with_context(|| format!("claiming {device}"))?;
            let room = format!("{}k", claim::room(size) >> 10);
            run(
                "/usr/sbin/mke2fs",
                &["-q", "-F", "-t", "ext4", "-L", CONFIG_LABEL, &device, &room],
            )?;
            claim::release(Path::new(&device), size)
                .with_context(|| format!("releasing {device}"))?;
        }
        Content::Known("an ext file system") => check_config(&device),
        other => bail!("{device} holds {other:?} instead of our settings; it was left alone"),
    }
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some(device.as_str()), CONFIG, Some("ext4"), flags, None::<&str>)
        .with_context(|| format!("mounting {device} on {CONFIG}"))
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

/// One disk that might become the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) device: String,
    pub(crate) size: ByteSize,
    pub(crate) content: Result<Content, String>,
}

/// What is to be done about the cache disk. Pure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Mount this one, which was ours before.
    Mount { device: String, uuid: String },
    /// Make a file system on this blank one.
    Format { device: String },
    /// Nothing can be used; why, and what to do.
    Nothing(String),
}

/// Chooses the cache disk. `recorded` is the UUID of the one that this appliance has, if it ever had
/// one.
pub(crate) fn decide(candidates: &[Candidate], recorded: Option<&str>) -> Decision {
    if let Some(recorded) = recorded {
        return decide_known(candidates, recorded);
    }
    let foreign = |candidate: &&Candidate| matches!(&candidate.content, Ok(Content::Xfs { label, .. }) if label == CACHE_LABEL);
    match candidates.iter().filter(foreign).collect::<Vec<_>>().as_slice() {
        [] => {}
        [disk] => {
            return Decision::Nothing(format!(
                "{} is the cache disk of another appliance and was left alone: attach it there, or \
                 add a blank disk here instead of it",
                disk.device
            ));
        }
        several => {
            return Decision::Nothing(format!(
                "{} are cache disks of other appliances and were left alone: add a blank disk \
                 instead of them",
                names(several)
            ));
        }
    }
    let claimed: Vec<&Candidate> =
        candidates.iter().filter(|c| matches!(c.content, Ok(Content::Claimed(_)))).collect();
    let blank: Vec<&Candidate> =
        candidates.iter().filter(|c| c.content == Ok(Content::Blank)).collect();
    // One whose formatting was begun goes first.
    match if claimed.is_empty() { &blank } else { &claimed }.as_slice() {
        [disk] if disk.size.0 < CACHE_BYTES_MIN => Decision::Nothing(format!(
            "{} is too small ({}): add a blank disk of at least {}, better 150 GiB",
            disk.device,
            disk.size,
            ByteSize(CACHE_BYTES_MIN)
        )),
        [disk] => Decision::Format { device: disk.device.clone() },
        [] => Decision::Nothing(no_blank_disk(candidates)),
        several => Decision::Nothing(format!(
            "{} blank disks are attached ({}): leave only the one that is to be the cache",
            several.len(),
            names(several)
        )),
    }
}

/// This appliance has a cache disk: it alone will do.
fn decide_known(candidates: &[Candidate], recorded: &str) -> Decision {
    let ours = |candidate: &&Candidate| match &candidate.content {
        Ok(Content::Xfs { label, uuid }) => label == CACHE_LABEL && uuid == recorded,
        // Formatting it ended, but for taking the claim away.
        Ok(Content::Claimed(Some(uuid))) => uuid == recorded,
        Ok(_) | Err(_) => false,
    };
    match candidates.iter().filter(ours).collect::<Vec<_>>().as_slice() {
        [disk] => Decision::Mount { device: disk.device.clone(), uuid: recorded.to_owned() },
        [] => Decision::Nothing(
            "the cache disk of this appliance is not attached: attach it again. It may hold files \
             that are not in the bucket yet"
                .to_owned(),
        ),
        several => Decision::Nothing(format!(
            "{} are copies of one cache disk: detach all but the one that was used last",
            names(several)
        )),
    }
}

fn names(disks: &[&Candidate]) -> String {
    disks.iter().map(|disk| disk.device.as_str()).collect::<Vec<_>>().join(", ")
}

fn no_blank_disk(candidates: &[Candidate]) -> String {
    let mut words = "no blank disk is attached: add one of 150 GiB or more to the VM".to_owned();
    for candidate in candidates {
        let what = match &candidate.content {
            Ok(Content::Known(name)) => format!("holds {name}"),
            Ok(Content::Xfs { .. }) => "holds an XFS file system".to_owned(),
            Ok(Content::Data) => "holds data".to_owned(),
            Ok(Content::Blank | Content::Claimed(_)) => continue,
            Err(why) => format!("cannot be read: {why}"),
        };
        words.push_str(&format!("; {} {what} and was left alone", candidate.device));
    }
    words
}

/// Disks that are no part of the appliance itself.
fn candidates() -> Vec<Candidate> {
    let mut found = Vec::new();
    let system = system_disk();
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let attribute = |attribute: &str| sys::read_line(entry.path().join(attribute));
        let never = NEVER.iter().any(|kind| name.starts_with(kind));
        // The system disk is no candidate, nor worth a word.
        if never
            || system.as_ref() == Some(&name)
            || attribute("hidden") == "1"
            || attribute("removable") == "1"
        {
            continue;
        }
        let device = format!("/dev/{name}");
        let has_partitions = fs::read_dir(entry.path())
            .is_ok_and(|inside| inside.flatten().any(|e| e.path().join("partition").exists()));
        let content = if has_partitions {
            Ok(Content::Known("partitions"))
        } else if attribute("ro") == "1" {
            Err("it is read-only".to_owned())
        } else {
            probe(&device).map_err(|error| format!("{error:#}"))
        };
        found.push(Candidate { size: ByteSize(size_of(&device)), device, content });
    }
    found.sort_by(|a, b| a.device.cmp(&b.device));
    found
}

/// The mounted cache disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CacheDisk {
    pub(crate) device: String,
    pub(crate) size: ByteSize,
}

/// Finds, if need be formats, and mounts the cache disk.
///
/// # Errors
/// Words for the console: what is there and what to do.
pub(crate) fn mount_cache(modules: &mut Modules, owner: (u32, u32)) -> Result<CacheDisk> {
    if mounts::is_mounted(CACHE) {
        bail!("a cache disk is mounted already");
    }
    modules.load("xfs");
    if !mounts::is_mounted(CONFIG) {
        bail!(
            "the config partition is not mounted, so it is not known which disk is the cache: no disk \
             was touched. Mend the system disk first"
        );
    }
    let recorded = recorded()?;
    let device = match decide(&candidates(), recorded.as_deref()) {
        Decision::Nothing(why) => bail!("{why}"),
        Decision::Mount { device, .. } => {
            release_claim(&device)?;
            device
        }
        Decision::Format { device } => {
            format(&device)?;
            device
        }
    };
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some(device.as_str()), CACHE, Some("xfs"), flags, None::<&str>)
        .with_context(|| format!("mounting {device}"))?;
    chown(CACHE, Some(owner.0), Some(owner.1)).context("giving the cache to the gateway")?;
    Ok(CacheDisk { size: ByteSize(size_of(&device)), device })
}

/// Makes the file system. The disk is claimed until its UUID is noted: a power cut in between leaves a
/// disk that is known to hold nothing.
fn format(device: &str) -> Result<()> {
    sys::say(&format!("formatting the blank disk {device} as the cache"));
    let size = size_of(device);
    claim::claim(Path::new(device), size).with_context(|| format!("claiming {device}"))?;
    let uuid = sys::read_line("/proc/sys/kernel/random/uuid");
    let (room, option) = (format!("size={}", claim::room(size)), format!("uuid={uuid}"));
    // -K: a blank disk has nothing to discard, and a thin one takes long over it.
    run(
        "/usr/sbin/mkfs.xfs",
        &["-q", "-f", "-K", "-L", CACHE_LABEL, "-d", &room, "-m", &option, device],
    )?;
    record(&uuid.replace('-', ""))?;
    release_claim(device)
}

fn release_claim(device: &str) -> Result<()> {
    let size = size_of(device);
    let claimed = claim::is_claimed(&mut File::open(device)?, size)
        .with_context(|| format!("reading {device}"))?;
    if claimed {
        claim::release(Path::new(device), size).with_context(|| format!("releasing {device}"))?;
    }
    Ok(())
}

/// UUID of the cache disk that is noted; an unreadable note is an error, because a disk might be formatted for want of it.
fn recorded() -> Result<Option<String>> {
    match fs::read_to_string(CACHE_RECORD) {
        Ok(text) if text.trim().is_empty() => bail!("{CACHE_RECORD} is empty"),
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(CACHE_RECORD),
    }
}

fn record(text: &str) -> Result<()> {
    sys::replace_file(Path::new(CACHE_RECORD), text.as_bytes(), 0o644)
        .with_context(|| format!("noting the cache disk in {CACHE_RECORD}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(device: &str, content: Content) -> Candidate {
        let size = ByteSize(150 << 30);
        Candidate { device: device.to_owned(), size, content: Ok(content) }
    }

    fn cache(device: &str, uuid: &str) -> Candidate {
        disk(device, Content::Xfs { label: CACHE_LABEL.to_owned(), uuid: uuid.to_owned() })
    }

    fn words(decision: Decision) -> String {
        match decision {
            Decision::Nothing(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_blank_disk_becomes_the_cache() {
        let disks =
            [disk("/dev/sda", Content::Known("partitions")), disk("/dev/sdb", Content::Blank)];
        assert_eq!(decide(&disks, None), Decision::Format { device: "/dev/sdb".to_owned() });
    }

    #[test]
    fn the_recorded_disk_is_mounted_whatever_its_name() {
        let disks = [disk("/dev/sda", Content::Blank), cache("/dev/sdc", "aa")];
        let expected = Decision::Mount { device: "/dev/sdc".to_owned(), uuid: "aa".to_owned() };
        assert_eq!(decide(&disks, Some("aa")), expected);
    }

    #[test]
    fn a_missing_cache_disk_is_never_replaced_by_another() {
        for other in
            [Content::Blank, Content::Claimed(None), Content::Claimed(Some("cc".to_owned()))]
        {
            let disks = [disk("/dev/sda", other), cache("/dev/sdb", "bb")];
            assert!(words(decide(&disks, Some("aa"))).contains("attach it again"));
        }
    }

    #[test]
    fn of_a_cache_disk_and_its_copy_none_is_taken() {
        let disks = [cache("/dev/sdb", "aa"), cache("/dev/sdc", "aa")];
        assert!(words(decide(&disks, Some("aa"))).contains("/dev/sdb, /dev/sdc are copies"));
    }

    #[test]
    fn an_interrupted_format_is_taken_up_again() {
        let format = Decision::Format { device: "/dev/sdb".to_owned() };
        for content in [Content::Claimed(None), Content::Claimed(Some("aa".to_owned()))] {
            let disks = [disk("/dev/sda", Content::Blank), disk("/dev/sdb", content)];
            assert_eq!(decide(&disks, None), format);
        }
        // The power went between the note and the end of the claim.
        let noted = [disk("/dev/sdb", Content::Claimed(Some("aa".to_owned())))];
        assert!(matches!(decide(&noted, Some("aa")), Decision::Mount { .. }));
    }

    #[test]
    fn anything_doubtful_is_left_alone_and_said() {
        let foreign = [cache("/dev/sdb", "bb"), disk("/dev/sdc", Content::Blank)];
        assert!(words(decide(&foreign, None)).contains("another appliance"));
        let two = [disk("/dev/sdb", Content::Blank), disk("/dev/sdc", Content::Blank)];
        assert!(words(decide(&two, None)).contains("/dev/sdb, /dev/sdc"));
        let full = [
            disk("/dev/sdb", Content::Known("an ext file system")),
            disk("/dev/sdc", Content::Data),
        ];
        let said = words(decide(&full, None));
        assert!(said.contains("/dev/sdb holds an ext file system"), "{said}");
        assert!(said.contains("/dev/sdc holds data"), "{said}");
        let mut small = disk("/dev/sdb", Content::Blank);
        small.size = ByteSize(100 << 20);
        assert!(words(decide(&[small], None)).contains("too small"));
        let broken = Candidate {
            device: "/dev/sdb".to_owned(),
            size: ByteSize(0),
            content: Err("input/output error".to_owned()),
        };
        assert!(words(decide(&[broken], None)).contains("input/output error"));
    }

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
