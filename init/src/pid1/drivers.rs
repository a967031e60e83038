//! Drivers of hardware that comes while the machine runs. A driver looks for its devices while it is loaded,
//! and may not come back: children load them, one at a time. What comes together is loaded together; if that is
//! given up, each is loaded by itself, so that the one that hangs keeps no other one from its device.
use std::{
    collections::VecDeque,
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
/// Until it is tried again to start a child: there may be no memory for it in this moment.
const PAUSE: Duration = Duration::from_secs(10);
/// Most devices whose drivers wait to be loaded, and longest of their aliases: together far below what a
/// program can be started with.
const ALIASES_MAX: usize = 256;
const ALIAS_BYTES_MAX: usize = 1024;

/// Drivers to be loaded.
#[derive(Debug, Default)]
pub(super) struct Drivers {
    /// Modaliases of hardware that has come.
    wanted: Vec<String>,
    /// Those of a child that was given up, each to be loaded by itself, and once.
    alone: VecDeque<String>,
    /// The child at work.
    child: Option<Child>,
    /// No child begins before this time.
    not_before: Duration,
}

#[derive(Debug)]
struct Child {
    pid: i32,
    /// When it is given up.
    until: Duration,
    /// What it loads drivers for.
    aliases: Vec<String>,
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
        self.child.take_if(|child| child.pid == pid).is_some()
    }

    /// What to load now; nothing while a child is at work. It waits on until a child has begun. One that takes too
    /// long is given up: the others do not wait for it, and if not even a signal ends it, it ends some day or never.
    fn due(&mut self, now: Duration) -> Vec<String> {
        if self.child.as_ref().is_some_and(|child| now < child.until) {
            return Vec::new();
        }
        if let Some(child) = self.child.take() {
            self.give_up(child);
        }
        if now < self.not_before {
            return Vec::new();
        }
        // What has just come does not wait for what may hang once more.
        if self.wanted.is_empty() {
            return self.alone.front().cloned().into_iter().collect();
        }
        self.wanted.clone()
    }

    /// Ends a child. One of several drivers kept the others waiting: nobody knows which.
    fn give_up(&mut self, child: Child) {
        let (names, seconds) = (child.aliases.join(" "), LIMIT.as_secs());
        sys::say(&format!("loading drivers took more than {seconds} s: {names:.200}"));
        // It may have ended in this moment.
        let _gone = killpg(Pid::from_raw(child.pid), Signal::SIGKILL);
        if child.aliases.len() > 1 {
            let room = ALIASES_MAX.saturating_sub(self.alone.len());
            self.alone.extend(child.aliases.into_iter().take(room));
        }
    }

    /// A child has begun to load what was due.
    fn began(&mut self, pid: i32, now: Duration) {
        let aliases = if self.wanted.is_empty() {
            self.alone.pop_front().into_iter().collect()
        } else {
            std::mem::take(&mut self.wanted)
        };
        self.child = Some(Child { pid, until: now + LIMIT, aliases });
    }

    /// None could be started.
    fn not_begun(&mut self, now: Duration) {
        self.not_before = now + PAUSE;
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
            Err(error) => {
                tracing::error!("{error:#}");
                self.drivers.not_begun(now);
            }
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

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Begins what is due at that moment, as a child with a number above the kernel's limit of pids.
    fn begin(drivers: &mut Drivers, seconds: u64) -> Vec<String> {
        let due = drivers.due(at(seconds));
        if !due.is_empty() {
            drivers.began(pid(seconds), at(seconds));
        }
        due
    }

    fn pid(seconds: u64) -> i32 {
        5_000_000 + i32::try_from(seconds).unwrap()
    }

    #[test]
    fn a_driver_that_hangs_is_given_up_and_the_next_ones_are_loaded() {
        let mut drivers = Drivers::default();
        for alias in ["pci:a", "pci:b", "pci:a"] {
            drivers.want(alias);
        }
        assert_eq!(begin(&mut drivers, 0), ["pci:a", "pci:b"], "those that came together, at once");
        drivers.want("pci:c");
        assert!(begin(&mut drivers, 119).is_empty(), "one child at a time");
        assert_eq!(begin(&mut drivers, 120), ["pci:c"]);
        assert!(!drivers.ended(pid(0)), "nobody waits for it");
        drivers.want("pci:d");
        assert!(drivers.ended(pid(120)));
        assert_eq!(begin(&mut drivers, 121), ["pci:d"]);
    }

    #[test]
    fn what_came_together_with_a_driver_that_hangs_is_loaded_by_itself() {
        let mut drivers = Drivers::default();
        for alias in ["pci:hangs", "pci:a", "pci:b"] {
            drivers.want(alias);
        }
        assert_eq!(begin(&mut drivers, 0).len(), 3);
        assert_eq!(begin(&mut drivers, 120), ["pci:hangs"], "nobody knows which one it was");
        drivers.want("pci:new");
        assert_eq!(begin(&mut drivers, 240), ["pci:new"], "what has just come goes first");
        assert!(drivers.ended(pid(240)));
        assert_eq!(begin(&mut drivers, 241), ["pci:a"]);
        assert!(drivers.ended(pid(241)));
        assert_eq!(begin(&mut drivers, 242), ["pci:b"]);
        assert!(drivers.ended(pid(242)));
        assert!(begin(&mut drivers, 10_000).is_empty(), "what hangs is not tried for ever");
    }

    #[test]
    fn drivers_whose_child_cannot_be_started_are_loaded_with_the_next_ones() {
        let mut drivers = Drivers::default();
        drivers.want("pci:a");
        drivers.want("pci:b");
        assert_eq!(drivers.due(at(0)), ["pci:a", "pci:b"]);
        drivers.not_begun(at(0));
        drivers.want("pci:c");
        assert!(begin(&mut drivers, 9).is_empty(), "not all the time");
        assert_eq!(begin(&mut drivers, 10), ["pci:a", "pci:b", "pci:c"]);
        // And of those that are loaded each by itself, none is left out either.
        for now in [130, 140] {
            assert_eq!(drivers.due(at(now)), ["pci:a"]);
            drivers.not_begun(at(now));
        }
        for (now, alias) in [(150, "pci:a"), (151, "pci:b"), (152, "pci:c")] {
            assert_eq!(begin(&mut drivers, now), [alias]);
            assert!(drivers.ended(pid(now)));
        }
        assert!(begin(&mut drivers, 10_000).is_empty());
    }

    #[test]
    fn a_storm_of_hardware_is_bounded() {
        let mut drivers = Drivers::default();
        for device in 0..1000 {
            drivers.want(&format!("pci:{device}"));
        }
        drivers.want(&"x".repeat(2000));
        // One batch after the other that hangs.
        for round in 0..3 {
            assert_eq!(begin(&mut drivers, 120 * round).len(), ALIASES_MAX);
            (0..1000).for_each(|device| drivers.want(&format!("pci:{round}:{device}")));
        }
        drivers.wanted.clear();
        assert_eq!(begin(&mut drivers, 1000).len(), 1);
        assert!(drivers.alone.len() < ALIASES_MAX);
    }
}
