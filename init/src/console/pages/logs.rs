//! Logs: the journal of this boot, filtered, followed while it is watched.
use crate::console::{
    command::JournalFilter,
    menu::{Entry, entry, menu},
    page::{Kind, Page},
    text::Text,
    view::View,
};

/// Largest syslog priority of everything.
const ALL: u8 = 7;
/// Largest syslog priority of warnings and worse.
const WARNINGS: u8 = 4;

/// The menu of logs.
pub(super) fn page() -> Page {
    menu("Logs", entries)
}

fn entries(_: &View) -> Vec<Entry> {
    vec![
        log("Everything", &[], ALL),
        log("Warnings and errors", &[], WARNINGS),
        log("Gateway", &["gateway"], ALL),
        log("Gateway: warnings and errors", &["gateway"], WARNINGS),
        log("Network", &["network"], ALL),
        log("Clock (chronyd)", &["chronyd"], ALL),
        // What it says on the screen too goes by way of the kernel, under the product's name.
        log("Machine (PID 1)", &["init", "tidegate"], ALL),
        log("Kernel", &["kernel"], ALL),
    ]
}

fn log(label: &'static str, identifiers: &'static [&'static str], priority: u8) -> Entry {
    entry(label, move |_| Page {
        title: format!("Logs: {label}"),
        kind: Kind::Text(Text::journal(JournalFilter { identifiers, priority })),
    })
}
