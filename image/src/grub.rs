//! Booting by BIOS: GRUB's boot sector and core image, and its configuration on the ESP.
//!
//! Does what grub-install does for a GPT disk, on plain files. The slot to boot stands in
//! `grub/grubenv` (`slot=a`), each slot's kernel in `grub/slot-X.cfg`. A version on trial stands there
//! too (`trial=b`, `tries=3`): GRUB lowers the number and writes it back before each try, and boots
//! `slot` when none is left.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::host::{run, tree_command};
use crate::plan::{self, Role, Slot};

/// Modules built into the core image: all that [`config`] uses.
const MODULES: [&str; 14] = [
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
    "sleep",
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
    vec![
        ("grub/grub.cfg".to_owned(), CONFIG.as_bytes().to_vec()),
        ("grub/grubenv".to_owned(), environment(&format!("slot={letter}\n"))),
        (format!("grub/slot-{letter}.cfg"), slot_config(slot, cmdline).into_bytes()),
    ]
}

/// An environment block (GRUB manual §15.2) of these lines.
#[must_use]
pub fn environment(lines: &str) -> Vec<u8> {
    let mut environment = format!("# GRUB Environment Block\n{lines}").into_bytes();
    environment.resize(ENVIRONMENT_BYTES, b'#');
    environment
}

/// A machine without a serial port boots as well: the port is used only where it is found. A version on
/// trial is tried only when the lower number of tries could be written; whatever cannot be started at
/// all gives way to the slot that is not on trial, and that to another attempt.
pub const CONFIG: &str = r#"if serial --unit=0 --speed=115200; then
  terminal_output console serial
  terminal_input console serial
fi
load_env -f $prefix/grubenv slot trial tries
if [ -z "$slot" ]; then set slot=a; fi
set next=$slot
if [ -n "$trial" ]; then
  if [ "$tries" = 3 ]; then set left=2; fi
  if [ "$tries" = 2 ]; then set left=1; fi
  if [ "$tries" = 1 ]; then set left=0; fi
  if [ -n "$left" ]; then
    set tries=$left
    if save_env -f $prefix/grubenv slot trial tries; then
      set next=$trial
      set mark=tidegate.trial
    fi
  fi
fi
source $prefix/slot-$next.cfg
echo "Slot $next cannot be started."
set mark=
source $prefix/slot-$slot.cfg
echo "Slot $slot cannot be started either; trying again."
sleep 10
reboot
"#;

/// How GRUB starts a slot: its kernel, its initramfs, and the word by which init knows of a trial.
#[must_use]
pub fn slot_config(slot: Slot, cmdline: &str) -> String {
    let letter = slot.letter();
    format!(
        "if linux /vmlinuz-{letter} {cmdline} $mark; then\n  \
         if initrd /initrd-{letter}; then boot; fi\nfi\n"
    )
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
        let expected = "if linux /vmlinuz-b root=x quiet $mark; then\n  \
                        if initrd /initrd-b; then boot; fi\nfi\n";
        assert_eq!(String::from_utf8_lossy(text), expected);
    }

    /// A count that grows the block's used part beyond a sector could be torn by a power cut.
    #[test]
    fn what_changes_in_the_environment_block_is_in_its_first_sector() {
        let longest = environment("slot=a\ntrial=b\ntries=3\n");
        assert!(longest[512..].iter().all(|byte| *byte == b'#'));
        assert!(environment("slot=a\n")[512..] == longest[512..]);
    }
}
