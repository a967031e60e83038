//! What a form was filled from, so that it does not undo what was changed while it stood open. Pure.
//!
//! A form shows settings as they were when it was opened and writes all of its fields. Of two who change the
//! same settings the first counts, however long the other one's form was open.
use gateway_api::Settings;

use super::{
    command::{AfterTest, Command},
    page::Step,
    view::View,
};
use crate::machine::Machine;

/// Said instead of saving.
const OVERTAKEN: &str = "These settings were changed while this form was open, on another console or from \
                         outside. Nothing was saved: press Esc, look at them, and change them again.";

/// The settings of a moment.
#[derive(Clone, Debug)]
pub(super) struct Basis {
    machine: Option<Machine>,
    gateway: Option<Settings>,
}

impl Basis {
    /// Those of the view.
    pub(super) fn of(view: &View) -> Self {
        Self { machine: view.settings.as_ref().ok().cloned(), gateway: gateway(view).cloned() }
    }

    /// Whether what follows from a form that was filled from these does not undo anybody's change.
    ///
    /// # Errors
    /// It would; what to do.
    pub(super) fn allows(&self, step: &Step, view: &View) -> Result<(), &'static str> {
        let Step::Do(command) = step else { return Ok(()) };
        let of_machine = matches!(command, Command::Change { .. });
        let of_gateway = matches!(
            command,
            Command::PutGateway { .. }
                | Command::DeleteShare { .. }
                | Command::TestS3 { then: AfterTest::Save { .. }, .. }
        );
        let overtaken = of_machine && self.machine.as_ref() != view.settings.as_ref().ok()
            || of_gateway && self.gateway.as_ref() != gateway(view);
        if overtaken { Err(OVERTAKEN) } else { Ok(()) }
    }
}

/// The gateway's settings, as it tells them or as it keeps them.
fn gateway(view: &View) -> Option<&Settings> {
    match &view.gateway_settings {
        Ok((_, settings)) => Some(settings),
        Err(_) => view.stored_settings.as_ref().ok(),
    }
}
