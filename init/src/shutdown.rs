//! The end: everything stops in order, what is written reaches the disks, the machine goes down.
//!
//! Never hangs: every wait has an end.
use std::{
    fs,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, umount2},
    sys::{
        reboot::{RebootMode, reboot},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, sync},
};

use serde::{Deserialize, Serialize};

use crate::sys;

/// How the machine is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ending {
    Reboot,
    PowerOff,
}

/// Time for what is left after SIGTERM.
const TERM_TIME: Duration = Duration::from_secs(5);
/// Time for what is left after SIGKILL.
const KILL_TIME: Duration = Duration::from_secs(2);
/// Time for one file system to be unmounted: its last writes go to the disk meanwhile.
const UNMOUNT_TIME: Duration = Duration::from_secs(20);
/// Time for the disks.
const SYNC_TIME: Duration = Duration::from_secs(30);

/// Ends everything. The services have been stopped before.
pub(crate) fn finish(ending: Ending) -> ! {
    sys::say("stopping everything");
    end_all(Signal::SIGTERM, TERM_TIME);
    end_all(Signal::SIGKILL, KILL_TIME);
    bounded_sync();
    unmount();
    bounded_sync();
    sys::say(match ending {
        Ending::Reboot => "rebooting",
        Ending::PowerOff => "powering off",
    });
    down(match ending {
        Ending::Reboot => RebootMode::RB_AUTOBOOT,
        Ending::PowerOff => RebootMode::RB_POWER_OFF,
    })
}

/// Reboots without ceremony: before there is anything to stop.
pub(crate) fn reboot_now() -> ! {
    bounded_sync();
    down(RebootMode::RB_AUTOBOOT)
}

fn down(mode: RebootMode) -> ! {
    loop {
        let Err(error) = reboot(mode);
        sys::say(&format!("reboot: {error}"));
        thread::sleep(Duration::from_secs(1));
    }
}

fn end_all(signal: Signal, time: Duration) {
    // No process is left: there is nothing to signal.
    let _nobody_left = kill(Pid::from_raw(-1), signal);
    let begun = Instant::now();
    while begun.elapsed() < time {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => thread::sleep(Duration::from_millis(20)),
            Ok(_) => {}
            Err(_no_children) => return,
        }
    }
}

fn bounded_sync() {
    if !bounded(SYNC_TIME, sync) {
        sys::say("the disks did not take everything in time");
    }
}

/// Does what can wait for a disk for ever in a thread of its own; whether it was done in time.
fn bounded(limit: Duration, work: impl FnOnce() + Send + 'static) -> bool {
    let (done, waiting) = mpsc::channel();
    let started = thread::Builder::new().spawn(move || {
        work();
        // Nobody waits any more after the time limit.
        let _nobody_waits = done.send(());
    });
    started.is_ok() && waiting.recv_timeout(limit).is_ok()
}

/// Unmounts everything on a disk but the root, the last mounted first. What is still in use is taken out
/// of the tree at least, and written as far as [`bounded_sync`] brings it.
fn unmount() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for target in on_disks(&mounts) {
        let name = target.clone();
        let in_time = bounded(UNMOUNT_TIME, move || {
            let Err(error) = umount2(target.as_str(), MntFlags::empty()) else { return };
            sys::say(&format!("unmounting {target}: {error}"));
            if let Err(error) = umount2(target.as_str(), MntFlags::MNT_DETACH) {
                sys::say(&format!("detaching {target}: {error}"));
            }
        });
        if !in_time {
            sys::say(&format!("unmounting {name} did not come to its end"));
        }
    }
}

/// Mount points of file systems on disks, the root's left out, the last mounted first.
fn on_disks(mounts: &str) -> Vec<String> {
    let of_disk = |line: &str| {
        let mut fields = line.split(' ');
        let (source, target) = (fields.next()?, fields.next()?);
        (source.starts_with("/dev/") && target != "/").then(|| target.to_owned())
    };
    mounts.lines().rev().filter_map(of_disk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_not_waited_for() {
        let (_keeps_it_waiting, never) = mpsc::channel::<()>();
        assert!(!bounded(Duration::from_millis(10), move || {
            let _nothing_comes = never.recv();
        }));
        assert!(bounded(Duration::from_secs(60), || {}));
        assert!(!bounded(Duration::from_secs(60), || panic!("as a call that fails")));
    }

    #[test]
    fn the_last_mounted_goes_first_and_the_root_stays() {
        let mounts = "proc /proc proc rw 0 0\n/dev/dm-0 / squashfs ro 0 0\n\
            /dev/sda5 /config ext4 rw 0 0\ntmpfs /var tmpfs rw 0 0\n\
            /dev/sda5 /var/log/journal ext4 rw 0 0\n/dev/sdb /cache xfs rw 0 0\n";
        assert_eq!(on_disks(mounts), ["/cache", "/var/log/journal", "/config"]);
    }
}
