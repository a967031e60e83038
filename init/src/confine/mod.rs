//! What a service may do, as data, and giving up everything else before it becomes the service.
//!
//! The order matters: what needs rights comes first, the rights are given up, and what restricts the
//! rest comes last. All of it holds for whatever the process starts, for ever.
mod calls;
mod paths;
mod state;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
};

use anyhow::{Context, Result};
use nix::{
    sys::resource::{Resource, setrlimit},
    unistd::{Gid, Uid, setgid, setgroups, setuid},
};

pub(crate) use self::{
    paths::{Paths, UPDATE_FILES},
    state::in_words,
};
use crate::service;

/// What the last confined gateway said of its confinement; the kernel shows nothing of Landlock.
const NOTE: &str = "/run/tidegate/confinement";
/// Right to bind ports below 1024, and vsock's too (`CAP_NET_BIND_SERVICE`, capabilities(7)).
pub(crate) const NET_BIND_SERVICE: u8 = 10;
/// No kernel knows more capabilities than fit its bit sets.
const CAPABILITIES_MAX: u8 = 64;

/// What is left to a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confinement {
    /// The user it becomes, and the groups besides the user's; `None` stays root, which then is root
    /// in name only.
    pub(crate) user: Option<(&'static str, &'static [&'static str])>,
    /// Capabilities that it may have.
    pub(crate) capabilities: &'static [u8],
    /// Descriptors that it may have.
    pub(crate) descriptors_max: u64,
    /// What the kernel's memory killer thinks of it (`oom_score_adj`): larger goes first.
    pub(crate) oom_score_adj: i16,
    /// Files that it may use; `None` for all.
    pub(crate) paths: Option<Paths>,
    /// Whether it may make only those system calls that services make.
    pub(crate) calls_filtered: bool,
}

/// The gateway: strangers' bytes arrive here, and the credentials for S3 are here.
pub(crate) const GATEWAY: Confinement = Confinement {
    user: Some(("gateway", &[])),
    capabilities: &[],
    // One for each connection and each cached file in use.
    descriptors_max: 65_536,
    oom_score_adj: 500,
    paths: Some(paths::GATEWAY),
    calls_filtered: true,
};

/// The console: it runs date and journalctl, and reads what the kernel shows.
pub(crate) const CONSOLE: Confinement = Confinement {
    user: Some(("console", &["gateway", "systemd-journal"])),
    capabilities: &[],
    descriptors_max: 1024,
    oom_score_adj: 0,
    paths: None,
    calls_filtered: false,
};

/// VMware's tools. Root in name: the host trusts them by their vsock port below 1024. What else they
/// open on a real host was not seen, so their files are not restricted.
pub(crate) const VM_TOOLS: Confinement = Confinement {
    user: None,
    capabilities: &[NET_BIND_SERVICE],
    descriptors_max: 1024,
    oom_score_adj: 200,
    paths: None,
    calls_filtered: false,
};

impl Confinement {
    /// Gives up what is not in it, for ever.
    ///
    /// # Errors
    /// Something could not be given up. Nothing must be run then.
    pub(crate) fn enter(&self) -> Result<()> {
        setrlimit(Resource::RLIMIT_CORE, 0, 0).context("forbidding core dumps")?;
        setrlimit(Resource::RLIMIT_NOFILE, self.descriptors_max, self.descriptors_max)
            .context("the limit of descriptors")?;
        fs::write("/proc/self/oom_score_adj", self.oom_score_adj.to_string())
            .context("/proc/self/oom_score_adj")?;
        // Opened while that is allowed.
        let note = self.paths.is_some().then(open_note).transpose().context(NOTE)?;
        bound_capabilities(self.capabilities)?;
        if let Some((name, groups)) = self.user {
            become_user(name, groups)?;
        }
        no_new_privileges()?;
        let files = self.paths.map(|paths| paths.enter()).transpose()?;
        if let (Some(mut note), Some(words)) = (note, files) {
            note.write_all(words.as_bytes()).context(NOTE)?;
        }
        if self.calls_filtered {
            calls::filter().context("filtering system calls")?;
        }
        Ok(())
    }
}

/// Gives up every file, every further TCP port and connection, and the calls that services do not make:
/// for a process that has all that it needs in open descriptors. Needs no rights itself.
///
/// # Errors
/// Something could not be given up. Nothing must be served then.
pub(crate) fn keep_descriptors_only() -> Result<()> {
    no_new_privileges()?;
    paths::nothing()?;
    calls::filter().context("filtering system calls")
}

/// Gives up every right of root's, every file but these, and the calls that services do not make, for a
/// process that stays root by name: the owner of the files.
///
/// # Errors
/// Something could not be given up. Nothing must be read then.
pub(crate) fn keep_files_only(paths: Paths) -> Result<()> {
    bound_capabilities(&[])?;
    drop_capabilities().context("giving up the rights of root")?;
    no_new_privileges()?;
    paths.enter()?;
    calls::filter().context("filtering system calls")
}

fn open_note() -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(NOTE)
}

/// Takes out of the bounding set, which is the most that any program to come can have.
fn bound_capabilities(kept: &[u8]) -> Result<()> {
    for capability in (0..CAPABILITIES_MAX).filter(|one| !kept.contains(one)) {
        // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
        let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0, 0, 0) };
        if done != 0 {
            let error = io::Error::last_os_error();
            // Beyond the last one that this kernel knows.
            if error.raw_os_error() == Some(libc::EINVAL) {
                return Ok(());
            }
            return Err(error).with_context(|| format!("giving up capability {capability}"));
        }
    }
    Ok(())
}

/// Gives up the capabilities that are in force (capset(2)).
fn drop_capabilities() -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`, for the calling thread.
    const HEADER: [u32; 2] = [0x2008_0522, 0];
    /// Effective, permitted, inheritable: twice 32 of each.
    const NONE: [u32; 6] = [0; 6];
    // SAFETY: the header and the data have the layout of version 3, and outlive the call, which only
    // reads them.
    let done = unsafe { libc::syscall(libc::SYS_capset, HEADER.as_ptr(), NONE.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Becomes a user of the image; leaving root's id gives up every capability that is in force.
fn become_user(name: &str, groups: &[&str]) -> Result<()> {
    let (uid, gid) = service::user(name)?;
    let groups: Result<Vec<Gid>> =
        groups.iter().map(|name| service::group(name).map(Gid::from_raw)).collect();
    setgroups(&groups?)?;
    setgid(Gid::from_raw(gid))?;
    Ok(setuid(Uid::from_raw(uid))?)
}

fn no_new_privileges() -> Result<()> {
    // SAFETY: PR_SET_NO_NEW_PRIVS takes four numbers and touches no memory.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
}

#[cfg(test)]
mod tests;
