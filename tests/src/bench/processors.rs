//! Which processors a program may run on, by util-linux's `taskset`.
use std::{ffi::OsStr, path::Path, process::Command};

use anyhow::Result;

use crate::host;

/// Some of the machine's processors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Processors {
    /// All.
    All,
    /// One, always the same.
    First,
}

/// Gives a process back all processors at its end.
#[derive(Debug)]
pub struct Confined(Option<u32>);

impl Processors {
    /// A command that runs `program` on these.
    pub fn command(self, program: &Path) -> Command {
        match self {
            Self::All => Command::new(program),
            Self::First => {
                let mut command = Command::new("taskset");
                command.args([OsStr::new("--cpu-list"), OsStr::new("0"), program.as_os_str()]);
                command
            }
        }
    }

    /// Lets all threads of the process `pid` run on these until the answer is dropped.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn confine(self, pid: u32) -> Result<Confined> {
        match self {
            Self::All => Ok(Confined(None)),
            Self::First => {
                host::run(&mut taskset(pid, "0"))?;
                Ok(Confined(Some(pid)))
            }
        }
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        let Some(pid) = self.0 else { return };
        let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
        // One that has ended needs no processor.
        taskset(pid, &format!("0-{last}")).status().ok();
    }
}

fn taskset(pid: u32, list: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--all-tasks", "--cpu-list", "--pid", list, &pid.to_string()]);
    command.stdout(std::process::Stdio::null());
    command
}
