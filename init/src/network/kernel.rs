//! What the kernel has of links, addresses and routes, read over rtnetlink (rtnetlink(7)).
use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressFlags, AddressMessage},
        link::{
            InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
            LinkMessage,
        },
        route::{
            RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
        },
    },
};

/// A link and what hangs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: Vec<u8>,
    pub(super) kind: Kind,
    /// Whether it is switched on.
    pub(super) up: bool,
    /// Whether a cable, or what stands for one, is connected.
    pub(super) carrier: bool,
    /// Longest packet, in bytes.
    pub(super) mtu: u32,
    /// The same when it was first seen: the adapter's own.
    pub(super) own_mtu: u32,
    /// The longest that the driver can do; 0 where it does not say.
    pub(super) max_mtu: u32,
    /// None where the kernel has no IPv6.
    pub(super) ipv6: Option<Ipv6Switches>,
    pub(super) addresses: Vec<Address>,
    pub(super) routes: Vec<Route>,
}

#[cfg(test)]
impl Link {
    /// An adapter that works, with nothing on it.
    pub(super) fn plain(name: &str) -> Self {
        Self {
            index: 2,
            name: name.to_owned(),
            mac: vec![2, 0, 0, 0, 0, 1],
            kind: Kind::Hardware,
            up: true,
            carrier: true,
            mtu: 1500,
            own_mtu: 1500,
            max_mtu: 9000,
            ipv6: None,
            addresses: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// What a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An adapter: an Ethernet link that no software has made, or a container's end of a pair.
    Hardware,
    /// An 802.1Q VLAN of the link with the index `parent`.
    Vlan { parent: u32, id: u16 },
    /// Anything else: not ours to touch.
    Other,
}

/// `/proc/sys/net/ipv6/conf/NAME`: `disable_ipv6`, `accept_ra`, `ra_defrtr_metric`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ipv6Switches {
    pub(super) disabled: bool,
    pub(super) hears_routers: bool,
    /// Metric of the default route that a router advertises.
    pub(super) metric: u32,
}

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) net: IpNet,
    pub(super) origin: Origin,
    /// Whether another machine has it (IPv6, RFC 4862 §5.4).
    pub(super) taken: bool,
}

/// Who has made an address or a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This service.
    Set,
    /// The kernel, from a router advertisement.
    Router,
    /// The kernel, of IPv6's own accord.
    LinkLocal,
}

/// A route of the main table by way of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) destination: IpNet,
    /// None: what is in `destination` is on the link itself.
    pub(super) gateway: Option<IpAddr>,
    pub(super) metric: u32,
    pub(super) origin: Origin,
}

impl Link {
    /// Its hardware address as people write it.
    pub(super) fn mac_in_words(&self) -> String {
        mac_in_words(&self.mac)
    }

    /// Whether packets can go out.
    pub(super) fn works(&self) -> bool {
        self.up && self.carrier
    }
}

/// A hardware address as people write it.
pub(super) fn mac_in_words(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Reads all links; `own_mtu` remembers what each had first.
///
/// # Errors
/// The kernel does not answer.
pub(super) async fn links(handle: &Handle, own_mtu: &mut HashMap<u32, u32>) -> Result<Vec<Link>> {
    let mut links = HashMap::new();
    let mut all = handle.link().get().execute();
    while let Some(message) = all.try_next().await.context("reading the links")? {
        if let Some(mut link) = link(&message) {
            link.own_mtu = *own_mtu.entry(link.index).or_insert(link.mtu);
            link.ipv6 = ipv6_switches(&link.name);
            links.insert(link.index, link);
        }
    }
    own_mtu.retain(|index, _| links.contains_key(index));
    let mut all = handle.address().get().execute();
    while let Some(message) = all.try_next().await.context("reading the addresses")? {
        if let Some(link) = links.get_mut(&message.header.index) {
            link.addresses.extend(address(&message));
        }
    }
    for family in [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ] {
        let mut all = handle.route().get(family).execute();
        while let Some(message) = all.try_next().await.context("reading the routes")? {
            if let Some((index, route)) = route(&message)
                && let Some(link) = links.get_mut(&index)
            {
                link.routes.push(route);
            }
        }
    }
    let mut links: Vec<Link> = links.into_values().collect();
    links.sort_by_key(|link| link.index);
    Ok(links)
}

fn link(message: &LinkMessage) -> Option<Link> {
    let (mut name, mut mac, mut mtu, mut max_mtu) = (None, Vec::new(), 0, 0);
    let (mut parent, mut info_kind, mut vlan_id, mut enslaved) = (0, None, None, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => mac.clone_from(bytes),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            LinkAttribute::MaxMtu(bytes) => max_mtu = *bytes,
            LinkAttribute::Link(index) => parent = *index,
            // Another link uses it, as Hyper-V's does with a virtual function.
            LinkAttribute::Controller(index) => enslaved = *index != 0,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => info_kind = Some(kind.clone()),
                        LinkInfo::Data(InfoData::Vlan(data)) => {
                            vlan_id = data.iter().find_map(|part| match part {
                                InfoVlan::Id(id) => Some(*id),
                                _ => None,
                            });
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    let kind = match (info_kind, vlan_id) {
        (Some(InfoKind::Vlan), Some(id)) => Kind::Vlan { parent, id },
        (None | Some(InfoKind::Veth), _) if ethernet && !enslaved => Kind::Hardware,
        (None | Some(_), _) => Kind::Other,
    };
    Some(Link {
        index: message.header.index,
        name: name?,
        mac,
        kind,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        mtu,
        own_mtu: mtu,
        max_mtu,
        ipv6: None,
        addresses: Vec::new(),
        routes: Vec::new(),
    })
}

fn address(message: &AddressMessage) -> Option<Address> {
    let (mut local, mut peer) = (None, None);
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => peer = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let ip = local.or(peer)?;
    let origin = match ip {
        IpAddr::V4(_) => Origin::Set,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Origin::LinkLocal,
        IpAddr::V6(_) if flags.contains(AddressFlags::Permanent) => Origin::Set,
        IpAddr::V6(_) => Origin::Router,
    };
    let net = IpNet::new(ip, message.header.prefix_len).ok()?;
    Some(Address { net, origin, taken: flags.contains(AddressFlags::Dadfailed) })
}

fn route(message: &RouteMessage) -> Option<(u32, Route)> {
    let header = &message.header;
    let origin = match header.protocol {
        RouteProtocol::Static | RouteProtocol::Boot | RouteProtocol::Dhcp => Origin::Set,
        RouteProtocol::Ra => Origin::Router,
        _ => return None,
    };
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    let ip = |address: &RouteAddress| match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    };
    let (mut index, mut destination, mut gateway, mut metric) = (None, None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    let any: IpAddr = if header.address_family == AddressFamily::Inet {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let destination =
        IpNet::new(destination.unwrap_or(any), header.destination_prefix_length).ok()?;
    Some((index?, Route { destination, gateway, metric, origin }))
}

/// The file of one of a link's IPv6 switches.
pub(super) fn ipv6_file(link: &str, switch: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net/ipv6/conf").join(link).join(switch)
}

fn ipv6_switches(link: &str) -> Option<Ipv6Switches> {
    let read = |switch| -> Option<u32> {
        fs::read_to_string(ipv6_file(link, switch)).ok()?.trim().parse().ok()
    };
    Some(Ipv6Switches {
        disabled: read("disable_ipv6")? != 0,
        hears_routers: read("accept_ra")? != 0,
        metric: read("ra_defrtr_metric")?,
    })
}
