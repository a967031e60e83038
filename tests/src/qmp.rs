//! QEMU's machine protocol: one JSON object per line over a Unix socket.
//!
//! Owns the connection and the order of commands and answers; knows nothing of what the machine is.
//! Source: QEMU QMP specification.
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::wait::poll_until;

/// Most events that are kept for [`Qmp::wait_event`]; older ones are dropped first.
const EVENTS_MAX: usize = 1000;

/// A connection in command mode.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
    events: std::collections::VecDeque<Value>,
    half_line: String,
}

impl Qmp {
    /// Connects to the socket as soon as QEMU has made it and takes the handshake.
    ///
    /// # Errors
    /// When nothing listens within `limit`, or what listens does not speak QMP.
    pub fn connect(socket: &Path, limit: Duration) -> Result<Self> {
        let stream =
            poll_until("QEMU's control socket", limit, || Ok(UnixStream::connect(socket).ok()))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut qmp = Self {
            stream: BufReader::new(stream),
            events: std::collections::VecDeque::new(),
            half_line: String::new(),
        };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            bail!("not a QMP greeting: {greeting}");
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and returns its answer.
    ///
    /// # Errors
    /// QEMU's refusal in its own words, or a broken connection.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        let socket = self.stream.get_mut();
        socket.write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut answer = self.read().with_context(|| format!("QEMU command {command}"))?;
            if answer.get("event").is_some() {
                self.keep(answer);
            } else if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {error}");
            } else {
                return Ok(answer["return"].take());
            }
        }
    }

    /// Runs a command of the human monitor and returns what it printed.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn monitor(&mut self, line: &str) -> Result<String> {
        let answer = self.execute("human-monitor-command", json!({ "command-line": line }))?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// Waits for the next event called `name`, one that came earlier included.
    ///
    /// # Errors
    /// When it does not come within `limit`.
    pub fn wait_event(&mut self, name: &str, limit: Duration) -> Result<Value> {
        let end = Instant::now() + limit;
        loop {
            if let Some(at) = self.events.iter().position(|event| event["event"] == name) {
                return Ok(self.events.remove(at).expect("the position was just found"));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no event {name} within {} s", limit.as_secs());
            }
            self.stream.get_ref().set_read_timeout(Some(left))?;
            let message = self.read();
            self.stream.get_ref().set_read_timeout(Some(Duration::from_secs(60)))?;
            let message = message.with_context(|| format!("waiting for event {name}"))?;
            self.keep(message);
        }
    }

    fn keep(&mut self, event: Value) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Reads one message. A time-out keeps what was read of a line for the next call.
    fn read(&mut self) -> Result<Value> {
        let read = self.stream.read_line(&mut self.half_line)?;
        if read == 0 || !self.half_line.ends_with('\n') {
            bail!("QEMU closed its control socket");
        }
        let line = std::mem::take(&mut self.half_line);
        serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))
    }
}
