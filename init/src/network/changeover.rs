//! From one IPv4 address of an adapter to another one: the one in use stays in use, with its routes and
//! its lease, until the LAN was asked for the other one and nobody has it. So an address of another
//! machine, or a DHCP server that does not answer, cuts nobody off. And what becomes of the lease that is
//! not needed any more. Pure.
//!
//! An address that has to go at once goes at once: that of a lease that has ended or was refused, and any
//! where IPv4 is switched off. One that nobody wants any more does not wait for ever: where another adapter
//! is to have it, it goes as soon as nobody on that one's LAN has it; where DHCP is wanted and the change is
//! confirmed, it goes when no server answers, or when what a server gave is of no use and another adapter has a
//! gateway. Staying, it would win over the one that is wanted. But while a server may still answer it stays:
//! what it gives is often the same address.
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;

use super::{
    claims::Free,
    kernel::Link,
    plan::{self, Leases},
    seen::Dhcp,
};
use crate::machine::{Adapter, Ipv4, Network};

/// A change of the settings, and what is known meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) wanted: &'a Network,
    /// Those that were in force until now.
    pub(super) before: &'a Network,
    /// Whether the wanted ones may be taken back.
    pub(super) on_trial: bool,
    pub(super) links: &'a [Link],
    pub(super) leases: &'a Leases,
    pub(super) free: &'a Free,
    /// What the DHCP clients have said last.
    pub(super) dhcp: &'a BTreeMap<String, Dhcp>,
}

