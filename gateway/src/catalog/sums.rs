//! The checksums of cached blocks: which sums a change leaves, stored beside the ranges that it changes.
//!
//! A transition that changes bytes says which ranges, and the sums that are known of their blocks; all
//! other sums of those blocks are forgotten with it, so that none is ever of bytes that were there
//! before. What was asked for lately is in memory ([`SumMemory`]).
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, OptionalExtension, params};

use super::{Catalog, Inode, changed, error::CatalogError, inode, range, types::WriteCommit};
use crate::{
    ids::Ino,
    ranges::RangeSet,
    sums::{BLOCK_BYTES, BlockSums, UNKNOWN, blocks, bytes_of as bytes_in},
};

/// Blocks whose sums are in the inode's row.
const HEAD_BLOCKS: u64 = 16;
/// Blocks of one row of the table.
const CHUNK: usize = 128;
const CHUNK_BLOCKS: u64 = CHUNK as u64;
/// Chunks in one of two generations in memory: 8 MiB of sums, for as many small files as rows are kept
/// of, or for 8 GiB of large ones.
const GENERATION_CHUNKS_MAX: usize = 16 * 1024;

type Chunk = [u32; CHUNK];
const NOTHING: Chunk = [UNKNOWN; CHUNK];

fn place(block: u64) -> usize {
    usize::try_from(block % CHUNK_BLOCKS).expect("less than a chunk")
}

fn decode(blob: &[u8], into: &mut [u32]) {
    for (sum, bytes) in into.iter_mut().zip(blob.chunks_exact(4)) {
        *sum = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    }
}

/// Trailing blocks of which nothing is known are left out; `None` when nothing is known at all.
fn encode(sums: &[u32]) -> Option<Vec<u8>> {
    let known = sums.iter().rposition(|sum| *sum != UNKNOWN)? + 1;
    Some(sums[..known].iter().flat_map(|sum| sum.to_le_bytes()).collect())
}

fn head(db: &Connection, ino: Ino) -> Result<Chunk, CatalogError> {
    let mut sums = NOTHING;
    let blob: Option<Vec<u8>> = db
        .prepare_cached("SELECT sums FROM inode WHERE ino = ?1")?
        .query_row([ino.0], |row| row.get(0))
        .optional()?
        .flatten();
    decode(&blob.unwrap_or_default(), &mut sums);
    Ok(sums)
}

/// The sums of one chunk as the table has them: without the head's.
fn stored(db: &Connection, ino: Ino, chunk: u64) -> Result<Chunk, CatalogError> {
    let mut sums = NOTHING;
    let blob: Option<Vec<u8>> = db
        .prepare_cached("SELECT sums FROM sum WHERE ino = ?1 AND chunk = ?2")?
        .query_row([ino.0, chunk], |row| row.get(0))
        .optional()?;
    decode(&blob.unwrap_or_default(), &mut sums);
    Ok(sums)
}

/// All sums of one chunk.
fn chunk(db: &Connection, ino: Ino, chunk: u64) -> Result<Chunk, CatalogError> {
    let mut sums = stored(db, ino, chunk)?;
    if chunk == 0 {
        let split = usize::try_from(HEAD_BLOCKS).expect("small");
        sums[..split].copy_from_slice(&head(db, ino)?[..split]);
    }
    Ok(sums)
}

