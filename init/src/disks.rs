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

use crate::{
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
/// Smallest cache disk.
const CACHE_BYTES_MIN: u64 = 1 << 30;
/// Block devices of these kinds are never cache disks.
const NEVER: &[&str] = &["loop", "ram", "sr", "fd", "dm-", "zram", "md"];
const SECTOR: u64 = 512;

/// The device of the partition with this name, if a disk has one.
pub(crate) fn by_partition_label(label: &str) -> Option<String> {
    let wanted = format!("PARTNAME={label}");
    let entries = fs::read_dir("/sys/class/block").ok()?;
    entries.flatten().find_map(|entry| {
        let uevent = fs::read_to_string(entry.path().join("uevent")).ok()?;
        let found = uevent.lines().any(|line| line == wanted);
        found.then(|| format!("/dev/{}", entry.file_name().to_string_lossy()))
    })
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

/// Mounts the config partition, making its file system at the first boot.
///
/// # Errors
/// The partition is missing, holds something else, or cannot be mounted: what is configured then
/// lasts until the next boot.
pub(crate) fn mount_config(modules: &mut Modules) -> Result<()> {
    modules.load("ext4");
    let device = by_partition_label(CONFIG_PARTITION).context("no disk has a config partition")?;
    match probe(&device)? {
        Content::Blank => {
            run("/usr/sbin/mke2fs", &["-q", "-t", "ext4", "-L", CONFIG_LABEL, &device])?
        }
        Content::Known("an ext file system") => {}
        other => bail!("{device} holds {other:?} instead of our settings; it was left alone"),
    }
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some(device.as_str()), CONFIG, Some("ext4"), flags, None::<&str>)
        .with_context(|| format!("mounting {device} on {CONFIG}"))
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

/// What is noted of the cache disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// Nothing: this appliance never had one.
    Never,
    /// A disk was about to be formatted with this UUID; the power may have gone before it was done.
    Formatting(String),
    /// The disk with this UUID is the cache.
    Known(String),
}

impl Recorded {
    fn parse(text: &str) -> Self {
        match (text, text.strip_prefix("formatting ")) {
            ("", _) => Self::Never,
            (_, Some(uuid)) => Self::Formatting(uuid.to_owned()),
            (uuid, None) => Self::Known(uuid.to_owned()),
        }
    }

    fn uuid(&self) -> Option<&str> {
        match self {
            Self::Never => None,
            Self::Formatting(uuid) | Self::Known(uuid) => Some(uuid),
        }
    }
}

/// Chooses the cache disk.
pub(crate) fn decide(candidates: &[Candidate], recorded: &Recorded) -> Decision {
    let ours = |candidate: &&Candidate| matches!(&candidate.content, Ok(Content::Xfs { label, .. }) if label == CACHE_LABEL);
    let cache_disks: Vec<&Candidate> = candidates.iter().filter(ours).collect();
    for disk in &cache_disks {
        if let Ok(Content::Xfs { uuid, .. }) = &disk.content
            && recorded.uuid() == Some(uuid)
        {
            return Decision::Mount { device: disk.device.clone(), uuid: uuid.clone() };
        }
    }
    if let Recorded::Known(_) = recorded {
        return Decision::Nothing(
            "the cache disk of this appliance is not attached: attach it again. It may hold files \
             that are not in the bucket yet"
                .to_owned(),
        );
    }
    match cache_disks.as_slice() {
        [] => {}
        [disk] => {
            return Decision::Nothing(format!(
                "{} is the cache disk of another appliance and was left alone: attach it there, or \
                 add a blank disk",
                disk.device
            ));
        }
        _ => {
            return Decision::Nothing(
                "several cache disks of other appliances are attached; they were left alone: add a \
                 blank disk instead"
                    .to_owned(),
            );
        }
    }
    let blank: Vec<&Candidate> =
        candidates.iter().filter(|c| c.content == Ok(Content::Blank)).collect();
    match blank.as_slice() {
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
            several.iter().map(|d| d.device.as_str()).collect::<Vec<_>>().join(", ")
        )),
    }
}

fn no_blank_disk(candidates: &[Candidate]) -> String {
    let mut words = "no blank disk is attached: add one of 150 GiB or more to the VM".to_owned();
    for candidate in candidates {
        let what = match &candidate.content {
            Ok(Content::Known(name)) => format!("holds {name}"),
            Ok(Content::Xfs { .. }) => "holds an XFS file system".to_owned(),
            Ok(Content::Data) => "holds data".to_owned(),
            Ok(Content::Blank) => continue,
            Err(why) => format!("cannot be read: {why}"),
        };
        words.push_str(&format!("; {} {what} and was left alone", candidate.device));
    }
    words
}

