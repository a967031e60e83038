//! The power is cut: at any write of the cache disk, with whatever a disk may lose then. Nothing that was
//! acknowledged is lost, nothing else appears, and the bucket becomes the tree.
//!
//! The gateway works on an XFS disk of a virtual machine whose writes are logged. Each point is a length of that
//! log and a choice of the writes that were not flushed: Linux mounts that disk, and the gateway starts on what
//! it finds there. What had been acknowledged, and what S3 had, when the log was that long was noted by the clients
//! and the store, outside of the machine. `TIDEGATE_POINTS` points (few without), from the seed `TIDEGATE_SEED`;
//! `cargo prove power-cuts` sets them.
mod cascade;
mod check;
#[path = "../../../gateway/tests/serve/kills/client.rs"]
#[allow(dead_code, reason = "shared with the gateway's tests")]
mod client;
#[path = "../../../gateway/tests/serve/kills/content.rs"]
mod content;
#[path = "../../../gateway/tests/serve/kills/dice.rs"]
#[allow(dead_code, reason = "shared with the gateway's tests")]
mod dice;
mod gateway;
#[path = "../../../gateway/tests/serve/mount.rs"]
#[allow(dead_code, reason = "shared with the gateway's tests")]
mod mount;
mod tape;
mod walk;

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use dice::Dice;
use e2e::{
    lab::new_folder,
    power::{
        log::WriteLog,
        machine::PowerVm,
        replay::{Disk, Replay},
    },
    workspace::Workspace,
};
use tape::{Round, Tape};
use walk::{Plan, Seen};

/// Looks at disks in the virtual machine.
const LOOK: &str = env!("CARGO_BIN_EXE_power-look");
/// Points of the short form.
const POINTS: usize = 100;
/// Points of one recording: as many again need another one.
const POINTS_OF_TAPE: usize = 500;
/// Answered calls of a recording, and of one for a control.
const CALLS: usize = 100;
const CALLS_LONG: usize = 500;
const CALLS_OF_CONTROL: usize = 40;
const POINTS_OF_CONTROL: usize = 16;
/// Cuts of recoveries one after the other.
const DEPTH: usize = 3;
const DEPTH_LONG: usize = 5;
/// Syncs whose loss is shown to be noticed here.
const DROPPED: [&str; 2] = ["catalog_sync", "cache_file_sync"];
/// Flushes that a lying disk answers and has not done.
const LIES: usize = 6;
/// The largest file: the long form has some that are uploaded in parts.
const LARGEST: usize = 120_000;
const LARGEST_LONG: usize = 17 << 20;

fn number(variable: &str, otherwise: usize) -> Result<usize> {
    match std::env::var(variable) {
        Ok(value) => value.parse().with_context(|| format!("{variable}={value}")),
        Err(_) => Ok(otherwise),
    }
}

/// The machine, and its disk as it was when the last recording began.
struct Set {
    vm: PowerVm,
    log: WriteLog,
    disk: Replay,
}

impl Set {
    /// Records a round, and plays the disk up to its beginning.
    fn record(&mut self, round: &Round) -> Result<Tape> {
        let begun = Instant::now();
        let tape = tape::record(&mut self.vm, round)?;
        self.log.check()?;
        let (bytes, seconds) = (tape.span.end - tape.span.begin, begun.elapsed().as_secs());
        println!("proof: {} calls recorded, {} KiB, {seconds} s", round.calls, bytes >> 10);
        while let Some(logged) = self.log.next(tape.span.begin)? {
            self.disk.play(&self.log, &logged)?;
        }
        Ok(tape)
    }

    fn walk(&mut self, tape: &Tape, plan: &Plan, seen: &mut Seen) -> Result<()> {
        let begun = Instant::now();
        walk::walk(&mut self.vm, &self.log, (tape, &self.disk), plan, seen)?;
        println!("proof: {} points so far, {} s", seen.points, begun.elapsed().as_secs());
        Ok(())
    }
}

fn power_cuts() -> Result<()> {
    let points = number("TIDEGATE_POINTS", POINTS)?;
    let seed = number("TIDEGATE_SEED", 1)? as u64;
    let is_long = points > POINTS;
    println!("\nproof: {points} points from the seed {seed}");
    let folder = new_folder(&Workspace::find(), "power")?;
    let vm = PowerVm::start(&Workspace::find(), &folder, Path::new(LOOK))?;
    let log = vm.work_log()?;
    let mut set = Set { vm, log, disk: Replay::new(Disk::default()) };
    let (mut seen, mut dice) = (Seen::default(), Dice::new(seed));
    let (calls, largest) = if is_long { (CALLS_LONG, LARGEST_LONG) } else { (CALLS, LARGEST) };
    while seen.points < points {
        let round = Round { seed: dice.seed(), calls, largest, dropped: None };
        let tape = set.record(&round)?;
        let wanted = POINTS_OF_TAPE.min(points - seen.points);
        let plan = Plan { points: wanted, lies: 0, seed: dice.seed(), until_lost: false };
        set.walk(&tape, &plan, &mut seen)?;
        let cascades = if is_long { (wanted.div_ceil(50), DEPTH_LONG) } else { (1, DEPTH) };
        cascade::cascades(&mut set, &tape, cascades, dice.seed(), &mut seen)?;
        println!("proof: {seen}");
        ensure!(seen.violations.is_empty(), "{} points have lost something", seen.violations.len());
        if seen.points == points {
            lying(&mut set, &tape, dice.seed())?;
        }
    }
    seen.must_mean_something()?;
    for step in DROPPED {
        without(&mut set, step, dice.seed())?;
    }
    Ok(())
}

/// A disk that does not do what it was told to have done is noticed, or nothing else would be either.
fn lying(set: &mut Set, tape: &Tape, seed: u64) -> Result<()> {
    let mut seen = Seen::default();
    let plan = Plan { points: POINTS_OF_CONTROL, lies: LIES, seed, until_lost: true };
    set.walk(tape, &plan, &mut seen)?;
    let lost = seen.violations.first().context("a disk that lies about flushes went unnoticed")?;
    println!("proof: a lying disk is noticed at point {}: {lost}", seen.points);
    Ok(())
}

/// So is a gateway that leaves a sync out.
fn without(set: &mut Set, step: &'static str, seed: u64) -> Result<()> {
    let (calls, largest) = (CALLS_OF_CONTROL, LARGEST);
    let tape = set.record(&Round { seed, calls, largest, dropped: Some(step) })?;
    let mut seen = Seen::default();
    let plan = Plan { points: POINTS_OF_CONTROL, lies: 0, seed, until_lost: true };
    set.walk(&tape, &plan, &mut seen)?;
    let lost = seen.violations.first();
    let lost = lost.with_context(|| format!("a gateway without {step} went unnoticed"))?;
    println!("proof: without {step} is noticed at point {}: {lost}", seen.points);
    Ok(())
}

mod in_a_vm {
    use super::*;

    #[test]
    fn power_cuts_lose_nothing_that_was_acknowledged() -> Result<()> {
        power_cuts()
    }
}
