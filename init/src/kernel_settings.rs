//! What the kernel is told once at boot to make attacks harder, as data (sysctl(8), the kernel's
//! `Documentation/admin-guide/sysctl`).
//!
//! `kernel.modules_disabled` is not among them: drivers of disks and adapters that are added while the
//! machine runs come as modules, and nothing can be loaded any more after it.
use std::{fs, io, path::Path};

use anyhow::{Result, bail};

const BASE: &str = "/proc/sys";

/// Name below /proc/sys, and value.
const SETTINGS: &[(&str, &str)] = &[
    // Addresses and messages of the kernel are for nobody to see.
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/randomize_va_space", "2"),
    // Parts of the kernel that nothing here uses, and that were often a way in.
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("net/core/bpf_jit_harden", "2"),
    ("kernel/io_uring_disabled", "2"),
    ("kernel/kexec_load_disabled", "1"),
    // As many lines may wait for journald as where systemd runs: PID 1 waits for nobody, and would lose its own.
    ("net/unix/max_dgram_qlen", "512"),
    ("user/max_user_namespaces", "0"),
    ("vm/unprivileged_userfaultfd", "0"),
    ("dev/tty/ldisc_autoload", "0"),
    ("dev/tty/legacy_tiocsti", "0"),
    // No process looks into another one.
    ("kernel/yama/ptrace_scope", "2"),
    ("fs/suid_dumpable", "0"),
    // Others' files in shared folders are no traps.
    ("fs/protected_symlinks", "1"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_fifos", "2"),
    ("fs/protected_regular", "2"),
    // A kernel that has gone wrong starts anew, instead of going on with our data.
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    // The network: a host, not a router; nobody tells it other ways. With several adapters a packet
    // may come in where the answer does not go out, so its source need only be reachable (RFC 3704
    // §2.4), by any adapter. The first IPv4 line resets others (`ip_forward`), so it stands first.
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv6/conf/all/forwarding", "0"),
    ("net/ipv6/conf/default/forwarding", "0"),
    ("net/ipv4/conf/all/rp_filter", "2"),
    ("net/ipv4/conf/default/rp_filter", "2"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/conf/all/secure_redirects", "0"),
    ("net/ipv4/conf/default/secure_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
    ("net/ipv4/conf/default/accept_source_route", "0"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    ("net/ipv4/icmp_echo_ignore_broadcasts", "1"),
    ("net/ipv4/tcp_syncookies", "1"),
];

/// Sets them all. What this kernel does not have is noted.
///
/// # Errors
/// Some were refused or did not take; the others are set.
pub(crate) fn apply(notes: &mut Vec<String>) -> Result<()> {
    apply_below(Path::new(BASE), SETTINGS, notes)
}

fn apply_below(base: &Path, settings: &[(&str, &str)], notes: &mut Vec<String>) -> Result<()> {
    let mut failed = Vec::new();
    for (name, value) in settings {
        match set(&base.join(name), value) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                notes.push(format!("this kernel has no {name}"));
            }
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join(", ")) }
}

fn set(path: &Path, value: &str) -> io::Result<()> {
    let is = |path: &Path| fs::read_to_string(path).map(|text| text.trim() == value);
    // Some can be set once only, and are refused even the value that they have.
    if is(path)? {
        return Ok(());
    }
    fs::write(path, value)?;
    if is(path)? { Ok(()) } else { Err(io::Error::other("it did not take the value")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_tried_whatever_fails() {
        let folder = tempfile::tempdir().unwrap();
        let (base, mut notes) = (folder.path(), Vec::new());
        for name in ["first", "last"] {
            fs::write(base.join(name), "0\n").unwrap();
        }
        fs::create_dir(base.join("refused")).unwrap();
        let settings = [("first", "1"), ("absent", "1"), ("refused", "1"), ("last", "2")];
        let error = apply_below(base, &settings, &mut notes).unwrap_err().to_string();
        assert!(error.contains("refused: ") && !error.contains("absent"), "{error}");
        assert_eq!(notes, ["this kernel has no absent"]);
        assert_eq!(fs::read_to_string(base.join("first")).unwrap(), "1");
        assert_eq!(fs::read_to_string(base.join("last")).unwrap(), "2");
    }

    #[test]
    fn what_is_set_already_is_left_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("once");
        fs::write(&file, "1\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
        apply_below(folder.path(), &[("once", "1")], &mut Vec::new()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "1\n", "not even written");
    }

    #[test]
    fn no_setting_is_listed_twice_and_all_are_the_kernels_names() {
        let mut names: Vec<_> = SETTINGS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
        // The kernel that the tests run on may be an older one, or hide some in a container.
        let known = names.iter().filter(|name| Path::new(BASE).join(name).exists()).count();
        assert!(known > names.len() / 2, "{known} of {} are known here", names.len());
        assert!(!names.contains(&"kernel/modules_disabled"), "hot-added hardware needs modules");
    }
}
