//! READ.
use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use super::{Credentials, FsError, Ino, ReadData, Vfs, meter::ReadFrom, permissions};
use crate::{
    cache::CacheError,
    catalog::{ForRead, Inode},
    fetch::Come,
    locks::{ExclusiveGuard, SharedGuard},
    sums::{self, BLOCK_BYTES, BlockSums},
    verified,
};

/// How often bytes may vanish (eviction, a changed object) between fetching and reading them.
const TRIES_MAX: usize = 8;

/// How a READ looks at the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// While others may write: bytes that do not match their sums say only that it must look again.
    Glance,
    /// With nobody writing: what does not match is damaged.
    Stare,
}

/// The hold on the inode for either.
enum Held {
    Glance(#[expect(dead_code, reason = "held for its drop")] SharedGuard),
    Stare(#[expect(dead_code, reason = "held for its drop")] ExclusiveGuard),
}

/// What a look at the cache file gave.
enum Looked {
    Bytes(Bytes),
    /// They must be looked for anew, and so.
    Again(Look),
}

impl Vfs {
    pub(super) async fn do_read(
        &self,
        who: &Credentials,
        ino: Ino,
        offset: u64,
        count: u32,
    ) -> Result<(ReadData, ReadFrom), FsError> {
        let row = self.row_with_best_attr(self.row(ino).await?).await?;
        Self::check_file(&row)?;
        permissions::check_data(&row, who, permissions::READ)?;
        if self.shared.cache.is_out_of_reach(ino) {
            // Nothing of it is fetched in vain.
            return Err(FsError::Io);
        }
        let asked = offset..offset.saturating_add(u64::from(count));
        let (mut look, mut from) = (Look::Glance, ReadFrom::Cache);
        let (mut come, mut may_come) = (None::<Come>, true);
        for _ in 0..TRIES_MAX {
            let wanted = {
                let _held = self.held(ino, look).await;
                // Before the row is read: what is committed in between shows in the row.
                let is_written = come.is_some() && self.shared.cache.overlay().has(ino);
                let moment = self.shared.catalog.moment();
                let ForRead { inode: row, ranges: present, sums } =
                    self.shared.catalog.for_read(ino, asked.clone()).await?;
                if let Some(come) = come.take() {
                    // All of one row: another one's size would make a mixture of it (R1).
                    let wanted = offset..asked.end.min(row.size).max(offset);
                    if !is_written && let Some(data) = come.bytes_of(&row, &wanted) {
                        let eof = wanted.end >= row.size;
                        return Ok((
                            ReadData { data, eof, attr: Self::attr_with(&row, None) },
                            from,
                        ));
                    }
                    // The file is another one than the object: next time what is in the cache counts.
                    may_come = false;
                }
                let attr = self.attr_by_now(moment, &row).await?;
                let size = attr.size;
                let wanted = offset..asked.end.min(size);
                if wanted.is_empty() {
                    let read = ReadData { data: Bytes::new(), eof: offset >= size, attr };
                    return Ok((read, from));
                }
                if present.covers(&wanted)
                    || self.shared.cache.overlay().covers(ino, &present, &wanted)
                {
                    let data = match self.look(&row, wanted.clone(), size, sums, look).await? {
                        Looked::Bytes(data) => data,
                        Looked::Again(next) => {
                            look = next;
                            continue;
                        }
                    };
                    let moment = self.shared.catalog.moment();
                    let after = self.row(ino).await?;
                    // Bytes of an object that was replaced meanwhile may be a mixture (R1).
                    // A publish of what is here changes the tag and not the version.
                    if after.etag == row.etag || after.version == row.version {
                        let attr = self.attr_by_now(moment, &after).await?;
                        self.shared.cache.note_use(ino, &wanted);
                        if !present.covers(&(wanted.start..row.size)) {
                            self.source.read_on(ino, &wanted);
                        }
                        return Ok((ReadData { data, eof: wanted.end == size, attr }, from));
                    }
                    continue;
                }
                wanted
            };
            from = ReadFrom::S3;
            self.make_room(ino, wanted.end - wanted.start).await?;
            match may_come {
                true => come = self.source.bring(ino, wanted).await?,
                false => self.source.fetch(ino, wanted).await?,
            }
        }
        Err(FsError::TryLater)
    }

    /// Checks the blocks that a change ends or begins inside of, at the bytes `at`: their new sums will be of what the
    /// disk has, and must not make damage good. Call without locks.
    ///
    /// # Errors
    /// [`FsError::Io`] for damage to bytes that only the disk has.
    pub(super) async fn check_blocks_at(&self, row: &Inode, at: &[u64]) -> Result<(), FsError> {
        let mut checked = None;
        for at in at.iter().filter(|at| !at.is_multiple_of(BLOCK_BYTES)) {
            let block = at / BLOCK_BYTES;
            let bytes = sums::bytes_of(block, row.size);
            if !bytes.is_empty() && checked.replace(block) != Some(block) {
                self.check_block(row.ino, block, bytes).await?;
            }
        }
        Ok(())
    }

    /// Checks the bytes of a block, if it is here as a whole and nobody is writing to it.
    async fn check_block(&self, ino: Ino, block: u64, bytes: Range<u64>) -> Result<(), FsError> {
        let mut look = Look::Glance;
        for _ in 0..TRIES_MAX {
            let _held = self.held(ino, look).await;
            let ForRead { inode: row, sums, .. } =
                self.shared.catalog.for_read(ino, bytes.clone()).await?;
            let bytes = bytes.start..bytes.end.min(row.size);
            let known = sums.iter().any(|(known, _)| *known == block);
            if !known
                || bytes.is_empty()
                || !self.shared.cache.overlay().touched(ino, &sums).is_empty()
            {
                return Ok(());
            }
            match self.look(&row, bytes, row.size, sums, look).await? {
                Looked::Bytes(_) => return Ok(()),
                Looked::Again(next) => look = next,
            }
        }
        Err(FsError::TryLater)
    }

    async fn held(&self, ino: Ino, look: Look) -> Held {
        match look {
            Look::Glance => Held::Glance(self.shared.locks.shared(ino).await),
            Look::Stare => Held::Stare(self.shared.locks.exclusive(ino).await),
        }
    }

    /// Reads `wanted`, which is here, and checks it. Call with the inode held as `look` says.
    async fn look(
        &self,
        row: &Arc<Inode>,
        wanted: Range<u64>,
        size: u64,
        sums: BlockSums,
        look: Look,
    ) -> Result<Looked, FsError> {
        let (shared, ino) = (&self.shared, row.ino);
        let (sums, unsure) = match look {
            Look::Glance => (sums, false),
            Look::Stare => {
                let now = shared.catalog.sums_now(ino, wanted.clone()).await?;
                (now.sums, now.unsure)
            }
        };
        let found = match verified::read(&shared.cache, ino, wanted, size, sums).await {
            Ok(found) => found,
            // The cache lost a file that S3 has.
            Err(error @ CacheError::Short { .. }) => {
                let all = std::iter::once(0..row.size).collect();
                match shared.catalog.drop_some(ino, all).await? {
                    true => return Ok(Looked::Again(look)),
                    false => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        if found.damaged.is_empty() {
            return Ok(Looked::Bytes(found.bytes));
        }
        match look {
            Look::Glance => Ok(Looked::Again(Look::Stare)),
            Look::Stare if unsure => {
                let (catalog, cache) = (&shared.catalog, &shared.cache);
                match verified::take::<FsError>(catalog, cache, ino, found.damaged, size).await? {
                    true => Ok(Looked::Bytes(found.bytes)),
                    false => Ok(Looked::Again(look)),
                }
            }
            Look::Stare => self.damaged(row, found.damaged).await,
        }
    }

    /// Bytes on the cache disk are not what was written: those that S3 has are fetched again.
    async fn damaged(&self, row: &Inode, blocks: Vec<u64>) -> Result<Looked, FsError> {
        let shared = &self.shared;
        let path = shared.catalog.path(row.ino).await?;
        let (mended, lost) = (verified::mended(&path, &blocks), verified::lost(&path, &blocks));
        let is_clean = shared.catalog.drop_blocks(row.ino, blocks).await?;
        let message = if is_clean { mended } else { lost };
        let kind = gateway_api::status::HealthEventKind::CacheDamaged;
        shared.events.add(kind, self.name.clone(), message);
        if is_clean { Ok(Looked::Again(Look::Glance)) } else { Err(FsError::Io) }
    }
}