/// Forgets the sums of all blocks that hold any of `changed`, then notes `known`.
pub(super) fn replace(
    db: &Connection,
    ino: Ino,
    changed: &[Range<u64>],
    known: &[(u64, u32)],
) -> Result<(), CatalogError> {
    let changed: Vec<Range<u64>> =
        changed.iter().map(blocks).filter(|blocks| !blocks.is_empty()).collect();
    if changed.iter().any(|blocks| blocks.start < HEAD_BLOCKS)
        || known.iter().any(|(block, _)| *block < HEAD_BLOCKS)
    {
        replace_head(db, ino, &changed, known)?;
    }
    let mut edited: BTreeMap<u64, Chunk> = BTreeMap::new();
    for blocks in &changed {
        let blocks = blocks.start.max(HEAD_BLOCKS)..blocks.end;
        if blocks.is_empty() {
            continue;
        }
        // The first chunk counts as whole without the blocks of the head.
        let first =
            if blocks.start <= HEAD_BLOCKS { 0 } else { blocks.start.div_ceil(CHUNK_BLOCKS) };
        let whole = first..blocks.end / CHUNK_BLOCKS;
        if !whole.is_empty() {
            db.prepare_cached("DELETE FROM sum WHERE ino = ?1 AND chunk >= ?2 AND chunk < ?3")?
                .execute([ino.0, whole.start, whole.end])?;
            edited.retain(|chunk, _| !whole.contains(chunk));
        }
        for edge in [blocks.start / CHUNK_BLOCKS, (blocks.end - 1) / CHUNK_BLOCKS] {
            if !whole.contains(&edge) {
                let sums = edit(db, ino, &mut edited, edge)?;
                let start = (edge * CHUNK_BLOCKS).max(blocks.start);
                let end = ((edge + 1) * CHUNK_BLOCKS).min(blocks.end);
                (start..end).for_each(|block| sums[place(block)] = UNKNOWN);
            }
        }
    }
    for (block, sum) in known.iter().filter(|(block, _)| *block >= HEAD_BLOCKS) {
        edit(db, ino, &mut edited, block / CHUNK_BLOCKS)?[place(*block)] = *sum;
    }
    for (chunk, sums) in edited {
        match encode(&sums) {
            Some(blob) => db
                .prepare_cached(
                    "INSERT OR REPLACE INTO sum (ino, chunk, sums) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![ino.0, chunk, blob])?,
            None => db
                .prepare_cached("DELETE FROM sum WHERE ino = ?1 AND chunk = ?2")?
                .execute([ino.0, chunk])?,
        };
    }
    Ok(())
}

fn edit<'e>(
    db: &Connection,
    ino: Ino,
    edited: &'e mut BTreeMap<u64, Chunk>,
    chunk: u64,
) -> Result<&'e mut Chunk, CatalogError> {
    use std::collections::btree_map::Entry;
    match edited.entry(chunk) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(new) => Ok(new.insert(stored(db, ino, chunk)?)),
    }
}

fn replace_head(
    db: &Connection,
    ino: Ino,
    changed: &[Range<u64>],
    known: &[(u64, u32)],
) -> Result<(), CatalogError> {
    let mut sums = head(db, ino)?;
    let before = encode(&sums);
    for blocks in changed {
        (blocks.start..blocks.end.min(HEAD_BLOCKS)).for_each(|block| sums[place(block)] = UNKNOWN);
    }
    for (block, sum) in known.iter().filter(|(block, _)| *block < HEAD_BLOCKS) {
        sums[place(*block)] = *sum;
    }
    let after = encode(&sums);
    if after != before {
        db.prepare_cached("UPDATE inode SET sums = ?2 WHERE ino = ?1")?
            .execute(params![ino.0, after])?;
    }
    Ok(())
}

/// Of the sums of a commit that leaves a file of `size` bytes, whose ranges are noted: those of blocks that are here as a
/// whole. The others are of writes that came after it, whose own commit says them again.
pub(super) fn of_present(
    db: &Connection,
    ino: Ino,
    size: u64,
    commit: &WriteCommit,
) -> Result<BlockSums, CatalogError> {
    let written: RangeSet = commit.ranges.iter().cloned().collect();
    let mut present = BlockSums::with_capacity(commit.sums.len());
    for (block, sum) in &commit.sums {
        let bytes = bytes_in(*block, size);
        if !bytes.is_empty() && (written.covers(&bytes) || range::covers(db, ino, &bytes)?) {
            present.push((*block, *sum));
        }
    }
    Ok(present)
}

/// Forgets all sums of a file whose row stays or goes.
pub(super) fn clear(db: &Connection, ino: Ino) -> Result<(), CatalogError> {
    db.prepare_cached("DELETE FROM sum WHERE ino = ?1")?.execute([ino.0])?;
    db.prepare_cached("UPDATE inode SET sums = NULL WHERE ino = ?1 AND sums IS NOT NULL")?
        .execute([ino.0])?;
    Ok(())
}

/// What a read needs to know of a file.
#[derive(Clone, Debug)]
pub struct ForRead {
    /// Its row.
    pub inode: Arc<Inode>,
    /// Which of its bytes are here, as far as committed.
    pub ranges: Arc<RangeSet>,
    /// What is known of the sums of the blocks asked for, as far as the committed size goes.
    pub sums: BlockSums,
}

/// The sum of a block that a file is cut within, of the bytes that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndSum {
    /// The file's version when they were read: of another one they are not.
    pub version: u64,
    /// As [`crate::sums::of_block`] has it.
    pub sum: u32,
}

