//! The cache disks while the machine runs: children look through them, and the gateway runs with those
//! that they report.
//!
//! A look is due when disks come, go or change, when the gateway has started or ended, when the policy
//! changes, and from time to time: not everything that happens to a disk is told. PID 1 waits for none of it. While
//! one that was given up hangs, because a disk does not answer, none begins, and orders are refused: they would wait for
//! the same disk.
use std::{
    os::unix::{net::UnixStream, process::CommandExt},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::Running;
use crate::{
    children,
    disks::{self, Gateway, Mounted, Order, Report, Task},
    errand::{self, Errand},
    observed, service,
    service::Service,
    supervisor::State,
    sys,
};

/// Quiet time after the last disk that came or went: several that come together are judged together.
const SETTLE_TIME: Duration = Duration::from_secs(2);
/// Making file systems, and replaying their journals.
const LIMIT: Duration = Duration::from_secs(300);
/// How often it is asked how far a disk is emptied.
const DRAINING_INTERVAL: Duration = Duration::from_secs(10);
/// How often it is tried again what did not work.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// How often it is looked for what nobody tells: a file system that has shut itself down.
const ROUTINE_INTERVAL: Duration = Duration::from_secs(300);
/// Orders and looks under way at once: they take turns.
const WORKS_MAX: usize = 4;

/// What is said until the first report.
pub(super) const LOOKED_FOR: &str = "is looked for";

/// What PID 1 knows of the disks.
#[derive(Debug, Default)]
pub(super) struct Disks {
    /// When they are to be looked at.
    due: Option<Duration>,
    works: Vec<Work>,
    /// Whether a work has ended whose report was not read yet.
    reported: bool,
    /// Works that came to no good end, in words.
    failed: Option<String>,
    /// Further cache disks that the gateway is started with.
    pub(super) further: Vec<Mounted>,
}

/// A child that looks through the disks, or carries out an order.
#[derive(Debug)]
struct Work {
    pid: i32,
    /// When it is given up; none once it was. It hangs then while there is any process of its group.
    until: Option<Duration>,
}

/// What becomes of the gateway after a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It runs, or is to run, with the disks that it has.
    Run,
    /// It has to end and come back with other disks.
    Restart,
    /// It has to end, and to be off until another look.
    Stop,
}

impl Disks {
    /// To be looked at from `now` on.
    pub(super) fn due(now: Duration) -> Self {
        Self { due: Some(now), ..Self::default() }
    }

    /// A look is due at once.
    pub(super) fn look_at(&mut self, now: Duration) {
        self.due = Some(now);
    }

    /// A look is due at that time, if none is due before.
    fn look_by(&mut self, at: Duration) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// A disk came, or has another size.
    pub(super) fn changed(&mut self, now: Duration) {
        self.due = Some(now + SETTLE_TIME);
    }

    /// A child has ended; whether it was one of these.
    pub(super) fn ended(&mut self, pid: i32, code: Option<i32>) -> bool {
        let Some(at) = self.works.iter().position(|work| work.pid == pid) else { return false };
        // What one that was given up had started may hang still.
        if self.works[at].until.is_some() {
            self.works.swap_remove(at);
            self.reported = true;
            // An order that is refused ends with a code, too, and has left its report.
            self.failed = code.is_none().then(|| "looking at the disks broke off".to_owned());
        }
        true
    }

    fn add(&mut self, pid: u32, now: Duration) -> Result<()> {
        let pid = i32::try_from(pid).context("a pid is a positive i32")?;
        self.works.push(Work { pid, until: Some(now + LIMIT) });
        Ok(())
    }

    /// Gives up what takes too long. One that waits for a disk for ever ends some day, or never.
    fn give_up(&mut self, now: Duration) {
        let is_there = |work: &Work| children::is_there(Pid::from_raw(work.pid));
        self.works.retain(|work| work.until.is_some() || is_there(work));
        for work in &mut self.works {
            if work.until.is_some_and(|until| until < now) {
                work.until = None;
                self.reported = true;
                self.failed = Some(too_long());
                // It may have ended in this moment.
                let _gone = killpg(Pid::from_raw(work.pid), Signal::SIGKILL);
            }
        }
    }

    /// Whether anything is at work that is not given up.
    fn are_busy(&self) -> bool {
        self.works.iter().any(|work| work.until.is_some())
    }

    /// Whether anything that was given up has not ended.
    fn hang(&self) -> bool {
        self.works.iter().any(|work| work.until.is_none())
    }

