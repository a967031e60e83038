//! Crash points: places between two steps that a power cut or a kill may come between.
//!
//! In a released program a point is nothing. With feature `testing` one of them can be armed, once
//! per process, and the process aborts when it comes there: what is in memory is gone, as after
//! `kill -9`. What the kernel has of the files stays, so this shows the order of steps, not that a disk
//! was synced (`cache/sim_disk.rs` shows that). Bound: one point, one count.

/// Declares the points, each with its name in the form `<operation>_after_<step>`.
macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// A place where the process can be made to end.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[$doc])* $point,)*
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// `<operation>_after_<step>`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// All changes of a transaction are made, none is committed.
    CatalogAfterChanges = "catalog_after_changes",
    /// The dirty log has the transaction; it is not committed.
    CatalogAfterLog = "catalog_after_log",
    /// The catalog has committed and answered nobody.
    CatalogAfterCommit = "catalog_after_commit",
    /// The catalog knows of the burst; none of its bytes is written.
    BurstAfterBegin = "burst_after_begin",
    /// Bytes are in the cache file; nobody has been told.
    BurstAfterWrite = "burst_after_write",
    /// The cache file is synced; the catalog knows nothing of the bytes.
    CommitAfterSync = "commit_after_sync",
    /// A small file's bytes are read, to go with its row.
    CommitAfterCarry = "commit_after_carry",
    /// The catalog has the commit; the client has no answer.
    CommitAfterCatalog = "commit_after_catalog",
    /// The cache disk is synced; the catalog still carries what that has made durable.
    SettleAfterSync = "settle_after_sync",
    /// The catalog carries it no more.
    SettleAfterForget = "settle_after_forget",
    /// A smaller size is in the catalog; the cache file has the greater.
    ResizeAfterCatalog = "resize_after_catalog",
    /// A file is gone from the catalog; its cache file is there.
    RemoveAfterCatalog = "remove_after_catalog",
    /// S3 has the object; the catalog does not know.
    UploadAfterPut = "upload_after_put",
    /// S3 has begun an upload in parts; the catalog does not know its id.
    UploadAfterCreate = "upload_after_create",
    /// S3 has a part; the catalog does not know its tag.
    UploadAfterPart = "upload_after_part",
    /// S3 has the object made of the parts; the catalog does not know.
    UploadAfterComplete = "upload_after_complete",
    /// S3 has the copy; the catalog does not know.
    UploadAfterCopy = "upload_after_copy",
    /// S3 has deleted the object; the catalog does not know.
    UploadAfterDelete = "upload_after_delete",
    /// S3 has dropped the parts; the catalog does not know.
    UploadAfterAbort = "upload_after_abort",
    /// The catalog knows that the file is in S3.
    UploadAfterFinish = "upload_after_finish",
    /// Bytes from S3 are in the cache file, unsynced.
    FetchAfterWrite = "fetch_after_write",
    /// They are synced; the catalog does not know.
    FetchAfterSync = "fetch_after_sync",
    /// The catalog knows that they are here.
    FetchAfterCatalog = "fetch_after_catalog",
    /// A part that leaves is forgotten by the catalog; its bytes are on the disk.
    EvictAfterCatalog = "evict_after_catalog",
    /// They are off the disk; the file has others.
    EvictAfterPunch = "evict_after_punch",
    /// The cache file is gone with its last part.
    EvictAfterRemove = "evict_after_remove",
    /// A step of a directory's rename is made in the transaction.
    RenameAfterStep = "rename_after_step",
    /// What the catalog carried is in the cache files.
    RecoveryAfterCarried = "recovery_after_carried",
    /// Open bursts are closed and journalled.
    RecoveryAfterJournal = "recovery_after_journal",
    /// Cache files of nobody are removed.
    RecoveryAfterOrphans = "recovery_after_orphans",
    /// Lost files are reported.
    RecoveryAfterLost = "recovery_after_lost",
}

/// The process has come to `point`.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub fn passed(_: Point) {}

#[cfg(feature = "testing")]
pub use armed::{ArmError, arm, passed};

#[cfg(feature = "testing")]
mod armed {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };

    use super::Point;

    static ARMED: OnceLock<Armed> = OnceLock::new();

    #[derive(Debug)]
    struct Armed {
        point: Point,
        /// Comings until the one that ends the process, that one included.
        left: AtomicU64,
    }

    /// Why a point cannot be armed.
    #[derive(Debug, thiserror::Error)]
    pub enum ArmError {
        /// Nothing has this name, or the count is no number above 0.
        #[error("{0:?} is no crash point and count, such as \"commit_after_sync:2\"")]
        Unknown(String),
        /// One is armed.
        #[error("a crash point is armed already")]
        Twice,
    }

    /// Reads `name[:nth]`; `nth` is counted from 1.
    fn parse(spec: &str) -> Option<Armed> {
        let (name, nth) = spec.split_once(':').unwrap_or((spec, "1"));
        let point = *Point::ALL.iter().find(|point| point.name() == name)?;
        let nth = nth.parse().ok().filter(|nth| *nth > 0)?;
        Some(Armed { point, left: AtomicU64::new(nth) })
    }

    /// Makes the process abort when it comes to the point for the nth time: `name[:nth]`.
    ///
    /// # Errors
    /// [`ArmError`]: nothing is armed, or what was before.
    pub fn arm(spec: &str) -> Result<(), ArmError> {
        let armed = parse(spec).ok_or_else(|| ArmError::Unknown(spec.to_owned()))?;
        ARMED.set(armed).map_err(|_| ArmError::Twice)
    }

    /// The process has come to `point`: it ends here, if that is the armed one.
    pub fn passed(point: Point) {
        let Some(armed) = ARMED.get().filter(|armed| armed.point == point) else { return };
        if armed.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            std::process::abort();
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn names_are_told_apart_and_say_operation_and_step() {
            for (i, point) in Point::ALL.iter().enumerate() {
                let is_new = Point::ALL[..i].iter().all(|other| other.name() != point.name());
                assert!(is_new && point.name().contains("_after_"), "{point:?}");
            }
        }

        #[test]
        fn only_points_and_counts_can_be_armed() {
            let parsed = parse("commit_after_sync:3").unwrap();
            assert_eq!((parsed.point, parsed.left.into_inner()), (Point::CommitAfterSync, 3));
            assert_eq!(parse("commit_after_sync").unwrap().left.into_inner(), 1);
            for wrong in ["", "commit", "commit_after_sync:0", "commit_after_sync:x"] {
                assert!(parse(wrong).is_none(), "{wrong}");
            }
        }
    }
}