/// The sums of blocks, read without memory.
#[derive(Clone, Debug)]
pub struct SumsNow {
    /// What is known.
    pub sums: BlockSums,
    /// Whether bytes that do not match may be those of a write that was never committed.
    pub unsure: bool,
}

/// The sums of the blocks of `range` of a file of `size` bytes.
pub(super) fn now(
    db: &Connection,
    ino: Ino,
    size: u64,
    range: &Range<u64>,
) -> Result<SumsNow, CatalogError> {
    let blocks = blocks(&(range.start.min(size)..range.end.min(size)));
    let found = chunks_of(&blocks).map(|at| Ok((at, Arc::new(chunk(db, ino, at)?))));
    let found = found.collect::<Result<Vec<_>, CatalogError>>()?;
    Ok(SumsNow { sums: pick(&found, blocks), unsure: is_unsure(db, ino)? })
}

fn is_unsure(db: &Connection, ino: Ino) -> Result<bool, CatalogError> {
    let mut query = db.prepare_cached("SELECT unsure AND dirty FROM inode WHERE ino = ?1")?;
    Ok(query.query_row([ino.0], |row| row.get(0)).optional()?.unwrap_or(false))
}

/// How many files have the sum of a block that is not here as a whole: whoever reads one takes it for here.
pub(super) fn astray(db: &Connection) -> Result<u64, CatalogError> {
    let mut files = db.prepare(
        "SELECT ino, size FROM inode WHERE kind = 0
             AND (sums IS NOT NULL OR EXISTS (SELECT 1 FROM sum WHERE sum.ino = inode.ino))",
    )?;
    let files = files.query_map([], |row| Ok((Ino(row.get(0)?), row.get::<_, u64>(1)?)))?;
    let mut astray = 0;
    for file in files {
        let (ino, size) = file?;
        let here = range::of(db, ino)?;
        let mut chunks =
            db.prepare_cached("SELECT 0 UNION SELECT chunk FROM sum WHERE ino = ?1")?;
        for at in chunks.query_map([ino.0], |row| row.get::<_, u64>(0))? {
            let at = at?;
            let known = chunk(db, ino, at)?;
            let is_astray = |(block, sum): (u64, &u32)| {
                let bytes = bytes_in(block, size);
                *sum != UNKNOWN && (bytes.is_empty() || !here.covers(&bytes))
            };
            if (at * CHUNK_BLOCKS..).zip(&known).any(is_astray) {
                astray += 1;
                break;
            }
        }
    }
    Ok(astray)
}

fn pick(chunks: &[(u64, Arc<Chunk>)], blocks: Range<u64>) -> BlockSums {
    let of = |block: u64| {
        let (_, sums) = chunks.iter().find(|(chunk, _)| *chunk == block / CHUNK_BLOCKS)?;
        Some((block, sums[place(block)])).filter(|(_, sum)| *sum != UNKNOWN)
    };
    blocks.filter_map(of).collect()
}

fn chunks_of(blocks: &Range<u64>) -> Range<u64> {
    if blocks.is_empty() {
        return 0..0;
    }
    blocks.start / CHUNK_BLOCKS..blocks.end.div_ceil(CHUNK_BLOCKS)
}

