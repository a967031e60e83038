//! What the console may ask of PID 1: one JSON document on one line per connection, answered with one.
//!
//! PID 1 waits for nobody: what takes longer than a moment is an errand (`errand.rs`), a process that
//! gets the connection and answers by itself.
use std::{
    fs, io,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::{PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    time::Duration,
};

use gateway_api::Secret;
use serde::{Deserialize, Serialize};

use crate::{
    disks::Order, gateway_tool::GatewayTool, machine::Machine, shutdown::Ending, update::Wanted,
};

/// PID 1's socket.
pub(crate) const SOCKET: &str = "/run/tidegate/control.sock";
/// Longest request line: settings with every adapter and route at their longest are below.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Longest answer: a settings document of 1 MiB as JSON.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// PID 1 waits no longer than this for a peer.
const PEER_TIME: Duration = Duration::from_millis(500);
/// The console waits this long for PID 1 and its errands.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// The machine's settings, without the password's hash. Answered with [`Answer::Settings`].
    Settings,
    /// Use these settings; the password's hash in them does not count.
    Change {
        /// All of them.
        settings: Box<Machine>,
        /// The revision of those that they were made of: refused if others are in use by then.
        revision: u64,
        /// With more than 0, they are kept only if [`Request::Confirm`] comes within so many seconds,
        /// and those before them are used again otherwise.
        confirm_seconds: u16,
    },
    /// Keep the settings that wait for it.
    Confirm,
    /// Go back to the settings before those that wait to be confirmed.
    Revert,
    /// Whether this is the console's password.
    LogIn {
        /// What was typed.
        password: Secret,
    },
    /// Make this the hash of the console's password. Answered with [`Answer::Text`] if it holds, but could
    /// not be kept.
    SetPassword {
        /// As [`Machine::password_hash`].
        hash: Secret,
        /// Whether it is to be the first one: refused if another is set already.
        first: bool,
    },
    /// Give up the settings that the system disk does not give, and begin as a new appliance.
    GiveUpSettings,
    /// How chrony keeps the clock. Answered with [`Answer::Text`].
    Clock {
        /// Whether it is to set the clock right at once first.
        step: bool,
    },
    /// Run a tool of the gateway's program; the connection goes on as `gateway_tool.rs` says.
    GatewayTool {
        /// Which one.
        tool: GatewayTool,
    },
    /// The settings document of a volume that is attached. Answered with [`Answer::Text`].
    ReadVolume,
    /// The settings document at a URL. Answered with [`Answer::Text`].
    ReadUrl {
        /// http or https.
        url: String,
    },
    /// Do something about the disks. Answered with [`Answer::Text`].
    Disks {
        /// What.
        order: Order,
    },
    /// Have another version written or tried; the connection goes on as with a tool.
    Update {
        /// Which one.
        wanted: Wanted,
    },
    /// End.
    End {
        /// How.
        how: Ending,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// It is not; why, and what to do.
    Refused {
        /// Words for the console.
        why: String,
    },
    /// Text for the operator.
    Text {
        /// Some lines.
        text: String,
    },
    /// The machine's settings.
    Settings {
        /// All but the password's hash.
        settings: Box<Machine>,
        /// Counts their changes since boot.
        revision: u64,
        /// Whether a password is set.
        password_set: bool,
    },
}

impl Answer {
    /// Done, or refused with words.
    pub(crate) fn of(outcome: Result<(), String>) -> Self {
        match outcome {
            Ok(()) => Self::Done,
            Err(why) => Self::Refused { why },
        }
    }

    /// Sends it.
    ///
    /// # Errors
    /// The peer does not take it.
    pub(crate) fn write(&self, mut to: impl Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self).map_err(io::Error::other)?;
        line.push(b'\n');
        to.write_all(&line)?;
        to.flush()
    }
}

/// PID 1's end.
#[derive(Debug)]
pub(crate) struct Control(pub(crate) UnixListener);

