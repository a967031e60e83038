//! Wrong or missing settings do not stop the boot: the console says what is wrong and how to mend it,
//! and a mended seed does.
use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use e2e::{
    lab::{Alone, BOOT_LIMIT},
    pages::{field, status_on_serial},
    seed,
};

const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);

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

    let page = page_with(&alone, "[machine]\nhostname = \"bare\"\n", "Settings")?;
    ensure!(field(&page, "Name")? == "bare", "{page}");
    ensure!(field(&page, "Cache disk")?.contains("150"), "{page}");

    let wrong = right.replace(seed::SECRET_KEY, "another-secret");
    let page = page_with(&alone, &wrong, "SignatureDoesNotMatch")?;
    ensure!(field(&page, "Share")?.contains("check access key, secret"), "{page}");

    let broken = right.replace("[gateway.s3]", "[gateway.s4]");
    let page = page_with(&alone, &broken, "s4")?;
    ensure!(field(&page, "Settings")?.contains("not usable"), "{page}");

    let page = page_with(&alone, &right, ":/sales /mnt/sales")?;
    ensure!(field(&page, "Share")? == "/sales = sales-backup/onprem/", "{page}");
    ensure!(field(&page, "Name")? == seed::HOSTNAME, "{page}");
    Ok(())
}

mod in_a_vm {
    #[test]
    fn wrong_settings_are_said_on_the_console_and_mended_by_a_new_seed() {
        if let Err(error) = super::wrong_settings() {
            panic!("{error:?}");
        }
    }
}
