//! The status document, put together from what the parts tell.
use std::collections::BTreeMap;

use gateway_api::{
    ByteSize,
    figures::Figures,
    status::{CacheStatus, RenameStatus, ShareState, ShareStatus, Shutdown, UploadStatus},
};

use super::disks::LeftOut;
use crate::{
    cache::CacheStore,
    catalog::{Catalog, CatalogError, PendingCounts, RenameProgress},
    clock::Timestamp,
    ids::ShareId,
};

/// S3 requests that one object's move takes: a copy and a deletion. A question for its metadata comes on top,
/// where that is not known.
const REQUESTS_PER_MOVE: u64 = 2;

/// What is still to be uploaded, by share.
#[derive(Debug)]
pub(super) enum Pending {
    Known(BTreeMap<ShareId, PendingCounts>),
    /// The catalog does not tell, for this reason. Never "nothing".
    Unknown(String),
}

impl Pending {
    pub(super) async fn of(catalog: &Catalog) -> Self {
        match catalog.pending_by_share().await {
            Ok(counts) => Self::Known(counts),
            Err(error) => Self::Unknown(error.to_string()),
        }
    }

    /// Of one share, that sends so many bytes in a second.
    pub(super) fn of_share(&self, share: ShareId, now: Timestamp, rate: u64) -> UploadStatus {
        match self {
            Self::Known(counts) => {
                upload_status(counts.get(&share).cloned().unwrap_or_default(), now, rate)
            }
            Self::Unknown(error) => unknown(error),
        }
    }

    /// Of all shares together.
    pub(super) fn of_all(&self, now: Timestamp, rate: u64) -> UploadStatus {
        match self {
            Self::Known(counts) => {
                let all = counts.values().cloned();
                upload_status(all.fold(PendingCounts::default(), PendingCounts::plus), now, rate)
            }
            Self::Unknown(error) => unknown(error),
        }
    }
}

/// How much that is, in words.
pub(super) fn to_upload(upload: &UploadStatus) -> String {
    format!(
        "{} in {} files, {} deletions",
        upload.dirty_bytes, upload.dirty_files, upload.pending_deletes
    )
}

fn unknown(error: &str) -> UploadStatus {
    UploadStatus {
        dirty_files: 1,
        failing: 1,
        last_error: Some(error.to_owned()),
        ..UploadStatus::default()
    }
}

fn upload_status(counts: PendingCounts, now: Timestamp, rate: u64) -> UploadStatus {
    let waited = |since: Timestamp| {
        u64::try_from(now.seconds().saturating_sub(since.seconds())).unwrap_or(0)
    };
    UploadStatus {
        dirty_files: counts.dirty_files + counts.pending_moves,
        dirty_bytes: ByteSize(counts.dirty_bytes),
        pending_deletes: counts.pending_deletes,
        failing: counts.failing,
        last_error: counts.last_error,
        oldest_seconds: counts.oldest.map(waited),
        drain_seconds: counts.dirty_bytes.checked_div(rate),
    }
}

/// The gateway's word: stuck only if nothing that any share still has to do gets through.
pub(super) fn shutdown(all: &UploadStatus, shares: &[ShareStatus]) -> Shutdown {
    if all.is_idle() {
        return Shutdown::Safe;
    }
    let moves = |share: &&ShareStatus| {
        let upload = &share.upload;
        let blocked = matches!(share.state, ShareState::Unavailable(_))
            || upload.failing >= upload.dirty_files + upload.pending_deletes;
        !upload.is_idle() && !blocked
    };
    // What belongs to a share that the settings do not name any more waits for somebody, too.
    if shares.iter().any(|share| moves(&share)) { Shutdown::Uploading } else { Shutdown::Stuck }
}

pub(super) fn cache(cache: &CacheStore) -> CacheStatus {
    let space = cache.space().now().unwrap_or_else(|error| {
        tracing::error!("the cache disk's space is unknown: {error}");
        crate::cache::DiskSpace::default()
    });
    CacheStatus {
        total: ByteSize(space.total),
        used: ByteSize(space.total.saturating_sub(space.available)),
        free: ByteSize(space.available),
    }
}

/// Which cache disks with bytes that S3 does not have are missing, and which that were given are not used, in
/// words for the operator.
pub(super) fn missing_disks(cache: &CacheStore, left_out: &LeftOut) -> Option<String> {
    let missing = cache.missing_disks();
    let each = missing.iter().map(|(disk, files)| {
        format!("cache disk {disk} with {files} dirty files is missing: attach it again")
    });
    let unused = left_out.iter().map(|(name, why)| format!("cache disk {name} is not used: {why}"));
    let words = each.chain(unused).collect::<Vec<_>>().join("; ");
    (!words.is_empty()).then_some(words)
}

