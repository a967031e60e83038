//! When a service starts, starts again, is killed or given up: a pure function of what happened.
//!
//! PID 1 tells what happened and when (time since boot) and does what is answered.
use std::time::Duration;

/// First pause before a service that ended is started again; doubles with each end.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A service that ran this long counts as healthy: the next pause is short again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// Time to die of SIGABRT.
const ABORT_TIME: Duration = Duration::from_secs(10);
/// Time to end when it is told to.
pub(crate) const STOP_TIME: Duration = Duration::from_secs(30);
/// From so many ends in a row on, a service is said to end again and again.
const ENDS_WORTH_SAYING: u32 = 3;
/// Most characters that are kept of what a service says of itself.
const WORDS_CHARS_MAX: usize = 400;
/// Exit code that says: do not start again, an operator is needed.
pub(crate) const EXIT_NEEDS_OPERATOR: i32 = 3;

/// Where a service stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not wanted, or not yet.
    Off,
    /// Runs since.
    Running {
        /// Start.
        since: Duration,
        /// Whether it has said READY=1 (or need not).
        ready: bool,
        /// Last sign of life, for services with a watchdog.
        alive: Duration,
        /// Whether it was aborted for its silence.
        aborted: bool,
    },
    /// Was told to end.
    Stopping {
        /// When it was told, or killed.
        since: Duration,
        /// Whether it is started again as soon as it has ended; else only when it is wanted again.
        again: bool,
    },
    /// Starts again at.
    Waiting {
        /// When.
        until: Duration,
    },
    /// Not started again: an operator is needed.
    GivenUp,
}

/// One service's supervision.
#[derive(Clone, Debug)]
pub(crate) struct Supervised {
    state: State,
    pause: Duration,
    /// Longest silence of a service with a watchdog.
    watchdog: Option<Duration>,
    /// Whether it says READY=1.
    notifies: bool,
    /// Ends in a row, each before it counted as healthy.
    ends: u32,
    /// Why it ended last, in its own words; empty if it did not say.
    words: String,
    /// Whether it has said so since it was started.
    has_said: bool,
}

/// What PID 1 has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    Start,
    /// It hangs: SIGABRT; its end leads to a new start.
    Abort,
    /// It did not even die of that, or did not end when it was told to: SIGKILL.
    Kill,
    /// It is to end: SIGTERM.
    Terminate,
}

impl Supervised {
    /// A service that is off.
    pub(crate) fn new(notifies: bool, watchdog: Option<Duration>) -> Self {
        let (state, pause, words) = (State::Off, PAUSE_MIN, String::new());
        Self { state, pause, watchdog, notifies, ends: 0, words, has_said: false }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// What is not as it should be with it, and what to do; nothing if it is.
    pub(crate) fn trouble(&self, name: &str, now: Duration) -> Option<String> {
        let why = if self.words.is_empty() { String::new() } else { format!(": {}", self.words) };
        let again_and_again = || {
            let ends = self.ends;
            format!("{name} has ended {ends} times in a row and is started again{why}. See Logs")
        };
        let is_worth_saying = self.ends >= ENDS_WORTH_SAYING;
        match self.state {
            State::GivenUp => {
                Some(format!("{name} stopped and is not started again{why}. See Logs"))
            }
            State::Waiting { .. } if is_worth_saying => Some(again_and_again()),
            State::Waiting { .. } => Some(format!("{name} ended, starting again{why}")),
            // It may end any moment, as it did before.
            State::Running { since, .. }
                if is_worth_saying && now.saturating_sub(since) < HEALTHY_AFTER =>
            {
                Some(again_and_again())
            }
            State::Running { .. } | State::Off | State::Stopping { .. } => None,
        }
    }

    /// Whether it runs and is ready.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.state, State::Running { ready: true, .. })
    }

    /// It is wanted from now on.
    pub(crate) fn want(&mut self) -> Action {
        match self.state {
            State::Off => Action::Start,
            State::Running { .. }
            | State::Stopping { .. }
            | State::Waiting { .. }
            | State::GivenUp => Action::Nothing,
        }
    }

    /// It is not wanted any more, until [`Self::want`].
    pub(crate) fn stop(&mut self, now: Duration) -> Action {
        match &mut self.state {
            State::Running { .. } => {
                self.state = State::Stopping { since: now, again: false };
                Action::Terminate
            }
            State::Stopping { again, .. } => {
                *again = false;
                Action::Nothing
            }
            State::Off | State::Waiting { .. } | State::GivenUp => {
                self.state = State::Off;
                self.ends = 0;
                Action::Nothing
            }
        }
    }

