//! Steps that a promise hangs on: syncs, and checks of versions. Each can be left out, to show that a test
//! notices.
//!
//! In a released program nothing can be left out. With feature `testing` one step can be, for the whole life of
//! the process: `TIDEGATE_DROP=catalog_sync`. The step's caller goes on as if it had been done. This list is the
//! only one: a new sync, or a check that keeps old bytes from passing for new ones, gets its name here, and in
//! docs/mutants.md the test that notices.

/// Declares the steps, each with its name in the form `<what>_<sync or check>`.
macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident = $name:literal,)*) => {
        /// A step that can be left out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step {
            $($(#[$doc])* $step,)*
        }

        impl Step {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$step,)*];

            /// `<what>_<sync or check>`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$step => $name,)*
                }
            }
        }
    };
}

steps! {
    /// Bytes of a cache file are on the disk before the catalog calls them the content (I1).
    CacheFileSync = "cache_file_sync",
    /// The name of a cache file is on the disk before the catalog calls its bytes the content (I1).
    CacheEntrySync = "cache_entry_sync",
    /// The directories of the cache are on the disk before files are made in them (I1).
    CacheDirectoriesSync = "cache_directories_sync",
    /// A commit of the catalog is on the disk before anybody is told (I2).
    CatalogSync = "catalog_sync",
    /// A batch of the dirty log is on the disk before anybody is told (I12).
    DirtyLogSync = "dirty_log_sync",
    /// Zeros ahead of a batch of the dirty log are on the disk before it overwrites them (I12).
    DirtyLogFillSync = "dirty_log_fill_sync",
    /// A file of the dirty log that has grown past its zeros is on the disk as long as it is before anybody is told (I12).
    DirtyLogGrowthSync = "dirty_log_growth_sync",
    /// The name of a new file of the dirty log is on the disk before anybody is told of what it tells (I12).
    DirtyLogEntrySync = "dirty_log_entry_sync",
    /// Cache files are on the disk before the catalog forgets the bytes that it carries of them.
    SettleSync = "settle_sync",
    /// The same at a start, of what was carried by the last run.
    RecoverySync = "recovery_sync",
    /// Bytes that were carried while a cache file's sync went on are on the disk before those that it brought take
    /// their place.
    CarriedAgainSync = "carried_again_sync",
    /// The hole that a longer file has is on the disk before the catalog says that it is longer.
    GrowthSync = "growth_sync",
    /// A file's bytes are on its other disk before the catalog says that it is there.
    MoveSync = "move_sync",
    /// So is its name.
    MoveEntrySync = "move_entry_sync",
    /// What is sent is of the version that was claimed (I4).
    CurrentCheck = "current_check",
    /// A file is clean only if the object is of its latest version (I4).
    FinishVersionCheck = "finish_version_check",
    /// A publish replaces only the object that the catalog believes in (I10).
    PublishConditionCheck = "publish_condition_check",
    /// A deletion removes only the object that was removed here (I10).
    DeleteConditionCheck = "delete_condition_check",
    /// Bytes that are fetched are of the version that the file has (I6).
    FetchTagCheck = "fetch_tag_check",
    /// What is heard of an object changes the file only if it is clean and as it was when it was asked about (I5, I6).
    SeenCheck = "seen_check",
    /// One request at a time changes a key (I7).
    BusyKeyCheck = "busy_key_check",
    /// A file that is being written in memory's knowledge alone is not uploaded.
    HoldCheck = "hold_check",
    /// A listing takes nothing back that was published after it began.
    ListingSequenceCheck = "listing_sequence_check",
    /// A listing changes no file that was changed here.
    ListingDirtyCheck = "listing_dirty_check",
    /// Bytes of the cache disk are those that were written.
    SumsCheck = "sums_check",
    /// A sync that failed is told to everybody whose bytes it may have lost.
    SyncErrorCheck = "sync_error_check",
    /// After a failed sync the write verifier is another one.
    VerifierCheck = "verifier_check",
    /// No object of a time that this disk has forgotten passes for one of its own (I10).
    EpochCheck = "epoch_check",
    /// An object is gone only if a listing agrees (I13).
    AbsenceCheck = "absence_check",
    /// What is dirty stays in the cache (I5).
    EvictCheck = "evict_check",
}

/// Whether `step` is left out in this process.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub fn is_left_out(_: Step) -> bool {
    false
}

#[cfg(feature = "testing")]
pub use dropped::{UnknownStep, is_left_out, left_out};

#[cfg(feature = "testing")]
mod dropped {
    use std::{env, sync::OnceLock};

    use super::Step;

    /// Names the step that is left out.
    const VARIABLE: &str = "TIDEGATE_DROP";
    static LEFT_OUT: OnceLock<Option<Step>> = OnceLock::new();

    /// Nothing has this name.
    #[derive(Debug, thiserror::Error)]
    #[error("{VARIABLE}: {0:?} is no step, such as \"catalog_sync\"")]
    pub struct UnknownStep(String);

    fn named(name: &str) -> Option<Step> {
        Step::ALL.iter().copied().find(|step| step.name() == name)
    }

    /// The step that this process leaves out, if any.
    ///
    /// # Errors
    /// [`UnknownStep`].
    pub fn left_out() -> Result<Option<Step>, UnknownStep> {
        let Some(name) = env::var_os(VARIABLE) else { return Ok(None) };
        let name = name.to_string_lossy().into_owned();
        named(&name).map(Some).ok_or(UnknownStep(name))
    }

    /// Whether `step` is left out in this process.
    ///
    /// # Panics
    /// When the environment asks for a step that there is not: a test would show nothing.
    pub fn is_left_out(step: Step) -> bool {
        let read = || left_out().unwrap_or_else(|error| panic!("{error}"));
        *LEFT_OUT.get_or_init(read) == Some(step)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn steps_are_told_apart_by_their_names() {
            for step in Step::ALL {
                assert_eq!(named(step.name()), Some(*step));
                assert!(step.name().ends_with("_sync") || step.name().ends_with("_check"));
            }
            assert!(named("").is_none() && named("sync").is_none());
            assert!(!is_left_out(Step::CatalogSync), "nothing is left out unless it is asked for");
        }
    }
}
