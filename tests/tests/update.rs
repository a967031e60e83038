//! Goal: a version comes by a volume or from a URL, is tried, and stays because it serves; one that does not come up gives
//! way by itself; a power cut while it is written changes nothing; settings stay. Method: an image and an
//! update of another version, signed by a key of this test's own, on BIOS and on UEFI.
//!
//! `cargo prove update` runs it; `cargo verify` has the same procedures on a model of both boot loaders.
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{
    appliance_vm::{DiskBus, Firmware, Volume},
    artifacts, iso,
    lab::{Alone, Appliance, BOOT_LIMIT, Parts},
    pages::{choose_on_serial, log_in_on_serial, page_on_serial, status_on_serial},
    web::Web,
    workspace::Workspace,
};
use image::{
    BuildInputs, PrintProgress,
    plan::{self, Role, Slot},
    update,
};

/// From a key to what it shows, emulated: a password takes seconds.
const KEY_LIMIT: Duration = Duration::from_secs(120);
/// Reading, checking and writing an update, emulated.
const WRITE_LIMIT: Duration = Duration::from_secs(300);
const BEFORE: &str = "0.1.0";
const AFTER: &str = "0.2.0";
/// What the power is cut within, and what comes from a URL.
const LATER: &str = "0.3.0";
/// Variable with the number of power cuts.
const CUTS: &str = "TIDEGATE_UPDATE_CUTS";

/// What is updated, and by what.
struct Update {
    /// An image of [`BEFORE`].
    parts: Parts,
    /// CDs with the updates to [`AFTER`] and to [`LATER`].
    cds: [PathBuf; 2],
    /// The update to [`LATER`].
    later: PathBuf,
}

fn build() -> Result<Update> {
    let workspace = Workspace::find();
    let folder = workspace.out().join("update");
    fs::create_dir_all(&folder)?;
    let key = update::parse_key(&"07".repeat(32))?;
    let keys = folder.join("keys");
    fs::write(&keys, update::public_text(&key))?;
    let (gateway, init) = (artifacts::gateway(&workspace)?, artifacts::init(&workspace)?);
    let mut progress = PrintProgress::new();
    let mut of = |version: &str| {
        let inputs = BuildInputs {
            gateway: gateway.clone(),
            init: init.clone(),
            out: folder.join(format!("{version}.img")),
            cache_dir: workspace.package_cache(),
            mirror: None,
            locked: false,
            version: Some(version.to_owned()),
            update_keys: Some(keys.clone()),
        };
        image::build(&inputs, &mut progress)
    };
    let (before, after, later) = (of(BEFORE)?, of(AFTER)?, of(LATER)?);
    let cd = |update: &Path, name: &str| -> Result<PathBuf> {
        update::sign(update, &key)?;
        let cd = folder.join(name);
        iso::write(&cd, "TIDEGATE", "TIDEGATE.UPD;1", &fs::read(update)?)?;
        Ok(cd)
    };
    let cds = [cd(&after.update, "update.iso")?, cd(&later.update, "later.iso")?];
    let parts = Parts::with_image(workspace, before.image)?;
    Ok(Update { parts, cds, later: later.update })
}

fn at_update(appliance: &mut Appliance) -> Result<()> {
    // Who logs in before the console has looked at anything is told to wait.
    status_on_serial(&appliance.serial, ":/sales /mnt/sales", BOOT_LIMIT)?;
    log_in_on_serial(&mut appliance.serial, BOOT_LIMIT)?;
    choose_on_serial(&mut appliance.serial, "Update", KEY_LIMIT)
}

/// Begins to write the update.
fn begin(appliance: &mut Appliance) -> Result<()> {
    at_update(appliance)?;
    choose_on_serial(&mut appliance.serial, "Update from a Volume", KEY_LIMIT)?;
    page_on_serial(&appliance.serial, "[ Check and write ]", KEY_LIMIT)?;
    appliance.serial.send("\r\r")
}

/// Says yes to the reboot that a page offers.
fn reboot(appliance: &mut Appliance) -> Result<()> {
    let page = page_on_serial(&appliance.serial, "Reboot into it now?", WRITE_LIMIT)?;
    println!("the console says:\n{page}\n");
    ensure!(page.contains("is in S3") || page.contains("to be uploaded"), "{page}");
    appliance.serial.skip();
    appliance.serial.clear_screen();
    appliance.serial.send("y")
}

/// Waits until a version that was tried is kept; what the page says.
fn kept(appliance: &mut Appliance) -> Result<String> {
    appliance.serial.expect("this version is on trial", BOOT_LIMIT)?;
    appliance.serial.clear_screen();
    at_update(appliance)?;
    page_on_serial(&appliance.serial, "serves since the last update", BOOT_LIMIT)
}

