//! Hardware virtualisation or emulation: KVM only where a stock kernel was seen to boot under it.
//!
//! A `/dev/kvm` that opens proves little: inside some clouds' virtual machines it creates guests
//! that die or hang in a stock kernel. So a kernel is booted once, with a first process of a few
//! instructions, and the outcome is remembered per host kernel and guest kernel.
use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use image::initramfs::{Entry, Tree};

use crate::qemu::{Arguments, Machine};

/// Real hardware boots this in two seconds, emulation in ten; what takes longer is no help.
pub const TRIAL_LIMIT: Duration = Duration::from_secs(60);

/// How QEMU runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// On the processor.
    Kvm,
    /// By translation; many times slower, works everywhere.
    Emulation,
}

impl Accelerator {
    /// The value of QEMU's `-accel`. Never a list to fall back through: QEMU falls back only when
    /// KVM cannot be opened, not when guests do not run under it.
    pub fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            // One thread for all processors: with a thread for each, QEMU 10 aborts once in a hundred
            // boots (iotlb_to_section), and two machines on two cores gain nothing from more.
            Self::Emulation => "tcg,thread=single",
        }
    }

    /// The value of QEMU's `-cpu`: everything that there is, except, where instructions are translated,
    /// the two features that make Linux copy and clear memory with `rep movsb` and `rep stosb`. Those
    /// go byte by byte then; without them it is eight bytes at a time, and the story takes three
    /// quarters of the time.
    pub fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "max",
            Self::Emulation => "max,erms=off,fsrm=off",
        }
    }

    /// What works here for guests with `kernel`; the outcome of the trial is kept in `folder`.
    ///
    /// # Errors
    /// When the outcome cannot be kept.
    pub fn choose(kernel: &Path, folder: &Path) -> Result<Self> {
        if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
            return Ok(Self::Emulation);
        }
        let host = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let guest = fs::metadata(kernel).context("the guest's kernel")?.len();
        let tried = format!("{} {guest}", host.trim());
        let note = folder.join("kvm");
        if let Ok(known) = fs::read_to_string(&note) {
            match known.trim().split_once(": ") {
                Some((what, "works")) if what == tried => return Ok(Self::Kvm),
                Some((what, "does not work")) if what == tried => return Ok(Self::Emulation),
                _ => {}
            }
        }
        fs::create_dir_all(folder)?;
        let works = Self::Kvm.boots(kernel, folder);
        let outcome = if works.is_ok() { "works" } else { "does not work" };
        fs::write(&note, format!("{tried}: {outcome}\n"))?;
        Ok(if works.is_ok() { Self::Kvm } else { Self::Emulation })
    }

    /// Boots `kernel` up to its first process, which switches the machine off.
    ///
    /// # Errors
    /// When it does not come that far in [`TRIAL_LIMIT`].
    pub fn boots(self, kernel: &Path, folder: &Path) -> Result<()> {
        let initramfs = folder.join("trial.cpio");
        fs::write(&initramfs, initramfs_with_init(first_process())?)?;
        let arguments = Arguments::new()
            .options(&[
                ("-accel", self.option()),
                ("-cpu", self.cpu()),
                ("-M", "q35"),
                ("-m", "256"),
            ])
            .flag("-no-reboot")
            .path("-kernel", "", kernel, "")
            .path("-initrd", "", &initramfs, "")
            .option("-append", "console=ttyS0 panic=-1");
        let mut machine = Machine::start("trial", folder, arguments)?;
        machine.wait_for_exit(TRIAL_LIMIT)?;
        anyhow::ensure!(
            machine.serial_log().contains(GREETING.trim_end()),
            "the first process was not reached"
        );
        Ok(())
    }
}

const GREETING: &str = "first process runs\n";

/// An ELF program for x86-64 Linux: write(1, GREETING), reboot(POWER_OFF).
fn first_process() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut code = Vec::new();
    code.extend([0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0]); // mov eax, SYS_write; mov edi, 1
    code.extend([0x48, 0x8d, 0x35]); // lea rsi, [rip + distance to the text]
    let text_distance_at = code.len();
    code.extend([0; 4]);
    code.push(0xba); // mov edx, length
    code.extend(u32::try_from(GREETING.len()).expect("a short text").to_le_bytes());
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xb8, 169, 0, 0, 0]); // mov eax, SYS_reboot
    for (register, magic) in [(0xbf_u8, 0xfee1_dead_u32), (0xbe, 672_274_793), (0xba, 0x4321_fedc)]
    {
        code.push(register); // mov edi / esi / edx
        code.extend(magic.to_le_bytes());
    }
    code.extend([0x0f, 0x05, 0xeb, 0xfe]); // syscall; jmp to itself
    let distance = u32::try_from(code.len() - text_distance_at - 4).expect("a few bytes of code");
    code[text_distance_at..text_distance_at + 4].copy_from_slice(&distance.to_le_bytes());
    code.extend(GREETING.as_bytes());

    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86-64, version
    elf.extend((BASE + HEADERS).to_le_bytes()); // entry
    elf.extend(64_u64.to_le_bytes()); // program headers
    elf.extend([0; 8 + 4]); // no sections, no flags
    elf.extend([64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]); // sizes and counts of headers
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]); // load, read and execute
    let size = HEADERS + code.len() as u64;
    for word in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

/// `/init`, and `/dev/console`, through which the kernel gives it the serial line.
fn initramfs_with_init(program: Vec<u8>) -> Result<Vec<u8>> {
    let mut tree = Tree::new();
    tree.add("dev/console", Entry::CharDevice { mode: 0o600, major: 5, minor: 1 });
    tree.file("init", 0o755, program);
    tree.to_cpio(0)
}
