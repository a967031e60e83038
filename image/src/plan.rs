//! The partition plan, as data: what is on the disk, where, and under which names.
//!
//! All identifiers are fixed, so that the same inputs give the same bytes.

use uuid::{Uuid, uuid};

/// One mebibyte.
pub const MIB: u64 = 1 << 20;
/// Sector size, in bytes.
pub const SECTOR_BYTES: u64 = 512;
/// Identifier of the disk.
pub const DISK_GUID: Uuid = uuid!("7ed6a7e0-0000-4000-8000-000000000000");
/// Where the first partition starts: room for the GPT, and the alignment that every disk likes.
const FIRST_MIB: u64 = 1;

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// GRUB's core image, loaded by the boot sector on BIOS machines.
    BiosBoot,
    /// The EFI system partition (FAT32): boot loader, kernels.
    Esp,
    /// A root file system with its verity tree.
    Root(Slot),
    /// Machine and gateway settings, journal; zero in the image, formatted at first boot.
    Config,
}

/// One of the two places that a system version can stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Filled in the image.
    A,
    /// Empty in the image; the next version goes there.
    B,
}

impl Slot {
    /// Letter in file names.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// Name of its partition.
    #[must_use]
    pub const fn partition(self) -> &'static str {
        match self {
            Self::A => "root-a",
            Self::B => "root-b",
        }
    }
}

/// One partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub role: Role,
    /// GPT name (`PARTLABEL`).
    pub name: &'static str,
    /// Size in MiB.
    pub size_mib: u64,
    /// First byte on the disk.
    pub start: u64,
}

impl Partition {
    /// Size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size_mib * MIB
    }

    /// Number in the table, from 1, and the fixed GUID made from it.
    #[must_use]
    pub fn guid(number: u32) -> Uuid {
        Uuid::from_u128(DISK_GUID.as_u128() | u128::from(number))
    }
}

/// (role, name, size in MiB). The ESP holds two unified kernel images (14 MiB each) and two pairs of
/// kernel and initramfs for BIOS (14 MiB each), and room for them to grow; 64 MiB is also more than the
/// 33 MiB that FAT32 needs. A root slot has room for growth.
const SIZES: [(Role, &str, u64); 5] = [
    (Role::BiosBoot, "bios-boot", 1),
    (Role::Esp, "esp", 80),
    (Role::Root(Slot::A), "root-a", 64),
    (Role::Root(Slot::B), "root-b", 64),
    (Role::Config, "config", 64),
];

/// The partitions in disk order.
#[must_use]
pub fn partitions() -> Vec<Partition> {
    let mut start = FIRST_MIB * MIB;
    SIZES
        .iter()
        .map(|&(role, name, size_mib)| {
            let partition = Partition { role, name, size_mib, start };
            start += size_mib * MIB;
            partition
        })
        .collect()
}

/// The partition for `role`.
#[must_use]
pub fn partition(role: Role) -> Partition {
    partitions().into_iter().find(|p| p.role == role).expect("the plan has every role")
}

/// Size of the whole disk in bytes: the partitions, and one MiB for the backup GPT.
#[must_use]
pub fn disk_bytes() -> u64 {
    partitions().last().map_or(0, |last| last.start + last.size()) + MIB
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_each_other_on_whole_mebibytes() {
        let plan = partitions();
        assert_eq!(plan[0].start, MIB);
        for pair in plan.windows(2) {
            assert_eq!(pair[0].start + pair[0].size(), pair[1].start);
        }
        assert_eq!(disk_bytes(), (1 + 1 + 80 + 64 + 64 + 64 + 1) * MIB);
    }

    #[test]
    fn every_role_has_its_partition() {
        for role in
            [Role::BiosBoot, Role::Esp, Role::Root(Slot::A), Role::Root(Slot::B), Role::Config]
        {
            assert_eq!(partition(role).role, role);
        }
    }
}
