//! Settings on the system disk that are not known, because the disk did not answer at the boot, or not with what is
//! on it: said on every page that tells of problems, asked for again until they are read, and never written over.
//! Only whoever stands before the console can give up those that the disk does not give. Pure; PID 1 does it.
use std::time::Duration;

use crate::machine::{CacheDisks, Unreadable};

/// From one attempt to the next.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// What is said to whoever has given them up.
pub(crate) const GIVEN_UP: &str = "What cannot be read is kept, and not used. In a moment the appliance has the settings of a \
                                   new one, and the front page says so: set its password then, if it asks for one.";

/// Whether there are such settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread(Option<Missing>);

/// Settings that could not be read.
#[derive(Clone, Debug)]
struct Missing {
    cause: Cause,
    /// Why the last attempt came to nothing.
    why: Why,
    /// When it is tried again, in time since boot.
    at: Duration,
    /// Whether an operator does not want those that cannot be read to be waited for.
    given_up: bool,
}

/// Why an attempt came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Nobody has told.
    Silence(String),
    /// The disk has answered, and not given them.
    Unreadable(String),
}

impl Why {
    fn words(&self) -> &str {
        match self {
            Self::Silence(words) | Self::Unreadable(words) => words,
        }
    }
}

impl From<&anyhow::Error> for Why {
    fn from(error: &anyhow::Error) -> Self {
        let words = format!("{error:#}");
        if error.is::<Unreadable>() { Self::Unreadable(words) } else { Self::Silence(words) }
    }
}

/// The phase of the boot by which they were missed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) phase: &'static str,
    pub(crate) why: String,
}

impl Unread {
    /// A phase of the boot has not told them. The first one counts.
    pub(crate) fn missed(&mut self, phase: &'static str, why: Why, now: Duration) {
        let cause = Cause { phase, why: why.words().to_owned() };
        let at = now + RETRY_INTERVAL;
        self.0.get_or_insert(Missing { cause, why, at, given_up: false });
    }

    /// Another attempt came to nothing.
    pub(crate) fn missed_again(&mut self, why: Why, now: Duration) {
        if let Some(missing) = &mut self.0 {
            (missing.why, missing.at) = (why, now + RETRY_INTERVAL);
        }
    }

    /// They are known; by which phase they were missed.
    pub(crate) fn read(&mut self) -> Option<Cause> {
        self.0.take().map(|missing| missing.cause)
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.0.is_some()
    }

