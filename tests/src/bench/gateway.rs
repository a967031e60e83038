//! Our side: the gateway as it ships, with catalog and cache on the disk under test.
//!
//! Its S3 store is in the benchmark's own process, and the upload delay is longer than the run: what
//! is measured is what a client waits for, and uploads cost neither side anything.
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result};
use gateway_api::settings::Squash;

use super::{
    disk::{self, Names},
    server::{Process, Server},
};
use crate::seed;

/// The longest that the settings allow.
const UPLOAD_DELAY_MS: u64 = 3_600_000;

/// Starts the gateway `program` with everything in a new file system at `folder`, whose image lies beside it.
///
/// # Errors
/// When it does not come up.
pub fn start(program: &Path, folder: &Path, s3_endpoint: &str) -> Result<Server> {
    disk::mount_new(&folder.with_extension("xfs"), folder, Names::Later)?;
    let mut settings = seed::settings(s3_endpoint)?;
    settings.cache.upload_delay_ms = UPLOAD_DELAY_MS;
    for share in &mut settings.shares {
        // As nfs-ganesha's export has it.
        share.squash = Squash::NoSquash;
    }
    let file = |name: &str| folder.join(name);
    fs::write(file("gateway.toml"), settings.to_toml()?)?;
    let mut command = Command::new(program);
    command.arg("serve").args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    for (option, name) in [("--settings", "gateway.toml"), ("--state", "state")] {
        command.arg(option).arg(file(name));
    }
    command.arg("--cache").arg(file("cache"));
    let mut process = Process::start(&mut command, &file("gateway.log"))?;
    let mut output = BufReader::new(process.child().stdout.take().context("its output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    let port = line.rsplit(':').next().and_then(|port| port.trim().parse().ok());
    let port = port.with_context(|| format!("no port in {line:?}; see gateway.log"))?;
    // Whatever else it says must not fill the pipe.
    thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    let export = format!("/{}", seed::SHARE);
    let mut server = Server { name: "gateway", nfs_port: port, mount_port: port, export, process };
    server.wait_until_ready()?;
    Ok(server)
}
