//! Many files in one directory: made, removed, listed.
use std::{
    ffi::{CStr, CString},
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use e2e::bench::content::content;

use crate::{
    call::Call,
    client::{Client, NOT_FOUND},
    engine::{self, Progress, Tally, Work},
    reply::{Failure, Handle, Page, Reply},
};

/// The name of a directory's file number `number`.
pub(crate) fn file_name(number: usize) -> CString {
    CString::new(format!("f{number:08}")).expect("digits are no zero byte")
}

/// How a new file's bytes reach the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Durability {
    /// One WRITE FILE_SYNC: what Linux makes of a small file that is closed.
    FileSync,
    /// WRITE UNSTABLE, then COMMIT.
    Commit,
    /// No bytes: CREATE alone.
    Empty,
}

/// Hands the numbers of files out to jobs.
#[derive(Debug)]
struct Numbers {
    count: usize,
    next: usize,
    /// The name of each job's file.
    names: Vec<CString>,
}

impl Numbers {
    fn new(count: usize, depth: usize) -> Self {
        Self { count, next: 0, names: vec![CString::default(); depth] }
    }

    fn begin(&mut self, job: usize) -> bool {
        if self.next == self.count {
            return false;
        }
        self.names[job] = file_name(self.next);
        self.next += 1;
        true
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Lookup,
    Create,
    Write(Handle),
    Commit(Handle, [u8; 8]),
}

struct Create {
    directory: Handle,
    size: u32,
    durability: Durability,
    numbers: Numbers,
    steps: Vec<Step>,
    say_progress: bool,
    said: Instant,
}

impl Work for Create {
    fn begin(&mut self, job: usize) -> bool {
        self.steps[job] = Step::Lookup;
        if self.say_progress && self.said.elapsed() > Duration::from_secs(20) {
            self.said = Instant::now();
            eprintln!(" {} of {} files", self.numbers.next, self.numbers.count);
        }
        self.numbers.begin(job)
    }

    fn call(&self, job: usize) -> Call<'_> {
        let name = &self.numbers.names[job];
        match &self.steps[job] {
            Step::Lookup => Call::Lookup(&self.directory, name),
            Step::Create => Call::Create(&self.directory, name),
            Step::Write(file) => Call::Write {
                file,
                offset: 0,
                data: content(0, self.size as usize),
                stable: self.durability == Durability::FileSync,
            },
            Step::Commit(file, _) => Call::Commit(file),
        }
    }

    fn reply(&mut self, job: usize, result: Result<Reply, Failure>) -> Result<Progress> {
        let complete = Progress::Complete { bytes: self.size.into() };
        self.steps[job] = match (self.steps[job], result) {
            (Step::Lookup, Err(Failure::Status(NOT_FOUND))) => Step::Create,
            (Step::Create, Ok(Reply::Handle(_))) if self.durability == Durability::Empty => {
                return Ok(complete);
            }
            (Step::Create, Ok(Reply::Handle(file))) => Step::Write(file),
            (Step::Write(file), Ok(Reply::Written { count, stable, verifier })) => {
                ensure!(count == self.size, "WRITE of {} bytes took {count}", self.size);
                if stable {
                    return Ok(complete);
                }
                ensure!(self.durability == Durability::Commit, "FILE_SYNC was answered UNSTABLE");
                Step::Commit(file, verifier)
            }
            (Step::Commit(_, written), Ok(Reply::Committed { verifier })) => {
                ensure!(written == verifier, "the write verifier changed");
                return Ok(complete);
            }
            (step, Ok(reply)) => bail!("at {step:?}: unexpected {reply:?}"),
            (step, Err(failure)) => bail!("at {step:?}: {failure:?}"),
        };
        Ok(Progress::GoesOn)
    }
}

/// What to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewFiles {
    /// How many.
    pub(crate) count: usize,
    /// Bytes of each.
    pub(crate) size: u32,
    /// How they reach the disk.
    pub(crate) durability: Durability,
    /// Says on standard error how far it is.
    pub(crate) say_progress: bool,
}

/// Makes files the way Linux does: LOOKUP, CREATE, WRITE, and COMMIT where that is needed.
pub(crate) fn create(
    client: &mut Client,
    directory: Handle,
    files: NewFiles,
    depth: usize,
) -> Result<Tally> {
    let NewFiles { count, size, durability, say_progress } = files;
    let mut work = Create {
        directory,
        size: if durability == Durability::Empty { 0 } else { size },
        durability,
        numbers: Numbers::new(count, depth),
        steps: vec![Step::Lookup; depth],
        say_progress,
        said: Instant::now(),
    };
    engine::run(client, depth, &mut work)
}

struct Remove {
    directory: Handle,
    numbers: Numbers,
}

impl Work for Remove {
    fn begin(&mut self, job: usize) -> bool {
        self.numbers.begin(job)
    }

    fn call(&self, job: usize) -> Call<'_> {
        Call::Remove(&self.directory, &self.numbers.names[job])
    }

    fn reply(&mut self, _job: usize, result: Result<Reply, Failure>) -> Result<Progress> {
        engine::success("REMOVE", result)?;
        Ok(Progress::Complete { bytes: 0 })
    }
}

/// Removes the files of [`create`].
pub(crate) fn remove(
    client: &mut Client,
    directory: Handle,
    count: usize,
    depth: usize,
) -> Result<Tally> {
    engine::run(client, depth, &mut Remove { directory, numbers: Numbers::new(count, depth) })
}

/// Makes one file or directory another name at the same place.
pub(crate) fn rename(client: &mut Client, from: &CStr, to: &CStr) -> Result<Tally> {
    let root = client.root;
    engine::once(client, "RENAME", &Call::Rename { from: (&root, from), to: (&root, to) })
}

/// What is asked of a listing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Entries {
    /// Each comes with attributes and handle.
    Complete,
    /// Names; attributes and handles may be missing (RFC 1813 §3.3.17).
    Named,
    /// Those that come without attributes or handle are looked up, one after the other, before the next page is
    /// asked for: as `ls -l` does.
    LookedUp,
}

/// Lists the directory once; its entries are the operations, its pages the latencies.
pub(crate) fn list(
    client: &mut Client,
    directory: &Handle,
    count: usize,
    asked: Entries,
) -> Result<Tally> {
    let started = Instant::now();
    let mut tally = Tally::new();
    let mut page = Page::default();
    while !page.end {
        let (cookie, verifier) = (page.cookie, page.verifier);
        let begun = Instant::now();
        let result = client.call(&Call::Readdirplus { directory, cookie, verifier })?;
        tally.latencies.push(begun.elapsed());
        let Reply::Page(next) = engine::success("READDIRPLUS", result)? else {
            bail!("READDIRPLUS brought no page");
        };
        if tally.operations == 0 && next.entries > 0 {
            tally.first = started.elapsed();
        }
        match asked {
            Entries::Complete => {
                let bare = next.bare.len();
                ensure!(bare == 0, "{bare} entries came without attributes or handle");
            }
            Entries::Named => {}
            Entries::LookedUp => {
                for name in &next.bare {
                    engine::success("LOOKUP", client.call(&Call::Lookup(directory, name))?)?;
                }
            }
        }
        ensure!(next.end || next.cookie != cookie, "READDIRPLUS does not get on");
        tally.operations += next.entries;
        page = next;
    }
    tally.elapsed = started.elapsed();
    tally.latencies.sort_unstable();
    let entries = tally.operations;
    ensure!(entries == count as u64, "{entries} entries were listed, {count} were made");
    Ok(tally)
}
