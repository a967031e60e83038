//! The machine is switched off while the service cannot serve.
use super::lab::{Lab, in_namespaces};

#[test]
fn a_service_that_begins_again_hears_that_the_machine_is_switched_off() {
    in_namespaces(
        "switch_off::a_service_that_begins_again_hears_that_the_machine_is_switched_off",
        in_a_pause,
    );
}

fn in_a_pause(mut lab: Lab) {
    lab.state_with("a first look", |_| true);
    lab.restart_in_vain();
    lab.state_with("one that begins again", |state| {
        state["problem"].as_str().is_some_and(|problem| problem.contains("begins again"))
    });
    lab.switch_off();
}
