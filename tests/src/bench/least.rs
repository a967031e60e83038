//! The least: a program that only reads NULL calls and answers them, so that what the kernel and the load take of
//! every server is known.
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::server::{Process, Server};

/// Starts `program` (`null-server`), with `log` for what it says. It knows no mounts: those are made at
/// `mounts`.
///
/// # Errors
/// When it does not come up.
pub fn start(program: &Path, log: &Path, mounts: &Server) -> Result<Server> {
    let mut process = Process::start(Command::new(program).stdout(Stdio::piped()), log)?;
    let output = process.child().stdout.take().context("its output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let port = line.trim().parse().with_context(|| format!("no port in {line:?}"))?;
    let (mount_port, export) = (mounts.mount_port, mounts.export.clone());
    let mut server = Server { name: "least", nfs_port: port, mount_port, export, process };
    server.wait_until_ready()?;
    Ok(server)
}