impl Catalog {
    /// What a READ of `range` needs to know, of one moment. Usually known without the database.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn for_read(&self, ino: Ino, range: Range<u64>) -> Result<ForRead, CatalogError> {
        let (rows, memory) = (&self.inner.rows, &self.inner.sums);
        let since = rows.since();
        let within = move |size: u64| blocks(&(range.start.min(size)..range.end.min(size)));
        if let Some((inode, ranges)) = rows.get_with_ranges(ino) {
            let blocks = within(inode.size);
            if let Some(chunks) = memory.get(ino, chunks_of(&blocks)) {
                let sums = pick(&chunks, blocks);
                // A commit between the two looks may have changed either.
                if !rows.changed_since(since, ino) {
                    return Ok(ForRead { inode, ranges, sums });
                }
            }
        }
        let since = rows.since();
        let (inode, ranges, chunks, blocks) = self
            .read(move |db| {
                let inode = inode::get(db, ino)?;
                let blocks = within(inode.size);
                let found = chunks_of(&blocks).map(|at| Ok((at, Arc::new(chunk(db, ino, at)?))));
                let found = found.collect::<Result<Vec<_>, CatalogError>>()?;
                Ok((Arc::new(inode), Arc::new(range::of(db, ino)?), found, blocks))
            })
            .await?;
        rows.keep(since, &inode, Some(&ranges));
        memory.keep(ino, &chunks, || rows.changed_since(since, ino));
        let sums = pick(&chunks, blocks);
        Ok(ForRead { inode, ranges, sums })
    }

    /// The sums of the blocks of `range` as committed, past what is in memory.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn sums_now(&self, ino: Ino, range: Range<u64>) -> Result<SumsNow, CatalogError> {
        self.read(move |db| now(db, ino, inode::get(db, ino)?.size, &range)).await
    }

    /// Takes `found` for the sums of these blocks of a file whose bytes may be those of a write that was under way when
    /// the gateway was cut off. `false`, and nothing happens, for another one.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn take_sums(&self, ino: Ino, found: BlockSums) -> Result<bool, CatalogError> {
        // Lost with the power, they are learnt again.
        self.write_soon(move |txn| {
            let unsure = is_unsure(txn.db, ino)?;
            if unsure {
                replace(txn.db, ino, &[], &found)?;
            }
            Ok(unsure)
        })
        .await
    }

    /// Forgets all sums of a file.
    #[cfg(test)]
    pub(crate) async fn forget_sums(&self, ino: Ino) -> Result<(), CatalogError> {
        self.write(move |txn| clear(txn.db, ino)).await
    }

    /// Forgets that `damaged` blocks of a file are here: S3 has them. `false`, and nothing happens, where S3 does not
    /// have its bytes (I5).
    ///
    /// # Errors
    /// Of the database only.
    pub async fn drop_blocks(&self, ino: Ino, damaged: Vec<u64>) -> Result<bool, CatalogError> {
        self.drop_some(ino, bytes_of(&damaged)).await
    }

    /// Bytes of these files may be those of writes that no commit has taken, although the gateway is
    /// being stopped in order.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn doubt_sums(&self, inos: Vec<Ino>) -> Result<(), CatalogError> {
        self.write(move |txn| {
            let mut doubt = txn.db.prepare_cached("UPDATE inode SET unsure = 1 WHERE ino = ?1")?;
            for ino in inos {
                doubt.execute([ino.0])?;
            }
            changed::forget_bases_of_unsure(txn.db)
        })
        .await
    }
}

fn bytes_of(blocks: &[u64]) -> Vec<Range<u64>> {
    let bytes = |block: &u64| block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES;
    blocks.iter().map(bytes).collect()
}

/// Chunks that were asked for lately. What a commit touches is forgotten with its row's.
#[derive(Debug, Default)]
pub(super) struct SumMemory(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    by_ino: HashMap<Ino, BTreeMap<u64, Arc<Chunk>>>,
    chunks: usize,
}

impl SumMemory {
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, ino: Ino, chunks: Range<u64>) -> Option<Vec<(u64, Arc<Chunk>)>> {
        let mut memory = self.lock();
        chunks.map(|at| Some((at, memory.get(ino, at)?))).collect()
    }

    fn keep(&self, ino: Ino, chunks: &[(u64, Arc<Chunk>)], is_old: impl FnOnce() -> bool) {
        let mut memory = self.lock();
        // Under the lock: whoever forgets comes before the question or after the answer.
        if !is_old() {
            chunks.iter().for_each(|(at, sums)| memory.insert(ino, *at, Arc::clone(sums)));
        }
    }

    /// The files have changed; all of them when `inos` is `None`.
    pub(super) fn forget<'i>(&self, inos: Option<impl Iterator<Item = &'i Ino>>) {
        let mut memory = self.lock();
        let Some(inos) = inos else {
            *memory = Generations::default();
            return;
        };
        for ino in inos {
            let Generations { young, old } = &mut *memory;
            for generation in [young, old] {
                let gone = generation.by_ino.remove(ino).map_or(0, |chunks| chunks.len());
                generation.chunks -= gone;
            }
        }
    }
}

impl Generations {
    fn get(&mut self, ino: Ino, at: u64) -> Option<Arc<Chunk>> {
        let young = self.young.by_ino.get(&ino).and_then(|chunks| chunks.get(&at));
        if let Some(sums) = young {
            return Some(Arc::clone(sums));
        }
        let sums = Arc::clone(self.old.by_ino.get(&ino)?.get(&at)?);
        self.insert(ino, at, Arc::clone(&sums));
        Some(sums)
    }

    fn insert(&mut self, ino: Ino, at: u64, sums: Arc<Chunk>) {
        if self.young.chunks >= GENERATION_CHUNKS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        if self.young.by_ino.entry(ino).or_default().insert(at, sums).is_none() {
            self.young.chunks += 1;
        }
    }
}
