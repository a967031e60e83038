//! The console: the same pages on the screen and on serial, by keys as an operator presses them.
use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use e2e::{
    lab::{Alone, BOOT_LIMIT},
    pages::{TITLE, field, page_on_screen, seconds_of, status_on_serial},
};

/// From a key to what it shows, emulated: journalctl reads the whole boot for one page.
const KEY_LIMIT: Duration = Duration::from_secs(120);
/// As xterm and Linux's console send it.
const HOME_KEY: &str = "\x1b[1~";
const SEOUL: i64 = 9 * 3600;
/// The guest's clock against ours: a wrong zone is off by an hour or more.
const CLOCK_TOLERANCE_SECONDS: i64 = 600;

fn the_clock_is_seouls(page: &str) -> Result<()> {
    let zone = field(page, "Time zone")?;
    ensure!(zone.starts_with("Asia/Seoul, ") && zone.ends_with("KST (+0900)"), "{zone}");
    let shown = seconds_of(zone["Asia/Seoul, ".len()..].split(" KST").next().unwrap_or_default())?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let off = shown - (now + SEOUL);
    ensure!(off.abs() < CLOCK_TOLERANCE_SECONDS, "the clock is off by {off} s: {zone}");
    Ok(())
}

fn console() -> Result<()> {
    let alone = Alone::new("console")?;
    let mut appliance = alone.power_on()?;
    let page = status_on_serial(&appliance.serial, ":/sales /mnt/sales", BOOT_LIMIT)?;
    println!("the status page on serial:\n{page}\n");
    ensure!(field(&page, "Name")? == "tidegate", "{page}");
    ensure!(field(&page, "Address")?.starts_with("10.0.2."), "{page}");
    ensure!(field(&page, "Cache disk")?.contains("150"), "{page}");
    ensure!(field(&page, "Share")?.contains("sales-backup/onprem/"), "{page}");
    field(&page, "To upload")?;
    the_clock_is_seouls(&page)?;

    let on_screen = page_on_screen(&mut appliance.machine, ":/sales /mnt/sales", KEY_LIMIT)?;
    for name in ["Name", "Address", "Cache disk", "Share"] {
        ensure!(field(&on_screen, name)? == field(&page, name)?, "{on_screen}\n{page}");
    }
    let picture = alone.parts.workspace.out().join("console.png");
    appliance.machine.picture(&picture)?;
    ensure!(fs::read(&picture)?.starts_with(b"\x89PNG"), "{} is no PNG", picture.display());
    println!("a picture of the screen is in {}", picture.display());

    println!("the journal, on serial");
    appliance.serial.send("3")?;
    appliance.serial.expect("Support: clock, network, memory and journal", KEY_LIMIT)?;
    appliance.serial.send(HOME_KEY)?;
    let top = appliance.serial.expect("date: ", KEY_LIMIT)?;
    ensure!(top.contains("Support"), "{top}");
    let journal = appliance.serial.expect("q: back", KEY_LIMIT)?;
    ensure!(journal.contains("KST") && journal.contains("tidegate "), "{journal}");
    appliance.serial.send("q")?;
    status_on_serial(&appliance.serial, "KST", KEY_LIMIT)?;

    println!("another time zone, on the screen");
    appliance.machine.press(&["2"])?;
    page_on_screen(&mut appliance.machine, "choose a region", KEY_LIMIT)?;
    appliance.machine.press(&["a", "s", "i", "a", "ret"])?;
    page_on_screen(&mut appliance.machine, "choose a city in Asia", KEY_LIMIT)?;
    appliance.machine.press(&["t", "o", "k", "y", "o", "ret"])?;
    page_on_screen(&mut appliance.machine, "The time zone is Asia/Tokyo", KEY_LIMIT)?;
    appliance.machine.press(&["spc"])?;
    page_on_screen(&mut appliance.machine, "JST (+0900)", KEY_LIMIT)?;

    println!("reboot, on serial");
    appliance.serial.send("4")?;
    appliance.serial.expect("Reboot?", KEY_LIMIT)?;
    appliance.serial.send("y")?;
    // The kernel's own last word; what comes after it is the next boot's.
    appliance.serial.expect("Restarting system", KEY_LIMIT)?;
    let page = status_on_serial(&appliance.serial, ":/sales /mnt/sales", BOOT_LIMIT)?;
    ensure!(field(&page, "Time zone")?.starts_with("Asia/Tokyo"), "kept over the reboot:\n{page}");

    println!("shut down, on the screen");
    page_on_screen(&mut appliance.machine, TITLE, KEY_LIMIT)?;
    appliance.machine.press(&["5"])?;
    page_on_screen(&mut appliance.machine, "Shut down?", KEY_LIMIT)?;
    appliance.machine.press(&["y"])?;
    appliance.machine.wait_for_exit(KEY_LIMIT)
}

mod in_a_vm {
    #[test]
    fn an_operator_at_the_screen_and_at_the_serial_line() {
        if let Err(error) = super::console() {
            panic!("{error:?}");
        }
    }
}
