//! Doing one thing to the network, over rtnetlink(7) or /proc/sys.
use std::{fmt, fs, net::IpAddr};

use anyhow::{Context, Result, anyhow};
use rtnetlink::{
    Handle, LinkUnspec, LinkVlan, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressMessage},
        route::{RouteMessage, RouteProtocol, RouteScope},
    },
};

use super::{
    kernel::{Ipv6Switches, Route, ipv6_file},
    plan::{Action, Step},
};
use crate::modules::Modules;

/// What drives VLANs.
const VLAN_MODULE: &str = "8021q";

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateVlan { id, .. } => write!(f, "VLAN {id}"),
            Self::RemoveLink { .. } => f.write_str("remove the link"),
            Self::SetIpv6 { switches: Ipv6Switches { disabled: true, .. }, .. } => {
                f.write_str("IPv6 off")
            }
            Self::SetIpv6 { switches, .. } if !switches.hears_routers => {
                f.write_str("IPv6 without router advertisements")
            }
            Self::SetIpv6 { switches, anew } => {
                let anew = if *anew { ", anew" } else { "" };
                write!(f, "IPv6 by router advertisements, metric {}{anew}", switches.metric)
            }
            Self::SetMtu { mtu, .. } => write!(f, "MTU {mtu}"),
            Self::BringUp { .. } => f.write_str("switch on"),
            Self::RemoveRoute { route, .. } => write!(f, "remove route {route}"),
            Self::RemoveAddress { net, .. } => write!(f, "remove address {net}"),
            Self::AddAddress { net, .. } => write!(f, "add address {net}"),
            Self::AddRoute { route, on_link, .. } => {
                write!(f, "add route {route}{}", if *on_link { " on link" } else { "" })
            }
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        write!(f, " metric {}", self.metric)
    }
}

/// Does it.
///
/// # Errors
/// The kernel refuses; the message says what and why.
pub(super) async fn act(handle: &Handle, step: &Step) -> Result<()> {
    let done = match &step.action {
        Action::CreateVlan { parent, id } => {
            Modules::open().load(VLAN_MODULE);
            let link = LinkVlan::new(&step.adapter, *parent, *id).build();
            handle.link().add(link).execute().await
        }
        Action::RemoveLink { index } => handle.link().del(*index).execute().await,
        Action::SetIpv6 { switches, anew } => {
            return set_ipv6(&step.adapter, *switches, *anew)
                .with_context(|| step.action.to_string());
        }
        Action::SetMtu { index, mtu } => {
            let link = LinkUnspec::new_with_index(*index).mtu(*mtu).build();
            handle.link().set(link).execute().await
        }
        Action::BringUp { index } => {
            let link = LinkUnspec::new_with_index(*index).up().build();
            handle.link().set(link).execute().await
        }
        Action::RemoveRoute { index, route } => {
            let mut route = message(*index, route, false)?;
            // Whoever has made it: the kernel itself, of what a router said, too.
            route.header.protocol = RouteProtocol::Unspec;
            handle.route().del(route).execute().await
        }
        Action::RemoveAddress { index, net } => {
            let mut address = AddressMessage::default();
            address.header.index = *index;
            address.header.prefix_len = net.prefix_len();
            address.header.family = match net.addr() {
                IpAddr::V4(_) => AddressFamily::Inet,
                IpAddr::V6(_) => AddressFamily::Inet6,
            };
            // With both, the prefix length counts as well.
            address.attributes.push(AddressAttribute::Address(net.addr()));
            address.attributes.push(AddressAttribute::Local(net.addr()));
            handle.address().del(address).execute().await
        }
        Action::AddAddress { index, net } => {
            handle.address().add(*index, net.addr(), net.prefix_len()).replace().execute().await
        }
        Action::AddRoute { index, route, on_link } => {
            handle.route().add(message(*index, route, *on_link)?).replace().execute().await
        }
    };
    done.map_err(|error| anyhow!("{}: {}", step.action, reason(&step.action, error)))
}

/// Why, and where it is known, what that means for whoever has set it.
fn reason(action: &Action, error: rtnetlink::Error) -> String {
    match error {
        rtnetlink::Error::NetlinkError(message) => {
            let error = message.to_io();
            let meaning = error.raw_os_error().and_then(|number| meaning(action, number));
            meaning.map_or_else(|| error.to_string(), str::to_owned)
        }
        other => other.to_string(),
    }
}

fn meaning(action: &Action, error: i32) -> Option<&'static str> {
    const NO_WAY: [i32; 3] = [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EINVAL];
    match action {
        Action::AddRoute { .. } if NO_WAY.contains(&error) => {
            Some("the gateway is in no network of this adapter: correct the one or the other")
        }
        Action::SetMtu { .. } if [libc::EINVAL, libc::ERANGE].contains(&error) => Some(
            "the adapter cannot do that, or what carries the VLAN does not: choose a smaller one",
        ),
        Action::CreateVlan { .. } if error == libc::EEXIST => {
            Some("its number or its name is taken already: choose another one")
        }
        Action::CreateVlan { .. } if error == libc::EOPNOTSUPP => Some("this kernel has no VLANs"),
        Action::CreateVlan { .. }
        | Action::RemoveLink { .. }
        | Action::SetIpv6 { .. }
        | Action::SetMtu { .. }
        | Action::BringUp { .. }
        | Action::RemoveRoute { .. }
        | Action::RemoveAddress { .. }
        | Action::AddAddress { .. }
        | Action::AddRoute { .. } => None,
    }
}

fn message(index: u32, route: &Route, on_link: bool) -> Result<RouteMessage> {
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(route.destination.addr(), route.destination.prefix_len())?
        .output_interface(index)
        .priority(route.metric);
    match route.gateway {
        Some(gateway) => builder = builder.gateway(gateway)?,
        None => builder = builder.scope(RouteScope::Link),
    }
    if on_link {
        builder = builder.onlink();
    }
    Ok(builder.build())
}

fn set_ipv6(link: &str, switches: Ipv6Switches, anew: bool) -> Result<()> {
    let set = |switch: &str, value: u32| {
        let file = ipv6_file(link, switch);
        fs::write(&file, value.to_string()).with_context(|| file.display().to_string())
    };
    // Before it is switched on, because the kernel asks for routers then, and only then.
    set("accept_ra", u32::from(switches.hears_routers))?;
    set("ra_defrtr_metric", switches.metric)?;
    if anew {
        set("disable_ipv6", 1)?;
    }
    set("disable_ipv6", u32::from(switches.disabled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_can_mend_is_said_so() {
        let vlan = Action::CreateVlan { parent: 2, id: 120 };
        let mtu = Action::SetMtu { index: 2, mtu: 9000 };
        for (action, error, says) in [
            (&vlan, libc::EEXIST, "taken already"),
            (&vlan, libc::EOPNOTSUPP, "no VLANs"),
            (&mtu, libc::ERANGE, "a smaller one"),
            (&mtu, libc::EINVAL, "a smaller one"),
        ] {
            assert!(meaning(action, error).unwrap().contains(says), "{action} {error}");
        }
        assert_eq!(meaning(&Action::BringUp { index: 2 }, libc::EINVAL), None);
    }
}
