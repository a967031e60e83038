//! The console: the same pages on the screen and on serial, by keys as an operator presses them.
use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use e2e::{
    console::Console,
    lab::{Alone, Appliance, BOOT_LIMIT},
    pages::{
        choose_on_serial, field, log_in_on_serial, number_of, page_on_screen, page_on_serial,
        seconds_of, status_on_serial,
    },
    qemu::Machine,
};

/// From a key to what it shows, emulated: a password takes seconds, journalctl reads a whole boot.
const KEY_LIMIT: Duration = Duration::from_secs(120);
const SEOUL: i64 = 9 * 3600;
/// The guest's clock against ours: a wrong zone is off by an hour or more.
const CLOCK_TOLERANCE_SECONDS: i64 = 600;
/// [`e2e::pages::PASSWORD`] on a keyboard, and then the button.
const PASSWORD_KEYS: [&str; 15] =
    ["c", "o", "r", "r", "e", "c", "t", "spc", "h", "o", "r", "s", "e", "ret", "ret"];

fn the_clock_is_seouls(page: &str) -> Result<()> {
    let zone = field(page, "Time zone")?;
    ensure!(zone.starts_with("Asia/Seoul, ") && zone.ends_with("KST (+0900)"), "{zone}");
    let shown = seconds_of(zone["Asia/Seoul, ".len()..].split(" KST").next().unwrap_or_default())?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let off = shown - (now + SEOUL);
    ensure!(off.abs() < CLOCK_TOLERANCE_SECONDS, "the clock is off by {off} s: {zone}");
    Ok(())
}

/// Logs in on the screen, where a password is set already.
fn log_in_on_screen(machine: &mut Machine) -> Result<()> {
    page_on_screen(machine, "Enter: log in", KEY_LIMIT)?;
    machine.press(&["ret"])?;
    page_on_screen(machine, "[ Log in ]", KEY_LIMIT)?;
    machine.press(&PASSWORD_KEYS)?;
    page_on_screen(machine, "x: exit session", KEY_LIMIT).map(drop)
}

/// Chooses the entry of a menu on the screen whose label begins so, by its number.
fn choose_on_screen(machine: &mut Machine, label: &str) -> Result<()> {
    let page = page_on_screen(machine, &format!(": {label}"), KEY_LIMIT)?;
    let number = number_of(&page, label)?.to_string();
    let digits: Vec<String> = number.chars().map(String::from).collect();
    let mut keys: Vec<&str> = digits.iter().map(String::as_str).collect();
    keys.push("ret");
    machine.press(&keys)
}

/// The first visit sets the password, and on the other terminal only that one lets in.
fn passwords(appliance: &mut Appliance) -> Result<()> {
    log_in_on_serial(&mut appliance.serial, KEY_LIMIT)?;
    let screen = &mut appliance.machine;
    page_on_screen(screen, "Enter: log in", KEY_LIMIT)?;
    screen.press(&["ret", "g", "u", "e", "s", "s", "ret", "ret"])?;
    page_on_screen(screen, "this is not the password", KEY_LIMIT)?;
    screen.press(&["ret", "esc"])?;
    log_in_on_screen(screen)
}

fn journal(serial: &mut Console) -> Result<()> {
    choose_on_serial(serial, "Logs", KEY_LIMIT)?;
    choose_on_serial(serial, "Everything", KEY_LIMIT)?;
    let journal = page_on_serial(serial, "tidegate ", KEY_LIMIT)?;
    ensure!(journal.contains("Logs: Everything"), "{journal}");
    serial.send("x")?;
    choose_on_serial(serial, "Machine (PID 1)", KEY_LIMIT)?;
    page_on_serial(serial, "init[", KEY_LIMIT)?;
    serial.send("xx")
}

fn checks(serial: &mut Console) -> Result<()> {
    choose_on_serial(serial, "View System Resource Check", KEY_LIMIT)?;
    let check = page_on_serial(serial, "Services", KEY_LIMIT)?;
    println!("the resource check:\n{check}\n");
    ensure!(field(&check, "Network")?.ends_with("[OK]"), "{check}");
    ensure!(field(&check, "Cache disk")?.contains("150"), "{check}");
    serial.send("x")?;
    choose_on_serial(serial, "Test Network Connectivity", KEY_LIMIT)?;
    let test = page_on_serial(serial, "Press any key to continue", KEY_LIMIT)?;
    println!("the network test:\n{test}\n");
    let passed = |what: &str| {
        test.lines().any(|line| line.contains(what) && line.trim_end().ends_with("[PASSED]"))
    };
    ensure!(passed("Default gateway 10.0.2.2") && passed("S3 endpoint 10.0.2.2"), "{test}");
    serial.send("\r")?;
    page_on_serial(serial, "x: exit session", KEY_LIMIT).map(drop)
}

