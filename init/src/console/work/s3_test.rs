//! Test S3 Connectivity: the gateway tests, and each step's report is shown as it comes. Without a
//! gateway that runs, its program does by itself.
use std::time::Duration;

use gateway_api::{
    Settings,
    admin::ADMIN_SOCKET,
    client::{AdminClient, ClientError},
    connection::{self, ConnectionTest, Step},
};

use crate::{
    console::command::{AfterTest, Command, Finished, Outcome, StepReport},
    gateway_tool::{self, GatewayTool},
};

/// Time for one step: the gateway's own limits end it before.
const STEP_TIME: Duration = Duration::from_secs(120);

/// Tests; afterwards, settings that were to be saved are offered.
pub(super) fn run(
    test: &ConnectionTest,
    then: AfterTest,
    report: &dyn Fn(StepReport),
) -> Result<Finished, String> {
    let mut usable = true;
    let mut each = |step: connection::StepReport| {
        usable &= step.is_usable();
        report(shown(&step));
    };
    let client = AdminClient::new(ADMIN_SOCKET, STEP_TIME);
    match client.test_connection(test, &mut each) {
        Ok(()) => {}
        Err(ClientError::Unreachable { .. }) => alone(test, &mut each)?,
        Err(error) => return Err(format!("The gateway tests, and does not: {error}")),
    }
    let said = if usable { "S3 can be used." } else { "S3 cannot be used like this." };
    match then {
        AfterTest::Nothing => Ok(Finished::Said(vec![said.to_owned()])),
        AfterTest::Save { settings, revision } => Ok(Finished::Offer {
            said: said.to_owned(),
            ask: if usable { "Save these settings?" } else { "Save these settings all the same?" },
            command: Box::new(Command::PutGateway { settings, revision }),
        }),
        // Not a success: what was typed stays, to be saved later.
        AfterTest::CannotSave => Err(format!(
            "{said} These settings are not saved: the gateway keeps them, and does not run. Save them \
             as soon as it does."
        )),
    }
}

/// Tests without a gateway that runs.
fn alone(
    test: &ConnectionTest,
    each: &mut impl FnMut(connection::StepReport),
) -> Result<(), String> {
    let settings =
        Settings { s3: test.s3.clone(), shares: vec![test.share.clone()], ..Settings::default() };
    let input = settings.to_toml().map_err(|error| error.to_string())?;
    let tool = GatewayTool::TestConnection { share: test.share.name.clone() };
    let mut steps = 0;
    let mut unreadable = None;
    let ended =
        gateway_tool::ask(tool, input.as_bytes(), |line| match serde_json::from_str(&line) {
            Ok(step) => {
                steps += 1;
                each(step);
            }
            Err(error) => unreadable = Some(error.to_string()),
        });
    // It ends without success where S3 cannot be used, too; the reports have said so then.
    match (unreadable, ended) {
        (Some(why), _) => Err(format!("The test's report cannot be read: {why}")),
        (None, Err(why)) if steps < Step::ALL.len() => Err(format!("S3 was not tested: {why}")),
        (None, Ok(()) | Err(_)) => Ok(()),
    }
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
