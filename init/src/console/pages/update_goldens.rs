//! Updates as an operator sees them.
use crate::{
    console::{
        command::{Command, Finished, Outcome, StepReport},
        operator::Operator,
        work,
    },
    observed::UpdateState,
    shutdown::Ending,
    slot::Slot,
    update::{Note, Stage, Standing, Wanted},
};

fn standing(slot: Slot, version: &str) -> Standing {
    Standing { slot, version: version.parse().unwrap() }
}

fn state(stage: Stage, running: Slot) -> UpdateState {
    let (from, to) = (standing(Slot::A, "1.3.0"), standing(Slot::B, "1.4.0"));
    let note = Note { from, to, stage, why: None, gateway_ran: true };
    let running = Some(if running == Slot::A { from } else { to });
    UpdateState { running, on_trial: stage == Stage::Started, note: Some(note) }
}

fn at_update(state: UpdateState) -> Operator {
    let mut operator = Operator::logged_in();
    operator.view.machine.update = state;
    operator.choose("Update");
    operator
}

#[test]
fn an_update_is_checked_written_and_tried_at_a_reboot_that_is_asked_for() {
    let running = Some(standing(Slot::A, "1.3.0"));
    let mut operator = at_update(UpdateState { running, ..UpdateState::default() });
    operator.sees_golden("update");
    operator.choose("Update from a Volume");
    operator.sees_golden("update-volume");
    operator.types("\n\n");
    assert_eq!(operator.command(), Command::Update(Wanted::Volume { older_too: false }));
    let (job, _) = operator.asked.clone().unwrap();
    for step in [
        "Found tidegate-1.4.0.update on volume \"TIDEGATE\" on /dev/sr0",
        "Version 1.4.0: signed, and fits",
        "Root file system written and read back",
        "Kernel written and read back",
        "The boot loaders try it at the next start",
    ] {
        let advice = String::new();
        let report = StepReport { title: step.to_owned(), outcome: Outcome::Passed, advice };
        operator.app.step(job, report);
    }
    operator.finished(Ok(work::update_is_ready(&operator.view)));
    operator.sees_golden("update-ready");
    operator.types("y");
    assert_eq!(operator.command(), Command::End(Ending::Reboot));
}

#[test]
fn an_update_can_come_from_a_url() {
    let running = Some(standing(Slot::A, "1.3.0"));
    let mut operator = at_update(UpdateState { running, ..UpdateState::default() });
    operator.choose("Update from a URL");
    operator.types("ftp://host/file\n\n\n");
    operator.sees_golden("update-url");
    operator.press(crate::console::keys::Key::Clear);
    operator.types("https://host/tidegate-1.4.0.update?signed=1\n\n\n");
    let url = "https://host/tidegate-1.4.0.update?signed=1".to_owned();
    assert_eq!(operator.command(), Command::Update(Wanted::Url { url, older_too: false }));
    operator
        .finished(Err("https://host: the server answers 404: there is no such file".to_owned()));
    assert!(operator.sees().contains("there is no such file"), "{}", operator.sees());
}

#[test]
fn an_older_version_has_to_be_allowed() {
    let running = Some(standing(Slot::A, "1.3.0"));
    let mut operator = at_update(UpdateState { running, ..UpdateState::default() });
    operator.choose("Update from a Volume");
    operator.press(crate::console::keys::Key::Right);
    operator.types("\n\n");
    assert_eq!(operator.command(), Command::Update(Wanted::Volume { older_too: true }));
    let why = "Version 1.0.0 cannot follow 1.3.0: none before 1.2.0 can.".to_owned();
    operator.finished(Err(why));
    assert!(operator.sees().contains("none before 1.2.0 can"), "{}", operator.sees());
}

#[test]
fn the_version_before_can_be_gone_back_to() {
    let mut operator = at_update(state(Stage::Kept, Slot::B));
    operator.sees_golden("update-kept");
    operator.choose("Go Back to Version 1.3.0");
    operator.sees_golden("update-back");
    operator.types("y");
    assert_eq!(operator.command(), Command::Update(Wanted::Other));
    operator.finished(Ok(Finished::Said(vec![String::new()])));
}

#[test]
fn a_version_that_failed_says_why_and_can_be_tried_again() {
    let mut failed = state(Stage::Failed, Slot::A);
    failed.note.as_mut().unwrap().why = Some("the gateway does not serve".to_owned());
    let mut operator = at_update(failed);
    operator.sees_golden("update-failed");
    operator.choose("Try Version 1.4.0");
    operator.types("y");
    assert_eq!(operator.command(), Command::Update(Wanted::Other));
}

#[test]
fn nothing_is_begun_while_a_version_is_on_trial() {
    let mut operator = at_update(state(Stage::Started, Slot::B));
    operator.sees_golden("update-trial");
    assert!(!operator.sees().contains("Go Back"), "{}", operator.sees());
    operator.choose("Update from a Volume");
    assert!(operator.sees().contains("on trial itself"), "{}", operator.sees());
}
