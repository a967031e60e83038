//! Points of a recording, one after another: the disk is made, Linux looks at it, and the gateway starts on what
//! it finds, while Linux looks at the next.
use std::{
    fmt, fs,
    path::Path,
    sync::{Mutex, mpsc},
    thread,
};

use anyhow::{Context, Result, ensure};
use e2e::power::{
    log::{Request, WriteLog},
    machine::{LOOKS, PowerVm},
    replay::{Disk, Loss, Replay},
};

use crate::{
    check::{Found, Point, check},
    dice::Dice,
    tape::Tape,
};

/// Gateways that are started at a time.
const CHECKERS: usize = 2;
/// Of so many points one is compared with the bucket, too.
const UPLOADS: usize = 8;

/// What points to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) points: usize,
    /// Flushes that the disk answers and has not done.
    pub(crate) lies: usize,
    pub(crate) seed: u64,
    /// Whether to stop where something is lost.
    pub(crate) until_lost: bool,
}

/// What was seen, so that a run in which nothing was at stake does not count as one.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) points: usize,
    pub(crate) cascades: usize,
    pub(crate) cuts_of_recoveries: usize,
    at_flushes: usize,
    losing: [usize; 3],
    with_writes_at_stake: usize,
    bytes_at_stake: u64,
    between_notes: usize,
    with_unsure_bytes: usize,
    with_calls_under_way: usize,
    with_dirty_files: usize,
    with_objects: usize,
    buckets_compared: usize,
    objects_compared: u64,
    pub(crate) violations: Vec<String>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [nothing, everything, some] = self.losing;
        write!(
            f,
            "{} points ({nothing} losing nothing, {everything} everything, {some} some of what was not \
             flushed; {} before a flush), {} with writes at stake ({} KiB in all), {} with unsure bytes, {} with \
             calls under way, {} after other acknowledgements than the one before, {} with dirty files, {} with \
             objects in S3; {} buckets with {} objects compared; {} cascades with {} cuts of recoveries; \
             {} violations",
            self.points,
            self.at_flushes,
            self.with_writes_at_stake,
            self.bytes_at_stake >> 10,
            self.with_unsure_bytes,
            self.with_calls_under_way,
            self.between_notes,
            self.with_dirty_files,
            self.with_objects,
            self.buckets_compared,
            self.objects_compared,
            self.cascades,
            self.cuts_of_recoveries,
            self.violations.len(),
        )
    }
}

impl Seen {
    /// Fails where a good outcome says little.
    pub(crate) fn must_mean_something(&self) -> Result<()> {
        let most = self.points / 2;
        ensure!(
            self.losing.iter().all(|kind| *kind * 5 > self.points),
            "a kind of loss is rare: {self}"
        );
        ensure!(self.with_writes_at_stake > most, "too seldom could a cut take anything: {self}");
        ensure!(self.between_notes > most, "too many points are the same: {self}");
        ensure!(self.with_dirty_files > most, "too seldom was something dirty: {self}");
        ensure!(self.with_unsure_bytes > 0 && self.with_calls_under_way > 0, "{self}");
        ensure!(self.buckets_compared > 0 && self.with_objects > 0, "{self}");
        ensure!(self.cuts_of_recoveries > 0, "no recovery was cut: {self}");
        Ok(())
    }

    fn count(&mut self, tape: &Tape, chosen: &Chosen, before: usize) {
        self.points += 1;
        self.at_flushes += usize::from(chosen.is_before_flush);
        self.losing[match chosen.loss {
            Loss::Nothing => 0,
            Loss::Everything => 1,
            Loss::Some(_) => 2,
        }] += 1;
        self.with_writes_at_stake += usize::from(chosen.at_stake > 0);
        self.bytes_at_stake += chosen.at_stake;
        self.between_notes += usize::from(tape.notes_until(chosen.offset) > before);
        let manifests =
            (0..crate::tape::CLIENTS).map(|client| tape.manifest(client, chosen.offset));
        let manifests: Vec<_> = manifests.collect();
        self.with_unsure_bytes += usize::from(manifests.iter().any(|m| m.is_unsure()));
        self.with_calls_under_way += usize::from(manifests.iter().any(|m| m.is_asking()));
    }

    /// What came of a point.
    pub(crate) fn take(&mut self, outcome: Result<Found, String>, upload: bool) {
        match outcome {
            Ok(found) => {
                self.with_dirty_files += usize::from(found.dirty_files > 0);
                self.buckets_compared += usize::from(upload);
                self.objects_compared += found.objects;
            }
            Err(why) => {
                println!("proof: LOST {why}");
                self.violations.push(why);
            }
        }
    }
}

/// A point before it is looked at.
struct Chosen {
    offset: u64,
    loss: Loss,
    is_before_flush: bool,
    at_stake: u64,
    disk: Disk,
}

