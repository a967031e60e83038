//! A blocking HTTP/1.1 client for the admin socket: one request, one connection.
//!
//! Used by the console, the command line and the tests. Bounded: an answer of more than
//! [`ANSWER_BYTES_MAX`] or slower than the given time limit is an error.
use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    admin::{self, ErrorBody},
    connection::{ConnectionTest, StepReport},
    settings::Settings,
    status::GatewayStatus,
};

/// Largest answer that is read.
pub const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Longest report of a step.
const REPORT_BYTES_MAX: usize = 64 << 10;

/// Why the gateway could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket is missing or refuses: the gateway does not run.
    #[error("the gateway does not answer on {path}: {source}")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The answer broke off or took too long.
    #[error("the gateway's answer broke off: {0}")]
    Broken(#[from] std::io::Error),
    /// The answer is not HTTP, or not the JSON expected.
    #[error("the gateway's answer cannot be read: {0}")]
    Unreadable(String),
    /// The gateway refused; its own words.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What is wrong and what to do.
        message: String,
    },
}

/// A client of one admin socket.
#[derive(Clone, Debug)]
pub struct AdminClient {
    socket: PathBuf,
    time_limit: Duration,
}

impl AdminClient {
    /// Asks the gateway behind `socket`, waiting at most `time_limit` for each read or write.
    pub fn new(socket: impl AsRef<Path>, time_limit: Duration) -> Self {
        Self { socket: socket.as_ref().to_owned(), time_limit }
    }

    /// The current status.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn status(&self) -> Result<GatewayStatus, ClientError> {
        let body = self.request("GET", admin::STATUS, b"")?;
        serde_json::from_slice(&body).map_err(|e| ClientError::Unreadable(e.to_string()))
    }

    /// The settings in force, without secrets, and their revision.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn settings(&self) -> Result<(u64, Settings), ClientError> {
        let answer = self.ask("GET", admin::SETTINGS, b"")?;
        let text = String::from_utf8(answer.body)
            .map_err(|_| ClientError::Unreadable("the settings are not text".to_owned()))?;
        let settings =
            Settings::from_toml(&text).map_err(|e| ClientError::Unreadable(e.to_string()))?;
        let revision = answer.etag.and_then(|etag| etag.trim_matches('"').parse().ok());
        let revision = revision
            .ok_or_else(|| ClientError::Unreadable("the settings have no revision".to_owned()))?;
        Ok((revision, settings))
    }

    /// Puts these settings into force if those in force still have this `revision`. Secrets that they
    /// leave empty stay as they are for the same access key and the same user of the same proxy.
    ///
    /// # Errors
    /// Any [`ClientError`]; [`ClientError::Refused`] with status 409 if somebody else has changed them, or a share
    /// goes of which S3 does not have everything.
    pub fn replace_settings(&self, settings: &Settings, revision: u64) -> Result<(), ClientError> {
        let text = settings.to_toml().map_err(|e| ClientError::Unreadable(e.to_string()))?;
        let path = format!("{}?revision={revision}", admin::SETTINGS);
        self.request("PUT", &path, text.as_bytes()).map(drop)
    }

    /// The same, also if shares go of which S3 does not have everything: that waits on the cache disk until a share
    /// of the same name, bucket and prefix is set again.
    ///
    /// # Errors
    /// As [`AdminClient::replace_settings`].
    pub fn delete_shares(&self, settings: &Settings, revision: u64) -> Result<(), ClientError> {
        let text = settings.to_toml().map_err(|e| ClientError::Unreadable(e.to_string()))?;
        let path = format!("{}?revision={revision}&force_delete=true", admin::SETTINGS);
        self.request("PUT", &path, text.as_bytes()).map(drop)
    }

    /// Tests a connection to S3; `each` gets every step's report as soon as the step has ended.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn test_connection(
        &self,
        target: &ConnectionTest,
        mut each: impl FnMut(StepReport),
    ) -> Result<(), ClientError> {
        let unreadable = |e: serde_json::Error| ClientError::Unreadable(e.to_string());
        let body = serde_json::to_vec(target).map_err(unreadable)?;
        let stream = self.send("POST", admin::TEST_CONNECTION, &body)?;
        let mut answer = BufReader::new(stream.take(ANSWER_BYTES_MAX));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if answer.read_until(b'\n', &mut head)? == 0 {
                return Err(ClientError::Unreadable("no end of the HTTP head".to_owned()));
            }
        }
        if !head.starts_with(b"HTTP/1.1 200 ") {
            answer.read_to_end(&mut head)?;
            return Err(refusal(&split_answer(&head)?));
        }
        // A report is a line, and the server sends each as a chunk of its own (RFC 9112 §7.1).
        let mut line = Vec::new();
        let mut size = String::new();
        loop {
            size.clear();
            answer.read_line(&mut size)?;
            let length = usize::from_str_radix(size.trim(), 16)
                .ok()
                .filter(|length| *length <= REPORT_BYTES_MAX)
                .ok_or_else(|| ClientError::Unreadable("broken chunked body".to_owned()))?;
            if length == 0 {
                return Ok(());
            }
            line.resize(length + 2, 0);
            answer.read_exact(&mut line)?;
            for report in line.split(|b| *b == b'\n').filter(|text| !text.trim_ascii().is_empty()) {
                each(serde_json::from_slice(report).map_err(unreadable)?);
            }
        }
    }

    /// Sends one request and returns the body of a 2xx answer.
    ///
    /// # Errors
    /// Any [`ClientError`]; [`ClientError::Refused`] for every other status.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>, ClientError> {
        self.ask(method, path, body).map(|answer| answer.body)
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer, ClientError> {
        let stream = self.send(method, path, body)?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        let answer = split_answer(&answer)?;
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(refusal(&answer)) }
    }

    fn send(&self, method: &str, path: &str, body: &[u8]) -> Result<UnixStream, ClientError> {
        let mut stream = UnixStream::connect(&self.socket)
            .map_err(|source| ClientError::Unreachable { path: self.socket.clone(), source })?;
        stream.set_read_timeout(Some(self.time_limit))?;
        stream.set_write_timeout(Some(self.time_limit))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        Ok(stream)
    }
}

