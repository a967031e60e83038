//! Keeps a fixed number of jobs busy, each of which makes one call after another.
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    call::Call,
    client::Client,
    reply::{Failure, Outcome, Reply},
};

/// Whether the reply that a job got was the last of its operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    /// The operation goes on: ask for its next call.
    GoesOn,
    /// The operation is complete; it moved so many bytes.
    Complete { bytes: u64 },
}

/// What the jobs do.
pub(crate) trait Work {
    /// Begins the next operation of `job`; false when there is none left.
    fn begin(&mut self, job: usize) -> bool;
    /// The call that `job` makes next.
    fn call(&self, job: usize) -> Call<'_>;
    /// Takes the reply to it; an error ends the program.
    fn reply(&mut self, job: usize, result: Result<Reply, Failure>) -> Result<Progress>;
}

/// What was done in how much time.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Complete operations.
    pub(crate) operations: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// From the first call to the last reply.
    pub(crate) elapsed: Duration,
    /// From the first call to the end of the first operation.
    pub(crate) first: Duration,
    /// From the first call of each operation to its last reply, sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        let (elapsed, first) = (Duration::ZERO, Duration::ZERO);
        Self { operations: 0, bytes: 0, elapsed, first, latencies: Vec::new() }
    }

    /// The latency that the given share of operations does not exceed.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the product is between 0 and the length"
        )]
        let at = (share * last as f64).round() as usize;
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

/// Runs `work` with `depth` jobs, spread evenly over the client's connections.
pub(crate) fn run(client: &mut Client, depth: usize, work: &mut dyn Work) -> Result<Tally> {
    let started = Instant::now();
    let mut tally = Tally::new();
    let mut begun = vec![started; depth];
    let mut in_flight = 0;
    for job in 0..depth {
        if work.begin(job) {
            client.send(job, job, &work.call(job))?;
            in_flight += 1;
        }
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    while in_flight > 0 {
        client.wait(&mut outcomes)?;
        for outcome in outcomes.drain(..) {
            let job = outcome.token;
            let progress = work
                .reply(job, outcome.result)
                .with_context(|| format!("after {} operations", tally.operations))?;
            if let Progress::Complete { bytes } = progress {
                let now = Instant::now();
                if tally.operations == 0 {
                    tally.first = now - started;
                }
                tally.latencies.push(now - begun[job]);
                tally.operations += 1;
                tally.bytes += bytes;
                begun[job] = now;
                if !work.begin(job) {
                    in_flight -= 1;
                    continue;
                }
            }
            client.send(job, job, &work.call(job))?;
        }
    }
    tally.elapsed = started.elapsed();
    tally.latencies.sort_unstable();
    ensure!(tally.operations > 0, "nothing was done");
    Ok(tally)
}

/// Makes one call.
pub(crate) fn once(client: &mut Client, what: &str, call: &Call) -> Result<Tally> {
    let started = Instant::now();
    success(what, client.call(call)?)?;
    let elapsed = started.elapsed();
    Ok(Tally { operations: 1, bytes: 0, elapsed, first: elapsed, latencies: vec![elapsed] })
}

/// The reply, if the call succeeded.
pub(crate) fn success(what: &str, result: Result<Reply, Failure>) -> Result<Reply> {
    match result {
        Ok(reply) => Ok(reply),
        Err(Failure::Status(status)) => bail!("{what}: NFS status {status}"),
        Err(Failure::Rpc(why)) => bail!("{what}: {why}"),
    }
}
