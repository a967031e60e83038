//! Phases that a child does, and how PID 1 hears of their outcome: one JSON document, `{"Ok": …}` or
//! `{"Err": "why"}`.
use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::Boot;
use crate::{disks, modules::Modules};

/// Mounts the config partition.
pub(super) const CONFIG: &str = "config-partition";

/// Has a child do a phase.
///
/// # Errors
/// What the child says, or that it took longer than `limit`.
pub(super) fn run(boot: &mut Boot, phase: &str, limit: Duration) -> Result<Value> {
    let said = boot.entries.run(&["phase", phase], limit)?;
    let outcome: Result<Value, String> = serde_json::from_slice(&said).context("its outcome")?;
    outcome.map_err(|why| anyhow!(why))
}

/// Does a phase, as a child of PID 1, and prints its outcome.
///
/// # Errors
/// There is no such phase, or nobody takes the outcome.
pub(crate) fn print_phase(name: &str) -> Result<()> {
    let outcome = match name {
        CONFIG => disks::mount_config(&mut Modules::open()).map(|()| Value::Null),
        _ => bail!("there is no phase {name}"),
    };
    let outcome = outcome.map_err(|error| format!("{error:#}"));
    Ok(io::stdout().write_all(&serde_json::to_vec(&outcome)?)?)
}
