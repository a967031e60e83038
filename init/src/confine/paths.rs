//! Which files a service may use (Landlock, landlock(7)), by folder.
//!
//! Connecting to sockets that have a path is not among what Landlock restricts; their modes are.
use anyhow::{Context, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, path_beneath_rules,
};

use crate::mounts;

/// What Linux 6.12 restricts; on an older kernel as much of it as that can.
const KNOWN: ABI = ABI::V6;

/// Files and folders, each with all that is below it. One that does not exist is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paths {
    /// May be read and run.
    pub(crate) programs: &'static [&'static str],
    /// May be read.
    pub(crate) read: &'static [&'static str],
    /// May be changed, with everything that is in them.
    pub(crate) write: &'static [&'static str],
}

/// The gateway's.
pub(super) const GATEWAY: Paths = Paths {
    // Itself and its libraries; the time zones are there, too.
    programs: &["/usr"],
    read: &[
        // Users, name look-up, certificate authorities; what of it changes is in /run/etc.
        "/etc",
        "/run/etc",
        "/config/gateway-seed.toml",
        // What the standard libraries and the status page ask of the kernel.
        "/proc/self",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/cpuinfo",
        "/proc/sys/vm/overcommit_memory",
        "/sys/devices/system/cpu",
        "/sys/fs/cgroup",
        "/dev/urandom",
    ],
    write: &["/cache", "/cache-disks", "/config/gateway", "/run/gateway", "/dev/null"],
};

/// What whoever writes an update may change besides its open descriptors.
pub(crate) const UPDATE_FILES: Paths = Paths { programs: &[], read: &[], write: &[mounts::ESP] };

/// Restricts this process to no file and no TCP port at all, as far as the kernel does that. What is
/// open stays so.
///
/// # Errors
/// The kernel can and does not.
pub(super) fn nothing() -> Result<()> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .restrict_self()
        .context("restricting files and ports")?;
    Ok(())
}

impl Paths {
    /// Restricts this process to them, and to itself and its children as targets of signals and of
    /// abstract sockets. Says how far the kernel does that.
    ///
    /// # Errors
    /// The kernel can and does not.
    pub(super) fn enter(self) -> Result<String> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let rules = |paths: &'static [&'static str], access: BitFlags<AccessFs>| {
            path_beneath_rules(paths, access)
        };
        let status = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?
            .add_rules(rules(self.programs, read | AccessFs::Execute))?
            .add_rules(rules(self.read, read))?
            .add_rules(rules(self.write, AccessFs::from_all(KNOWN) ^ AccessFs::Execute))?
            .restrict_self()
            .context("restricting the files")?;
        Ok(match status.ruleset {
            RulesetStatus::FullyEnforced => "files restricted".to_owned(),
            RulesetStatus::PartiallyEnforced => "files restricted in part".to_owned(),
            RulesetStatus::NotEnforced => "files NOT restricted: no Landlock here".to_owned(),
        })
    }
}
