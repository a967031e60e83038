//! Room on the config partition for what must be kept when it is full: the machine's settings, above all
//! the console's first password, which a full disk is the very reason to set.
//!
//! A file of [`BYTES`] is held there and never written. When a replacement finds no room, the file is given
//! up, the replacement is made in its place, and the file is held again: at the cost of the appliance's
//! oldest logs, if it must be. Everybody who keeps something small on the partition writes by
//! [`replace_file`].
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::sys;

/// The file's name.
const NAME: &str = "reserve";
/// A new file of the settings (`control.rs` bounds them to 64 KiB) beside the old one, and what the file
/// system needs for itself.
const BYTES: u64 = 256 << 10;
/// The journal, below the partition's folder.
const JOURNAL: &str = "journal";
/// Settings that could not be read are kept under such a name, to be looked at.
const BROKEN: &str = "broken";

/// Replaces a file of the config partition as [`sys::replace_file`] does, from the reserve where the
/// partition is full.
///
/// # Errors
/// As there, with [`sys::may_be_replaced`]: if there is no room, then none in the reserve either.
pub(crate) fn replace_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    match sys::replace_file(path, content, mode) {
        Err(error) if lacks_room(&error) => {
            give_up(folder)?;
            if let Err(error) = sys::replace_file(path, content, mode) {
                // It was not enough, or it was not there.
                make_room(folder, error, || sys::replace_file(path, content, mode))?;
            }
        }
        done => done?,
    }
    if let Err(error) = hold(folder) {
        sys::say(&format!("{} keeps no reserve of room: {error}", folder.display()));
    }
    Ok(())
}

