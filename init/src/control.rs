//! What the console may ask of PID 1: one line per connection, answered with one line.
use std::{
    fs, io,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::{PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    time::Duration,
};

use crate::shutdown::Ending;

/// PID 1's socket.
pub(crate) const SOCKET: &str = "/run/tidegate/control.sock";
/// Longest request line.
const LINE_BYTES_MAX: u64 = 256;
/// PID 1 waits no longer than this for a peer.
const PEER_TIME: Duration = Duration::from_millis(500);
/// The console waits this long for PID 1.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Make this the machine's time zone.
    Timezone(String),
    /// End.
    End(Ending),
}

impl Request {
    fn parse(line: &str) -> Option<Self> {
        match line.trim().split_once(' ') {
            Some(("timezone", zone)) => Some(Self::Timezone(zone.trim().to_owned())),
            Some(_) => None,
            None => match line.trim() {
                "reboot" => Some(Self::End(Ending::Reboot)),
                "poweroff" => Some(Self::End(Ending::PowerOff)),
                _ => None,
            },
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Timezone(zone) => format!("timezone {zone}"),
            Self::End(Ending::Reboot) => "reboot".to_owned(),
            Self::End(Ending::PowerOff) => "poweroff".to_owned(),
        }
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

    /// Takes one request and answers it with what `handle` says.
    pub(crate) fn serve(
        &self,
        handle: impl FnOnce(Request) -> Result<(), String>,
    ) -> io::Result<()> {
        let (stream, _) = self.0.accept()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PEER_TIME))?;
        stream.set_write_timeout(Some(PEER_TIME))?;
        let mut line = String::new();
        BufReader::new((&stream).take(LINE_BYTES_MAX)).read_line(&mut line)?;
        let answer = match Request::parse(&line) {
            Some(request) => handle(request),
            None => Err("requests are: timezone REGION/CITY, reboot, poweroff".to_owned()),
        };
        let answer = match answer {
            Ok(()) => "ok\n".to_owned(),
            Err(why) => format!("error: {}\n", why.replace('\n', " ")),
        };
        (&stream).write_all(answer.as_bytes())
    }
}

/// Asks PID 1.
///
/// # Errors
/// Words for the console.
pub(crate) fn ask(request: &Request) -> Result<(), String> {
    let answer = || -> io::Result<String> {
        let mut stream = UnixStream::connect(SOCKET)?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        stream.write_all(format!("{}\n", request.line()).as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    };
    match answer() {
        Ok(answer) if answer.trim() == "ok" => Ok(()),
        Ok(answer) => Err(answer.trim().trim_start_matches("error: ").to_owned()),
        Err(error) => Err(format!("PID 1 does not answer: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_wire_and_nonsense_does_not() {
        for request in [
            Request::Timezone("Asia/Seoul".to_owned()),
            Request::End(Ending::Reboot),
            Request::End(Ending::PowerOff),
        ] {
            assert_eq!(Request::parse(&request.line()), Some(request));
        }
        for nonsense in ["", "halt", "timezone", "format /dev/sda"] {
            assert_eq!(Request::parse(nonsense), None, "{nonsense}");
        }
    }
}