/// Chooses lengths of the log: half of them right before a flush, where most is at stake.
pub(crate) fn choose(
    log: &WriteLog,
    tape: &Tape,
    many: usize,
    dice: &mut Dice,
) -> Result<Vec<u64>> {
    let mut scan = log.from(tape.span.begin)?;
    let (mut all, mut flushes) = (Vec::new(), Vec::new());
    while let Some(logged) = scan.next(tape.span.end)? {
        all.push(logged.offset);
        if logged.request == Request::Flush {
            flushes.push(logged.offset);
        }
    }
    ensure!(!flushes.is_empty(), "nothing was flushed");
    let mut chosen: Vec<u64> = (0..many)
        .map(|number| {
            let from = if number % 2 == 0 { &flushes } else { &all };
            from[dice.below(from.len())]
        })
        .collect();
    chosen.sort_unstable();
    Ok(chosen)
}

pub(crate) fn choose_loss(dice: &mut Dice) -> Loss {
    match dice.below(3) {
        0 => Loss::Nothing,
        1 => Loss::Everything,
        _ => Loss::Some(dice.seed()),
    }
}

/// Plays the log to `offset`; answers whether a flush comes next.
pub(crate) fn play_to(replay: &mut Replay, log: &mut WriteLog, offset: u64) -> Result<bool> {
    while let Some(logged) = log.next(offset)? {
        replay.play(log, &logged)?;
    }
    let mut ahead = log.from(log.position())?;
    let next = ahead.next(log.position() + 1)?;
    Ok(next.is_some_and(|logged| logged.request == Request::Flush))
}

/// Looks at the points of a plan. `log` stands where `replay` does: at the beginning of the recording.
pub(crate) fn walk(
    vm: &mut PowerVm,
    log: &WriteLog,
    (tape, replay): (&Tape, &Replay),
    plan: &Plan,
    seen: &mut Seen,
) -> Result<()> {
    let mut dice = Dice::new(plan.seed);
    let offsets = choose(log, tape, plan.points, &mut dice)?;
    let program = vm.program().to_owned();
    let found = vm.folder().join("found");
    if found.exists() {
        // Of a control, where something was lost.
        fs::remove_dir_all(&found)?;
    }
    let (points, checks) = mpsc::sync_channel::<Point>(LOOKS);
    let (checks, seen) = (Mutex::new(checks), Mutex::new(seen));
    thread::scope(|scope| {
        for _ in 0..CHECKERS {
            scope.spawn(|| work(&program, tape, &checks, &seen));
        }
        // Moved in, so that the checkers end when it does.
        let points = points;
        let mut log = log.from(log.position())?;
        let mut replay = replay.clone().lying(plan.lies);
        let mut before = tape.notes_until(tape.span.begin);
        for (batch, offsets) in offsets.chunks(LOOKS).enumerate() {
            let mut chosen = Vec::with_capacity(LOOKS);
            for offset in offsets {
                let is_before_flush = play_to(&mut replay, &mut log, *offset)?;
                let loss = choose_loss(&mut dice);
                let at_stake = replay.bytes_at_stake();
                let disk = replay.cut(loss);
                let point = Chosen { offset: *offset, loss, is_before_flush, at_stake, disk };
                let mut seen = seen.lock().expect("nobody panics with it");
                seen.count(tape, &point, before);
                before = tape.notes_until(*offset);
                seen.with_objects +=
                    usize::from(tape.bucket.len_at(*offset) > tape.bucket.len_at(tape.span.begin));
                chosen.push(point);
            }
            look(vm, (batch, &chosen), &found, &points, &seen)?;
            let lost = !seen.lock().expect("nobody panics with it").violations.is_empty();
            if lost && plan.until_lost {
                break;
            }
        }
        Ok(())
    })
}

/// Looks at a batch of disks and hands on what is found.
fn look(
    vm: &mut PowerVm,
    (batch, chosen): (usize, &[Chosen]),
    found: &Path,
    points: &mpsc::SyncSender<Point>,
    seen: &Mutex<&mut Seen>,
) -> Result<()> {
    let home = |number: usize| found.join(format!("{}", batch * LOOKS + number));
    let disks = chosen.iter().enumerate();
    let disks: Vec<_> =
        disks.map(|(number, chosen)| (chosen.disk.clone(), home(number).join("cache"))).collect();
    for (number, (looked, chosen)) in vm.look(&disks)?.into_iter().zip(chosen).enumerate() {
        let (offset, what) = (chosen.offset, format!("{:?}", chosen.loss));
        match looked {
            Ok(()) => {
                let upload = (batch * LOOKS + number).is_multiple_of(UPLOADS);
                let point = Point { offset, what, home: home(number), upload };
                points.send(point).context("the checkers have ended")?;
            }
            Err(why) => {
                let why = format!("{what} at {offset}: {why}");
                seen.lock().expect("nobody panics with it").take(Err(why), false);
            }
        }
    }
    Ok(())
}

fn work(
    program: &Path,
    tape: &Tape,
    checks: &Mutex<mpsc::Receiver<Point>>,
    seen: &Mutex<&mut Seen>,
) {
    loop {
        let point = checks.lock().expect("nobody panics with it").recv();
        let Ok(point) = point else { return };
        let outcome = check(program, tape, &point);
        seen.lock().expect("nobody panics with it").take(outcome, point.upload);
    }
}
