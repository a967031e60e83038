//! Writes the partition table (UEFI 2.10 §5.3) and the BIOS boot sector in front of it.

use std::collections::BTreeMap;
use std::fs::File;

use anyhow::{Context, Result};
use gpt::disk::LogicalBlockSize;
use gpt::partition::Partition as Entry;

use crate::plan::{self, Partition, Role};

/// Writes protective MBR with `boot_code`, primary and backup GPT.
pub(crate) fn write(disk: &mut File, boot_code: [u8; 440]) -> Result<()> {
    let sectors = plan::disk_bytes() / plan::SECTOR_BYTES;
    let covered = u32::try_from(sectors - 1).context("the disk is smaller than 2 TiB")?;
    let mut mbr = gpt::mbr::ProtectiveMBR::with_lb_size(covered);
    mbr.set_bootcode(boot_code);
    mbr.overwrite_lba0(disk).context("cannot write the boot sector")?;
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(disk.try_clone()?, Some(plan::DISK_GUID))
        .context("cannot make the partition table")?;
    let mut entries = BTreeMap::new();
    for (number, partition) in (1_u32..).zip(plan::partitions()) {
        entries.insert(number, entry(number, &partition));
    }
    table.update_partitions(entries).context("the partition plan is not valid")?;
    table.write().context("cannot write the partition table")?;
    Ok(())
}

fn entry(number: u32, partition: &Partition) -> Entry {
    let kind = match partition.role {
        Role::BiosBoot => gpt::partition_types::BIOS,
        Role::Esp => gpt::partition_types::EFI,
        Role::Root(_) => gpt::partition_types::LINUX_ROOT_X64,
        Role::Config => gpt::partition_types::LINUX_FS,
    };
    Entry {
        part_type_guid: kind,
        part_guid: Partition::guid(number),
        first_lba: partition.start / plan::SECTOR_BYTES,
        last_lba: (partition.start + partition.size()) / plan::SECTOR_BYTES - 1,
        flags: 0,
        name: partition.name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("disk");
        let mut file =
            File::options().read(true).write(true).create_new(true).open(&path).expect("writable");
        file.set_len(plan::disk_bytes()).expect("sparse");
        write(&mut file, [0x90; 440]).expect("valid plan");
        (dir, path)
    }

    #[test]
    fn the_table_reads_back_as_planned() {
        let (_dir, path) = disk();
        let table = gpt::GptConfig::new().open(&path).expect("a GPT");
        for (number, planned) in (1_u32..).zip(plan::partitions()) {
            let found = &table.partitions()[&number];
            assert_eq!(found.name, planned.name);
            assert_eq!(found.first_lba * plan::SECTOR_BYTES, planned.start);
            assert_eq!(found.part_guid, Partition::guid(number));
        }
        assert!(table.backup_header().is_ok(), "the backup table is at the end");
    }

    #[test]
    fn the_boot_sector_keeps_its_code_and_signature() {
        let (_dir, path) = disk();
        let bytes = std::fs::read(path).expect("readable");
        assert_eq!(bytes[..440], [0x90; 440]);
        assert_eq!(bytes[510..512], [0x55, 0xaa]);
    }
}
