//! Errands: what the console asks for and PID 1 must not wait for. A process for each, which gets the
//! request on its standard input and the console's connection as its standard output.
use std::{
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use gateway_api::Secret;
use nix::unistd::alarm;
use serde::{Deserialize, Serialize};

use crate::{
    control::Answer,
    disks::{self, Order, Task},
    gateway_tool::{self, GatewayTool},
    password, seed, service,
    update::{self, Wanted},
};

/// Longest errand, as text: far below what a pipe takes without a reader.
const BYTES_MAX: usize = 16 << 10;
/// Time to look at all volumes, or to fetch a document: below that for which the console waits.
const VOLUME_SECONDS: u32 = 90;
const CHRONYC: &str = "/usr/bin/chronyc";

/// An errand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "errand", rename_all = "kebab-case")]
pub(crate) enum Errand {
    /// Whether this is the console's password. The process's exit status says the same.
    LogIn {
        /// What was typed.
        password: Secret,
        /// Hash of the right one.
        hash: Secret,
        /// Time to wait before the answer, in seconds: failures make guessing slow.
        delay_seconds: u64,
    },
    /// Run a tool of the gateway's program.
    GatewayTool {
        /// Which one.
        tool: GatewayTool,
    },
    /// Read the settings document of a volume.
    ReadVolume,
    /// Fetch a settings document.
    ReadUrl {
        /// From where.
        url: String,
    },
    /// Carry out an operator's order about the disks.
    Disks {
        /// The order.
        order: Order,
        /// What is to be known for it.
        task: Task,
    },
    /// Have another version written or tried.
    Update {
        /// Which one.
        wanted: Wanted,
        /// Whether the gateway serves: if so it has to serve after it, too.
        gateway_ran: bool,
    },
    /// Ask chrony how it keeps the clock, after it has set it right at once if it is to.
    Clock {
        /// Whether it is to.
        step: bool,
    },
}

/// Sends a process on its way, in a process group of its own. PID 1 hears of its end as of every child's.
///
/// # Errors
/// It cannot be started.
pub(crate) fn send(errand: &Errand, console: UnixStream) -> Result<Child> {
    let text = serde_json::to_vec(errand)?;
    if text.len() > BYTES_MAX {
        bail!("an errand of {} bytes", text.len());
    }
    let mut command = Command::new(service::INIT);
    command.arg("errand").env_clear().env("PATH", "/usr/sbin:/usr/bin").process_group(0);
    command.stdin(Stdio::piped()).stdout(OwnedFd::from(console)).stderr(Stdio::null());
    service::unblock_signals(&mut command);
    let mut child = command.spawn().context("starting an errand")?;
    let mut pipe = child.stdin.take().context("the errand's pipe")?;
    pipe.write_all(&text).context("the errand's pipe")?;
    Ok(child)
}

/// Runs the errand that standard input tells, and answers on standard output.
///
/// # Errors
/// It failed; the console was told why.
pub(crate) fn run() -> Result<()> {
    let mut text = Vec::new();
    io::stdin().take(BYTES_MAX as u64).read_to_end(&mut text)?;
    let outcome = match serde_json::from_slice(&text).context("the errand")? {
        Errand::LogIn { password, hash, delay_seconds } => {
            thread::sleep(Duration::from_secs(delay_seconds));
            if password::matches(&password, &hash) {
                Ok(Answer::Done)
            } else {
                Err(anyhow::anyhow!("this is not the password"))
            }
        }
        Errand::Disks { order, task } => {
            disks::obey(&order, task).map(|text| Answer::Text { text })
        }
        Errand::Clock { step } => clock(step),
        Errand::ReadVolume => {
            // A drive may never answer; whoever does not handle the alarm is ended by it.
            alarm::set(VOLUME_SECONDS);
            seed::document_of_volume().map(|text| Answer::Text { text })
        }
        Errand::ReadUrl { url } => {
            alarm::set(VOLUME_SECONDS);
            seed::document_of_url(&url).map(|text| Answer::Text { text })
        }
        Errand::GatewayTool { tool } => gateway_tool::attend(&tool),
        Errand::Update { wanted, gateway_ran } => update::attend(wanted, gateway_ran),
    };
    match outcome {
        Ok(answer) => answer.write(io::stdout()).context("answering the console"),
        Err(error) => {
            let answer = Answer::Refused { why: format!("{error:#}") };
            answer.write(io::stdout()).context("answering the console")?;
            Err(error)
        }
    }
}

/// What chrony says of the clock and its servers.
fn clock(step: bool) -> Result<Answer> {
    let mut text = String::new();
    if step {
        text.push_str(&chronyc(&["makestep"])?);
    }
    text.push_str(&chronyc(&["-n", "tracking"])?);
    text.push('\n');
    text.push_str(&chronyc(&["-n", "sources"])?);
    Ok(Answer::Text { text })
}

/// Runs `chronyc`, which gives up by itself after some seconds without an answer.
fn chronyc(arguments: &[&str]) -> Result<String> {
    let output = Command::new(CHRONYC).args(arguments).output().context(CHRONYC)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "chrony does not keep the clock ({}): name NTP servers, or see the log of chronyd",
            said.trim()
        );
    }
    Ok(said)
}
