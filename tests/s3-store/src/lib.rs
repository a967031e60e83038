//! An S3 server for tests and for trying the appliance: S3's exact semantics on a TCP port, in memory or in a folder.
//!
//! Signatures, XML and transfer encodings are the crate s3s's; [`S3Store`] is a running server, [`Faults`] makes it
//! slow, lossy or wrong on demand. The semantics are in `model`, a pure core without I/O.

mod blob;
mod config;
mod faults;
mod history;
mod journal;
mod model;
mod server;
mod service;
mod storage;
mod store;

pub use config::{JournalError, StartError, StoreConfig};
pub use faults::{FaultAction, FaultRule, Faults, Hold, ParseFaultError, RULES_MAX};
pub use history::History;
pub use store::{S3Store, StoredObject};

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
