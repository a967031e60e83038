//! From one IPv4 address of an adapter to another one: the one in use stays in use, with its routes and
//! its lease, until the LAN was asked for the other one and nobody has it. So an address of another
//! machine, or a DHCP server that does not answer, cuts nobody off. And what becomes of the lease that is
//! not needed any more. Pure.
//!
//! An address that has to go at once goes at once: that of a lease that has ended or was refused, and any
//! where IPv4 is switched off.
use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::{
    claims::Free,
    kernel::Link,
    plan::{self, Leases},
};
use crate::machine::{Adapter, Ipv4, Network};

/// The settings that are in force: those that are `wanted`, but for IPv4 of adapters whose other address is
/// not known to be free, which is as in `before`.
pub(super) fn in_force(
    wanted: &Network,
    before: &Network,
    links: &[Link],
    leases: &Leases,
    free: &Free,
) -> Network {
    let mut in_force = wanted.clone();
    for link in plan::cared_for(wanted, links) {
        let (new, old) = (wanted.adapter(&link.name), before.adapter(&link.name));
        if new.ipv4 != old.ipv4 && waits(&new, &old, link, leases, free) {
            in_force.adapters.retain(|adapter| adapter.name != link.name);
            in_force.adapters.push(with_ipv4_of(new, old));
        }
    }
    in_force
}

/// Whether an adapter has an address that it had before, and can have no other one yet.
fn waits(new: &Adapter, old: &Adapter, link: &Link, leases: &Leases, free: &Free) -> bool {
    let lease = leases.get(&link.name);
    let of = |adapter| plan::addresses(adapter, lease).into_iter().find(|net| net.addr().is_ipv4());
    let in_use = |net: &IpNet| plan::is_in_use(link, net);
    let is_ready = |net: &IpNet| {
        in_use(net) || free.iter().any(|(name, ip)| *name == link.name && *ip == net.addr())
    };
    let is_ready = new.ipv4 == Ipv4::Off || of(new).as_ref().is_some_and(is_ready);
    of(old).as_ref().is_some_and(in_use) && !is_ready
}

fn with_ipv4_of(new: Adapter, old: Adapter) -> Adapter {
    let (new_routes, old_routes) = (new.routes.into_iter(), old.routes.into_iter());
    let routes = old_routes
        .filter(|route| route.gateway.is_ipv4())
        .chain(new_routes.filter(|route| route.gateway.is_ipv6()));
    Adapter { ipv4: old.ipv4, routes: routes.collect(), ..new }
}

/// Whether an adapter asks DHCP: that is wanted, or the lease is in use still.
pub(super) fn asks_dhcp(wanted: &Network, in_force: &Network, adapter: &str) -> bool {
    [wanted, in_force].iter().any(|network| network.adapter(adapter).ipv4 == Ipv4::Dhcp)
}

