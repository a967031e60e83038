//! Settings on the system disk that are not known, because the disk did not answer at the boot: said on every
//! page that tells of problems, asked for again until they are read, and never written over. Pure; PID 1
//! does it.
use std::time::Duration;

use crate::machine::CacheDisks;

/// From one attempt to the next.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// Whether there are such settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread(Option<Missing>);

/// Settings that could not be read.
#[derive(Clone, Debug)]
struct Missing {
    cause: Cause,
    /// Why the last attempt came to nothing.
    why: String,
    /// When it is tried again, in time since boot.
    at: Duration,
}

/// The phase of the boot by which they were missed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) phase: &'static str,
    pub(crate) why: String,
}

impl Unread {
    /// A phase of the boot has not told them. The first one counts.
    pub(crate) fn missed(&mut self, phase: &'static str, why: &str, now: Duration) {
        let why = why.to_owned();
        let cause = Cause { phase, why: why.clone() };
        self.0.get_or_insert(Missing { cause, why, at: now + RETRY_INTERVAL });
    }

    /// Another attempt came to nothing.
    pub(crate) fn missed_again(&mut self, why: String, now: Duration) {
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

    /// What the operator is told meanwhile.
    pub(crate) fn problem(&self) -> Option<String> {
        let why = &self.0.as_ref()?.why;
        Some(format!(
            "the settings on the system disk could not be read: {why}. Mend the disk or its storage: they \
             are used as soon as they are read, and nothing can be changed before"
        ))
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
        assert_eq!((unread.any(), unread.problem(), unread.is_due(at(1000))), (false, None, false));
        assert_eq!(unread.allows_change(), Ok(()));
        unread.missed("config partition", "was given up after 120 s", at(120));
        unread.missed("machine settings", "of no use", at(130));
        assert!(unread.problem().unwrap().contains("not be read: was given up after 120 s. Mend"));
        assert!(unread.allows_change().unwrap_err().contains("nothing is to be written over"));
        assert!(!unread.is_due(at(149)) && unread.is_due(at(150)));
        unread.missed_again("broke off".to_owned(), at(150));
        assert!(unread.problem().unwrap().contains("broke off"));
        assert!(!unread.is_due(at(179)) && unread.is_due(at(180)), "not all the time");
        let why = "was given up after 120 s".to_owned();
        assert_eq!(unread.read(), Some(Cause { phase: "config partition", why }));
        assert_eq!((unread.any(), unread.problem(), unread.is_due(at(1000))), (false, None, false));
        assert_eq!(unread.read(), None);
    }

    #[test]
    fn no_blank_disk_is_used_unasked_while_the_settings_are_not_known() {
        let mut unread = Unread::default();
        let used = |unread: &Unread| {
            [CacheDisks::SingleBlank, CacheDisks::EveryBlank].map(|set| unread.cache_disks(set))
        };
        assert_eq!(used(&unread), [CacheDisks::SingleBlank, CacheDisks::EveryBlank]);
        unread.missed("machine settings", "was given up after 300 s", Duration::ZERO);
        assert_eq!(used(&unread), [CacheDisks::Ask; 2]);
    }
}
