//! How a running gateway is confined, as the kernel shows it, in words for the support page.
use std::fs;

use gateway_api::ByteSize;

use super::NOTE;
use crate::{cgroup, memory};

/// `user 800, no capabilities, …`; what is not as it should be is in capitals.
pub(crate) fn in_words() -> String {
    let Some(status) = memory::status_of("gateway") else {
        return "it does not run".to_owned();
    };
    let note = fs::read_to_string(NOTE).unwrap_or_default();
    let mut words = described(&status, &note);
    if let Some(limit) = cgroup::limit_of_gateway() {
        words.push_str(&format!(", memory at most {}", ByteSize(limit)));
    }
    words
}

/// From `/proc/PID/status` (proc_pid_status(5)) and the process's own note of Landlock.
fn described(status: &str, note: &str) -> String {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim()
    };
    let user = field("Uid").split_whitespace().next().unwrap_or("UNKNOWN");
    let none = |name: &str| u64::from_str_radix(field(name), 16) == Ok(0);
    let capabilities = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].into_iter().all(none);
    [
        format!("user {user}"),
        if capabilities { "no capabilities" } else { "CAPABILITIES" }.to_owned(),
        if field("NoNewPrivs") == "1" { "no new privileges" } else { "NEW PRIVILEGES" }.to_owned(),
        if field("Seccomp") == "2" { "system calls filtered" } else { "ALL SYSTEM CALLS" }
            .to_owned(),
        if note.is_empty() { "FILES NOT RESTRICTED" } else { note }.to_owned(),
    ]
    .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFINED: &str = "Name:\tgateway\nUid:\t800\t800\t800\t800\nCapInh:\t0000000000000000\n\
        CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n\
        CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";

    #[test]
    fn what_the_kernel_shows_is_put_into_words() {
        assert_eq!(
            described(CONFINED, "files restricted"),
            "user 800, no capabilities, no new privileges, system calls filtered, files restricted"
        );
    }

    #[test]
    fn whatever_is_missing_stands_out() {
        for (from, to, says) in [
            ("CapBnd:\t0000000000000000", "CapBnd:\t0000000000000400", "CAPABILITIES"),
            ("CapEff:\t0000000000000000\n", "", "CAPABILITIES"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "NEW PRIVILEGES"),
            ("Seccomp:\t2", "Seccomp:\t0", "ALL SYSTEM CALLS"),
        ] {
            let words = described(&CONFINED.replace(from, to), "files restricted");
            assert!(words.contains(says), "{words}");
        }
        assert!(described(CONFINED, "").contains("FILES NOT RESTRICTED"));
    }
}