/// Whether the settings have this address: its lease is not given back, or the server would give it to
/// another machine.
pub(super) fn stays_in_use(network: &Network, ip: Ipv4Addr) -> bool {
    network
        .adapters
        .iter()
        .any(|adapter| matches!(adapter.ipv4, Ipv4::Static { address, .. } if address.addr() == ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{
        kernel::{Address, Origin},
        lease::Lease,
    };

    fn eth0(addresses: &[&str]) -> Vec<Link> {
        let address =
            |net: &&str| Address { net: net.parse().unwrap(), origin: Origin::Set, taken: false };
        vec![Link { addresses: addresses.iter().map(address).collect(), ..Link::plain("eth0") }]
    }

    fn network(ipv4: &str) -> Network {
        toml::from_str(&format!("[[adapter]]\nname = \"eth0\"\n{ipv4}")).unwrap()
    }

    fn fixed(address: &str) -> Network {
        network(&format!("ipv4 = {{ method = \"static\", address = \"{address}\" }}"))
    }

    fn leased(address: &str) -> Leases {
        Leases::from([("eth0".to_owned(), Lease::plain(address))])
    }

    fn free(ips: &[&str]) -> Free {
        ips.iter().map(|ip| ("eth0".to_owned(), ip.parse().unwrap())).collect()
    }

    /// What is in force after a change between these settings.
    struct Change<'a> {
        before: &'a Network,
        wanted: &'a Network,
        has: &'a [&'a str],
        leases: &'a Leases,
        free: &'a [&'a str],
    }

    impl Change<'_> {
        fn ipv4(&self) -> Ipv4 {
            let links = eth0(self.has);
            let free = free(self.free);
            in_force(self.wanted, self.before, &links, self.leases, &free).adapter("eth0").ipv4
        }
    }

    #[test]
    fn the_address_before_stays_until_the_other_one_is_known_to_be_free() {
        let (old, new) = (fixed("10.7.0.5/24"), fixed("10.7.0.6/24"));
        let (dhcp, off) = (Network::default(), network("ipv4 = { method = \"off\" }"));
        let (none, lease) = (Leases::new(), leased("10.7.0.50/24"));
        let (has_old, has_lease): (&[&str], &[&str]) = (&["10.7.0.5/24"], &["10.7.0.50/24"]);
        let plain = Change { before: &old, wanted: &new, has: has_old, leases: &none, free: &[] };
        for (change, expected, what) in [
            (Change { ..plain }, &old, "asked for"),
            (Change { free: &["10.7.0.6"], ..plain }, &new, "free"),
            (Change { has: &["10.7.0.6/24"], ..plain }, &new, "in use already"),
            (Change { has: &[], ..plain }, &new, "nothing to keep"),
            (Change { wanted: &off, ..plain }, &off, "switched off"),
            (Change { wanted: &dhcp, ..plain }, &old, "no lease yet"),
            (Change { wanted: &dhcp, leases: &lease, ..plain }, &old, "a lease, asked for"),
            (
                Change { wanted: &dhcp, leases: &lease, free: &["10.7.0.50"], ..plain },
                &dhcp,
                "a lease that is free",
            ),
            (
                Change { before: &dhcp, has: has_lease, leases: &lease, ..plain },
                &dhcp,
                "from a lease, asked for",
            ),
            (Change { before: &dhcp, has: has_lease, ..plain }, &new, "the lease has ended"),
        ] {
            assert_eq!(change.ipv4(), expected.adapter("eth0").ipv4, "{what}");
        }
    }

    #[test]
    fn routes_go_with_their_addresses() {
        let with = |address: &str, gateways: [&str; 2]| {
            let mut network = fixed(address);
            for (to, gateway) in ["192.168.0.0/16", "fd00:9::/64"].into_iter().zip(gateways) {
                let route = format!("destination = \"{to}\"\ngateway = \"{gateway}\"");
                network.adapters[0].routes.push(toml::from_str(&route).unwrap());
            }
            network
        };
        let old = with("10.7.0.5/24", ["10.7.0.1", "fd00::1"]);
        let new = with("10.8.0.5/24", ["10.8.0.1", "fd00::2"]);
        let links = eth0(&["10.7.0.5/24"]);
        let there = in_force(&new, &old, &links, &Leases::new(), &Free::new()).adapter("eth0");
        let gateways: Vec<String> =
            there.routes.iter().map(|route| route.gateway.to_string()).collect();
        assert_eq!(gateways, ["10.7.0.1", "fd00::2"]);
    }

    #[test]
    fn a_lease_is_asked_for_while_it_is_wanted_or_in_use() {
        let (fixed, dhcp) = (fixed("10.7.0.5/24"), Network::default());
        assert!(asks_dhcp(&dhcp, &fixed, "eth0") && asks_dhcp(&fixed, &dhcp, "eth0"));
        assert!(!asks_dhcp(&fixed, &fixed, "eth0"));
        assert!(stays_in_use(&fixed, Ipv4Addr::new(10, 7, 0, 5)));
        assert!(!stays_in_use(&fixed, Ipv4Addr::new(10, 7, 0, 6)));
        assert!(!stays_in_use(&dhcp, Ipv4Addr::new(10, 7, 0, 5)));
    }
}
