//! The NFS service of an S3 file gateway: files on a local cache disk at once, in the bucket
//! seconds later, one plain object per file.
//!
//! Layers, each knowing only those below it (checked by `tests/tidy.rs`):
//! `nfs`, `admin` → `vfs` → `fetch`, `upload`, `refresh` → `share` → `store`, `catalog`, `cache` →
//! `limits`, `clock`, `object`, `locks`, `tasks`, `blocking`, `budget`. `run` wires them and is known by none.
#[cfg(feature = "service")]
pub mod admin;
pub mod blocking;
pub mod budget;
pub mod cache;
pub mod catalog;
#[cfg(feature = "service")]
pub mod cli;
pub mod clock;
#[cfg(feature = "service")]
pub mod connection;
#[cfg(feature = "service")]
pub mod disks_text;
pub mod essential;
pub mod failpoint;
pub mod fetch;
pub mod identity;
pub mod ids;
pub mod locks;
#[cfg(feature = "service")]
pub mod logging;
pub mod metrics;
pub mod nfs;
pub mod object;
#[cfg(feature = "service")]
pub mod prometheus;
pub mod ranges;
pub mod recovery;
pub mod refresh;
#[cfg(feature = "service")]
pub mod run;
pub mod settings;
pub mod share;
#[cfg(feature = "service")]
pub mod status_text;
pub mod store;
pub mod sums;
#[cfg(feature = "service")]
pub mod systemd;
pub mod tasks;
#[cfg(feature = "service")]
pub mod terminal;
pub mod upload;
pub mod verified;
pub mod vfs;
