//! Settings that could not be read at the boot: a child asks for them again and again, one at a time, and what it
//! finds is used like a change. It is not waited for: while the system disk stands still, it does.
use std::time::Duration;

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::Running;
use crate::{
    children::{self, Begun},
    phases,
    service::Service,
    sys,
    unread::Why,
};

/// As at the boot, for a partition to be mended and mounted, and for some small files.
const LIMIT: Duration = Duration::from_secs(420);

/// The child that reads. Another one begins only when it has ended, with all that it has started, such as e2fsck.
#[derive(Debug, Default)]
pub(super) struct Reading {
    child: Option<Child>,
    /// The process group of the one that has ended.
    left: Option<Pid>,
}

#[derive(Debug)]
struct Child {
    begun: Begun,
    /// When it is given up; none once it was.
    until: Option<Duration>,
}

impl Reading {
    fn began(&mut self, begun: Begun, now: Duration) {
        self.child = Some(Child { begun, until: Some(now + LIMIT) });
    }

    /// Whether another one can begin. Asked every second: another group may have that number later.
    fn is_over(&mut self) -> bool {
        self.left = self.left.filter(|group| children::is_there(*group));
        self.child.is_none() && self.left.is_none()
    }

    /// A child has ended; if it was this one, what it was.
    fn ended(&mut self, pid: i32) -> Option<Begun> {
        let child = self.child.take_if(|child| child.begun.pid() == pid)?;
        self.left = Some(Pid::from_raw(pid));
        Some(child.begun)
    }

    /// Kills what takes too long. One that waits for the disk dies when that answers.
    fn give_up(&mut self, now: Duration) {
        if let Some(child) = &mut self.child
            && child.until.take_if(|until| *until <= now).is_some()
        {
            // It may have ended in this moment.
            let _gone = killpg(Pid::from_raw(child.begun.pid()), Signal::SIGKILL);
        }
    }
}

impl Running {
    /// Has the settings on the disk read, if they are not known.
    pub(super) fn follow_unread(&mut self, now: Duration) {
        self.reading.give_up(now);
        if !self.reading.is_over() || !self.boot.unread.is_due(now) {
            return;
        }
        match phases::begin_reading(&mut self.boot) {
            Ok(begun) => self.reading.began(begun, now),
            Err(error) => self.boot.unread.missed_again(Why::from(&error), now),
        }
    }

    /// A child has ended; whether it was the one that reads.
    pub(super) fn reading_ended(&mut self, pid: i32, code: Option<i32>) -> bool {
        let Some(begun) = self.reading.ended(pid) else { return false };
        if let Err(error) = self.use_late(begun, code) {
            tracing::error!("the settings on the system disk: {error:#}");
        }
        true
    }

    /// Uses settings that were read late.
    fn use_late(&mut self, begun: Begun, code: Option<i32>) -> Result<()> {
        let now = sys::since_boot();
        let known = phases::take_in(&mut self.boot, begun, code)
            .inspect_err(|error| self.boot.unread.missed_again(error.into(), now))?;
        if known.gateway {
            tracing::info!("the gateway starts again because it has a new seed");
            // It commits first. It does not wait for a look at the disks, of which one may hang.
            let action = self.supervised(Service::Gateway).restart(now);
            self.act(Service::Gateway, action);
        }
        if self.ending.is_none() {
            self.update.noted_late(&mut self.boot, known.note);
        }
        // They say, too, which blank disks are used.
        self.disks.look_at(now);
        self.apply(known.machine).map_err(anyhow::Error::msg).context("using them")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::{CommandExt, ExitStatusExt},
        process::{self, Command},
    };

    use super::*;
    use crate::{
        children::record::{self, Recorder},
        machine::Machine,
        phases::Boot,
        supervisor::State,
    };