/// What the gateway says to a request that it does not grant.
fn refusal(answer: &Answer) -> ClientError {
    let status = answer.status;
    let message = match serde_json::from_slice::<ErrorBody>(&answer.body) {
        Ok(refusal) => refusal.error,
        Err(_) => format!("HTTP status {status}"),
    };
    ClientError::Refused { status, message }
}

/// An HTTP/1.1 answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    etag: Option<String>,
    body: Vec<u8>,
}

/// Splits a whole HTTP/1.1 answer (with a body of fixed length or chunked).
fn split_answer(answer: &[u8]) -> Result<Answer, ClientError> {
    let unreadable = |what: &str| ClientError::Unreadable(what.to_owned());
    let end = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or_else(|| unreadable("no end of the HTTP head"))?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| unreadable("head is not text"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| unreadable("no HTTP status"))?;
    let mut chunked = false;
    let mut length = None;
    let mut etag = None;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("content-length") {
            length = value.parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("etag") {
            etag = Some(value.to_owned());
        }
    }
    let rest = &answer[end + 4..];
    let body = if chunked {
        join_chunks(rest).ok_or_else(|| unreadable("broken chunked body"))?
    } else {
        let length = length.unwrap_or(rest.len());
        rest.get(..length).ok_or_else(|| unreadable("body is shorter than announced"))?.to_vec()
    };
    Ok(Answer { status, etag, body })
}

fn join_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line_end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[line_end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_split_by_length_and_by_chunks() {
        let fixed = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"7\"\r\n\r\n{}";
        let etag = Some("\"7\"".to_owned());
        let expected = Answer { status: 200, etag, body: b"{}".to_vec() };
        assert_eq!(split_answer(fixed).unwrap(), expected);
        let chunked = b"HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        let expected = Answer { status: 409, etag: None, body: b"abcd".to_vec() };
        assert_eq!(split_answer(chunked).unwrap(), expected);
    }

    #[test]
    fn broken_answers_are_errors() {
        for broken in [
            b"".as_slice(),
            b"HTTP/1.1 200 OK\r\n",
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
        ] {
            assert!(matches!(split_answer(broken), Err(ClientError::Unreadable(_))));
        }
    }

    #[test]
    fn a_missing_socket_says_which() {
        let client = AdminClient::new("/nonexistent/admin.sock", Duration::from_secs(1));
        assert!(client.status().unwrap_err().to_string().contains("/nonexistent/admin.sock"));
    }
}
