//! What the network looks like, in the words of the console. Pure.
use std::collections::BTreeMap;

use super::{
    claims::Word,
    kernel::{Kind, Link, Origin},
    names::Names,
    plan::{self, Leases},
};
use crate::{
    machine::{Adapter, Ipv4, Ipv6, Network},
    observed::{AdapterState, NetworkState},
};

/// What the DHCP client of an adapter has said last, beside its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dhcp {
    Asking,
    Silent,
    /// A server has offered an address, and no more.
    Unacknowledged,
    Refused,
    /// Another machine has the address that the server gave.
    Declined(String),
    Failed(String),
}

/// All that is known.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) network: &'a Network,
    pub(super) links: &'a [Link],
    pub(super) leases: &'a Leases,
    pub(super) names: &'a Names,
    pub(super) dhcp: &'a BTreeMap<String, Dhcp>,
    /// What there is to be said of IPv4 addresses, by adapter.
    pub(super) claims: &'a BTreeMap<String, Word>,
    /// What could not be done, by adapter.
    pub(super) failures: &'a BTreeMap<String, String>,
    /// Why the settings are not those that were meant, if so.
    pub(super) plan_problem: Option<&'a str>,
}

impl Known<'_> {
    /// The state as the console shows it; `speed_of` asks an adapter for its speed in Mbit/s.
    pub(super) fn state(&self, speed_of: impl Fn(&str) -> Option<u32>) -> NetworkState {
        let order = plan::cared_for(self.network, self.links);
        let mut adapters: Vec<AdapterState> = order
            .iter()
            .enumerate()
            .map(|(rank, link)| AdapterState {
                is_default: rank == 0,
                speed_mbit: speed_of(&link.name).filter(|_| link.works()),
                ..self.adapter(link)
            })
            .collect();
        let absent = self
            .network
            .adapters
            .iter()
            .filter(|adapter| !order.iter().any(|link| link.name == adapter.name));
        adapters.extend(absent.map(|adapter| self.absent(adapter)));
        NetworkState {
            adapters,
            dns: self.names.dns.clone(),
            search: self.names.search.clone(),
            ntp: self.names.ntp.clone(),
            hostname: self.names.hostname.clone(),
            problem: self.problem(&order),
        }
    }

    fn problem(&self, order: &[&Link]) -> Option<String> {
        if let Some(problem) = self.plan_problem {
            return Some(problem.to_owned());
        }
        if !order.iter().any(|link| link.kind == Kind::Hardware) {
            return Some("the VM has no network adapter: add one (VMXNET3)".to_owned());
        }
        let default = self.network.default_adapter.as_ref()?;
        let there = order.iter().any(|link| link.name == *default);
        (!there).then(|| format!("the default adapter {default} is not there: choose another one"))
    }

    fn adapter(&self, link: &Link) -> AdapterState {
        let adapter = self.network.adapter(&link.name);
        let lease = self.leases.get(&link.name);
        let gateway = |v4: bool| {
            let default = link.routes.iter().filter(|route| {
                route.destination.prefix_len() == 0 && route.destination.addr().is_ipv4() == v4
            });
            default.min_by_key(|route| route.metric)?.gateway.map(|ip| ip.to_string())
        };
        let addresses = |v4: bool| {
            let of_family = move |net: &&super::kernel::Address| {
                net.net.addr().is_ipv4() == v4 && net.origin != Origin::LinkLocal && !net.taken
            };
            link.addresses.iter().filter(of_family).map(|address| address.net.to_string())
        };
        AdapterState {
            mac: link.mac_in_words(),
            link: link.works(),
            addresses: addresses(true).chain(addresses(false)).collect(),
            gateway: gateway(true),
            ipv6_gateway: gateway(false),
            mtu: link.mtu,
            dhcp_server: lease.map(|lease| lease.server.to_string()),
            lease_until: lease.map(|lease| lease.until.as_secs()),
            problem: self.problem_of(&adapter, link),
            ..named(&adapter)
        }
    }

    fn problem_of(&self, adapter: &Adapter, link: &Link) -> Option<String> {
        let name = &link.name;
        if let Some(why) = self.failures.get(name) {
            return Some(format!("{name}: {why}"));
        }
        if adapter.ipv4 == Ipv4::Off && adapter.ipv6 == Ipv6::Off {
            return None;
        }
        if !link.works() {
            return Some(format!("{name} has no link: connect the adapter"));
        }
        if let Some(taken) = link.addresses.iter().find(|address| address.taken) {
            let ip = taken.net.addr();
            return Some(format!("another machine has the address {ip}: give {name} another one"));
        }
        if let Some(word) = self.claims.get(name) {
            return Some(word.in_words(name));
        }
        if adapter.ipv4 != Ipv4::Dhcp {
            return None;
        }
        match (self.dhcp.get(name), self.leases.get(name)) {
            (None | Some(Dhcp::Asking), Some(_)) => None,
            (None | Some(Dhcp::Asking), None) => Some(format!("{name} asks DHCP for an address")),
            (Some(Dhcp::Silent), None) => Some(format!(
                "no DHCP server answers on {name}: connect it to a network that has one, or set a \
                 static address"
            )),
            (Some(Dhcp::Unacknowledged), None) => Some(format!(
                "a DHCP server offers {name} an address and does not acknowledge it: look at that server, or \
                 set a static address"
            )),
            (Some(Dhcp::Silent | Dhcp::Unacknowledged), Some(lease)) => Some(format!(
                "the DHCP server {} does not renew the lease of {name}: the address is kept until \
                 the lease ends",
                lease.server
            )),
            (Some(Dhcp::Refused), _) => Some(format!(
                "the DHCP server has taken the address of {name} back; asking for another one"
            )),
            (Some(Dhcp::Declined(why)), _) => Some(format!(
                "{why}, which DHCP has given to {name}; asking for another one: look at that machine, or \
                 at the DHCP server's range"
            )),
            (Some(Dhcp::Failed(why)), _) => Some(format!("DHCP on {name}: {why}; trying again")),
        }
    }

    /// An adapter that is set up and not there.
    fn absent(&self, adapter: &Adapter) -> AdapterState {
        let name = &adapter.name;
        let there = |name: &String| self.links.iter().any(|link| link.name == *name);
        let problem = match (&adapter.vlan, self.failures.get(name)) {
            (_, Some(why)) => format!("{name}: {why}"),
            (Some(vlan), None) if !there(&vlan.parent) => format!(
                "{name}: {} is not there to carry VLAN {}: add the adapter, or change the VLAN",
                vlan.parent, vlan.id
            ),
            (Some(_), None) if there(name) => {
                format!("{name}: an adapter has this name already: give the VLAN another one")
            }
            (Some(_), None) => format!("{name} is being made"),
            (None, None) => format!(
                "{name} is set up but not there: add the adapter to the VM, or remove its settings"
            ),
        };
        AdapterState { problem: Some(problem), ..named(adapter) }
    }
}

/// What of an adapter is known from its settings.
fn named(adapter: &Adapter) -> AdapterState {
    let ipv4_method = match adapter.ipv4 {
        Ipv4::Dhcp => "DHCP",
        Ipv4::Static { .. } => "static",
        Ipv4::Off => "off",
    };
    let ipv6_method = match adapter.ipv6 {
        Ipv6::Automatic => "automatic",
        Ipv6::Static { .. } => "static",
        Ipv6::Off => "off",
    };
    AdapterState {
        name: adapter.name.clone(),
        vlan: adapter.vlan.as_ref().map(|vlan| format!("{} of {}", vlan.id, vlan.parent)),
        ipv4_method: ipv4_method.to_owned(),
        ipv6_method: ipv6_method.to_owned(),
        ..AdapterState::default()
    }
}

#[cfg(test)]
mod tests;
