//! Our side: the gateway as it ships, with catalog and cache on the disk under test.
//!
//! Beside nfs-ganesha its S3 store is in the benchmark's own process, and the upload delay is longer than the
//! run: what is measured is what a client waits for, and uploads cost neither side anything. On the whole path
//! (`whole`) it has other settings.
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result};
use gateway_api::settings::{Settings, Squash};

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
    let mut settings = seed::settings(s3_endpoint)?;
    settings.cache.upload_delay_ms = UPLOAD_DELAY_MS;
    prepare(folder, settings)?;
    launch(program, folder)
}

/// Makes the file system at `folder`, with these settings in it.
///
/// # Errors
/// When there are no loop devices.
pub fn prepare(folder: &Path, mut settings: Settings) -> Result<()> {
    disk::mount_new(&folder.with_extension("xfs"), folder, Names::Later)?;
    for share in &mut settings.shares {
        // As nfs-ganesha's export has it.
        share.squash = Squash::NoSquash;
    }
    fs::write(folder.join("gateway.toml"), settings.to_toml()?)?;
    Ok(())
}

/// Starts the gateway `program` with what is in `folder`, and waits until it serves.
///
/// # Errors
/// When it does not come up.
pub fn launch(program: &Path, folder: &Path) -> Result<Server> {
    let file = |name: &str| folder.join(name);
    let mut command = Command::new(program);
    command.arg("serve").args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    for (option, name) in [("--settings", "gateway.toml"), ("--state", "state")] {
        command.arg(option).arg(file(name));
    }
    command.arg("--cache").arg(file("cache")).arg("--admin").arg(admin_socket(folder));
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

/// Where the gateway of `folder` is asked and told.
pub fn admin_socket(folder: &Path) -> PathBuf {
    folder.join("admin.sock")
}
