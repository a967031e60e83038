//! What the machine is told of its network: adapters by name, each with how it gets its addresses.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Longest name of a network interface, without its final zero (`IFNAMSIZ`).
const NAME_BYTES_MAX: usize = 15;
/// Largest number of an 802.1Q VLAN; 0 and 4095 are reserved.
const VLAN_MAX: u16 = 4094;
/// Every IPv4 host must take datagrams of this length (RFC 791 §3.1).
pub(crate) const MTU_BYTES_MIN: u16 = 576;
/// The same for IPv6 (RFC 8200 §5).
pub(crate) const MTU_BYTES_MIN_V6: u16 = 1280;
/// As many adapters as a virtual machine can have, and as many VLANs again.
const ADAPTERS_MAX: usize = 20;
const ROUTES_MAX: usize = 64;
const NAME_SERVERS_MAX: usize = 3;

/// The network's settings. An adapter that is not listed asks DHCP and listens to router advertisements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Network {
    /// Name servers; empty for those that DHCP and routers name. glibc asks at most three.
    pub(crate) name_servers: Vec<IpAddr>,
    /// Domains that short names are completed with; empty for those that DHCP names.
    pub(crate) search_domains: Vec<String>,
    /// The adapter whose default route, name servers and NTP servers count when several have some;
    /// none for the first by name.
    pub(crate) default_adapter: Option<String>,
    /// Adapters that are not left to themselves.
    #[serde(rename = "adapter")]
    pub(crate) adapters: Vec<Adapter>,
}

/// One adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Adapter {
    /// Its name: `eth0`, or any name for a VLAN.
    pub(crate) name: String,
    /// IPv4.
    #[serde(default)]
    pub(crate) ipv4: Ipv4,
    /// IPv6.
    #[serde(default)]
    pub(crate) ipv6: Ipv6,
    /// Longest packet in bytes; none for what DHCP names, or else the adapter's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<u16>,
    /// What it is a VLAN of, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vlan: Option<Vlan>,
    /// Routes beside those of its own networks and its default route.
    #[serde(default, rename = "route", skip_serializing_if = "Vec::is_empty")]
    pub(crate) routes: Vec<Route>,
}

/// How an adapter gets its IPv4 address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Ipv4 {
    /// From a DHCP server.
    #[default]
    Dhcp,
    /// This one.
    Static {
        /// With its prefix length: `10.0.0.5/24`.
        address: Ipv4Net,
        /// Default gateway, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<Ipv4Addr>,
    },
    /// None.
    Off,
}

/// How an adapter gets its IPv6 address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Ipv6 {
    /// From router advertisements (RFC 4862).
    #[default]
    Automatic,
    /// This one; router advertisements are not listened to.
    Static {
        /// With its prefix length: `2001:db8::5/64`.
        address: Ipv6Net,
        /// Default gateway, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<Ipv6Addr>,
    },
    /// None, not even a link-local one.
    Off,
}

/// An 802.1Q VLAN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vlan {
    /// Name of the adapter that carries it.
    pub(crate) parent: String,
    /// Its number, 1 to 4094.
    pub(crate) id: u16,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Where to.
    pub(crate) destination: IpNet,
    /// By way of.
    pub(crate) gateway: IpAddr,
}

/// Why network settings are not usable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("adapter {0:?}: a name has 1 to 15 letters, digits, '.', '-' and '_'")]
    Name(String),
    #[error("adapter {0} is listed twice")]
    Twice(String),
    #[error("at most {ADAPTERS_MAX} adapters can be listed")]
    Adapters,
    #[error("{adapter}: {address} is not an address that a machine can have")]
    Address { adapter: String, address: IpNet },
    #[error("{adapter}: the gateway {gateway} is not in the network of {address}")]
    Gateway { adapter: String, gateway: IpAddr, address: IpNet },
    #[error("{adapter}: MTU {mtu} is too small: at least {least} bytes")]
    Mtu { adapter: String, mtu: u16, least: u16 },
    #[error("{adapter}: a VLAN has a number from 1 to {VLAN_MAX}, not {id}")]
    Vlan { adapter: String, id: u16 },
    #[error("{adapter}: {parent} cannot carry it: a VLAN is carried by an adapter that is none")]
    Parent { adapter: String, parent: String },
    #[error("{adapter}: the route to {destination} goes by way of an address of the other family")]
    Route { adapter: String, destination: IpNet },
    #[error("{adapter}: at most {ROUTES_MAX} routes")]
    Routes { adapter: String },
    #[error("at most {NAME_SERVERS_MAX} name servers are asked")]
    NameServers,
    #[error("{0:?} is no domain: write one such as example.com")]
    Domain(String),
}

