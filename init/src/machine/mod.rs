//! The machine's settings: one TOML file, versioned, replaced atomically, kept aside when broken.
//!
//! Beside it stands the last one that was good: a broken file costs what was changed in it, not the
//! network's addresses.
#[cfg(test)]
mod cut;
mod load;
mod network;

use std::{
    io,
    path::{Path, PathBuf},
};

use gateway_api::Secret;
use serde::{Deserialize, Serialize};

pub(crate) use self::load::Unreadable;
pub(crate) use self::network::is_domain;
pub(crate) use self::network::{
    Adapter, Ipv4, Ipv6, MTU_BYTES_MIN, Network, NetworkError, VLAN_MAX, Vlan,
};
use crate::{not_toml, password, reserve, sys, time};

/// The document version that this build writes. Documents of version 1 have no network, password and
/// cache, and are read as such.
const VERSION: u32 = 2;
const VERSION_MIN: u32 = 1;
/// Longest host name (RFC 1035).
const HOSTNAME_BYTES_MAX: usize = 63;
/// Most NTP servers.
pub(crate) const NTP_SERVERS_MAX: usize = 8;

/// Everything that the machine (not the gateway) is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Machine {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// Host name; with [`Self::hostname_from_dhcp`] the one until DHCP names another.
    pub(crate) hostname: String,
    /// Whether the DHCP server's word for the host name counts.
    pub(crate) hostname_from_dhcp: bool,
    /// Name of a time zone of the tz database, such as `Asia/Seoul`.
    pub(crate) timezone: String,
    /// NTP servers; empty for those that DHCP names.
    pub(crate) ntp_servers: Vec<String>,
    /// Hash of the console's password (SHA-512 crypt, as `openssl passwd -6` prints); none until it is
    /// set on the screen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_hash: Option<Secret>,
    /// Which blank disks become the cache without being asked.
    pub(crate) cache_disks: CacheDisks,
    /// The network.
    pub(crate) network: Network,
}

/// Which blank disks become cache disks by themselves. A disk that holds anything never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CacheDisks {
    /// The blank disk, if there is exactly one and no cache disk yet.
    #[default]
    SingleBlank,
    /// Every blank disk, whenever it comes.
    EveryBlank,
    /// None: the operator allocates them on the console.
    Ask,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            version: VERSION,
            hostname: "tidegate".to_owned(),
            hostname_from_dhcp: false,
            timezone: "UTC".to_owned(),
            ntp_servers: Vec::new(),
            password_hash: None,
            cache_disks: CacheDisks::default(),
            network: Network::default(),
        }
    }
}

/// Why settings are not usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineError {
    // Words, not the error: whoever says an error with what is below it would draw the document's line.
    #[error("the machine settings cannot be read: {0}")]
    Syntax(String),
    #[error("the machine settings cannot be read: not UTF-8")]
    Encoding(#[from] std::str::Utf8Error),
    #[error("machine settings of version {0}; this version reads {VERSION_MIN} to {VERSION}")]
    Version(u32),
    #[error("hostname {0:?}: use 1 to 63 letters, digits and hyphens, not a hyphen at either end")]
    Hostname(String),
    #[error("time zone {0:?} is not in the tz database: write one such as Asia/Seoul")]
    Timezone(String),
    #[error("ntp_servers: at most {NTP_SERVERS_MAX} names or addresses without spaces")]
    NtpServers,
    #[error(
        "password_hash is not one of SHA-512 crypt ($6$SALT$HASH): make it with openssl passwd -6"
    )]
    PasswordHash,
    #[error("network: {0}")]
    Network(#[from] NetworkError),
}

impl Machine {
    /// Reads and checks a document.
    pub(crate) fn parse(text: &str, zones: &Path) -> Result<Self, MachineError> {
        let machine: Self =
            toml::from_str(text).map_err(|error| MachineError::Syntax(not_toml::words(&error)))?;
        machine.check(zones)?;
        Ok(Self { version: VERSION, ..machine })
    }

    /// Reads and checks what a file holds, which need not be text.
    fn parse_bytes(bytes: &[u8], zones: &Path) -> Result<Self, MachineError> {
        Self::parse(std::str::from_utf8(bytes)?, zones)
    }

