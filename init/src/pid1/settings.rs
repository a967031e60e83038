//! The machine's settings while it runs: which are in use, which are on trial, which of them are on the disk, and
//! what refuses another change. What follows for the running machine is not known here (`changes.rs`).
use std::{path::Path, time::Duration};

use anyhow::Context;
use gateway_api::Secret;

use super::Running;
use crate::{
    machine::Machine,
    password,
    phases::{self, Boot},
    sys,
    trial::Trial,
    unkept::{self, Unkept},
};

/// All that it takes to judge and keep settings.
pub(super) struct Settings<'a> {
    boot: &'a mut Boot,
    trial: &'a mut Trial,
    unkept: &'a mut Unkept,
}

/// A change that somebody asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Its password's hash does not count.
    pub(super) settings: Machine,
    /// The revision of those that it was made of.
    pub(super) revision: u64,
    /// How long it is on trial; none for one that is kept at once.
    pub(super) trial: Option<Duration>,
}

impl Running {
    pub(super) fn settings(&mut self) -> Settings<'_> {
        let Self { boot, trial, unkept, .. } = self;
        Settings { boot, trial, unkept }
    }
}

impl Settings<'_> {
    /// Takes a change: keeps it, or puts it on trial. Answers the settings that are to be used; `zones` is where the
    /// tz database is.
    ///
    /// # Errors
    /// Words for the console: those in use stay.
    pub(super) fn take(&mut self, wanted: Wanted, zones: &Path) -> Result<Machine, String> {
        let Wanted { settings, revision, trial } = wanted;
        self.trial.allows(revision)?;
        self.boot.unread.allows_change()?;
        let before = self.boot.machine.clone();
        let settings = Machine { password_hash: before.password_hash.clone(), ..settings };
        settings.check(zones).map_err(|error| error.to_string())?;
        if let Some(time) = trial {
            self.trial.begin(before, sys::since_boot() + time)?;
            return Ok(settings);
        }
        self.keep(&settings).map_err(|error| {
            // Then those in use have to be written once more.
            self.unkept.refused(&error, sys::since_boot());
            format!("{error:#}")
        })?;
        self.unkept.kept();
        Ok(settings)
    }

    /// Sets the console's password. It holds at once, whatever becomes of it on the disk: the console is
    /// where a disk that takes nothing is looked into. Answers what is to be said of one that is not kept.
    ///
    /// # Errors
    /// Words for the console: the one before holds.
    pub(super) fn set_password(
        &mut self,
        hash: Secret,
        first: bool,
    ) -> Result<Option<String>, String> {
        if first && self.boot.machine.password_hash.is_some() {
            return Err("a password is set already: log in with it".to_owned());
        }
        if !password::is_hash(hash.expose()) {
            return Err("this is no hash of a password".to_owned());
        }
        // A first one would be another's: the operator's is on the disk.
        self.boot.unread.allows_change()?;
        // Settings on trial must not be kept by it.
        self.trial.none_waits()?;
        self.boot.machine.password_hash = Some(hash);
        tracing::info!("the console has another password");
        Ok(self.keep_those_in_use().err().map(|why| unkept::of_password(&why)))
    }

    /// Keeps settings that are newly in use, now or as soon as that is possible.
    ///
    /// # Errors
    /// Words: why not now.
    pub(super) fn keep_those_in_use(&mut self) -> Result<(), String> {
        self.write_those_in_use().inspect_err(|why| {
            if self.unkept.problem().is_none() {
                tracing::error!("settings are in use that are not kept: {why}");
            }
            self.unkept.not_kept(why.clone(), sys::since_boot());
        })
    }

    /// Tries again to keep what could not be kept.
    pub(super) fn keep_again(&mut self, now: Duration) {
        // Settings on trial are not to be kept, and with them nothing else is until their trial ends.
        if self.unkept.is_due(now)
            && self.trial.none_waits().is_ok()
            && let Err(why) = self.write_those_in_use()
        {
            self.unkept.not_kept_again(why, sys::since_boot());
        }
    }

    fn write_those_in_use(&mut self) -> Result<(), String> {
        let settings = self.boot.machine.clone();
        self.keep(&settings).map_err(|error| format!("{error:#}"))?;
        self.unkept.kept();
        Ok(())
    }

    /// Has settings written to the disk.
    fn keep(&mut self, settings: &Machine) -> anyhow::Result<()> {
        phases::keep_settings(self.boot, settings)
            .context("the settings cannot be kept on the system disk")
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs, rc::Rc};

    use super::*;
    use crate::{
        children::{
            ChildError,
            record::{Asked, Recorder},
        },
        unread::Why,
    };

    const LIMIT: Duration = Duration::from_secs(25);
    /// Later than whatever is due.
    const LATER: Duration = Duration::from_secs(1 << 40);

    /// What PID 1 has, and the children that it asks.
    struct Machinery {
        boot: Boot,
        trial: Trial,
        unkept: Unkept,
        asked: Asked,
        /// Whether those that were given up have ended.
        ended: Rc<Cell<bool>>,
        zones: tempfile::TempDir,
    }

    impl Machinery {
        /// Its children answer these; those in use are called `before`.
        fn new(answers: Vec<Result<Vec<u8>, ChildError>>) -> Self {
            let (entries, asked, ended) = Recorder::with_lingering(answers);
            let mut boot = Boot::with(entries);
            boot.machine = named("before");
            let zones = tempfile::tempdir().unwrap();
            fs::write(zones.path().join("UTC"), b"TZif2").unwrap();
            let (trial, unkept) = (Trial::none(), Unkept::default());
            Self { boot, trial, unkept, asked, ended, zones }
        }

        fn settings(&mut self) -> Settings<'_> {
            let Self { boot, trial, unkept, .. } = self;
            Settings { boot, trial, unkept }
        }

        /// Asks for a change, and uses it as PID 1 does.
        fn change(&mut self, hostname: &str, trial: Option<Duration>) -> Result<(), String> {
            let zones = self.zones.path().to_owned();
            let revision = self.trial.revision();
            let wanted = Wanted { settings: named(hostname), revision, trial };
            self.boot.machine = self.settings().take(wanted, &zones)?;
            self.trial.changed();
            Ok(())
        }

        fn set_password(&mut self, first: bool) -> Result<Option<String>, String> {
            self.settings().set_password(hash(), first)
        }

        /// The host names that children were asked to keep.
        fn kept(&self) -> Vec<String> {
            let asked = self.asked.borrow();
            let name = |input: &String| serde_json::from_str::<Machine>(input).unwrap().hostname;
            asked.iter().map(|(_, input, _)| name(input)).collect()
        }
    }

    fn named(hostname: &str) -> Machine {
        Machine { hostname: hostname.to_owned(), ..Machine::default() }
    }

    fn hash() -> Secret {
        Secret::new(format!("$6$saltstring${}", "x".repeat(86)))
    }

    fn done() -> Result<Vec<u8>, ChildError> {
        Ok(br#"{"Ok":null}"#.to_vec())
    }

    fn given_up() -> Result<Vec<u8>, ChildError> {
        Err(ChildError::TooLong(LIMIT))
    }

    #[test]
    fn a_change_is_kept_and_then_used_and_a_password_stays() {
        let mut machine = Machinery::new(vec![done(), done()]);
        assert_eq!(machine.set_password(true), Ok(None));
        machine.change("gate7", None).unwrap();
        assert_eq!(machine.boot.machine.hostname, "gate7");
        assert_eq!(machine.boot.machine.password_hash, Some(hash()), "settings name none");
        assert_eq!(machine.kept(), ["before", "gate7"]);
        assert!(machine.set_password(true).unwrap_err().contains("set already"));
        let no_hash = machine.settings().set_password(Secret::new("word"), false);
        assert!(no_hash.unwrap_err().contains("no hash"));
        assert!(machine.change("-", None).unwrap_err().contains("hyphen"));
        assert_eq!(machine.kept().len(), 2);
    }

    #[test]
    fn while_the_settings_on_the_disk_are_not_read_nothing_is_changed() {
        let mut machine = Machinery::new(Vec::new());
        let why = Why::Silence("was given up after 300 s".to_owned());
        machine.boot.unread.missed("machine settings", why, Duration::ZERO);
        for trial in [None, Some(LIMIT)] {
            let why = machine.change("gate7", trial).unwrap_err();
            assert!(why.contains("nothing is to be written over them"), "{why}");
        }
        for first in [true, false] {
            let why = machine.set_password(first).unwrap_err();
            assert!(why.contains("nothing is to be written over them"), "{why}");
        }
        assert_eq!(machine.boot.machine, named("before"));
        assert_eq!((machine.trial.until(), machine.unkept.problem()), (None, None));
        assert!(machine.kept().is_empty(), "nobody is sent to write");
    }

    #[test]
    fn what_is_on_trial_is_kept_by_nothing_else() {
        let mut machine = Machinery::new(vec![given_up()]);
        machine.ended.set(true);
        assert!(machine.change("gate7", None).is_err());
        machine.change("gate8", Some(LIMIT)).unwrap();
        assert_eq!(machine.boot.machine.hostname, "gate8");
        machine.settings().keep_again(LATER);
        for trial in [None, Some(LIMIT)] {
            assert!(machine.change("gate9", trial).unwrap_err().contains("waits to be confirmed"));
        }
        assert!(machine.set_password(true).unwrap_err().contains("waits to be confirmed"));
        assert_eq!(machine.boot.machine, named("gate8"), "and has no password");
        assert_eq!(machine.kept(), ["gate7"]);
    }

    #[test]
    fn while_an_earlier_writer_lingers_no_change_is_used_and_a_password_is_kept_later() {
        let mut machine = Machinery::new(vec![given_up(), done()]);
        assert!(machine.change("gate7", None).unwrap_err().contains("was given up after 25 s"));
        let why = machine.change("gate8", None).unwrap_err();
        assert!(why.ends_with("an earlier attempt has not ended yet"), "{why}");
        assert_eq!(machine.boot.machine, named("before"));
        let said = machine.set_password(true).unwrap().unwrap();
        assert!(said.contains("only until the appliance restarts"), "{said}");
        machine.settings().keep_again(LATER);
        assert_eq!(machine.kept(), ["gate7"], "none has begun");
        machine.ended.set(true);
        machine.settings().keep_again(LATER);
        assert_eq!(machine.kept(), ["gate7", "before"]);
        assert_eq!(machine.unkept.problem(), None);
        assert_eq!(machine.boot.machine.password_hash, Some(hash()));
    }

    /// Goal: a change that was refused does not come into force at a restart unsaid. Method: writers that are given
    /// up, and the disk that answers in the end.
    #[test]
    fn those_in_use_are_written_until_they_are_on_the_disk_where_others_may_be() {
        let mut machine = Machinery::new(vec![given_up(), given_up(), done()]);
        machine.ended.set(true);
        assert!(machine.change("gate7", None).is_err());
        for attempts in 2..4 {
            let problem = machine.unkept.problem().unwrap();
            assert!(
                problem.contains("refused may be on the system disk all the same"),
                "{problem}"
            );
            machine.settings().keep_again(Duration::ZERO);
            machine.settings().keep_again(LATER);
            assert_eq!(machine.kept().len(), attempts, "not all the time");
        }
        assert_eq!(machine.kept(), ["gate7", "before", "before"]);
        assert_eq!(machine.unkept.problem(), None);
    }
}