impl Network {
    /// The settings of an adapter: its own, or those of one that is left to itself.
    pub(crate) fn adapter(&self, name: &str) -> Adapter {
        let listed = self.adapters.iter().find(|adapter| adapter.name == name);
        listed.cloned().unwrap_or_else(|| Adapter::automatic(name))
    }

    /// Checks every value.
    pub(crate) fn check(&self) -> Result<(), NetworkError> {
        if self.adapters.len() > ADAPTERS_MAX {
            return Err(NetworkError::Adapters);
        }
        if self.name_servers.len() > NAME_SERVERS_MAX {
            return Err(NetworkError::NameServers);
        }
        if let Some(domain) = self.search_domains.iter().find(|domain| !is_domain(domain)) {
            return Err(NetworkError::Domain(domain.clone()));
        }
        if let Some(name) = self.default_adapter.as_ref().filter(|name| !is_name(name)) {
            return Err(NetworkError::Name(name.clone()));
        }
        for (i, adapter) in self.adapters.iter().enumerate() {
            if self.adapters[..i].iter().any(|other| other.name == adapter.name) {
                return Err(NetworkError::Twice(adapter.name.clone()));
            }
            adapter.check()?;
            let is_vlan = |name: &str| self.adapter(name).vlan.is_some();
            if let Some(vlan) = &adapter.vlan
                && (is_vlan(&vlan.parent) || vlan.parent == adapter.name)
            {
                let (adapter, parent) = (adapter.name.clone(), vlan.parent.clone());
                return Err(NetworkError::Parent { adapter, parent });
            }
        }
        Ok(())
    }
}

