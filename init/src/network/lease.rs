//! A DHCPv4 lease as the appliance takes it: what a server says is checked, bounded and made ours.
use std::{net::Ipv4Addr, time::Duration};

use ipnet::Ipv4Net;
use mozim::DhcpV4Lease;
use serde::{Deserialize, Serialize};

use crate::machine::{MTU_BYTES_MIN, is_domain, is_hostname};

/// Name servers, NTP servers, domains and routes that are taken of one lease.
const SERVERS_MAX: usize = 8;
const DOMAINS_MAX: usize = 6;
const ROUTES_MAX: usize = 64;

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) address: Ipv4Net,
    /// Default gateway.
    pub(super) gateway: Option<Ipv4Addr>,
    /// Other routes (RFC 3442); without a gateway the destination is on the link itself.
    pub(super) routes: Vec<(Ipv4Net, Option<Ipv4Addr>)>,
    pub(super) dns: Vec<Ipv4Addr>,
    pub(super) search: Vec<String>,
    pub(super) ntp: Vec<Ipv4Addr>,
    pub(super) mtu: Option<u16>,
    /// Without a domain.
    pub(super) hostname: Option<String>,
    pub(super) server: Ipv4Addr,
    /// When it ends, in time since boot.
    pub(super) until: Duration,
}

#[cfg(test)]
impl Lease {
    /// A lease of this address, with nothing else.
    pub(super) fn plain(address: &str) -> Self {
        Self {
            address: address.parse().expect("the test says an address and its network"),
            gateway: None,
            routes: Vec::new(),
            dns: Vec::new(),
            search: Vec::new(),
            ntp: Vec::new(),
            mtu: None,
            hostname: None,
            server: [10, 0, 2, 2].into(),
            until: Duration::from_secs(3600),
        }
    }
}

impl Lease {
    /// Takes a lease that was granted at `now`.
    ///
    /// # Errors
    /// Words: no machine can have this address.
    pub(super) fn of(lease: &DhcpV4Lease, now: Duration) -> Result<Self, String> {
        let ip = lease.yiaddr;
        if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_broadcast() {
            return Err(format!("the DHCP server {} offers the address {ip}", lease.srv_id));
        }
        let prefix = match lease.prefix_length() {
            0 => natural_prefix(ip),
            prefix => prefix,
        };
        let address = Ipv4Net::new(ip, prefix).map_err(|error| format!("{ip}: {error}"))?;
        let (gateway, routes) = ways(lease);
        let names = match &lease.domain_search {
            Some(domains) => domains.clone(),
            None => lease.domain_name.iter().flat_map(|all| words(all)).collect(),
        };
        let hostname = lease.host_name.as_deref().and_then(|name| name.split('.').next());
        let hostname = hostname.filter(|name| is_hostname(name)).map(str::to_owned);
        Ok(Self {
            address,
            gateway,
            routes,
            dns: servers(lease.dns_srvs.as_deref()),
            search: names.into_iter().filter(|name| is_domain(name)).take(DOMAINS_MAX).collect(),
            ntp: servers(lease.ntp_srvs.as_deref()),
            mtu: lease.mtu.filter(|mtu| *mtu >= MTU_BYTES_MIN),
            hostname,
            server: lease.srv_id,
            until: now + Duration::from_secs(u64::from(lease.lease_time_sec)),
        })
    }

    /// What the DHCP client needs to ask whether it still holds (RFC 2131 §4.4.2).
    pub(super) fn to_verify(&self) -> DhcpV4Lease {
        let mut lease = DhcpV4Lease::default();
        lease.yiaddr = self.address.addr();
        lease.subnet_mask = self.address.netmask();
        lease.srv_id = self.server;
        lease
    }
}

/// A server that names no mask means that of the address's class (RFC 950).
fn natural_prefix(ip: Ipv4Addr) -> u8 {
    match ip.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        192..=255 => 24,
    }
}

fn servers(named: Option<&[Ipv4Addr]>) -> Vec<Ipv4Addr> {
    let usable = |ip: &&Ipv4Addr| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast();
    named.into_iter().flatten().filter(usable).take(SERVERS_MAX).copied().collect()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(|word| word.trim_end_matches('\0').to_owned()).collect()
}

type Ways = (Option<Ipv4Addr>, Vec<(Ipv4Net, Option<Ipv4Addr>)>);

