//! Which disks are this appliance's cache: the record on the config partition.
//!
//! A line for each: `primary UUID`, `further UUID` in the order in which they came, and `released UUID`
//! for one that is given back and not wiped yet. A line that is nothing but a UUID is a primary.
use std::{fs, io, path::Path};

use anyhow::{Context, Result, bail};

use crate::reserve;

/// The file.
const FILE: &str = "/config/cache-disk";
/// Most further cache disks: the gateway takes eight disks.
pub(super) const FURTHER_MAX: usize = 7;
/// What stands in it when there is none.
const NONE: &str = "none";
/// Hexadecimal digits of a UUID.
const UUID_DIGITS: usize = 32;

/// The cache disks, each by the UUID of its file system (32 hexadecimal digits).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// The one with catalog and data.
    pub(super) primary: Option<String>,
    /// Those with data only.
    pub(super) further: Vec<String>,
    /// Those that the gateway has emptied: they are wiped as soon as they are not mounted.
    pub(super) released: Vec<String>,
}

impl Record {
    /// Reads it. An unreadable one is an error, because a disk might be formatted for want of it.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub(super) fn read() -> Result<Self> {
        match fs::read_to_string(FILE) {
            Ok(text) => Self::parse(&text).with_context(|| {
                format!("{FILE}, the record of the cache disks, is broken: no disk was touched")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context(FILE),
        }
    }

    /// Writes it; durable when it returns.
    ///
    /// # Errors
    /// The config partition does not take it.
    pub(super) fn store(&self) -> Result<()> {
        reserve::replace_file(Path::new(FILE), self.text().as_bytes(), 0o644)
            .with_context(|| format!("noting the cache disks in {FILE}"))
    }

    /// Whether it is one of the cache disks.
    pub(super) fn has(&self, uuid: &str) -> bool {
        self.primary.as_deref() == Some(uuid) || self.further.iter().any(|one| one == uuid)
    }

    /// A disk that came with the primary one.
    pub(super) fn adopt(&mut self, uuid: &str) {
        if !self.has(uuid) && self.further.len() < FURTHER_MAX {
            self.further.push(uuid.to_owned());
        }
    }

    /// A further disk is given back.
    pub(super) fn release(&mut self, uuid: &str) {
        self.further.retain(|one| one != uuid);
        if !self.released.iter().any(|one| one == uuid) && self.released.len() < FURTHER_MAX {
            self.released.push(uuid.to_owned());
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let mut record = Self::default();
        if text.trim().is_empty() {
            bail!("it is empty");
        }
        if text.trim() == NONE {
            return Ok(record);
        }
        for line in text.lines() {
            let (what, uuid) = line.trim().split_once(' ').unwrap_or(("primary", line.trim()));
            if uuid.len() != UUID_DIGITS || !uuid.bytes().all(|b| b.is_ascii_hexdigit()) {
                bail!("{uuid:?} is no UUID");
            }
            let uuid = uuid.to_owned();
            match what {
                "primary" if record.primary.is_none() => record.primary = Some(uuid),
                "further" if record.further.len() < FURTHER_MAX => record.further.push(uuid),
                "released" if record.released.len() < FURTHER_MAX => record.released.push(uuid),
                _ => bail!("the line {line:?}"),
            }
        }
        Ok(record)
    }

    fn text(&self) -> String {
        let primary = self.primary.iter().map(|uuid| format!("primary {uuid}\n"));
        let further = self.further.iter().map(|uuid| format!("further {uuid}\n"));
        let released = self.released.iter().map(|uuid| format!("released {uuid}\n"));
        let text: String = primary.chain(further).chain(released).collect();
        // An empty file is a broken one: what a full partition leaves behind.
        if text.is_empty() { format!("{NONE}\n") } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uuid(digit: &str) -> String {
        digit.repeat(UUID_DIGITS)
    }

    #[test]
    fn a_record_survives_the_disk_in_its_order() {
        let mut record = Record {
            primary: Some(uuid("a")),
            further: vec![uuid("c"), uuid("b")],
            released: vec![uuid("d")],
        };
        assert_eq!(Record::parse(&record.text()).unwrap(), record);
        assert!(record.has(&uuid("a")) && record.has(&uuid("b")) && !record.has(&uuid("d")));
        record.release(&uuid("c"));
        record.release(&uuid("c"));
        assert_eq!(record.further, [uuid("b")]);
        assert_eq!(record.released, [uuid("d"), uuid("c")]);
    }

    #[test]
    fn the_note_of_a_single_disk_is_a_primary() {
        assert_eq!(Record::parse(&Record::default().text()).unwrap(), Record::default());
        let record = Record::parse(&format!("{}\n", uuid("a"))).unwrap();
        assert_eq!(record, Record { primary: Some(uuid("a")), ..Record::default() });
    }

    #[test]
    fn a_broken_record_is_none() {
        let two = format!("primary {0}\nprimary {0}\n", uuid("a"));
        let many = format!("further {}\n", uuid("a")).repeat(FURTHER_MAX + 1);
        for text in ["", " \n", "primary\n", "primary 12\n", "cache \u{e4}\n", &two, &many] {
            assert!(Record::parse(text).is_err(), "{text:?}");
        }
    }
}
