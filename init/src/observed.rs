//! What PID 1 and the network service see, for the console, and what PID 1 tells the network service:
//! one JSON file each, replaced as a whole.
use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    disks::Disk,
    machine::Network,
    sys,
    update::{Note, Standing},
};

/// PID 1's file.
pub(crate) const MACHINE: &str = "/run/tidegate/machine.json";
/// The network service's file.
pub(crate) const NETWORK: &str = "/run/tidegate/network.json";
/// PID 1's word to the network service, a [`NetworkPlan`].
pub(crate) const NETWORK_PLAN: &str = "/run/tidegate/network-plan.json";

/// What PID 1 tells the network service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkPlan {
    /// The network's settings.
    pub(crate) network: Network,
    /// Whether they may be taken back: nobody has confirmed them yet.
    pub(crate) on_trial: bool,
}

/// What PID 1 sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct MachineState {
    /// Host name.
    pub(crate) hostname: String,
    /// Time zone.
    pub(crate) timezone: String,
    /// What keeps the clock right, in words.
    pub(crate) clock: String,
    /// The cache disks, in words: what they are, or why there are none and what to do.
    pub(crate) cache: String,
    /// Whether the primary cache disk is mounted.
    pub(crate) cache_mounted: bool,
    /// What else is not as it should be with the cache disks, and what to do.
    pub(crate) cache_warnings: Vec<String>,
    /// Disks that are attached.
    pub(crate) disks: Vec<Disk>,
    /// UUIDs of this appliance's cache disks that are not attached.
    pub(crate) missing_disks: Vec<String>,
    /// What went wrong at the boot and was worked around.
    pub(crate) problems: Vec<String>,
    /// Why the settings on the system disk cannot be read, if an operator may give them up.
    pub(crate) settings_unreadable: Option<String>,
    /// Services that are not as they should be, in words.
    pub(crate) services: Vec<String>,
    /// When settings that nobody confirms are taken back, in seconds since boot; none if none wait.
    pub(crate) trial_until: Option<u64>,
    /// What there is of updates.
    pub(crate) update: UpdateState,
}

/// What PID 1 knows of updates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UpdateState {
    /// What runs; none if that is not known.
    pub(crate) running: Option<Standing>,
    /// Whether it has to show yet that it is healthy.
    pub(crate) on_trial: bool,
    /// The last update.
    pub(crate) note: Option<Note>,
}

/// What the network service sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkState {
    /// Every adapter: the default one first, the others by name.
    pub(crate) adapters: Vec<AdapterState>,
    /// Name servers in use.
    pub(crate) dns: Vec<String>,
    /// Domains that short names are completed with.
    pub(crate) search: Vec<String>,
    /// NTP servers that DHCP named, the default adapter's first.
    pub(crate) ntp: Vec<String>,
    /// The host name that DHCP gave, the default adapter's first; without a domain.
    pub(crate) hostname: Option<String>,
    /// What is wrong with the network as a whole, with what to do.
    pub(crate) problem: Option<String>,
}

/// One adapter, or one VLAN.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AdapterState {
    /// Its name: `eth0`.
    pub(crate) name: String,
    /// Hardware address: `00:50:56:01:02:03`.
    pub(crate) mac: String,
    /// Whether it has a link.
    pub(crate) link: bool,
    /// Speed in Mbit/s, where the driver knows it.
    pub(crate) speed_mbit: Option<u32>,
    /// What it is a VLAN of, if it is one: `120 of eth1`.
    pub(crate) vlan: Option<String>,
    /// Whether it is the default adapter.
    pub(crate) is_default: bool,
    /// How it gets its IPv4 address: `DHCP`, `static` or `off`.
    pub(crate) ipv4_method: String,
    /// How it gets its IPv6 address: `automatic`, `static` or `off`.
    pub(crate) ipv6_method: String,
    /// Its addresses with prefix lengths: IPv4 first, no link-local ones.
    pub(crate) addresses: Vec<String>,
    /// Its default gateway for IPv4.
    pub(crate) gateway: Option<String>,
    /// Its default gateway for IPv6.
    pub(crate) ipv6_gateway: Option<String>,
    /// Longest packet, in bytes.
    pub(crate) mtu: u32,
    /// The DHCP server of its lease.
    pub(crate) dhcp_server: Option<String>,
    /// When its lease ends, in seconds since boot; it is renewed long before.
    pub(crate) lease_until: Option<u64>,
    /// What is wrong, with what to do.
    pub(crate) problem: Option<String>,
}

