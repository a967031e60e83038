//! Steps that a promise hangs on: syncs, and checks of versions. Each can be left out, to show that a test
//! notices.
//!
//! In a released program nothing can be left out. With feature `testing` one step can be, for the whole life of
//! the process: `TIDEGATE_DROP=catalog_sync`. The step's caller goes on as if it had been done. This list is the
//! only one: a new sync, or a check that keeps old bytes from passing for new ones, gets its name here.

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
    /// The name of a new file of the dirty log is on the disk before anybody is told of what it tells (I12).
    DirtyLogEntrySync = "dirty_log_entry_sync",
    /// Cache files are on the disk before the catalog forgets the bytes that it carries of them.
    SettleSync = "settle_sync",
    /// The same at a start, of what was carried by the last run.
    RecoverySync = "recovery_sync",
    /// The hole that a longer file has is on the disk before the catalog says that it is longer.
    GrowthSync = "growth_sync",
    /// A file's bytes are on its other disk before the catalog says that it is there.
    MoveSync = "move_sync",
    /// So is its name.
    MoveEntrySync = "move_entry_sync",
    /// What is sent is of the version that was claimed (I4).
    CurrentCheck = "current_check",
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
pub use dropped::{DropError, drop_step, is_left_out};

#[cfg(feature = "testing")]
mod dropped {
    use std::sync::OnceLock;

    use super::Step;

    static LEFT_OUT: OnceLock<Step> = OnceLock::new();

    /// Why a step cannot be left out.
    #[derive(Debug, thiserror::Error)]
    pub enum DropError {
        /// Nothing has this name.
        #[error("{0:?} is no step, such as \"catalog_sync\"")]
        Unknown(String),
        /// Another one is.
        #[error("a step is left out already")]
        Twice,
    }

    fn named(name: &str) -> Option<Step> {
        Step::ALL.iter().copied().find(|step| step.name() == name)
    }

    /// Leaves a step out from here on.
    ///
    /// # Errors
    /// [`DropError`]: none is left out, or the one before.
    pub fn drop_step(name: &str) -> Result<(), DropError> {
        let step = named(name).ok_or_else(|| DropError::Unknown(name.to_owned()))?;
        LEFT_OUT.set(step).map_err(|_| DropError::Twice)
    }

    /// Whether `step` is left out in this process.
    pub fn is_left_out(step: Step) -> bool {
        LEFT_OUT.get() == Some(&step)
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