/// The CD has the version that runs.
fn the_build_that_runs_is_refused(appliance: &mut Appliance) -> Result<()> {
    choose_on_serial(&mut appliance.serial, "Update from a Volume", KEY_LIMIT)?;
    page_on_serial(&appliance.serial, "[ Check and write ]", KEY_LIMIT)?;
    appliance.serial.send("\r\r")?;
    let page = page_on_serial(&appliance.serial, "is the same build of it", WRITE_LIMIT)?;
    println!("proof: the build that runs is refused");
    println!("the console says:\n{page}\n");
    Ok(())
}

fn flip_byte(disk: &Path, slot: Slot) -> Result<()> {
    let file = File::options().read(true).write(true).open(disk)?;
    // In the superblock, which is read by whoever mounts it.
    let at = plan::partition(Role::Root(slot)).start + 40;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    Ok(file.write_all_at(&[byte[0] ^ 1], at)?)
}

fn updates(name: &str, firmware: Firmware, bus: DiskBus) -> Result<()> {
    let Update { parts, cds: [cd, later_cd], later } = build()?;
    let mut alone = Alone::with_parts(name, parts)?;
    alone.hardware.firmware = firmware;
    alone.hardware.boot_bus = bus;
    alone.hardware.volumes = vec![Volume::Cd(cd)];
    let cuts = std::env::var(CUTS).map_or(Ok(3), |text| text.parse()).context(CUTS)?;

    let mut appliance = alone.power_on()?;
    alone.wait_for_nfs(&mut appliance.machine)?;
    println!("proof: {name}: {BEFORE} runs, the update to {AFTER} is written");
    begin(&mut appliance)?;
    reboot(&mut appliance)?;
    let page = kept(&mut appliance)?;
    println!("proof: {name}: it was tried and is kept");
    println!("the console says:\n{page}\n");
    ensure!(page.contains(&format!("Version {AFTER} runs, from slot b.")), "{page}");
    alone.wait_for_nfs(&mut appliance.machine)?;

    println!("proof: {name}: back to {BEFORE}, whose root file system is damaged meanwhile");
    flip_byte(&alone.hardware.boot_disk, Slot::A)?;
    choose_on_serial(&mut appliance.serial, &format!("Go Back to Version {BEFORE}"), KEY_LIMIT)?;
    page_on_serial(&appliance.serial, "Try it at the next start?", KEY_LIMIT)?;
    appliance.serial.send("y")?;
    reboot(&mut appliance)?;
    status_on_serial(&appliance.serial, "did not come up healthy", BOOT_LIMIT)?;
    at_update(&mut appliance)?;
    let page = page_on_serial(&appliance.serial, "did not come up healthy", KEY_LIMIT)?;
    println!("proof: {name}: it fell back by itself");
    println!("the console says:\n{page}\n");
    alone.wait_for_nfs(&mut appliance.machine)?;
    the_build_that_runs_is_refused(&mut appliance)?;
    appliance.machine.cut_power()?;

    alone.hardware.volumes = vec![Volume::Cd(later_cd)];
    appliance = alone.power_on()?;
    alone.wait_for_nfs(&mut appliance.machine)?;
    for cut in 1..=cuts {
        // The moments are spread by what was said last before the power goes. Soon after the kernel is written the
        // update is whole, and would be tried: that is what was shown before.
        begin(&mut appliance)?;
        let said = ["Found", "signed, and fits", "Root file system written"];
        let last = said[cut % said.len()];
        page_on_serial(&appliance.serial, last, WRITE_LIMIT)?;
        appliance.machine.cut_power()?;
        appliance = alone.power_on()?;
        alone.wait_for_nfs(&mut appliance.machine)?;
        println!("proof: {name}: power cut {cut} after {last:?}, and it serves");
    }
    at_update(&mut appliance)?;
    let page = page_on_serial(&appliance.serial, "Update from a Volume", KEY_LIMIT)?;
    println!("the console says:\n{page}\n");
    ensure!(page.contains(&format!("Version {AFTER} runs, from slot b.")), "{page}");

    println!("proof: {name}: the update to {LATER} is written once more, from a URL into slot a");
    let url = Web::serve(later)?.url("tidegate.update");
    choose_on_serial(&mut appliance.serial, "Update from a URL", KEY_LIMIT)?;
    page_on_serial(&appliance.serial, "[ Check and write ]", KEY_LIMIT)?;
    appliance.serial.send(&format!("{url}\r\r\r"))?;
    reboot(&mut appliance)?;
    let page = kept(&mut appliance)?;
    ensure!(page.contains(&format!("Version {LATER} runs, from slot a.")), "{page}");
    println!("proof: {name}: it was tried and is kept");
    Ok(())
}

mod in_a_vm {
    use e2e::appliance_vm::{DiskBus, Firmware};

    #[test]
    fn updates_on_bios() {
        if let Err(error) = super::updates("update-bios", Firmware::Bios, DiskBus::Pvscsi) {
            panic!("{error:?}");
        }
    }

    #[test]
    fn updates_on_uefi() {
        if let Err(error) = super::updates("update-uefi", Firmware::Uefi, DiskBus::Ahci) {
            panic!("{error:?}");
        }
    }
}
