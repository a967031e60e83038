//! Whether a version on trial stays: a pure function of what PID 1 sees and of the time since boot.
use std::time::Duration;

/// A version that is not healthy after so long gives way to the one before.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);
/// It has to be healthy for so long without a break.
const SETTLED: Duration = Duration::from_secs(10);
/// When keeping it failed, it is tried again after so long.
const PAUSE: Duration = Duration::from_secs(30);

/// What PID 1 sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// A phase of the boot that failed and should not have.
    pub(crate) phase: Option<&'static str>,
    /// Whether the network service runs.
    pub(crate) network: bool,
    /// Whether the gateway serves, or did not before the update either.
    pub(crate) gateway: bool,
    /// Whether a console has asked for what it shows.
    pub(crate) console: bool,
}

impl Facts {
    /// What is wanting, in words.
    fn wanting(&self) -> Option<String> {
        let Self { phase, network, gateway, console } = self;
        if let Some(phase) = phase {
            return Some(format!("the boot's phase \"{phase}\" failed"));
        }
        let wanting = |is: bool, words: &str| (!is).then(|| words.to_owned());
        wanting(*network, "the network service does not run")
            .or(wanting(*gateway, "the gateway does not serve"))
            .or(wanting(*console, "no console comes up"))
    }
}

/// What PID 1 has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Wait.
    Wait,
    /// Keep this version: tell the boot loaders.
    Keep,
    /// Note why, and reboot: the boot loaders do the rest.
    Reboot(String),
}

/// A trial.
#[derive(Clone, Debug)]
pub(crate) enum Health {
    /// It is being watched; healthy since.
    Watched { since: Option<Duration> },
    /// The boot loaders are being told.
    Keeping,
    /// They could not be told; once more at.
    Again { at: Duration },
    /// It is over.
    Over,
}

impl Health {
    /// A trial that begins.
    pub(crate) fn begin() -> Self {
        Self::Watched { since: None }
    }

    /// Whether it goes on.
    pub(crate) fn is_on(&self) -> bool {
        match self {
            Self::Watched { .. } | Self::Keeping | Self::Again { .. } => true,
            Self::Over => false,
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Duration, facts: &Facts) -> Verdict {
        match self {
            Self::Watched { since } => match facts.wanting() {
                None => {
                    let since = *since.get_or_insert(now);
                    if now.saturating_sub(since) < SETTLED {
                        return Verdict::Wait;
                    }
                    *self = Self::Keeping;
                    Verdict::Keep
                }
                Some(wanting) => {
                    *since = None;
                    if now < LIMIT {
                        return Verdict::Wait;
                    }
                    *self = Self::Over;
                    Verdict::Reboot(wanting)
                }
            },
            Self::Again { at } if now >= *at => {
                *self = Self::Keeping;
                Verdict::Keep
            }
            Self::Keeping | Self::Again { .. } | Self::Over => Verdict::Wait,
        }
    }

    /// The boot loaders were told, or not.
    pub(crate) fn told(&mut self, now: Duration, done: bool) {
        *self = if done { Self::Over } else { Self::Again { at: now + PAUSE } };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Facts = Facts { phase: None, network: true, gateway: true, console: true };

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn what_is_healthy_without_a_break_is_kept_once() {
        let mut health = Health::begin();
        assert_eq!(health.tick(seconds(5), &Facts::default()), Verdict::Wait);
        assert_eq!(health.tick(seconds(20), &WELL), Verdict::Wait);
        let ended = Facts { gateway: false, ..WELL };
        assert_eq!(health.tick(seconds(25), &ended), Verdict::Wait, "in a loop, perhaps");
        assert_eq!(health.tick(seconds(26), &WELL), Verdict::Wait);
        assert_eq!(health.tick(seconds(35), &WELL), Verdict::Wait);
        assert_eq!(health.tick(seconds(36), &WELL), Verdict::Keep);
        assert_eq!(health.tick(seconds(37), &WELL), Verdict::Wait, "it is being done");
        assert!(health.is_on());
        health.told(seconds(38), true);
        assert!(!health.is_on());
        assert_eq!(health.tick(seconds(5000), &Facts::default()), Verdict::Wait, "it is over");
    }

    #[test]
    fn what_is_not_healthy_in_time_gives_way_and_says_why() {
        for (facts, says) in [
            (Facts { phase: Some("journal"), ..WELL }, "phase \"journal\" failed"),
            (Facts { network: false, ..WELL }, "network service"),
            (Facts { gateway: false, ..WELL }, "gateway does not serve"),
            (Facts { console: false, ..WELL }, "no console"),
        ] {
            let mut health = Health::begin();
            assert_eq!(health.tick(seconds(599), &facts), Verdict::Wait);
            let Verdict::Reboot(why) = health.tick(seconds(600), &facts) else {
                panic!("{facts:?}")
            };
            assert!(why.contains(says), "{why}");
            assert_eq!(health.tick(seconds(601), &facts), Verdict::Wait, "once");
        }
    }

    #[test]
    fn boot_loaders_that_cannot_be_told_are_told_again() {
        let mut health = Health::begin();
        health.tick(seconds(20), &WELL);
        assert_eq!(health.tick(seconds(30), &WELL), Verdict::Keep);
        health.told(seconds(31), false);
        assert_eq!(health.tick(seconds(60), &WELL), Verdict::Wait);
        assert_eq!(health.tick(seconds(61), &WELL), Verdict::Keep);
    }
}
