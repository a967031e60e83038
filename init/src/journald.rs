//! What a real systemd-journald wants to find before it starts.
use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use crate::{disks, mounts, reserve, service, sys};

/// The daemon.
pub(crate) const PROGRAM: &str = "/usr/lib/systemd/systemd-journald";
const MACHINE_ID: &str = "/run/machine-id";
const KEPT_MACHINE_ID: &str = "/config/machine-id";
const JOURNAL: &str = "/config/journal";
const JOURNAL_PLACE: &str = "/var/log/journal";

/// Prepares: machine id, sockets' folder, and the journal on the config partition if there is one.
///
/// # Errors
/// The journal stays in memory then, or there is none.
pub(crate) fn prepare() -> Result<()> {
    fs::create_dir_all("/run/systemd/journal")?;
    fs::create_dir_all("/run/log/journal")?;
    match symlink("/run/systemd/journal/dev-log", "/dev/log") {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).context("/dev/log"),
    }
    let kept = mounts::is_mounted(disks::CONFIG);
    fs::write(MACHINE_ID, format!("{}\n", machine_id(kept)?))?;
    bind(MACHINE_ID, "/etc/machine-id")?;
    if kept {
        fs::create_dir_all(JOURNAL)?;
        // Whoever is in the group may read the journal, as on any systemd machine.
        chown(JOURNAL, Some(0), Some(service::group("systemd-journal")?))?;
        fs::set_permissions(JOURNAL, fs::Permissions::from_mode(0o2755))?;
        fs::create_dir_all(JOURNAL_PLACE)?;
        bind(JOURNAL, JOURNAL_PLACE)?;
        // Tells journald that the place for the lasting journal is there (systemd-journald(8)).
        fs::write("/run/systemd/journal/flushed", "")?;
    }
    Ok(())
}

fn bind(from: &str, to: &str) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("binding {from} to {to}"))
}

/// 32 hexadecimal digits, kept over boots where that is possible (machine-id(5)).
fn machine_id(keep: bool) -> Result<String> {
    if keep {
        let kept = sys::read_line(KEPT_MACHINE_ID);
        if kept.len() == 32 && kept.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(kept);
        }
    }
    let uuid = sys::read_line("/proc/sys/kernel/random/uuid");
    let id: String = uuid.chars().filter(|c| *c != '-').collect();
    if keep {
        reserve::replace_file(Path::new(KEPT_MACHINE_ID), id.as_bytes(), 0o444)
            .context("keeping the machine id")?;
    }
    Ok(id)
}
