//! Journal → S3: publishes what changed, deletes what was removed, never loses a version of either.
//!
//! Owns: when a job runs, how an object is sent, how an unknown outcome is settled, what a conflict
//! leads to. The queue itself is the catalog's. Must not know: NFS, names.
//!
//! Lock rank: an inode's lock is held exclusively while its bytes are read for one request, never
//! while the request is under way.
mod aside;
mod assemble;
mod attributes;
mod composed;
mod concurrency;
mod conflict;
mod copy;
mod early;
mod gone;
mod job;
mod lacks;
mod landed;
mod multipart;
mod orphans;
mod places;
mod plan;
mod publish;
mod scheduler;
mod still;
mod swapped;

pub use orphans::{SweepError, Swept, sweep};
pub use plan::COPY_BYTES_MAX;
pub use scheduler::{ShareMovers, Uploader, UploaderOptions};
pub use still::Bursts;
