//! A look through the disks as a child of PID 1: one at a time, each leaves a report.
use std::fs::File;

use anyhow::{Context, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{cache, order, order::Order};
use crate::{machine::CacheDisks, observed};

/// The report of the last one.
pub(crate) const REPORT: &str = "/run/tidegate/disks.json";
/// Held by the one that is at work.
const TURN: &str = "/run/tidegate/disks.lock";

/// What PID 1 tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    /// Which blank disks become cache disks.
    pub(crate) policy: CacheDisks,
    pub(crate) gateway: Gateway,
}

/// Whether the gateway may have files open on the cache disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Gateway {
    /// It may: nothing is unmounted.
    Runs,
    /// It runs not, and is not started before the task is over.
    Ended,
}

/// Does a task, told as JSON.
///
/// # Errors
/// The report cannot be left.
pub(crate) fn run_task(told: &str) -> Result<()> {
    let task: Task = serde_json::from_str(told).context("the task")?;
    let _turn = turn()?;
    leave(task)
}

/// Carries out an operator's order, and what follows from it. Answers what is to be said.
///
/// # Errors
/// It cannot be done; why, and what to do.
pub(crate) fn obey(order: &Order, task: Task) -> Result<String> {
    let _turn = turn()?;
    let done = order::carry_out(order);
    // Whatever came of it: it may have gone half of the way.
    leave(task)?;
    done
}

fn leave(task: Task) -> Result<()> {
    observed::write(REPORT, &cache::look_through(task)).context(REPORT)
}

fn turn() -> Result<Flock<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(TURN);
    Flock::lock(file.context(TURN)?, FlockArg::LockExclusive)
        .map_err(|(_, error)| anyhow!("waiting for {TURN}: {error}"))
}
