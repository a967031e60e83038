//! Missing, wrong, broken and damaged settings do not stop the boot, nor does a gateway that crashes in a loop: the
//! console says what is wrong and how to mend it, and what is mended works again.
use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use e2e::{
    lab::{Alone, BOOT_LIMIT},
    pages::{field, status_on_serial},
    seed,
    state_partition::StatePartition,
};

const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);
/// Of the gateway, in the image.
const GATEWAY_USER: u32 = 800;
const IDENTITY: &str = "/gateway/identity.toml";

/// Boots with a seed and waits for a status page with `words`.
fn page_with(alone: &Alone, seed: &str, words: &str) -> Result<String> {
    fs::write(&alone.hardware.seed, seed)?;
    let mut appliance = alone.power_on()?;
    let page = status_on_serial(&appliance.serial, words, BOOT_LIMIT)?;
    println!("the console says:\n{page}\n");
    appliance.machine.shut_down(SHUTDOWN_LIMIT)?;
    Ok(page)
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

    let broken = right.replace("[gateway.s3]", "[gateway.s4]");
    let page = page_with(&alone, &broken, "s4")?;
    ensure!(field(&page, "Settings")?.contains("not usable"), "{page}");

    println!("a gateway that crashes in a loop");
    let identity = state.replace_by_folder(IDENTITY)?;
    let page = page_with(&alone, &right, "times in a row and is started")?;
    let problem = field(&page, "Problem")?;
    ensure!(problem.contains("identity.toml") && problem.ends_with("See Logs"), "{page}");
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
