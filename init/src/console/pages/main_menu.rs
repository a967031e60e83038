//! The main menu: AWS's entries in AWS's order and words, then those that AWS's console lacks.
use super::{
    addresses, disks, export, logs, network, power, proxy, resources, s3, shares, status, support,
    system_time, update,
};
use crate::console::{
    grid::Line,
    menu::{Entry, entry, main_menu},
    page::Page,
    prompt::prompt,
    view::View,
};

/// The page after logging in.
pub(in crate::console) fn page() -> Page {
    main_menu("Tidegate Appliance - Configuration", Box::new(shows), entries)
}

fn shows(view: &View) -> Vec<Line> {
    let adapters = addresses::summary(view);
    adapters.into_iter().map(|line| Line::plain(format!(" {line}"))).collect()
}

fn entries(view: &View) -> Vec<Entry> {
    let errors = resources::errors(view);
    let check = format!("View System Resource Check ({errors} Errors)");
    let begin_network_test = |view: &View| network::test::begin(view);
    vec![
        entry("HTTP Proxy Configuration", |_| proxy::page()),
        entry("Network Configuration", |_| network::page()),
        Entry {
            label: "Test Network Connectivity".to_owned(),
            opens: Box::new(begin_network_test),
        },
        Entry { label: "Test S3 Connectivity".to_owned(), opens: Box::new(s3::test) },
        entry(check, |_| resources::page()),
        entry("System Time Management", |_| system_time::page()),
        entry("Gateway Console", |_| prompt("Gateway Console")),
        entry("Status", |_| status::page()),
        entry("S3 Target and Credentials", |_| s3::page()),
        entry("File Shares", |_| shares::page()),
        entry("Cache Disks", |_| disks::page()),
        entry("Logs", |_| logs::page()),
        entry("Settings Export and Import", |_| export::page()),
        entry("Support Bundle", |_| support::page()),
        entry("Update", |_| update::page()),
        entry("Reboot", power::reboot),
        entry("Shut Down", power::shut_down),
    ]
}
