//! What a disk holds after its power was cut: everything that it had made durable, and of what it had only taken
//! as much as the cut leaves.
use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt, sync::Arc};

use anyhow::Result;

use super::log::{Logged, Request, SECTOR, WriteLog};

/// Bytes kept together.
const CHUNK: usize = 64 << 10;
const SECTOR_BYTES: usize = 512;

/// The bytes of a disk, zeros left out. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    chunks: BTreeMap<u64, Arc<Vec<u8>>>,
}

impl Disk {
    /// Takes `bytes` at `at`.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let place = at + done as u64;
            let (number, within) = (place / CHUNK as u64, within_chunk(place));
            let part = &bytes[done..bytes.len().min(done + CHUNK - within)];
            done += part.len();
            let is_new = !self.chunks.contains_key(&number);
            if is_new && part.iter().all(|byte| *byte == 0) {
                continue;
            }
            let chunk = self.chunks.entry(number).or_insert_with(|| Arc::new(vec![0; CHUNK]));
            Arc::make_mut(chunk)[within..within + part.len()].copy_from_slice(part);
        }
    }

    /// Makes `file` this disk, of `size` bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_to(&self, file: &File, size: u64) -> Result<()> {
        file.set_len(0)?;
        file.set_len(size)?;
        for (number, chunk) in &self.chunks {
            file.write_all_at(chunk, number * CHUNK as u64)?;
        }
        Ok(())
    }

    /// The bytes at `at`, for tests and comparisons.
    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let byte = |place: u64| {
            let chunk = self.chunks.get(&(place / CHUNK as u64));
            chunk.map_or(0, |chunk| chunk[within_chunk(place)])
        };
        (at..at + len as u64).map(byte).collect()
    }
}

/// What a cut takes of the writes that no flush has made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: the disk was quicker than the cut.
    Nothing,
    /// All of them.
    Everything,
    /// A random half of them; of one that stays, a random run of sectors is not written (torn). The number is
    /// where the choices begin.
    Some(u64),
}

#[derive(Clone, Debug)]
struct Pending {
    at: u64,
    bytes: Arc<Vec<u8>>,
    forced: bool,
    /// Flushes since it was taken.
    flushes: usize,
}

/// A disk whose log is played.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    durable: Disk,
    pending: Vec<Pending>,
    /// How many flushes the disk answers before it does the first: 0 for an honest one.
    lies: usize,
}

impl Replay {
    /// A disk that holds `durable`.
    pub fn new(durable: Disk) -> Self {
        Self { durable, ..Self::default() }
    }

    /// The same disk as one that does each flush only when so many more were asked for: it lies.
    #[must_use]
    pub fn lying(mut self, lies: usize) -> Self {
        self.lies = lies;
        self
    }

    /// Asks the disk what the log says next.
    ///
    /// # Errors
    /// When the log lacks the bytes.
    pub fn play(&mut self, log: &WriteLog, logged: &Logged) -> Result<()> {
        match &logged.request {
            Request::Write { at, bytes, forced } => {
                let bytes = Arc::new(log.bytes(bytes)?);
                self.pending.push(Pending { at: *at, bytes, forced: *forced, flushes: 0 });
            }
            Request::Flush => {
                for write in &mut self.pending {
                    write.flushes += 1;
                }
                let done = self.pending.iter().take_while(|write| write.flushes > self.lies);
                for write in self.pending.drain(..done.count()) {
                    self.durable.write(write.at, &write.bytes);
                }
            }
        }
        Ok(())
    }

    /// Writes that a cut may take.
    pub fn at_stake(&self) -> usize {
        self.pending.len()
    }

    /// Bytes of those.
    pub fn bytes_at_stake(&self) -> u64 {
        self.pending.iter().map(|write| write.bytes.len() as u64).sum()
    }

