//! What it was measured on, as /proc says.
use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// RAM.
    pub memory_mib: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Of the folder that both servers use.
    pub file_system: String,
    /// Runnable processes over the last minute, before the first line: others that share the
    /// machine.
    pub load_before: f64,
}

impl Machine {
    /// This one; `folder` is where the servers keep what they keep.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let proc = |name: &str| {
            fs::read_to_string(Path::new("/proc").join(name))
                .with_context(|| format!("/proc/{name}"))
        };
        let processors = proc("cpuinfo")?;
        let model = field(&processors, "model name").unwrap_or("unknown").to_owned();
        Ok(Self {
            processor: model,
            processors: processors.lines().filter(|line| line.starts_with("processor")).count(),
            memory_mib: kibibytes(&proc("meminfo")?, "MemTotal").unwrap_or(0) / 1024,
            kernel: proc("sys/kernel/osrelease")?.trim().to_owned(),
            file_system: file_system(&proc("self/mountinfo")?, folder).unwrap_or("?").to_owned(),
            load_before: load(&proc("loadavg")?).unwrap_or(0.0),
        })
    }
}

/// The most memory that a process has held at once (VmHWM), in MiB.
///
/// # Errors
/// When there is no such process.
pub fn peak_memory_mib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(kibibytes(&status, "VmHWM").context("no VmHWM in /proc/PID/status")? / 1024)
}

/// The value of the first `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.strip_suffix("kB")?.trim().parse().ok()
}

fn load(loadavg: &str) -> Option<f64> {
    loadavg.split(' ').next()?.parse().ok()
}

/// The type of the file system that `path` is on (proc(5), mountinfo): of the longest mount point
/// above it, and of several there the last, which covers the others.
fn file_system<'a>(mountinfo: &'a str, path: &Path) -> Option<&'a str> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, source) = line.split_once(" - ")?;
            let point = Path::new(mount.split(' ').nth(4)?);
            let kind = source.split(' ').next()?;
            path.starts_with(point).then_some((point.as_os_str().len(), kind))
        })
        .max_by_key(|&(length, _)| length)
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_found() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A Processor @ 2.00GHz\n\nprocessor\t: 1\n";
        assert_eq!(field(cpuinfo, "model name"), Some("A Processor @ 2.00GHz"));
        let status = "Name:\tgateway\nVmPeak:\t  900000 kB\nVmHWM:\t   51200 kB\n";
        assert_eq!(kibibytes(status, "VmHWM"), Some(51200));
        assert_eq!(kibibytes(status, "VmSwap"), None);
        assert_eq!(load("0.75 1.50 2.00 1/234 5678\n"), Some(0.75));
    }

    #[test]
    fn the_longest_mount_point_decides_and_the_last_of_them() {
        let mountinfo = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                         30 22 0:5 / /run rw - tmpfs tmpfs rw\n\
                         31 22 8:1 / /data rw - xfs /dev/sda1 rw\n\
                         32 31 8:2 / /data rw - btrfs /dev/sdb1 rw\n";
        assert_eq!(file_system(mountinfo, Path::new("/home/x")), Some("ext4"));
        assert_eq!(file_system(mountinfo, Path::new("/data/x")), Some("btrfs"));
        assert_eq!(file_system(mountinfo, Path::new("/database")), Some("ext4"));
    }

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::read(Path::new("/")).unwrap();
        assert!(machine.processors > 0 && machine.memory_mib > 0);
        assert!(peak_memory_mib(std::process::id()).is_ok());
    }
}
