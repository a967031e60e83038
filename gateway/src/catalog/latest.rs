//! How long what is written on and on may keep S3 waiting: the setting `upload_latest_ms`.
//!
//! A journal row knows the time from its first change on. Changes put its upload off as far as that and no further; it
//! is counted anew when S3 has taken what was there, and from a claim on until that has ended changes are free to.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{Catalog, journal::NEVER};
use crate::clock::Timestamp;

/// The setting, in milliseconds; 0: for ever.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest(Arc<AtomicU64>);

impl Latest {
    /// For a change whose upload is `due` if nothing else changes.
    pub(super) fn of(&self, due: Timestamp) -> Timestamp {
        match self.0.load(Ordering::Relaxed) {
            0 => NEVER,
            _ if due == NEVER => NEVER,
            millis => due.plus_millis(millis),
        }
    }
}

impl Catalog {
    /// Changes how long a file that is written on and on may be kept from S3, in milliseconds; 0: for ever. What waits
    /// keeps the time that it has.
    pub fn set_upload_latest_ms(&self, millis: u64) {
        self.inner.latest.0.store(millis, Ordering::Relaxed);
    }
}
