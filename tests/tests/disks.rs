//! Disks of the appliance. One that holds anything is left alone, bit for bit, and the console says so;
//! beside it a blank one is hot-added, used, made larger, taken away while in use and given back. Blank ones
//! that nobody has asked for stay blank until somebody does.
use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{
    appliance_vm::new_cache_disk,
    host,
    lab::{Alone, Appliance, BOOT_LIMIT},
    pages::{choose_on_serial, field, log_in_on_serial, page_on_serial, status_on_serial},
    seed,
};
use serde_json::json;

/// Emulated: from an event to the page that shows it, a new file system and a start of the gateway
/// included.
const PAGE_LIMIT: Duration = Duration::from_secs(180);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);
const GIB: u64 = 1 << 30;
const SHARE: &str = ":/sales /mnt/sales";

/// What tells whether anybody wrote to a sparse file: when it changed, and what it takes.
fn traces(disk: &Path) -> Result<(i64, i64, u64)> {
    let metadata = fs::metadata(disk)?;
    Ok((metadata.mtime(), metadata.mtime_nsec(), metadata.blocks()))
}

/// A blank disk that is not attached yet.
fn blank_disk(alone: &Alone, name: &str) -> Result<PathBuf> {
    let file = alone.folder().join(format!("{name}.img"));
    File::create(&file)?.set_len(2 * GIB)?;
    Ok(file)
}

/// Makes a file known to QEMU, which keeps it for as long as it runs.
fn open(appliance: &mut Appliance, name: &str, file: &Path) -> Result<()> {
    let file = file.to_str().context("a path that is no text")?;
    let node = json!({
        "driver": "raw",
        "node-name": name,
        "file": { "driver": "file", "filename": file },
    });
    appliance.machine.qmp().execute("blockdev-add", node)?;
    Ok(())
}

fn attach(appliance: &mut Appliance, name: &str) -> Result<()> {
    let disk =
        json!({ "driver": "scsi-hd", "bus": "scsi.0", "drive": name, "id": name, "serial": name });
    appliance.machine.qmp().execute("device_add", disk)?;
    Ok(())
}

fn detach(appliance: &mut Appliance, name: &str) -> Result<()> {
    let qmp = appliance.machine.qmp();
    qmp.execute("device_del", json!({ "id": name }))?;
    qmp.wait_event("DEVICE_DELETED", PAGE_LIMIT).map(drop)
}

/// Waits for the front page to say this of the cache disk, and of the share.
fn cache_is(appliance: &Appliance, says: &str, and: &str) -> Result<()> {
    let page = status_on_serial(&appliance.serial, &format!("Cache disk   {says}"), PAGE_LIMIT)?;
    println!("the console says: {}", field(&page, "Cache disk")?);
    status_on_serial(&appliance.serial, and, PAGE_LIMIT).map(drop)
}

/// A hot-added disk is used beside a foreign one, grows, and is lost and back.
fn hot_added(alone: &Alone, appliance: &mut Appliance) -> Result<()> {
    let disk = blank_disk(alone, "added")?;
    open(appliance, "added", &disk)?;
    attach(appliance, "added")?;
    cache_is(appliance, "2.0 GiB on /dev/sdc", SHARE)?;

    println!("made larger");
    let resize = json!({ "node-name": "added", "size": 4 * GIB });
    appliance.machine.qmp().execute("block_resize", resize)?;
    let serial = &mut appliance.serial;
    log_in_on_serial(serial, PAGE_LIMIT)?;
    choose_on_serial(serial, "Cache Disks", PAGE_LIMIT)?;
    choose_on_serial(serial, "Look for changes", PAGE_LIMIT)?;
    page_on_serial(serial, "The disks were looked through", PAGE_LIMIT)?;
    serial.send("\r")?;
    // The gateway's word, and so the file system's: 4 GiB but for its log and the reserved end.
    let page = page_on_serial(serial, " of 3.9 GiB in use", PAGE_LIMIT)?;
    println!("{page}\n");
    ensure!(page.contains("holds an ext file system"), "{page}");
    serial.send("xx")?;
    cache_is(appliance, "4.0 GiB on /dev/sdc", SHARE)?;

    println!("taken away while in use, and given back");
    detach(appliance, "added")?;
    status_on_serial(&appliance.serial, "is not attached", PAGE_LIMIT)?;
    status_on_serial(&appliance.serial, "waits for the cache disk", PAGE_LIMIT)?;
    attach(appliance, "added")?;
    cache_is(appliance, "4.0 GiB on /dev/sd", SHARE)
}

/// The disk in whose line of the list these words are: it may have another name when it comes back.
fn disk_with(page: &str, words: &str) -> Result<String> {
    let line = page.lines().find(|line| line.contains(words)).context("no such disk")?;
    let (_, entry) = line.split_once(": ").context("no entry")?;
    Ok(entry.split(' ').next().unwrap_or_default().to_owned())
}

