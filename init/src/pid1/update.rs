//! A version on trial while the machine runs: watched, kept, or given up; and updates that are asked for.
use std::{
    os::unix::{net::UnixStream, process::CommandExt},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use super::Running;
use crate::{
    control::Answer,
    errand::{self, Errand},
    observed::UpdateState,
    phases::{self, Boot},
    service,
    service::Service,
    shutdown::Ending,
    supervisor::State,
    sys,
    update::{self, Facts, Health, Note, Stage, Standing, Verdict, Wanted},
};

/// Phases without which a version is not healthy. The others look at what is not the version's doing: a
/// seed, for instance.
const VITAL: [&str; 6] =
    ["mounts", "drivers", "config partition", "machine settings", "network settings", "journal"];

/// What PID 1 knows of updates.
#[derive(Debug)]
pub(super) struct Update {
    running: Option<Standing>,
    note: Option<Note>,
    health: Health,
    /// The child that tells the boot loaders that this version is kept.
    keeping: Option<i32>,
    /// The errand that writes another version.
    errand: Option<i32>,
    /// Whether a console has asked for what it shows.
    pub(super) console_asked: bool,
}

impl Update {
    /// After the phases of the boot.
    pub(super) fn at_boot(boot: &mut Boot) -> Self {
        let on_trial = update::is_on_trial(&boot.line);
        let health = if on_trial { Health::begin() } else { Health::Over };
        let running = Standing::running().map_err(|error| boot.say(format!("update: {error:#}")));
        let before = phases::read_note(boot).unwrap_or_else(|error| {
            boot.say(format!("update: {error:#}"));
            None
        });
        let mut update = Self {
            running: running.ok(),
            note: None,
            health,
            keeping: None,
            errand: None,
            console_asked: false,
        };
        update.take_in(boot, before, on_trial);
        if on_trial {
            sys::say("this version is on trial");
        }
        update
    }

    /// What is noted is known, and what becomes of it by this boot is noted.
    fn take_in(&mut self, boot: &mut Boot, noted: Option<Note>, on_trial: bool) {
        self.note = noted.clone();
        let Some((before, running)) = noted.zip(self.running) else { return };
        let after = before.clone().at_boot(running, on_trial);
        if after != before {
            if matches!(after.stage, Stage::Failed | Stage::Broken) {
                boot.say(after.in_words());
            }
            self.keep_note(boot, after);
        }
    }

    /// What was noted could not be read at the boot, and is known now. A trial may be over by then.
    pub(super) fn noted_late(&mut self, boot: &mut Boot, noted: Option<Note>) {
        // Whoever has written another version meanwhile has noted that one, and what he notes is read when he ends.
        if self.errand.is_none() && self.note.is_none() {
            self.take_in(boot, noted, self.health.is_on());
        }
    }

    fn keep_note(&mut self, boot: &mut Boot, note: Note) {
        if let Err(error) = phases::keep_note(boot, &note) {
            tracing::error!("what became of the update is not noted: {error:#}");
        }
        self.note = Some(note);
    }

    /// Whoever wrote another version has ended: what it has noted counts, and is mended where it had no time to.
    fn written(&mut self, boot: &mut Boot) {
        self.errand = None;
        let noted = match phases::read_note(boot) {
            Ok(note) => note,
            Err(error) => return tracing::error!("{error:#}"),
        };
        self.note = noted.clone();
        let ended = noted.clone().map(Note::when_nobody_writes);
        if ended != noted
            && let Some(note) = ended
        {
            self.keep_note(boot, note);
        }
    }

    /// For the console.
    pub(super) fn state(&self) -> UpdateState {
        UpdateState {
            running: self.running,
            on_trial: self.health.is_on(),
            note: self.note.clone(),
        }
    }
}

impl Running {
    /// Looks after a trial.
    pub(super) fn follow_update(&mut self, now: Duration) {
        if !self.update.health.is_on() {
            return;
        }
        let runs = |service: Service| match self.services[&service].state() {
            State::Running { .. } => true,
            State::Off | State::Stopping { .. } | State::Waiting { .. } | State::GivenUp => false,
        };
        // Without a note it is not known; most serve.
        let gateway_ran = self.update.note.as_ref().is_none_or(|note| note.gateway_ran);
        let facts = Facts {
            phase: self.boot.failed.iter().copied().find(|phase| VITAL.contains(phase)),
            network: runs(Service::Network),
            gateway: self.services[&Service::Gateway].is_ready() || !gateway_ran,
            console: self.update.console_asked,
        };
        match self.update.health.tick(now, &facts) {
            Verdict::Wait => {}
            Verdict::Keep => match keep() {
                Ok(pid) => self.update.keeping = Some(pid),
                Err(error) => {
                    tracing::error!("this version is not kept: {error:#}");
                    self.update.health.told(now, false);
                }
            },
            Verdict::Reboot(why) => {
                sys::say(&format!("this version is not healthy, the one before starts: {why}"));
                if let Some(note) = self.update.note.clone() {
                    self.update.keep_note(&mut self.boot, Note { why: Some(why), ..note });
                }
                self.ending = Some(Ending::Reboot);
            }
        }
    }

    /// A child ended; whether it was one of these.
    pub(super) fn update_ended(&mut self, pid: i32, code: Option<i32>) -> bool {
        if self.update.errand == Some(pid) {
            self.update.written(&mut self.boot);
            return true;
        }
        if self.update.keeping != Some(pid) {
            return false;
        }
        self.update.keeping = None;
        self.update.health.told(sys::since_boot(), code == Some(0));
        if code == Some(0) {
            sys::say("this version is healthy and is kept");
            if let Some(note) = self.update.note.clone() {
                let kept = Note { stage: Stage::Kept, why: None, ..note };
                self.update.keep_note(&mut self.boot, kept);
            }
        } else {
            tracing::error!("this version is not kept: the boot loaders could not be told");
        }
        true
    }

    /// Sends for another version.
    pub(super) fn order_update(&mut self, wanted: Wanted, stream: UnixStream) -> Result<()> {
        let refused = if self.update.health.is_on() {
            Some("This version is on trial itself: wait until it is found healthy.")
        } else if self.update.errand.is_some() {
            Some("An update is under way already.")
        } else {
            None
        };
        if let Some(why) = refused {
            let answer = Answer::Refused { why: why.to_owned() };
            return answer.write(&stream).context("answering the console");
        }
        let gateway_ran = self.services[&Service::Gateway].is_ready();
        let child = errand::send(&Errand::Update { wanted, gateway_ran }, stream)?;
        self.update.errand = Some(i32::try_from(child.id())?);
        Ok(())
    }
}

/// Starts to tell the boot loaders that this version is kept.
fn keep() -> Result<i32> {
    let mut command = Command::new(service::INIT);
    command.arg("keep-version").env_clear().process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    service::unblock_signals(&mut command);
    let child = command.spawn().context("telling the boot loaders")?;
    Ok(i32::try_from(child.id())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{children::record::Recorder, slot::Slot};

    fn standing(slot: Slot, version: &str) -> Standing {
        Standing { slot, version: version.parse().unwrap() }
    }

    fn note(stage: Stage) -> Note {
        Note {
            from: standing(Slot::A, "1.3.0"),
            to: standing(Slot::B, "1.4.0"),
            stage,
            why: None,
            gateway_ran: true,
        }
    }

    fn update(running: Option<Standing>, health: Health, errand: Option<i32>) -> Update {
        Update { running, note: None, health, keeping: None, errand, console_asked: false }
    }

    /// Goal: what becomes of an update is known, though what is noted of it was read late. Method: a version that was
    /// ready, and the trial as it may stand by then.
    #[test]
    fn what_is_noted_of_an_update_is_attended_to_when_it_is_read_late() {
        let (old, new) = (note(Stage::Ready).from, note(Stage::Ready).to);
        for (running, health, becomes) in [
            (new, Health::begin(), Stage::Started),
            (new, Health::Over, Stage::Kept),
            (old, Health::Over, Stage::Failed),
        ] {
            let (entries, asked) = Recorder::new(vec![Ok(br#"{"Ok":null}"#.to_vec())]);
            let mut boot = Boot::with(entries);
            let mut update = update(Some(running), health, None);
            update.noted_late(&mut boot, Some(note(Stage::Ready)));
            assert_eq!(update.note.unwrap().stage, becomes);
            assert_eq!(boot.state.problems.len(), usize::from(becomes == Stage::Failed));
            let asked = asked.borrow();
            let kept: Note = serde_json::from_str(&asked[0].1).unwrap();
            assert_eq!((kept.stage, asked[0].0[1].as_str()), (becomes, "keep-update-note"));
        }
        // Another one is being written, or was.
        let (entries, _) = Recorder::new(Vec::new());
        let mut boot = Boot::with(entries);
        let mut writing = update(Some(old), Health::Over, Some(77));
        writing.noted_late(&mut boot, Some(note(Stage::Writing)));
        assert_eq!(writing.note, None);
        let mut written = update(Some(old), Health::Over, None);
        written.note = Some(note(Stage::Ready));
        written.noted_late(&mut boot, Some(note(Stage::Writing)));
        assert_eq!(written.note, Some(note(Stage::Ready)));
    }

    /// Goal: the console does not say for ever that a version is being written. Method: notes as an errand leaves
    /// them that has told all, and one that was killed.
    #[test]
    fn what_an_errand_that_was_killed_has_noted_is_mended() {
        for (left, stage, entries) in
            [(Stage::Writing, Stage::Broken, 2), (Stage::Ready, Stage::Ready, 1)]
        {
            let left = serde_json::to_vec(&Ok::<_, String>(note(left))).unwrap();
            let (entries_of, asked) = Recorder::new(vec![Ok(left), Ok(br#"{"Ok":null}"#.to_vec())]);
            let mut update = update(None, Health::Over, Some(77));
            update.written(&mut Boot::with(entries_of));
            assert_eq!(update.note.unwrap().stage, stage);
            assert_eq!((update.errand, asked.borrow().len()), (None, entries));
        }
    }
}
