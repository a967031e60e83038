//! The appliance boots from the disk unpacked from the OVA.
use std::{
    fs::File,
    io::{BufReader, BufWriter},
};

use anyhow::{Result, ensure};
use e2e::lab::Alone;
use image::debs::sha256_file;
use vmware::{CacheDisk, PackInputs, spec::Spec};

fn ova() -> Result<()> {
    let alone = Alone::new("ova")?;
    let ova = alone.folder().join("tidegate.ova");
    let inputs = PackInputs {
        image: alone.parts.image.clone(),
        ova: ova.clone(),
        spec: Spec::default(),
        cache_disk: CacheDisk::CapacityOnly,
    };
    let report = vmware::pack(&inputs, &mut |line| println!("{line}"))?;
    println!("the OVA has {} bytes, SHA-256 {}", report.size, report.sha256);

    let disk = &alone.hardware.boot_disk;
    let mut disks = 0;
    vmware::ova::read(BufReader::new(File::open(&ova)?), |name, _size, mut content| {
        if name.ends_with(".vmdk") {
            let file = File::create(disk)?;
            let length = vmware::vmdk_reader::unpack(&mut content, &mut BufWriter::new(&file))?;
            file.set_len(length)?;
            disks += 1;
        }
        Ok(())
    })?;
    ensure!(disks == 1, "{disks} disks are in the OVA");
    ensure!(sha256_file(disk)? == sha256_file(&alone.parts.image)?, "the disk is another one");
    let mut appliance = alone.power_on()?;
    alone.wait_for_nfs(&mut appliance.machine)
}

mod in_a_vm {
    #[test]
    fn the_appliance_boots_from_the_disk_in_the_ova() {
        if let Err(error) = super::ova() {
            panic!("{error:?}");
        }
    }
}