/// The renames under way of the shares that `name_of` knows.
pub(super) async fn renames(
    catalog: &Catalog,
    name_of: impl Fn(ShareId) -> Option<gateway_api::ShareName>,
) -> Result<Vec<RenameStatus>, CatalogError> {
    let told = |rename: RenameProgress| {
        Some(RenameStatus {
            share: name_of(rename.share)?,
            from: rename.from,
            to: rename.to,
            objects: rename.objects,
            all_found: rename.all_found,
            objects_left: rename.objects_left,
            requests: rename.objects * REQUESTS_PER_MOVE + rename.asked,
        })
    };
    Ok(catalog.renames().await?.into_iter().filter_map(told).collect())
}

/// What all shares have done together.
pub(super) fn sum(shares: &[ShareStatus]) -> Figures {
    let mut sum = Figures::default();
    shares.iter().for_each(|share| sum.add(&share.figures));
    sum
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;
    use crate::cache::{DiskIo, sim_disk::SimDisk};

    fn share(state: ShareState, dirty_files: u64, failing: u64) -> ShareStatus {
        ShareStatus {
            name: "sales".parse().unwrap(),
            bucket: "bucket".parse().unwrap(),
            prefix: "".parse().unwrap(),
            state,
            read_only: false,
            unrepresentable_keys: 0,
            upload: UploadStatus { dirty_files, failing, ..UploadStatus::default() },
            figures: Figures::default(),
            pinned: None,
            refreshes: Vec::new(),
            capabilities: gateway_api::status::Capabilities::default(),
        }
    }

    #[test]
    fn what_is_used_and_free_is_what_the_cache_disk_says() {
        let disk = SimDisk::default();
        disk.set_total(100 << 20);
        let cache = CacheStore::open(Arc::new(disk.clone()), Path::new("/cache")).unwrap();
        let file = disk.open(Path::new("/cache/data/x"), true).unwrap();
        file.write_all_at(&vec![1; 20 << 20], 0).unwrap();
        let mib = |count: u64| ByteSize(count << 20);
        let told = super::cache(&cache);
        assert_eq!((told.total, told.used, told.free), (mib(100), mib(20), mib(80)));
    }

    #[test]
    fn the_word_is_stuck_only_when_nothing_gets_through() {
        let word = |shares: &[ShareStatus]| {
            let dirty_files = shares.iter().map(|share| share.upload.dirty_files).sum();
            shutdown(&UploadStatus { dirty_files, ..UploadStatus::default() }, shares)
        };
        let gone = || ShareState::Unavailable("no answer".to_owned());
        assert_eq!(word(&[share(gone(), 0, 0)]), Shutdown::Safe);
        assert_eq!(word(&[share(ShareState::Available, 2, 1)]), Shutdown::Uploading);
        assert_eq!(word(&[share(ShareState::Available, 2, 2)]), Shutdown::Stuck);
        assert_eq!(word(&[share(gone(), 2, 0)]), Shutdown::Stuck);
        let both = [share(gone(), 2, 0), share(ShareState::Available, 1, 0)];
        assert_eq!(word(&both), Shutdown::Uploading);
    }

    #[test]
    fn age_and_time_to_drain_come_from_clock_and_rate() {
        let counts = PendingCounts {
            dirty_files: 1,
            dirty_bytes: 1000,
            oldest: Some(Timestamp::new(40, 0)),
            ..PendingCounts::default()
        };
        let pending = Pending::Known(BTreeMap::from([(ShareId(1), counts)]));
        let upload = pending.of_share(ShareId(1), Timestamp::new(100, 0), 10);
        assert_eq!((upload.oldest_seconds, upload.drain_seconds), (Some(60), Some(100)));
        assert_eq!(pending.of_all(Timestamp::new(30, 0), 0).oldest_seconds, Some(0));
        assert_eq!(pending.of_all(Timestamp::new(30, 0), 0).drain_seconds, None);
        assert!(pending.of_share(ShareId(2), Timestamp::new(1, 0), 1).is_idle());
        assert!(!Pending::Unknown("no".to_owned()).of_all(Timestamp::new(1, 0), 1).is_idle());
    }
}