    /// There is something new for it, which it hears of when it starts: it ends in order and comes back at once. One
    /// that is off, or is to be, stays so.
    pub(crate) fn restart(&mut self, now: Duration) -> Action {
        match self.state {
            State::Running { .. } => {
                self.state = State::Stopping { since: now, again: true };
                Action::Terminate
            }
            State::Waiting { .. } | State::GivenUp => {
                self.pause = PAUSE_MIN;
                self.ends = 0;
                Action::Start
            }
            State::Off | State::Stopping { .. } => Action::Nothing,
        }
    }

    /// It was started.
    pub(crate) fn started(&mut self, now: Duration) {
        self.state =
            State::Running { since: now, ready: !self.notifies, alive: now, aborted: false };
        self.has_said = false;
    }

    /// It could not be started.
    pub(crate) fn not_started(&mut self, now: Duration) {
        self.wait(now);
    }

    /// It said READY=1.
    pub(crate) fn notified_ready(&mut self, now: Duration) {
        if let State::Running { ready, alive, .. } = &mut self.state {
            *ready = true;
            *alive = now;
        }
        self.words.clear();
    }

    /// It said why it ends. That may be heard a moment after its end.
    pub(crate) fn notified_end(&mut self, words: &str) {
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        self.words = words.chars().map(plain).take(WORDS_CHARS_MAX).collect();
        self.has_said = true;
    }

    /// It said WATCHDOG=1.
    pub(crate) fn notified_alive(&mut self, now: Duration) {
        if let State::Running { alive, .. } = &mut self.state {
            *alive = now;
        }
    }

    /// It ended, with this exit code or by a signal.
    pub(crate) fn ended(&mut self, now: Duration, code: Option<i32>) {
        if !self.has_said {
            self.words.clear();
        }
        if let State::Running { since, .. } = self.state
            && now.saturating_sub(since) >= HEALTHY_AFTER
        {
            self.pause = PAUSE_MIN;
            self.ends = 0;
        }
        if let State::Stopping { again, .. } = self.state {
            self.state = if again { State::Waiting { until: now } } else { State::Off };
            self.pause = PAUSE_MIN;
            self.ends = 0;
            return;
        }
        if code == Some(EXIT_NEEDS_OPERATOR) {
            self.state = State::GivenUp;
            return;
        }
        self.ends = self.ends.saturating_add(1);
        self.wait(now);
    }

