//! Booting by BIOS: GRUB's boot sector and core image, and its configuration on the ESP.
//!
//! Does what grub-install does for a GPT disk, on plain files. The slot to boot stands in
//! `grub/grubenv` (`slot=a`), each slot's kernel in `grub/slot-X.cfg`.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::host::{run, tree_command};
use crate::plan::{self, Role, Slot};

/// Modules built into the core image: all that [`config`] uses.
const MODULES: [&str; 13] = [
    "biosdisk",
    "part_gpt",
    "fat",
    "normal",
    "configfile",
    "linux",
    "loadenv",
    "test",
    "echo",
    "serial",
    "terminal",
    "reboot",
    "halt",
];
/// The boot sector's code ends where the disk signature begins.
const BOOT_CODE_BYTES: usize = 440;
/// In boot.img: sector of the core image (`GRUB_BOOT_MACHINE_KERNEL_SECTOR`), 8 bytes.
const BOOT_KERNEL_SECTOR: usize = 0x5c;
/// In boot.img: a jump that skips the check for floppy disks (`GRUB_BOOT_MACHINE_DRIVE_CHECK`);
/// two NOPs make the boot sector trust the drive number that the BIOS gives.
const BOOT_DRIVE_CHECK: usize = 0x66;
/// In core.img: sector of its second sector, the first entry of diskboot.img's block list.
const CORE_BLOCK_LIST: usize = 0x1f4;
/// GRUB's environment block has this size, padded with `#`.
const ENVIRONMENT_BYTES: usize = 1024;

/// What makes the disk boot by BIOS.
#[derive(Debug)]
pub(crate) struct Grub {
    /// Code for the first sector.
    pub(crate) boot_code: [u8; BOOT_CODE_BYTES],
    /// Content of the BIOS boot partition.
    pub(crate) core: Vec<u8>,
}

impl Grub {
    /// Builds the core image with the tree's grub-mkimage.
    pub(crate) fn build(tools: &Path, work: &Path) -> Result<Self> {
        let modules = tools.join("usr/lib/grub/i386-pc");
        let core_file = work.join("core.img");
        run(tree_command(tools, "usr/bin/grub-mkimage")
            .arg("-d")
            .arg(&modules)
            .args(["-O", "i386-pc", "-p", "(,gpt2)/grub", "-o"])
            .arg(&core_file)
            .args(MODULES))
        .context("cannot build GRUB's core image")?;
        let mut core = std::fs::read(&core_file).context("grub-mkimage wrote no core image")?;
        let boot = std::fs::read(modules.join("boot.img")).context("grub-pc-bin lacks boot.img")?;
        let partition = plan::partition(Role::BiosBoot);
        ensure!(
            u64::try_from(core.len())? <= partition.size() && core.len() > CORE_BLOCK_LIST + 8,
            "GRUB's core image has {} bytes, its partition {}",
            core.len(),
            partition.size()
        );
        let sector = partition.start / plan::SECTOR_BYTES;
        core[CORE_BLOCK_LIST..CORE_BLOCK_LIST + 8].copy_from_slice(&(sector + 1).to_le_bytes());
        let mut boot_code: [u8; BOOT_CODE_BYTES] = boot
            .get(..BOOT_CODE_BYTES)
            .and_then(|code| code.try_into().ok())
            .context("boot.img is cut short")?;
        boot_code[BOOT_KERNEL_SECTOR..BOOT_KERNEL_SECTOR + 8]
            .copy_from_slice(&sector.to_le_bytes());
        boot_code[BOOT_DRIVE_CHECK..BOOT_DRIVE_CHECK + 2].copy_from_slice(&[0x90, 0x90]);
        Ok(Self { boot_code, core })
    }
}

/// Files for the ESP: GRUB's configuration, environment and one slot.
pub(crate) fn esp_files(slot: Slot, cmdline: &str) -> Vec<(String, Vec<u8>)> {
    let letter = slot.letter();
    let mut environment = format!("# GRUB Environment Block\nslot={letter}\n").into_bytes();
    environment.resize(ENVIRONMENT_BYTES, b'#');
    vec![
        ("grub/grub.cfg".to_owned(), config().into_bytes()),
        ("grub/grubenv".to_owned(), environment),
        (format!("grub/slot-{letter}.cfg"), slot_config(slot, cmdline).into_bytes()),
    ]
}

/// A machine without a serial port boots as well: the port is used only where it is found.
fn config() -> String {
    "if serial --unit=0 --speed=115200; then\n\
     \x20 terminal_output console serial\n\
     \x20 terminal_input console serial\n\
     fi\n\
     load_env -f $prefix/grubenv slot\n\
     if [ -z \"$slot\" ]; then set slot=a; fi\n\
     source $prefix/slot-$slot.cfg\n"
        .to_owned()
}

fn slot_config(slot: Slot, cmdline: &str) -> String {
    let letter = slot.letter();
    format!("linux /vmlinuz-{letter} {cmdline}\ninitrd /initrd-{letter}\nboot\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_block_has_grubs_size_and_names_the_slot() {
        let files = esp_files(Slot::A, "quiet");
        let (_, environment) = &files[1];
        assert_eq!(environment.len(), ENVIRONMENT_BYTES);
        assert!(environment.starts_with(b"# GRUB Environment Block\nslot=a\n###"));
    }

    #[test]
    fn the_slots_file_boots_its_own_kernel() {
        let files = esp_files(Slot::B, "root=x quiet");
        let (name, text) = &files[2];
        assert_eq!(name, "grub/slot-b.cfg");
        assert_eq!(text, b"linux /vmlinuz-b root=x quiet\ninitrd /initrd-b\nboot\n");
    }
}
