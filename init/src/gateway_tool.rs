//! What the gateway's program can do beside a gateway, or without one: test a connection to S3, tell
//! the settings that are kept, store an object. The console has no right to any of it, so PID 1 starts
//! it as an errand: as the gateway's user, confined as the gateway is, and for a limited time.
//!
//! On the console's connection: [`Answer::Done`] when the tool takes its input, the input up to the end
//! of the console's side, [`Answer::Text`] for each line that the tool prints, and its end.
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use gateway_api::ShareName;
use nix::{
    sys::resource::{Resource, setrlimit},
    unistd::alarm,
};
use serde::{Deserialize, Serialize};

use crate::{
    confine,
    control::{self, Answer, Request},
    seed, service,
};

/// A tool that runs for longer is ended: every step of a connection's test at its longest is below.
const TIME_SECONDS: u32 = 600;
/// Memory that a tool may have, in bytes. It is not the gateway's: the kernel would end both together.
const MEMORY_BYTES: u64 = 512 << 20;
/// How long one side waits for the other to read or write.
const PEER_TIME: Duration = Duration::from_secs(120);
/// How long the console waits for a line: a tool that sends a bundle says nothing before it is sent, and
/// is ended before this.
const LINE_TIME: Duration = Duration::from_secs(630);
/// Longest line that a tool prints, and most that it prints at all, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 10;
const OUTPUT_BYTES_MAX: u64 = 4 << 20;
/// Longest complaint.
const COMPLAINT_BYTES_MAX: u64 = 4 << 10;

/// A tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tool", rename_all = "kebab-case")]
pub(crate) enum GatewayTool {
    /// Test the connection of this share of the settings that are its input. Secrets that they leave
    /// empty are those that are kept. Prints a [`gateway_api::connection::StepReport`] a line.
    TestConnection {
        /// The share.
        share: ShareName,
    },
    /// Print the settings that are kept, without secrets.
    Settings,
    /// Show what a TLS server shows of itself.
    Sslcheck {
        /// Host and port.
        server: String,
    },
    /// Store its input as an object.
    PutObject {
        /// The share.
        share: ShareName,
        /// Key below the share's prefix.
        key: String,
    },
}

impl GatewayTool {
    /// The program's arguments.
    fn arguments(&self, seeded: bool) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut arguments: Vec<String> = match self {
            Self::TestConnection { .. } => words(&["test-connection", "--settings", "-", "--json"]),
            Self::Settings => words(&["settings"]),
            Self::Sslcheck { .. } => words(&["sslcheck"]),
            Self::PutObject { .. } => words(&["put-object"]),
        };
        arguments.extend(words(&["--state", service::GATEWAY_STATE]));
        if seeded {
            arguments.extend(words(&["--seed", seed::GATEWAY_SEED]));
        }
        // What follows is never an option, however it begins.
        match self {
            Self::TestConnection { share } => arguments.extend(words(&["--", share.as_str()])),
            Self::Settings => {}
            Self::Sslcheck { server } => arguments.extend(words(&["--", server])),
            Self::PutObject { share, key } => {
                arguments.extend(words(&["--", share.as_str(), key]));
            }
        }
        arguments
    }
}

/// A download by the gateway's program, which alone speaks TLS and knows the proxy. It ends when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Download(Child);

