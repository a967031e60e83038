//! Edit and View DNS Configuration.
use std::net::IpAddr;

use super::static_ip::optional;
use crate::console::{
    form::{Problem, Values, choice, form, text},
    page::{Page, Step},
    pages::{Keep, changed, status::field},
    view::View,
};

const BY_DHCP: &str = "Assign by DHCP";
const SERVERS: [&str; 3] = ["Primary DNS", "Secondary DNS", "Third DNS"];
const SEARCH: &str = "Search domains";
const YES: &str = "yes";
const NO: &str = "no";

/// The form.
pub(super) fn edit(view: &View) -> Page {
    let network = view.settings.as_ref().map(|s| s.network.clone()).unwrap_or_default();
    let by_dhcp = if network.name_servers.is_empty() { YES } else { NO };
    let mut fields =
        vec![choice(BY_DHCP, &[YES, NO], by_dhcp, "With yes, DHCP and routers name the servers.")];
    for (at, label) in SERVERS.iter().enumerate() {
        let set = network.name_servers.get(at).map(ToString::to_string);
        let value = set.or_else(|| view.network.dns.get(at).cloned()).unwrap_or_default();
        fields.push(text(label, value, "An address such as 192.0.2.53."));
    }
    let search = network.search_domains.join(" ");
    let help = "Domains that short names are completed with, blanks between them.";
    fields.push(text(SEARCH, search, help));
    form("Edit DNS Configuration", Vec::new(), fields, "Apply", submit)
}

fn submit(values: &Values<'_>, view: &View) -> Result<Step, Problem> {
    let mut servers: Vec<IpAddr> = Vec::new();
    if values.text(BY_DHCP) == NO {
        for label in SERVERS {
            servers.extend(optional::<IpAddr>(values, label, "an address such as 192.0.2.53")?);
        }
        if servers.is_empty() {
            let says = "Name at least one server, or let DHCP assign them.";
            return Err(Problem::new(SERVERS[0], says));
        }
    }
    let search = values.text(SEARCH).split_whitespace().map(str::to_owned).collect();
    changed(view, SEARCH, Keep::IfConfirmed, |settings| {
        settings.network.name_servers = servers;
        settings.network.search_domains = search;
    })
}

/// What is in use.
pub(super) fn page() -> Page {
    let shows = |view: &View| {
        let names: Vec<&str> = view.network.adapters.iter().map(|a| a.name.as_str()).collect();
        let mut lines = field("Adapters", &names.join(", "));
        let source = match &view.settings {
            Ok(settings) if settings.network.name_servers.is_empty() => "Assigned by DHCP",
            Ok(_) => "Set here",
            Err(why) => why,
        };
        lines.extend(field("Source", source));
        let servers = view.network.dns.join(", ");
        lines.extend(field("DNS", if servers.is_empty() { "none" } else { &servers }));
        let search = view.network.search.join(" ");
        lines.extend(field("Search", if search.is_empty() { "none" } else { &search }));
        lines
    };
    Page::live("View DNS Configuration", Box::new(shows))
}
