//! UEFI: systemd-boot and the unified kernel image, from SATA, with the cache disk on PVSCSI.
use anyhow::{Result, ensure};
use e2e::{
    appliance_vm::{DiskBus, Firmware},
    lab::{Alone, BOOT_LIMIT},
    pages::{field, status_on_serial},
};

fn uefi() -> Result<()> {
    let mut alone = Alone::new("firmware")?;
    alone.hardware.firmware = Firmware::Uefi;
    alone.hardware.boot_bus = DiskBus::Ahci;
    let mut appliance = alone.power_on()?;
    alone.wait_for_nfs(&mut appliance.machine)?;
    let page = status_on_serial(&appliance.serial, ":/sales /mnt/sales", BOOT_LIMIT)?;
    ensure!(field(&page, "Cache disk")?.contains("150"), "{page}");
    // The screen's console looks as often as the serial line's.
    status_on_serial(&appliance.serial, ":/sales /mnt/sales", BOOT_LIMIT)?;
    let picture = alone.parts.workspace.out().join("console-uefi.png");
    appliance.machine.picture(&picture)?;
    println!("a picture of the screen is in {}", picture.display());
    Ok(())
}

mod in_a_vm {
    #[test]
    fn the_appliance_boots_by_uefi() {
        if let Err(error) = super::uefi() {
            panic!("{error:?}");
        }
    }
}
