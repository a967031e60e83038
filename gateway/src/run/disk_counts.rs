//! What each cache disk has, as it is shown: counted anew only as often as counting is cheap.
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::{
    cache::{CacheDisk, CacheStore},
    catalog::{Catalog, CatalogError, DiskCounts},
    ids::DiskId,
};

/// Figures are shown for so many times what counting them took: whoever asks on and on keeps the gateway busy for a
/// fiftieth of the time at most.
const SHOWN_TIMES: u32 = 50;

/// The figures of all disks.
pub(super) type Counts = BTreeMap<DiskId, DiskCounts>;

/// The last figures.
#[derive(Debug, Default)]
pub(super) struct Counted(Mutex<Option<Last>>);

#[derive(Debug)]
struct Last {
    counts: Counts,
    until: Instant,
    /// The disks on which nothing was found: of one that has become empty new figures are needed at once.
    empty: Vec<DiskId>,
}

impl Counted {
    /// The figures, counted now or not long ago. One who asks while they are counted waits for them.
    ///
    /// # Errors
    /// Of the database only.
    pub(super) async fn counts(
        &self,
        catalog: &Catalog,
        cache: &CacheStore,
    ) -> Result<Counts, CatalogError> {
        let mut last = self.0.lock().await;
        let empty: Vec<DiskId> =
            cache.disks().iter().filter(|disk| disk.is_empty()).map(CacheDisk::id).collect();
        let begun = Instant::now();
        if let Some(last) = last.as_ref()
            && begun < last.until
            && last.empty == empty
        {
            return Ok(last.counts.clone());
        }
        let counts = catalog.disk_counts().await?;
        let shown: Duration = begun.elapsed() * SHOWN_TIMES;
        *last = Some(Last { counts: counts.clone(), until: Instant::now() + shown, empty });
        Ok(counts)
    }
}
