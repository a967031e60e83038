//! What `nfs-load` prints: one measurement, as one line of JSON.
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One piece of work on one server.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Calls, files or entries.
    pub operations: u64,
    /// Payload.
    pub bytes: u64,
    /// When the first call was made, in seconds of CLOCK_MONOTONIC.
    pub begun: f64,
    /// From the first call to the last reply.
    pub seconds: f64,
    /// From the first call to the end of the first operation; of a listing, to its first page.
    pub first_seconds: f64,
    /// Always 0: an error ends the run.
    pub errors: u64,
    /// Latency of an operation that half of them did not exceed, in microseconds.
    pub p50_us: f64,
    /// The same of 99 %.
    pub p99_us: f64,
    /// Processor time, user and system, of the server's process, until it has nothing left to do; 0 when
    /// nobody asked for it.
    pub server_cpu_seconds: f64,
}

impl Measurement {
    /// As one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and names are always JSON")
    }

    /// Reads that line.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_json(line: &str) -> Result<Self> {
        serde_json::from_str(line).with_context(|| format!("not a measurement: {line:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let measurement = Measurement {
            operations: 3,
            bytes: 12288,
            begun: 7.0,
            seconds: 0.5,
            first_seconds: 0.25,
            errors: 0,
            p50_us: 1.5,
            p99_us: 7.25,
            server_cpu_seconds: 0.125,
        };
        assert_eq!(Measurement::from_json(&measurement.to_json()).unwrap(), measurement);
        assert!(Measurement::from_json("{}").is_err());
    }
}
