//! Looks what is on disks, inside the virtual machine of the power cuts: mounts each (which recovers its file
//! system), writes its files as one stream to a second disk, and says of each `good` or why not.
//!
//! One process for many disks: to start programs is what takes longest in an emulated machine.
use std::{env, fs::File, io::BufWriter, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use e2e::power::files;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

const PLACE: &str = "/cache";

/// `power-look DISK OUT DISK OUT...`
fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    for pair in words.chunks(2) {
        let [disk, out] = pair else { return ExitCode::FAILURE };
        match look(disk, Path::new(out)) {
            Ok(()) => println!("good"),
            Err(error) => println!("{}", format!("{error:#}").replace('\n', " ")),
        }
    }
    ExitCode::SUCCESS
}

fn look(disk: &str, out: &Path) -> Result<()> {
    // As `init` mounts a cache disk.
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some(disk), PLACE, Some("xfs"), flags, None::<&str>)
        .context("the file system cannot be mounted")?;
    let packed =
        File::options().write(true).open(out).context("the disk for what is found").and_then(
            |out| files::pack(Path::new(PLACE), &mut BufWriter::with_capacity(1 << 20, out)),
        );
    umount2(PLACE, MntFlags::empty()).context("unmounting")?;
    packed
}
