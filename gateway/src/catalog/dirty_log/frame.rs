//! Frames of the log: each is one batch, whole or not at all.
//!
//! 56 bytes of header, the entries as JSON, the carried bytes, zeros up to a multiple of 8. The checksum is
//! of all of it. Behind the last frame there are zeros, or what a cut-off write has left of one.
//!
//! A power cut may keep a frame and lose one before it, as long as neither was synced. So each frame says up to
//! where the file was durable when it was written: a hole before that is damage, one behind it is the end.
use std::{fs::File, io, os::unix::fs::FileExt};

use super::entry::Entry;

const MAGIC: [u8; 8] = *b"TIDEDIRT";
/// Bytes of a header.
pub(super) const HEADER: usize = 56;
const SUM_AT: usize = 48;
/// Frames begin at multiples of this.
const ALIGN: u64 = 8;
const ALIGN_BYTES: usize = 8;
/// Bytes that are read at a time.
const WINDOW: usize = 1 << 20;

/// A batch as it was read.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// Its number; a later one of the same number takes its place.
    pub(super) seq: u64,
    pub(super) entries: Vec<Entry>,
    /// Where the carried bytes begin in the file.
    pub(super) carried_at: u64,
}

/// What a frame's header says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// The file's number.
    pub(super) generation: u64,
    /// The batch's number.
    pub(super) seq: u64,
    /// Up to where the file is durable.
    pub(super) durable: u64,
}

/// The frame of a batch.
///
/// # Errors
/// Entries that cannot be written as JSON: there are none.
pub(super) fn encode(head: Head, entries: &[Entry], carried: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, entries)?;
    let entries_len = (frame.len() - HEADER) as u64;
    frame.extend_from_slice(carried);
    frame.resize(frame.len().next_multiple_of(ALIGN_BYTES), 0);
    frame[..8].copy_from_slice(&MAGIC);
    let Head { generation, seq, durable } = head;
    let numbers = [generation, seq, entries_len, carried.len() as u64, durable];
    for (at, number) in (8..).step_by(8).zip(numbers) {
        frame[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    let sum = checksum(&frame);
    frame[SUM_AT..HEADER].copy_from_slice(&sum.to_le_bytes());
    Ok(frame)
}

/// Of everything but itself.
fn checksum(frame: &[u8]) -> u64 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    digest.update(&frame[..SUM_AT]);
    digest.update(&frame[HEADER..]);
    digest.finalize()
}

fn number(frame: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&frame[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// A whole frame.
struct Frame {
    batch: Batch,
    durable: u64,
    len: u64,
}

/// What frames are read from.
pub(super) trait Source {
    /// Its length.
    ///
    /// # Errors
    /// Of the disk.
    fn len(&self) -> io::Result<u64>;

    /// Reads all of `bytes` from `at` on.
    ///
    /// # Errors
    /// Of the disk, and when there are fewer.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
}

impl Source for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(bytes, at)
    }
}

/// Reads the frames of a file in their order.
#[derive(Debug)]
pub(super) struct Reader<'f, F> {
    file: &'f F,
    len: u64,
    generation: u64,
    /// What was read last, from `window_at` on.
    window: Vec<u8>,
    window_at: u64,
    at: u64,
    /// Where the last whole frame ends.
    pub(super) end: u64,
    /// Whether there is a hole behind `end`, with frames behind that.
    is_torn: bool,
    /// Bytes from the end to where the file was durable: the log is damaged.
    pub(super) damaged: u64,
}

impl<'f, F: Source> Reader<'f, F> {
    /// Of the log's file number `generation`.
    ///
    /// # Errors
    /// Of the disk.
    pub(super) fn new(file: &'f F, generation: u64) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self {
            file,
            len,
            generation,
            window: Vec::new(),
            window_at: 0,
            at: 0,
            end: 0,
            is_torn: false,
            damaged: 0,
        })
    }

    /// The next whole frame. What is behind a hole is looked at and not told.
    ///
    /// # Errors
    /// Of the disk.
    pub(super) fn next(&mut self) -> io::Result<Option<Batch>> {
        while self.at + HEADER as u64 <= self.len {
            let Some(Frame { batch, durable, len }) = self.frame()? else {
                self.at += ALIGN;
                continue;
            };
            self.damaged = self.damaged.max(durable.saturating_sub(self.end));
            self.is_torn |= self.at > self.end;
            self.at += len;
            if !self.is_torn {
                self.end = self.at;
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// The frame here, if it is whole.
    fn frame(&mut self) -> io::Result<Option<Frame>> {
        let (at, len, generation) = (self.at, self.len, self.generation);
        let header = self.bytes(at, HEADER)?;
        if header[..8] != MAGIC || number(header, 8) != generation {
            return Ok(None);
        }
        let (seq, entries, carried) = (number(header, 16), number(header, 24), number(header, 32));
        let (durable, sum) = (number(header, 40), number(header, SUM_AT));
        let whole = (HEADER as u64).checked_add(entries).and_then(|n| n.checked_add(carried));
        let Some(whole) = whole.map(|n| n.next_multiple_of(ALIGN)).filter(|n| *n <= len - at)
        else {
            return Ok(None);
        };
        let Ok(bytes) = usize::try_from(whole) else { return Ok(None) };
        let frame = self.bytes(at, bytes)?;
        if checksum(frame) != sum {
            return Ok(None);
        }
        let entries_end = HEADER + usize::try_from(entries).map_err(io::Error::other)?;
        // What an intact frame says in words that are not known, a newer gateway has written.
        let said = serde_json::from_slice(&frame[HEADER..entries_end])?;
        let carried_at = at + entries_end as u64;
        Ok(Some(Frame { batch: Batch { seq, entries: said, carried_at }, durable, len: whole }))
    }

    /// `len` bytes from `at` on, which are in the file.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let is_here =
            at >= self.window_at && at + len as u64 <= self.window_at + self.window.len() as u64;
        if !is_here {
            let left = usize::try_from(self.len - at).unwrap_or(usize::MAX);
            self.window.resize(len.max(WINDOW).min(left), 0);
            self.file.read_at(&mut self.window, at)?;
            self.window_at = at;
        }
        let from = usize::try_from(at - self.window_at).map_err(io::Error::other)?;
        Ok(&self.window[from..from + len])
    }
}