impl NetworkState {
    /// The default adapter, or the first one that has an address.
    pub(crate) fn main(&self) -> Option<&AdapterState> {
        let addressed = self.adapters.iter().find(|adapter| !adapter.addresses.is_empty());
        addressed.or(self.adapters.first())
    }

    /// The address under which clients reach the machine, alone: that of the default adapter if it has
    /// one.
    pub(crate) fn host(&self) -> Option<&str> {
        self.main()?.host()
    }

    /// What is wrong, in one sentence each: of the whole first, then of each adapter.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &str> {
        let adapters = self.adapters.iter().filter_map(|adapter| adapter.problem.as_deref());
        self.problem.as_deref().into_iter().chain(adapters)
    }

    /// All of it, a line for each adapter and one for the servers.
    pub(crate) fn in_words(&self) -> String {
        let mut lines: Vec<String> = self.problem.iter().cloned().collect();
        lines.extend(self.adapters.iter().map(AdapterState::in_words));
        lines.push(format!("DNS {}, NTP {}", listed(&self.dns), listed(&self.ntp)));
        lines.join("\n")
    }
}

impl AdapterState {
    /// Its first address alone.
    pub(crate) fn host(&self) -> Option<&str> {
        self.addresses.first()?.split('/').next()
    }

    /// All of it, on one line.
    pub(crate) fn in_words(&self) -> String {
        let mut words = vec![self.name.clone()];
        match (self.link, self.speed_mbit) {
            (true, Some(speed)) => words.push(format!("link at {speed} Mbit/s")),
            (true, None) => words.push("link".to_owned()),
            (false, _) => words.push("no link".to_owned()),
        }
        words.push(listed(&self.addresses));
        words.push(format!("MTU {}", self.mtu));
        words.push(format!("gateway {}", self.gateway.as_deref().unwrap_or("none")));
        words.extend(self.ipv6_gateway.iter().map(|gateway| format!("IPv6 gateway {gateway}")));
        words.extend(self.dhcp_server.iter().map(|server| format!("DHCP server {server}")));
        words.extend(self.problem.clone());
        words.join(", ")
    }
}

fn listed(entries: &[String]) -> String {
    if entries.is_empty() { "none".to_owned() } else { entries.join(" ") }
}

/// Writes what is seen.
pub(crate) fn write<T: Serialize>(path: &str, state: &T) -> io::Result<()> {
    let json = serde_json::to_vec(state).map_err(io::Error::other)?;
    sys::replace_file(Path::new(path), &json, 0o644)
}

/// Reads what was seen; defaults while there is nothing.
pub(crate) fn read<T: for<'de> Deserialize<'de> + Default>(path: &str) -> T {
    std::fs::read(path).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, addresses: &[&str]) -> AdapterState {
        AdapterState {
            name: name.to_owned(),
            link: true,
            mtu: 1500,
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            ..AdapterState::default()
        }
    }

    #[test]
    fn the_host_is_the_address_of_the_first_adapter_that_has_one() {
        let mut state = NetworkState::default();
        assert_eq!(state.host(), None);
        state.adapters =
            vec![adapter("eth1", &[]), adapter("eth0", &["10.0.2.15/24", "fd00::5/64"])];
        assert_eq!(state.host(), Some("10.0.2.15"));
        assert_eq!(state.main().unwrap().name, "eth0");
        state.adapters.truncate(1);
        assert_eq!(state.main().unwrap().name, "eth1", "one without is better than none");
        assert_eq!(state.host(), None);
    }

    #[test]
    fn the_support_page_tells_each_adapter_on_a_line() {
        let mut state = NetworkState {
            adapters: vec![adapter("eth0", &["10.0.2.15/24"]), adapter("eth1", &[])],
            ntp: vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()],
            ..NetworkState::default()
        };
        state.adapters[0].speed_mbit = Some(10_000);
        state.adapters[1].link = false;
        state.adapters[1].problem = Some("eth1 has no link: connect the adapter".to_owned());
        let words = "\
eth0, link at 10000 Mbit/s, 10.0.2.15/24, MTU 1500, gateway none
eth1, no link, none, MTU 1500, gateway none, eth1 has no link: connect the adapter
DNS none, NTP 192.0.2.1 192.0.2.2";
        assert_eq!(state.in_words(), words);
        assert_eq!(state.problems().collect::<Vec<_>>(), ["eth1 has no link: connect the adapter"]);
    }
}
