//! What clients have done with a share.
use gateway_api::{ByteSize, figures::Figures};

use super::{FsError, ReadData, Written};
use crate::metrics::Counter;

/// What a READ was answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadFrom {
    /// The cache disk, or memory.
    Cache,
    /// Some of it came from S3 first.
    S3,
}

/// Counts of one share.
#[derive(Debug, Default)]
pub struct IoMeter {
    read_hits: Counter,
    read_misses: Counter,
    failed_reads: Counter,
    read_bytes: Counter,
    writes: Counter,
    written_bytes: Counter,
    renamed: Counter,
}

impl IoMeter {
    /// Adds what has been counted to `figures`.
    pub fn add_to(&self, figures: &mut Figures) {
        let read_hits = self.read_hits.get();
        figures.add(&Figures {
            reads: read_hits + self.read_misses.get(),
            read_hits,
            failed_reads: self.failed_reads.get(),
            read_bytes: ByteSize(self.read_bytes.get()),
            writes: self.writes.get(),
            written_bytes: ByteSize(self.written_bytes.get()),
            renamed: self.renamed.get(),
            ..Figures::default()
        });
    }

    /// A READ has ended: one that failed was neither a hit nor a miss.
    pub(super) fn read(
        &self,
        done: Result<(ReadData, ReadFrom), FsError>,
    ) -> Result<ReadData, FsError> {
        match done {
            Ok((read, from)) => {
                match from {
                    ReadFrom::Cache => self.read_hits.add(1),
                    ReadFrom::S3 => self.read_misses.add(1),
                }
                self.read_bytes.add(read.data.len() as u64);
                Ok(read)
            }
            Err(error) => {
                self.failed_reads.add(1);
                Err(error)
            }
        }
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
