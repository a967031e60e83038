//! The support bundle: collected here, as the console's user; handed over to a bucket or by HTTP.
use std::{
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use gateway_api::{ByteSize, ShareName};

use crate::{
    console::{
        command::{Finished, Outcome, StepReport},
        view::{self, View},
    },
    control::{self, Answer, Request},
    gateway_tool::{self, GatewayTool},
    support::{self, Bundle, Known, Offer},
};

/// Collects a bundle and stores it in a share's bucket.
pub(super) fn send(
    share: &ShareName,
    key: &str,
    report: &dyn Fn(StepReport),
) -> Result<Finished, String> {
    let (_, _, bundle) = collect(report)?;
    let tool = GatewayTool::PutObject { share: share.clone(), key: key.to_owned() };
    let mut stored = String::new();
    gateway_tool::ask(tool, &bundle.archive, |line| stored = line)
        .map_err(|why| format!("The bundle is not stored: {why}"))?;
    Ok(Finished::Said(vec![format!("Stored: {stored}")]))
}

/// Collects a bundle and offers it by HTTP until somebody has it.
pub(super) fn offer(report: &dyn Fn(StepReport)) -> Result<Finished, String> {
    let (view, name, bundle) = collect(report)?;
    hand_over(&view, &format!("{name}.tar.gz"), &bundle.archive, report)
}

/// Offers a file by HTTP until somebody has it.
pub(super) fn hand_over(
    view: &View,
    name: &str,
    content: &[u8],
    report: &dyn Fn(StepReport),
) -> Result<Finished, String> {
    let host: IpAddr = view
        .network
        .host()
        .and_then(|host| host.parse().ok())
        .ok_or("This machine has no address: see Network Configuration.")?;
    let offered = Offer::begin(name, content);
    let offer = offered.map_err(|error| format!("{name} is not offered: {error:#}"))?;
    let minutes = support::OFFER_SECONDS / 60;
    report(StepReport {
        title: format!("curl -OJ {}", offer.url(host)),
        outcome: Outcome::Note,
        advice: format!(
            "Also in a browser. Once, within {minutes} minutes; whoever knows this address gets it."
        ),
    });
    match offer.wait() {
        Ok(Some(to)) => Ok(Finished::Said(vec![format!("It was downloaded from {to}.")])),
        Ok(None) => Err(format!("Nobody downloaded it within {minutes} minutes.")),
        Err(error) => Err(format!("The offer ended: {error}")),
    }
}

fn collect(report: &dyn Fn(StepReport)) -> Result<(View, String, Bundle), String> {
    let view = view::look();
    let clock = match control::ask(&Request::Clock { step: false }) {
        Ok(Answer::Text { text }) => Ok(text),
        Ok(other) => Err(format!("PID 1 answers {other:?}")),
        Err(why) => Err(why),
    };
    let running = view.gateway_settings.as_ref().map(|(_, settings)| settings);
    let gateway_settings =
        running.or_else(|why| view.stored_settings.as_ref().map_err(|_| why.clone()));
    let known = Known { machine: &view.settings, gateway_settings, status: &view.gateway, clock };
    let pieces = support::gather(&known);
    let name = support::name(&view.machine.hostname, &view.clock);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let bundle = support::pack(&name, seconds, pieces)
        .map_err(|error| format!("The bundle cannot be packed: {error}"))?;
    let size = ByteSize(bundle.archive.len() as u64);
    let advice = match bundle.missing {
        0 => String::new(),
        missing => format!("{missing} could not be had: README.txt in it says why."),
    };
    let title = format!("Collected {} files, {size}", bundle.pieces);
    report(StepReport { title, outcome: Outcome::Passed, advice });
    Ok((view, name, bundle))
}