    fn wait(&mut self, now: Duration) {
        self.state = State::Waiting { until: now + self.pause };
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    fn note_abort(&mut self, now: Duration) {
        if let State::Running { alive, aborted, .. } = &mut self.state {
            *alive = now;
            *aborted = true;
        }
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, now: Duration) -> Action {
        match (&self.state, self.watchdog) {
            (State::Waiting { until }, _) if *until <= now => Action::Start,
            (State::Running { alive, ready: true, aborted: false, .. }, Some(limit))
                if *alive + limit < now =>
            {
                self.note_abort(now);
                Action::Abort
            }
            (State::Running { alive, aborted: true, .. }, _) if *alive + ABORT_TIME < now => {
                // Its end, which SIGKILL cannot fail to bring, changes the state.
                self.note_abort(now);
                Action::Kill
            }
            (State::Stopping { since, again }, _) if *since + STOP_TIME < now => {
                self.state = State::Stopping { since: now, again: *again };
                Action::Kill
            }
            _ => Action::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn pauses_double_up_to_their_bound_and_health_resets_them() {
        let mut service = Supervised::new(false, None);
        assert_eq!(service.want(), Action::Start);
        let mut now = seconds(10);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            service.started(now);
            service.ended(now, Some(1));
            assert_eq!(*service.state(), State::Waiting { until: now + seconds(pause) });
            now += seconds(pause);
            assert_eq!(service.tick(now - Duration::from_millis(1)), Action::Nothing);
            assert_eq!(service.tick(now), Action::Start);
        }
        service.started(now);
        now += seconds(60);
        service.ended(now, None);
        assert_eq!(*service.state(), State::Waiting { until: now + seconds(1) });
    }

    #[test]
    fn an_operator_s_case_is_not_started_again() {
        let mut service = Supervised::new(true, None);
        service.started(seconds(1));
        service.ended(seconds(2), Some(EXIT_NEEDS_OPERATOR));
        assert_eq!(*service.state(), State::GivenUp);
        assert_eq!(service.tick(seconds(1000)), Action::Nothing);
        assert_eq!(service.want(), Action::Nothing);
    }

    #[test]
    fn one_that_ends_in_a_loop_is_said_until_it_has_run_for_a_while() {
        let mut service = Supervised::new(true, None);
        assert_eq!(service.trouble("gateway", seconds(0)), None);
        let mut now = seconds(10);
        for (said, end) in [
            (None, "gateway ended, starting again"),
            (None, "gateway ended, starting again"),
            (None, "gateway has ended 3 times in a row and is started again. See Logs"),
            (
                Some("the disk\nis full"),
                "gateway has ended 4 times in a row and is started again: the disk is full. See Logs",
            ),
        ] {
            service.started(now);
            said.into_iter().for_each(|words| service.notified_end(words));
            service.ended(now, Some(1));
            assert_eq!(service.trouble("gateway", now).as_deref(), Some(end));
            now += PAUSE_MAX;
            assert_eq!(service.tick(now), Action::Start);
        }
        service.started(now);
        let words =
            "gateway has ended 4 times in a row and is started again: the disk is full. See Logs";
        assert_eq!(service.trouble("gateway", now).as_deref(), Some(words), "it may end again");
        service.notified_ready(now);
        let words = "gateway has ended 4 times in a row and is started again. See Logs";
        assert_eq!(service.trouble("gateway", now).as_deref(), Some(words), "what it said is over");
        now += HEALTHY_AFTER;
        assert_eq!(service.trouble("gateway", now), None);
        service.ended(now, Some(1));
        assert_eq!(service.trouble("gateway", now).unwrap(), "gateway ended, starting again");
        service.notified_end("heard late");
        service.started(now);
        service.ended(now, Some(1));
        assert_eq!(service.trouble("gateway", now).unwrap(), "gateway ended, starting again");
        service.started(now);
        service.notified_end(&"x".repeat(1000));
        service.ended(now, Some(EXIT_NEEDS_OPERATOR));
        let words = service.trouble("gateway", now).unwrap();
        assert!(words.starts_with("gateway stopped and is not started again: xxx"), "{words}");
        assert!(words.len() < 500, "{words}");
    }

    #[test]
    fn a_service_that_is_stopped_starts_when_it_is_wanted_again_and_not_before() {
        let mut service = Supervised::new(true, Some(seconds(60)));
        assert_eq!(service.stop(seconds(0)), Action::Nothing);
        service.started(seconds(1));
        assert_eq!(service.stop(seconds(2)), Action::Terminate);
        assert_eq!(service.stop(seconds(3)), Action::Nothing, "it was told already");
        assert_eq!(service.want(), Action::Nothing, "it runs still");
        assert_eq!(service.tick(seconds(32)), Action::Nothing);
        assert_eq!(service.tick(seconds(33)), Action::Kill);
        assert_eq!(service.tick(seconds(34)), Action::Nothing, "once is enough for a while");
        service.ended(seconds(35), None);
        assert_eq!(*service.state(), State::Off);
        assert_eq!(service.tick(seconds(1000)), Action::Nothing);
        assert_eq!(service.want(), Action::Start);
        // One that waits, or that was given up, is off at once.
        for code in [Some(1), Some(EXIT_NEEDS_OPERATOR)] {
            service.started(seconds(1000));
            service.ended(seconds(1001), code);
            assert_eq!(service.stop(seconds(1002)), Action::Nothing);
            assert_eq!(*service.state(), State::Off);
        }
    }

    #[test]
    fn a_service_with_something_new_comes_back_by_itself_unless_it_is_to_be_off() {
        let mut service = Supervised::new(true, Some(seconds(60)));
        assert_eq!(service.restart(seconds(0)), Action::Nothing, "it is off");
        service.started(seconds(1));
        assert_eq!(service.restart(seconds(2)), Action::Terminate);
        assert_eq!(service.restart(seconds(3)), Action::Nothing, "it was told already");
        assert_eq!(service.tick(seconds(33)), Action::Kill);
        service.ended(seconds(34), None);
        assert_eq!(service.tick(seconds(34)), Action::Start);
        // Whichever comes first, it is to be off.
        for order in
            [[Supervised::stop, Supervised::restart], [Supervised::restart, Supervised::stop]]
        {
            service.started(seconds(40));
            let told = order.map(|tell| tell(&mut service, seconds(41)));
            assert_eq!(told, [Action::Terminate, Action::Nothing]);
            service.ended(seconds(42), Some(0));
            assert_eq!(*service.state(), State::Off);
        }
        // What made it wait or give up may be over.
        for code in [1, EXIT_NEEDS_OPERATOR] {
            service.started(seconds(50));
            service.ended(seconds(51), Some(code));
            assert_eq!(service.restart(seconds(51)), Action::Start);
        }
    }

    #[test]
    fn a_service_that_went_silent_is_aborted_then_killed() {
        let mut service = Supervised::new(true, Some(seconds(60)));
        service.started(seconds(0));
        assert_eq!(service.tick(seconds(500)), Action::Nothing, "a long start is no silence");
        service.notified_ready(seconds(500));
        assert!(service.is_ready());
        assert_eq!(service.tick(seconds(560)), Action::Nothing);
        assert_eq!(service.tick(seconds(561)), Action::Abort);
        assert_eq!(service.tick(seconds(562)), Action::Nothing);
        assert_eq!(service.tick(seconds(572)), Action::Kill, "it hangs even so");
        service.ended(seconds(573), None);
        assert!(matches!(service.state(), State::Waiting { .. }));
    }
}
