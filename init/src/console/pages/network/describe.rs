//! Describe Adapter.
use crate::console::{
    grid::{Line, paragraph},
    page::Page,
    pages::status::{duration, field},
    view::View,
};

/// All of one adapter.
pub(super) fn page(name: &str) -> Page {
    let adapter = name.to_owned();
    Page::live(format!("Describe Adapter: {name}"), Box::new(move |view| lines(&adapter, view)))
}

fn lines(name: &str, view: &View) -> Vec<Line> {
    let Some(adapter) = view.network.adapters.iter().find(|adapter| adapter.name == name) else {
        return paragraph(
            "This adapter is set and is not there: add it to the virtual machine, or reset its settings.",
        );
    };
    let mut lines = field("Adapter", name);
    lines.extend(field("MAC address", &adapter.mac));
    let link = match (adapter.link, adapter.speed_mbit) {
        (false, _) => "none: connect the adapter".to_owned(),
        (true, None) => "up".to_owned(),
        (true, Some(speed)) => format!("up, {speed} Mbit/s"),
    };
    lines.extend(field("Link", &link));
    if let Some(vlan) = &adapter.vlan {
        lines.extend(field("VLAN", vlan));
    }
    let none = || "none".to_owned();
    for (at, address) in adapter.addresses.iter().enumerate() {
        lines.extend(field(if at == 0 { "IP address" } else { "" }, address));
    }
    if adapter.addresses.is_empty() {
        lines.extend(field("IP address", "none"));
    }
    lines.extend(field("Gateway", &adapter.gateway.clone().unwrap_or_else(none)));
    if let Some(gateway) = &adapter.ipv6_gateway {
        lines.extend(field("", gateway));
    }
    lines.extend(field("IPv4", &adapter.ipv4_method));
    lines.extend(field("IPv6", &adapter.ipv6_method));
    if let Some(server) = &adapter.dhcp_server {
        let lease = adapter.lease_until.map(|until| {
            let left = until.saturating_sub(view.now.as_secs());
            format!(", the lease ends in {} and is renewed before", duration(left))
        });
        lines.extend(field("DHCP server", &format!("{server}{}", lease.unwrap_or_default())));
    }
    lines.extend(field("MTU", &format!("{} bytes", adapter.mtu)));
    lines.extend(field("Default", if adapter.is_default { "yes" } else { "no" }));
    if let Some(problem) = &adapter.problem {
        lines.extend(field("Problem", problem));
    }
    lines
}
