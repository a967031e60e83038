//! What the wizard of an OVA's import was told, as a seed document. Pure.
//!
//! Each property is checked by itself: a wrong one is said under the label that the wizard shows, and
//! the others count. `vmware/templates/tidegate.ovf` declares the same properties.
use std::{collections::BTreeMap, net::IpAddr, path::Path, str::FromStr};

use gateway_api::{
    Secret, ShareName,
    names::{BucketName, ClientSpec, KeyPrefix},
    settings::{SETTINGS_VERSION, StorageClass},
};
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::{
    machine::{self, Adapter, CacheDisks, Ipv4, Ipv6, Network, VLAN_MAX, Vlan},
    not_toml, password, time,
};

/// The first network adapter.
const ADAPTER: &str = "eth0";

/// A property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Property {
    key: &'static str,
    /// What the wizard calls it.
    label: &'static str,
}

const fn property(key: &'static str, label: &'static str) -> Property {
    Property { key, label }
}

const HOSTNAME: Property = property("hostname", "Host name");
const ADDRESS: Property = property("ip_address", "IP address");
const PREFIX: Property = property("ip_prefix", "Prefix length");
const GATEWAY: Property = property("ip_gateway", "Default gateway");
const NAME_SERVERS: Property = property("name_servers", "DNS servers");
const DOMAINS: Property = property("search_domains", "DNS search domains");
const VLAN: Property = property("vlan", "VLAN");
const TIME_ZONE: Property = property("timezone", "Time zone");
const NTP_SERVERS: Property = property("ntp_servers", "NTP servers");
const PASSWORD: Property = property("password", "Console password");
const CACHE_DISKS: Property = property("cache_disks", "Cache disks");
const REGION: Property = property("s3_region", "S3 region");
const ENDPOINT: Property = property("s3_endpoint", "S3 endpoint");
const PATH_STYLE: Property = property("s3_path_style", "Buckets in the path");
const ALLOW_HTTP: Property = property("s3_allow_http", "Allow plain HTTP");
const ACCESS_KEY: Property = property("s3_access_key_id", "Access key");
const SECRET_KEY: Property = property("s3_secret_access_key", "Secret key");
const BUCKET: Property = property("share_bucket", "Bucket");
const KEY_PREFIX: Property = property("share_prefix", "Prefix in the bucket");
const SHARE: Property = property("share_name", "Share name");
const STORAGE_CLASS: Property = property("share_storage_class", "Storage class");
const CLIENTS: Property = property("share_client_list", "Clients");

/// What the properties come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    /// Table `[machine]` of the seed; empty if nothing was told of it.
    pub(super) machine: Table,
    /// Table `[gateway]`.
    pub(super) gateway: Table,
    /// Values that are not used, and why.
    pub(super) problems: Vec<String>,
}

/// The seed document of the properties; `zones` is where the tz database is.
pub(super) fn document(properties: &BTreeMap<String, String>, zones: &Path) -> Told {
    let mut reader = Reader { properties, problems: Vec::new() };
    let machine = reader.machine(zones);
    let gateway = reader.gateway();
    Told { machine, gateway, problems: reader.problems }
}

