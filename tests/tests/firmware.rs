//! UEFI: systemd-boot and the unified kernel image, from SATA, with the cache disk on PVSCSI.
use std::{
    collections::HashMap,
    fs::File,
    io::{Cursor, Read},
    os::unix::fs::FileExt,
};

use anyhow::{Context, Result, ensure};
use e2e::{
    appliance_vm::{DiskBus, Firmware},
    lab::{Alone, BOOT_LIMIT, Parts},
    pages::{field, status_on_serial},
};
use image::plan::{self, Role, Slot};

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

/// The update file brings what the disk image has: checked byte by byte, without a machine.
fn update_file() -> Result<()> {
    let parts = Parts::build()?;
    let disk = File::open(&parts.image)?;
    let update = File::open(parts.image.with_extension("update"))?;
    let mut files = HashMap::new();
    for entry in tar::Archive::new(update).entries()? {
        let mut entry = entry?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(entry.path()?.display().to_string(), content);
    }
    let root = plan::partition(Role::Root(Slot::A));
    let mut on_disk = vec![0; files["root.img"].len()];
    disk.read_exact_at(&mut on_disk, root.start)?;
    ensure!(on_disk == files["root.img"], "the root file systems differ");

    let partition = plan::partition(Role::Esp);
    let mut esp = vec![0; usize::try_from(partition.size())?];
    disk.read_exact_at(&mut esp, partition.start)?;
    let esp = fatfs::FileSystem::new(Cursor::new(esp), fatfs::FsOptions::new())?;
    let on_esp = |path: &str| -> Result<Vec<u8>> {
        let mut content = Vec::new();
        esp.root_dir().open_file(path)?.read_to_end(&mut content)?;
        Ok(content)
    };
    let efi = &files["tidegate.efi"];
    ensure!(on_esp("EFI/Linux/tidegate_0_a.efi")? == *efi, "the kernel images differ");
    let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"])?;
    for (part, path) in [("kernel", "vmlinuz-a"), ("initrd", "initrd-a")] {
        let number = |name: &str| manifest[part][name].as_u64().context("a number");
        let (offset, size) = (number("offset")?, number("size")?);
        let range = usize::try_from(offset)?..usize::try_from(offset + size)?;
        ensure!(on_esp(path)? == efi[range], "{path} differs");
    }
    let cmdline = manifest["cmdline"].as_str().context("a command line")?;
    ensure!(String::from_utf8(on_esp("grub/slot-a.cfg")?)?.contains(cmdline), "{cmdline}");
    Ok(())
}

mod in_a_vm {
    #[test]
    fn the_update_file_brings_what_the_disk_image_has() {
        if let Err(error) = super::update_file() {
            panic!("{error:?}");
        }
    }

    #[test]
    fn the_appliance_boots_by_uefi() {
        if let Err(error) = super::uefi() {
            panic!("{error:?}");
        }
    }
}