    /// Whether to try it again.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.0.as_ref().is_some_and(|missing| missing.at <= now)
    }

    /// What the operator is told meanwhile. Where a password is in use, nobody can give up those that are lost before a
    /// restart, which finds none.
    pub(crate) fn problem(&self, has_password: bool) -> Option<String> {
        let why = self.0.as_ref()?.why.words();
        Some(if self.can_be_given_up().is_some() {
            let if_lost = if has_password { ", or restart if they are lost" } else { "" };
            // What matters first: a long reason is cut on the front page.
            format!(
                "the settings on the system disk cannot be read, and nothing can be changed before they are: \
                 mend the disk or its storage{if_lost}: {why}"
            )
        } else {
            format!(
                "the settings on the system disk could not be read: {why}. Mend the disk or its storage: they \
                 are used as soon as they are read, and nothing can be changed before"
            )
        })
    }

    /// Why they cannot be read, if an operator may give them up: the disk has said so, and nobody has done it yet.
    pub(crate) fn can_be_given_up(&self) -> Option<&str> {
        match self.0.as_ref()? {
            Missing { why: Why::Unreadable(words), given_up: false, .. } => Some(words),
            Missing { .. } => None,
        }
    }

    /// The operator gives up what the disk does not give. It is tried once more, at once.
    ///
    /// # Errors
    /// They may be read yet; what to do.
    pub(crate) fn give_up(&mut self, now: Duration) -> Result<(), String> {
        if self.can_be_given_up().is_none() {
            let why = "no settings are known to be lost: look at the front page again";
            return Err(why.to_owned());
        }
        if let Some(missing) = &mut self.0 {
            (missing.given_up, missing.at) = (true, now);
        }
        Ok(())
    }

    /// Whether they were given up.
    pub(crate) fn is_given_up(&self) -> bool {
        self.0.as_ref().is_some_and(|missing| missing.given_up)
    }

    /// Whether settings may be changed and kept: those on the disk would be lost, whoever has never seen
    /// them.
    ///
    /// # Errors
    /// They may not; what to do.
    pub(crate) fn allows_change(&self) -> Result<(), String> {
        if !self.any() {
            return Ok(());
        }
        let why = "the settings on the system disk could not be read yet, and nothing is to be written over \
                   them: mend the disk or its storage, and try again when the front page does not say so \
                   any more";
        Err(why.to_owned())
    }

    /// Which blank disks become cache disks, where `set` is in use: none without being asked, while that is
    /// perhaps what the operator has set.
    pub(crate) fn cache_disks(&self, set: CacheDisks) -> CacheDisks {
        if self.any() { CacheDisks::Ask } else { set }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_not_read_are_said_kept_from_change_and_asked_for_again() {
        let at = Duration::from_secs;
        let mut unread = Unread::default();
        assert_eq!(
            (unread.any(), unread.problem(false), unread.is_due(at(1000))),
            (false, None, false)
        );
        assert_eq!(unread.allows_change(), Ok(()));
        let silence = |words: &str| Why::Silence(words.to_owned());
        unread.missed("config partition", silence("was given up after 120 s"), at(120));
        unread.missed("machine settings", silence("of no use"), at(130));
        assert!(
            unread.problem(false).unwrap().contains("not be read: was given up after 120 s. Mend")
        );
        assert!(unread.allows_change().unwrap_err().contains("nothing is to be written over"));
        assert!(!unread.is_due(at(149)) && unread.is_due(at(150)));
        unread.missed_again(silence("broke off"), at(150));
        assert!(unread.problem(false).unwrap().contains("broke off"));
        assert!(!unread.is_due(at(179)) && unread.is_due(at(180)), "not all the time");
        let why = "was given up after 120 s".to_owned();
        assert_eq!(unread.read(), Some(Cause { phase: "config partition", why }));
        assert_eq!(
            (unread.any(), unread.problem(false), unread.is_due(at(1000))),
            (false, None, false)
        );
        assert_eq!(unread.read(), None);
    }

    #[test]
    fn only_settings_of_which_the_disk_has_said_so_can_be_given_up() {
        let at = Duration::from_secs;
        let words = || "machine.toml: I/O error".to_owned();
        let mut unread = Unread::default();
        assert!(unread.give_up(at(1)).is_err(), "they are known");
        unread.missed("machine settings", Why::Silence("was given up".to_owned()), at(100));
        assert!(unread.give_up(at(101)).is_err() && !unread.is_given_up(), "it may answer yet");
        assert_eq!(unread.can_be_given_up(), None);
        unread.missed_again(Why::Unreadable(words()), at(130));
        assert_eq!(unread.can_be_given_up(), Some(words().as_str()));
        assert!(
            unread.problem(false).unwrap().contains("mend the disk or its storage: machine.toml")
        );
        let said = unread.problem(true).unwrap();
        assert!(said.contains("its storage, or restart if they are lost: machine.toml"), "{said}");
        unread.give_up(at(131)).unwrap();
        assert!(unread.is_given_up() && unread.is_due(at(131)), "at once");
        assert_eq!(unread.can_be_given_up(), None, "once is enough");
        assert!(unread.allows_change().is_err(), "not before they are kept aside");
        unread.missed_again(Why::Silence("broke off".to_owned()), at(140));
        assert!(unread.is_given_up() && unread.read().is_some() && !unread.is_given_up());
    }

    #[test]
    fn no_blank_disk_is_used_unasked_while_the_settings_are_not_known() {
        let mut unread = Unread::default();
        let used = |unread: &Unread| {
            [CacheDisks::SingleBlank, CacheDisks::EveryBlank].map(|set| unread.cache_disks(set))
        };
        assert_eq!(used(&unread), [CacheDisks::SingleBlank, CacheDisks::EveryBlank]);
        let why = Why::Silence("was given up after 300 s".to_owned());
        unread.missed("machine settings", why, Duration::ZERO);
        assert_eq!(used(&unread), [CacheDisks::Ask; 2]);
    }
}
