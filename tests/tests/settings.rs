//! Missing, wrong, broken and damaged settings do not stop the boot, nor do a full state partition, a gateway
//! that crashes in a loop, and a power cut in the midst of the first boot: the console says what is wrong and
//! how to mend it, and what is mended works again.
use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use e2e::{
    lab::{Alone, Appliance, BOOT_LIMIT},
    pages::{choose_on_serial, field, log_in_on_serial, page_on_serial, status_on_serial},
    seed,
    state_partition::StatePartition,
};

const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);
/// From a key to what it shows, emulated; a gateway that ends three times in a row included.
const PAGE_LIMIT: Duration = Duration::from_secs(240);
/// Of the gateway, in the image.
const GATEWAY_USER: u32 = 800;
const IDENTITY: &str = "/gateway/identity.toml";
/// The phases begin with this line; the partition for settings is made within the next two seconds.
const FIRST_WORDS: &str = "stage 2";
const FIRST_PHASES: Duration = Duration::from_millis(2500);

/// Boots with a seed and waits for a status page with `words`.
fn page_with(alone: &Alone, seed: &str, words: &str) -> Result<String> {
    fs::write(&alone.hardware.seed, seed)?;
    let mut appliance = alone.power_on()?;
    let page = status_on_serial(&appliance.serial, words, BOOT_LIMIT)?;
    println!("the console says:\n{page}\n");
    appliance.machine.shut_down(SHUTDOWN_LIMIT)?;
    Ok(page)
}

/// The power is cut at some moment of the first boot, while the partition for settings is made.
fn first_boot_is_cut(alone: &Alone) -> Result<()> {
    let appliance = alone.power_on()?;
    appliance.serial.expect(FIRST_WORDS, BOOT_LIMIT)?;
    let chance = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos();
    let after = FIRST_PHASES * (chance % 1000) / 1000;
    // Not waiting for anything: any moment will do.
    std::thread::sleep(after);
    println!("power is cut {} ms after stage 2 has begun", after.as_millis());
    appliance.machine.cut_power()
}

/// Neither a gateway nor a setting can be kept; the console says both, and takes no change that it cannot
/// keep.
fn full_and_crashing(appliance: &mut Appliance) -> Result<()> {
    let serial = &mut appliance.serial;
    let page = status_on_serial(serial, "times in a row and is started", BOOT_LIMIT)?;
    println!("the console says of the gateway:\n{page}\n");
    let problem = field(&page, "Problem")?;
    ensure!(problem.contains("identity.toml") && problem.ends_with("See Logs"), "{page}");
    log_in_on_serial(serial, PAGE_LIMIT)?;
    choose_on_serial(serial, "View System Resource Check", PAGE_LIMIT)?;
    let check = page_on_serial(serial, "System disk", PAGE_LIMIT)?;
    println!("the resource check:\n{check}\n");
    ensure!(field(&check, "System disk")?.contains("[FAIL]"), "{check}");
    serial.send("x")?;
    choose_on_serial(serial, "Network Configuration", PAGE_LIMIT)?;
    choose_on_serial(serial, "Configure Hostname", PAGE_LIMIT)?;
    page_on_serial(serial, "[ Apply ]", PAGE_LIMIT)?;
    serial.send("\x15another\r\r\r")?;
    let page = page_on_serial(serial, "cannot be kept on the system disk", PAGE_LIMIT)?;
    println!("and of a change:\n{page}\n");
    serial.send("\r")?;
    page_on_serial(serial, "[ Apply ]", PAGE_LIMIT)?;
    serial.send("\x1b")?;
    page_on_serial(serial, ": Configure Hostname", PAGE_LIMIT)?;
    serial.send("xx")?;
    let page = status_on_serial(serial, "", PAGE_LIMIT)?;
    ensure!(field(&page, "Name")? == seed::HOSTNAME, "{page}");
    ensure!(field(&page, "Problem").is_err(), "{page}");
    Ok(())
}

fn wrong_settings() -> Result<()> {
    let alone = Alone::new("settings")?;
    let right = seed::document(alone.store.address().port())?;
    let state = StatePartition::of(&alone.hardware.boot_disk, alone.folder());
    fs::write(&alone.hardware.seed, "[machine]\nhostname = \"bare\"\n")?;
    first_boot_is_cut(&alone)?;

    let page = page_with(&alone, "[machine]\nhostname = \"bare\"\n", "Settings")?;
    ensure!(field(&page, "Name")? == "bare", "{page}");
    ensure!(field(&page, "Problem").is_err(), "{page}");
    ensure!(field(&page, "Cache disk")?.contains("150"), "{page}");

    println!("damaged settings of the machine, and a wrong secret");
    state.replace("/machine.toml", b"version = \"one\"\n")?;
    let wrong = right.replace(seed::SECRET_KEY, "another-secret");
    let page = page_with(&alone, &wrong, "SignatureDoesNotMatch")?;
    ensure!(field(&page, "Share")?.contains("check access key, secret"), "{page}");

    let problem = field(&page, "Problem")?;
    ensure!(problem.contains("damaged, so those before them are used: look whether"), "{page}");

    let broken = right.replace("[gateway.s3]", "[gateway.s4]");
    let page = page_with(&alone, &broken, "s4")?;
    ensure!(field(&page, "Settings")?.contains("not usable"), "{page}");

    println!("no room for settings, and a gateway that crashes in a loop");
    let identity = state.replace_by_folder(IDENTITY)?;
    state.fill()?;
    let mut appliance = alone.power_on()?;
    full_and_crashing(&mut appliance)?;
    appliance.machine.shut_down(SHUTDOWN_LIMIT)?;
    state.empty()?;
    state.put_back(IDENTITY, &identity, GATEWAY_USER)?;

    let page = page_with(&alone, &right, ":/sales /mnt/sales")?;
    ensure!(field(&page, "Share")? == "/sales = sales-backup/onprem/", "{page}");
    ensure!(field(&page, "Name")? == seed::HOSTNAME, "{page}");
    Ok(())
}

mod in_a_vm {
    #[test]
    fn what_is_wrong_with_settings_is_said_on_the_console_and_can_be_mended() {
        if let Err(error) = super::wrong_settings() {
            panic!("{error:?}");
        }
    }
}