    /// Checks every value; `zones` is where the tz database is.
    pub(crate) fn check(&self, zones: &Path) -> Result<(), MachineError> {
        if !(VERSION_MIN..=VERSION).contains(&self.version) {
            return Err(MachineError::Version(self.version));
        }
        if !is_hostname(&self.hostname) {
            return Err(MachineError::Hostname(self.hostname.clone()));
        }
        if !time::is_zone(zones, &self.timezone) {
            return Err(MachineError::Timezone(self.timezone.clone()));
        }
        if !are_ntp_servers(&self.ntp_servers) {
            return Err(MachineError::NtpServers);
        }
        if self.password_hash.as_ref().is_some_and(|hash| !password::is_hash(hash.expose())) {
            return Err(MachineError::PasswordHash);
        }
        Ok(self.network.check()?)
    }

    /// These settings with the other ones' password if they name none: whoever leaves it out of a seed
    /// does not mean to open the console.
    pub(crate) fn keeping_password_of(self, other: &Self) -> Self {
        let password_hash = self.password_hash.or_else(|| other.password_hash.clone());
        Self { password_hash, ..self }
    }

    /// The name that the machine has when DHCP gives it `from_dhcp`.
    pub(crate) fn hostname_with<'a>(&'a self, from_dhcp: Option<&'a str>) -> &'a str {
        from_dhcp.filter(|_| self.hostname_from_dhcp).unwrap_or(&self.hostname)
    }

    /// Writes the settings; durable when it returns. There is a reserve for it (`reserve.rs`). That their copy
    /// is not kept is only said: they are what the next boot reads. A file that the disk does not give is kept aside first.
    ///
    /// # Errors
    /// The partition does not take them, or a file that cannot be kept aside is in their place: those before them are there, or, where [`sys::may_be_replaced`] says so,
    /// perhaps these.
    pub(crate) fn store(&self, path: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        load::make_way(path)?;
        reserve::replace_file(path, text.as_bytes(), 0o600)?;
        // Only now: at every moment one of the two is whole.
        let last = last_good(path);
        let kept = load::make_way(&last)
            .and_then(|()| reserve::replace_file(&last, text.as_bytes(), 0o600));
        if let Err(error) = kept {
            sys::say(&format!(
                "the settings are kept, but no copy of them in {}: {error}",
                last.display()
            ));
        }
        Ok(())
    }
}

/// Where the last good settings stand.
fn last_good(path: &Path) -> PathBuf {
    path.with_extension("toml.last")
}

/// Whether they are few enough, and each is a name or an address.
pub(crate) fn are_ntp_servers(servers: &[String]) -> bool {
    let server = |s: &String| {
        !s.is_empty() && s.len() <= 253 && !s.chars().any(|c| c.is_whitespace() || c.is_control())
    };
    servers.len() <= NTP_SERVERS_MAX && servers.iter().all(server)
}

