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
    let (done, waiting) = mpsc::channel();
    thread::spawn(move || {
        sync();
        // Nobody waits any more after the time limit.
        let _nobody_waits = done.send(());
    });
    if waiting.recv_timeout(SYNC_TIME).is_err() {
        sys::say("the disks did not take everything in time");
    }
}

/// Unmounts everything on a disk but the root, the last mounted first.
fn unmount() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines().rev() {
        let mut fields = line.split(' ');
        let (Some(source), Some(target)) = (fields.next(), fields.next()) else { continue };
        if !source.starts_with("/dev/") || target == "/" {
            continue;
        }
        if let Err(error) = umount2(target, MntFlags::empty()) {
            sys::say(&format!("unmounting {target}: {error}"));
        }
    }
}