/// A blank disk waits to be allocated; when every blank one is to be used, the next one is at once.
fn by_hand(alone: &Alone, appliance: &mut Appliance) -> Result<()> {
    let (first, second) = (blank_disk(alone, "first")?, blank_disk(alone, "second")?);
    let before = traces(&first)?;
    open(appliance, "first", &first)?;
    attach(appliance, "first")?;
    status_on_serial(&appliance.serial, "not used without being asked", PAGE_LIMIT)?;
    ensure!(traces(&first)? == before, "something was written to a disk that nobody allocated");

    println!("allocated on the console");
    let serial = &mut appliance.serial;
    log_in_on_serial(serial, PAGE_LIMIT)?;
    choose_on_serial(serial, "Cache Disks", PAGE_LIMIT)?;
    choose_on_serial(serial, "sdc", PAGE_LIMIT)?;
    choose_on_serial(serial, "Allocate", PAGE_LIMIT)?;
    page_on_serial(serial, "Allocate sdc, 2.0 GiB? [y/N]", PAGE_LIMIT)?;
    serial.send("y")?;
    page_on_serial(serial, "is a cache disk of this appliance from now on", PAGE_LIMIT)?;
    // Back to the list, whose entry is "primary" then.
    serial.send("\rx")?;
    let page = page_on_serial(serial, "primary  in use", PAGE_LIMIT)?;
    println!("{page}\n");

    println!("every blank disk");
    choose_on_serial(serial, "Set which blank disks", PAGE_LIMIT)?;
    page_on_serial(serial, "Used without asking", PAGE_LIMIT)?;
    serial.send("e\r\r")?;
    page_on_serial(serial, "The settings are in use", PAGE_LIMIT)?;
    open(appliance, "second", &second)?;
    attach(appliance, "second")?;
    let serial = &mut appliance.serial;
    serial.send("\r")?;
    let page = page_on_serial(serial, "further  in use", PAGE_LIMIT)?;
    println!("{page}\n");
    ensure!(page.contains("holds data"), "{page}");

    println!("lost and back, while the gateway goes on without it");
    detach(appliance, "second")?;
    page_on_serial(&appliance.serial, "missing  not attached", PAGE_LIMIT)?;
    page_on_serial(&appliance.serial, "primary  in use", PAGE_LIMIT)?;
    attach(appliance, "second")?;
    let page = page_on_serial(&appliance.serial, "further  in use", PAGE_LIMIT)?;

    println!("released");
    let serial = &mut appliance.serial;
    let name = disk_with(&page, "further  in use")?;
    choose_on_serial(serial, &name, PAGE_LIMIT)?;
    choose_on_serial(serial, "Release", PAGE_LIMIT)?;
    page_on_serial(serial, &format!("Release {name}, 2.0 GiB? [y/N]"), PAGE_LIMIT)?;
    serial.send("y")?;
    page_on_serial(serial, "The disk is being emptied", PAGE_LIMIT)?;
    serial.send("\rx")?;
    page_on_serial(serial, "blank: a released cache disk", PAGE_LIMIT)?;
    serial.send("xx")?;
    cache_is(appliance, "2.0 GiB on /dev/sdc", SHARE)
}

/// Boots with a disk that holds something, does what comes next, and shuts down: nothing was written to
/// that disk.
fn left_alone(
    alone: &Alone,
    says: &str,
    then: fn(&Alone, &mut Appliance) -> Result<()>,
) -> Result<()> {
    let before = traces(&alone.hardware.cache_disk)?;
    let mut appliance = alone.power_on()?;
    let page = status_on_serial(&appliance.serial, "left alone", BOOT_LIMIT)?;
    println!("the console says: {}", field(&page, "Cache disk")?);
    ensure!(field(&page, "Cache disk")?.contains(says), "{page}");
    then(alone, &mut appliance)?;
    appliance.machine.shut_down(SHUTDOWN_LIMIT)?;
    ensure!(traces(&alone.hardware.cache_disk)? == before, "something was written to the disk");
    Ok(())
}

fn disks() -> Result<()> {
    let alone = Alone::new("disks")?;
    let disk = &alone.hardware.cache_disk;
    let mut ext4 = Command::new("/sbin/mke2fs");
    host::run(ext4.args(["-q", "-t", "ext4", "-F"]).arg(disk))?;
    left_alone(&alone, "holds an ext file system", hot_added)?;

    println!("another appliance, with data of no known kind, and nothing used without being asked");
    fs::remove_file(disk)?;
    new_cache_disk(disk)?;
    let mut file = File::options().write(true).open(disk)?;
    file.seek(SeekFrom::Start(1 << 20))?;
    file.write_all(b"somebody's data, of no known kind")?;
    file.sync_all()?;
    e2e::appliance_vm::new_boot_disk(&alone.parts.image, &alone.hardware.boot_disk)?;
    let mut document: toml::Table = seed::document(alone.store.address().port())?.parse()?;
    let machine = document.get_mut("machine").and_then(toml::Value::as_table_mut);
    machine.context("the seed's machine")?.insert("cache_disks".to_owned(), "ask".into());
    fs::write(&alone.hardware.seed, toml::to_string(&document)?)?;
    left_alone(&alone, "holds data", by_hand)
}

mod in_a_vm {
    #[test]
    fn disks_are_left_alone_used_grown_lost_and_released() {
        if let Err(error) = super::disks() {
            panic!("{error:?}");
        }
    }
}
