//! Room for bytes to come: in turn while the cache is nearly full of what S3 does not have, then by evicting
//! what it has.
//!
//! The reserve of [`crate::cache::space`] is not given to anybody here: what was accepted can always be
//! committed.
use gateway_api::status::HealthEventKind;

use super::{
    FsError, Vfs,
    evict::not_told,
    pace::{Turn, WAIT_MAX},
    write_back::WriteBack,
};
use crate::{
    cache::{
        CacheDisk,
        evict::{Need, Pinned},
    },
    ids::Ino,
};

/// What an event says while writers are slowed.
const NEARLY_FULL: &str = "the cache disk is nearly full of data that is not in S3 yet: writers are slowed to the \
     pace of the uploads. Make the uplink faster or the cache disk larger";
/// Files of which is looked how much of them is on the disk: the largest.
const LARGEST_FILES: usize = 64;

const PINS_GAVE_WAY: &str = "the cache disk is full: pinned files had to make room for what is being written. Pin \
     less, or make the cache disk larger";

impl Vfs {
    /// Makes sure that a write of `len` bytes fits, and comes in its turn. Call without locks. Cancel safe.
    ///
    /// # Errors
    /// [`FsError::TryLater`] when it would have to wait for long, [`FsError::NoSpace`] when waiting does
    /// not help: the disk is full of what cannot be uploaded.
    pub(super) async fn admit(&self, ino: Ino, len: u64) -> Result<(), FsError> {
        let shared = &self.shared;
        match shared.pacer.turn(shared.clock.now(), len) {
            Turn::Now => {}
            Turn::After(wait, place) => {
                tokio::time::sleep(wait).await;
                drop(place);
            }
            Turn::TooLate => return Err(FsError::TryLater),
        }
        let admitted = self.find_room(ino, len).await;
        if admitted.is_err() {
            shared.pacer.refused(len);
        }
        admitted
    }

    async fn find_room(&self, ino: Ino, len: u64) -> Result<(), FsError> {
        let shared = &self.shared;
        let disk = shared.cache.disk_of(ino).await?;
        if shared.has_room(disk, len, Pinned::Stay).await? {
            return Ok(());
        }
        if shared.has_room(disk, len, Pinned::MayLeave).await? {
            shared.events.add(HealthEventKind::PinsDoNotFit, None, PINS_GAVE_WAY.to_owned());
            return Ok(());
        }
        // Uploads make room: the client is to try again. If none gets through, it must know.
        let room = match shared.is_stuck().await? {
            true => Err(FsError::NoSpace),
            false => self.wait_for_room(disk, len).await,
        };
        if room.is_err() {
            shared.pacer.found_no_room(shared.clock.now());
        }
        room
    }

    /// Waits a moment for an upload to end.
    async fn wait_for_room(&self, disk: &CacheDisk, len: u64) -> Result<(), FsError> {
        let shared = &self.shared;
        let Some(_place) = shared.pacer.place() else { return Err(FsError::TryLater) };
        let mut journal = shared.catalog.journal_changed();
        let room = async {
            loop {
                journal.mark_unchanged();
                if shared.has_room(disk, len, Pinned::MayLeave).await? {
                    return Ok(());
                }
                if journal.changed().await.is_err() {
                    return Err(FsError::TryLater);
                }
            }
        };
        tokio::time::timeout(WAIT_MAX, room).await.unwrap_or(Err(FsError::TryLater))
    }

    /// Makes sure that `len` fetched bytes fit. Call without locks.
    ///
    /// # Errors
    /// [`FsError::TryLater`] when they do not: a READ cannot be told that there is no space.
    pub(super) async fn make_room(&self, ino: Ino, len: u64) -> Result<(), FsError> {
        let disk = self.shared.cache.disk_of(ino).await?;
        let has_room = self.shared.has_room(disk, len, Pinned::Stay).await?;
        if has_room { Ok(()) } else { Err(FsError::TryLater) }
    }
}

impl WriteBack {
    /// Whether `len` more bytes fit on the disk, when what may leave has left.
    async fn has_room(&self, disk: &CacheDisk, len: u64, pinned: Pinned) -> Result<bool, FsError> {
        let space = disk.space();
        let ask = |error: std::io::Error| not_told(disk, &error);
        if space.admit(len).map_err(ask)? {
            return Ok(true);
        }
        self.evict_on(disk.id(), Need::Write(len), pinned).await?;
        space.admit(len).map_err(ask)
    }

    /// Whether nothing that waits for S3 gets there.
    async fn is_stuck(&self) -> Result<bool, FsError> {
        if self.pacer.drains(self.clock.now()) {
            return Ok(false);
        }
        let hopeful = self.hopeful();
        Ok(!self.catalog.has_untried_uploads(hopeful.as_deref()).await?)
    }

    /// Looks how full the cache is of what S3 does not have, for the pace of writers. Run it about twice a
    /// second.
    ///
    /// # Errors
    /// Of the disk.
    pub async fn look_at_pressure(&self) -> Result<(), FsError> {
        self.look_at_shares();
        let of = self.unsent_of_capacity(self.not_here().await?)?;
        if self.pacer.looked(self.clock.now(), of, self.catalog.progress()).is_high() {
            self.events.add(HealthEventKind::CacheFull, None, NEARLY_FULL.to_owned());
        } else {
            self.events.over(None, &[HealthEventKind::CacheFull]);
        }
        Ok(())
    }

    /// Bytes of large files that wait for S3 and are not on the disk: they are holes, or S3 has them and they were
    /// not read.
    async fn not_here(&self) -> Result<u64, FsError> {
        let mut not_here = 0_u64;
        for (ino, size) in self.catalog.largest_unsent(LARGEST_FILES).await? {
            // What others do not have is not counted in the first place.
            if !self.cache.is_out_of_reach(ino) && !self.cache.disk_of(ino).await?.is_draining() {
                // One that cannot be asked counts as whole.
                let here = self.cache.occupied(ino).await.unwrap_or(size);
                not_here = not_here.saturating_add(size.saturating_sub(here));
            }
        }
        Ok(not_here)
    }

    /// Bytes that S3 does not have on the disks that take files, and how many could be; `not_here` are counted with
    /// their files and take no room.
    pub(super) fn unsent_of_capacity(&self, not_here: u64) -> Result<(u64, u64), FsError> {
        let spaces = self.cache.space();
        let asked = spaces.now().and_then(|space| Ok((space, spaces.for_writers()?)));
        let (space, (capacity, _)) = asked.map_err(|error| {
            tracing::error!("cannot ask the cache disks for their space: {error}");
            FsError::Io
        })?;
        let used = space.total.saturating_sub(space.available);
        // What is on a disk that is missing, or that takes no new files, fills none of these.
        let elsewhere = self.cache.disks().iter().map(CacheDisk::left_bytes).sum::<u64>();
        let elsewhere = elsewhere.saturating_add(self.cache.out_of_reach_bytes());
        let unsent = self.catalog.unsent_room().saturating_sub(elsewhere.saturating_add(not_here));
        Ok((unsent.saturating_add(self.cache.overlay().bytes()).min(used), capacity))
    }
}
