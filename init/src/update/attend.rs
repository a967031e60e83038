//! The errand around an update: finds the file, mounts the ESP for a moment, has a confined process write,
//! tells the console each step, and keeps the note.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{alarm, getpid, getppid},
};
use serde::{Deserialize, Serialize};

use super::{
    install, manifest,
    note::{NOTE, Note, Stage, Standing},
    port::Disk,
    stream::CUT_OFF,
    write::{self, OLDER_TOO, Said},
};
use crate::{
    control::Answer, disks, gateway_tool::Download, modules::Modules, mounts, seed, service,
    slot::Slot, sys, sys::CommandLine,
};

/// Who changes the boot loaders' files has this lock.
const LOCK: &str = "/run/tidegate/update.lock";
const ESP_PARTITION: &str = "esp";
/// Longest update, and longest change of a few names.
const UPDATE_SECONDS: u32 = 1800;
const NAMES_SECONDS: u32 = 120;
/// How long the console may take to hear.
const PEER_TIME: Duration = Duration::from_secs(120);
/// Most that the writing process says.
const SAID_BYTES_MAX: u64 = 64 << 10;
/// What systemd-boot leaves for whoever boots a version on trial (Boot Loader Interface).
const BOOT_COUNT: &str =
    "/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// And GRUB's configuration.
const TRIAL_WORD: &str = "tidegate.trial";

/// What the operator wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Wanted {
    /// The update on a volume.
    Volume {
        /// Whether it may be an older version.
        older_too: bool,
    },
    /// The update at a URL.
    Url {
        /// http or https: the update is signed.
        url: String,
        /// Whether it may be an older version.
        older_too: bool,
    },
    /// The version in the other slot.
    Other,
}

/// Whether the boot loader tries this version, and counts.
pub(crate) fn is_on_trial(line: &CommandLine) -> bool {
    line.get(TRIAL_WORD).is_some() || Path::new(BOOT_COUNT).exists()
}

/// Does what is wanted, for the console at the other end of standard output.
///
/// # Errors
/// Words for the operator.
pub(crate) fn attend(wanted: Wanted, gateway_ran: bool) -> Result<Answer> {
    alarm::set(UPDATE_SECONDS);
    let console = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    console.set_write_timeout(Some(PEER_TIME))?;
    Answer::Done.write(&console)?;
    let mut tell = |text: String| Answer::Text { text }.write(&console);
    let lock = lock(Path::new(LOCK))?;
    let (running, may) = write::running()?;
    match wanted {
        Wanted::Volume { older_too } => {
            let mut modules = Modules::open();
            let (from, update) = seed::update_of_volume(&mut modules)?;
            tell(format!("Found {from}"))?;
            let esp = Esp::mount(&mut modules)?;
            let order = Order { running, older_too, gateway_ran };
            let done = write_update(update.into(), &order, &lock, &mut tell);
            esp.unmount()?;
            done?;
        }
        Wanted::Url { url, older_too } => {
            let mut download = Download::begin(&url, manifest::UPDATE_BYTES_MAX)?;
            let esp = Esp::mount(&mut Modules::open())?;
            let update = download.stream()?;
            let order = Order { running, older_too, gateway_ran };
            let done = write_update(update, &order, &lock, &mut tell);
            esp.unmount()?;
            whole(done, download)?;
        }
        Wanted::Other => {
            let before = Note::load(Path::new(NOTE))?;
            let other = before.as_ref().and_then(|note| note.other(running));
            let other = other.context("the other slot holds no whole version")?;
            manifest::may_go_back(other.version, may).map_err(|why| anyhow!(why))?;
            let note =
                Note { from: running, to: other, stage: Stage::Ready, why: None, gateway_ran };
            note.store(Path::new(NOTE))?;
            let esp = Esp::mount(&mut Modules::open())?;
            let done = install::go_back(&mut esp.disk(), running.slot);
            esp.unmount()?;
            if let Err(why) = done {
                if let Some(before) = before {
                    before.store(Path::new(NOTE))?;
                }
                bail!(why);
            }
            tell(format!("The boot loaders try version {} at the next start", other.version))?;
        }
    }
    Ok(Answer::Done)
}

