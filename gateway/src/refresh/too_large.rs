//! Directories that hold more names than are listed: each attempt costs a hundred thousand requests and
//! leads nowhere, so it is not made at every access.
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use gateway_api::status::HealthEventKind;

use super::{RefreshError, refresher::Inner};
use crate::{clock::Timestamp, ids::Ino};

/// How long such a directory is not listed on access, in milliseconds: a day.
const PAUSE_MS: u64 = 24 * 3600 * 1000;
/// Directories that are remembered.
const DIRECTORIES_MAX: usize = 1024;

/// The directories that were found to be so, and when.
#[derive(Debug, Default)]
pub(super) struct TooLarge(Mutex<HashMap<Ino, (Timestamp, String)>>);

impl TooLarge {
    /// Whether `dir` may be listed on access.
    ///
    /// # Errors
    /// [`RefreshError::TooLarge`].
    pub(super) fn check(&self, dir: Ino, now: Timestamp) -> Result<(), RefreshError> {
        match self.lock().get(&dir) {
            // A clock that was set back ends the pause.
            Some((found, prefix)) if now >= *found && now < found.plus_millis(PAUSE_MS) => {
                Err(RefreshError::TooLarge(prefix.clone()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn note(&self, dir: Ino, now: Timestamp, prefix: &str) {
        let mut found = self.lock();
        if found.len() >= DIRECTORIES_MAX
            && let Some(oldest) = found.iter().min_by_key(|(_, (at, _))| *at).map(|(dir, _)| *dir)
        {
            found.remove(&oldest);
        }
        found.insert(dir, (now, prefix.to_owned()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, (Timestamp, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A listing of `dir` has come to more pages than there may be: says so, and remembers it.
    pub(super) fn too_large(&self, dir: Ino, prefix: &str) -> RefreshError {
        self.too_large.note(dir, self.clock.now(), prefix);
        let message = format!(
            "{prefix:?} holds more than {} pages of names and is not listed to its end: reading the \
             directory fails, single names in it can be used; spread its objects over directories",
            self.pages_max
        );
        self.share.health.event(HealthEventKind::DirectoryTooLarge, message);
        RefreshError::TooLarge(prefix.to_owned())
    }
}
