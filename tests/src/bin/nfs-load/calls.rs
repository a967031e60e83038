//! One call per operation, for a given time: NULL, GETATTR, LOOKUP over a set of files.
use std::{
    ffi::CString,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    call::Call,
    client::Client,
    engine::{self, Progress, Work},
    files::file_name,
    reply::{Failure, Handle, Reply},
};

/// Which call.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Procedure {
    /// Nothing but the RPC.
    Null,
    /// By handle.
    Getattr,
    /// By name.
    Lookup,
}

/// The work; make it right before it is run, as its time begins then.
pub(crate) struct Calls {
    procedure: Procedure,
    directory: Handle,
    files: Vec<(CString, Handle)>,
    /// Which file each job is at.
    at: Vec<usize>,
    next: usize,
    end: Instant,
}

impl Calls {
    /// Looks the files up, which must be there.
    pub(crate) fn new(
        client: &mut Client,
        procedure: Procedure,
        directory: Handle,
        files: usize,
        depth: usize,
    ) -> Result<Self> {
        let mut found = Vec::with_capacity(files);
        for number in 0..files {
            let name = file_name(number);
            match engine::success("LOOKUP", client.call(&Call::Lookup(&directory, &name))?)? {
                Reply::Handle(handle) => found.push((name, handle)),
                other => bail!("LOOKUP brought {other:?}"),
            }
        }
        let end = Instant::now();
        Ok(Self { procedure, directory, files: found, at: vec![0; depth], next: 0, end })
    }

    /// Sets the time during which operations are begun.
    pub(crate) fn run_for(mut self, time: Duration) -> Self {
        self.end = Instant::now() + time;
        self
    }
}

impl Work for Calls {
    fn begin(&mut self, job: usize) -> bool {
        self.next += 1;
        self.at[job] = self.next % self.files.len().max(1);
        Instant::now() < self.end
    }

    fn call(&self, job: usize) -> Call<'_> {
        match (self.procedure, self.files.get(self.at[job])) {
            (Procedure::Getattr, Some((_, handle))) => Call::Getattr(handle),
            (Procedure::Lookup, Some((name, _))) => Call::Lookup(&self.directory, name),
            (Procedure::Null, _) | (_, None) => Call::Null,
        }
    }

    fn reply(&mut self, _job: usize, result: Result<Reply, Failure>) -> Result<Progress> {
        engine::success("call", result)?;
        Ok(Progress::Complete { bytes: 0 })
    }
}
