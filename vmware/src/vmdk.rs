//! Writes a streamOptimized VMDK (VMware Virtual Disk Format 5.0): compressed grains in order,
//! grain tables behind their grains, directory and footer at the end. One pass, no seeking,
//! deterministic.

use std::io::{Read, Write};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Sector size, in bytes.
pub(crate) const SECTOR_BYTES: u64 = 512;
/// A grain is 128 sectors: what VMware's own tools write.
pub(crate) const GRAIN_SECTORS: u64 = 128;
/// Grain size, in bytes.
pub(crate) const GRAIN_BYTES: usize = 1 << 16;
/// Entries of a grain table.
pub(crate) const TABLE_ENTRIES: usize = 512;
/// `SPARSE_MAGICNUMBER`, "KDMV".
pub(crate) const MAGIC: &[u8; 4] = b"KDMV";
/// In the header: the directory's position stands in the footer.
pub(crate) const DIRECTORY_AT_END: u64 = u64::MAX;

/// Sectors of header, descriptor and padding before the first grain.
const OVERHEAD_SECTORS: u64 = GRAIN_SECTORS;
const DESCRIPTOR_SECTORS: u64 = 20;
/// Valid newline test, has compressed grains, has markers.
const FLAGS: u32 = 0x0003_0001;
/// The data is already compressed for the most part: more effort would gain nothing.
const LEVEL: Compression = Compression::new(6);

#[derive(Debug, Clone, Copy)]
enum Marker {
    EndOfStream = 0,
    GrainTable = 1,
    GrainDirectory = 2,
    Footer = 3,
}

/// Writes `capacity` bytes of disk (rounded up to whole grains), read from `disk`; where `disk`
/// ends early the rest is zero. `name` is the file's own name. `progress` gets the bytes read.
///
/// # Errors
/// When reading or writing fails, or the result would pass 2 TiB.
pub fn write(
    disk: &mut dyn Read,
    capacity: u64,
    name: &str,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let grains = capacity.div_ceil(GRAIN_SECTORS * SECTOR_BYTES);
    let sectors = grains * GRAIN_SECTORS;
    let mut stream = Stream { out, sector: 0 };
    stream.block(&header(sectors, DIRECTORY_AT_END))?;
    let mut text = descriptor(sectors, name).into_bytes();
    text.resize(usize::try_from(DESCRIPTOR_SECTORS * SECTOR_BYTES)?, 0);
    stream.block(&text)?;
    let padding = OVERHEAD_SECTORS - 1 - DESCRIPTOR_SECTORS;
    stream.block(&vec![0; usize::try_from(padding * SECTOR_BYTES)?])?;

    let mut directory: Vec<u32> = Vec::new();
    let mut grain_number = 0;
    let mut at_end = false;
    while grain_number < grains {
        let mut table = [0_u32; TABLE_ENTRIES];
        let used = usize::try_from((grains - grain_number).min(512))?;
        for entry in table.iter_mut().take(used) {
            if !at_end {
                let mut grain = vec![0; GRAIN_BYTES];
                at_end = fill(disk, &mut grain)? < GRAIN_BYTES;
                progress(grain_number * GRAIN_SECTORS * SECTOR_BYTES);
                if grain.iter().any(|byte| *byte != 0) {
                    *entry = stream.grain(grain_number * GRAIN_SECTORS, &grain)?;
                }
            }
            grain_number += 1;
        }
        // A table without grains is left out: a zero in the directory says so.
        let position = if table == [0; TABLE_ENTRIES] {
            0
        } else {
            stream.table(Marker::GrainTable, &table)?
        };
        directory.push(position);
    }
    let directory_sector = stream.table(Marker::GrainDirectory, &directory)?;
    stream.marker(1, Marker::Footer)?;
    stream.block(&header(sectors, u64::from(directory_sector)))?;
    stream.marker(0, Marker::EndOfStream)?;
    stream.out.flush()?;
    Ok(())
}

struct Stream<'a> {
    out: &'a mut dyn Write,
    /// Where the next byte goes.
    sector: u64,
}