/// A change of the network counts down on both terminals; what one takes back is gone on the other.
fn trial(appliance: &mut Appliance, out: &Path) -> Result<()> {
    let serial = &mut appliance.serial;
    choose_on_serial(serial, "Network Configuration", KEY_LIMIT)?;
    choose_on_serial(serial, "Edit DNS Configuration", KEY_LIMIT)?;
    page_on_serial(serial, "Assign by DHCP", KEY_LIMIT)?;
    // To the search domains, and past the button's field to the button.
    serial.send("\t\t\t\tlab.example\r\r")?;
    page_on_serial(serial, "Keep these settings? [y/N]", KEY_LIMIT)?;
    page_on_screen(&mut appliance.machine, "Keep these settings? [y/N]", KEY_LIMIT)?;
    picture(&mut appliance.machine, out, "trial")?;
    serial.send("n")?;
    page_on_serial(serial, "The settings before them are used again", KEY_LIMIT)?;
    page_on_screen(&mut appliance.machine, "those before them are used again", KEY_LIMIT)?;
    appliance.machine.press(&["ret"])?;
    serial.send("\rx")?;
    page_on_serial(serial, "x: exit session", KEY_LIMIT).map(drop)
}

/// A picture of the screen, to be looked at: `console-NAME.png`.
fn picture(machine: &mut Machine, out: &Path, name: &str) -> Result<()> {
    let picture = out.join(format!("console-{name}.png"));
    machine.picture(&picture)?;
    ensure!(fs::read(&picture)?.starts_with(b"\x89PNG"), "{} is no PNG", picture.display());
    println!("a picture of the screen is in {}", picture.display());
    Ok(())
}

fn time_zone(machine: &mut Machine, out: &Path) -> Result<()> {
    choose_on_screen(machine, "System Time Management")?;
    choose_on_screen(machine, "Time Zone")?;
    page_on_screen(machine, "choose a region", KEY_LIMIT)?;
    machine.press(&["a", "s", "i", "a", "ret"])?;
    page_on_screen(machine, "choose a city in Asia", KEY_LIMIT)?;
    picture(machine, out, "list")?;
    machine.press(&["t", "o", "k", "y", "o", "ret"])?;
    page_on_screen(machine, "The settings are in use", KEY_LIMIT)?;
    machine.press(&["ret", "x", "x"])?;
    page_on_screen(machine, "JST (+0900)", KEY_LIMIT).map(drop)
}

fn console() -> Result<()> {
    let alone = Alone::new("console")?;
    let mut appliance = alone.power_on()?;
    let page = status_on_serial(&appliance.serial, ":/sales /mnt/sales", BOOT_LIMIT)?;
    println!("the front page on serial:\n{page}\n");
    ensure!(field(&page, "Name")? == "tidegate", "{page}");
    ensure!(field(&page, "Address")?.starts_with("10.0.2."), "{page}");
    ensure!(field(&page, "Cache disk")?.contains("150"), "{page}");
    ensure!(field(&page, "Share")?.contains("sales-backup/onprem/"), "{page}");
    field(&page, "To upload")?;
    the_clock_is_seouls(&page)?;

    let out = alone.parts.workspace.out();
    let on_screen = page_on_screen(&mut appliance.machine, ":/sales /mnt/sales", KEY_LIMIT)?;
    for name in ["Name", "Address", "Cache disk", "Share"] {
        ensure!(field(&on_screen, name)? == field(&page, name)?, "{on_screen}\n{page}");
    }
    picture(&mut appliance.machine, &out, "front")?;
    passwords(&mut appliance)?;
    page_on_screen(&mut appliance.machine, "Tidegate Appliance - Configuration", KEY_LIMIT)?;
    picture(&mut appliance.machine, &out, "menu")?;

    checks(&mut appliance.serial)?;
    journal(&mut appliance.serial)?;
    trial(&mut appliance, &out)?;
    time_zone(&mut appliance.machine, &out)?;

    println!("reboot, on serial");
    choose_on_serial(&mut appliance.serial, "Reboot", KEY_LIMIT)?;
    page_on_serial(&appliance.serial, "Reboot? [y/N]", KEY_LIMIT)?;
    appliance.serial.skip();
    appliance.serial.send("y")?;
    // The kernel's own last word; what comes after it is the next boot's.
    appliance.serial.expect("Restarting system", KEY_LIMIT)?;
    appliance.serial.clear_screen();
    let page = status_on_serial(&appliance.serial, ":/sales /mnt/sales", BOOT_LIMIT)?;
    ensure!(field(&page, "Time zone")?.starts_with("Asia/Tokyo"), "kept over the reboot:\n{page}");

    println!("shut down, on the screen");
    log_in_on_screen(&mut appliance.machine)?;
    choose_on_screen(&mut appliance.machine, "Shut Down")?;
    page_on_screen(&mut appliance.machine, "Shut Down? [y/N]", KEY_LIMIT)?;
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