/// What became of an update that was downloaded while it was written: where the download broke off, that is
/// why the rest of it was missing.
fn whole(done: Result<()>, mut download: Download) -> Result<()> {
    let Err(why) = done else { return Ok(()) };
    if why.to_string().contains(CUT_OFF) { download.end().and(Err(why)) } else { Err(why) }
}

/// What is to be known for writing an update.
struct Order {
    running: Standing,
    older_too: bool,
    gateway_ran: bool,
}

/// Has a process of its own write the update.
fn write_update(
    update: OwnedFd,
    order: &Order,
    lock: &File,
    tell: &mut impl FnMut(String) -> io::Result<()>,
) -> Result<()> {
    let Order { running, older_too, gateway_ran } = *order;
    let device = partition(running.slot.other().partition())?;
    let mut command = Command::new(service::INIT);
    command.args(["write-update", &device]).args(older_too.then_some(OLDER_TOO));
    command.env_clear().stdin(update).stdout(Stdio::piped()).stderr(Stdio::null());
    tie(&mut command, lock)?;
    let mut child = command.spawn().context("starting the process that writes")?;
    let said = child.stdout.take().context("its pipe")?;
    let mut note = None;
    let told = follow(BufReader::new(said.take(SAID_BYTES_MAX)), |said| {
        match said {
            Said::Version(version) => {
                let version = version.parse().map_err(|why: String| anyhow!(why))?;
                let to = Standing { slot: running.slot.other(), version };
                let stage = Stage::Writing;
                let written = Note { from: running, to, stage, why: None, gateway_ran };
                written.store(Path::new(NOTE))?;
                note = Some(written);
                tell(format!("Version {version}: signed, and fits"))?;
            }
            Said::Step(words) => tell(words)?,
            Said::Failed(why) => bail!(why),
            Said::Done => {}
        }
        Ok(())
    });
    if told.is_err() {
        // It may have ended by itself; either way it is reaped.
        let _ended = child.kill();
    }
    let status = child.wait().context("waiting for the process that writes")?;
    let done = told.and_then(|done| {
        if done && status.success() {
            Ok(())
        } else {
            bail!("the process that writes ended: {status}")
        }
    });
    if let Some(note) = note {
        let (stage, why) = match &done {
            Ok(()) => (Stage::Ready, None),
            Err(error) => (Stage::Broken, Some(format!("{error:#}"))),
        };
        Note { stage, why, ..note }.store(Path::new(NOTE))?;
    }
    done
}

/// Hands on what is said, line by line; whether it was said that all is done.
fn follow(said: impl BufRead, mut each: impl FnMut(Said) -> Result<()>) -> Result<bool> {
    let mut done = false;
    for line in said.lines() {
        if let Some(said) = Said::of(&line?) {
            done |= said == Said::Done;
            each(said)?;
        }
    }
    Ok(done)
}

/// Keeps the version that runs, which is on trial: `init keep-version`.
///
/// # Errors
/// The boot loaders' files cannot be changed.
pub(crate) fn keep_version() -> Result<()> {
    alarm::set(NAMES_SECONDS);
    let _lock = lock(Path::new(LOCK))?;
    let slot = Slot::running().context("stage 1 has not said which slot runs")?;
    let esp = Esp::mount(&mut Modules::open())?;
    let done = install::bless(&mut esp.disk(), slot);
    esp.unmount()?;
    done.map_err(|why| anyhow!(why))
}

fn lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.try_lock().context("an update is under way already")?;
    Ok(file)
}

/// Ties a process to the errand that starts it: it is killed when the errand ends, by its alarm for
/// instance; and it has the lock, too, so that nobody writes beside it while it waits for the disk and does
/// not die. The lock is the open file's (flock(2)), which both have.
fn tie(command: &mut Command, lock: &File) -> Result<()> {
    let errand = getpid();
    let lock = lock.try_clone().context("the update's lock")?;
    // SAFETY: between fork and exec the closure makes async-signal-safe calls (prctl, getppid, fcntl) and
    // allocates nothing. The command owns the descriptor.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            if getppid() != errand {
                // It has ended before that was set.
                return Err(Errno::ESRCH.into());
            }
            // Stays open in the program that comes next.
            fcntl(&lock, FcntlArg::F_SETFD(FdFlag::empty()))?;
            Ok(())
        });
    }
    Ok(())
}