    /// Whether an order can be carried out.
    ///
    /// # Errors
    /// Words for the console: what is at work has to end first. An order would wait for what hangs, and so would whoever
    /// gave it.
    fn take_orders(&self) -> Result<(), String> {
        if self.hang() {
            let why = "a disk does not answer, and nothing can be done about the disks before it does: detach it, or \
                       mend its storage, and try again";
            return Err(why.to_owned());
        }
        if self.works.len() >= WORKS_MAX {
            return Err("the disks are being worked on: try again in a moment".to_owned());
        }
        Ok(())
    }

    /// Whether to look now. What hangs waits for a disk, as the next one would.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.due.is_some_and(|due| due <= now) && !self.hang()
    }

    /// What is to be said of works that came to no good end: once, and of one that hangs each time.
    fn trouble(&mut self) -> Option<String> {
        let failed = self.failed.take();
        if self.hang() { Some(too_long()) } else { failed }
    }
}

fn too_long() -> String {
    format!("looking at the disks took more than {} s", LIMIT.as_secs())
}

impl Running {
    /// Follows what has come of the last look, and looks again when it is time.
    pub(super) fn follow_disks(&mut self, now: Duration) {
        self.disks.give_up(now);
        if self.disks.are_busy() {
            return;
        }
        if std::mem::take(&mut self.disks.reported) {
            self.follow_report(observed::read(disks::REPORT), now);
        }
        if self.disks.is_due(now) {
            self.look_at_disks(now);
        }
    }

    /// Has a child look through the disks.
    pub(super) fn look_at_disks(&mut self, now: Duration) {
        self.disks.due = None;
        let begun = serde_json::to_string(&self.task()).context("the task").and_then(|task| {
            let mut command = Command::new(service::INIT);
            command.args(["disks", &task]).env_clear().env("PATH", "/usr/sbin:/usr/bin");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            service::unblock_signals(command.process_group(0));
            command.spawn().context("looking at the disks")
        });
        if let Err(error) = begun.and_then(|child| self.disks.add(child.id(), now)) {
            tracing::error!("{error:#}");
            self.disks.due = Some(now + DRAINING_INTERVAL);
        }
    }

    /// Has a child carry out an operator's order and answer it.
    pub(super) fn order_disks(&mut self, order: Order, stream: UnixStream) -> Result<()> {
        if let Err(why) = self.disks.take_orders() {
            return Ok(crate::control::Answer::Refused { why }.write(&stream)?);
        }
        tracing::info!("an order about the disks: {order:?}");
        let child = errand::send(&Errand::Disks { order, task: self.task() }, stream)?;
        self.disks.add(child.id(), sys::since_boot())
    }

    fn task(&self) -> Task {
        let gateway = match self.services[&Service::Gateway].state() {
            State::Off => Gateway::Ended,
            // It may come back at any moment.
            State::Running { .. }
            | State::Stopping { .. }
            | State::Waiting { .. }
            | State::GivenUp => Gateway::Runs,
        };
        let policy = self.boot.unread.cache_disks(self.boot.machine.cache_disks);
        Task { policy, gateway }
    }

    fn follow_report(&mut self, mut report: Report, now: Duration) {
        let mut trouble = self.disks.trouble();
        if report.primary.is_none() && report.problem.is_empty() {
            // There is no report: none has come to its end.
            report.problem = trouble.take().unwrap_or_else(|| LOOKED_FOR.to_owned());
        }
        let state = &mut self.boot.state;
        let mut warnings = report.warnings.clone();
        warnings.extend(trouble);
        for warning in warnings.iter().filter(|warning| !state.cache_warnings.contains(warning)) {
            tracing::warn!("cache disks: {warning}");
        }
        state.cache_warnings = warnings;
        let words = report.in_words();
        if state.cache != words {
            sys::say(&format!("cache disk: {words}"));
            state.cache = words;
        }
        state.cache_mounted = report.primary.is_some();
        state.disks.clone_from(&report.disks);
        state.missing_disks.clone_from(&report.missing);
        let pause = pause(&report, !state.cache_warnings.is_empty());
        self.disks.look_by(now + pause);
        let running = !matches!(self.services[&Service::Gateway].state(), State::Off);
        let running_with = running.then_some(self.disks.further.as_slice());
        match verdict(&report, running_with, self.disks.hang()) {
            Verdict::Run => {
                self.disks.further = report.further;
                self.want(Service::Gateway);
            }
            Verdict::Restart => {
                tracing::info!("the gateway starts again because its cache disks change");
                self.disks.further = report.further;
                let action = self.supervised(Service::Gateway).restart(now);
                self.act(Service::Gateway, action);
            }
            Verdict::Stop if running => {
                tracing::info!("the gateway ends because its cache disks change");
                let action = self.supervised(Service::Gateway).stop(now);
                self.act(Service::Gateway, action);
                if matches!(self.services[&Service::Gateway].state(), State::Off) {
                    self.disks.due = Some(now);
                }
            }
            Verdict::Stop => {}
        }
    }
}

