//! Goal: no failure keeps the boot from its end, and what a child says or does not say is told to the
//! operator. Method: phases that fail, and a fake that records the children and answers for them.
use std::time::Duration;

use super::*;
use crate::children::{ChildError, record::Recorder};

fn boot(answers: Vec<Result<Vec<u8>, ChildError>>) -> (Boot, crate::children::record::Asked) {
    let (entries, asked) = Recorder::new(answers);
    (Boot { entries, ..Boot::default() }, asked)
}

#[test]
fn a_phase_that_fails_is_told_and_the_next_one_runs() {
    const LIMIT: Duration = Duration::from_secs(7);
    let phases = [
        here("first", |_| Err(anyhow!("no such device"))),
        Phase {
            on_failure: OnFailure::Note,
            ..here("second", |_| Err(anyhow!("not known to this kernel")))
        },
        in_child("third", LIMIT, |boot, limit| {
            boot.notes.push(format!("had {} s", limit.as_secs()));
            Ok(())
        }),
    ];
    let (mut boot, _) = boot(Vec::new());
    run(&phases, &mut boot);
    assert_eq!(boot.state.problems, ["first: no such device"]);
    assert_eq!(boot.failed, ["first"]);
    assert_eq!(boot.notes, ["second: not known to this kernel", "had 7 s"]);
    assert_eq!(
        boot.took.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["first", "second", "third"]
    );
}

#[test]
fn what_can_hang_is_done_by_children() {
    let limits: Vec<_> = PHASES
        .iter()
        .filter_map(|phase| match phase.work {
            Work::Here(_) => None,
            Work::InChild(limit, _) => Some((phase.name, limit)),
        })
        .collect();
    let expected = [("config partition", CONFIG_LIMIT), ("seed", SEED_LIMIT)];
    assert_eq!(limits, expected);
    // The settings are read before the seed changes them, and used after it.
    let at = |name| PHASES.iter().position(|phase| phase.name == name).unwrap();
    let order = ["mounts", "config partition", "machine settings", "seed", "host name"];
    assert!(order.map(at).is_sorted());
}

#[test]
fn a_seed_that_is_not_found_in_time_is_a_problem_and_no_end() {
    let (mut boot, asked) = boot(vec![Err(ChildError::TooLong(SEED_LIMIT))]);
    run(&[in_child("seed", SEED_LIMIT, apply_seed)], &mut boot);
    assert_eq!(boot.state.problems, ["seed: looking for one: was given up after 60 s"]);
    assert_eq!(asked.borrow()[0].0, ["find-seed"]);
}
