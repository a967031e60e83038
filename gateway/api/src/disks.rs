//! The cache disks: their names, and what is told and asked of them.
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ShareName, size::ByteSize};

/// What the disk is called that has the catalog. No other can have this name.
pub const PRIMARY: &str = "primary";
/// Longest name.
const NAME_BYTES_MAX: usize = 64;

/// The name is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cache disk name {0:?} is not usable: use 1 to 64 of the characters A-Z a-z 0-9 -")]
pub struct DiskNameError(String);

/// The stable name of a cache disk; in the appliance the UUID of its file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DiskName(String);

impl DiskName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DiskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DiskName {
    type Err = DiskNameError;
    fn from_str(text: &str) -> Result<Self, DiskNameError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(plain) {
            return Err(DiskNameError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for DiskName {
    type Error = DiskNameError;
    fn try_from(text: String) -> Result<Self, DiskNameError> {
        text.parse()
    }
}

impl From<DiskName> for String {
    fn from(name: DiskName) -> String {
        name.0
    }
}

/// All cache disks: answer to `GET` of [`crate::admin::DISKS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisksStatus {
    /// The primary first, then the others in the order of their first use.
    pub disks: Vec<DiskStatus>,
}

/// One cache disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Its name; [`PRIMARY`] for the one that has the catalog.
    pub name: DiskName,
    /// Where it is, or was when it was last there.
    pub path: String,
    /// Whether it has the catalog: that one cannot be released.
    pub primary: bool,
    /// How it stands.
    pub state: DiskState,
    /// Size of its file system; 0 when it is missing or does not tell.
    pub total: ByteSize,
    /// Bytes free on it; 0 when it is missing or does not tell.
    pub free: ByteSize,
    /// Bytes of files that are cached on it; of a missing one only of files that S3 does not have.
    pub cached_bytes: ByteSize,
    /// Bytes of the files on it whose content S3 does not have.
    pub dirty_bytes: ByteSize,
    /// How many files those are.
    pub dirty_files: u64,
    /// Files of which bytes are cached on it.
    pub files: u64,
    /// Why it is missing although it was given, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How a cache disk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskState {
    /// It takes new files.
    InUse,
    /// It was released: it takes no new files, and what it has leaves it.
    Draining,
    /// It was released and holds nothing any more: it can be taken away.
    Empty,
    /// It is not there.
    Missing,
}

impl DiskState {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InUse => "in use",
            Self::Draining => "draining",
            Self::Empty => "empty",
            Self::Missing => "missing",
        }
    }
}

/// Body of [`crate::admin::DISKS_RELEASE`] and [`crate::admin::DISKS_KEEP`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskRequest {
    /// Which disk.
    pub name: DiskName,
}

/// Body of [`crate::admin::DISKS_FORGET`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetRequest {
    /// Which disk.
    pub name: DiskName,
    /// Whether files that S3 does not have may be lost with it.
    #[serde(default)]
    pub lose_dirty: bool,
}

/// What forgetting a disk has cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetReport {
    /// The files that are lost, a thousand at most.
    pub lost: Vec<LostFile>,
    /// How many they are in all.
    pub lost_files: u64,
}

/// A file that is lost with its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostFile {
    /// Its share; none if the settings do not name that any more.
    pub share: Option<ShareName>,
    /// Where it was inside it.
    pub path: String,
    /// Its size.
    pub size: ByteSize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_bounded() {
        for good in ["a", "3f0e1b9c-52a7-4b7c-9f0e-0123456789ab", &"x".repeat(64)] {
            assert_eq!(good.parse::<DiskName>().unwrap().as_str(), good);
        }
        for bad in ["", "a/b", "..", "a b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<DiskName>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<DiskRequest>(r#"{"name":"../x"}"#).is_err());
        assert_eq!(serde_json::to_string(&DiskState::InUse).unwrap(), "\"in_use\"");
    }
}