impl Download {
    /// Starts to fetch what is at a URL, so many bytes at most.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn begin(url: &str, bytes_max: u64) -> Result<Self> {
        let mut command = Command::new(service::INIT);
        let seeded = Path::new(seed::GATEWAY_SEED).exists();
        command.arg("exec-gateway-tool").args(fetch_arguments(url, bytes_max, seeded));
        Self::of(command)
    }

    fn of(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(command.spawn().context("starting a download")?))
    }

    /// What comes. It may end early: only [`Download::end`] says whether it is whole.
    ///
    /// # Errors
    /// It was taken already.
    pub(crate) fn stream(&mut self) -> Result<OwnedFd> {
        Ok(self.0.stdout.take().context("the download's pipe")?.into())
    }

    /// Waits until all of it has come.
    ///
    /// # Errors
    /// Words: it has not.
    pub(crate) fn end(&mut self) -> Result<()> {
        let mut complaint = String::new();
        let stderr = self.0.stderr.take().context("the download's pipe")?;
        stderr.take(COMPLAINT_BYTES_MAX).read_to_string(&mut complaint)?;
        let status = self.0.wait().context("waiting for a download")?;
        judge(status, &complaint).map_err(|why| anyhow!(why))
    }

    /// All of it.
    ///
    /// # Errors
    /// Words: it did not come whole.
    pub(crate) fn bytes(mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // The program takes care of the limit.
        std::fs::File::from(self.stream()?).read_to_end(&mut bytes)?;
        self.end().map(|()| bytes)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is reaped.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn fetch_arguments(url: &str, bytes_max: u64, seeded: bool) -> Vec<String> {
    let mut arguments = vec!["fetch".to_owned(), format!("--max-bytes={bytes_max}")];
    arguments.extend(["--state", service::GATEWAY_STATE].map(str::to_owned));
    if seeded {
        arguments.extend(["--seed", seed::GATEWAY_SEED].map(str::to_owned));
    }
    arguments.extend(["--", url].map(str::to_owned));
    arguments
}

/// Becomes the gateway's program with these arguments. Returns only on failure.
pub(crate) fn exec(arguments: &[&str]) -> Result<()> {
    // Both last beyond exec; whoever does not handle the alarm is ended by it (alarm(2)).
    alarm::set(TIME_SECONDS);
    setrlimit(Resource::RLIMIT_DATA, MEMORY_BYTES, MEMORY_BYTES).context("the limit of memory")?;
    confine::GATEWAY.enter().context("confining a tool of the gateway")?;
    let error = Command::new(service::GATEWAY).args(arguments).exec();
    Err(error).context(service::GATEWAY)
}

/// Runs a tool for the console at the other end of standard output; answers how it ended.
///
/// # Errors
/// It cannot be started, or failed, or the console hung up.
pub(crate) fn attend(tool: &GatewayTool) -> Result<Answer> {
    let console = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    // PID 1 waits for nobody; here somebody may.
    console.set_read_timeout(Some(PEER_TIME))?;
    console.set_write_timeout(Some(PEER_TIME))?;
    let mut command = Command::new(service::INIT);
    let seeded = Path::new(seed::GATEWAY_SEED).exists();
    command.arg("exec-gateway-tool").args(tool.arguments(seeded));
    let status = converse(command, &console)?;
    match status {
        Ok(()) => Ok(Answer::Done),
        Err(why) => Err(anyhow::anyhow!(why)),
    }
}

/// Runs the program with the console's side of the connection as its input, and hands on what it
/// prints; how it ended.
fn converse(mut command: Command, console: &UnixStream) -> Result<Result<(), String>> {
    command.stdin(OwnedFd::from(console.try_clone()?));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting a tool of the gateway")?;
    let told = (|| -> Result<String> {
        Answer::Done.write(console)?;
        let output = child.stdout.take().context("the tool's pipe")?;
        let mut output = BufReader::new(output.take(OUTPUT_BYTES_MAX));
        let mut line = Vec::new();
        while (&mut output).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            Answer::Text { text }.write(console)?;
            line.clear();
        }
        let mut complaint = String::new();
        let stderr = child.stderr.take().context("the tool's pipe")?;
        stderr.take(COMPLAINT_BYTES_MAX).read_to_string(&mut complaint)?;
        Ok(complaint)
    })();
    if told.is_err() {
        // It may have ended by itself; either way it is reaped.
        let _ended = child.kill();
    }
    let status = child.wait().context("waiting for a tool of the gateway")?;
    Ok(judge(status, &told?))
}

/// How a tool ended, in words.
fn judge(status: ExitStatus, complaint: &str) -> Result<(), String> {
    if status.success() {
        return Ok(());
    }
    let complaint = complaint.trim();
    Err(match complaint.strip_prefix("gateway: ").unwrap_or(complaint) {
        "" if status.code().is_none() => {
            format!("the gateway's program was ended ({status}): it may take {TIME_SECONDS} s")
        }
        "" => format!("the gateway's program ended with {status}"),
        words => words.to_owned(),
    })
}

/// Asks PID 1 for a tool, gives it `input`, and hands each line that it prints to `each`.
///
/// # Errors
/// Words for the console: it failed, or PID 1 does not answer.
pub(crate) fn ask(tool: GatewayTool, input: &[u8], each: impl FnMut(String)) -> Result<(), String> {
    ask_for(&Request::GatewayTool { tool }, input, each)
}

/// Asks PID 1 for what answers as a tool does.
///
/// # Errors
/// As [`ask`].
pub(crate) fn ask_for(
    request: &Request,
    input: &[u8],
    mut each: impl FnMut(String),
) -> Result<(), String> {
    let connected = UnixStream::connect(control::SOCKET);
    let stream = connected.map_err(|error| format!("PID 1 does not answer: {error}"))?;
    talk(stream, request, input, &mut each)
        .unwrap_or_else(|error| Err(format!("the answer breaks off: {error}")))
}