impl Control {
    /// Listens; only root and the group `console` may ask.
    pub(crate) fn open(console_gid: u32) -> io::Result<Self> {
        match fs::remove_file(SOCKET) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(SOCKET)?;
        listener.set_nonblocking(true)?;
        chown(SOCKET, Some(0), Some(console_gid))?;
        fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o660))?;
        Ok(Self(listener))
    }

    /// Takes one request, if one is there. A request that is none is answered here.
    ///
    /// # Errors
    /// `WouldBlock` when nobody asks; else what broke the connection off.
    pub(crate) fn take(&self) -> io::Result<Option<(Request, UnixStream)>> {
        let (stream, _) = self.0.accept()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PEER_TIME))?;
        stream.set_write_timeout(Some(PEER_TIME))?;
        let mut line = Vec::new();
        BufReader::new((&stream).take(LINE_BYTES_MAX)).read_until(b'\n', &mut line)?;
        match serde_json::from_slice(&line) {
            Ok(request) => Ok(Some((request, stream))),
            Err(error) => {
                Answer::Refused { why: format!("no request: {error}") }.write(&stream)?;
                Ok(None)
            }
        }
    }
}

/// Asks PID 1.
///
/// # Errors
/// Words for the console: it refused, or does not answer.
pub(crate) fn ask(request: &Request) -> Result<Answer, String> {
    let answer = || -> io::Result<Answer> {
        let mut stream = UnixStream::connect(SOCKET)?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = Vec::new();
        BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_until(b'\n', &mut answer)?;
        serde_json::from_slice(&answer).map_err(io::Error::other)
    };
    match answer() {
        Ok(Answer::Refused { why }) => Err(why),
        Ok(answer) => Ok(answer),
        Err(error) => Err(format!("PID 1 does not answer: {error}")),
    }
}

/// The machine's settings with their revision, and whether a password is set.
///
/// # Errors
/// As [`ask`].
pub(crate) fn settings() -> Result<(Machine, u64, bool), String> {
    match ask(&Request::Settings)? {
        Answer::Settings { settings, revision, password_set } => {
            Ok((*settings, revision, password_set))
        }
        other => Err(format!("PID 1 answers {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_wire_and_nonsense_does_not() {
        for request in [
            Request::Settings,
            Request::Change { settings: Box::default(), revision: 3, confirm_seconds: 60 },
            Request::Confirm,
            Request::Revert,
            Request::LogIn { password: Secret::new("a \"quoted\" word") },
            Request::SetPassword { hash: Secret::new("$6$salt$hash"), first: true },
            Request::GiveUpSettings,
            Request::Clock { step: true },
            Request::ReadVolume,
            Request::ReadUrl { url: "https://a/b?c=d&e".to_owned() },
            Request::GatewayTool { tool: GatewayTool::Settings },
            Request::GatewayTool {
                tool: GatewayTool::PutObject {
                    share: "sales".parse().unwrap(),
                    key: "a\nb".to_owned(),
                },
            },
            Request::Disks { order: Order::Forget { uuid: "aa".to_owned() } },
            Request::Update { wanted: Wanted::Volume { older_too: true } },
            Request::Update {
                wanted: Wanted::Url { url: "https://a/b".to_owned(), older_too: false },
            },
            Request::Update { wanted: Wanted::Other },
            Request::End { how: Ending::Reboot },
            Request::End { how: Ending::PowerOff },
        ] {
            let line = serde_json::to_string(&request).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
        }
        for nonsense in ["", "{}", "reboot", r#"{"request":"format"}"#] {
            assert!(serde_json::from_str::<Request>(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn answers_survive_the_wire() {
        let settings = Box::new(Machine::default());
        for answer in [
            Answer::Done,
            Answer::of(Err("two\nlines".to_owned())),
            Answer::Text { text: "two\nlines".to_owned() },
            Answer::Settings { settings, revision: 3, password_set: true },
        ] {
            let mut line = Vec::new();
            answer.write(&mut line).unwrap();
            assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
            assert_eq!(serde_json::from_slice::<Answer>(&line).unwrap(), answer);
        }
    }
}
