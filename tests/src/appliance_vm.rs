//! The appliance in QEMU: VMware's virtual hardware around its disks, its seed, its network.
//!
//! Knows which virtual hardware goes with which firmware; knows nothing of what runs inside.
use std::{
    fs::File,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result, bail};

use crate::{
    accel::Accelerator,
    qemu::{Arguments, Machine},
    uplink::Guest,
};

/// Size of a new, blank cache disk in bytes; sparse, so that it takes only what is written.
pub const CACHE_DISK_BYTES: u64 = 150 << 30;
/// Name under which QEMU hands the seed to the guest (fw_cfg).
const SEED_NAME: &str = "opt/tidegate/seed";
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// What starts the boot loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
}

impl FromStr for Firmware {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bios" => Ok(Self::Bios),
            "uefi" => Ok(Self::Uefi),
            _ => Err("bios or uefi".to_owned()),
        }
    }
}

/// What the boot disk is attached to; the cache disk is on PVSCSI unless both are on AHCI or
/// virtio by request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBus {
    /// VMware's paravirtual SCSI adapter.
    Pvscsi,
    /// virtio-blk.
    Virtio,
    /// SATA.
    Ahci,
}

impl FromStr for DiskBus {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pvscsi" => Ok(Self::Pvscsi),
            "virtio" => Ok(Self::Virtio),
            "ahci" => Ok(Self::Ahci),
            _ => Err("pvscsi, virtio or ahci".to_owned()),
        }
    }
}

/// What the network card is plugged into.
#[derive(Clone, Debug)]
pub enum Network {
    /// QEMU's user network, with two of the guest's ports reachable on 127.0.0.1.
    User {
        /// Host port that leads to the guest's 2049.
        nfs: u16,
        /// Host port that leads to the guest's 111.
        portmapper: u16,
    },
    /// The virtual LAN of a [`crate::client_vm::ClientVm`].
    Lan(PathBuf),
    /// A switch with nothing else on it.
    Isolated,
}

/// Something that tells the appliance its settings, attached read-only.
#[derive(Clone, Debug)]
pub enum Volume {
    /// A CD, by its image.
    Cd(PathBuf),
    /// The files of a folder on a FAT file system with this label.
    Fat(PathBuf, &'static str),
}

/// One appliance's hardware.
#[derive(Clone, Debug)]
pub struct ApplianceVm {
    /// Firmware.
    pub firmware: Firmware,
    /// Where the boot disk is.
    pub boot_bus: DiskBus,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The disk that the image was copied to; raw.
    pub boot_disk: PathBuf,
    /// The cache disk; raw.
    pub cache_disk: PathBuf,
    /// Disks beside it that are attached at power on; raw.
    pub more_disks: Vec<PathBuf>,
    /// The seed document.
    pub seed: PathBuf,
    /// What else tells it its settings.
    pub volumes: Vec<Volume>,
    /// The network.
    pub network: Network,
    /// Where a VNC viewer finds the screen: a display number of 127.0.0.1.
    pub vnc_display: Option<u16>,
    /// What its clock shows at power on, in UTC, such as `2020-02-03T04:05:06`; the time by default.
    pub clock: Option<String>,
}

impl ApplianceVm {
    /// The hardware by default: BIOS with both disks on PVSCSI, 512 MiB, no VNC.
    pub fn new(boot_disk: PathBuf, cache_disk: PathBuf, seed: PathBuf, network: Network) -> Self {
        Self {
            firmware: Firmware::Bios,
            boot_bus: DiskBus::Pvscsi,
            memory_mib: 512,
            boot_disk,
            cache_disk,
            more_disks: Vec::new(),
            seed,
            volumes: Vec::new(),
            network,
            vnc_display: None,
            clock: None,
        }
    }