/// Whether it is a host name (RFC 1123 §2.1), without a domain.
pub(crate) fn is_hostname(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=HOSTNAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn zones() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("Asia")).unwrap();
        fs::write(dir.path().join("Asia/Seoul"), b"TZif2").unwrap();
        fs::write(dir.path().join("UTC"), b"TZif2").unwrap();
        dir
    }

    #[test]
    fn settings_survive_a_round_trip_and_a_broken_file_is_kept_aside() {
        let zones = zones();
        let path = zones.path().join("machine.toml");
        let machine = Machine { timezone: "Asia/Seoul".to_owned(), ..Machine::default() };
        machine.store(&path).unwrap();
        assert_eq!(Machine::load(&path, zones.path()).unwrap(), (Some(machine.clone()), None));
        fs::write(&path, "version = \"one\"").unwrap();
        let (loaded, problem) = Machine::load(&path, zones.path()).unwrap();
        assert_eq!(loaded.as_ref(), Some(&machine), "the last good one counts");
        assert!(problem.unwrap().contains("machine.toml.broken"));
        assert!(zones.path().join("machine.toml.broken").exists());
        let again = Machine::load(&path, zones.path()).unwrap();
        assert_eq!(again, (Some(machine.clone()), None), "it has taken the broken one's place");
        fs::remove_file(&path).unwrap();
        let (loaded, problem) = Machine::load(&path, zones.path()).unwrap();
        assert_eq!(loaded, Some(machine));
        assert!(problem.unwrap().contains("is missing"));
        fs::remove_file(zones.path().join("machine.toml.last")).unwrap();
        fs::write(&path, "version = \"one\"").unwrap();
        let (loaded, problem) = Machine::load(&path, zones.path()).unwrap();
        assert_eq!(loaded, None);
        assert!(problem.unwrap().contains("the defaults are used"));
        assert_eq!(
            Machine::load(&path, zones.path()).unwrap(),
            (None, None),
            "as at the first boot"
        );
    }

    #[test]
    fn a_flipped_byte_anywhere_costs_nothing_but_the_change_and_the_file_is_kept_aside() {
        let zones = zones();
        let path = zones.path().join("machine.toml");
        let machine = Machine { hostname: "gate7".to_owned(), ..Machine::default() };
        machine.store(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] = 0xff;
            fs::write(&path, &damaged).unwrap();
            let (loaded, problem) = Machine::load(&path, zones.path()).unwrap();
            assert_eq!(loaded.as_ref(), Some(&machine), "byte {at}");
            let problem = problem.unwrap();
            let says = ["those before them are used", "UTF-8", "machine.toml.broken"];
            assert!(says.iter().all(|words| problem.contains(words)), "{problem}");
            assert_eq!(fs::read(zones.path().join("machine.toml.broken")).unwrap(), damaged);
            assert_eq!(fs::read(&path).unwrap(), whole, "the last good one is in its place");
        }
    }

    #[test]
    fn settings_that_are_on_the_disk_are_in_force_though_their_copy_is_not_kept() {
        let zones = zones();
        let path = zones.path().join("machine.toml");
        // Under this name the copy is written.
        fs::create_dir(last_good(&path).with_extension("new")).unwrap();
        let machine = Machine { hostname: "gate7".to_owned(), ..Machine::default() };
        machine.store(&path).unwrap();
        assert_eq!(Machine::load(&path, zones.path()).unwrap(), (Some(machine), None));
        assert!(!last_good(&zones.path().join("machine.toml")).exists());
        let absent = zones.path().join("absent/machine.toml");
        assert!(Machine::default().store(&absent).is_err(), "those that are not there");
    }

    #[test]
    fn settings_without_a_password_keep_the_one_there_was() {
        let hash = |word: &str| Some(Secret::new(word));
        let with = |word| Machine { password_hash: hash(word), ..Machine::default() };
        let bare = Machine { hostname: "gate7".to_owned(), ..Machine::default() };
        let kept = bare.clone().keeping_password_of(&with("$6$old"));
        assert_eq!((kept.password_hash, kept.hostname.as_str()), (hash("$6$old"), "gate7"));
        assert_eq!(with("$6$new").keeping_password_of(&with("$6$old")), with("$6$new"));
        assert_eq!(bare.clone().keeping_password_of(&Machine::default()), bare);
    }

    #[test]
    fn the_dhcp_server_s_word_for_the_name_counts_only_where_it_is_asked_for() {
        let mut machine = Machine { hostname: "own".to_owned(), ..Machine::default() };
        assert_eq!(machine.hostname_with(Some("given")), "own");
        machine.hostname_from_dhcp = true;
        assert_eq!(machine.hostname_with(Some("given")), "given");
        assert_eq!(machine.hostname_with(None), "own");
    }

    #[test]
    fn documents_of_the_first_version_are_read() {
        let zones = zones();
        let text =
            "version = 1\nhostname = \"gate7\"\ntimezone = \"Asia/Seoul\"\nntp_servers = []\n";
        let machine = Machine::parse(text, zones.path()).unwrap();
        assert_eq!((machine.version, machine.hostname.as_str()), (VERSION, "gate7"));
        assert_eq!(machine.network, Network::default());
    }

    #[test]
    fn refusals_say_what_would_be_right() {
        let zones = zones();
        for (text, says) in [
            ("version = 3", "version 3"),
            ("hostname = \"-a\"", "hyphen"),
            ("hostname = \"a b\"", "letters"),
            ("hostname = \"\"", "letters"),
            ("timezone = \"Mars/Olympus\"", "Asia/Seoul"),
            ("timezone = \"../../etc/passwd\"", "tz database"),
            ("ntp_servers = [\"a b\"]", "without spaces"),
            ("password_hash = \"secret\"", "openssl passwd -6"),
            ("cache_disks = \"all\"", "every-blank"),
            ("[network]\ndefault_adapter = \"lo\"", "network: adapter"),
            ("typo = 1", "typo"),
        ] {
            let error = Machine::parse(text, zones.path()).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
