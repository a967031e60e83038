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
        log("Everything", None, ALL),
        log("Warnings and errors", None, WARNINGS),
        log("Gateway", Some("gateway"), ALL),
        log("Gateway: warnings and errors", Some("gateway"), WARNINGS),
        log("Network", Some("network"), ALL),
        log("Clock (chronyd)", Some("chronyd"), ALL),
        log("Machine (PID 1)", Some("init"), ALL),
        log("Kernel", Some("kernel"), ALL),
    ]
}

fn log(label: &'static str, identifier: Option<&'static str>, priority: u8) -> Entry {
    entry(label, move |_| Page {
        title: format!("Logs: {label}"),
        kind: Kind::Text(Text::journal(JournalFilter { identifier, priority })),
    })
}