/// Holds the reserve, if it is not held.
///
/// # Errors
/// There is no room for it, whatever logs are deleted; the partition takes nothing.
pub(crate) fn hold(folder: &Path) -> io::Result<()> {
    let path = folder.join(NAME);
    match fs::metadata(&path) {
        Ok(held) if held.len() == BYTES => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match sys::allocate(&path, BYTES) {
        Err(error) if lacks_room(&error) => {
            make_room(folder, error, || sys::allocate(&path, BYTES))
        }
        done => done,
    }
}

/// Gives the reserve's room back to the partition.
fn give_up(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(NAME)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // The room counts as free once its going is durable.
    sys::sync_folder(folder)
}

/// Deletes what can be done without, one file after the other, until there is room for `work`; `error` is
/// why it failed before.
fn make_room(
    folder: &Path,
    mut error: io::Error,
    mut work: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    for path in dispensable(folder) {
        if !lacks_room(&error) {
            return Err(error);
        }
        fs::remove_file(&path)?;
        sys::sync_folder(folder)?;
        sys::say(&format!("{} was deleted to make room for settings", path.display()));
        match work() {
            Ok(()) => return Ok(()),
            Err(why) => error = why,
        }
    }
    Err(error)
}

/// Whether it is for want of room that nothing was done. A file that has its name already is not written once
/// more: a second failure would not tell of that.
fn lacks_room(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull && !sys::may_be_replaced(error)
}

/// What can be done without, in the order in which it goes: settings that could not be read, then the
/// journal's files that are closed, the oldest first. What cannot be listed is not deleted.
fn dispensable(folder: &Path) -> Vec<PathBuf> {
    let has_extension = |path: &Path, wanted: &str| path.extension().is_some_and(|e| e == wanted);
    let mut found: Vec<PathBuf> =
        files(folder).into_iter().filter(|path| has_extension(path, BROKEN)).collect();
    // A folder for each machine id (systemd-journald.service(8)).
    let folders = fs::read_dir(folder.join(JOURNAL)).into_iter().flatten().flatten();
    let mut journal: Vec<(SystemTime, PathBuf)> = folders
        .flat_map(|folder| files(&folder.path()))
        .filter(|path| is_closed_journal(path))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .collect();
    journal.sort();
    found.extend(journal.into_iter().map(|(_, path)| path));
    found
}

/// `system@….journal` was rotated, `system@….journal~` was not closed at a power cut; `system.journal` is
/// written to.
fn is_closed_journal(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.contains('@') && (name.ends_with(".journal") || name.ends_with(".journal~"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_disk;

    const SETTINGS: &[u8] = &[b's'; 3000];

    struct Partition(tempfile::TempDir);

    impl Partition {
        /// With the reserve, settings, and logs of 100 KiB each.
        fn new(logs: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            hold(folder.path()).unwrap();
            let this = Self(folder);
            this.replace().unwrap();
            fs::create_dir_all(this.0.path().join("journal/id")).unwrap();
            for (age, log) in logs.iter().enumerate() {
                let path = this.0.path().join("journal/id").join(log);
                fs::write(&path, vec![0; 100 << 10]).unwrap();
                let written = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age as u64);
                fs::File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
            }
            this
        }

        fn replace(&self) -> io::Result<()> {
            replace_file(&self.0.path().join("machine.toml"), SETTINGS, 0o600)
        }

        fn names(&self) -> Vec<String> {
            let journal = self.0.path().join("journal/id");
            let all = files(self.0.path()).into_iter().chain(files(&journal));
            let mut names: Vec<String> =
                all.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_full_partition_takes_settings_again_and_again() {
        let partition = Partition::new(&["system.journal"]);
        small_disk::fill(partition.0.path());
        assert!(fs::write(partition.0.path().join("other"), "").is_ok(), "names cost nothing here");
        for _ in 0..3 {
            partition.replace().unwrap();
            assert_eq!(partition.names(), ["machine.toml", "other", "reserve", "system.journal"]);
        }
        let held = fs::metadata(partition.0.path().join(NAME)).unwrap();
        assert_eq!(held.len(), BYTES, "and what is held is whole");
    }

    #[test]
    fn what_takes_more_for_itself_costs_the_oldest_logs() {
        let logs = ["system@b.journal", "system@a.journal~", "user@c.journal", "system.journal"];
        let partition = Partition::new(&logs);
        fs::write(partition.0.path().join("machine.toml.broken"), vec![0; 1000]).unwrap();
        small_disk::fill(partition.0.path());
        // A first file has no old one whose room would be free after it.
        replace_file(&partition.0.path().join("machine.toml.last"), SETTINGS, 0o600).unwrap();
        let left = ["machine.toml", "machine.toml.last", "reserve", "system.journal"];
        assert_eq!(
            partition.names(),
            [&left[..], &["system@a.journal~", "user@c.journal"]].concat(),
            "the broken settings and the oldest log were deleted"
        );
    }

    #[test]
    fn without_reserve_and_logs_a_full_partition_is_said_to_be_full() {
        let partition = Partition::new(&["system.journal"]);
        fs::remove_file(partition.0.path().join(NAME)).unwrap();
        small_disk::fill(partition.0.path());
        for done in [partition.replace(), hold(partition.0.path())] {
            assert_eq!(done.unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
        assert_eq!(partition.names(), ["machine.toml", "system.journal"], "nothing is left behind");
        small_disk::grow(BYTES + 8192);
        partition.replace().unwrap();
        assert_eq!(partition.names(), ["machine.toml", "reserve", "system.journal"]);
    }

    #[test]
    fn settings_that_have_their_name_when_the_disk_fails_may_be_kept() {
        let partition = Partition::new(&[]);
        small_disk::fail_to_sync(partition.0.path());
        assert!(sys::may_be_replaced(&partition.replace().unwrap_err()));
        small_disk::fill(partition.0.path());
        // The first one has no old one whose room it could have.
        let new = partition.0.path().join("machine.toml.last");
        let why = replace_file(&new, SETTINGS, 0o600).unwrap_err();
        assert!(!sys::may_be_replaced(&why) && !new.exists(), "{why}");
    }

    #[test]
    fn a_reserve_that_is_not_whole_is_made_anew() {
        let partition = Partition::new(&[]);
        let path = partition.0.path().join(NAME);
        fs::write(&path, "cut").unwrap();
        hold(partition.0.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), BYTES);
    }
}
