//! Writing one large file, and reading it in sequence or at random places.
use std::{
    ffi::CString,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use e2e::bench::content::{BLOCK_MAX, PERIOD, content, word};

use crate::{
    call::Call,
    client::Client,
    engine::{self, Progress, Tally, Work},
    reply::{Failure, Handle, Reply},
};

/// Blocks of a file that are handed out to jobs.
#[derive(Debug)]
struct Blocks {
    file: Handle,
    bytes: u64,
    block: u32,
    next: u64,
    /// The block that each job is at.
    at: Vec<u64>,
}

impl Blocks {
    fn new(file: Handle, bytes: u64, block: u32, depth: usize) -> Result<Self> {
        let whole = block > 0 && bytes.is_multiple_of(block.into()) && block.is_multiple_of(8);
        ensure!(whole && block <= BLOCK_MAX, "{bytes} bytes in blocks of {block}");
        Ok(Self { file, bytes, block, next: 0, at: vec![0; depth] })
    }

    fn begin(&mut self, job: usize) -> bool {
        self.at[job] = self.next;
        self.next += u64::from(self.block);
        self.at[job] < self.bytes
    }
}

struct Write {
    blocks: Blocks,
    /// Of all replies, which must be the same (RFC 1813 §3.3.7).
    verifier: Option<[u8; 8]>,
}

impl Work for Write {
    fn begin(&mut self, job: usize) -> bool {
        self.blocks.begin(job)
    }

    fn call(&self, job: usize) -> Call<'_> {
        let blocks = &self.blocks;
        let offset = blocks.at[job];
        let data = content(offset, blocks.block as usize);
        Call::Write { file: &blocks.file, offset, data, stable: false }
    }

    fn reply(&mut self, _job: usize, result: Result<Reply, Failure>) -> Result<Progress> {
        match engine::success("WRITE", result)? {
            Reply::Written { count, verifier, .. } if count == self.blocks.block => {
                let first = *self.verifier.get_or_insert(verifier);
                ensure!(first == verifier, "the write verifier changed");
                Ok(Progress::Complete { bytes: count.into() })
            }
            other => bail!("WRITE of {} bytes brought {other:?}", self.blocks.block),
        }
    }
}

/// Makes a file, which must not be there.
pub(crate) fn create(client: &mut Client, directory: &Handle, name: &str) -> Result<Handle> {
    let name = CString::new(name)?;
    match engine::success("CREATE", client.call(&Call::Create(directory, &name))?)? {
        Reply::Handle(file) => Ok(file),
        other => bail!("CREATE brought {other:?}"),
    }
}

/// Finds a file that must be there, `bytes` long.
pub(crate) fn open(
    client: &mut Client,
    directory: &Handle,
    name: &str,
    bytes: u64,
) -> Result<Handle> {
    let name = CString::new(name)?;
    let found = engine::success("LOOKUP", client.call(&Call::Lookup(directory, &name))?)?;
    let Reply::Handle(file) = found else { bail!("LOOKUP brought {found:?}") };
    match engine::success("GETATTR", client.call(&Call::Getattr(&file))?)? {
        Reply::Size(size) if size == bytes => Ok(file),
        other => bail!("GETATTR of a file of {bytes} bytes brought {other:?}"),
    }
}

/// Writes the file in sequence, unstable, and commits it; the commit is part of the time.
pub(crate) fn write(
    client: &mut Client,
    file: Handle,
    bytes: u64,
    block: u32,
    depth: usize,
) -> Result<Tally> {
    let started = Instant::now();
    let mut work = Write { blocks: Blocks::new(file, bytes, block, depth)?, verifier: None };
    let mut tally = engine::run(client, depth, &mut work)?;
    match engine::success("COMMIT", client.call(&Call::Commit(&file))?)? {
        Reply::Committed { verifier } => {
            ensure!(work.verifier == Some(verifier), "the write verifier changed at COMMIT");
        }
        other => bail!("COMMIT brought {other:?}"),
    }
    tally.elapsed = started.elapsed();
    Ok(tally)
}

/// Which blocks are read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Each once, in order.
    Sequence,
    /// Any, for so long.
    Random(Duration),
}

struct Read {
    blocks: Blocks,
    /// Reading at random ends here.
    end: Option<Instant>,
    seed: u64,
}

impl Work for Read {
    fn begin(&mut self, job: usize) -> bool {
        let Some(end) = self.end else { return self.blocks.begin(job) };
        self.seed = word(self.seed % PERIOD as u64) ^ self.seed.rotate_left(1);
        let block = u64::from(self.blocks.block);
        self.blocks.at[job] = self.seed % (self.blocks.bytes / block) * block;
        Instant::now() < end
    }

    fn call(&self, job: usize) -> Call<'_> {
        let blocks = &self.blocks;
        Call::Read { file: &blocks.file, offset: blocks.at[job], count: blocks.block }
    }

    fn reply(&mut self, job: usize, result: Result<Reply, Failure>) -> Result<Progress> {
        let (offset, block) = (self.blocks.at[job], self.blocks.block);
        match engine::success("READ", result)? {
            Reply::Read { count, ends } if count == block => {
                let right = [word(offset), word(offset + u64::from(block) - 8)];
                ensure!(ends == Some(right), "READ at {offset} brought other bytes than written");
                Ok(Progress::Complete { bytes: count.into() })
            }
            other => bail!("READ of {block} bytes at {offset} brought {other:?}"),
        }
    }
}

/// Reads a file of [`write`], of which every length and the ends of every block are checked.
pub(crate) fn read(
    client: &mut Client,
    file: Handle,
    bytes: u64,
    block: u32,
    depth: usize,
    order: Order,
) -> Result<Tally> {
    let blocks = Blocks::new(file, bytes, block, depth)?;
    let end = match order {
        Order::Sequence => None,
        Order::Random(time) => Some(Instant::now() + time),
    };
    engine::run(client, depth, &mut Read { blocks, end, seed: 1 })
}
