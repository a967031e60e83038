//! Settings that are in use and could not be kept on the system disk: said on every page that tells of
//! problems, and tried again until they are kept. Pure; PID 1 does it.
use std::time::Duration;

/// From one attempt to the next.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// Why they could not be kept, and when it is tried again, in time since boot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unkept(Option<(String, Duration)>);

impl Unkept {
    /// What is in use is on the disk.
    pub(crate) fn kept(&mut self) {
        self.0 = None;
    }

    /// It is not; why.
    pub(crate) fn not_kept(&mut self, why: String, now: Duration) {
        self.0 = Some((why, now + RETRY_INTERVAL));
    }

    /// Whether to try it again.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.0.as_ref().is_some_and(|(_, at)| *at <= now)
    }

    /// What the operator is told meanwhile.
    pub(crate) fn problem(&self) -> Option<String> {
        let (why, _) = self.0.as_ref()?;
        Some(format!("password and settings in use are lost at a restart: {why}"))
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

    #[test]
    fn what_is_not_kept_is_said_and_tried_again_until_it_is() {
        let at = Duration::from_secs;
        let mut unkept = Unkept::default();
        assert_eq!((unkept.problem(), unkept.is_due(at(1000))), (None, false));
        unkept.not_kept("no room".to_owned(), at(10));
        assert!(unkept.problem().unwrap().ends_with("lost at a restart: no room"));
        assert!(!unkept.is_due(at(39)) && unkept.is_due(at(40)));
        unkept.not_kept("no disk".to_owned(), at(40));
        assert!(!unkept.is_due(at(69)) && unkept.is_due(at(70)), "not all the time");
        unkept.kept();
        assert_eq!((unkept.problem(), unkept.is_due(at(1000))), (None, false));
    }
}
