//! What was found and done about the disks, for PID 1 and the console. Data only.
use gateway_api::ByteSize;
use serde::{Deserialize, Serialize};

use super::{CACHE, FURTHER};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    /// The primary cache disk, if it is mounted.
    pub(crate) primary: Option<Mounted>,
    /// Further ones that are mounted, in the order of the record.
    pub(crate) further: Vec<Mounted>,
    /// Why there is no primary one, and what to do; empty if there is.
    pub(crate) problem: String,
    /// What else is not as it should be, and what to do.
    pub(crate) warnings: Vec<String>,
    /// Every disk that is attached.
    pub(crate) disks: Vec<Disk>,
    /// UUIDs of cache disks of this appliance that are not attached, the primary one's first.
    pub(crate) missing: Vec<String>,
    /// Whether something is mounted that must not be, and that the gateway holds.
    pub(crate) gateway_must_end: bool,
    /// Whether the gateway takes files off a disk that is to be given back.
    pub(crate) draining: bool,
    /// Whether it runs, and did not say what it does with its disks.
    pub(crate) gateway_silent: bool,
}

/// A cache disk that is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mounted {
    /// UUID of its file system.
    pub(crate) uuid: String,
    /// `/dev/sdb`.
    pub(crate) device: String,
    /// The whole disk's.
    pub(crate) size: ByteSize,
}

/// A disk that is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Disk {
    /// `sdb`.
    pub(crate) name: String,
    pub(crate) size: ByteSize,
    pub(crate) model: String,
    pub(crate) role: Role,
    /// UUID, if it is a cache disk.
    pub(crate) uuid: Option<String>,
    /// What is on it, in words.
    pub(crate) holds: String,
}

/// What a disk is to this appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// It boots from it.
    System,
    /// The cache disk with catalog and data.
    Primary,
    /// A cache disk with data.
    Further,
    /// Nothing is on it.
    Blank,
    /// A cache disk, but none of this appliance.
    OtherCache,
    /// Something else is on it, or it cannot be read.
    Foreign,
}

impl Role {
    /// In one word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Primary => "primary",
            Self::Further => "further",
            Self::Blank => "blank",
            Self::OtherCache => "other's",
            Self::Foreign => "foreign",
        }
    }
}

impl Report {
    /// The cache disks, or why there are none, in words.
    pub(crate) fn in_words(&self) -> String {
        let Some(primary) = &self.primary else { return self.problem.clone() };
        let disks = std::iter::once(primary).chain(&self.further);
        let disks: Vec<String> =
            disks.map(|disk| format!("{} on {}", disk.size, disk.device)).collect();
        disks.join(", ")
    }

    /// What the gateway is told of its disks: the primary one, then `--cache-disk` for each further one.
    pub(crate) fn gateway_arguments(further: &[Mounted]) -> Vec<String> {
        let mut arguments = vec!["--cache".to_owned(), CACHE.to_owned()];
        for disk in further {
            arguments.push("--cache-disk".to_owned());
            arguments.push(format!("{0}={FURTHER}/{0}", disk.uuid));
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(uuid: &str, device: &str, gib: u64) -> Mounted {
        Mounted { uuid: uuid.to_owned(), device: device.to_owned(), size: ByteSize(gib << 30) }
    }

    #[test]
    fn every_disk_is_named_and_handed_to_the_gateway() {
        let mut report = Report { problem: "no blank disk".to_owned(), ..Report::default() };
        assert_eq!(report.in_words(), "no blank disk");
        report.primary = Some(mounted("aa", "/dev/sdb", 150));
        report.further = vec![mounted("bb", "/dev/sdd", 200), mounted("cc", "/dev/sdc", 10)];
        assert_eq!(
            report.in_words(),
            "150 GiB on /dev/sdb, 200 GiB on /dev/sdd, 10.0 GiB on /dev/sdc"
        );
        let arguments = Report::gateway_arguments(&report.further).join(" ");
        let expected =
            "--cache /cache --cache-disk bb=/cache-disks/bb --cache-disk cc=/cache-disks/cc";
        assert_eq!(arguments, expected);
    }
}
