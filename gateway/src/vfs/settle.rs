//! Bytes of small files go from the catalog, which made them durable, to their cache files.
//!
//! Nobody waits for it, and one sync of each whole disk serves all. What a failed sync has lost is
//! written again from the catalog: a sync that failed is never just repeated (D7). A disk that goes on failing
//! keeps what the catalog carries for it there, and holds up no other.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use bytes::Bytes;
use gateway_api::status::HealthEventKind;

use super::{FsError, write_back::WriteBack};
use crate::{
    cache::CacheError,
    catalog::Carried,
    essential::{self, Step},
    failpoint::{self, Point},
    ids::DiskId,
};

impl WriteBack {
    /// Syncs the cache disks if the catalog carries bytes, and lets the catalog forget them. Run it
    /// about every second: the next start writes to the cache files whatever is still carried.
    ///
    /// # Errors
    /// Of a disk or the catalog: nothing is lost, call again. What is carried for other disks has been
    /// settled.
    pub async fn settle(&self) -> Result<(), FsError> {
        let mut failing = BTreeSet::new();
        let mut failure: Option<FsError> = None;
        // One that was given up may have failed.
        if self.settling.load(Ordering::Acquire) || self.cache.losses().has_any() {
            for (disk, error) in self.write_again().await? {
                failing.insert(disk);
                failure.get_or_insert(error.into());
            }
        }
        let moved = self.moved.load(Ordering::Acquire);
        let seen = self.losses_seen();
        let Some(until) = self.catalog.carried_until().await? else { return Ok(()) };
        self.settling.store(true, Ordering::Release);
        let mut lost = BTreeSet::new();
        let synced = match essential::is_left_out(Step::SettleSync) {
            true => Vec::new(),
            false => self.cache.sync_each().await,
        };
        for (disk, synced) in synced {
            if let Err(error) = synced {
                self.say_failing(disk, &error);
                lost.insert(disk);
                failure.get_or_insert(error.into());
            }
        }
        if !lost.is_empty() {
            self.fence(&lost).await?;
        }
        // Those that have failed, and those where a sync of a single file has, of which this one says nothing.
        let now = self.losses_seen();
        let doubtful = seen.iter().filter(|(disk, seen)| now.get(disk) != Some(seen));
        lost.extend(doubtful.map(|(disk, _)| *disk));
        if !lost.is_empty() {
            failing.extend(self.write_again().await?.into_keys());
            failing.extend(lost);
            failure.get_or_insert(FsError::TryLater);
        }
        let Some(failure) = failure else {
            failpoint::passed(Point::SettleAfterSync);
            self.settling.store(false, Ordering::Release);
            self.catalog.forget_carried(until).await?;
            failpoint::passed(Point::SettleAfterForget);
            return Ok(());
        };
        self.settling.store(false, Ordering::Release);
        if self.moved.load(Ordering::Acquire) != moved {
            // A file may have gone from a disk that has lost bytes of it, to one whose sync came before.
            return Err(failure);
        }
        for disk in self.cache.disks().iter().filter(|disk| !failing.contains(&disk.id())) {
            self.catalog.forget_carried_on(disk.id(), until).await?;
        }
        Err(failure)
    }

    /// How many syncs have failed, by disk.
    fn losses_seen(&self) -> BTreeMap<DiskId, u64> {
        let losses = self.cache.losses();
        self.cache.disks().iter().map(|disk| (disk.id(), losses.seen(disk.id()))).collect()
    }

    fn say_failing(&self, disk: DiskId, error: &CacheError) {
        let name = self.cache.disk(disk).map_or("?", |disk| disk.name());
        let message = format!(
            "the cache disk {name} does not take what is written to it ({error}): check it. What is only on it \
             cannot be used until it works again"
        );
        self.events.add(HealthEventKind::CacheDiskFailing, None, message);
    }

    /// Nobody knows what a sync of whole disks has lost: whatever is written there and not committed is
    /// to be sent again.
    async fn fence(&self, disks: &BTreeSet<DiskId>) -> Result<(), FsError> {
        let overlay = self.cache.overlay();
        for ino in overlay.inos() {
            if !disks.contains(&self.cache.disk_of(ino).await?.id()) {
                continue;
            }
            // A commit that is past its own look at the fence ends first.
            let _held = self.locks.exclusive(ino).await;
            overlay.sync_failed(ino);
            overlay.is_news(ino);
        }
        self.verifier.rotate();
        Ok(())
    }

    /// Writes everything that is carried to the cache files: what a failed sync has lost is there again,
    /// for the next one. Answers which disks did not take it.
    async fn write_again(&self) -> Result<BTreeMap<DiskId, CacheError>, FsError> {
        // What is carried from now on was written after the sync that has failed.
        let seen = self.losses_seen();
        let until = self.catalog.carried_until().await?.unwrap_or(0);
        let (mut seq, mut failing) = (0, BTreeMap::new());
        while let Some(found) = self.catalog.carried(seq).await?
            && found.seq <= until
        {
            seq = found.seq;
            if let Some((disk, error)) = self.write_carried(found).await? {
                failing.entry(disk).or_insert(error);
            }
        }
        self.settling.store(false, Ordering::Release);
        for (disk, seen) in seen {
            match failing.get(&disk) {
                None => self.cache.losses().made_good(disk, seen),
                Some(error) => {
                    self.cache.losses().note(disk);
                    self.say_failing(disk, error);
                }
            }
        }
        Ok(failing)
    }

    /// Writes what is carried of one file to its cache file: what was `found`, or what has taken its place since. Answers
    /// which disk did not take it.
    async fn write_carried(&self, found: Carried) -> Result<Option<(DiskId, CacheError)>, FsError> {
        let _held = self.locks.exclusive(found.ino).await;
        // Other bytes than those found may have been lost by the same sync. And it may have moved to another disk.
        let now = match self.catalog.carried_of(found.ino).await? {
            Some(seq) => self.catalog.carried(seq.saturating_sub(1)).await?,
            None => None,
        };
        let Some(now) = now.filter(|now| now.ino == found.ino) else { return Ok(None) };
        if self.cache.disk(now.disk).is_none() {
            return Ok(None);
        }
        let overlay = self.cache.overlay();
        if overlay.has(found.ino) {
            // Goes over writes that no commit has carried: their client sends them again.
            overlay.sync_failed(found.ino);
            overlay.is_news(found.ino);
            self.verifier.rotate();
        }
        let written = self.cache.write_at(now.ino, 0, Bytes::from(now.bytes)).await;
        Ok(written.err().map(|error| (now.disk, error)))
    }
}
