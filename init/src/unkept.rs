//! Settings that are in use and could not be kept on the system disk: said on every page that tells of
//! problems, and tried again until they are kept. Pure; PID 1 does it.
use std::time::Duration;

use crate::children;

/// From one attempt to the next.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// What is on the disk instead, and when those in use are written again, in time since boot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unkept(Option<(Instead, Duration)>);

/// What is on the disk instead of the settings in use.
#[derive(Clone, Debug)]
enum Instead {
    /// Those before them; why they could not be kept.
    Earlier(String),
    /// Perhaps others, which were refused because writing them was given up; why.
    PerhapsRefused(String),
}

impl Unkept {
    /// What is in use is on the disk.
    pub(crate) fn kept(&mut self) {
        self.0 = None;
    }

    /// Others than before are in use, and are not kept; why.
    pub(crate) fn not_kept(&mut self, why: String, now: Duration) {
        self.0 = Some((Instead::Earlier(why), now + RETRY_INTERVAL));
    }

    /// They were written again, in vain; why. What is on the disk instead is what it was.
    pub(crate) fn not_kept_again(&mut self, why: String, now: Duration) {
        if let Some((Instead::Earlier(said) | Instead::PerhapsRefused(said), at)) = &mut self.0 {
            (*said, *at) = (why, now + RETRY_INTERVAL);
        }
    }

    /// Other settings were refused because they could not be kept; why. Where that is not sure, they may be on
    /// the disk now or in a moment.
    pub(crate) fn refused(&mut self, why: &anyhow::Error, now: Duration) {
        if !children::may_be_done(why) {
            return;
        }
        // Of settings that are lost at a restart, that is said.
        let (_, at) = self.0.get_or_insert((Instead::PerhapsRefused(format!("{why:#}")), now));
        *at = now + RETRY_INTERVAL;
    }

    /// Whether to try it again.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.0.as_ref().is_some_and(|(_, at)| *at <= now)
    }

    /// What the operator is told meanwhile.
    pub(crate) fn problem(&self) -> Option<String> {
        Some(match &self.0.as_ref()?.0 {
            Instead::Earlier(why) => {
                format!("password and settings in use are lost at a restart: {why}")
            }
            Instead::PerhapsRefused(why) => format!(
                "settings that were refused may be on the system disk all the same; those in use are \
                 written again every half minute until they are: {why}"
            ),
        })
    }
}

/// What is said to whoever has set a password that could not be kept.
pub(crate) fn of_password(why: &str) -> String {
    format!(
        "The password holds, but only until the appliance restarts: {why}. It is kept as soon as that \
         is possible; until then the front page says so. After a restart the console has the password \
         that it had before, or none. See View System Resource Check for what to do."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::children::ChildError;

    #[test]
    fn what_is_not_kept_is_said_and_tried_again_until_it_is() {
        let at = Duration::from_secs;
        let mut unkept = Unkept::default();
        assert_eq!((unkept.problem(), unkept.is_due(at(1000))), (None, false));
        unkept.not_kept("no room".to_owned(), at(10));
        assert!(unkept.problem().unwrap().ends_with("lost at a restart: no room"));
        assert!(!unkept.is_due(at(39)) && unkept.is_due(at(40)));
        unkept.not_kept_again("no disk".to_owned(), at(40));
        assert!(unkept.problem().unwrap().ends_with("lost at a restart: no disk"));
        assert!(!unkept.is_due(at(69)) && unkept.is_due(at(70)), "not all the time");
        unkept.kept();
        assert_eq!((unkept.problem(), unkept.is_due(at(1000))), (None, false));
    }

    #[test]
    fn settings_that_may_be_on_the_disk_though_they_were_refused_are_written_over() {
        let at = Duration::from_secs;
        let given_up = anyhow::Error::from(ChildError::TooLong(at(25))).context("not kept");
        let mut unkept = Unkept::default();
        for said in ["no room", "an earlier attempt has not ended yet"] {
            unkept.refused(&anyhow::anyhow!(said), at(10));
            assert_eq!(unkept.problem(), None, "they are not on the disk");
        }
        unkept.refused(&given_up, at(10));
        assert!(unkept.problem().unwrap().ends_with("not kept: was given up after 25 s"));
        assert!(unkept.problem().unwrap().contains("may be on the system disk all the same"));
        assert!(!unkept.is_due(at(39)) && unkept.is_due(at(40)));
        for (round, why) in (1..).zip(["was given up after 25 s", "no earlier one has ended"]) {
            let now = at(30 * round + 10);
            unkept.not_kept_again(why.to_owned(), now);
            let said = unkept.problem().unwrap();
            assert!(
                said.contains("may be on the system disk all the same"),
                "until they are: {said}"
            );
            assert!(said.ends_with(why) && !unkept.is_due(now) && unkept.is_due(now + at(30)));
        }
        // A password is set meanwhile, and cannot be kept either.
        unkept.not_kept("no room".to_owned(), at(80));
        assert!(unkept.problem().unwrap().ends_with("lost at a restart: no room"));
        unkept.kept();
        unkept.not_kept_again("no room".to_owned(), at(110));
        assert_eq!((unkept.problem(), unkept.is_due(at(1000))), (None, false));
        // What is worse is said, and tried again as late.
        unkept.not_kept("no room".to_owned(), at(10));
        unkept.refused(&given_up, at(30));
        assert!(unkept.problem().unwrap().ends_with("lost at a restart: no room"));
        assert!(!unkept.is_due(at(59)) && unkept.is_due(at(60)));
    }
}
