//! What the console is told, for each thing that can be wrong.

use super::*;
use crate::network::{
    kernel::{Address, Route},
    lease::Lease,
};

fn link(name: &str) -> Link {
    Link { mac: vec![0, 0x50, 0x56, 1, 2, 3], ..Link::plain(name) }
}

fn address(net: &str, origin: Origin, taken: bool) -> Address {
    Address { net: net.parse().unwrap(), origin, taken }
}

fn lease() -> Lease {
    Lease::plain("10.0.2.15/24")
}

/// What the service knows, ready to be changed.
#[derive(Default)]
struct Case {
    network: Network,
    links: Vec<Link>,
    leases: Leases,
    dhcp: BTreeMap<String, Dhcp>,
    claims: BTreeMap<String, Word>,
    failures: BTreeMap<String, String>,
    plan_problem: Option<String>,
}

impl Case {
    fn with(links: &[Link]) -> Self {
        Self { links: links.to_vec(), ..Self::default() }
    }

    fn set(mut self, network: &str) -> Self {
        self.network = toml::from_str(network).unwrap();
        self.network.check().unwrap();
        self
    }

    fn state(&self) -> NetworkState {
        let known = Known {
            network: &self.network,
            links: &self.links,
            leases: &self.leases,
            names: &Names::default(),
            dhcp: &self.dhcp,
            claims: &self.claims,
            failures: &self.failures,
            plan_problem: self.plan_problem.as_deref(),
        };
        known.state(|_| Some(10_000))
    }

    fn says(&self, words: &str) {
        let state = self.state();
        let all: Vec<&str> = state.problems().collect();
        assert!(all.iter().any(|problem| problem.contains(words)), "{words}: {all:?}");
    }
}

#[test]
fn an_adapter_is_told_with_all_it_has() {
    let mut eth0 = link("eth0");
    eth0.addresses = vec![
        address("fe80::1/64", Origin::LinkLocal, false),
        address("fd00::15/64", Origin::Router, false),
        address("10.0.2.15/24", Origin::Set, false),
    ];
    for (gateway, metric) in [("10.0.2.9", 101), ("10.0.2.2", 100), ("fe80::9", 100)] {
        let gateway: std::net::IpAddr = gateway.parse().unwrap();
        let destination = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        let destination = destination.parse().unwrap();
        let gateway = Some(gateway);
        eth0.routes.push(Route { destination, gateway, metric, origin: Origin::Set });
    }
    let mut case = Case::with(&[eth0]);
    case.leases.insert("eth0".to_owned(), lease());
    let state = case.state();
    assert_eq!(
        state.adapters,
        [AdapterState {
            name: "eth0".to_owned(),
            mac: "00:50:56:01:02:03".to_owned(),
            link: true,
            speed_mbit: Some(10_000),
            vlan: None,
            is_default: true,
            ipv4_method: "DHCP".to_owned(),
            ipv6_method: "automatic".to_owned(),
            addresses: vec!["10.0.2.15/24".to_owned(), "fd00::15/64".to_owned()],
            gateway: Some("10.0.2.2".to_owned()),
            ipv6_gateway: Some("fe80::9".to_owned()),
            mtu: 1500,
            dhcp_server: Some("10.0.2.2".to_owned()),
            lease_until: Some(3600),
            problem: None,
        }]
    );
    assert_eq!(state.problem, None);
}

#[test]
fn every_trouble_says_what_to_do() {
    Case::default().says("add one (VMXNET3)");

    let mut dead = link("eth0");
    dead.carrier = false;
    Case::with(&[dead.clone()]).says("eth0 has no link: connect the adapter");
    assert_eq!(Case::with(&[dead.clone()]).state().adapters[0].speed_mbit, None);
    let off = "[[adapter]]\nname = \"eth0\"\nipv4 = { method = \"off\" }\n\
               ipv6 = { method = \"off\" }";
    assert_eq!(Case::with(&[dead]).set(off).state().problems().count(), 0, "it is not in use");

    let mut case = Case::with(&[link("eth0")]);
    case.says("eth0 asks DHCP");
    for (dhcp, without, with) in [
        (Dhcp::Silent, "set a static address", "kept until the lease ends"),
        (Dhcp::Unacknowledged, "does not acknowledge it", "kept until the lease ends"),
        (Dhcp::Refused, "taken the address of eth0 back", "taken the address of eth0 back"),
        (Dhcp::Failed("Network is down".to_owned()), "Network is down", "Network is down"),
    ] {
        case.dhcp.insert("eth0".to_owned(), dhcp);
        case.leases.clear();
        case.says(without);
        case.leases.insert("eth0".to_owned(), lease());
        case.says(with);
    }
    case.dhcp.clear();
    assert_eq!(case.state().problems().count(), 0);
    case.failures.insert("eth0".to_owned(), "MTU 9000: Invalid argument".to_owned());
    case.says("eth0: MTU 9000: Invalid argument");

    let mut twice = link("eth0");
    twice.addresses = vec![address("fd00::20/64", Origin::Set, true)];
    let fixed = "[[adapter]]\nname = \"eth0\"\nipv4 = { method = \"off\" }\n\
                 ipv6 = { method = \"static\", address = \"fd00::20/64\" }";
    let case = Case::with(&[twice]).set(fixed);
    case.says("another machine has the address fd00::20");
    assert!(case.state().adapters[0].addresses.is_empty(), "clients cannot use it");

    let mut case = Case::with(&[link("eth0")]);
    case.leases.insert("eth0".to_owned(), lease());
    let other = ([10, 0, 2, 15].into(), [0x52, 0x54, 0, 1, 2, 3]);
    case.claims.insert("eth0".to_owned(), Word::Contested(other.0, other.1));
    case.says("another machine (52:54:00:01:02:03) uses the address 10.0.2.15 of eth0, too");
    case.claims.insert("eth0".to_owned(), Word::Taken(other.0, other.1));
    case.says("has the address 10.0.2.15: give eth0 another one");
    case.claims.clear();
    case.leases.clear();
    let why = "another machine (52:54:00:01:02:03) has the address 10.0.2.15".to_owned();
    case.dhcp.insert("eth0".to_owned(), Dhcp::Declined(why));
    case.says("has the address 10.0.2.15, which DHCP has given to eth0; asking for another one");

    let mut case = Case::with(&[link("eth0")]).set("default_adapter = \"eth3\"");
    case.says("default adapter eth3 is not there");
    case.plan_problem = Some("the network settings cannot be read: typo".to_owned());
    case.says("cannot be read");
}

#[test]
fn what_is_set_up_and_not_there_is_listed() {
    let absent = "[[adapter]]\nname = \"eth3\"\n[[adapter]]\nname = \"storage\"\n\
                  vlan = { parent = \"eth1\", id = 120 }";
    let case = Case::with(&[link("eth0")]).set(absent);
    case.says("eth3 is set up but not there");
    case.says("eth1 is not there to carry VLAN 120");
    assert_eq!(case.state().adapters[2].vlan.as_deref(), Some("120 of eth1"));
    let mut other = link("storage");
    other.kind = Kind::Other;
    Case::with(&[link("eth1"), other]).set(absent).says("has this name already");
    let mut case = Case::with(&[link("eth1")]).set(absent);
    case.failures.insert("storage".to_owned(), "VLAN 120: Operation not supported".to_owned());
    case.says("storage: VLAN 120: Operation not supported");
}
