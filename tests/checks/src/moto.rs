//! moto, an S3 server by other authors: from PyPI into a virtual environment below `out/`, at pinned
//! versions, and running for as long as the tests that ask it.
use std::{
    fs,
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    host::{self, Need},
    net::free_port,
    wait::poll_until,
    workspace::Workspace,
};

/// What a virtual environment of Python takes.
pub const NEEDS: &[Need] = &[Need {
    package: "python3-venv",
    why: "holds moto, an S3 server that the store's tests also run on",
    file: "/usr/share/doc/python3-venv",
}];
/// Names the server's URL to the gateway's tests.
pub const ENDPOINT: &str = "TIDEGATE_MOTO_ENDPOINT";
/// Tells the gateway's tests that moto may not be missing.
pub const REQUIRED: &str = "TIDEGATE_MOTO_REQUIRED";

/// Versions of moto and of what it takes.
const PINS: &str = include_str!("../moto-requirements.txt");
/// The port that moto itself has by default; any other will do.
const PORT: u16 = 5000;
/// Python starts slowly on a machine that has much to do.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running moto. Stops when dropped.
#[derive(Debug)]
pub struct Moto {
    process: Child,
    /// Its URL.
    pub endpoint: String,
}

impl Moto {
    /// Installs it, where that has not been done, and starts it on a free port of this machine.
    ///
    /// # Errors
    /// When Python, PyPI or moto does not do what it should.
    pub fn start(workspace: &Workspace) -> Result<Self> {
        let home = workspace.out().join("moto");
        host::ensure_python(&home, "moto", PINS, &[])?;
        let port = free_port(PORT)?;
        let log = fs::File::create(home.join("moto.log"))?;
        let process = Command::new(home.join("bin/python"))
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start moto")?;
        let mut moto = Self { process, endpoint: format!("http://127.0.0.1:{port}") };
        poll_until("moto answers", START_LIMIT, || {
            if let Some(status) = moto.process.try_wait()? {
                bail!("moto has ended ({status}); see {}", home.join("moto.log").display());
            }
            Ok(TcpStream::connect(("127.0.0.1", port)).ok().map(drop))
        })?;
        Ok(moto)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself: nothing is left to do then.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