impl Change<'_> {
    /// The settings that are in force: those that are wanted, but for IPv4 of adapters whose other address is
    /// not known to be free, which is as before.
    pub(super) fn in_force(&self) -> Network {
        let mut in_force = self.wanted.clone();
        for link in plan::cared_for(self.wanted, self.links) {
            let (new, old) = (self.wanted.adapter(&link.name), self.before.adapter(&link.name));
            if new.ipv4 != old.ipv4 && self.waits(&new, &old, link) {
                in_force.adapters.retain(|adapter| adapter.name != link.name);
                in_force.adapters.push(with_ipv4_of(new, old));
            }
        }
        in_force
    }

    /// Whether an adapter has an address that it had before, and can have no other one yet.
    fn waits(&self, new: &Adapter, old: &Adapter, link: &Link) -> bool {
        let in_use = |net: &IpNet| plan::is_in_use(link, net);
        let is_ready = |net: &IpNet| in_use(net) || self.is_free(link, net);
        let is_ready = new.ipv4 == Ipv4::Off || self.ipv4(new, link).as_ref().is_some_and(is_ready);
        let old = self.ipv4(old, link).filter(in_use);
        old.is_some_and(|old| !is_ready && !self.is_given_up(new, old.addr(), link))
    }

    /// Whether an adapter's address from before goes, whatever comes after it.
    fn is_given_up(&self, new: &Adapter, old: IpAddr, link: &Link) -> bool {
        let others = plan::cared_for(self.wanted, self.links);
        let others = others.into_iter().filter(|other| other.name != link.name && other.works());
        let others: Vec<(Adapter, &Link, IpNet)> = others
            .filter_map(|other| {
                let adapter = self.wanted.adapter(&other.name);
                let net = self.ipv4(&adapter, other)?;
                Some((adapter, other, net))
            })
            .collect();
        // Where another machine on its LAN has it, it would be nowhere.
        let can_have = |other: &Link, net: &IpNet| {
            net.addr() == old && (plan::is_in_use(other, net) || self.is_free(other, net))
        };
        if others.iter().any(|(_, other, net)| can_have(other, net)) {
            return true;
        }
        let leads_out = |(adapter, other, net): &(Adapter, &Link, IpNet)| {
            let lease = self.leases.get(&other.name);
            plan::is_in_use(other, net) && plan::has_ipv4_gateway(adapter, lease)
        };
        let has_no_lease = new.ipv4 == Ipv4::Dhcp && !self.leases.contains_key(&link.name);
        let gives_nothing = match self.dhcp.get(&link.name) {
            // It has not been asked for long. Who refuses a lease from before is there, and may give another.
            None | Some(Dhcp::Asking | Dhcp::Refused) => false,
            // Who offers an address and does not acknowledge it gives none either.
            Some(Dhcp::Silent | Dhcp::Unacknowledged) => true,
            Some(Dhcp::Declined(_) | Dhcp::Failed(_)) => others.iter().any(leads_out),
        };
        !self.on_trial && has_no_lease && gives_nothing
    }

    /// Whether an adapter's LAN was asked for an address, and nobody has it.
    fn is_free(&self, link: &Link, net: &IpNet) -> bool {
        self.free.iter().any(|(name, ip)| *name == link.name && *ip == net.addr())
    }

    /// The IPv4 address that an adapter has by these settings.
    fn ipv4(&self, adapter: &Adapter, link: &Link) -> Option<IpNet> {
        let addresses = plan::addresses(adapter, self.leases.get(&link.name));
        addresses.into_iter().find(|net| net.addr().is_ipv4())
    }
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
    use std::collections::BTreeSet;

    use super::*;
    use crate::network::{
        kernel::{Address, Origin},
        lease::Lease,
    };

    /// An adapter that works, with these addresses.
    fn link(name: &str, addresses: &[&str]) -> Link {
        let address =
            |net: &&str| Address { net: net.parse().unwrap(), origin: Origin::Set, taken: false };
        Link { addresses: addresses.iter().map(address).collect(), ..Link::plain(name) }
    }

    /// Settings of adapters; those that are not named ask DHCP.
    fn network(adapters: &[(&str, &str)]) -> Network {
        let adapter = |(name, ipv4): &(&str, &str)| {
            format!("[[adapter]]\nname = \"{name}\"\nipv4 = {ipv4}\n")
        };
        toml::from_str(&adapters.iter().map(adapter).collect::<String>()).unwrap()
    }

    fn fixed(address: &str) -> Network {
        network(&[("eth0", &format!("{{ method = \"static\", address = \"{address}\" }}"))])
    }

    fn leased(name: &str, address: &str) -> Leases {
        Leases::from([(name.to_owned(), Lease::plain(address))])
    }

    fn free(ips: &[&str]) -> Free {
        ips.iter().map(|ip| ("eth0".to_owned(), ip.parse().unwrap())).collect()
    }

    fn silent() -> BTreeMap<String, Dhcp> {
        BTreeMap::from([("eth0".to_owned(), Dhcp::Silent)])
    }

    #[test]
    fn the_address_before_stays_until_the_other_one_is_known_to_be_free() {
        let (old, new) = (fixed("10.7.0.5/24"), fixed("10.7.0.6/24"));
        let off = network(&[("eth0", "{ method = \"off\" }")]);
        let (dhcp, none, lease) =
            (Network::default(), Leases::new(), leased("eth0", "10.7.0.50/24"));
        let has = |address: &str| [link("eth0", &[address])];
        let (has_old, has_new, has_lease) =
            (has("10.7.0.5/24"), has("10.7.0.6/24"), has("10.7.0.50/24"));
        let (nobody, heard) = (free(&[]), BTreeMap::new());
        let offered = BTreeMap::from([("eth0".to_owned(), Dhcp::Unacknowledged)]);
        let (free_new, free_lease) = (free(&["10.7.0.6"]), free(&["10.7.0.50"]));
        let plain = Change {
            wanted: &new,
            before: &old,
            on_trial: false,
            links: &has_old,
            leases: &none,
            free: &nobody,
            dhcp: &heard,
        };
        let to_dhcp = Change { wanted: &dhcp, ..plain };
        for (change, expected, what) in [
            (plain, &old, "asked for"),
            (Change { free: &free_new, ..plain }, &new, "free"),
            (Change { links: &has_new, ..plain }, &new, "in use already"),
            (Change { links: &[link("eth0", &[])], ..plain }, &new, "nothing to keep"),
            (Change { wanted: &off, ..plain }, &off, "switched off"),
            (Change { dhcp: &silent(), ..plain }, &old, "DHCP is not asked"),
            (to_dhcp, &old, "no lease yet"),
            (Change { on_trial: true, dhcp: &silent(), ..to_dhcp }, &old, "it may be taken back"),
            (Change { dhcp: &silent(), ..to_dhcp }, &dhcp, "confirmed, and no server answers"),
            (Change { dhcp: &offered, ..to_dhcp }, &dhcp, "confirmed, and offered in vain"),
            (Change { leases: &lease, ..to_dhcp }, &old, "a lease, asked for"),
            (
                Change { leases: &lease, dhcp: &silent(), ..to_dhcp },
                &old,
                "a lease from before, asked for",
            ),
            (
                Change { leases: &lease, free: &free_lease, ..to_dhcp },
                &dhcp,
                "a lease that is free",
            ),
            (
                Change { before: &dhcp, links: &has_lease, leases: &lease, ..plain },
                &dhcp,
                "from a lease, asked for",
            ),
            (Change { before: &dhcp, links: &has_lease, ..plain }, &new, "the lease has ended"),
        ] {
            let in_force = change.in_force().adapter("eth0").ipv4;
            assert_eq!(in_force, expected.adapter("eth0").ipv4, "{what}");
        }
    }

    const GATEWAY: &str = r#""10.8.0.5/24", gateway = "10.8.0.1""#;

    fn eth0_before() -> Network {
        network(&[(
            "eth0",
            r#"{ method = "static", address = "10.7.0.5/24", gateway = "10.7.0.1" }"#,
        )])
    }

    fn eth1(address: &str) -> Network {
        network(&[("eth1", &format!("{{ method = \"static\", address = {address} }}"))])
    }

    /// DHCP on a LAN without it: eth0 had an address and is to ask, which fails; eth1 is set to something else.
    #[test]
    fn what_another_adapter_is_to_have_or_leads_to_does_not_stay() {
        let before = eth0_before();
        let none = Leases::new();
        let heard = BTreeMap::from([("eth0".to_owned(), Dhcp::Failed("no".to_owned()))]);
        // Of eth1, whose LAN was asked.
        let free = BTreeSet::from([("eth1".to_owned(), "10.7.0.5".parse().unwrap())]);
        let mut routed = leased("eth1", "10.8.0.50/24");
        routed.get_mut("eth1").unwrap().gateway = Some(Ipv4Addr::new(10, 8, 0, 1));
        let unrouted = leased("eth1", "10.8.0.50/24");
        let same = leased("eth1", "10.7.0.5/24");
        for (second, has, leases, on_trial, stays, what) in [
            (r#""10.7.0.5/24""#, "", &none, false, false, "it is to have the same address"),
            (r#""10.7.0.5/24""#, "", &none, true, false, "the same, on trial"),
            (r#""10.7.0.6/24""#, "10.7.0.6/24", &none, false, true, "it has another one"),
            (GATEWAY, "10.8.0.5/24", &none, false, false, "it has a gateway"),
            (GATEWAY, "10.8.0.5/24", &none, true, true, "it has a gateway, on trial"),
            (GATEWAY, "", &none, false, true, "it is to have a gateway, and has no address yet"),
            ("", "10.8.0.50/24", &routed, false, false, "its lease has a gateway"),
            ("", "10.8.0.50/24", &unrouted, false, true, "its lease has none"),
            ("", "", &same, false, false, "it has got the same address by DHCP"),
        ] {
            let wanted = if second.is_empty() { Network::default() } else { eth1(second) };
            let has: &[&str] = if has.is_empty() { &[] } else { &[has] };
            let mut links = [link("eth0", &["10.7.0.5/24"]), link("eth1", has)];
            let change = |links: &[Link]| {
                let (wanted, before, free, dhcp) = (&wanted, &before, &free, &heard);
                Change { wanted, before, on_trial, links, leases, free, dhcp }
                    .in_force()
                    .adapter("eth0")
                    .ipv4
            };
            let old = before.adapter("eth0").ipv4;
            assert_eq!(change(&links) == old, stays, "{what}");
            links[1].carrier = false;
            assert_eq!(change(&links), old, "{what}, but no link");
        }
    }

    /// Goal: where a DHCP server gives the address that was set, connections survive. Method: the moments of such
    /// a change, and what there is to do in each, beside an adapter with a gateway.
    #[test]
    fn an_address_stays_while_a_dhcp_server_may_give_it_again() {
        let (mut in_force, wanted, nobody) = (eth0_before(), eth1(GATEWAY), free(&[]));
        let links = [link("eth0", &["10.7.0.5/24"]), link("eth1", &["10.8.0.5/24"])];
        let says = |state| BTreeMap::from([("eth0".to_owned(), state)]);
        let (none, lease) = (Leases::new(), leased("eth0", "10.7.0.5/24"));
        for (dhcp, leases, what) in [
            (BTreeMap::new(), &none, "nobody asks yet"),
            (says(Dhcp::Asking), &none, "it is asked"),
            (says(Dhcp::Refused), &none, "it refuses the lease from before"),
            (BTreeMap::new(), &lease, "and gives the same address"),
        ] {
            let change = |dhcp: &BTreeMap<String, Dhcp>| {
                let (wanted, before, links, free) = (&wanted, &in_force, &links, &nobody);
                Change { wanted, before, on_trial: false, links, leases, free, dhcp }.in_force()
            };
            let given_up = Dhcp::Declined("another machine has it".to_owned());
            for answer in [Dhcp::Silent, Dhcp::Failed("no".to_owned()), given_up] {
                let there = change(&says(answer));
                assert_eq!(there.adapter("eth0").ipv4, Ipv4::Dhcp, "{what}, in vain");
            }
            in_force = change(&dhcp);
            let steps = plan::steps(&in_force, &links, leases, &nobody);
            let removes =
                |step: &plan::Step| matches!(step.action, plan::Action::RemoveAddress { .. });
            assert!(!steps.iter().any(removes), "{what}: {steps:?}");
        }
        assert_eq!(in_force, wanted);
    }

    /// eth0 had an address that eth1 is to have, where another machine of that LAN has it.
    #[test]
    fn an_address_does_not_move_to_a_lan_where_another_machine_has_it() {
        let (before, wanted) = (eth0_before(), eth1(r#""10.7.0.5/24""#));
        let ip: Ipv4Addr = "10.7.0.5".parse().unwrap();
        let (leases, dhcp) = (Leases::new(), silent());
        let asking = BTreeMap::new();
        let mut links = [link("eth0", &["10.7.0.5/24"]), link("eth1", &[])];
        let free_on = |name: &str| BTreeSet::from([(name.to_owned(), ip)]);
        let there = |links: &[Link], free: &Free, dhcp, on_trial| {
            let (wanted, before, leases) = (&wanted, &before, &leases);
            Change { wanted, before, on_trial, links, leases, free, dhcp }
                .in_force()
                .adapter("eth0")
        };
        let old = before.adapter("eth0");
        for on_trial in [true, false] {
            let moved = |free: &Free| there(&links, free, &asking, on_trial) != old;
            assert!(!moved(&free_on("eth0")), "it is asked for on eth1, or another machine has it");
            assert!(moved(&free_on("eth1")), "nobody has it there");
        }
        assert_ne!(there(&links, &free_on("eth0"), &dhcp, false), old, "what nobody wants goes");
        links[1] = link("eth1", &["10.7.0.5/24"]);
        assert_ne!(there(&links, &free_on("eth0"), &asking, true), old, "it is there already");
    }

    #[test]
    fn addresses_that_two_adapters_exchange_go_from_both() {
        let with = |one: &str, two: &str| {
            let fixed = |ip| format!("{{ method = \"static\", address = \"{ip}/24\" }}");
            network(&[("eth0", &fixed(one)), ("eth1", &fixed(two))])
        };
        let (before, wanted) = (with("10.7.0.5", "10.7.0.6"), with("10.7.0.6", "10.7.0.5"));
        let links = [link("eth0", &["10.7.0.5/24"]), link("eth1", &["10.7.0.6/24"])];
        let (leases, dhcp) = (Leases::new(), BTreeMap::new());
        let change = |free: &Free| {
            let (wanted, before, leases, dhcp) = (&wanted, &before, &leases, &dhcp);
            Change { wanted, before, on_trial: true, links: &links, leases, free, dhcp }.in_force()
        };
        // This machine's own answer is none: each is free on the other adapter's LAN.
        let both = [("eth0", "10.7.0.6"), ("eth1", "10.7.0.5")];
        let both = both.map(|(name, ip)| (name.to_owned(), ip.parse().unwrap()));
        assert_eq!(change(&BTreeSet::from(both)), wanted);
        let named =
            |network: &Network| [network.adapter("eth0").ipv4, network.adapter("eth1").ipv4];
        assert_eq!(named(&change(&free(&[]))), named(&before), "until they are asked for");
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
        let change = Change {
            wanted: &with("10.8.0.5/24", ["10.8.0.1", "fd00::2"]),
            before: &with("10.7.0.5/24", ["10.7.0.1", "fd00::1"]),
            on_trial: false,
            links: &[link("eth0", &["10.7.0.5/24"])],
            leases: &Leases::new(),
            free: &free(&[]),
            dhcp: &BTreeMap::new(),
        };
        let there = change.in_force().adapter("eth0");
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
