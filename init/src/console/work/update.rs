//! Updates: PID 1 has them written; what is still to be uploaded is said before the reboot.
use crate::{
    console::{
        command::{Command, Finished, Outcome, StepReport},
        pages::power,
        view::{self, View},
    },
    control::Request,
    gateway_tool,
    shutdown::Ending,
    update::Wanted,
};

/// Has another version written, or the one in the other slot tried.
pub(super) fn run(wanted: Wanted, report: &dyn Fn(StepReport)) -> Result<Finished, String> {
    gateway_tool::ask_for(&Request::Update { wanted }, b"", |title| {
        report(StepReport { title, outcome: Outcome::Passed, advice: String::new() });
    })?;
    Ok(ready(&view::look()))
}

/// What is said, and asked, when the next start tries another version.
pub(in crate::console) fn ready(view: &View) -> Finished {
    Finished::Offer {
        said: power::to_upload(view),
        ask: "Reboot into it now?",
        command: Box::new(Command::End(Ending::Reboot)),
    }
}
