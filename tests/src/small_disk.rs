//! A file system of a few megabytes for one program: a tmpfs that only it sees and that goes with it.
//!
//! Any user may do that in a user namespace, which `passt` needs too; no root, and nothing to unmount.
use std::{path::Path, process::Command};

/// Mounts the file system, then becomes the program: its process is the one that was started.
const MOUNT_AND_RUN: &str =
    r#"mount -t tmpfs -o "size=$1,mode=0700" tmpfs "$2" && shift 2 && exec "$@""#;

/// The command that runs `program` with a file system of `bytes` at `folder`, which must be there.
/// What is written there is lost when the program ends.
pub(crate) fn command(program: &Path, folder: &Path, bytes: u64) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", MOUNT_AND_RUN, "sh"])
        .arg(bytes.to_string())
        .args([folder, program]);
    command
}
