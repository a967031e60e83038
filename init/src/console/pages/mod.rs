//! The pages, a family to a file: words, fields, and what leads where. Pure.
mod addresses;
mod disks;
mod export;
pub(super) mod front;
pub(super) mod import;
pub(super) mod log_in;
mod logs;
pub(super) mod main_menu;
mod network;
pub(super) mod power;
mod proxy;
mod resources;
mod s3;
mod shares;
mod status;
mod support;
mod system_time;
pub(super) mod trial;
mod update;

#[cfg(test)]
mod disks_goldens;
#[cfg(test)]
mod goldens;
#[cfg(test)]
mod network_goldens;
#[cfg(test)]
mod open_forms;
#[cfg(test)]
mod s3_goldens;
#[cfg(test)]
mod support_goldens;
#[cfg(test)]
mod update_goldens;

use gateway_api::Settings;

use super::{
    command::Command,
    form::Problem,
    grid::paragraph,
    page::{Page, Step},
    view::View,
};
use crate::machine::Machine;

/// Whether settings are kept only if somebody confirms them in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    AtOnce,
    /// They may cut the operator off.
    IfConfirmed,
}

/// The machine's settings with a change, to be used; `field` is the one to complain about.
fn changed(
    view: &View,
    field: &'static str,
    keep: Keep,
    change: impl FnOnce(&mut Machine),
) -> Result<Step, Problem> {
    changing(view, keep, change).map(Step::Do).map_err(|why| Problem::new(field, why))
}

/// The command that uses the machine's settings with a change; or why there is none.
fn changing(view: &View, keep: Keep, change: impl FnOnce(&mut Machine)) -> Result<Command, String> {
    let mut settings = Box::new(view.settings.clone()?);
    change(&mut settings);
    settings.network.check().map_err(|error| error.to_string())?;
    let revision = view.settings_revision;
    Ok(Command::Change { settings, revision, on_trial: keep == Keep::IfConfirmed })
}

/// The gateway's settings with a change, to be put into force.
fn gateway_changed(
    view: &View,
    field: &'static str,
    change: impl FnOnce(&mut Settings),
) -> Result<Step, Problem> {
    gateway_changing(view, change).map(Step::Do).map_err(|why| Problem::new(field, why))
}

/// The command that puts the gateway's settings into force with a change; or why there is none.
fn gateway_changing(view: &View, change: impl FnOnce(&mut Settings)) -> Result<Command, String> {
    let (revision, settings) = gateway_settings(view)?;
    let mut settings = Box::new(settings.clone());
    change(&mut settings);
    settings.check().map_err(|error| error.to_string())?;
    Ok(Command::PutGateway { settings, revision })
}

/// The gateway's settings; or why there are none, and what to do.
fn gateway_settings(view: &View) -> Result<(u64, &Settings), String> {
    match &view.gateway_settings {
        Ok((revision, settings)) => Ok((*revision, settings)),
        Err(_) if !view.machine.cache_mounted => Err(format!(
            "The gateway keeps these settings and does not run: it waits for the cache disk ({}).",
            view.machine.cache
        )),
        Err(why) => Err(format!("The gateway keeps these settings and does not tell them: {why}.")),
    }
}

/// The gateway's settings with their revision; without one those that it keeps while it does not run,
/// which can be tested and not changed. Or why there are none, and what to do.
fn known_settings(view: &View) -> Result<(Option<u64>, &Settings), String> {
    match (gateway_settings(view), &view.stored_settings) {
        (Ok((revision, settings)), _) => Ok((Some(revision), settings)),
        (Err(_), Ok(settings)) => Ok((None, settings)),
        (Err(why), Err(stored)) => Err(format!("{why} What it keeps cannot be read: {stored}.")),
    }
}

/// A page that says why something cannot be done.
fn refused(title: &str, why: &str) -> Page {
    Page::said(title, paragraph(why))
}
