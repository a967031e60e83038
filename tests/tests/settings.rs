//! Missing, wrong, broken and damaged settings do not stop the boot, nor do a full system disk and a gateway that
//! crashes in a loop: the console says what is wrong and how to mend it, and what is mended works again.
use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use e2e::{
    console::Console,
    lab::{Alone, BOOT_LIMIT},
    pages::{choose_on_serial, field, log_in_on_serial, page_on_serial, status_on_serial},
    seed,
    state_partition::StatePartition,
};

const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);
/// From a key to what it shows, emulated: a password takes seconds.
const KEY_LIMIT: Duration = Duration::from_secs(120);
/// Of the gateway, in the image.
const GATEWAY_USER: u32 = 800;
const IDENTITY: &str = "/gateway/identity.toml";

/// Boots with a seed and waits for a status page with `words`.
fn page_with(alone: &Alone, seed: &str, words: &str) -> Result<String> {
    page_and(alone, seed, words, |_| Ok(()))
}

/// The same, and more is done before it is shut down.
fn page_and(
    alone: &Alone,
    seed: &str,
    words: &str,
    more: impl FnOnce(&mut Console) -> Result<()>,
) -> Result<String> {
    fs::write(&alone.hardware.seed, seed)?;
    let mut appliance = alone.power_on()?;
    let page = status_on_serial(&appliance.serial, words, BOOT_LIMIT)?;
    println!("the console says:\n{page}\n");
    more(&mut appliance.serial)?;
    appliance.machine.shut_down(SHUTDOWN_LIMIT)?;
    Ok(page)
}

/// The system disk is full, and nobody has been at the console yet. There is a reserve for that.
fn first_password_on_a_full_disk(serial: &mut Console) -> Result<()> {
    log_in_on_serial(serial, KEY_LIMIT)?;
    choose_on_serial(serial, "View System Resource Check", KEY_LIMIT)?;
    let check = page_on_serial(serial, "System disk  ", KEY_LIMIT)?;
    println!("the resource check of a full system disk:\n{check}\n");
    ensure!(field(&check, "System disk")?.contains("[FAIL] -> "), "{check}");
    serial.send("xx")?;
    let page = status_on_serial(serial, "Enter: log in", KEY_LIMIT)?;
    ensure!(!page.contains("lost at a restart"), "{page}");
    Ok(())
}

/// The reserve is used up, too: a password holds until the restart, and the console says so.
fn password_without_reserve(serial: &mut Console) -> Result<()> {
    // The one that was set before was kept.
    log_in_on_serial(serial, KEY_LIMIT)?;
    choose_on_serial(serial, "Gateway Console", KEY_LIMIT)?;
    page_on_serial(serial, "gateway>", KEY_LIMIT)?;
    serial.send("passwd\r")?;
    page_on_serial(serial, "Change the console's password", KEY_LIMIT)?;
    serial.send("another horse\ranother horse\r\r")?;
    let page = page_on_serial(serial, "only until the appliance restarts", KEY_LIMIT)?;
    println!("a password on a full system disk without reserve:\n{page}\n");
    serial.send("\r")?;
    page_on_serial(serial, "gateway>", KEY_LIMIT)?;
    serial.send("exit\r")?;
    page_on_serial(serial, "x: exit session", KEY_LIMIT)?;
    serial.send("x")?;
    let page = status_on_serial(serial, "are lost at a restart", KEY_LIMIT)?;
    println!("and the front page:\n{page}\n");
    Ok(())
}

fn wrong_settings() -> Result<()> {
    let alone = Alone::new("settings")?;
    let right = seed::document(alone.store.address().port())?;
    let state = StatePartition::of(&alone.hardware.boot_disk, alone.folder());
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

    println!("a broken seed, on a full system disk");
    state.fill()?;
    let broken = right.replace("[gateway.s3]", "[gateway.s4]");
    let page = page_and(&alone, &broken, "s4", first_password_on_a_full_disk)?;
    ensure!(field(&page, "Settings")?.contains("not usable"), "{page}");

    println!("a gateway that crashes in a loop, on a full system disk without reserve");
    let identity = state.replace_by_folder(IDENTITY)?;
    state.remove("/reserve")?;
    state.fill_to_the_last_block()?;
    let words = "times in a row and is started";
    let page = page_and(&alone, &broken, words, password_without_reserve)?;
    let problem = field(&page, "Problem")?;
    ensure!(problem.contains("has no room to spare"), "{page}");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let crashes = page.split("gateway has ended").nth(1).unwrap_or_default();
    ensure!(crashes.contains("identity.toml") && crashes.contains("See Logs"), "{page}");
    state.put_back(IDENTITY, &identity, GATEWAY_USER)?;

    println!("room, and the right settings: the password is the one that was kept");
    state.empty()?;
    let log_in = |serial: &mut Console| log_in_on_serial(serial, KEY_LIMIT);
    let page = page_and(&alone, &right, ":/sales /mnt/sales", log_in)?;
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
