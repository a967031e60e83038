//! Reads a streamOptimized VMDK back, by its markers alone: what an importer does that cannot
//! seek. Checks every promise that the format makes about itself.

use std::io::{Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::ZlibDecoder;

use crate::vmdk::{
    DIRECTORY_AT_END, GRAIN_BYTES, GRAIN_SECTORS, MAGIC, SECTOR_BYTES, TABLE_ENTRIES,
};

/// A compressed grain may grow by a little; more than this is damage.
const COMPRESSED_BYTES_MAX: usize = 2 * GRAIN_BYTES;

/// Writes the disk to `raw`, which should be empty; zero grains are left as holes. Returns the
/// capacity in bytes.
///
/// # Errors
/// When the stream is cut short, damaged or of another kind.
pub fn unpack(vmdk: &mut dyn Read, raw: &mut (impl Write + Seek)) -> Result<u64> {
    let mut reader = Reader { source: vmdk, sector: 0 };
    let header = reader.sectors(1)?;
    let (capacity, directory) = parse_header(&header)?;
    ensure!(directory == DIRECTORY_AT_END, "the VMDK is no stream: its directory is at the head");
    let overhead = u64_at(&header, 64)?;
    reader.sectors(overhead - 1)?;
    let mut grains: Vec<u32> = Vec::new();
    let mut expected_tables: Vec<u32> = Vec::new();
    loop {
        let position = u32::try_from(reader.sector)?;
        let block = reader.sectors(1)?;
        let (value, size) = (u64_at(&block, 0)?, usize::try_from(u32_at(&block, 8)?)?);
        if size > 0 {
            let grain = reader.grain(&block, size)?;
            ensure!(value + GRAIN_SECTORS <= capacity, "a grain lies outside of the disk");
            raw.seek(SeekFrom::Start(value * SECTOR_BYTES))?;
            raw.write_all(&grain)?;
            let index = usize::try_from(value / GRAIN_SECTORS)?;
            if grains.len() <= index {
                grains.resize(index + 1, 0);
            }
            grains[index] = position;
            continue;
        }
        match u32_at(&block, 12)? {
            0 => bail!("the VMDK ends without a footer"),
            1 => {
                expected_tables.push(u32::try_from(reader.sector)?);
                let table = reader.sectors(value)?;
                check_table(&table, &grains)?;
            }
            2 => {
                let start = reader.sector;
                let listed: Vec<u8> = reader.sectors(value)?;
                let found: Vec<u32> = entries(&listed).filter(|entry| *entry != 0).collect();
                ensure!(found == expected_tables, "the directory does not list the grain tables");
                reader.footer(capacity, start)?;
                raw.flush()?;
                return Ok(capacity * SECTOR_BYTES);
            }
            other => bail!("the VMDK has an unexpected marker of type {other}"),
        }
    }
}

struct Reader<'a> {
    source: &'a mut dyn Read,
    sector: u64,
}

impl Reader<'_> {
    fn sectors(&mut self, count: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(count * SECTOR_BYTES)?];
        self.source.read_exact(&mut bytes).context("the VMDK is cut short")?;
        self.sector += count;
        Ok(bytes)
    }

    fn grain(&mut self, first: &[u8], size: usize) -> Result<Vec<u8>> {
        ensure!(size <= COMPRESSED_BYTES_MAX, "a grain of {size} bytes cannot be");
        let mut packed = first[12..].to_vec();
        let total = 12 + size;
        if total > first.len() {
            let more = u64::try_from(total.div_ceil(512) - 1)?;
            packed.extend(self.sectors(more)?);
        }
        packed.truncate(size);
        let mut grain = Vec::with_capacity(GRAIN_BYTES);
        ZlibDecoder::new(packed.as_slice())
            .take(u64::try_from(GRAIN_BYTES)? + 1)
            .read_to_end(&mut grain)
            .context("a grain is damaged")?;
        ensure!(grain.len() == GRAIN_BYTES, "a grain holds {} bytes", grain.len());
        Ok(grain)
    }

    fn footer(&mut self, capacity: u64, directory: u64) -> Result<()> {
        let marker = self.sectors(1)?;
        ensure!(u32_at(&marker, 12)? == 3, "the directory is not followed by the footer");
        let footer = parse_header(&self.sectors(1)?)?;
        ensure!(footer == (capacity, directory), "the footer does not match the stream");
        let end = self.sectors(1)?;
        ensure!(end.iter().all(|byte| *byte == 0), "the VMDK lacks its end-of-stream marker");
        let mut rest = [0];
        ensure!(self.source.read(&mut rest)? == 0, "there is something behind the end of the VMDK");
        Ok(())
    }
}

/// Capacity in sectors, and the directory's sector.
fn parse_header(block: &[u8]) -> Result<(u64, u64)> {
    ensure!(&block[..4] == MAGIC, "this is not a VMDK");
    ensure!(u64_at(block, 20)? == GRAIN_SECTORS, "the VMDK has grains of another size");
    Ok((u64_at(block, 12)?, u64_at(block, 56)?))
}

/// A grain table follows its grains: it must name the positions where the newest were seen.
fn check_table(table: &[u8], grains: &[u32]) -> Result<()> {
    let first = grains.len().saturating_sub(1) / TABLE_ENTRIES * TABLE_ENTRIES;
    for (index, entry) in entries(table).enumerate() {
        let seen = grains.get(first + index).copied().unwrap_or(0);
        ensure!(entry == seen, "a grain table points at {entry}, the grain is at {seen}");
    }
    Ok(())
}

fn entries(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes
        .chunks_exact(4)
        .map(|entry| u32::from_le_bytes(entry.try_into().expect("chunks_exact gives four bytes")))
}

fn u32_at(block: &[u8], offset: usize) -> Result<u32> {
    let bytes = block.get(offset..offset + 4).context("the VMDK is cut short")?;
    Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
}

fn u64_at(block: &[u8], offset: usize) -> Result<u64> {
    let bytes = block.get(offset..offset + 8).context("the VMDK is cut short")?;
    Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
}
