//! The few system calls and files that everything here uses.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

#[cfg(test)]
use crate::{
    power_cut::{self, Operation},
    small_disk,
};

/// Time since the kernel started.
pub(crate) fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// Says a line on the kernel's log, which reaches the consoles until the menu owns them, and the
/// journal. Level 4 passes `loglevel=5`.
pub(crate) fn say(text: &str) {
    let line = format!("<12>tidegate[1]: {text} ({:.2} s)\n", since_boot().as_secs_f64());
    let written = OpenOptions::new()
        .write(true)
        .open("/dev/kmsg")
        .and_then(|mut kmsg| kmsg.write_all(line.as_bytes()));
    if written.is_err() {
        // Without /dev/kmsg there is only what we were started with.
        eprint!("{}", &line[4..]);
    }
}

/// A file has its name, and nobody knows whether for good.
#[derive(Debug, thiserror::Error)]
#[error("syncing its folder: {0}")]
struct NameNotSynced(io::Error);

/// Replaces `path` as a whole; durable when it returns. What was written of a file that could not be
/// written to its end is removed: the disk may be full.
///
/// # Errors
/// The file is the one before. Only where [`may_be_replaced`] says so it may be the new one all the same.
pub(crate) fn replace_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = path.with_extension("new");
    write(&temporary, content, mode).inspect_err(|_| remove_part(&temporary))?;
    rename(&temporary, path)?;
    let named = path.parent().map_or(Ok(()), sync_folder);
    named.map_err(|error| io::Error::new(error.kind(), NameNotSynced(error)))
}

/// Whether a file that was not replaced may be so all the same: it has its name, which could not be made durable.
pub(crate) fn may_be_replaced(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|why| why.is::<NameNotSynced>())
}

/// Writes a file; durable when it returns, but for its name.
fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    #[cfg(test)]
    small_disk::ask(path, content.len() as u64)?;
    file.write_all(content)?;
    #[cfg(test)]
    power_cut::note(|| Operation::Write { path: path.to_owned(), content: content.to_owned() });
    sync(&file, path)
}

/// Makes a file of so many bytes, all of which have their room on the disk; their content is zeros.
pub(crate) fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let made = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        #[cfg(test)]
        small_disk::ask(path, bytes)?;
        let length = i64::try_from(bytes).map_err(io::Error::other)?;
        nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, length)?;
        file.sync_all()
    };
    made().inspect_err(|_| remove_part(path))
}

/// Removes what could not be written to its end. It failed already, and why is what is told.
fn remove_part(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        say(&format!("{} is left, and is not whole: {error}", path.display()));
    }
}

/// Makes what was written to the open file, or device, at `path` durable.
#[cfg_attr(not(test), expect(unused_variables, reason = "tests record what is synced"))]
pub(crate) fn sync(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    #[cfg(test)]
    power_cut::note(|| Operation::Sync { path: path.to_owned() });
    Ok(())
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    #[cfg(test)]
    power_cut::note(|| Operation::Rename { from: from.to_owned(), to: to.to_owned() });
    Ok(())
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    small_disk::ask_to_sync(path)?;
    File::open(path)?.sync_all()?;
    #[cfg(test)]
    power_cut::note(|| Operation::SyncFolder { path: path.to_owned() });
    Ok(())
}

/// The content of a file under /sys or /proc without its final newline; empty if there is none.
pub(crate) fn read_line(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Whether the processor says that the hypervisor is VMware's.
pub(crate) fn is_vmware() -> bool {
    vmw_backdoor::is_vmware_cpu()
}

/// The kernel command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandLine(Vec<(String, String)>);

impl CommandLine {
    /// As the kernel got it.
    pub(crate) fn read() -> Self {
        Self::parse(&read_line("/proc/cmdline"))
    }

    pub(crate) fn parse(line: &str) -> Self {
        let pair = |word: &str| match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (word.to_owned(), String::new()),
        };
        Self(line.split_whitespace().map(pair).collect())
    }

    /// The last value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_name_counts() {
        let line = CommandLine::parse("quiet a=1 tidegate.verity=1:ab:cd a=2");
        assert_eq!(line.get("a"), Some("2"));
        assert_eq!(line.get("tidegate.verity"), Some("1:ab:cd"));
        assert_eq!(line.get("quiet"), Some(""));
        assert_eq!(line.get("absent"), None);
    }

    #[test]
    fn files_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.toml");
        replace_file(&path, b"one", 0o600).unwrap();
        replace_file(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert!(!dir.path().join("file.new").exists());
    }

    #[test]
    fn a_file_that_has_its_name_when_the_disk_fails_may_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.toml");
        let why = replace_file(&dir.path().join("absent/file.toml"), b"one", 0o600).unwrap_err();
        assert!(!may_be_replaced(&why), "it was not written");
        small_disk::fail_to_sync(dir.path());
        let why = replace_file(&path, b"one", 0o600).unwrap_err();
        assert!(may_be_replaced(&why) && fs::read(&path).unwrap() == b"one");
        assert!(why.to_string().starts_with("syncing its folder: "), "{why}");
    }

    #[test]
    fn a_power_cut_at_any_moment_leaves_the_old_file_or_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.toml");
        for stale in [None, Some("left by an earlier cut")] {
            fs::write(&path, "old").unwrap();
            if let Some(stale) = stale {
                fs::write(dir.path().join("file.new"), stale).unwrap();
            }
            let before = power_cut::tree(dir.path());
            let operations = power_cut::record(|| replace_file(&path, b"new", 0o600).unwrap());
            let states = power_cut::trees(&before, &operations);
            assert!(states.len() > 8, "{}", states.len());
            for (done, tree) in states {
                let found = String::from_utf8(tree[&path].clone()).unwrap();
                let whole = found == "new" || done < operations.len() && found == "old";
                assert!(whole, "{found:?} after {:?}", &operations[..done]);
            }
        }
    }
}
