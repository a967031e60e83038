//! Reboot and shut down: what is not in S3 yet is said first.
use super::status;
use crate::{
    console::{
        command::Command,
        grid::{Line, paragraph},
        page::Page,
        question::question,
        view::View,
    },
    shutdown::Ending,
};

/// Asks before a reboot.
pub(super) fn reboot(_: &View) -> Page {
    question("Reboot", Box::new(lines), "Reboot?", Command::End(Ending::Reboot))
}

/// Asks before a shut-down.
pub(super) fn shut_down(_: &View) -> Page {
    question("Shut Down", Box::new(lines), "Shut Down?", Command::End(Ending::PowerOff))
}

fn lines(view: &View) -> Vec<Line> {
    let mut lines = paragraph(&to_upload(view));
    lines.extend(paragraph("Clients wait until the appliance is back."));
    lines
}

/// What is not in S3 yet, in sentences.
pub(in crate::console) fn to_upload(view: &View) -> String {
    match &view.gateway {
        Ok(status) if status.upload.is_idle() => "Everything written is in S3.".to_owned(),
        Ok(status) => {
            let mut words = format!("Still to be uploaded: {}.", status::to_upload(status));
            if let Some(seconds) = status.upload.drain_seconds {
                words.push_str(&format!(" It takes about {}.", status::duration(seconds)));
            }
            words + " It stays on the cache disk and is uploaded after the next start."
        }
        Err(why) => format!(
            "What is still to be uploaded is not known. The gateway does not answer: {why}."
        ),
    }
}