/// The default gateway and the other routes. Where there are classless routes, the plain gateway does
/// not count (RFC 3442).
fn ways(lease: &DhcpV4Lease) -> Ways {
    let usable = |ip: &Ipv4Addr| !ip.is_unspecified();
    let Some(classless) = &lease.classless_routes else {
        let gateway = lease.gateways.iter().flatten().copied().find(usable);
        return (gateway, Vec::new());
    };
    let mut gateway = None;
    let mut routes = Vec::new();
    for route in classless.iter().take(ROUTES_MAX) {
        let router = Some(route.router).filter(usable);
        match Ipv4Net::new(route.destination, route.prefix_length) {
            Ok(to) if to.prefix_len() == 0 => gateway = gateway.or(router),
            Ok(to) => routes.push((to.trunc(), router)),
            // A prefix longer than an address: no route.
            Err(_) => {}
        }
    }
    (gateway, routes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn granted() -> DhcpV4Lease {
        let mut lease = DhcpV4Lease::default();
        lease.yiaddr = Ipv4Addr::new(10, 0, 2, 15);
        lease.subnet_mask = Ipv4Addr::new(255, 255, 255, 0);
        lease.srv_id = Ipv4Addr::new(10, 0, 2, 2);
        lease.lease_time_sec = 3600;
        lease.gateways = Some(vec![Ipv4Addr::new(10, 0, 2, 2)]);
        lease
    }

    fn way(to: &str, router: [u8; 4]) -> mozim::DhcpV4ClasslessRoute {
        let to: Ipv4Net = to.parse().unwrap();
        mozim::DhcpV4ClasslessRoute {
            destination: to.addr(),
            prefix_length: to.prefix_len(),
            router: Ipv4Addr::from(router),
        }
    }

    #[test]
    fn a_lease_is_taken_as_the_server_means_it() {
        let mut granted = granted();
        granted.dns_srvs = Some(vec![Ipv4Addr::new(10, 0, 2, 3), Ipv4Addr::UNSPECIFIED]);
        granted.domain_name = Some("example.com lab.example\0".to_owned());
        granted.host_name = Some("gate7.example.com".to_owned());
        granted.mtu = Some(9000);
        let lease = Lease::of(&granted, NOW).unwrap();
        assert_eq!(lease.address.to_string(), "10.0.2.15/24");
        assert_eq!(lease.gateway, Some(Ipv4Addr::new(10, 0, 2, 2)));
        assert_eq!(lease.dns, [Ipv4Addr::new(10, 0, 2, 3)]);
        assert_eq!(lease.search, ["example.com", "lab.example"]);
        assert_eq!((lease.mtu, lease.hostname.as_deref()), (Some(9000), Some("gate7")));
        assert_eq!(lease.until, NOW + Duration::from_secs(3600));
        assert_eq!(lease.to_verify().yiaddr, granted.yiaddr);
    }

    #[test]
    fn classless_routes_put_the_plain_gateway_out_of_force() {
        let mut granted = granted();
        granted.classless_routes = Some(vec![
            way("192.168.9.1/16", [10, 0, 2, 9]),
            way("10.9.0.0/16", [0, 0, 0, 0]),
            way("0.0.0.0/0", [10, 0, 2, 1]),
        ]);
        let lease = Lease::of(&granted, NOW).unwrap();
        assert_eq!(lease.gateway, Some(Ipv4Addr::new(10, 0, 2, 1)));
        let routes: Vec<String> =
            lease.routes.iter().map(|(to, router)| format!("{to} {router:?}")).collect();
        assert_eq!(routes, ["192.168.0.0/16 Some(10.0.2.9)", "10.9.0.0/16 None"]);
        granted.classless_routes = Some(Vec::new());
        assert_eq!(Lease::of(&granted, NOW).unwrap().gateway, None);
    }

    #[test]
    fn nonsense_is_refused_or_left_out() {
        let mut nonsense = granted();
        nonsense.host_name = Some("-bad name-".to_owned());
        nonsense.domain_search = Some(vec!["a b".to_owned(), "x\nnameserver 6.6.6.6".to_owned()]);
        nonsense.mtu = Some(68);
        nonsense.dns_srvs = Some(vec![Ipv4Addr::new(10, 0, 0, 1); 100]);
        let lease = Lease::of(&nonsense, NOW).unwrap();
        assert_eq!((lease.hostname, lease.mtu), (None, None));
        assert!(lease.search.is_empty());
        assert_eq!(lease.dns.len(), SERVERS_MAX);
        nonsense.subnet_mask = Ipv4Addr::UNSPECIFIED;
        assert_eq!(Lease::of(&nonsense, NOW).unwrap().address.prefix_len(), 8, "by its class");
        nonsense.yiaddr = Ipv4Addr::UNSPECIFIED;
        assert!(Lease::of(&nonsense, NOW).unwrap_err().contains("offers the address 0.0.0.0"));
    }
}