    /// The disk after a cut now.
    pub fn cut(&self, loss: Loss) -> Disk {
        let mut disk = self.durable.clone();
        let mut dice = Dice(match loss {
            Loss::Some(seed) => seed,
            Loss::Nothing | Loss::Everything => 0,
        });
        let torn = (!self.pending.is_empty()).then(|| dice.below(self.pending.len() as u64));
        for (number, write) in self.pending.iter().enumerate() {
            match loss {
                _ if write.forced && self.lies == 0 => disk.write(write.at, &write.bytes),
                Loss::Nothing => disk.write(write.at, &write.bytes),
                Loss::Everything => {}
                Loss::Some(_) if torn == Some(number as u64) => tear(&mut disk, write, &mut dice),
                Loss::Some(_) => {
                    if dice.below(2) == 0 {
                        disk.write(write.at, &write.bytes);
                    }
                }
            }
        }
        disk
    }
}

fn within_chunk(place: u64) -> usize {
    usize::try_from(place % CHUNK as u64).expect("less than a chunk")
}

/// Writes all but a random run of sectors.
fn tear(disk: &mut Disk, write: &Pending, dice: &mut Dice) {
    let sectors = write.bytes.len() as u64 / SECTOR;
    let begin = dice.below(sectors);
    let end = begin + 1 + dice.below(sectors - begin);
    for (number, sector) in write.bytes.chunks(SECTOR_BYTES).enumerate() {
        if !(begin..end).contains(&(number as u64)) {
            disk.write(write.at + number as u64 * SECTOR, sector);
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power::log::written;

    fn played(lies: usize) -> Replay {
        let file = written(&[
            (0, &[1; 1024], 0),
            (0, &[], 1),
            (1, &[2; 512], 0),
            (4, &[3; 4096], 0),
            (9, &[4; 512], 2),
        ]);
        let mut log = WriteLog::open(file.path()).unwrap();
        let end = log.len().unwrap();
        let mut replay = Replay::new(Disk::default()).lying(lies);
        while let Some(logged) = log.next(end).unwrap() {
            replay.play(&log, &logged).unwrap();
        }
        replay
    }

    #[test]
    fn what_was_flushed_stays_and_the_rest_may_go() {
        let replay = played(0);
        assert_eq!((replay.at_stake(), replay.bytes_at_stake()), (3, 5120));
        let all = replay.cut(Loss::Nothing);
        assert_eq!((all.read(512, 1), all.read(2048, 1)), (vec![2], vec![3]));
        let none = replay.cut(Loss::Everything);
        assert_eq!((none.read(0, 1024), none.read(2048, 1)), (vec![1; 1024], vec![0]));
        assert_eq!(none.read(9 * 512, 512), [4; 512], "it was forced");
    }

    #[test]
    fn some_is_every_mixture_and_a_torn_write() {
        let replay = played(0);
        let (mut without, mut with, mut torn) = (0, 0, 0);
        for seed in 0..100 {
            let disk = replay.cut(Loss::Some(seed));
            assert_eq!(disk.read(0, 512), [1; 512], "flushed");
            match disk.read(2048, 4096).chunks(512).filter(|sector| **sector == [3; 512]).count() {
                0 => without += 1,
                7 | 8 => with += 1,
                _ => torn += 1,
            }
        }
        assert!(without > 10 && with > 10 && torn > 10, "{without} {with} {torn}");
    }

    #[test]
    fn a_lying_disk_loses_what_was_flushed() {
        let replay = played(1);
        assert_eq!(replay.at_stake(), 4);
        assert_eq!(replay.cut(Loss::Everything).read(0, 10), [0; 10]);
    }

    #[test]
    fn a_disk_becomes_a_file() {
        let mut disk = Disk::default();
        disk.write(CHUNK as u64 - 1, b"ab");
        disk.write(3 * CHUNK as u64, &[0; 10]);
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"old", 0).unwrap();
        disk.write_to(&file, 4 * CHUNK as u64).unwrap();
        let mut bytes = vec![0; 4 * CHUNK];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes[CHUNK - 2..CHUNK + 2], b"\0ab\0");
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 2);
    }
}
