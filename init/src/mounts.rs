//! What is mounted where, as data, and mounting it.
use std::fs;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

/// One mount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mount {
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    flags: MsFlags,
    data: &'static str,
    /// Whether the boot goes on without it.
    optional: bool,
}

/// Where the boot loaders' partition is mounted while its files are changed.
pub(crate) const ESP: &str = "/run/tidegate/esp";

const NSE: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC).union(MsFlags::MS_NODEV);
const NSD: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

const fn needed(
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    flags: MsFlags,
    data: &'static str,
) -> Mount {
    Mount { source, target, kind, flags, data, optional: false }
}

/// The kernel's own file systems, in the initramfs and after it.
pub(crate) const KERNEL: &[Mount] = &[
    needed("proc", "/proc", "proc", NSE, ""),
    needed("sysfs", "/sys", "sysfs", NSE, ""),
    needed("devtmpfs", "/dev", "devtmpfs", MsFlags::MS_NOSUID, "mode=0755"),
    needed("tmpfs", "/run", "tmpfs", NSD, "mode=0755"),
];

/// What the root file system needs besides.
pub(crate) const ROOT: &[Mount] = &[
    needed("devpts", "/dev/pts", "devpts", NSE, "mode=0620,gid=5,ptmxmode=0666"),
    needed("tmpfs", "/dev/shm", "tmpfs", NSD, "mode=1777"),
    needed("tmpfs", "/tmp", "tmpfs", NSD, "mode=1777,size=64m"),
    needed("tmpfs", "/var", "tmpfs", NSD, "mode=0755,size=64m"),
    // Mount points of further cache disks; the root file system is read-only.
    needed("tmpfs", "/cache-disks", "tmpfs", NSE, "mode=0755,size=64k"),
    Mount { optional: true, ..needed("cgroup2", "/sys/fs/cgroup", "cgroup2", NSE, "") },
    Mount {
        optional: true,
        ..needed("efivarfs", "/sys/firmware/efi/efivars", "efivarfs", NSE, "")
    },
];

/// Shows a user nothing of other users' processes, the group `sees` excepted (proc_pid(5)).
///
/// # Errors
/// The kernel refuses; all is seen then.
pub(crate) fn hide_processes(sees: u32) -> Result<()> {
    let options = format!("hidepid=2,gid={sees}");
    let flags = NSE.union(MsFlags::MS_REMOUNT);
    mount(None::<&str>, "/proc", None::<&str>, flags, Some(options.as_str()))
        .context("mounting /proc anew")
}

/// Mounts all of `table` that is not mounted yet.
pub(crate) fn mount_all(table: &[Mount]) -> Result<()> {
    for entry in table {
        if is_mounted(entry.target) {
            continue;
        }
        let made = fs::create_dir_all(entry.target);
        let done = mount(
            Some(entry.source),
            entry.target,
            Some(entry.kind),
            entry.flags,
            Some(entry.data),
        );
        match done {
            Err(_) if entry.optional => {}
            done => {
                done.with_context(|| format!("mounting {} on {}", entry.kind, entry.target))?;
                // A directory that could not be made shows in the mount that then failed.
                drop(made);
            }
        }
    }
    Ok(())
}

/// What is mounted on block devices: mount points and the devices' numbers, from
/// `/proc/self/mountinfo` (proc_pid_mountinfo(5)). The last of several at one place counts, as it does
/// for whoever looks.
pub(crate) fn on_devices(table: &str) -> Vec<(&str, &str)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split(' ').take(5).collect();
        let &[_, _, number, _, target] = fields.as_slice() else { continue };
        found.retain(|(other, _)| *other != target);
        // File systems without a device have numbers of the major 0.
        if !number.starts_with("0:") {
            found.push((target, number));
        }
    }
    found
}

/// Whether something is mounted on `target`.
pub(crate) fn is_mounted(target: &str) -> bool {
    mounted_on(&fs::read_to_string("/proc/self/mounts").unwrap_or_default(), target)
}

fn mounted_on(table: &str, target: &str) -> bool {
    table.lines().any(|line| line.split(' ').nth(1) == Some(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_compared_whole() {
        let table = "proc /proc proc rw 0 0\n/dev/sdb /cache xfs rw 0 0\n";
        assert!(mounted_on(table, "/cache"));
        assert!(!mounted_on(table, "/ca"));
        assert!(!mounted_on(table, "/dev/sdb"));
    }

    #[test]
    fn devices_are_known_by_number() {
        let table = "22 1 253:0 / / ro - squashfs /dev/dm-0 ro\n\
            30 22 0:25 / /cache-disks rw - tmpfs tmpfs rw\n\
            31 22 8:16 / /cache rw,noatime - xfs /dev/sdb rw\n\
            32 30 8:32 / /cache-disks/aa rw shared:7 - xfs /dev/sdc rw\n\
            33 31 8:48 / /cache rw - xfs /dev/sdd rw\nbroken\n";
        let expected = [("/", "253:0"), ("/cache-disks/aa", "8:32"), ("/cache", "8:48")];
        assert_eq!(on_devices(table), expected);
    }
}