    /// Switches it on; sockets and logs go to `folder`.
    ///
    /// # Errors
    /// When the combination cannot boot in QEMU, or QEMU does not start.
    pub fn start(&self, folder: &Path, accelerator: Accelerator) -> Result<Machine> {
        std::fs::create_dir_all(folder)?;
        Machine::start("appliance", folder, self.arguments(folder, accelerator)?)
    }

    fn arguments(&self, folder: &Path, accelerator: Accelerator) -> Result<Arguments> {
        if self.firmware == Firmware::Uefi && self.boot_bus == DiskBus::Pvscsi {
            bail!(
                "QEMU's UEFI firmware has no PVSCSI driver: use --disk-bus ahci or virtio (VMware's own boots from PVSCSI)"
            );
        }
        let machine = match self.boot_bus {
            // A SATA controller is part of q35 only.
            DiskBus::Ahci => "q35",
            DiskBus::Pvscsi | DiskBus::Virtio => match self.firmware {
                Firmware::Bios => "pc",
                Firmware::Uefi => "q35",
            },
        };
        let mut arguments = Arguments::new()
            .options(&[
                ("-accel", accelerator.option()),
                ("-cpu", accelerator.cpu()),
                ("-M", machine),
            ])
            .options(&[("-smp", "2"), ("-vga", "std")])
            .option("-m", self.memory_mib.to_string())
            .path("-fw_cfg", &format!("name={SEED_NAME},file="), &self.seed, "");
        if self.firmware == Firmware::Uefi {
            let variables = folder.join("uefi-variables.fd");
            if !variables.exists() {
                std::fs::copy(OVMF_VARIABLES, &variables)
                    .with_context(|| format!("{OVMF_VARIABLES} (package ovmf)"))?;
            }
            let code = format!("if=pflash,format=raw,readonly=on,file={OVMF_CODE}");
            arguments = arguments.option("-drive", code).path(
                "-drive",
                "if=pflash,format=raw,file=",
                &variables,
                "",
            );
        }
        // Discarded and zeroed blocks become holes, so the sparse file stays small.
        let disk = ",format=raw,cache=writeback,discard=unmap,detect-zeroes=unmap";
        arguments = arguments
            .path("-drive", "if=none,id=boot,file=", &self.boot_disk, disk)
            .path("-drive", "if=none,id=cache,file=", &self.cache_disk, disk)
            .option("-device", "pvscsi,id=scsi");
        arguments = match self.boot_bus {
            DiskBus::Pvscsi => arguments.option(
                "-device",
                "scsi-hd,drive=boot,bus=scsi.0,bootindex=1,serial=tidegate-boot",
            ),
            DiskBus::Virtio => arguments
                .option("-device", "virtio-blk-pci,drive=boot,bootindex=1,serial=tidegate-boot"),
            DiskBus::Ahci => arguments
                .option("-device", "ide-hd,drive=boot,bus=ide.0,bootindex=1,serial=tidegate-boot"),
        }
        .option("-device", "scsi-hd,drive=cache,bus=scsi.0,serial=tidegate-cache");
        for (number, file) in self.more_disks.iter().enumerate() {
            arguments = arguments
                .path("-drive", &format!("if=none,id=more{number},file="), file, disk)
                .option(
                    "-device",
                    format!("scsi-hd,drive=more{number},bus=scsi.0,serial=more{number}"),
                );
        }
        for (number, volume) in self.volumes.iter().enumerate() {
            let id = format!("volume{number}");
            arguments = match volume {
                Volume::Cd(image) => arguments
                    .path(
                        "-drive",
                        &format!("if=none,id={id},media=cdrom,format=raw,readonly=on,file="),
                        image,
                        "",
                    )
                    .option("-device", format!("ide-cd,drive={id}")),
                Volume::Fat(folder, label) => arguments
                    .path(
                        "-blockdev",
                        &format!("driver=vvfat,node-name={id},read-only=on,label={label},dir="),
                        folder,
                        "",
                    )
                    .option("-device", format!("virtio-blk-pci,drive={id}")),
            };
        }
        arguments = match &self.network {
            Network::User { nfs, portmapper } => arguments.option(
                "-netdev",
                format!(
                    "user,id=lan,hostfwd=tcp:127.0.0.1:{nfs}-:2049,hostfwd=tcp:127.0.0.1:{portmapper}-:111"
                ),
            ),
            Network::Lan(socket) => arguments.path(
                "-netdev",
                "stream,id=lan,server=off,addr.type=unix,addr.path=",
                socket,
                "",
            ),
            Network::Isolated => arguments.option("-netdev", "hubport,id=lan,hubid=0"),
        }
        .option("-device", format!("vmxnet3,netdev=lan,mac={}", Guest::Appliance.mac()));
        if let Some(clock) = &self.clock {
            arguments = arguments.option("-rtc", format!("base={clock}"));
        }
        if let Some(display) = self.vnc_display {
            arguments = arguments.option("-vnc", format!("127.0.0.1:{display}"));
        }
        Ok(arguments)
    }
}

/// Makes a blank, sparse cache disk.
///
/// # Errors
/// When the file cannot be made.
pub fn new_cache_disk(file: &Path) -> Result<()> {
    File::create(file)
        .and_then(|created| created.set_len(CACHE_DISK_BYTES))
        .with_context(|| format!("cannot make the cache disk {}", file.display()))
}

/// Makes a boot disk of its own from an image, without storing the image's holes.
///
/// # Errors
/// When it cannot be copied.
pub fn new_boot_disk(image: &Path, file: &Path) -> Result<()> {
    crate::host::run(
        std::process::Command::new("cp").arg("--sparse=always").arg("--").arg(image).arg(file),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appliance() -> ApplianceVm {
        let network = Network::User { nfs: 12049, portmapper: 10111 };
        ApplianceVm::new("b.img".into(), "c.img".into(), "seed.toml".into(), network)
    }

    fn line(vm: &ApplianceVm) -> String {
        let folder = tempfile::tempdir().unwrap();
        let words = vm.arguments(folder.path(), Accelerator::Emulation).unwrap();
        words.words().iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_hardware_is_vmwares_by_default() {
        let line = line(&appliance());
        for part in [
            "-device pvscsi,id=scsi",
            "scsi-hd,drive=boot,bus=scsi.0,bootindex=1",
            "scsi-hd,drive=cache,bus=scsi.0",
            "-device vmxnet3,netdev=lan",
            "-m 512",
            "name=opt/tidegate/seed,file=seed.toml",
            "hostfwd=tcp:127.0.0.1:12049-:2049",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        assert!(!line.contains("pflash") && line.contains("-M pc "), "{line}");
    }

    #[test]
    fn volumes_are_attached_read_only() {
        let volumes = vec![Volume::Cd("ovf.iso".into()), Volume::Fat("a,b".into(), "CIDATA")];
        let line = line(&ApplianceVm { volumes, ..appliance() });
        for part in [
            "media=cdrom,format=raw,readonly=on,file=ovf.iso -device ide-cd,drive=volume0",
            "read-only=on,label=CIDATA,dir=a,,b -device virtio-blk-pci,drive=volume1",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }

    #[test]
    fn uefi_from_pvscsi_is_refused_with_the_way_out() {
        let vm = ApplianceVm { firmware: Firmware::Uefi, ..appliance() };
        let folder = tempfile::tempdir().unwrap();
        let refused = vm.arguments(folder.path(), Accelerator::Emulation).unwrap_err();
        assert!(refused.to_string().contains("--disk-bus ahci"), "{refused}");
    }

    #[test]
    fn a_new_cache_disk_is_big_and_takes_no_space() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cache.img");
        new_cache_disk(&file).unwrap();
        let metadata = std::fs::metadata(&file).unwrap();
        assert_eq!(metadata.len(), 150 * 1024 * 1024 * 1024);
        assert!(metadata.blocks() < 16);
    }
}
