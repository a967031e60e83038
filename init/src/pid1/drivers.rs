//! Drivers of hardware that comes while the machine runs. A driver looks for its devices while it is loaded,
//! and may not come back: children load them, one at a time.
use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::Running;
use crate::{service, sys};

/// A controller that probes each of its ports in turn.
const LIMIT: Duration = Duration::from_secs(120);
/// Most devices whose drivers wait to be loaded, and longest of their aliases: together far below what a
/// program can be started with.
const ALIASES_MAX: usize = 256;
const ALIAS_BYTES_MAX: usize = 1024;

/// Drivers to be loaded.
#[derive(Debug, Default)]
pub(super) struct Drivers {
    /// Modaliases of hardware that has come.
    wanted: Vec<String>,
    /// The child at work, and when it is given up.
    child: Option<(i32, Duration)>,
}

impl Drivers {
    /// Hardware has come. What is more than can be remembered is told.
    pub(super) fn want(&mut self, alias: &str) {
        if self.wanted.iter().any(|wanted| wanted == alias) {
            return;
        }
        if self.wanted.len() < ALIASES_MAX && alias.len() <= ALIAS_BYTES_MAX {
            self.wanted.push(alias.to_owned());
        } else {
            tracing::warn!("too much hardware at once: no driver is loaded for {alias:.80}");
        }
    }

    /// A child has ended; whether it was this one.
    pub(super) fn ended(&mut self, pid: i32) -> bool {
        let ours = self.child.is_some_and(|(child, _)| child == pid);
        if ours {
            self.child = None;
        }
        ours
    }

    /// What to load now; nothing while a child is at work. One that takes too long is given up: the others
    /// do not wait for it, and if not even a signal ends it, it ends some day or never.
    fn due(&mut self, now: Duration) -> Vec<String> {
        if let Some((pid, until)) = self.child {
            if now < until {
                return Vec::new();
            }
            self.child = None;
            sys::say(&format!("loading drivers took more than {} s", LIMIT.as_secs()));
            // It may have ended in this moment.
            let _gone = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::mem::take(&mut self.wanted)
    }

    fn began(&mut self, pid: i32, now: Duration) {
        self.child = Some((pid, now + LIMIT));
    }
}

impl Running {
    /// Has drivers loaded for what has come.
    pub(super) fn follow_drivers(&mut self, now: Duration) {
        let aliases = self.drivers.due(now);
        if aliases.is_empty() {
            return;
        }
        match load(&aliases) {
            Ok(pid) => self.drivers.began(pid, now),
            Err(error) => tracing::error!("{error:#}"),
        }
    }
}

fn load(aliases: &[String]) -> Result<i32> {
    let mut command = Command::new(service::INIT);
    command.arg("load-drivers").args(aliases).env_clear().env("PATH", "/usr/sbin:/usr/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    service::unblock_signals(command.process_group(0));
    let child = command.spawn().context("loading drivers")?;
    Ok(i32::try_from(child.id())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_hangs_is_given_up_and_the_next_ones_are_loaded() {
        let at = Duration::from_secs;
        let mut drivers = Drivers::default();
        for alias in ["pci:a", "pci:b", "pci:a"] {
            drivers.want(alias);
        }
        assert_eq!(drivers.due(at(0)), ["pci:a", "pci:b"], "those that came together, at once");
        // No process group has this number: it is above the kernel's limit of pids.
        drivers.began(5_000_000, at(0));
        drivers.want("pci:c");
        assert!(drivers.due(at(119)).is_empty(), "one child at a time");
        assert_eq!(drivers.due(at(120)), ["pci:c"]);
        drivers.began(5_000_001, at(120));
        assert!(!drivers.ended(5_000_000), "nobody waits for it");
        drivers.want("pci:d");
        assert!(drivers.ended(5_000_001));
        assert_eq!(drivers.due(at(121)), ["pci:d"]);
        assert!(drivers.due(at(122)).is_empty());
    }

    #[test]
    fn a_storm_of_hardware_is_bounded() {
        let mut drivers = Drivers::default();
        for device in 0..1000 {
            drivers.want(&format!("pci:{device}"));
        }
        drivers.want(&"x".repeat(2000));
        assert_eq!(drivers.due(Duration::ZERO).len(), ALIASES_MAX);
    }
}