struct Reader<'a> {
    properties: &'a BTreeMap<String, String>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    /// The value, if there is one that is not blank.
    fn told(&self, property: Property) -> Option<&'a str> {
        self.properties.get(property.key).map(|value| value.trim()).filter(|v| !v.is_empty())
    }

    fn refuse(&mut self, property: Property, why: impl std::fmt::Display) {
        self.problems.push(format!("{}: {why}", property.label));
    }

    /// The value as something else; one that is none is said.
    fn take<T, E: std::fmt::Display>(
        &mut self,
        property: Property,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(self.told(property)?) {
            Ok(value) => Some(value),
            Err(why) => {
                self.refuse(property, why);
                None
            }
        }
    }

    /// A list, separated by commas, semicolons or blanks.
    fn list<T: FromStr>(&mut self, property: Property, what: &str) -> Option<Vec<T>> {
        let one = |word: &str| word.parse::<T>().map_err(|_| format!("{word:?} is no {what}"));
        self.take(property, |value| {
            let words = value.split([',', ';', ' ', '\t']).filter(|word| !word.is_empty());
            words.map(one).collect::<Result<Vec<T>, String>>()
        })
    }

    /// One of the names of an enum of the settings.
    fn choice<T: DeserializeOwned>(&mut self, property: Property) -> Option<Value> {
        self.take(property, |word| {
            let value = Value::String(word.to_owned());
            let known = value.clone().try_into::<T>();
            known.map(|_| value).map_err(|error| error.message().to_owned())
        })
    }

    fn flag(&mut self, property: Property) -> bool {
        let parse = |value: &str| match value.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Ok(true),
            "false" | "no" | "0" => Ok(false),
            _ => Err(format!("{value:?} is neither true nor false")),
        };
        self.take(property, parse).unwrap_or_default()
    }

    fn machine(&mut self, zones: &Path) -> Table {
        let mut table = Table::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                table.insert(key.to_owned(), value);
            }
        };
        let hostname = self.take(HOSTNAME, |name| {
            let refused = "use 1 to 63 letters, digits and hyphens, not a hyphen at either end";
            if machine::is_hostname(name) { Ok(name.into()) } else { Err(refused) }
        });
        put("hostname", hostname);
        let zone = self.take(TIME_ZONE, |zone| {
            let known = time::is_zone(zones, zone);
            let refused =
                || format!("{zone:?} is not in the tz database: write one such as Asia/Seoul");
            if known { Ok(zone.into()) } else { Err(refused()) }
        });
        put("timezone", zone);
        let servers = self.list::<String>(NTP_SERVERS, "server").filter(|servers| {
            let fit = machine::are_ntp_servers(servers);
            if !fit {
                let most = machine::NTP_SERVERS_MAX;
                self.refuse(NTP_SERVERS, format!("give at most {most} names or addresses"));
            }
            fit
        });
        put("ntp_servers", servers.map(Value::from));
        let hash = self.take(PASSWORD, |word| {
            if password::is_hash(word) {
                return Ok(word.into());
            }
            password::hash(&Secret::new(word)).map(|hash| hash.expose().into())
        });
        put("password_hash", hash);
        let cache_disks = self.choice::<CacheDisks>(CACHE_DISKS);
        put("cache_disks", cache_disks);
        put("network", self.network());
        table
    }

    /// The network's settings; `None` when nothing is told of it, or when it does not fit together.
    fn network(&mut self) -> Option<Value> {
        let name_servers = self.list(NAME_SERVERS, "address").unwrap_or_default();
        let mut network = Network { name_servers, ..Network::default() };
        if let Err(error) = network.check() {
            self.refuse(NAME_SERVERS, error);
            network = Network::default();
        }
        let search_domains = self.list(DOMAINS, "domain").unwrap_or_default();
        let domains = Network { search_domains, ..network.clone() };
        match domains.check() {
            Ok(()) => network = domains,
            Err(error) => self.refuse(DOMAINS, error),
        }
        let adapters = self.adapters();
        let default_adapter = adapters.last().map(|adapter| adapter.name.clone());
        let with_adapters = Network { default_adapter, adapters, ..network.clone() };
        match with_adapters.check() {
            Ok(()) => network = with_adapters,
            Err(error) => self.refuse(ADDRESS, error),
        }
        if network == Network::default() {
            return None;
        }
        Value::try_from(&network).map_err(|error| self.refuse(ADDRESS, error)).ok()
    }

    /// The adapter that has the address, after the one that carries it if it is a VLAN.
    fn adapters(&mut self) -> Vec<Adapter> {
        let vlan = self.take(VLAN, |value| match value.parse::<u16>() {
            Ok(id) if (1..=VLAN_MAX).contains(&id) => Ok(id),
            Ok(_) | Err(_) => Err(format!("{value:?} is no number from 1 to {VLAN_MAX}")),
        });
        let asked = [VLAN, ADDRESS].into_iter().any(|p| self.told(p).is_some());
        let adapter = vlan.map_or(ADAPTER.to_owned(), |id| format!("{ADAPTER}.{id}"));
        let mut adapter = Adapter::automatic(&adapter);
        let address = self.address();
        let gateway = self.take(GATEWAY, |value| {
            value.parse::<IpAddr>().map_err(|_| format!("{value:?} is no address"))
        });
        match (address, gateway) {
            (Some(IpNet::V4(address)), None) => {
                adapter.ipv4 = Ipv4::Static { address, gateway: None }
            }
            (Some(IpNet::V6(address)), None) => {
                adapter.ipv6 = Ipv6::Static { address, gateway: None }
            }
            (Some(IpNet::V4(address)), Some(IpAddr::V4(gateway))) => {
                adapter.ipv4 = Ipv4::Static { address, gateway: Some(gateway) };
            }
            (Some(IpNet::V6(address)), Some(IpAddr::V6(gateway))) => {
                adapter.ipv6 = Ipv6::Static { address, gateway: Some(gateway) };
            }
            (Some(_), Some(_)) => {
                self.refuse(GATEWAY, "it is no address of the same family as the IP address");
                return Vec::new();
            }
            (None, Some(_)) if self.told(ADDRESS).is_none() => {
                self.refuse(GATEWAY, "it is not used without an IP address: DHCP names one");
            }
            (None, Some(_) | None) => {}
        }
        // A wrong VLAN or address must not put the appliance onto another network by half.
        let wrong =
            [(VLAN, vlan.is_none()), (ADDRESS, address.is_none()), (GATEWAY, gateway.is_none())];
        if !asked || wrong.into_iter().any(|(p, refused)| refused && self.told(p).is_some()) {
            return Vec::new();
        }
        let Some(id) = vlan else { return vec![adapter] };
        let parent = Adapter { ipv4: Ipv4::Off, ipv6: Ipv6::Off, ..Adapter::automatic(ADAPTER) };
        adapter.vlan = Some(Vlan { parent: ADAPTER.to_owned(), id });
        vec![parent, adapter]
    }

    /// The address with its prefix length: `10.0.0.5/24`, or with the property of its own.
    fn address(&mut self) -> Option<IpNet> {
        let prefix = self.told(PREFIX).map(str::to_owned);
        if self.told(ADDRESS).is_none() && prefix.is_some() {
            self.refuse(PREFIX, "it is not used without an IP address: DHCP names both");
        }
        self.take(ADDRESS, |value| {
            let refused = || format!("{value:?} is no address such as 10.0.0.5");
            if value.contains('/') {
                return value.parse::<IpNet>().map_err(|_| refused());
            }
            let address: IpAddr = value.parse().map_err(|_| refused())?;
            let prefix = prefix.ok_or("it needs a prefix length, such as 24")?;
            with_prefix(address, &prefix)
        })
    }

    fn gateway(&mut self) -> Table {
        let mut s3 = Table::new();
        let word = |value: &str| match value.contains(char::is_whitespace) {
            false => Ok(Value::from(value)),
            true => Err("it must not contain blanks"),
        };
        let endpoint = self.take(ENDPOINT, |value| {
            let value = word(value)?;
            let url = value
                .as_str()
                .is_some_and(|v| v.starts_with("https://") || v.starts_with("http://"));
            if url { Ok(value) } else { Err("it must begin with https://") }
        });
        let endpoint_refused = endpoint.is_none() && self.told(ENDPOINT).is_some();
        let path_style = self.flag(PATH_STYLE).then(|| Value::from("path"));
        let allow_http = self.flag(ALLOW_HTTP).then(|| Value::from(true));
        for (key, value) in [
            ("region", self.take(REGION, word)),
            ("endpoint", endpoint),
            ("addressing", path_style),
            ("allow_http", allow_http),
            ("access_key_id", self.take(ACCESS_KEY, word)),
            ("secret_access_key", self.take(SECRET_KEY, word)),
        ] {
            if let Some(value) = value {
                s3.insert(key.to_owned(), value);
            }
        }
        let share = self.share();
        let mut table = Table::new();
        if s3.is_empty() && share.is_none() {
            return table;
        }
        table.insert("version".to_owned(), i64::from(SETTINGS_VERSION).into());
        table.insert("s3".to_owned(), s3.into());
        if let Some(share) = share {
            table.insert("share".to_owned(), vec![Value::from(share)].into());
        }
        if endpoint_refused {
            return Table::new();
        }
        // What does not fit together is refused as a whole: half of it might reach another store.
        let checked = toml::to_string(&table).map_err(|error| error.to_string());
        let checked = checked.and_then(|text| not_toml::gateway_settings(&text));
        if let Err(why) = checked {
            self.refuse(ENDPOINT, why);
            return Table::new();
        }
        table
    }

    fn share(&mut self) -> Option<Table> {
        let bucket = self.take(BUCKET, str::parse::<BucketName>);
        let name = self.take(SHARE, str::parse::<ShareName>);
        let prefix = self.take(KEY_PREFIX, str::parse::<KeyPrefix>);
        let storage_class = self.choice::<StorageClass>(STORAGE_CLASS);
        let clients = self.list::<ClientSpec>(CLIENTS, "address or network");
        let Some(bucket) = bucket else {
            if self.told(BUCKET).is_none() && (name.is_some() || prefix.is_some()) {
                self.refuse(BUCKET, "it is empty, so there is no file share");
            }
            return None;
        };
        // A share with other clients, or another part of the bucket, than was meant is worse than none.
        let wrong =
            [(SHARE, name.is_none()), (KEY_PREFIX, prefix.is_none()), (CLIENTS, clients.is_none())];
        if wrong.into_iter().any(|(p, refused)| refused && self.told(p).is_some()) {
            self.refuse(BUCKET, "there is no file share as long as its other values are wrong");
            return None;
        }
        let Some(name) = name.or_else(|| bucket.as_str().parse().ok()) else {
            self.refuse(SHARE, "the bucket's name cannot be the share's: give one");
            return None;
        };
        let mut share = Table::new();
        share.insert("name".to_owned(), name.as_str().into());
        share.insert("bucket".to_owned(), bucket.as_str().into());
        if let Some(prefix) = prefix {
            share.insert("prefix".to_owned(), prefix.as_str().into());
        }
        if let Some(class) = storage_class {
            share.insert("storage_class".to_owned(), class);
        }
        if let Some(clients) = clients {
            let clients: Vec<String> = clients.iter().map(ToString::to_string).collect();
            share.insert("client_list".to_owned(), clients.into());
        }
        Some(share)
    }
}

/// An address with a prefix length (`24`, `/24`) or a netmask (`255.255.255.0`).
fn with_prefix(address: IpAddr, prefix: &str) -> Result<IpNet, String> {
    let refused = || format!("{prefix:?} is no prefix length such as 24 of {address}");
    if let Ok(mask) = prefix.parse::<IpAddr>() {
        return IpNet::with_netmask(address, mask).map_err(|_| refused());
    }
    let bits = prefix.trim_start_matches('/').parse().map_err(|_| refused())?;
    IpNet::new(address, bits).map_err(|_| refused())
}

#[cfg(test)]
mod tests;
