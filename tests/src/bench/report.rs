//! The report: everything that was measured, as JSON, for programs and for later.
use std::{fs, path::Path};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    machine::Machine,
    rounds::Outcome,
    summary::{Comparison, Ratio, Rounds, median},
};

/// What the servers were.
#[derive(Clone, Debug)]
pub struct Servers {
    /// Version of ours.
    pub gateway_version: String,
    /// Version of theirs.
    pub ganesha_version: String,
    /// Most memory that ours held at once.
    pub gateway_peak_memory_mib: u64,
    /// Most memory that theirs held at once.
    pub ganesha_peak_memory_mib: u64,
}

/// Writes it.
///
/// # Errors
/// When the file cannot be written.
pub fn write(
    path: &Path,
    machine: &Machine,
    servers: &Servers,
    outcomes: &[Outcome],
) -> Result<()> {
    let report = json!({
        "machine": machine,
        "gateway": {
            "version": servers.gateway_version,
            "peak_memory_mib": servers.gateway_peak_memory_mib,
        },
        "ganesha": {
            "version": servers.ganesha_version,
            "peak_memory_mib": servers.ganesha_peak_memory_mib,
        },
        "lines": outcomes.iter().map(line).collect::<Vec<_>>(),
    });
    fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    Ok(())
}

fn line(outcome: &Outcome) -> Value {
    let unit = outcome.line.unit;
    let theirs = |rounds: &Rounds| {
        let compared = Comparison::of(unit, &outcome.ours, rounds);
        json!({
            "rate": compared.rate,
            "cpu_seconds_per_unit": compared.cost,
            "ours_by_theirs": ratio(compared.speed),
            "their_cpu_by_ours": ratio(compared.thrift),
            "rounds": rounds.0,
        })
    };
    json!({
        "id": outcome.line.id,
        "title": outcome.line.title,
        "rate_unit": unit.rate(),
        "cpu_unit": unit.cost(),
        "gateway": {
            "rate": median(&outcome.ours.rates(unit)),
            "cpu_seconds_per_unit": median(&outcome.ours.costs(unit)),
            "rounds": outcome.ours.0,
        },
        "least": outcome.least.as_ref().map(|least| json!({
            "rate": median(&least.rates(unit)),
            "cpu_seconds_per_unit": median(&least.costs(unit)),
            "rounds": least.0,
        })),
        "ganesha_equal_durability": theirs(outcome.equal()),
        "ganesha_as_shipped": theirs(&outcome.shipped),
    })
}

fn ratio(ratio: Ratio) -> Value {
    json!({ "median": ratio.median, "least": ratio.least, "most": ratio.most })
}
