//! The OVA: a USTAR archive (POSIX.1-1988 tar, as DSP0243 1.1 §5.3 demands) with the descriptor
//! first. Writes and reads just what an OVA needs: regular files in one folder.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, bail, ensure};

const BLOCK_BYTES: usize = 512;
/// tar pads the archive to whole records of 20 blocks.
const RECORD_BYTES: u64 = 20 * 512;
/// The size field has 11 octal digits.
const FILE_BYTES_MAX: u64 = (1 << 33) - 1;
/// Time of every member: 2025-01-01, so that the same content gives the same bytes.
const MTIME: u64 = 1_735_689_600;

/// Writes members one after the other.
#[derive(Debug)]
pub struct OvaWriter<W> {
    out: W,
    written: u64,
}

impl<W: Write> OvaWriter<W> {
    /// Begins an archive.
    pub const fn new(out: W) -> Self {
        Self { out, written: 0 }
    }

    /// Appends a file of exactly `size` bytes.
    ///
    /// # Errors
    /// When the name or size does not fit the format, or `content` has another size.
    pub fn append(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<()> {
        let header = header(name, size)?;
        self.out.write_all(&header)?;
        let copied = io::copy(&mut content.take(size), &mut self.out)?;
        ensure!(copied == size, "{name} has {copied} bytes, {size} were promised");
        let padded = size.next_multiple_of(512);
        self.zeros(padded - size)?;
        self.written += 512 + padded;
        Ok(())
    }

    /// Ends the archive and returns the writer under it.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> Result<W> {
        let end = (self.written + 1024).next_multiple_of(RECORD_BYTES);
        self.zeros(end - self.written)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn zeros(&mut self, count: u64) -> io::Result<()> {
        io::copy(&mut io::repeat(0).take(count), &mut self.out).map(|_| ())
    }
}

fn header(name: &str, size: u64) -> Result<[u8; BLOCK_BYTES]> {
    ensure!(!name.is_empty() && name.len() <= 100, "{name:?} is not a name of 1 to 100 bytes");
    ensure!(size <= FILE_BYTES_MAX, "{name} is larger than 8 GiB, the most that USTAR can hold");
    let mut block = [0; BLOCK_BYTES];
    let mut put =
        |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, &format!("{MTIME:011o}"));
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    put(265, "root");
    put(297, "root");
    put(329, "0000000");
    put(337, "0000000");
    let sum = checksum(&block);
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

fn checksum(block: &[u8; BLOCK_BYTES]) -> u32 {
    block.iter().map(|byte| u32::from(*byte)).sum()
}

/// Calls `visit` with name, size and content of every member, in order.
///
/// # Errors
/// When the archive is damaged, or from `visit`.
pub fn read(
    mut archive: impl Read,
    mut visit: impl FnMut(&str, u64, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    loop {
        let mut block = [0; BLOCK_BYTES];
        archive.read_exact(&mut block).context("the OVA is cut short")?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let promised = octal(&block[148..156])?;
        block[148..156].fill(b' ');
        if promised != u64::from(checksum(&block)) || &block[257..262] != b"ustar" {
            bail!("the OVA is damaged, or not a USTAR archive");
        }
        let name_end = block[..100].iter().position(|byte| *byte == 0).unwrap_or(100);
        let name = std::str::from_utf8(&block[..name_end]).context("a name is not UTF-8")?;
        let size = octal(&block[124..136])?;
        let mut content = (&mut archive).take(size);
        visit(name, size, &mut content)?;
        io::copy(&mut content, &mut io::sink())?;
        let padding = size.next_multiple_of(512) - size;
        io::copy(&mut (&mut archive).take(padding), &mut io::sink())?;
    }
}

fn octal(field: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(field).context("a number in the OVA is damaged")?;
    let digits = text.trim_matches(|c: char| c == '\0' || c == ' ');
    u64::from_str_radix(digits, 8).context("a number in the OVA is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut ova = OvaWriter::new(Vec::new());
        ova.append("a.ovf", 5, &mut &b"hello"[..]).expect("it fits");
        ova.append("b.vmdk", 512, &mut &[7; 512][..]).expect("it fits");
        ova.finish().expect("memory takes all")
    }

    #[test]
    fn members_read_back_in_order() {
        let mut members = Vec::new();
        read(sample().as_slice(), |name, size, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            members.push((name.to_owned(), size, bytes));
            Ok(())
        })
        .expect("well-formed");
        assert_eq!(
            members,
            [("a.ovf".to_owned(), 5, b"hello".to_vec()), ("b.vmdk".to_owned(), 512, vec![7; 512])]
        );
    }

    #[test]
    fn the_archive_is_whole_records_and_the_hosts_tar_reads_it() {
        let bytes = sample();
        assert_eq!(bytes.len() % 10240, 0);
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("x.ova");
        std::fs::write(&file, bytes).expect("writable");
        let output =
            std::process::Command::new("tar").arg("-tf").arg(&file).output().expect("tar starts");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a.ovf\nb.vmdk\n");
    }

    #[test]
    fn content_of_another_size_is_refused() {
        let mut ova = OvaWriter::new(Vec::new());
        assert!(ova.append("a", 9, &mut &b"short"[..]).is_err());
    }

    #[test]
    fn a_flipped_bit_in_a_header_is_noticed() {
        let mut bytes = sample();
        bytes[1] ^= 1;
        let error = read(bytes.as_slice(), |_, _, _| Ok(())).expect_err("the checksum is wrong");
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}