/// A partition of the system disk, by its name.
fn partition(label: &str) -> Result<String> {
    let system = disks::system_disk().context("stage 1 has not said which the system disk is")?;
    let found = disks::partitions(label).into_iter().find(|partition| partition.disk == system);
    found
        .map(|partition| partition.device)
        .with_context(|| format!("the system disk {system} has no partition {label}"))
}

/// The ESP, mounted.
#[derive(Debug)]
struct Esp;

impl Esp {
    fn mount(modules: &mut Modules) -> Result<Self> {
        for module in ["nls_cp437", "nls_ascii", "nls_iso8859_1", "vfat"] {
            modules.load(module);
        }
        let device = partition(ESP_PARTITION)?;
        fs::create_dir_all(mounts::ESP).context(mounts::ESP)?;
        let flags =
            MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
        mount(Some(device.as_str()), mounts::ESP, Some("vfat"), flags, Some("umask=0077"))
            .with_context(|| format!("mounting the boot loaders' partition {device}"))?;
        Ok(Self)
    }

    fn disk(&self) -> Disk {
        Disk { esp: PathBuf::from(mounts::ESP), root: None }
    }

    fn unmount(self) -> Result<()> {
        umount2(mounts::ESP, MntFlags::empty()).context("unmounting the boot loaders' partition")
    }
}

impl Drop for Esp {
    fn drop(&mut self) {
        // After an orderly end there is nothing to unmount any more.
        if mounts::is_mounted(mounts::ESP)
            && let Err(error) = umount2(mounts::ESP, MntFlags::MNT_DETACH)
        {
            sys::say(&format!("the boot loaders' partition stays mounted: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Child};

    use super::*;

    #[test]
    fn what_is_said_is_handed_on_and_done_is_not_assumed() {
        let run = |text: &str| {
            let mut heard = Vec::new();
            let done = follow(text.as_bytes(), |said| {
                heard.push(said);
                Ok(())
            });
            (done.unwrap(), heard.len())
        };
        assert_eq!(run("version 1.2.3\nstep a\ndone\n"), (true, 3));
        assert_eq!(run("version 1.2.3\nnoise\n"), (false, 1));
        let failed = follow("failed disk full\ndone\n".as_bytes(), |said| match said {
            Said::Failed(why) => bail!(why),
            Said::Version(_) | Said::Step(_) | Said::Done => Ok(()),
        });
        assert_eq!(failed.unwrap_err().to_string(), "disk full");
    }

    /// Something that lives for long, as the process that writes does, and how it is started.
    fn writer(lock: &File) -> Child {
        let mut command = Command::new("sleep");
        tie(command.arg("1000"), lock).unwrap();
        command.spawn().unwrap()
    }

    #[test]
    fn whoever_writes_an_update_ends_with_the_errand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("update.lock");
        let lock = lock(&path).unwrap();
        // The kernel counts the end of the thread that has started it.
        let mut writer = std::thread::spawn(move || writer(&lock)).join().unwrap();
        // Without the tie this takes as long as it sleeps.
        let status = writer.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn as_long_as_somebody_writes_an_update_nobody_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("update.lock");
        let errand_s = lock(&path).unwrap();
        let mut writer = writer(&errand_s);
        drop(errand_s);
        let why = lock(&path).unwrap_err().to_string();
        assert_eq!(why, "an update is under way already");
        writer.kill().unwrap();
        writer.wait().unwrap();
        // Waits: children of other tests have all that is open here until they have become another program.
        File::open(&path).unwrap().lock().unwrap();
    }

    #[test]
    fn a_trial_is_known_by_the_boot_loader_s_word() {
        assert!(is_on_trial(&CommandLine::parse("tidegate.verity=1:a:b quiet tidegate.trial")));
        assert!(!is_on_trial(&CommandLine::parse("tidegate.verity=1:a:b quiet")));
    }
}
