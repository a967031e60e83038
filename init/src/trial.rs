//! Settings on trial: used at once, kept only when somebody confirms them in time. And of two who change
//! the same settings, the first.
//!
//! What cuts the operator off must end by itself: settings that nobody confirms are taken back, and a
//! reboot or a power cut takes them back too, because until then only those before them are on the
//! disk. Pure; PID 1 does what is answered.
use std::time::Duration;

use crate::machine::Machine;

/// The settings in use, and those to go back to.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// Those before, while others are on trial.
    before: Option<(Box<Machine>, Duration)>,
    /// Counts the changes since boot.
    revision: u64,
}

/// What PID 1 has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Keep the settings in use: write them to the disk.
    Keep,
    /// Use these again.
    Restore(Box<Machine>),
}

impl Trial {
    /// Nothing is on trial.
    pub(crate) fn none() -> Self {
        Self { before: None, revision: 0 }
    }

    /// When the trial ends, in time since boot, if there is one.
    pub(crate) fn until(&self) -> Option<Duration> {
        self.before.as_ref().map(|(_, until)| *until)
    }

    /// What a change of the settings in use has to be based on.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Other settings are in use.
    pub(crate) fn changed(&mut self) {
        self.revision += 1;
    }

    /// Whether settings can be taken that were made of those with this revision.
    ///
    /// # Errors
    /// A trial is not over, or somebody else was first.
    pub(crate) fn allows(&self, based_on: u64) -> Result<(), String> {
        self.none_waits()?;
        if based_on == self.revision {
            return Ok(());
        }
        Err("the settings were changed meanwhile, on another console: look at them and try again"
            .to_owned())
    }

    /// Begins a trial of other settings; `before` are those in use until now.
    ///
    /// # Errors
    /// Another trial is not over.
    pub(crate) fn begin(&mut self, before: Machine, until: Duration) -> Result<(), String> {
        self.none_waits()?;
        self.before = Some((Box::new(before), until));
        Ok(())
    }

    /// Whether other settings can be taken now.
    ///
    /// # Errors
    /// A trial is not over.
    pub(crate) fn none_waits(&self) -> Result<(), String> {
        match self.before {
            None => Ok(()),
            Some(_) => {
                Err("a change waits to be confirmed: confirm it or take it back first".to_owned())
            }
        }
    }

    /// Somebody confirms.
    ///
    /// # Errors
    /// Nothing is on trial, any more or at all.
    pub(crate) fn confirm(&mut self) -> Result<Outcome, String> {
        match self.before.take() {
            Some(_) => Ok(Outcome::Keep),
            None => Err("no change waits to be confirmed: it was taken back already".to_owned()),
        }
    }

    /// Somebody takes it back.
    ///
    /// # Errors
    /// Nothing is on trial.
    pub(crate) fn revert(&mut self) -> Result<Outcome, String> {
        match self.before.take() {
            Some((before, _)) => Ok(Outcome::Restore(before)),
            None => Err("no change waits to be confirmed".to_owned()),
        }
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, now: Duration) -> Option<Outcome> {
        let (before, _) = self.before.take_if(|(_, until)| *until <= now)?;
        Some(Outcome::Restore(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(hostname: &str) -> Machine {
        Machine { hostname: hostname.to_owned(), ..Machine::default() }
    }

    const END: Duration = Duration::from_secs(60);

    #[test]
    fn what_nobody_confirms_is_taken_back_once() {
        let mut trial = Trial::none();
        trial.begin(named("before"), END).unwrap();
        assert_eq!(trial.until(), Some(END));
        assert_eq!(trial.tick(END - Duration::from_millis(1)), None);
        assert_eq!(trial.tick(END), Some(Outcome::Restore(Box::new(named("before")))));
        assert_eq!(trial.tick(END), None);
        assert!(trial.confirm().unwrap_err().contains("taken back already"));
    }

    #[test]
    fn what_is_confirmed_stays() {
        let mut trial = Trial::none();
        trial.begin(named("before"), END).unwrap();
        assert_eq!(trial.confirm(), Ok(Outcome::Keep));
        assert_eq!(trial.tick(END), None);
        assert!(trial.revert().is_err());
    }

    #[test]
    fn of_two_changes_of_the_same_settings_the_first_counts() {
        let mut trial = Trial::none();
        let seen = trial.revision();
        assert_eq!(trial.allows(seen), Ok(()));
        trial.changed();
        assert!(trial.allows(seen).unwrap_err().contains("another console"));
        let seen = trial.revision();
        trial.begin(named("before"), END).unwrap();
        trial.changed();
        assert!(trial.allows(trial.revision()).unwrap_err().contains("confirm it"));
        trial.tick(END).unwrap();
        trial.changed();
        assert!(trial.allows(seen).is_err(), "taken back, but seen before");
        assert_eq!(trial.allows(trial.revision()), Ok(()));
    }

    #[test]
    fn one_trial_at_a_time() {
        let mut trial = Trial::none();
        trial.begin(named("before"), END).unwrap();
        assert!(trial.begin(named("between"), END).is_err());
        assert!(trial.none_waits().is_err());
        assert_eq!(trial.revert(), Ok(Outcome::Restore(Box::new(named("before")))));
        trial.begin(named("before"), END).unwrap();
    }
}
