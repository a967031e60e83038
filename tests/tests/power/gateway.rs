//! The gateway on what a cut has left: a process of this machine on a copy of the cache's files.
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use gateway_api::{GatewayStatus, admin, client::AdminClient};

/// A bound against hanging, not a measure.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running gateway; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Gateway {
    process: Child,
    admin: AdminClient,
    pub(crate) port: u16,
}

impl Gateway {
    /// Starts `program` in `home`, which has `state` and `cache`.
    ///
    /// # Errors
    /// When it does not serve; with what it said.
    pub(crate) fn start(program: &Path, home: &Path, settings: &str) -> Result<Self> {
        fs::write(home.join("settings.toml"), settings)?;
        let said = home.join("gateway.log");
        let mut process = Command::new(program)
            .arg("serve")
            .args([Path::new("--settings"), &home.join("settings.toml")])
            .args([Path::new("--state"), &home.join("state")])
            .args([Path::new("--cache"), &home.join("cache")])
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&said)?)
            .spawn()
            .context("the gateway's program")?;
        let mut line = String::new();
        let stdout = process.stdout.take().context("its output")?;
        let read = BufReader::new(stdout).read_line(&mut line);
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        let admin = AdminClient::new(home.join("state/admin.sock"), PATIENCE);
        let mut gateway = Self { process, admin, port: 0 };
        match (read, port) {
            (Ok(_), Some(port)) => gateway.port = port,
            (_, _) => bail!("the gateway does not start: {}", fs::read_to_string(said)?),
        }
        Ok(gateway)
    }

    pub(crate) fn status(&self) -> Result<GatewayStatus> {
        Ok(self.admin.status()?)
    }

    /// Returns when everything acknowledged is in S3.
    pub(crate) fn flush(&self) -> Result<()> {
        self.admin.request("POST", admin::FLUSH, b"")?;
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
