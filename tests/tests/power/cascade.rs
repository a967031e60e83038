//! The power is cut again while the gateway recovers from a cut, and again while it recovers from that.
use anyhow::{Context, Result};
use e2e::power::replay::Replay;

use crate::{
    Set,
    check::{Point, check},
    dice::Dice,
    tape::{Tape, settings},
    walk::{Seen, choose, choose_loss, play_to},
};

/// Nobody listens there.
const NO_STORE: &str = "http://10.0.2.2:1";

/// Cuts the power at `many` points, and `depth` times during what follows each.
pub(crate) fn cascades(
    set: &mut Set,
    tape: &Tape,
    (many, depth): (usize, usize),
    seed: u64,
    seen: &mut Seen,
) -> Result<()> {
    let mut dice = Dice::new(seed);
    let mut log = set.log.from(set.log.position())?;
    let mut replay = set.disk.clone();
    for (number, offset) in choose(&log, tape, many, &mut dice)?.into_iter().enumerate() {
        play_to(&mut replay, &mut log, offset)?;
        let loss = choose_loss(&mut dice);
        let mut disk = replay.cut(loss);
        let mut what = format!("{loss:?}");
        for _ in 0..depth {
            let recovery = settings(NO_STORE)?;
            let span = set
                .vm
                .recover(&disk, &recovery)
                .with_context(|| format!("recovering from {what} at {offset}"))?;
            let mut again = set.vm.again_log()?.from(span.begin)?;
            let (mut offsets, mut scan) = (Vec::new(), again.from(span.begin)?);
            while let Some(logged) = scan.next(span.end)? {
                offsets.push(logged.offset);
            }
            let cut = offsets.get(dice.below(offsets.len().max(1))).copied().unwrap_or(span.end);
            let mut recovering = Replay::new(disk);
            play_to(&mut recovering, &mut again, cut)?;
            let loss = choose_loss(&mut dice);
            disk = recovering.cut(loss);
            what = format!("{what}, then {loss:?} of its recovery");
            seen.cuts_of_recoveries += 1;
        }
        seen.cascades += 1;
        let home = set.vm.folder().join(format!("found/cascade-{number}"));
        let looked = set.vm.look(&[(disk, home.join("cache"))])?.remove(0);
        let outcome = looked.map_err(|why| format!("{what} at {offset}: {why}")).and_then(|()| {
            let point = Point { offset, what, home, upload: true };
            check(set.vm.program(), tape, &point)
        });
        seen.take(outcome, true);
    }
    Ok(())
}
