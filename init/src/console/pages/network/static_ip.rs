//! Configure Static IP: IPv4, IPv6 and DNS servers of one adapter on one form.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::set_adapter;
use crate::{
    console::{
        command::Command,
        form::{Problem, Values, choice, form, text},
        page::{Page, Step},
        view::View,
    },
    machine::{Adapter, Ipv4, Ipv6, NetworkError},
};

const METHOD_V4: &str = "IPv4";
const ADDRESS: &str = "IP address";
const NETMASK: &str = "Netmask";
const GATEWAY: &str = "Default gateway";
const DNS_1: &str = "Primary DNS";
const DNS_2: &str = "Secondary DNS";
const METHOD_V6: &str = "IPv6";
const ADDRESS_V6: &str = "IPv6 address";
const GATEWAY_V6: &str = "IPv6 default gateway";

const STATIC: &str = "static";
const DHCP: &str = "DHCP";
const AUTOMATIC: &str = "automatic";
const OFF: &str = "off";

/// The form, filled with what the adapter has at the moment.
pub(super) fn page(name: &str, view: &View) -> Page {
    let set = view.settings.as_ref().map(|settings| settings.network.adapter(name));
    let adapter = set.unwrap_or_else(|_| Adapter::automatic(name));
    let (address, gateway) = ipv4_in_use(&adapter, view);
    let (method, address_v6, gateway_v6) = ipv6_in_use(&adapter);
    let servers: Vec<IpAddr> =
        view.settings.as_ref().map(|s| s.network.name_servers.clone()).unwrap_or_default();
    let server = |at: usize| {
        let set = servers.get(at).map(ToString::to_string);
        set.or_else(|| view.network.dns.get(at).cloned()).unwrap_or_default()
    };
    let shown = |address: Option<Ipv4Net>| {
        address.map(|net| (net.addr().to_string(), net.netmask().to_string())).unwrap_or_default()
    };
    let (ip, netmask) = shown(address);
    let fields = vec![
        choice(
            METHOD_V4,
            &[STATIC, DHCP, OFF],
            STATIC,
            "DHCP and off need none of the next three.",
        ),
        text(ADDRESS, ip, "Such as 192.0.2.10. The one in use is filled in."),
        text(NETMASK, netmask, "Such as 255.255.255.0, or the prefix length 24."),
        text(
            GATEWAY,
            gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
            "The router to other networks; empty for none.",
        ),
        text(DNS_1, server(0), "Empty for those that DHCP names."),
        text(DNS_2, server(1), "Asked when the first does not answer."),
        choice(
            METHOD_V6,
            &[AUTOMATIC, STATIC, OFF],
            method,
            "Automatic: from router advertisements.",
        ),
        text(ADDRESS_V6, address_v6, "With its prefix length, such as 2001:db8::10/64."),
        text(GATEWAY_V6, gateway_v6, "The router to other IPv6 networks; empty for none."),
    ];
    let title = format!("Configure Static IP: {name}");
    form(title, Vec::new(), fields, "Apply", move |values, view| submit(&adapter, values, view))
}

/// What is set, or what DHCP gave: a static address often is the one that is there already.
fn ipv4_in_use(adapter: &Adapter, view: &View) -> (Option<Ipv4Net>, Option<Ipv4Addr>) {
    if let Ipv4::Static { address, gateway } = adapter.ipv4 {
        return (Some(address), gateway);
    }
    let seen = view.network.adapters.iter().find(|seen| seen.name == adapter.name);
    let address = seen.and_then(|seen| seen.addresses.iter().find_map(|net| net.parse().ok()));
    (address, seen.and_then(|seen| seen.gateway.as_ref()?.parse().ok()))
}

fn ipv6_in_use(adapter: &Adapter) -> (&'static str, String, String) {
    match &adapter.ipv6 {
        Ipv6::Automatic => (AUTOMATIC, String::new(), String::new()),
        Ipv6::Off => (OFF, String::new(), String::new()),
        Ipv6::Static { address, gateway } => {
            let gateway = gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
            (STATIC, address.to_string(), gateway)
        }
    }
}