/// Disks that are no part of the appliance itself.
fn candidates() -> Vec<Candidate> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir("/sys/block") else { return found };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let attribute = |attribute: &str| sys::read_line(entry.path().join(attribute));
        let never = NEVER.iter().any(|kind| name.starts_with(kind));
        if never || attribute("hidden") == "1" || attribute("removable") == "1" {
            continue;
        }
        let device = format!("/dev/{name}");
        let partitions = fs::read_dir(entry.path())
            .map(|inside| inside.flatten().filter(|e| e.path().join("partition").exists()).count())
            .unwrap_or(0);
        let content = if partitions > 0 {
            Ok(Content::Known("partitions"))
        } else if attribute("ro") == "1" {
            Err("it is read-only".to_owned())
        } else {
            probe(&device).map_err(|error| format!("{error:#}"))
        };
        found.push(Candidate { size: ByteSize(size_of(&device)), device, content });
    }
    // The system disk is no candidate, nor worth a word.
    let system = by_partition_label(CONFIG_PARTITION).unwrap_or_default();
    found.retain(|candidate| !system.starts_with(&candidate.device));
    found.sort_by(|a, b| a.device.cmp(&b.device));
    found
}

/// The mounted cache disk.
#[derive(Clone, Debug)]
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
    let (device, uuid) = match decide(&candidates(), &recorded) {
        Decision::Nothing(why) => bail!("{why}"),
        Decision::Mount { device, uuid } => (device, uuid),
        Decision::Format { device } => {
            let uuid = format(&device)?;
            (device, uuid)
        }
    };
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some(device.as_str()), CACHE, Some("xfs"), flags, None::<&str>)
        .with_context(|| format!("mounting {device}"))?;
    if recorded != Recorded::Known(uuid.clone()) {
        record(&uuid)?;
    }
    chown(CACHE, Some(owner.0), Some(owner.1)).context("giving the cache to the gateway")?;
    Ok(CacheDisk { size: ByteSize(size_of(&device)), device })
}

/// Makes the file system. Its UUID is noted first: a power cut in between must neither make the disk
/// a stranger nor leave the appliance waiting for one that was never made.
fn format(device: &str) -> Result<String> {
    sys::say(&format!("formatting the blank disk {device} as the cache"));
    let uuid = sys::read_line("/proc/sys/kernel/random/uuid");
    let plain: String = uuid.chars().filter(|c| *c != '-').collect();
    record(&format!("formatting {plain}"))?;
    let option = format!("uuid={uuid}");
    run("/usr/sbin/mkfs.xfs", &["-q", "-L", CACHE_LABEL, "-m", &option, device])?;
    Ok(plain)
}

/// What is noted; an unreadable note is an error, because a disk might be formatted for want of it.
fn recorded() -> Result<Recorded> {
    match fs::read_to_string(CACHE_RECORD) {
        Ok(text) => Ok(Recorded::parse(text.trim())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Recorded::Never),
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
        assert_eq!(
            decide(&disks, &Recorded::Never),
            Decision::Format { device: "/dev/sdb".to_owned() }
        );
    }

    #[test]
    fn the_recorded_disk_is_mounted_whatever_its_name() {
        let disks = [disk("/dev/sda", Content::Blank), cache("/dev/sdc", "aa")];
        let expected = Decision::Mount { device: "/dev/sdc".to_owned(), uuid: "aa".to_owned() };
        assert_eq!(decide(&disks, &Recorded::Known("aa".to_owned())), expected);
    }

    #[test]
    fn a_missing_cache_disk_is_never_replaced_by_a_blank_one() {
        let disks = [disk("/dev/sda", Content::Blank)];
        assert!(
            words(decide(&disks, &Recorded::Known("aa".to_owned())))
                .contains("not in the bucket yet")
        );
        let disks = [disk("/dev/sda", Content::Blank), cache("/dev/sdb", "bb")];
        assert!(
            words(decide(&disks, &Recorded::Known("aa".to_owned()))).contains("attach it again")
        );
    }

    #[test]
    fn an_interrupted_format_is_taken_up_again() {
        let formatting = Recorded::parse("formatting aa");
        let blank = [disk("/dev/sdb", Content::Blank)];
        assert_eq!(decide(&blank, &formatting), Decision::Format { device: "/dev/sdb".to_owned() });
        let made = [cache("/dev/sdb", "aa")];
        assert!(matches!(decide(&made, &formatting), Decision::Mount { .. }));
        assert_eq!(Recorded::parse(""), Recorded::Never);
        assert_eq!(Recorded::parse("aa"), Recorded::Known("aa".to_owned()));
    }

    #[test]
    fn anything_doubtful_is_left_alone_and_said() {
        let foreign = [cache("/dev/sdb", "bb"), disk("/dev/sdc", Content::Blank)];
        assert!(words(decide(&foreign, &Recorded::Never)).contains("another appliance"));
        let two = [disk("/dev/sdb", Content::Blank), disk("/dev/sdc", Content::Blank)];
        assert!(words(decide(&two, &Recorded::Never)).contains("/dev/sdb, /dev/sdc"));
        let full = [
            disk("/dev/sdb", Content::Known("an ext file system")),
            disk("/dev/sdc", Content::Data),
        ];
        let said = words(decide(&full, &Recorded::Never));
        assert!(said.contains("/dev/sdb holds an ext file system"), "{said}");
        assert!(said.contains("/dev/sdc holds data"), "{said}");
        let mut small = disk("/dev/sdb", Content::Blank);
        small.size = ByteSize(100 << 20);
        assert!(words(decide(&[small], &Recorded::Never)).contains("too small"));
        let broken = Candidate {
            device: "/dev/sdb".to_owned(),
            size: ByteSize(0),
            content: Err("input/output error".to_owned()),
        };
        assert!(words(decide(&[broken], &Recorded::Never)).contains("input/output error"));
    }
}
