//! A server that is measured: its process, and where it listens.
use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::{
        prctl,
        signal::{self, Signal},
    },
    unistd::Pid,
};

use crate::{net, wait::poll_until};

/// From the start of a process to its first answer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A process that ends with this one.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it; what it says goes to the file `log`, and its standard output, too, unless that
    /// is set already.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stderr(File::create(log)?);
        // SAFETY: the closure runs between fork and exec and makes one async-signal-safe system
        // call; it touches no memory of ours.
        unsafe {
            command.pre_exec(|| {
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                Ok(())
            });
        }
        let child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        Ok(Self { child })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it has ended before, or not well.
    pub fn stop(&mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        signal::kill(pid, Signal::SIGTERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }

    /// The process itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A running NFS server.
#[derive(Debug)]
pub struct Server {
    /// For people.
    pub name: &'static str,
    /// Port of NFS at 127.0.0.1.
    pub nfs_port: u16,
    /// Port of MOUNT there.
    pub mount_port: u16,
    /// What is mounted.
    pub export: String,
    /// It.
    pub process: Process,
}

impl Server {
    /// Waits until NFS answers.
    ///
    /// # Errors
    /// When it ends, or does not answer within a minute.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.nfs_port));
        let Self { name, process, .. } = self;
        poll_until(&format!("{name}'s NFS service"), START_LIMIT, || {
            ensure!(process.child.try_wait()?.is_none(), "{name} ended; see its log");
            let limit = Duration::from_secs(5);
            Ok(net::rpc_null(address, net::NFS_PROGRAM, net::NFS_VERSION, limit).ok())
        })
    }
}
