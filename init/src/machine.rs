//! The machine's settings: one TOML file, versioned, replaced atomically, kept aside when broken.
use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{sys, time};

/// The document version that this build reads and writes.
const VERSION: u32 = 1;
/// Longest host name (RFC 1035).
const HOSTNAME_BYTES_MAX: usize = 63;
const NTP_SERVERS_MAX: usize = 8;

/// Everything that the machine (not the gateway) is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Machine {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// Host name.
    pub(crate) hostname: String,
    /// Name of a time zone of the tz database, such as `Asia/Seoul`.
    pub(crate) timezone: String,
    /// NTP servers; empty for those that DHCP names.
    pub(crate) ntp_servers: Vec<String>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            version: VERSION,
            hostname: "tidegate".to_owned(),
            timezone: "UTC".to_owned(),
            ntp_servers: Vec::new(),
        }
    }
}

/// Why settings are not usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineError {
    #[error("the machine settings cannot be read: {0}")]
    Syntax(#[from] toml::de::Error),
    #[error("machine settings of version {0}; this version reads {VERSION}")]
    Version(u32),
    #[error("hostname {0:?}: use 1 to 63 letters, digits and hyphens, not a hyphen at either end")]
    Hostname(String),
    #[error("time zone {0:?} is not in the tz database: write one such as Asia/Seoul")]
    Timezone(String),
    #[error("ntp_servers: at most {NTP_SERVERS_MAX} names or addresses without spaces")]
    NtpServers,
}

impl Machine {
    /// Reads and checks a document.
    pub(crate) fn parse(text: &str, zones: &Path) -> Result<Self, MachineError> {
        let machine: Self = toml::from_str(text)?;
        machine.check(zones)?;
        Ok(machine)
    }

    /// Checks every value; `zones` is where the tz database is.
    pub(crate) fn check(&self, zones: &Path) -> Result<(), MachineError> {
        if self.version != VERSION {
            return Err(MachineError::Version(self.version));
        }
        let name = self.hostname.as_bytes();
        let plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
        let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
        if name.len() > HOSTNAME_BYTES_MAX
            || !name.iter().all(plain)
            || !edge(name.first())
            || !edge(name.last())
        {
            return Err(MachineError::Hostname(self.hostname.clone()));
        }
        if !time::is_zone(zones, &self.timezone) {
            return Err(MachineError::Timezone(self.timezone.clone()));
        }
        let server = |s: &String| {
            !s.is_empty()
                && s.len() <= 253
                && !s.chars().any(|c| c.is_whitespace() || c.is_control())
        };
        if self.ntp_servers.len() > NTP_SERVERS_MAX || !self.ntp_servers.iter().all(server) {
            return Err(MachineError::NtpServers);
        }
        Ok(())
    }

    /// Reads `path`. A broken file is kept aside; the second value says so.
    pub(crate) fn load(path: &Path, zones: &Path) -> (Option<Self>, Option<String>) {
        match fs::read_to_string(path) {
            Ok(text) => match Self::parse(&text, zones) {
                Ok(machine) => (Some(machine), None),
                Err(error) => {
                    let aside = path.with_extension("toml.broken");
                    let kept = match fs::rename(path, &aside) {
                        Ok(()) => format!("kept as {}", aside.display()),
                        Err(why) => format!("could not be kept aside: {why}"),
                    };
                    (None, Some(format!("{error} ({kept}); the defaults are used")))
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
            Err(error) => (None, Some(format!("{}: {error}", path.display()))),
        }
    }

    /// Writes the settings; durable when it returns.
    pub(crate) fn store(&self, path: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        sys::replace_file(path, text.as_bytes(), 0o600)
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(Machine::load(&path, zones.path()), (Some(machine), None));
        fs::write(&path, "version = \"one\"").unwrap();
        let (loaded, problem) = Machine::load(&path, zones.path());
        assert_eq!(loaded, None);
        assert!(problem.unwrap().contains("machine.toml.broken"));
        assert!(zones.path().join("machine.toml.broken").exists());
        assert_eq!(Machine::load(&path, zones.path()), (None, None));
    }

    #[test]
    fn refusals_say_what_would_be_right() {
        let zones = zones();
        for (text, says) in [
            ("version = 2", "version 2"),
            ("hostname = \"-a\"", "hyphen"),
            ("hostname = \"a b\"", "letters"),
            ("hostname = \"\"", "letters"),
            ("timezone = \"Mars/Olympus\"", "Asia/Seoul"),
            ("timezone = \"../../etc/passwd\"", "tz database"),
            ("ntp_servers = [\"a b\"]", "without spaces"),
            ("typo = 1", "typo"),
        ] {
            let error = Machine::parse(text, zones.path()).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