/// When to look again, if nothing happens.
fn pause(report: &Report, warned: bool) -> Duration {
    if report.draining {
        DRAINING_INTERVAL
    } else if warned || report.gateway_silent || !report.problem.is_empty() {
        RETRY_INTERVAL
    } else {
        ROUTINE_INTERVAL
    }
}

/// What becomes of the gateway, which runs with these further disks if it does. While a look `hangs` none comes that
/// unmounts what the gateway lets go of, and that has it started afterwards: it runs with what is left.
fn verdict(report: &Report, running_with: Option<&[Mounted]>, hangs: bool) -> Verdict {
    let uuids =
        |disks: &[Mounted]| -> Vec<String> { disks.iter().map(|disk| disk.uuid.clone()).collect() };
    if report.primary.is_none() || (report.gateway_must_end && !hangs) {
        return Verdict::Stop;
    }
    match running_with {
        Some(disks) if uuids(disks) != uuids(&report.further) => Verdict::Restart,
        Some(_) | None => Verdict::Run,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::{children::record::Recorder, control::Answer, phases::Boot, supervisor::Action};

    fn mounted(uuid: &str) -> Mounted {
        Mounted { uuid: uuid.to_owned(), ..Mounted::default() }
    }

    #[test]
    fn the_gateway_runs_with_the_disks_that_are_there() {
        let report = Report {
            primary: Some(mounted("aa")),
            further: vec![mounted("bb")],
            ..Report::default()
        };
        let verdict =
            |report: &Report, with: Option<&[Mounted]>| super::verdict(report, with, false);
        assert_eq!(verdict(&report, None), Verdict::Run);
        assert_eq!(verdict(&report, Some(&[mounted("bb")])), Verdict::Run);
        for other in [vec![], vec![mounted("cc")], vec![mounted("bb"), mounted("cc")]] {
            assert_eq!(verdict(&report, Some(&other)), Verdict::Restart);
        }
        let lost = Report { primary: None, ..report.clone() };
        assert_eq!(verdict(&lost, Some(&[mounted("bb")])), Verdict::Stop);
        assert_eq!(verdict(&lost, None), Verdict::Stop);
        let held = Report { gateway_must_end: true, ..report };
        assert_eq!(verdict(&held, Some(&[mounted("bb")])), Verdict::Stop);
    }

    /// Goal: a disk that does not answer takes the gateway's others from nobody. Method: what was found before a look
    /// hangs, and what an order finds meanwhile.
    #[test]
    fn while_a_look_hangs_the_gateway_is_not_off_for_want_of_another_one() {
        let verdict =
            |report: &Report, with: Option<&[Mounted]>| super::verdict(report, with, true);
        let held = Report {
            primary: Some(mounted("aa")),
            further: vec![mounted("bb")],
            gateway_must_end: true,
            ..Report::default()
        };
        assert_eq!(verdict(&held, None), Verdict::Run, "it has ended for the look that hangs");
        assert_eq!(verdict(&held, Some(&[mounted("bb")])), Verdict::Run);
        assert_eq!(verdict(&held, Some(&[mounted("bb"), mounted("cc")])), Verdict::Restart);
        let lost = Report { primary: None, ..held };
        assert_eq!(verdict(&lost, Some(&[mounted("bb")])), Verdict::Stop, "it cannot serve");
        assert_eq!(verdict(&lost, None), Verdict::Stop);
    }

    /// Goal: no look at the disks is needed for the gateway to come back with others.
    #[test]
    fn a_gateway_whose_disks_change_ends_in_order_and_comes_back_with_them_by_itself() {
        let (entries, _) = Recorder::new(vec![Ok(br#"{"Ok":null}"#.to_vec())]);
        let folder = tempfile::tempdir().unwrap();
        let mut running = Running::with(Boot::with(entries), folder.path());
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        running.pids.insert(child.id().try_into().unwrap(), Service::Gateway);
        let now = sys::since_boot();
        running.supervised(Service::Gateway).started(now);
        let report = Report {
            primary: Some(mounted("aa")),
            further: vec![mounted("bb")],
            ..Report::default()
        };
        running.follow_report(report.clone(), now);
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        // It is said to run until its end is heard of.
        running.follow_report(report, now);
        let gateway = running.supervised(Service::Gateway);
        gateway.ended(now, Some(0));
        assert_eq!(gateway.tick(now), Action::Start);
        assert_eq!(running.disks.further, [mounted("bb")]);
    }

    #[test]
    fn what_did_not_work_is_tried_again_and_what_nobody_tells_is_looked_for() {
        let well = Report { primary: Some(mounted("aa")), ..Report::default() };
        assert_eq!(pause(&well, false), ROUTINE_INTERVAL);
        assert_eq!(
            pause(&well, true),
            RETRY_INTERVAL,
            "such as a further disk that was not mounted"
        );
        let problem = "not mounted yet".to_owned();
        assert_eq!(pause(&Report { problem, ..Report::default() }, false), RETRY_INTERVAL);
        let silent = Report { gateway_silent: true, ..well.clone() };
        assert_eq!(pause(&silent, false), RETRY_INTERVAL, "it may have emptied a disk");
        assert_eq!(pause(&Report { draining: true, ..well }, true), DRAINING_INTERVAL);
    }

    #[test]
    fn what_an_order_has_begun_is_followed_sooner_than_what_was_due() {
        let at = Duration::from_secs;
        let mut disks = Disks::due(at(400));
        disks.look_by(at(110));
        assert_eq!(disks.due, Some(at(110)), "a disk is being emptied since the last look");
        disks.look_by(at(410));
        assert_eq!(disks.due, Some(at(110)), "what came meanwhile is not put off");
    }

    #[test]
    fn works_that_hang_are_given_up_and_said() {
        let at = Duration::from_secs;
        let mut disks = Disks::due(at(0));
        // No process group has this number: it is above the kernel's limit of pids.
        let (hangs, ends) = (5_000_000, 5_000_001);
        disks.add(hangs, at(0)).unwrap();
        disks.add(ends, at(10)).unwrap();
        assert!(!disks.ended(77, Some(0)), "another child");
        assert!(disks.ended(5_000_001, Some(0)) && disks.failed.is_none());
        disks.give_up(at(300));
        assert!(disks.are_busy());
        disks.give_up(at(301));
        assert!(!disks.are_busy(), "the others do not wait for it");
        assert!(disks.failed.as_ref().unwrap().contains("more than 300 s"));
        assert!(disks.ended(5_000_000, None) && disks.failed.is_some());
    }

    /// Goal: looks do not pile up on a disk that does not answer. Method: two children in one group that nobody has
    /// reaped, in place of what not even a signal ends.
    #[test]
    fn while_a_work_hangs_no_look_begins_and_that_is_said() {
        let at = Duration::from_secs;
        let sleep = |group: i32| Command::new("sleep").arg("1000").process_group(group).spawn();
        let mut look = sleep(0).unwrap();
        let pid = look.id().cast_signed();
        let mut started = sleep(pid).unwrap();
        let mut disks = Disks::due(at(302));
        disks.add(look.id(), at(0)).unwrap();
        let hangs = |disks: &mut Disks, now| {
            disks.give_up(at(now));
            assert!(!disks.are_busy() && !disks.is_due(at(now)), "at {now}");
            assert!(disks.trouble().unwrap().contains("took more than 300 s"), "at {now}");
        };
        [301, 302, 600].into_iter().for_each(|now| hangs(&mut disks, now));
        assert!(disks.take_orders().unwrap_err().contains("does not answer"), "it would wait");
        // An order that was begun before comes to its end meanwhile.
        disks.add(5_000_001, at(610)).unwrap();
        assert!(disks.ended(5_000_001, Some(0)));
        hangs(&mut disks, 620);
        look.wait().unwrap();
        assert!(disks.ended(pid, None));
        hangs(&mut disks, 630);
        started.wait().unwrap();
        disks.give_up(at(640));
        assert!(disks.is_due(at(640)) && disks.trouble().is_none());
        assert_eq!(disks.take_orders(), Ok(()));
    }

    /// Goal: who gives an order does not wait for a disk that does not answer. Method: a connection as the console's;
    /// a look that nobody has reaped, and as many as are too many.
    #[test]
    fn an_order_that_would_wait_for_others_is_refused_at_once() {
        let (entries, _) = Recorder::new(vec![Ok(br#"{"Ok":null}"#.to_vec())]);
        let folder = tempfile::tempdir().unwrap();
        let mut running = Running::with(Boot::with(entries), folder.path());
        let refused = |running: &mut Running| {
            let (console, pid_1) = UnixStream::pair().unwrap();
            running.order_disks(Order::Look, pid_1).unwrap();
            match serde_json::from_reader::<_, Answer>(console).unwrap() {
                Answer::Refused { why } => why,
                other => panic!("{other:?}"),
            }
        };
        for pid in 5_000_000..5_000_004 {
            running.disks.add(pid, Duration::ZERO).unwrap();
        }
        assert!(refused(&mut running).contains("try again in a moment"));
        running.disks = Disks::default();
        running.disks.works.push(Work { pid: 5_000_000, until: None });
        assert!(refused(&mut running).contains("detach it"));
        assert_eq!(running.disks.works.len(), 1, "nobody was sent");
    }
}
