//! The machine's settings, read when the system disk answers after all: a child asks for them, and PID 1 does
//! not wait for it. A seed comes after them, as at a boot. Nothing can be changed in between (`unread.rs`), so
//! it is applied over nothing newer.
use anyhow::{Context, Result, bail};

use super::{
    Boot, CONFIG_PARTITION, MACHINE_SETTINGS, SEED,
    in_child::{self, Asked, Failed, LATE, Late},
};
use crate::{children::Begun, machine::Machine, sys, update::Note};

/// The phases that are made up for.
const NEEDED: [&str; 3] = [CONFIG_PARTITION, MACHINE_SETTINGS, SEED];

/// What is known late.
#[derive(Debug)]
pub(crate) struct Known {
    /// The settings.
    pub(crate) machine: Machine,
    /// Whether the gateway has another part of a seed: one that runs does not know of it.
    pub(crate) gateway: bool,
    /// What is noted of the last update.
    pub(crate) note: Option<Note>,
}

/// Has a child read the settings on the disk, and apply the seed that could not be applied to them.
///
/// # Errors
/// It cannot be started.
pub(crate) fn begin_reading(boot: &mut Boot) -> Result<Begun> {
    let told = boot.held_seed.clone();
    let given_up = boot.unread.is_given_up();
    let asked = Asked { told, given_up, machine: boot.machine.clone() };
    in_child::begin(boot, LATE, &asked)
}

/// Takes in what the child has read, which has ended with `code`. The settings are known then, to be used by
/// whoever asked for them, and what was said of the boot is true no more.
///
/// # Errors
/// They could not be read.
pub(crate) fn take_in(boot: &mut Boot, begun: Begun, code: Option<i32>) -> Result<Known> {
    let said = begun.said().context("its outcome")?;
    if code != Some(0) {
        boot.perhaps_seeded |= boot.held_seed.is_some();
        bail!("reading them broke off");
    }
    let late: Late = in_child::outcome(&said)?;
    boot.held_seed = None;
    if let Some(cause) = boot.unread.read() {
        let said = format!("{}: {}", cause.phase, cause.why);
        boot.state.problems.retain(|problem| *problem != said);
        boot.failed.retain(|phase| *phase != cause.phase);
    }
    sys::say("what there is of settings on the system disk is read, and used");
    // As at a boot.
    for Failed { phase, why } in late.failed {
        boot.failed.extend(NEEDED.iter().find(|needed| **needed == phase));
        boot.say(format!("{phase}: {why}"));
    }
    let gateway = late.gateway || std::mem::take(&mut boot.perhaps_seeded);
    Ok(Known { machine: late.machine, gateway, note: late.note })
}
