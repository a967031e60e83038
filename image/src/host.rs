//! The few programs of the host that the build runs, and how it runs them.
//!
//! Everything that shapes the image (mksquashfs, grub-mkimage) comes from the pinned Debian 13
//! packages and runs through their own loader, so the result does not depend on the host.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// How to see whether a host package is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// A program found in `PATH` (or the sbin folders, which `PATH` may lack).
    Program(&'static str),
    /// A file at an absolute path.
    File(&'static str),
    /// Nothing to probe when the machine's own apt sources name a Debian mirror; otherwise a file
    /// at an absolute path.
    FileUnlessDebian(&'static str),
}

/// A package of the host (Debian or Ubuntu) that the build needs.
#[derive(Debug, Clone, Copy)]
pub struct HostPackage {
    /// Name for `apt-get install`.
    pub package: &'static str,
    /// Why the build needs it, for the user.
    pub why: &'static str,
    /// How to see whether it is installed.
    pub probe: Probe,
}

/// What the host must have for [`crate::build`]. The caller installs what is missing.
#[must_use]
pub fn host_packages() -> &'static [HostPackage] {
    &[
        HostPackage {
            package: "apt",
            why: "fetches the image's Debian packages and checks their signatures",
            probe: Probe::Program("apt-get"),
        },
        HostPackage {
            package: "dpkg",
            why: "unpacks the image's Debian packages",
            probe: Probe::Program("dpkg-deb"),
        },
        HostPackage {
            package: "binutils",
            why: "strips debug information from the gateway's binary in the image",
            probe: Probe::Program("strip"),
        },
        HostPackage {
            package: "debian-archive-keyring",
            why: "holds the keys that Debian signs its packages with",
            probe: Probe::File(crate::mirror::KEYRING),
        },
        HostPackage {
            package: "debootstrap",
            why: "names Debian's default mirror on a machine whose apt sources name none",
            probe: Probe::FileUnlessDebian("/usr/sbin/debootstrap"),
        },
    ]
}

/// Those of [`host_packages`] that are not installed.
#[must_use]
pub fn missing_host_packages() -> Vec<HostPackage> {
    host_packages().iter().filter(|entry| !is_installed(entry.probe)).copied().collect()
}

fn is_installed(probe: Probe) -> bool {
    match probe {
        Probe::Program(name) => find_program(name).is_some(),
        Probe::File(path) => Path::new(path).exists(),
        Probe::FileUnlessDebian(path) => {
            Path::new(path).exists() || crate::mirror::machine_has_debian_mirror()
        }
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// When it cannot be started or fails; the message holds the end of what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot start {program}: is the package that holds it there?"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let tail: Vec<&str> = said.lines().rev().take(12).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("{program} failed ({}):\n{}", output.status, tail.join("\n"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program of the unpacked Debian 13 tree, run by that tree's own loader and libraries.
#[must_use]
pub(crate) fn tree_command(tree: &Path, program: impl AsRef<OsStr>) -> Command {
    let libraries = tree.join("usr/lib/x86_64-linux-gnu");
    let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(&libraries).arg(tree.join(program.as_ref()));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_reports_what_it_printed() {
        let error = run(Command::new("sh").args(["-c", "echo out of luck >&2; exit 3"]))
            .expect_err("exit 3 is a failure");
        assert!(error.to_string().contains("out of luck"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program")).expect_err("it does not exist");
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
