//! From what is set and what is there to what has to be done. Pure, and level-triggered: what is as it
//! should be is left alone, so that a change of one adapter cuts nobody off on another.
use std::{collections::BTreeMap, net::IpAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    claims::{self, Free},
    kernel::{Ipv6Switches, Kind, Link, Origin, Route},
    lease::Lease,
};
use crate::machine::{Adapter, Ipv4, Ipv6, Network, Vlan};

/// Metric of the default adapter's routes; the others' follow by one each. Below the kernel's own
/// metric for IPv6, 1024.
const METRIC_FIRST: u32 = 100;

/// One thing to do for an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Its name, for whom it may concern when the kernel refuses.
    pub(super) adapter: String,
    pub(super) action: Action,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Make a VLAN with the adapter's name.
    CreateVlan {
        parent: u32,
        id: u16,
    },
    /// Remove a link that software has made.
    RemoveLink {
        index: u32,
    },
    /// Set the IPv6 switches; with `anew`, so that the kernel asks for routers again.
    SetIpv6 {
        switches: Ipv6Switches,
        anew: bool,
    },
    SetMtu {
        index: u32,
        mtu: u32,
    },
    BringUp {
        index: u32,
    },
    RemoveRoute {
        index: u32,
        route: Route,
    },
    RemoveAddress {
        index: u32,
        net: IpNet,
    },
    AddAddress {
        index: u32,
        net: IpNet,
    },
    /// `on_link`: the gateway is in no network of the adapter, but on its link all the same.
    AddRoute {
        index: u32,
        route: Route,
        on_link: bool,
    },
}

/// Leases by the adapter's name.
pub(super) type Leases = BTreeMap<String, Lease>;

/// The links that are ours to care for: the default adapter first, the others by name.
pub(super) fn cared_for<'a>(network: &Network, links: &'a [Link]) -> Vec<&'a Link> {
    let ours = |link: &&Link| match link.kind {
        Kind::Hardware => true,
        Kind::Vlan { .. } => {
            network.adapter(&link.name).vlan.is_some_and(|vlan| is_that(links, link, &vlan))
        }
        Kind::Other => false,
    };
    let is_default = |link: &Link| network.default_adapter.as_ref() == Some(&link.name);
    let mut cared_for: Vec<&Link> = links.iter().filter(ours).collect();
    cared_for.sort_by_key(|link| {
        (!is_default(link), link.kind != Kind::Hardware, by_number(&link.name))
    });
    cared_for
}

/// `eth10` comes after `eth9`.
fn by_number(name: &str) -> (&str, u64, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, name[stem.len()..].parse().unwrap_or(0), name)
}

fn named<'a>(links: &'a [Link], name: &str) -> Option<&'a Link> {
    links.iter().find(|link| link.name == name)
}

/// Whether a link has this address.
pub(super) fn is_in_use(link: &Link, net: &IpNet) -> bool {
    link.addresses.iter().any(|address| address.net == *net)
}

/// The IPv4 addresses that the links which work are to have.
pub(super) fn claimed(network: &Network, links: &[Link], leases: &Leases) -> Vec<claims::Wanted> {
    let mut claimed = Vec::new();
    for link in cared_for(network, links).into_iter().filter(|link| link.works()) {
        let adapter = network.adapter(&link.name);
        let Ok(mac) = link.mac.as_slice().try_into() else { continue };
        for net in addresses(&adapter, leases.get(&link.name)) {
            if let IpAddr::V4(address) = net.addr() {
                let (adapter, in_use) = (link.name.clone(), is_in_use(link, &net));
                let index = link.index;
                claimed.push(claims::Wanted { adapter, index, mac, address, in_use });
            }
        }
    }
    claimed
}

/// Whether a link is the VLAN that is meant.
fn is_that(links: &[Link], link: &Link, vlan: &Vlan) -> bool {
    let parent = named(links, &vlan.parent).map(|parent| parent.index);
    matches!(link.kind, Kind::Vlan { parent: of, id } if Some(of) == parent && id == vlan.id)
}

/// Everything that has to be done, in order. What a step makes possible comes with the next look.
/// An IPv4 address that is not there yet comes when it is `free`.
pub(super) fn steps(network: &Network, links: &[Link], leases: &Leases, free: &Free) -> Vec<Step> {
    let mut steps = vlans(network, links);
    for (rank, link) in (0..).zip(cared_for(network, links)) {
        let adapter = network.adapter(&link.name);
        let mut wanted = Wanted::of(&adapter, leases.get(&link.name), link, METRIC_FIRST + rank);
        wanted.wait_for(link, free);
        let actions = wanted.actions(link);
        steps.extend(actions.map(|action| Step { adapter: link.name.clone(), action }));
    }
    steps
}