    /// A machine on which a child says this of what it has read late; the machine knew of no update before.
    fn machine(said: &str) -> (Running, Begun, tempfile::TempDir) {
        let said = said.as_bytes().to_vec();
        let (entries, _) = Recorder::new(vec![Ok(br#"{"Ok":null}"#.to_vec()), Ok(said)]);
        let folder = tempfile::tempdir().unwrap();
        let mut running = Running::with(Boot::with(entries), folder.path());
        running.boot.state.hostname.clone_from(&Machine::default().hostname);
        running.boot.unread.missed("seed", Why::Silence("late".to_owned()), Duration::ZERO);
        let begun = phases::begin_reading(&mut running.boot).unwrap();
        (running, begun, folder)
    }

    /// Has a process run as the gateway.
    fn run_gateway(running: &mut Running) -> process::Child {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        running.pids.insert(child.id().try_into().unwrap(), Service::Gateway);
        running.supervised(Service::Gateway).started(sys::since_boot());
        child
    }

    /// Goal: what is read late is in force. Method: the running machine as it is, with a process in place of the gateway.
    #[test]
    fn settings_that_are_read_late_are_used_and_the_gateway_hears_of_its_seed() {
        let settings = Machine { ntp_servers: vec!["10.0.0.9".to_owned()], ..Machine::default() };
        for gateway in [false, true] {
            let late = serde_json::json!({
                "Ok": { "machine": settings, "failed": [], "gateway": gateway, "note": null }
            });
            let (mut running, begun, _folder) = machine(&late.to_string());
            let mut child = run_gateway(&mut running);
            running.use_late(begun, Some(0)).unwrap();
            assert_eq!((&running.boot.machine, running.trial.revision()), (&settings, 1));
            assert!(!running.boot.unread.any(), "nothing keeps them from change");
            assert!(running.disks.is_due(sys::since_boot()), "they say which blank disks are used");
            let state = running.services[&Service::Gateway].state();
            let ends = matches!(state, State::Stopping { again: true, .. });
            assert_eq!(ends, gateway, "{state:?}");
            if !ends {
                child.kill().unwrap();
            }
            let signal = child.wait().unwrap().signal().unwrap();
            assert_eq!(signal == libc::SIGTERM, ends, "it ends in order: {signal}");
        }
    }

    #[test]
    fn what_is_not_read_late_changes_nothing_and_is_asked_for_again() {
        let (mut running, begun, _folder) = machine("");
        let mut child = run_gateway(&mut running);
        running.use_late(begun, None).unwrap_err();
        assert_eq!((&running.boot.machine, running.trial.revision()), (&Machine::default(), 0));
        assert!(running.boot.unread.any() && !running.boot.unread.is_due(sys::since_boot()));
        assert!(matches!(running.services[&Service::Gateway].state(), State::Running { .. }));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_reader_that_hangs_is_given_up_and_the_next_one_waits_for_its_end() {
        let at = Duration::from_secs;
        let (entries, _) = Recorder::new(vec![Ok(Vec::new())]);
        let begun = phases::begin_reading(&mut Boot::with(entries)).unwrap();
        let mut reading = Reading::default();
        assert!(reading.is_over());
        // No process group has the number of the one that is recorded.
        reading.began(begun, at(100));
        for now in [100, 519, 520, 10_000] {
            reading.give_up(at(now));
            assert!(!reading.is_over(), "at {now}: it may read and write still");
        }
        assert!(reading.ended(5_000_001).is_none(), "another child");
        assert!(reading.ended(5_000_000).is_some());
        assert!(reading.is_over());
    }

    /// Goal: none mounts the partition beside an e2fsck of the one before. Method: two children in one group that nobody
    /// has reaped, in place of what not even a signal ends.
    #[test]
    fn the_next_reader_waits_for_all_that_the_one_before_has_started() {
        let sleep = |group: i32| Command::new("sleep").arg("1000").process_group(group).spawn();
        let mut reader = sleep(0).unwrap();
        let pid = reader.id().cast_signed();
        let mut started = sleep(pid).unwrap();
        let mut reading = Reading::default();
        reading.began(record::begun(pid), Duration::ZERO);
        reading.give_up(LIMIT);
        reader.wait().unwrap();
        assert!(reading.ended(pid).is_some(), "it is heard");
        let is_over = reading.is_over();
        started.wait().unwrap();
        assert!(!is_over, "what it has started may be at work");
        assert!(reading.is_over());
    }
}