impl Adapter {
    /// An adapter that is left to itself.
    pub(crate) fn automatic(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ipv4: Ipv4::default(),
            ipv6: Ipv6::default(),
            mtu: None,
            vlan: None,
            routes: Vec::new(),
        }
    }

    fn check(&self) -> Result<(), NetworkError> {
        if !is_name(&self.name) {
            return Err(NetworkError::Name(self.name.clone()));
        }
        let adapter = || self.name.clone();
        if let Ipv4::Static { address, gateway } = &self.ipv4 {
            self.check_address(IpNet::V4(*address), gateway.map(IpAddr::V4))?;
        }
        if let Ipv6::Static { address, gateway } = &self.ipv6 {
            self.check_address(IpNet::V6(*address), gateway.map(IpAddr::V6))?;
        }
        let least = if self.ipv6 == Ipv6::Off { MTU_BYTES_MIN } else { MTU_BYTES_MIN_V6 };
        if let Some(mtu) = self.mtu.filter(|mtu| *mtu < least) {
            return Err(NetworkError::Mtu { adapter: adapter(), mtu, least });
        }
        if let Some(vlan) = &self.vlan {
            if !is_name(&vlan.parent) {
                return Err(NetworkError::Name(vlan.parent.clone()));
            }
            if vlan.id == 0 || vlan.id > VLAN_MAX {
                return Err(NetworkError::Vlan { adapter: adapter(), id: vlan.id });
            }
        }
        if self.routes.len() > ROUTES_MAX {
            return Err(NetworkError::Routes { adapter: adapter() });
        }
        let mixed = |route: &&Route| route.destination.addr().is_ipv4() != route.gateway.is_ipv4();
        match self.routes.iter().find(mixed) {
            Some(Route { destination, .. }) => {
                Err(NetworkError::Route { adapter: adapter(), destination: *destination })
            }
            None => Ok(()),
        }
    }

    fn check_address(&self, address: IpNet, gateway: Option<IpAddr>) -> Result<(), NetworkError> {
        let own = address.addr();
        let whole = address.prefix_len() == address.max_prefix_len();
        // In IPv4, the first address of a network names it and the last one is everybody's; networks
        // of two addresses have neither (RFC 3021).
        let v4_edge = own.is_ipv4()
            && address.prefix_len() < 31
            && (own == address.network() || own == address.broadcast());
        let adapter = || self.name.clone();
        if own.is_unspecified()
            || own.is_multicast()
            || own.is_loopback()
            || address.prefix_len() == 0
            || v4_edge
        {
            return Err(NetworkError::Address { adapter: adapter(), address });
        }
        // A router may be reached by its link-local address, which is in no network (RFC 4861 §6.3.4).
        let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        match gateway.filter(|gateway| !link_local(gateway)) {
            Some(gateway) if whole || !address.contains(&gateway) || gateway == own => {
                Err(NetworkError::Gateway { adapter: adapter(), gateway, address })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether the kernel would take it as the name of an interface, and nobody be surprised.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(plain)
        && !matches!(name, "." | ".." | "lo")
}

/// Whether it is a domain name (RFC 1035 §2.3.4), absolute or not.
pub(crate) fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    domain.len() <= 253 && domain.trim_end_matches('.').split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Network, String> {
        let network: Network = toml::from_str(text).map_err(|error| error.to_string())?;
        network.check().map(|()| network).map_err(|error| error.to_string())
    }

    #[test]
    fn a_document_with_everything_is_read_and_survives_a_round_trip() {
        let network = parse(
            r#"
            name_servers = ["10.0.0.2", "2001:db8::53"]
            search_domains = ["example.com"]
            default_adapter = "eth0"
            [[adapter]]
            name = "eth0"
            ipv4 = { method = "static", address = "10.0.0.5/24", gateway = "10.0.0.1" }
            ipv6 = { method = "static", address = "2001:db8::5/64", gateway = "fe80::1" }
            mtu = 9000
            [[adapter.route]]
            destination = "192.168.0.0/16"
            gateway = "10.0.0.254"
            [[adapter]]
            name = "storage"
            vlan = { parent = "eth1", id = 120 }
            ipv6 = { method = "off" }
            "#,
        )
        .unwrap();
        let text = toml::to_string(&network).unwrap();
        assert_eq!(parse(&text).unwrap(), network, "{text}");
        assert_eq!(network.adapter("eth0").mtu, Some(9000));
        assert_eq!(network.adapter("eth7"), Adapter::automatic("eth7"));
        assert_eq!(parse("").unwrap(), Network::default());
    }

    #[test]
    fn refusals_name_the_adapter_and_what_is_wrong() {
        let eth0 = |rest: &str| format!("[[adapter]]\nname = \"eth0\"\n{rest}\n");
        let fixed = |address: &str, gateway: &str| {
            eth0(&format!(
                "ipv4 = {{ method = \"static\", address = \"{address}\", gateway = \"{gateway}\" }}"
            ))
        };
        for (text, says) in [
            (fixed("10.0.0.5/24", "10.0.1.1"), "10.0.1.1 is not in the network of 10.0.0.5/24"),
            (fixed("10.0.0.5/24", "10.0.0.5"), "not in the network"),
            (fixed("10.0.0.0/24", "10.0.0.1"), "not an address"),
            (fixed("10.0.0.255/24", "10.0.0.1"), "not an address"),
            (fixed("127.0.0.1/8", "127.0.0.2"), "not an address"),
            (fixed("10.0.0.5/33", "10.0.0.1"), "invalid"),
            (eth0("ipv4 = { method = \"bootp\" }"), "bootp"),
            (eth0("mtu = 1000"), "at least 1280"),
            (eth0("mtu = 500\nipv6 = { method = \"off\" }"), "at least 576"),
            (eth0("vlan = { parent = \"eth1\", id = 4095 }"), "1 to 4094"),
            (eth0("vlan = { parent = \"eth0\", id = 1 }"), "cannot carry"),
            (
                eth0("[[adapter.route]]\ndestination = \"10.0.0.0/8\"\ngateway = \"fe80::1\""),
                "family",
            ),
            ([eth0(""), eth0("")].concat(), "twice"),
            ("[[adapter]]\nname = \"a b\"".to_owned(), "a name has"),
            (
                "name_servers = [\"10.0.0.1\", \"10.0.0.2\", \"10.0.0.3\", \"10.0.0.4\"]"
                    .to_owned(),
                "at most 3",
            ),
            ("search_domains = [\"a b\"]".to_owned(), "example.com"),
            (eth0("typo = 1"), "typo"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        parse(&fixed("10.0.0.0/31", "10.0.0.1")).unwrap();
    }
}