impl Stream<'_> {
    /// Writes bytes, padded to whole sectors.
    fn block(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes)?;
        let padded = bytes.len().next_multiple_of(512);
        self.out.write_all(&[0; 512][..padded - bytes.len()])?;
        self.sector += u64::try_from(padded)? / SECTOR_BYTES;
        Ok(())
    }

    /// Position for a 32-bit table entry.
    fn position(&self) -> Result<u32> {
        u32::try_from(self.sector).context("a streamOptimized VMDK cannot pass 2 TiB")
    }

    /// `SparseGrainLBAHeader`: sector, size, compressed data.
    fn grain(&mut self, first_sector: u64, grain: &[u8]) -> Result<u32> {
        let position = self.position()?;
        let mut encoder = ZlibEncoder::new(Vec::new(), LEVEL);
        encoder.write_all(grain)?;
        let compressed = encoder.finish()?;
        let mut block = Vec::with_capacity(12 + compressed.len());
        block.extend_from_slice(&first_sector.to_le_bytes());
        block.extend_from_slice(&u32::try_from(compressed.len())?.to_le_bytes());
        block.extend_from_slice(&compressed);
        self.block(&block)?;
        Ok(position)
    }

    fn table(&mut self, marker: Marker, entries: &[u32]) -> Result<u32> {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        self.marker(u64::try_from(bytes.len())?.div_ceil(SECTOR_BYTES), marker)?;
        let position = self.position()?;
        self.block(&bytes)?;
        Ok(position)
    }

    /// `SparseMetaDataMarker`: number of sectors that follow, size 0, type.
    fn marker(&mut self, sectors: u64, marker: Marker) -> Result<()> {
        let mut block = Vec::with_capacity(512);
        block.extend_from_slice(&sectors.to_le_bytes());
        block.extend_from_slice(&0_u32.to_le_bytes());
        block.extend_from_slice(&(marker as u32).to_le_bytes());
        block.resize(512, 0);
        self.block(&block)
    }
}

/// `SparseExtentHeader`, version 3.
fn header(sectors: u64, directory_sector: u64) -> Vec<u8> {
    let mut block = Vec::with_capacity(512);
    block.extend_from_slice(MAGIC);
    block.extend_from_slice(&3_u32.to_le_bytes());
    block.extend_from_slice(&FLAGS.to_le_bytes());
    block.extend_from_slice(&sectors.to_le_bytes());
    block.extend_from_slice(&GRAIN_SECTORS.to_le_bytes());
    block.extend_from_slice(&1_u64.to_le_bytes()); // descriptor's sector
    block.extend_from_slice(&DESCRIPTOR_SECTORS.to_le_bytes());
    block.extend_from_slice(&512_u32.to_le_bytes()); // entries of a grain table
    block.extend_from_slice(&0_u64.to_le_bytes()); // no redundant directory
    block.extend_from_slice(&directory_sector.to_le_bytes());
    block.extend_from_slice(&OVERHEAD_SECTORS.to_le_bytes());
    block.push(0); // clean shutdown
    block.extend_from_slice(b"\n \r\n"); // shows damage by text-mode transfers
    block.extend_from_slice(&1_u16.to_le_bytes()); // deflate
    block.resize(512, 0);
    block
}

fn descriptor(sectors: u64, name: &str) -> String {
    // A geometry of 255 heads and 63 sectors, as BIOSes make it up.
    let cylinders = (sectors / (255 * 63)).min(65_535);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=7ed6a7e0\nparentCID=ffffffff\n\
         createType=\"streamOptimized\"\n\n# Extent description\n\
         RW {sectors} SPARSE \"{name}\"\n\n# The Disk Data Base\n#DDB\n\n\
         ddb.adapterType = \"lsilogic\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n\
         ddb.toolsInstallType = \"4\"\nddb.toolsVersion = \"2147483647\"\n\
         ddb.virtualHWVersion = \"4\"\n"
    )
}

/// Reads until `buffer` is full or the source ends; returns the count.
fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match source.read(&mut buffer[count..]).context("cannot read the disk image")? {
            0 => break,
            read => count += read,
        }
    }
    Ok(count)
}
