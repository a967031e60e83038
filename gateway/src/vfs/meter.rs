//! What clients have done with a share.
use gateway_api::{ByteSize, figures::Figures};

use super::{FsError, ReadData, Written};
use crate::metrics::Counter;

/// Counts of one share.
#[derive(Debug, Default)]
pub struct IoMeter {
    reads: Counter,
    read_misses: Counter,
    read_bytes: Counter,
    writes: Counter,
    written_bytes: Counter,
    renamed: Counter,
}

impl IoMeter {
    /// Adds what has been counted to `figures`.
    pub fn add_to(&self, figures: &mut Figures) {
        let reads = self.reads.get();
        figures.add(&Figures {
            reads,
            // A READ is counted when it is answered, its miss before.
            read_hits: reads.saturating_sub(self.read_misses.get()),
            read_bytes: ByteSize(self.read_bytes.get()),
            writes: self.writes.get(),
            written_bytes: ByteSize(self.written_bytes.get()),
            renamed: self.renamed.get(),
            ..Figures::default()
        });
    }

    /// A READ needs bytes of S3.
    pub(super) fn missed(&self) {
        self.read_misses.add(1);
    }

    pub(super) fn read(&self, done: Result<ReadData, FsError>) -> Result<ReadData, FsError> {
        self.reads.add(1);
        if let Ok(read) = &done {
            self.read_bytes.add(read.data.len() as u64);
        }
        done
    }

    pub(super) fn wrote(&self, done: Result<Written, FsError>) -> Result<Written, FsError> {
        if let Ok(written) = &done {
            self.writes.add(1);
            self.written_bytes.add(u64::from(written.count));
        }
        done
    }

    pub(super) fn renamed<T>(&self, done: Result<T, FsError>) -> Result<T, FsError> {
        if done.is_ok() {
            self.renamed.add(1);
        }
        done
    }
}
