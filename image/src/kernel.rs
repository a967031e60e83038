//! Which kernel the image boots and which of its modules it carries.

use std::path::Path;

use anyhow::{Context, Result};

use crate::modules::KernelModules;

/// Modules needed to reach the root partition: disk controllers, the file system, verity.
pub(crate) const STAGE1_MODULES: &[&str] = &[
    "vmw_pvscsi",
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "nvme",
    "ahci",
    "ata_piix",
    "sd_mod",
    "squashfs",
    "dm_mod",
    "dm_verity",
    "hv_storvsc",
];

/// Modules of the running appliance, those of stage 1 included.
pub(crate) const ROOT_MODULES: &[&str] = &[
    // Disks.
    "vmw_pvscsi",
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "nvme",
    "ahci",
    "ata_piix",
    "sd_mod",
    "sr_mod",
    "hv_storvsc",
    "dm_mod",
    "dm_verity",
    "loop",
    // Network.
    "vmxnet3",
    "virtio_net",
    "hv_netvsc",
    "8021q",
    // File systems: cache, config, ESP, root, the OVF environment's CD.
    "xfs",
    "ext4",
    "vfat",
    "nls_ascii",
    "nls_cp437",
    "nls_iso8859_1",
    "squashfs",
    "isofs",
    "overlay",
    "efivarfs",
    // The hypervisor: guestinfo and fw_cfg seeds, balloon, clock, entropy, watchdog.
    "vmw_vmci",
    "vmw_balloon",
    "vsock",
    "vmw_vsock_vmci_transport",
    "ptp_vmw",
    "ptp_kvm",
    "qemu_fw_cfg",
    "virtio_rng",
    "i6300esb",
    // Power button and keyboard.
    "button",
    "evdev",
];

/// The kernel of an unpacked package.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// `vmlinuz`, a bzImage with an EFI stub.
    pub(crate) image: Vec<u8>,
    /// Its modules.
    pub(crate) modules: KernelModules,
}

impl Kernel {
    /// Reads it.
    pub(crate) fn open(tree: &Path) -> Result<Self> {
        let modules = KernelModules::open(tree)?;
        let file = tree.join("boot").join(format!("vmlinuz-{}", modules.release()));
        let image =
            std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self { image, modules })
    }
}
