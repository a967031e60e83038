//! The S3 server of all sides: the project's own, in memory, in a process of its own; and how far away it is.
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result};

use crate::{bench::server::Process, seed};

/// Delay of every request over [`Link::Distant`].
const LATENCY_MS: u32 = 20;
/// Most MiB a second of every connection there, in each direction: what one connection to S3 brings.
const RATE_MIB: u32 = 90;

/// How far away S3 is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Link {
    /// On this machine, as fast as it goes.
    Loopback,
    /// 20 ms for each request, 90 MiB/s for each connection.
    Distant,
}

impl Link {
    /// For people.
    pub fn title(self) -> String {
        match self {
            Self::Loopback => "S3 on bare loopback".to_owned(),
            Self::Distant => {
                format!("S3 at {LATENCY_MS} ms per request, {RATE_MIB} MiB/s per connection")
            }
        }
    }

    /// In the report, and for folders.
    pub fn id(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Distant => "distant",
        }
    }

    fn arguments(self) -> Vec<String> {
        let words = match self {
            Self::Loopback => return Vec::new(),
            Self::Distant => format!("--latency-ms {LATENCY_MS} --rate-mib {RATE_MIB}"),
        };
        words.split(' ').map(str::to_owned).collect()
    }
}

/// A running one.
#[derive(Debug)]
pub struct Store {
    /// It.
    pub process: Process,
    /// Its URL.
    pub endpoint: String,
}

/// Starts `program` (`s3-store`) without buckets, with `log` for what it says.
///
/// # Errors
/// When it does not come up.
pub fn start(program: &Path, link: Link, log: &Path) -> Result<Store> {
    let mut command = Command::new(program);
    command.args(["--listen", "127.0.0.1:0", "--region", seed::REGION]);
    command.args(["--access-key", seed::ACCESS_KEY, "--secret-key", seed::SECRET_KEY]);
    command.args(link.arguments()).stdout(Stdio::piped());
    let mut process = Process::start(&mut command, log)?;
    let mut output = BufReader::new(process.child().stdout.take().context("its output")?);
    let mut endpoint = String::new();
    output.read_line(&mut endpoint)?;
    let endpoint = endpoint.trim().to_owned();
    anyhow::ensure!(endpoint.starts_with("http://"), "no endpoint in {endpoint:?}");
    // Whatever else it says must not fill the pipe.
    thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    Ok(Store { process, endpoint })
}
