//! Goal: an appliance is set up without a keyboard, from outside alone, and what runs in it can do no more
//! than it must. Method: no seed by fw_cfg; a CD with the OVF environment as VMware attaches it for the
//! transport "iso", then a volume labelled CIDATA; the resource check shows how the gateway is confined.
use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use e2e::{
    appliance_vm::Volume,
    iso,
    lab::{Alone, BOOT_LIMIT},
    pages::{choose_on_serial, field, log_in_on_serial, page_on_serial, status_on_serial},
    seed,
};

const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);
/// From a key to what it shows, emulated: a password takes seconds.
const KEY_LIMIT: Duration = Duration::from_secs(120);

/// The OVF environment (DSP0243 §9) with these properties.
fn environment(properties: &[(&str, &str)]) -> String {
    let rows: Vec<String> = properties
        .iter()
        .map(|(key, value)| format!("<Property oe:key=\"{key}\" oe:value=\"{value}\"/>"))
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Environment xmlns=\"http://schemas.dmtf.org/ovf/environment/1\" \
         xmlns:oe=\"http://schemas.dmtf.org/ovf/environment/1\" oe:id=\"\">\n\
         <PlatformSection><Kind>QEMU</Kind></PlatformSection>\n\
         <PropertySection>{}</PropertySection></Environment>\n",
        rows.concat()
    )
}

fn from_outside() -> Result<()> {
    let mut alone = Alone::new("outside")?;
    fs::write(&alone.hardware.seed, "")?;
    let endpoint = format!("http://{}:{}", seed::HOST_FROM_GUEST, alone.store.address().port());
    let told = environment(&[
        ("hostname", "gate7"),
        ("timezone", seed::TIME_ZONE),
        ("vlan", "many"),
        ("s3_region", seed::REGION),
        ("s3_endpoint", &endpoint),
        ("s3_path_style", "True"),
        ("s3_allow_http", "True"),
        ("s3_access_key_id", seed::ACCESS_KEY),
        ("s3_secret_access_key", seed::SECRET_KEY),
        ("share_bucket", seed::BUCKET),
        ("share_prefix", seed::PREFIX),
        ("share_name", seed::SHARE),
    ]);
    let cd = alone.folder().join("ovf-env.iso");
    iso::write(&cd, "OVF ENV", "OVF-ENV.XML;1", told.as_bytes())?;
    alone.hardware.volumes = vec![Volume::Cd(cd)];

    println!("from the OVF environment on a CD");
    let mut appliance = alone.power_on()?;
    let page = status_on_serial(&appliance.serial, ":/sales /mnt/sales", BOOT_LIMIT)?;
    println!("the console says:\n{page}\n");
    ensure!(field(&page, "Name")? == "gate7", "{page}");
    ensure!(field(&page, "Time zone")?.starts_with(seed::TIME_ZONE), "{page}");
    ensure!(field(&page, "Share")?.contains("sales-backup/onprem/"), "{page}");
    ensure!(field(&page, "Problem")?.contains("seed: VLAN: "), "{page}");

    println!("how the gateway is confined");
    log_in_on_serial(&mut appliance.serial, KEY_LIMIT)?;
    choose_on_serial(&mut appliance.serial, "View System Resource Check", KEY_LIMIT)?;
    let check = page_on_serial(&appliance.serial, "Confinement", KEY_LIMIT)?;
    println!("the resource check:\n{check}\n");
    let words = field(&check, "Confinement")?.replace("[OK]", "");
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(
        words.starts_with(
            "user 800, no capabilities, no new privileges, system calls filtered, files \
             restricted, memory at most"
        ),
        "{words}"
    );
    appliance.machine.shut_down(SHUTDOWN_LIMIT)?;

    println!("from a volume labelled CIDATA");
    let folder = alone.folder().join("cidata");
    fs::create_dir(&folder)?;
    fs::write(folder.join("tidegate.toml"), "[machine]\nhostname = \"gate8\"\n")?;
    alone.hardware.volumes = vec![Volume::Fat(folder, "CIDATA")];
    let mut appliance = alone.power_on()?;
    let page = status_on_serial(&appliance.serial, ":/sales /mnt/sales", BOOT_LIMIT)?;
    ensure!(field(&page, "Name")? == "gate8", "{page}");
    appliance.machine.shut_down(SHUTDOWN_LIMIT)
}

mod in_a_vm {
    #[test]
    fn an_appliance_is_set_up_from_outside_alone() {
        if let Err(error) = super::from_outside() {
            panic!("{error:?}");
        }
    }
}
