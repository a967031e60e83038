//! What a share, or the whole gateway, has done since the gateway's start, in numbers.
use serde::{Deserialize, Serialize};

use crate::size::ByteSize;

/// Upper bounds of the latency classes in milliseconds, inclusive; one more class is beyond the last.
pub const LATENCY_BOUNDS_MS: [u64; 12] =
    [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000];

/// Counts since the start of the gateway; rates are of the last ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// READs answered.
    pub reads: u64,
    /// Of those, how many needed nothing from S3.
    pub read_hits: u64,
    /// READs that failed, those included that clients were told to send again.
    pub failed_reads: u64,
    /// Bytes that READs gave.
    pub read_bytes: ByteSize,
    /// WRITEs taken.
    pub writes: u64,
    /// Bytes that WRITEs brought.
    pub written_bytes: ByteSize,
    /// Files and directories renamed by clients.
    pub renamed: u64,
    /// Bytes of objects and parts that S3 has taken.
    pub uploaded_bytes: ByteSize,
    /// Bytes of objects that S3 has given.
    pub downloaded_bytes: ByteSize,
    /// How fast bytes go to S3.
    pub upload_bytes_per_second: u64,
    /// How fast bytes come from S3.
    pub download_bytes_per_second: u64,
    /// How often the operator was told something: as often as the log has it.
    pub notifications: u64,
    /// S3 requests, by operation; only operations that were used.
    pub requests: Vec<RequestFigures>,
}

/// One S3 operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFigures {
    /// S3's name of it.
    pub operation: String,
    /// Requests that S3 has carried out.
    pub succeeded: u64,
    /// Requests that S3 has refused: no such object, a condition that did not hold, no permission.
    pub refused: u64,
    /// Requests that S3 has put off (503 SlowDown, 429).
    pub throttled: u64,
    /// Requests without a good answer: 5xx, time-outs, broken connections, damaged bytes.
    pub failed: u64,
    /// How long they took.
    pub latency: Latency,
}

/// How long requests took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Requests per class of [`LATENCY_BOUNDS_MS`], and beyond the last.
    pub classes: [u64; LATENCY_BOUNDS_MS.len() + 1],
    /// All their milliseconds.
    pub total_ms: u64,
}

impl Latency {
    /// How many requests.
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// Their mean in milliseconds; 0 when there was none.
    pub fn mean_ms(&self) -> u64 {
        self.total_ms.checked_div(self.count()).unwrap_or(0)
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.classes.iter_mut().zip(other.classes) {
            *mine += theirs;
        }
        self.total_ms += other.total_ms;
    }
}

impl RequestFigures {
    fn add(&mut self, other: &Self) {
        self.succeeded += other.succeeded;
        self.refused += other.refused;
        self.throttled += other.throttled;
        self.failed += other.failed;
        self.latency.add(&other.latency);
    }
}

impl Figures {
    /// Adds what another share has done.
    pub fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.read_hits += other.read_hits;
        self.failed_reads += other.failed_reads;
        self.read_bytes.0 += other.read_bytes.0;
        self.writes += other.writes;
        self.written_bytes.0 += other.written_bytes.0;
        self.renamed += other.renamed;
        self.uploaded_bytes.0 += other.uploaded_bytes.0;
        self.downloaded_bytes.0 += other.downloaded_bytes.0;
        self.upload_bytes_per_second += other.upload_bytes_per_second;
        self.download_bytes_per_second += other.download_bytes_per_second;
        self.notifications += other.notifications;
        for theirs in &other.requests {
            match self.requests.iter_mut().find(|mine| mine.operation == theirs.operation) {
                Some(mine) => mine.add(theirs),
                None => self.requests.push(theirs.clone()),
            }
        }
    }

    /// READs that needed nothing from S3, in percent; `None` before the first.
    pub fn hit_percent(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        (self.reads > 0).then(|| self.read_hits as f64 * 100.0 / self.reads as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_s_figures_are_the_sum_of_its_shares() {
        let put = |classes_at: usize, total_ms| {
            let mut latency = Latency { total_ms, ..Latency::default() };
            latency.classes[classes_at] = 1;
            let operation = "PutObject".to_owned();
            RequestFigures { operation, succeeded: 1, latency, ..RequestFigures::default() }
        };
        let mut sum = Figures { reads: 3, read_hits: 3, ..Figures::default() };
        assert_eq!(Figures::default().hit_percent(), None);
        sum.add(&Figures { reads: 1, requests: vec![put(0, 5)], ..Figures::default() });
        sum.add(&Figures { requests: vec![put(12, 40_001)], ..Figures::default() });
        assert_eq!(sum.hit_percent(), Some(75.0));
        assert_eq!(sum.requests.len(), 1);
        assert_eq!((sum.requests[0].succeeded, sum.requests[0].latency.mean_ms()), (2, 20_003));
    }
}
