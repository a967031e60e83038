//! Tables of: what is set, what is there, what is to be done.

use super::*;
use crate::network::kernel::Address;

const SWITCHES: Ipv6Switches =
    Ipv6Switches { disabled: false, hears_routers: true, metric: METRIC_FIRST };

/// An adapter that needs nothing done.
fn adapter(index: u32, name: &str) -> Link {
    let mac = vec![0x52, 0x54, 0, 0, 0, u8::try_from(index).unwrap()];
    Link { index, mac, ipv6: Some(SWITCHES), ..Link::plain(name) }
}

fn has(link: &mut Link, net: &str, origin: Origin) {
    link.addresses.push(Address { net: net.parse().unwrap(), origin, taken: false });
}

fn way(destination: &str, gateway: &str, metric: u32, origin: Origin) -> Route {
    let gateway = Some(gateway).filter(|gateway| !gateway.is_empty());
    Route {
        destination: destination.parse().unwrap(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        metric,
        origin,
    }
}

fn lease(address: &str, gateway: &str) -> Lease {
    Lease { gateway: gateway.parse().ok(), ..Lease::plain(address) }
}

fn network(text: &str) -> Network {
    let network: Network = toml::from_str(text).unwrap();
    network.check().unwrap();
    network
}

fn leases(of: &[(&str, Lease)]) -> Leases {
    of.iter().map(|(name, lease)| ((*name).to_owned(), lease.clone())).collect()
}

/// Every address that an adapter is to have: nobody else has one.
fn all_free(network: &Network, links: &[Link], leases: &Leases) -> Free {
    let mut free = Free::new();
    for link in links {
        for net in addresses(&network.adapter(&link.name), leases.get(&link.name)) {
            if let IpAddr::V4(ip) = net.addr() {
                free.insert((link.name.clone(), ip));
            }
        }
    }
    free
}

/// The steps as lines.
fn lines(network: &Network, links: &[Link], leases: &Leases) -> Vec<String> {
    steps(network, links, leases, &all_free(network, links, leases))
        .iter()
        .map(|step| format!("{}: {}", step.adapter, step.action))
        .collect()
}

/// Does what is said to be done, as the kernel would.
fn done(network: &Network, links: &mut Vec<Link>, leases: &Leases) {
    for step in steps(network, links, leases, &all_free(network, links, leases)) {
        let link = links.iter_mut().find(|link| link.name == step.adapter);
        match (step.action, link) {
            (Action::CreateVlan { parent, id }, _) => {
                let mut vlan = adapter(parent + 100, &step.adapter);
                vlan.kind = Kind::Vlan { parent, id };
                vlan.up = false;
                links.push(vlan);
            }
            (Action::RemoveLink { index }, _) => links.retain(|link| link.index != index),
            (Action::SetIpv6 { switches, .. }, Some(link)) => link.ipv6 = Some(switches),
            (Action::SetMtu { mtu, .. }, Some(link)) => link.mtu = mtu,
            (Action::BringUp { .. }, Some(link)) => link.up = true,
            (Action::RemoveRoute { route, .. }, Some(link)) => link.routes.retain(|r| *r != route),
            (Action::RemoveAddress { net, .. }, Some(link)) => {
                link.addresses.retain(|address| address.net != net);
            }
            (Action::AddAddress { net, .. }, Some(link)) => {
                link.addresses.push(Address { net, origin: Origin::Set, taken: false });
            }
            (Action::AddRoute { route, .. }, Some(link)) => link.routes.push(route),
            (action, None) => panic!("{action:?} for a link that is not there"),
        }
    }
}

#[test]
fn adapters_that_are_left_to_themselves_get_what_their_lease_says() {
    let mut links = vec![adapter(2, "eth0")];
    links[0].up = false;
    links[0].ipv6 = Some(Ipv6Switches { metric: 1024, ..SWITCHES });
    let left_alone = Network::default();
    let none = Leases::new();
    assert_eq!(
        lines(&left_alone, &links, &none),
        ["eth0: IPv6 by router advertisements, metric 100", "eth0: switch on"]
    );
    done(&left_alone, &mut links, &none);
    assert!(lines(&left_alone, &links, &none).is_empty());
    let mut granted = leases(&[("eth0", lease("10.0.2.15/24", "10.0.2.2"))]);
    granted.get_mut("eth0").unwrap().mtu = Some(1400);
    assert_eq!(
        lines(&left_alone, &links, &granted),
        [
            "eth0: MTU 1400",
            "eth0: add address 10.0.2.15/24",
            "eth0: add route 0.0.0.0/0 via 10.0.2.2 metric 100"
        ]
    );
    done(&left_alone, &mut links, &granted);
    assert!(lines(&left_alone, &links, &granted).is_empty(), "the same again changes nothing");
    assert_eq!(
        lines(&left_alone, &links, &none),
        [
            "eth0: MTU 1500",
            "eth0: remove route 0.0.0.0/0 via 10.0.2.2 metric 100",
            "eth0: remove address 10.0.2.15/24"
        ],
        "a lost lease takes all of it"
    );
}

#[test]
fn an_mtu_that_the_adapter_cannot_do_counts_only_where_an_operator_sets_it() {
    let links = [adapter(2, "eth0")];
    let mut long = lease("10.0.2.15/24", "10.0.2.2");
    long.mtu = Some(9001);
    let all = leases(&[("eth0", long)]);
    let mtu = |network: &Network| lines(network, &links, &all)[0].clone();
    assert_eq!(mtu(&Network::default()), "eth0: add address 10.0.2.15/24");
    assert_eq!(mtu(&network("[[adapter]]\nname = \"eth0\"\nmtu = 9001")), "eth0: MTU 9001");
}

#[test]
fn another_lease_takes_the_old_address_away_before_it_adds_the_new_one() {
    let mut links = vec![adapter(2, "eth0")];
    let left_alone = Network::default();
    done(&left_alone, &mut links, &leases(&[("eth0", lease("10.0.2.15/24", "10.0.2.2"))]));
    let mut other = lease("10.0.2.16/32", "10.0.2.2");
    other.routes.push(("10.9.0.0/16".parse().unwrap(), None));
    assert_eq!(
        lines(&left_alone, &links, &leases(&[("eth0", other)])),
        [
            "eth0: remove address 10.0.2.15/24",
            "eth0: add address 10.0.2.16/32",
            "eth0: add route 10.9.0.0/16 metric 100"
        ]
    );
}

#[test]
fn a_gateway_outside_of_every_network_is_on_the_link() {
    let links = [adapter(2, "eth0")];
    let all = leases(&[("eth0", lease("10.0.2.16/32", "10.0.9.1"))]);
    assert!(
        lines(&Network::default(), &links, &all)
            .contains(&"eth0: add route 0.0.0.0/0 via 10.0.9.1 metric 100 on link".to_owned())
    );
}

#[test]
fn fixed_addresses_take_the_place_of_what_dhcp_and_routers_gave() {
    let mut links = vec![adapter(2, "eth0")];
    let leased = leases(&[("eth0", lease("10.0.2.15/24", "10.0.2.2"))]);
    done(&Network::default(), &mut links, &leased);
    has(&mut links[0], "fd00::1234/64", Origin::Router);
    has(&mut links[0], "fe80::1234/64", Origin::LinkLocal);
    links[0].routes.push(way("::/0", "fe80::1", 1024, Origin::Router));
    let fixed = network(
        r#"
        [[adapter]]
        name = "eth0"
        mtu = 9000
        ipv4 = { method = "static", address = "10.0.2.20/24", gateway = "10.0.2.1" }
        ipv6 = { method = "static", address = "fd00::20/64", gateway = "fe80::9" }
        [[adapter.route]]
        destination = "192.168.1.7/16"
        gateway = "10.0.2.254"
        "#,
    );
    assert_eq!(
        lines(&fixed, &links, &leased),
        [
            "eth0: IPv6 without router advertisements",
            "eth0: MTU 9000",
            "eth0: remove route 0.0.0.0/0 via 10.0.2.2 metric 100",
            "eth0: remove route ::/0 via fe80::1 metric 1024",
            "eth0: remove address 10.0.2.15/24",
            "eth0: remove address fd00::1234/64",
            "eth0: add address 10.0.2.20/24",
            "eth0: add address fd00::20/64",
            "eth0: add route 0.0.0.0/0 via 10.0.2.1 metric 100",
            "eth0: add route ::/0 via fe80::9 metric 100",
            "eth0: add route 192.168.0.0/16 via 10.0.2.254 metric 100",
        ]
    );
    done(&fixed, &mut links, &leased);
    assert!(lines(&fixed, &links, &leased).is_empty());
    let back = lines(&Network::default(), &links, &leased);
    assert_eq!(back[0], "eth0: IPv6 by router advertisements, metric 100, anew");
    assert!(back.contains(&"eth0: add address 10.0.2.15/24".to_owned()), "{back:?}");
}

#[test]
fn what_is_off_has_no_address_and_no_link_local_one_either() {
    let mut links = vec![adapter(2, "eth0")];
    has(&mut links[0], "10.0.2.15/24", Origin::Set);
    has(&mut links[0], "fd00::20/64", Origin::Set);
    let off = network(
        "[[adapter]]\nname = \"eth0\"\nipv4 = { method = \"off\" }\nipv6 = { method = \"off\" }",
    );
    let expected =
        ["eth0: IPv6 off", "eth0: remove address 10.0.2.15/24", "eth0: remove address fd00::20/64"];
    assert_eq!(lines(&off, &links, &Leases::new()), expected);
    done(&off, &mut links, &Leases::new());
    assert!(lines(&off, &links, &Leases::new()).is_empty());
}

#[test]
fn a_fixed_ipv6_address_waits_until_ipv6_is_on_and_routers_stay_unheard() {
    let mut links = vec![adapter(2, "eth0")];
    links[0].ipv6 = Some(Ipv6Switches { disabled: true, ..SWITCHES });
    let fixed = network(
        "[[adapter]]\nname = \"eth0\"\nipv6 = { method = \"static\", address = \"fd00::20/64\" }",
    );
    let none = Leases::new();
    assert_eq!(lines(&fixed, &links, &none), ["eth0: IPv6 without router advertisements"]);
    done(&fixed, &mut links, &none);
    assert_eq!(lines(&fixed, &links, &none), ["eth0: add address fd00::20/64"]);
    links[0].ipv6 = None;
    assert!(lines(&fixed, &links, &none).is_empty(), "a kernel without IPv6");
}

#[test]
fn the_default_adapter_s_routes_come_first_and_a_dead_link_s_do_not_count() {
    let mut links = vec![adapter(4, "eth10"), adapter(3, "eth9"), adapter(2, "eth1")];
    let all = leases(&[
        ("eth1", lease("10.0.1.5/24", "10.0.1.1")),
        ("eth9", lease("10.0.9.5/24", "10.0.9.1")),
        ("eth10", lease("10.0.10.5/24", "10.0.10.1")),
    ]);
    let by_name: Vec<&str> =
        cared_for(&Network::default(), &links).iter().map(|link| link.name.as_str()).collect();
    assert_eq!(by_name, ["eth1", "eth9", "eth10"]);
    let chosen = network("default_adapter = \"eth9\"");
    let routes = |links: &[Link]| -> Vec<String> {
        let mut routes = lines(&chosen, links, &all);
        routes.retain(|line| line.contains("route 0"));
        routes
    };
    assert_eq!(
        routes(&links),
        [
            "eth9: add route 0.0.0.0/0 via 10.0.9.1 metric 100",
            "eth1: add route 0.0.0.0/0 via 10.0.1.1 metric 101",
            "eth10: add route 0.0.0.0/0 via 10.0.10.1 metric 102"
        ]
    );
    done(&chosen, &mut links, &all);
    links[1].carrier = false;
    assert_eq!(
        lines(&chosen, &links, &all),
        ["eth9: remove route 0.0.0.0/0 via 10.0.9.1 metric 100"],
        "its address stays"
    );
    done(&chosen, &mut links, &all);
    links[1].carrier = true;
    assert_eq!(routes(&links), ["eth9: add route 0.0.0.0/0 via 10.0.9.1 metric 100"]);
}

#[test]
fn vlans_are_made_and_changed_and_removed() {
    let vlan = |id: u16| {
        network(&format!(
            "[[adapter]]\nname = \"storage\"\nvlan = {{ parent = \"eth0\", id = {id} }}\n\
             ipv4 = {{ method = \"static\", address = \"10.1.0.5/24\" }}"
        ))
    };
    let none = Leases::new();
    let mut links = Vec::new();
    assert!(lines(&vlan(120), &links, &none).is_empty(), "what would carry it is not there");
    links.push(adapter(2, "eth0"));
    assert_eq!(lines(&vlan(120), &links, &none), ["storage: VLAN 120"]);
    done(&vlan(120), &mut links, &none);
    assert_eq!(
        lines(&vlan(120), &links, &none),
        [
            "storage: IPv6 by router advertisements, metric 101",
            "storage: switch on",
            "storage: add address 10.1.0.5/24"
        ]
    );
    done(&vlan(120), &mut links, &none);
    assert!(lines(&vlan(120), &links, &none).is_empty());
    assert_eq!(lines(&vlan(121), &links, &none), ["storage: remove the link"]);
    done(&vlan(121), &mut links, &none);
    assert_eq!(lines(&vlan(121), &links, &none), ["storage: VLAN 121"]);
    done(&vlan(121), &mut links, &none);
    assert_eq!(lines(&Network::default(), &links, &none), ["storage: remove the link"]);
}

#[test]
fn links_of_others_are_left_alone() {
    let mut foreign = adapter(5, "wg0");
    foreign.kind = Kind::Other;
    foreign.up = false;
    has(&mut foreign, "10.9.9.9/24", Origin::Set);
    assert!(lines(&Network::default(), &[foreign], &Leases::new()).is_empty());
}

#[test]
fn one_place_has_one_route() {
    let links = [adapter(2, "eth0")];
    let twice = network(
        r#"
        [[adapter]]
        name = "eth0"
        ipv4 = { method = "static", address = "10.0.2.20/24", gateway = "10.0.2.1" }
        [[adapter.route]]
        destination = "0.0.0.0/0"
        gateway = "10.0.2.9"
        "#,
    );
    let routes: Vec<String> = lines(&twice, &links, &Leases::new())
        .into_iter()
        .filter(|line| line.contains("add route"))
        .collect();
    assert_eq!(routes, ["eth0: add route 0.0.0.0/0 via 10.0.2.1 metric 100"]);
}

#[test]
fn an_address_waits_until_it_is_known_to_be_free_and_its_routes_with_it() {
    let network = network(
        "[[adapter]]\nname = \"eth0\"\n\
         ipv4 = { method = \"static\", address = \"10.0.0.5/24\", gateway = \"10.0.0.1\" }\n\
         ipv6 = { method = \"static\", address = \"fd00::5/64\", gateway = \"fd00::1\" }\n",
    );
    let leases = Leases::new();
    let mut links = vec![adapter(2, "eth0")];
    let words = |links: &[Link], free: &Free| -> Vec<String> {
        steps(&network, links, &leases, free).iter().map(|step| step.action.to_string()).collect()
    };
    let ipv6 = [
        "IPv6 without router advertisements",
        "add address fd00::5/64",
        "add route ::/0 via fd00::1 metric 100",
    ];
    assert_eq!(words(&links, &Free::new()), ipv6, "IPv6 does not wait for it");
    let claimed = claimed(&network, &links, &leases);
    assert_eq!((claimed.len(), claimed[0].address.to_string()), (1, "10.0.0.5".to_owned()));
    assert!(!claimed[0].in_use);
    let free = all_free(&network, &links, &leases);
    let all = words(&links, &free);
    assert!(all.contains(&"add address 10.0.0.5/24".to_owned()), "{all:?}");
    assert!(all.contains(&"add route 0.0.0.0/0 via 10.0.0.1 metric 100".to_owned()), "{all:?}");
    has(&mut links[0], "10.0.0.5/24", Origin::Set);
    let held = words(&links, &Free::new());
    assert!(
        !held.iter().any(|words| words.starts_with("remove")),
        "what is in use stays: {held:?}"
    );
    links[0].carrier = false;
    assert!(super::claimed(&network, &links, &leases).is_empty(), "nobody is heard without a link");
}
