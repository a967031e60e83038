//! Test S3 Connectivity: the gateway tests, and each step's report is shown as it comes.
use std::time::Duration;

use gateway_api::{
    Settings,
    admin::ADMIN_SOCKET,
    client::AdminClient,
    connection::{self, ConnectionTest},
};

use crate::console::command::{Command, Finished, Outcome, StepReport};

/// Time for one step: the gateway's own limits end it before.
const STEP_TIME: Duration = Duration::from_secs(120);

/// Tests; afterwards, settings that were to be saved are offered.
pub(super) fn run(
    test: &ConnectionTest,
    save: Option<(Box<Settings>, u64)>,
    report: &dyn Fn(StepReport),
) -> Result<Finished, String> {
    let mut usable = true;
    AdminClient::new(ADMIN_SOCKET, STEP_TIME)
        .test_connection(test, |step| {
            usable &= step.is_usable();
            report(shown(&step));
        })
        .map_err(|error| format!("The gateway tests, and does not: {error}"))?;
    let said = if usable { "S3 can be used." } else { "S3 cannot be used like this." };
    Ok(match save {
        None => Finished::Said(vec![said.to_owned()]),
        Some((settings, revision)) => Finished::Offer {
            said: said.to_owned(),
            ask: if usable { "Save these settings?" } else { "Save these settings all the same?" },
            command: Box::new(Command::PutGateway { settings, revision }),
        },
    })
}

fn shown(report: &connection::StepReport) -> StepReport {
    let (seen, outcome, advice) = match &report.outcome {
        connection::Outcome::Passed { note } => (note, Outcome::Passed, ""),
        connection::Outcome::Warning { why, advice } => (why, Outcome::Warning, advice.as_str()),
        connection::Outcome::Failed { why, advice } => (why, Outcome::Failed, advice.as_str()),
        connection::Outcome::Skipped { because } => (because, Outcome::Skipped, ""),
    };
    let title = report.step.title();
    let title = if seen.is_empty() { title.to_owned() } else { format!("{title}: {seen}") };
    StepReport { title, outcome, advice: advice.to_owned() }
}

#[cfg(test)]
mod tests {
    use gateway_api::connection::Step;

    use super::*;

    #[test]
    fn each_outcome_is_shown_with_what_to_do() {
        let report = |outcome| connection::StepReport { step: Step::Tls, outcome, millis: 3 };
        let (why, advice) = ("unknown issuer".to_owned(), "name the authority".to_owned());
        let failed = shown(&report(connection::Outcome::Failed { why, advice }));
        assert_eq!(failed.title, "Certificate (TLS): unknown issuer");
        assert_eq!(
            (failed.outcome, failed.advice.as_str()),
            (Outcome::Failed, "name the authority")
        );
        let passed = shown(&report(connection::Outcome::Passed { note: String::new() }));
        assert_eq!((passed.title.as_str(), passed.outcome), ("Certificate (TLS)", Outcome::Passed));
        let because = "no connection".to_owned();
        let skipped = shown(&report(connection::Outcome::Skipped { because }));
        assert_eq!(skipped.outcome, Outcome::Skipped);
    }
}