fn talk(
    mut stream: UnixStream,
    request: &Request,
    input: &[u8],
    each: &mut impl FnMut(String),
) -> io::Result<Result<(), String>> {
    stream.set_read_timeout(Some(LINE_TIME))?;
    stream.set_write_timeout(Some(PEER_TIME))?;
    let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answers = BufReader::new(stream.try_clone()?.take(OUTPUT_BYTES_MAX * 2));
    if let Answer::Refused { why } = next(&mut answers)? {
        return Ok(Err(why));
    }
    // A tool that refuses at once does not read: its words count, not the broken pipe.
    let _unread = stream.write_all(input);
    let _hung_up = stream.shutdown(Shutdown::Write);
    loop {
        match next(&mut answers)? {
            Answer::Text { text } => each(text),
            Answer::Done => return Ok(Ok(())),
            Answer::Refused { why } => return Ok(Err(why)),
            Answer::Settings { .. } => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn next(answers: &mut impl BufRead) -> io::Result<Answer> {
    let mut line = Vec::new();
    // JSON may write a character in six.
    answers.take(LINE_BYTES_MAX * 6).read_until(b'\n', &mut line)?;
    serde_json::from_slice(&line).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// What a shell script does as a tool with this input: its lines, and how it ended.
    fn runs(script: &str, input: &[u8]) -> (Vec<String>, Result<(), String>) {
        let (here, there) = UnixStream::pair().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let attends = thread::spawn(move || {
            let mut request = String::new();
            // As PID 1 does, byte by byte: nothing that follows the line may be lost.
            while !request.ends_with('\n') {
                let mut byte = [0];
                (&there).read_exact(&mut byte).unwrap();
                request.push(char::from(byte[0]));
            }
            let ended = converse(command, &there).unwrap();
            Answer::of(ended).write(&there).unwrap();
        });
        let mut lines = Vec::new();
        let tool = Request::GatewayTool { tool: GatewayTool::Settings };
        let ended = talk(here, &tool, input, &mut |line| lines.push(line)).unwrap();
        attends.join().unwrap();
        (lines, ended)
    }

    #[test]
    fn a_tool_gets_its_input_and_its_lines_come_back() {
        let input = vec![b'x'; 3 << 20];
        let (lines, ended) = runs("wc -c; echo two", &input);
        assert_eq!(lines, [input.len().to_string(), "two".to_owned()]);
        assert_eq!(ended, Ok(()));
    }

    #[test]
    fn how_a_tool_ended_is_told_in_its_words() {
        let (lines, ended) = runs("echo said; echo 'gateway: no share' >&2; exit 1", b"unread");
        assert_eq!((lines, ended), (vec!["said".to_owned()], Err("no share".to_owned())));
        let (_, ended) = runs("kill -ALRM $$", b"");
        assert!(ended.unwrap_err().contains("it may take 600 s"));
        let (_, ended) = runs("exit 2", b"");
        assert!(ended.unwrap_err().contains("exit status: 2"));
    }

    #[test]
    fn a_download_is_whole_or_says_why_it_is_not() {
        let download = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Download::of(command).unwrap()
        };
        assert_eq!(download("printf all").bytes().unwrap(), b"all");
        let why = download("printf part; echo 'gateway: it broke off' >&2; exit 1").bytes();
        assert_eq!(why.unwrap_err().to_string(), "it broke off");
        // One that nobody reads any more is ended. It is one process, as the gateway's program is.
        let mut unread = download("exec sleep 1000");
        let pipe = unread.stream().unwrap();
        drop(unread);
        let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut polled, PollTimeout::ZERO), Ok(1), "nobody holds its other end");
    }

    #[test]
    fn what_a_tool_is_told_is_never_an_option() {
        assert_eq!(
            fetch_arguments("--seed=/etc", 9, true).join(" "),
            "fetch --max-bytes=9 --state /config/gateway --seed /config/gateway-seed.toml -- \
             --seed=/etc"
        );
        let share: ShareName = "sales".parse().unwrap();
        let tool = GatewayTool::PutObject { share, key: "--state=/".to_owned() };
        let words = tool.arguments(true).join(" ");
        assert_eq!(
            words,
            "put-object --state /config/gateway --seed /config/gateway-seed.toml -- sales --state=/"
        );
        assert_eq!(
            GatewayTool::Settings.arguments(false).join(" "),
            "settings --state /config/gateway"
        );
    }
}