fn vlans(network: &Network, links: &[Link]) -> Vec<Step> {
    let mut steps = Vec::new();
    for link in links.iter().filter(|link| matches!(link.kind, Kind::Vlan { .. })) {
        let vlan = network.adapter(&link.name).vlan;
        if !vlan.is_some_and(|vlan| is_that(links, link, &vlan)) {
            let action = Action::RemoveLink { index: link.index };
            steps.push(Step { adapter: link.name.clone(), action });
        }
    }
    for adapter in &network.adapters {
        if let Some(vlan) = &adapter.vlan
            && named(links, &adapter.name).is_none()
            && let Some(parent) = named(links, &vlan.parent)
            && parent.kind == Kind::Hardware
        {
            let action = Action::CreateVlan { parent: parent.index, id: vlan.id };
            steps.push(Step { adapter: adapter.name.clone(), action });
        }
    }
    steps
}

/// What one adapter is to be.
#[derive(Debug)]
struct Wanted {
    mtu: u32,
    ipv6: Option<Ipv6Switches>,
    /// Whether what routers say counts.
    routers_count: bool,
    addresses: Vec<IpNet>,
    routes: Vec<Route>,
    /// Gateways that a DHCP server names: they count wherever they are. Those of the settings do not,
    /// because there it is a mistake.
    leased_gateways: Vec<IpAddr>,
}

impl Wanted {
    fn of(adapter: &Adapter, lease: Option<&Lease>, link: &Link, metric: u32) -> Self {
        let lease = lease.filter(|_| adapter.ipv4 == Ipv4::Dhcp);
        // What the adapter cannot do is left alone: TCP finds the length that both ends can do.
        let possible = |mtu: &u32| link.max_mtu == 0 || *mtu <= link.max_mtu;
        let leased = lease.and_then(|lease| lease.mtu).map(u32::from).filter(possible);
        Self {
            mtu: adapter.mtu.map(u32::from).or(leased).unwrap_or(link.own_mtu),
            ipv6: link.ipv6.map(|has| switches(&adapter.ipv6, has, metric)),
            routers_count: adapter.ipv6 == Ipv6::Automatic,
            addresses: addresses(adapter, lease),
            // Without a link, another adapter's default route has to count.
            leased_gateways: lease.map(leased_gateways).unwrap_or_default(),
            routes: if link.works() { routes(adapter, lease, metric) } else { Vec::new() },
        }
    }

    /// Leaves out what IPv4 has to do while its address may be another machine's.
    fn wait_for(&mut self, link: &Link, free: &Free) {
        let waits = |net: &IpNet| match net.addr() {
            IpAddr::V4(ip) => !free.contains(&(link.name.clone(), ip)) && !is_in_use(link, net),
            IpAddr::V6(_) => false,
        };
        if self.addresses.iter().any(waits) {
            self.addresses.retain(|net| net.addr().is_ipv6());
            self.routes.retain(|route| route.destination.addr().is_ipv6());
        }
    }

    fn keeps(&self, origin: Origin) -> bool {
        match origin {
            Origin::Set => false,
            Origin::Router => self.routers_count,
            Origin::LinkLocal => true,
        }
    }