fn submit(before: &Adapter, values: &Values<'_>, view: &View) -> Result<Step, Problem> {
    let ipv4 = match values.text(METHOD_V4) {
        DHCP => Ipv4::Dhcp,
        OFF => Ipv4::Off,
        _ => ipv4(values)?,
    };
    let ipv6 = match values.text(METHOD_V6) {
        AUTOMATIC => Ipv6::Automatic,
        OFF => Ipv6::Off,
        _ => ipv6(values)?,
    };
    let mut servers = Vec::new();
    for label in [DNS_1, DNS_2] {
        servers.extend(optional::<IpAddr>(values, label, "an address such as 192.0.2.53")?);
    }
    let mut settings = match &view.settings {
        Ok(settings) => Box::new(settings.clone()),
        Err(why) => return Err(Problem::new(ADDRESS, why.clone())),
    };
    // What DHCP named, and what DHCP is to name again, is not written down.
    let from_dhcp = settings.network.name_servers.is_empty()
        && ipv4 == Ipv4::Dhcp
        && servers.iter().map(ToString::to_string).eq(view.network.dns.iter().take(2).cloned());
    if !from_dhcp {
        let rest = settings.network.name_servers.iter().skip(2).copied();
        settings.network.name_servers = servers.into_iter().chain(rest).collect();
    }
    set_adapter(&mut settings.network, Adapter { ipv4, ipv6, ..before.clone() });
    settings.network.check().map_err(|error| Problem::new(field_of(&error), error.to_string()))?;
    let revision = view.settings_revision;
    Ok(Step::Do(Command::Change { settings, revision, on_trial: true }))
}

fn ipv4(values: &Values<'_>) -> Result<Ipv4, Problem> {
    let address: Ipv4Addr = values
        .text(ADDRESS)
        .parse()
        .map_err(|_| Problem::new(ADDRESS, "Write an address such as 192.0.2.10."))?;
    let says = "Write a netmask such as 255.255.255.0, or a prefix length from 1 to 32.";
    let netmask = values.text(NETMASK);
    let prefix = match netmask.parse::<u8>() {
        Ok(length) => Some(length),
        Err(_) => {
            netmask.parse().ok().and_then(|mask| ipnet::ip_mask_to_prefix(IpAddr::V4(mask)).ok())
        }
    };
    let address = prefix
        .and_then(|length| Ipv4Net::new(address, length).ok())
        .ok_or_else(|| Problem::new(NETMASK, says))?;
    let gateway = optional(values, GATEWAY, "an address such as 192.0.2.1, or nothing")?;
    Ok(Ipv4::Static { address, gateway })
}

fn ipv6(values: &Values<'_>) -> Result<Ipv6, Problem> {
    let says = "Write an address with its prefix length, such as 2001:db8::10/64.";
    let address: Ipv6Net =
        values.text(ADDRESS_V6).parse().map_err(|_| Problem::new(ADDRESS_V6, says))?;
    let gateway: Option<Ipv6Addr> =
        optional(values, GATEWAY_V6, "an address such as fe80::1, or nothing")?;
    Ok(Ipv6::Static { address, gateway })
}

/// The value of a field that may be empty.
pub(super) fn optional<T: std::str::FromStr>(
    values: &Values<'_>,
    label: &'static str,
    right: &str,
) -> Result<Option<T>, Problem> {
    match values.text(label) {
        "" => Ok(None),
        text => match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Problem::new(label, format!("Write {right}."))),
        },
    }
}

/// Where the cursor goes for what only the whole tells.
fn field_of(error: &NetworkError) -> &'static str {
    match error {
        NetworkError::Gateway { address, .. } if address.addr().is_ipv6() => GATEWAY_V6,
        NetworkError::Address { address, .. } if address.addr().is_ipv6() => ADDRESS_V6,
        NetworkError::Gateway { .. } => GATEWAY,
        NetworkError::NameServers => DNS_1,
        NetworkError::Address { .. }
        | NetworkError::Name(_)
        | NetworkError::Twice(_)
        | NetworkError::Adapters
        | NetworkError::Mtu { .. }
        | NetworkError::Vlan { .. }
        | NetworkError::Parent { .. }
        | NetworkError::Route { .. }
        | NetworkError::Routes { .. }
        | NetworkError::Domain(_) => ADDRESS,
    }
}
