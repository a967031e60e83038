//! Name servers, domains, NTP servers and the host name: which of all that is named counts. Pure.
use std::{collections::BTreeMap, net::IpAddr};

use super::{advice::Advice, kernel::Link, plan::Leases};
use crate::machine::{Ipv6, Network};

/// glibc asks no more (resolv.conf(5), `MAXNS`).
const NAME_SERVERS_MAX: usize = 3;
const DOMAINS_MAX: usize = 6;
const NTP_SERVERS_MAX: usize = 8;

/// What counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) dns: Vec<String>,
    pub(super) search: Vec<String>,
    pub(super) ntp: Vec<String>,
    pub(super) hostname: Option<String>,
}

impl Names {
    /// What is set counts; else what DHCP and routers name, in the order of the adapters.
    pub(super) fn of(
        network: &Network,
        order: &[&Link],
        leases: &Leases,
        advice: &BTreeMap<String, Advice>,
    ) -> Self {
        let mut names = Self {
            dns: network.name_servers.iter().map(IpAddr::to_string).collect(),
            search: network.search_domains.clone(),
            ..Self::default()
        };
        let (ask_dns, ask_search) = (names.dns.is_empty(), names.search.is_empty());
        for link in order {
            let lease = leases.get(&link.name);
            let automatic = network.adapter(&link.name).ipv6 == Ipv6::Automatic;
            let advice = advice.get(&link.name).filter(|_| automatic);
            if ask_dns {
                let leased = lease.iter().flat_map(|lease| &lease.dns).map(ToString::to_string);
                let advised = advice.iter().flat_map(|advice| &advice.servers);
                let advised = advised.map(|(ip, _)| match ip.is_unicast_link_local() {
                    // Of use only with its link.
                    true => format!("{ip}%{}", link.name),
                    false => ip.to_string(),
                });
                add(&mut names.dns, leased.chain(advised), NAME_SERVERS_MAX);
            }
            if ask_search {
                let leased = lease.iter().flat_map(|lease| &lease.search).cloned();
                let advised = advice.iter().flat_map(|advice| &advice.domains);
                let advised = advised.map(|(domain, _)| domain.clone());
                add(&mut names.search, leased.chain(advised), DOMAINS_MAX);
            }
            let ntp = lease.iter().flat_map(|lease| &lease.ntp).map(ToString::to_string);
            add(&mut names.ntp, ntp, NTP_SERVERS_MAX);
            if names.hostname.is_none() {
                names.hostname = lease.and_then(|lease| lease.hostname.clone());
            }
        }
        names
    }

    /// resolv.conf(5).
    pub(super) fn resolv_conf(&self) -> String {
        let mut text: String =
            self.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
        if !self.search.is_empty() {
            text.push_str(&format!("search {}\n", self.search.join(" ")));
        }
        text
    }
}

fn add(known: &mut Vec<String>, fresh: impl Iterator<Item = String>, max: usize) {
    for one in fresh {
        if known.len() < max && !known.contains(&one) {
            known.push(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::network::lease::Lease;

    fn lease(n: u8, hostname: Option<&str>) -> Lease {
        Lease {
            address: format!("10.0.{n}.5/24").parse().unwrap(),
            gateway: None,
            routes: Vec::new(),
            dns: vec![[10, 0, n, 53].into(), [10, 0, 0, 53].into()],
            search: vec![format!("lab{n}.example")],
            ntp: vec![[10, 0, n, 123].into()],
            mtu: None,
            hostname: hostname.map(str::to_owned),
            server: [10, 0, n, 1].into(),
            until: Duration::from_secs(3600),
        }
    }

    #[test]
    fn the_default_adapter_s_names_come_first_and_the_settings_before_all() {
        let (eth0, eth1) = (Link::plain("eth0"), Link::plain("eth1"));
        let leases = Leases::from([
            ("eth0".to_owned(), lease(1, None)),
            ("eth1".to_owned(), lease(2, Some("gate7"))),
        ]);
        let end = Duration::from_secs(60);
        let advice = BTreeMap::from([(
            "eth1".to_owned(),
            Advice {
                servers: vec![("fe80::53".parse().unwrap(), end)],
                domains: vec![("v6.example".to_owned(), end)],
            },
        )]);
        let mut network = Network::default();
        let names = Names::of(&network, &[&eth1, &eth0], &leases, &advice);
        assert_eq!(names.dns, ["10.0.2.53", "10.0.0.53", "fe80::53%eth1"], "three are asked");
        assert_eq!(names.search, ["lab2.example", "v6.example", "lab1.example"]);
        assert_eq!(names.ntp, ["10.0.2.123", "10.0.1.123"]);
        assert_eq!(names.hostname.as_deref(), Some("gate7"));
        let text = "nameserver 10.0.2.53\nnameserver 10.0.0.53\nnameserver fe80::53%eth1\n\
                    search lab2.example v6.example lab1.example\n";
        assert_eq!(names.resolv_conf(), text);

        network.name_servers = vec!["192.0.2.53".parse().unwrap()];
        network.search_domains = vec!["example.com".to_owned()];
        let names = Names::of(&network, &[&eth0, &eth1], &leases, &advice);
        assert_eq!(names.resolv_conf(), "nameserver 192.0.2.53\nsearch example.com\n");
        assert_eq!(names.ntp, ["10.0.1.123", "10.0.2.123"]);
        assert_eq!(names.hostname.as_deref(), Some("gate7"), "the other adapter's");
        assert_eq!(Names::default().resolv_conf(), "");
    }

    #[test]
    fn routers_do_not_count_where_they_are_not_listened_to() {
        let eth0 = Link::plain("eth0");
        let end = Duration::from_secs(60);
        let servers = vec![("fd00::53".parse().unwrap(), end)];
        let advice = BTreeMap::from([("eth0".to_owned(), Advice { servers, ..Advice::default() })]);
        let off: Network =
            toml::from_str("[[adapter]]\nname = \"eth0\"\nipv6 = { method = \"off\" }").unwrap();
        let dns = |network: &Network| Names::of(network, &[&eth0], &Leases::new(), &advice).dns;
        assert_eq!(dns(&Network::default()), ["fd00::53"]);
        assert!(dns(&off).is_empty());
    }
}
