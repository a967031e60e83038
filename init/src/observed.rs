//! What PID 1 and the network service see, for the console, and what PID 1 tells the network service:
//! one JSON file each, replaced as a whole.
use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use crate::sys;

/// PID 1's file.
pub(crate) const MACHINE: &str = "/run/tidegate/machine.json";
/// The network service's file.
pub(crate) const NETWORK: &str = "/run/tidegate/network.json";
/// PID 1's word to the network service: the network's settings.
pub(crate) const NETWORK_PLAN: &str = "/run/tidegate/network-plan.json";

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
    /// The cache disk, in words: what it is, or why there is none and what to do.
    pub(crate) cache: String,
    /// Whether the cache disk is mounted.
    pub(crate) cache_mounted: bool,
    /// What went wrong at the boot and was worked around.
    pub(crate) problems: Vec<String>,
    /// Services that are not as they should be, in words.
    pub(crate) services: Vec<String>,
    /// When settings that nobody confirms are taken back, in seconds since boot; none if none wait.
    pub(crate) trial_until: Option<u64>,
    /// Whether the console has a password.
    pub(crate) password_set: bool,
}

/// What the network service sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkState {
    /// The adapter in use.
    pub(crate) adapter: String,
    /// Its address with prefix length; empty while there is none.
    pub(crate) address: String,
    /// Longest packet, in bytes.
    pub(crate) mtu: String,
    /// Default gateway.
    pub(crate) gateway: String,
    /// Name servers.
    pub(crate) dns: Vec<String>,
    /// NTP servers that DHCP named.
    pub(crate) ntp: Vec<String>,
    /// What is wrong, if anything.
    pub(crate) problem: Option<String>,
}

impl NetworkState {
    /// The address alone.
    pub(crate) fn host(&self) -> Option<&str> {
        self.address.split('/').next().filter(|host| !host.is_empty())
    }

    /// All that was configured, on one line.
    pub(crate) fn in_words(&self) -> String {
        match &self.problem {
            Some(problem) => problem.clone(),
            None => format!(
                "{}, {}, MTU {}, gateway {}, DNS {}, NTP {}",
                self.adapter,
                self.address,
                self.mtu,
                if self.gateway.is_empty() { "none" } else { &self.gateway },
                listed(&self.dns),
                listed(&self.ntp)
            ),
        }
    }
}

fn listed(servers: &[String]) -> String {
    if servers.is_empty() { "none".to_owned() } else { servers.join(" ") }
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
