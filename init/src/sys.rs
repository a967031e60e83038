//! The few system calls and files that everything here uses.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

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

/// Replaces `path` as a whole; durable when it returns.
pub(crate) fn replace_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
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
}
