//! A network and a `/run` of the benchmark's own: a loopback that nothing else uses, on which
//! nfs-ganesha's fixed ports are free and rpcbind, which it cannot do without, is seen by nobody.
use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::host;

/// Finds out whether [`enter`] is of any use to try.
///
/// # Errors
/// When this is not root.
pub fn check() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "this needs root: nfs-ganesha opens files by handle, and the servers get a network of \
         their own. Run it as root"
    );
    Ok(())
}

/// Moves this thread, and every thread and process that it starts from now on, there. Comes after
/// whatever needs the real network.
///
/// # Errors
/// When this is not root, or root without the right to do so (a container).
pub fn enter() -> Result<()> {
    check()?;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("a network and mounts of our own (unshare); in a container, run it privileged")?;
    let none: Option<&Path> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("mounts of our own")?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=0755"))
        .context("a /run of our own")?;
    fs::create_dir("/run/lock")?;
    host::run(Command::new("ip").args(["link", "set", "lo", "up"]))
}
