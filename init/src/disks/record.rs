//! Which disks are this appliance's cache: the record on the config partition.
//!
//! A line for each: `primary UUID`, `further UUID` in the order in which they came, and `released UUID`
//! for one that is given back and not wiped yet. A line that is nothing but a UUID is a primary.
//!
//! Beside it stands a copy of it, which counts when the record is damaged. A copy that is older than the
//! record does not stay: a primary disk that it does not know might be replaced by a blank one.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{reserve, sys};

/// The file.
const FILE: &str = "/config/cache-disk";
/// Most further cache disks: the gateway takes eight disks.
pub(super) const FURTHER_MAX: usize = 7;
/// What stands in it when there is none.
const NONE: &str = "none";
/// What mends a record that is damaged together with its copy.
const WHAT_TO_DO: &str = "no disk was touched. Attach the cache disk of this appliance and adopt it under \
                          Cache Disks; only if it is lost for good, allocate a blank one there";
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
    /// Reads it. A damaged one is kept aside, and its copy counts and takes its place; the second value says
    /// so.
    ///
    /// # Errors
    /// It is damaged, and so is its copy, or there is none; what to do. It is not taken for an empty one,
    /// because a disk might be formatted for want of it.
    pub(super) fn read() -> Result<(Self, Option<String>)> {
        Self::read_at(Path::new(FILE))
    }

    fn read_at(file: &Path) -> Result<(Self, Option<String>)> {
        let damage = match fs::read(file) {
            Ok(bytes) => match Self::parse_bytes(&bytes) {
                Ok(record) => {
                    let copied = fs::read(copy_of(file)).is_ok_and(|copy| copy == bytes);
                    let problem = if copied { Ok(()) } else { record.store_copy(file) };
                    return Ok((record, problem.err().map(|error| format!("{error:#}"))));
                }
                Err(error) => {
                    keep_aside(file, &bytes);
                    format!("is damaged ({error:#})")
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // If that is not known, it may be there.
                if !copy_of(file).try_exists().unwrap_or(true) {
                    return Ok((Self::default(), None));
                }
                "is missing".to_owned()
            }
            Err(error) => format!("cannot be read ({error})"),
        };
        let damage = format!("{}, the record of the cache disks, {damage}", file.display());
        let copy = fs::read(copy_of(file)).context("its copy");
        let record = copy
            .and_then(|bytes| Self::parse_bytes(&bytes).context("its copy"))
            .map_err(|why| anyhow!("{damage}, {why:#}: {WHAT_TO_DO}"))?;
        let stored = match record.store_at(file) {
            Ok(()) => String::new(),
            Err(error) => format!(", but not kept: {error:#}"),
        };
        Ok((record, Some(format!("{damage}: its copy is used{stored}"))))
    }

    /// Writes it; durable when it returns. That there is no copy of it is only said.
    ///
    /// # Errors
    /// The config partition does not take it.
    pub(super) fn store(&self) -> Result<()> {
        self.store_at(Path::new(FILE))
    }

    fn store_at(&self, file: &Path) -> Result<()> {
        reserve::replace_file(file, self.text().as_bytes(), 0o644)
            .with_context(|| format!("noting the cache disks in {}", file.display()))?;
        self.store_copy(file)
    }

    /// Writes the copy; whatever comes of it, no older one is left.
    ///
    /// # Errors
    /// An older one is left.
    fn store_copy(&self, file: &Path) -> Result<()> {
        let copy = copy_of(file);
        let Err(error) = reserve::replace_file(&copy, self.text().as_bytes(), 0o644) else {
            return Ok(());
        };
        sys::say(&format!("the record of the cache disks has no copy: {error}"));
        match fs::remove_file(&copy) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why).with_context(|| {
                format!("removing {}, which is older than the record", copy.display())
            }),
            Ok(()) | Err(_) => Ok(()),
        }
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

    /// Reads what a file holds, which need not be text.
    fn parse_bytes(bytes: &[u8]) -> Result<Self> {
        Self::parse(std::str::from_utf8(bytes).context("not UTF-8")?)
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

/// Where the copy stands.
fn copy_of(file: &Path) -> PathBuf {
    file.with_extension("last")
}

/// Keeps what could not be read, to be looked at. It stays where it is, too: a missing record is an empty one.
fn keep_aside(file: &Path, bytes: &[u8]) {
    let aside = file.with_extension("broken");
    if fs::read(&aside).is_ok_and(|kept| kept == bytes) {
        return;
    }
    if let Err(error) = reserve::replace_file(&aside, bytes, 0o644) {
        sys::say(&format!("{} is not kept aside: {error}", file.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power_cut;

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

    fn whole() -> Record {
        Record { primary: Some(uuid("a")), further: vec![uuid("b")], released: vec![uuid("c")] }
    }

    /// The folder, and the file in it.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cache-disk");
        (folder, file)
    }

    #[test]
    fn a_damaged_record_is_never_an_empty_one_and_its_copy_counts() {
        let (folder, file) = folder();
        assert_eq!(Record::read_at(&file).unwrap(), (Record::default(), None), "the first boot");
        whole().store_at(&file).unwrap();
        let text = fs::read(&file).unwrap();
        let flipped = (0..text.len()).map(|at| {
            let mut damaged = text.clone();
            damaged[at] = 0xff;
            Some(damaged)
        });
        let others = [None, Some(Vec::new()), Some(vec![0; text.len()]), Some(text[..20].to_vec())];
        let damages: Vec<Option<Vec<u8>>> = flipped.chain(others).collect();
        for damaged in &damages {
            let harm = |path: &Path| match damaged {
                Some(damaged) => fs::write(path, damaged).unwrap(),
                None => fs::remove_file(path).unwrap(),
            };
            harm(&file);
            let (record, said) = Record::read_at(&file).unwrap();
            assert_eq!(record, whole(), "{damaged:?}");
            assert!(said.unwrap().ends_with("its copy is used"), "{damaged:?}");
            if let Some(damaged) = damaged {
                assert_eq!(fs::read(folder.path().join("cache-disk.broken")).unwrap(), *damaged);
            }
            assert_eq!(Record::read_at(&file).unwrap(), (whole(), None), "it is in its place");
            harm(&copy_of(&file));
            assert_eq!(Record::read_at(&file).unwrap(), (whole(), None), "{damaged:?}");
            assert_eq!(fs::read(copy_of(&file)).unwrap(), text, "there is a copy again");
        }
        for damaged in damages.iter().flatten() {
            for copy in [Some(damaged), None] {
                fs::write(&file, damaged).unwrap();
                match copy {
                    Some(copy) => fs::write(copy_of(&file), copy).unwrap(),
                    None => fs::remove_file(copy_of(&file)).unwrap(),
                }
                let said = format!("{:#}", Record::read_at(&file).unwrap_err());
                assert!(said.contains("no disk was touched"), "{said}");
                assert!(said.contains("adopt it under Cache Disks"), "{said}");
                assert_eq!(fs::read(&file).unwrap(), *damaged, "it stays what it is");
            }
        }
        fs::remove_file(&file).unwrap();
        fs::write(copy_of(&file), "").unwrap();
        assert!(Record::read_at(&file).is_err(), "missing, with a damaged copy");
    }

    #[test]
    fn no_copy_is_older_than_its_record() {
        let (_folder, file) = folder();
        Record::default().store_at(&file).unwrap();
        // As a version before this one, or a full partition, leaves it.
        fs::write(&file, whole().text()).unwrap();
        assert_eq!(Record::read_at(&file).unwrap(), (whole(), None));
        fs::write(&file, "?").unwrap();
        assert_eq!(Record::read_at(&file).unwrap().0, whole());
        // A folder takes the place of a copy that can be neither replaced nor removed.
        fs::remove_file(copy_of(&file)).unwrap();
        fs::create_dir_all(copy_of(&file).join("folder")).unwrap();
        let said = format!("{:#}", Record::default().store_at(&file).unwrap_err());
        assert!(said.contains("cache-disk.last, which is older than the record"), "{said}");
        let (record, said) = Record::read_at(&file).unwrap();
        assert_eq!(record, Record::default());
        assert!(said.unwrap().contains("older than the record"));
    }

    #[test]
    fn a_power_cut_leaves_the_record_before_or_after() {
        let (folder, file) = folder();
        for before in [None, Some(Record::default())] {
            power_cut::restore(folder.path(), &power_cut::Tree::new());
            if let Some(before) = &before {
                before.store_at(&file).unwrap();
            }
            let tree = power_cut::tree(folder.path());
            let operations = power_cut::record(|| whole().store_at(&file).unwrap());
            assert_eq!(operations.len(), 8, "two files, each replaced: {operations:?}");
            for (done, state) in power_cut::trees(&tree, &operations) {
                power_cut::restore(folder.path(), &state);
                let (record, said) = Record::read_at(&file).unwrap();
                let is_before = record == Record::default() && done < operations.len();
                assert!(
                    record == whole() || is_before,
                    "{record:?} after {:?}",
                    &operations[..done]
                );
                assert_eq!(said, None, "after {:?}", &operations[..done]);
            }
        }
    }
}