    fn actions(&self, link: &Link) -> impl Iterator<Item = Action> {
        let index = link.index;
        let mut actions = Vec::new();
        if let (Some(switches), Some(has)) = (self.ipv6, link.ipv6)
            && switches != has
        {
            let anew = switches.hears_routers && !has.hears_routers && !has.disabled;
            actions.push(Action::SetIpv6 { switches, anew });
        }
        if self.mtu != link.mtu {
            actions.push(Action::SetMtu { index, mtu: self.mtu });
        }
        if !link.up {
            actions.push(Action::BringUp { index });
        }
        let same = |a: &Route, b: &Route| {
            (a.destination, a.gateway, a.metric) == (b.destination, b.gateway, b.metric)
        };
        for route in link.routes.iter().filter(|route| !self.keeps(route.origin)) {
            if !self.routes.iter().any(|wanted| same(wanted, route)) {
                actions.push(Action::RemoveRoute { index, route: *route });
            }
        }
        // First, because with the first address of a network its others go (ip-sysctl.rst,
        // promote_secondaries).
        for address in link.addresses.iter().filter(|address| !self.keeps(address.origin)) {
            if !self.addresses.contains(&address.net) {
                actions.push(Action::RemoveAddress { index, net: address.net });
            }
        }
        for net in &self.addresses {
            let off = net.addr().is_ipv6() && link.ipv6.is_none_or(|has| has.disabled);
            if !off && !is_in_use(link, net) {
                actions.push(Action::AddAddress { index, net: *net });
            }
        }
        for route in &self.routes {
            if !link.routes.iter().any(|there| same(there, route)) {
                let on_link = route.gateway.is_some_and(|gateway| self.is_outside(gateway));
                actions.push(Action::AddRoute { index, route: *route, on_link });
            }
        }
        actions.into_iter()
    }

    /// Whether a leased gateway is in no network of the adapter, as clouds like to have it.
    fn is_outside(&self, gateway: IpAddr) -> bool {
        self.leased_gateways.contains(&gateway)
            && !self.addresses.iter().any(|net| net.contains(&gateway))
    }
}

fn switches(ipv6: &Ipv6, has: Ipv6Switches, metric: u32) -> Ipv6Switches {
    match ipv6 {
        Ipv6::Automatic => Ipv6Switches { disabled: false, hears_routers: true, metric },
        Ipv6::Static { .. } => Ipv6Switches { disabled: false, hears_routers: false, ..has },
        Ipv6::Off => Ipv6Switches { disabled: true, ..has },
    }
}

/// The addresses that an adapter is to have, but for those that routers advertise.
pub(super) fn addresses(adapter: &Adapter, lease: Option<&Lease>) -> Vec<IpNet> {
    let v4 = match &adapter.ipv4 {
        Ipv4::Dhcp => lease.map(|lease| lease.address),
        Ipv4::Static { address, .. } => Some(*address),
        Ipv4::Off => None,
    };
    let v6 = match &adapter.ipv6 {
        Ipv6::Static { address, .. } => Some(*address),
        Ipv6::Automatic | Ipv6::Off => None,
    };
    v4.map(IpNet::V4).into_iter().chain(v6.map(IpNet::V6)).collect()
}

/// Whether an adapter with its address has a way out of its own networks.
pub(super) fn has_ipv4_gateway(adapter: &Adapter, lease: Option<&Lease>) -> bool {
    let everywhere = IpNet::V4(Ipv4Net::default());
    let lease = lease.filter(|_| adapter.ipv4 == Ipv4::Dhcp);
    routes(adapter, lease, METRIC_FIRST).iter().any(|route| route.destination == everywhere)
}

fn leased_gateways(lease: &Lease) -> Vec<IpAddr> {
    let routers = lease.routes.iter().filter_map(|(_, router)| *router);
    lease.gateway.into_iter().chain(routers).map(IpAddr::V4).collect()
}

fn routes(adapter: &Adapter, lease: Option<&Lease>, metric: u32) -> Vec<Route> {
    let mut ways: Vec<(IpNet, Option<IpAddr>)> = Vec::new();
    let gateway = match &adapter.ipv4 {
        Ipv4::Dhcp => lease.and_then(|lease| lease.gateway),
        Ipv4::Static { gateway, .. } => *gateway,
        Ipv4::Off => None,
    };
    ways.extend(gateway.map(|ip| (IpNet::V4(Ipv4Net::default()), Some(ip.into()))));
    for (to, router) in lease.iter().flat_map(|lease| &lease.routes) {
        ways.push((IpNet::V4(*to), router.map(IpAddr::V4)));
    }
    if let Ipv6::Static { gateway: Some(gateway), .. } = &adapter.ipv6 {
        ways.push((IpNet::V6(Ipv6Net::default()), Some((*gateway).into())));
    }
    for route in &adapter.routes {
        ways.push((route.destination.trunc(), Some(route.gateway)));
    }
    let mut routes: Vec<Route> = Vec::new();
    for (destination, gateway) in ways {
        // Two routes to one place cannot have the same metric: the first one counts.
        if !routes.iter().any(|other| other.destination == destination) {
            routes.push(Route { destination, gateway, metric, origin: Origin::Set });
        }
    }
    routes
}

#[cfg(test)]
mod tests;
