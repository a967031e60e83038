//! The file systems under test: XFS, as the appliance makes it on its cache disk, each in an image of
//! its own on the disk that the workspace is on.
use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::host::{self, Need};

/// What it takes.
pub const PACKAGES: &[Need] = &[
    Need {
        package: "xfsprogs",
        why: "makes the file systems that both servers use",
        file: "/usr/sbin/mkfs.xfs",
    },
    Need { package: "mount", why: "attaches their images", file: "/usr/sbin/losetup" },
];

/// Size of an image; it takes what is written to it.
const IMAGE_BYTES: u64 = 16 << 30;

/// When a change of names is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// When something asks for it, as a rule.
    Later,
    /// Before the system call returns (xfs(5), `wsync`).
    AtOnce,
}

/// Makes a file system in the file `image` and mounts it at `at`; it goes with the mounts of this process
/// ([`super::private_network`]) or when it is unmounted.
///
/// # Errors
/// When one of the programs fails: in a container, for want of loop devices.
pub fn mount_new(image: &Path, at: &Path, names: Names) -> Result<()> {
    fs::create_dir_all(at)?;
    let file = fs::File::create(image).with_context(|| image.display().to_string())?;
    file.set_len(IMAGE_BYTES)?;
    host::run(Command::new("mkfs.xfs").arg("-q").arg(image))?;
    // Not cached twice.
    let mut attach = Command::new("losetup");
    attach.args(["--find", "--show", "--direct-io=on"]).arg(image);
    let output = attach.output().context("losetup")?;
    let device = String::from_utf8(output.stdout).context("what losetup printed")?;
    if !output.status.success() {
        if !device.is_empty() {
            // Attached, but not as asked for.
            host::run(Command::new("losetup").arg("--detach").arg(device.trim())).ok();
        }
        bail!(
            "no loop device for {} (in a container, run it privileged): {}",
            image.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let mut mount = Command::new("mount");
    mount.args(["-t", "xfs"]);
    if names == Names::AtOnce {
        mount.args(["-o", "wsync"]);
    }
    let mounted = host::run(mount.arg(device.trim()).arg(at));
    // The device goes when it is unmounted; at once, if it could not be mounted.
    let detached = host::run(Command::new("losetup").arg("--detach").arg(device.trim()));
    mounted.and(detached)
}

/// Unmounts what [`mount_new`] has mounted at `at`.
///
/// # Errors
/// When something still uses it.
pub fn unmount(at: &Path) -> Result<()> {
    host::run(Command::new("umount").arg(at))
}
