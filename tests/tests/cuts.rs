//! The power is cut at any moment while the appliance keeps something for itself: its first boot, in which the
//! partition for settings and the cache disk are made, and a change of its settings. Method: QEMU is killed,
//! again and again, at moments that a seed chooses: within a change, when the boot disk has taken so many writes
//! and flushes since Enter, which no clock can miss. Then it boots, has the settings before or those after,
//! and serves its share. The long form only: `cargo prove settings-cuts`. What the short forms of other tests
//! (`settings`, `story`) cut is chosen by the clock; what may be found after a cut is tried as a table in
//! `init/src/power_cut.rs`.
use std::{
    env,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    appliance_vm::{new_boot_disk, new_cache_disk},
    lab::{Alone, Appliance, BOOT_LIMIT},
    pages::{choose_on_serial, field, log_in_on_serial, page_on_serial, status_on_serial},
    seed,
};

const PAGE_LIMIT: Duration = Duration::from_secs(180);
const SHARE: &str = ":/sales /mnt/sales";
/// How many cuts, unless `TIDEGATE_CUTS` says.
const TIMES: u64 = 10;
/// From stage 2 to the gateway's start, emulated: both file systems are made in it.
const FIRST_BOOT_MS: u64 = 12_000;
/// Writes and flushes of the boot disk from Enter to the settings on it: the new file, its journal entry, its
/// name, and that one's. The moments before the first and behind the last are among those chosen.
const CHANGE_STEPS: u64 = 8;
/// A change that makes no further step within this time is over.
const STEP_LIMIT: Duration = Duration::from_secs(3);

/// xorshift64: where each cut falls.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn number(variable: &str, otherwise: u64) -> Result<u64> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text}")),
        Err(_) => Ok(otherwise),
    }
}

/// What a cut has left of the making of the cache disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    NotBegun,
    /// The disk is claimed, and mkfs.xfs has not written its superblock.
    Claimed,
    /// The disk is claimed, and mkfs.xfs has written that, or all, or the record is being kept.
    Written,
    Ended,
}

impl Format {
    const ALL: [Self; 4] = [Self::NotBegun, Self::Claimed, Self::Written, Self::Ended];

    /// Looks at the disk's last MiB, where the claim is (`init/src/claim.rs`), and at its first sector.
    fn of(disk: &Path) -> Result<Self> {
        const CLAIM: &[u8] = b"tidegate: formatting";
        let file = File::open(disk)?;
        let (mut claim, mut magic) = ([0; CLAIM.len()], [0; 4]);
        file.read_exact_at(&mut claim, file.metadata()?.len() - (1 << 20))?;
        file.read_exact_at(&mut magic, 0)?;
        Ok(match (claim == CLAIM, &magic == b"XFSB") {
            (false, false) => Self::NotBegun,
            (true, false) => Self::Claimed,
            (true, true) => Self::Written,
            (false, true) => Self::Ended,
        })
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotBegun => "before the format",
            Self::Claimed => "in the format, before the superblock",
            Self::Written => "in the format, behind the superblock",
            Self::Ended => "after the format",
        }
    }
}

/// A new appliance, whose power is cut within its first boot; answers after how many milliseconds.
fn first_boot(alone: &Alone, chance: &mut Chance) -> Result<u64> {
    for disk in [&alone.hardware.boot_disk, &alone.hardware.cache_disk] {
        fs::remove_file(disk)?;
    }
    new_boot_disk(&alone.parts.image, &alone.hardware.boot_disk)?;
    new_cache_disk(&alone.hardware.cache_disk)?;
    let appliance = alone.power_on()?;
    appliance.serial.expect("stage 2", BOOT_LIMIT)?;
    let after_ms = chance.below(FIRST_BOOT_MS);
    std::thread::sleep(Duration::from_millis(after_ms));
    appliance.machine.cut_power()?;
    Ok(after_ms)
}

/// Saves another name, and has the power cut while it is saved; answers after how many steps of the boot disk.
fn change(mut appliance: Appliance, name: &str, chance: &mut Chance) -> Result<u64> {
    let serial = &mut appliance.serial;
    log_in_on_serial(serial, PAGE_LIMIT)?;
    choose_on_serial(serial, "Network Configuration", PAGE_LIMIT)?;
    choose_on_serial(serial, "Configure Hostname", PAGE_LIMIT)?;
    page_on_serial(serial, "[ Apply ]", PAGE_LIMIT)?;
    let before = appliance.machine.boot_disk_steps()?;
    let wanted = chance.below(CHANGE_STEPS + 1);
    serial.send(&format!("\x15{name}\r\r\r"))?;
    let begun = Instant::now();
    let mut made = 0;
    while made < wanted && begun.elapsed() < STEP_LIMIT {
        made = appliance.machine.boot_disk_steps()? - before;
    }
    appliance.machine.cut_power()?;
    Ok(made)
}

/// Boots, and finds everything in order; answers the appliance and its name.
fn in_order(alone: &Alone) -> Result<(Appliance, String)> {
    let appliance = alone.power_on()?;
    let page = status_on_serial(&appliance.serial, SHARE, BOOT_LIMIT)?;
    ensure!(field(&page, "Problem").is_err(), "{page}");
    ensure!(field(&page, "Cache disk")?.contains("150"), "{page}");
    ensure!(field(&page, "Time zone")?.starts_with(seed::TIME_ZONE), "{page}");
    let name = field(&page, "Name")?;
    Ok((appliance, name))
}

fn cuts() -> Result<()> {
    let (times, seed) = (number("TIDEGATE_CUTS", TIMES)?, number("TIDEGATE_SEED", 1)?);
    let mut chance = Chance(seed.max(1));
    let alone = Alone::new("cuts")?;
    let (mut old, mut new) = (0, 0);
    let mut formats = Vec::new();
    let mut name = seed::HOSTNAME.to_owned();
    let mut running: Option<Appliance> = None;
    for round in 1..=times {
        // Of four cuts, one within a first boot; the first one, too.
        let after = if let Some(appliance) = running.take().filter(|_| round % 4 != 1) {
            let next = format!("gate{round}");
            let steps = change(appliance, &next, &mut chance)?;
            let (appliance, found) = in_order(&alone)?;
            ensure!(found == name || found == next, "{found} after {name} and {next}");
            if found == next {
                new += 1
            } else {
                old += 1
            }
            name = found;
            running = Some(appliance);
            format!("after {steps} writes and flushes of a change")
        } else {
            let after_ms = first_boot(&alone, &mut chance)?;
            let format = Format::of(&alone.hardware.cache_disk)?;
            formats.push(format);
            let (appliance, found) = in_order(&alone)?;
            ensure!(found == seed::HOSTNAME, "{found}");
            name = found;
            running = Some(appliance);
            format!("{after_ms} ms into the first boot's stage 2, {}", format.words())
        };
        println!("proof: cut {round} of {times}, {after}: in order, the name is {name}");
    }
    println!(
        "proof: of the changes that were cut, {new} were kept and {old} were not; all were whole"
    );
    for stage in Format::ALL {
        let met = formats.iter().filter(|format| **format == stage).count();
        println!("proof: of {} first boots, {met} were cut {}", formats.len(), stage.words());
    }
    Ok(())
}

mod long {
    #[test]
    #[ignore = "half a minute for each cut: cargo prove settings-cuts"]
    fn a_power_cut_at_any_moment_leaves_whole_settings_and_disks() {
        if let Err(error) = super::cuts() {
            panic!("{error:?}");
        }
    }
}
