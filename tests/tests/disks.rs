//! A disk that holds anything is left alone, bit for bit, and the console says so.
use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};
use e2e::{
    appliance_vm::new_cache_disk,
    host,
    lab::{Alone, BOOT_LIMIT},
    pages::{field, status_on_serial},
};

const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);

/// What tells whether anybody wrote to a sparse file: when it changed, and what it takes.
fn traces(disk: &Path) -> Result<(i64, i64, u64)> {
    let metadata = std::fs::metadata(disk)?;
    Ok((metadata.mtime(), metadata.mtime_nsec(), metadata.blocks()))
}

fn left_alone(alone: &Alone, expected: &str) -> Result<()> {
    let before = traces(&alone.hardware.cache_disk)?;
    let mut appliance = alone.power_on()?;
    let page = status_on_serial(&appliance.serial, "left alone", BOOT_LIMIT)?;
    let said = field(&page, "Cache disk")?;
    println!("the console says: {said}");
    ensure!(said.contains(expected), "{page}");
    appliance.machine.shut_down(SHUTDOWN_LIMIT)?;
    ensure!(traces(&alone.hardware.cache_disk)? == before, "something was written to the disk");
    Ok(())
}

fn foreign_disks() -> Result<()> {
    let alone = Alone::new("disks")?;
    let disk = &alone.hardware.cache_disk;
    let mut ext4 = Command::new("/sbin/mke2fs");
    host::run(ext4.args(["-q", "-t", "ext4", "-F"]).arg(disk))?;
    left_alone(&alone, "holds an ext file system")?;

    std::fs::remove_file(disk)?;
    new_cache_disk(disk)?;
    let mut file = File::options().write(true).open(disk)?;
    file.seek(SeekFrom::Start(1 << 20))?;
    file.write_all(b"somebody's data, of no known kind")?;
    file.sync_all()?;
    left_alone(&alone, "holds data")
}

mod in_a_vm {
    #[test]
    fn a_disk_that_holds_anything_is_not_formatted() {
        if let Err(error) = super::foreign_disks() {
            panic!("{error:?}");
        }
    }
}
