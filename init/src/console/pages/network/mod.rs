//! Network Configuration, with AWS's entries in AWS's order; then MTU and VLANs.
mod describe;
mod dns;
mod hostname;
mod links;
mod static_ip;
pub(super) mod test;

use super::{Keep, addresses, changing, refused};
use crate::{
    console::{
        command::Command,
        grid::{Line, paragraph},
        list::list,
        menu::{Entry, entry, menu_with},
        page::{Page, Step},
        question::question,
        view::View,
    },
    machine::{Adapter, Ipv4, Ipv6, Network},
};

/// The menu.
pub(super) fn page() -> Page {
    let shows = |view: &View| {
        let lines = addresses::summary(view).into_iter();
        lines.map(|line| Line::plain(format!(" {line}"))).collect()
    };
    menu_with("Network Configuration", Box::new(shows), Box::new(entries))
}

fn entries(_: &View) -> Vec<Entry> {
    vec![
        pick("Describe Adapter", |name, _| Step::Open(describe::page(name))),
        pick("Configure DHCP", |name, view| Step::Open(dhcp(name, view))),
        pick("Configure Static IP", |name, view| Step::Open(static_ip::page(name, view))),
        entry("Configure Hostname", hostname::edit),
        entry("View Hostname Configuration", |_| hostname::page()),
        entry("Reset all to DHCP", reset),
        pick("Set Default Adapter", |name, view| Step::Open(set_default(name, view))),
        entry("Edit DNS Configuration", dns::edit),
        entry("View DNS Configuration", |_| dns::page()),
        entry("View Routes", |_| routes()),
        pick("Set MTU", |name, view| Step::Open(links::mtu(name, view))),
        entry("Add a VLAN", links::add_vlan),
        entry("Remove a VLAN", links::remove_vlan),
    ]
}

/// Names of the adapters that are there, and of those that are set and are not there.
pub(super) fn adapters(view: &View) -> Vec<String> {
    let mut names: Vec<String> =
        view.network.adapters.iter().map(|adapter| adapter.name.clone()).collect();
    if let Ok(settings) = &view.settings {
        for adapter in &settings.network.adapters {
            if !names.contains(&adapter.name) {
                names.push(adapter.name.clone());
            }
        }
    }
    names
}

/// An entry for an adapter, which is asked for if there are several.
fn pick(label: &'static str, chooses: fn(&str, &View) -> Step) -> Entry {
    let opens = move |view: &View| match adapters(view).as_slice() {
        [] => Step::Open(refused(
            label,
            "No adapter is known: add one to the virtual machine, or see Logs, Network.",
        )),
        [only] => chooses(only, view),
        several => {
            Step::Open(list(&format!("{label}: choose an adapter"), several.to_vec(), chooses))
        }
    };
    Entry { label: label.to_owned(), opens: Box::new(opens) }
}

/// Puts the settings of one adapter in place of those it had.
fn set_adapter(network: &mut Network, adapter: Adapter) {
    network.adapters.retain(|other| other.name != adapter.name);
    // One that is left to itself needs no mention.
    if adapter != Adapter::automatic(&adapter.name) {
        network.adapters.push(adapter);
    }
}

/// A question whose "yes" is a change of the network.
fn ask(title: &'static str, words: String, command: Result<Command, String>) -> Page {
    match command {
        Ok(command) => {
            let shows = move |_: &View| paragraph(&words);
            question(title, Box::new(shows), "Apply?", command)
        }
        Err(why) => refused(title, &why),
    }
}

fn dhcp(name: &str, view: &View) -> Page {
    let adapter = name.to_owned();
    let command = changing(view, Keep::IfConfirmed, move |settings| {
        let before = settings.network.adapter(&adapter);
        let automatic = Adapter { ipv4: Ipv4::Dhcp, ipv6: Ipv6::Automatic, ..before };
        set_adapter(&mut settings.network, automatic);
    });
    let words = format!(
        "{name} asks a DHCP server for its IPv4 address and takes IPv6 addresses from router \
         advertisements. Clients that use another address of it lose it until they mount the new one."
    );
    ask("Configure DHCP", words, command)
}

fn reset(view: &View) -> Page {
    let command = changing(view, Keep::IfConfirmed, |settings| {
        let vlans = settings.network.adapters.iter().filter(|adapter| adapter.vlan.is_some());
        let adapters = vlans
            .map(|vlan| Adapter { vlan: vlan.vlan.clone(), ..Adapter::automatic(&vlan.name) })
            .collect();
        settings.network = Network { adapters, ..Network::default() };
    });
    let words = "Every adapter asks DHCP for its address, and DNS servers, MTU and routes are those that \
                 DHCP names. VLANs stay, with DHCP too.";
    ask("Reset all to DHCP", words.to_owned(), command)
}

fn set_default(name: &str, view: &View) -> Page {
    let adapter = name.to_owned();
    let command = changing(view, Keep::IfConfirmed, move |settings| {
        settings.network.default_adapter = Some(adapter);
    });
    let words = format!(
        "What is in no network of an adapter goes by way of {name}, and its DHCP server's DNS and NTP \
         servers count."
    );
    ask("Set Default Adapter", words, command)
}

fn routes() -> Page {
    let shows = |view: &View| {
        if view.routes.is_empty() {
            return paragraph("There are no routes: no adapter has an address.");
        }
        view.routes.iter().map(|route| Line::plain(format!(" {route}"))).collect()
    };
    Page::live("View Routes", Box::new(shows))
}
