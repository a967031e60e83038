//! A conversation with a serial console: send keys, wait for text.
//!
//! A thread reads the socket all the time, so that the guest never blocks on a full buffer. Text is
//! searched without terminal escape sequences.
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{terminal::Terminal, wait::poll_until};

/// Most output that is kept; a console that prints more loses its beginning.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    /// Bytes before this were matched by an earlier [`Console::expect`].
    consumed: usize,
    /// What a terminal on the line shows.
    terminal: Terminal,
    ended: bool,
}

/// One end of a serial line.
#[derive(Debug)]
pub struct Console {
    line: UnixStream,
    output: Arc<(Mutex<Output>, Condvar)>,
}

impl Console {
    /// Connects to the socket of QEMU's serial line.
    ///
    /// # Errors
    /// When nothing listens there within `limit`.
    pub fn connect(socket: &Path, limit: Duration) -> Result<Self> {
        let line = poll_until("the serial line", limit, || Ok(UnixStream::connect(socket).ok()))?;
        let mut reader = line.try_clone().context("serial line")?;
        let output = Arc::new((Mutex::new(Output::default()), Condvar::new()));
        let shared = Arc::clone(&output);
        std::thread::Builder::new().name("serial".to_owned()).spawn(move || {
            let mut buffer = [0_u8; 4096];
            loop {
                let read = reader.read(&mut buffer).unwrap_or(0);
                let mut output = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                output.bytes.extend_from_slice(&buffer[..read]);
                output.terminal.feed(&buffer[..read]);
                if output.bytes.len() > OUTPUT_BYTES_MAX {
                    let excess = output.bytes.len() - OUTPUT_BYTES_MAX;
                    output.bytes.drain(..excess);
                    output.consumed = output.consumed.saturating_sub(excess);
                }
                output.ended = read == 0;
                shared.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        })?;
        Ok(Self { line, output })
    }

    /// Types `keys`.
    ///
    /// # Errors
    /// When the line is gone.
    pub fn send(&mut self, keys: &str) -> Result<()> {
        self.line.write_all(keys.as_bytes()).context("typing on the serial console")
    }

    /// Waits until `text` has been printed after what was matched before, and returns everything
    /// up to its end, without escape sequences.
    ///
    /// # Errors
    /// When it is not printed within `limit`, or the line ends; both with the end of the output.
    pub fn expect(&self, text: &str, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        let mut output = self.output.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (plain, origins) = without_escapes(&output.bytes[output.consumed..]);
            if let Some(at) = plain.find(text) {
                let matched = at + text.len();
                output.consumed += origins[matched - 1] + 1;
                return Ok(plain[..matched].to_owned());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || output.ended {
                let why = if output.ended { "the line ended" } else { "too late" };
                let tail: String =
                    plain.chars().rev().take(3000).collect::<Vec<_>>().into_iter().rev().collect();
                bail!("{text:?} was not printed on the console ({why}); printed last:\n{tail}");
            }
            output =
                self.output.1.wait_timeout(output, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What a terminal on the line shows.
    pub fn screen(&self) -> String {
        self.output.0.lock().unwrap_or_else(PoisonError::into_inner).terminal.text()
    }

    /// Forgets what the terminal shows: [`Console::screen`] tells of what is drawn from now on.
    pub fn clear_screen(&self) {
        self.output.0.lock().unwrap_or_else(PoisonError::into_inner).terminal.clear();
    }

    /// Forgets what has been printed so far: the next [`Console::expect`] looks at later text only.
    pub fn skip(&self) {
        let mut output = self.output.0.lock().unwrap_or_else(PoisonError::into_inner);
        output.consumed = output.bytes.len();
    }
}

/// The text of terminal output without control sequences (ECMA-48 CSI, two-byte escapes, carriage
/// returns), and for each of its bytes the offset in `bytes` that it came from.
pub fn without_escapes(bytes: &[u8]) -> (String, Vec<usize>) {
    let mut plain = String::new();
    let mut origins = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            0x1b if bytes.get(at + 1) == Some(&b'[') => {
                at += 2;
                while at < bytes.len() && !(0x40..=0x7e).contains(&bytes[at]) {
                    at += 1;
                }
                at += 1;
            }
            // ESC ( B and its kin select a character set: three bytes.
            0x1b if matches!(bytes.get(at + 1), Some(b'(' | b')')) => at += 3,
            0x1b => at += 2,
            b'\r' => at += 1,
            first => {
                let length = match first {
                    0xc0..=0xdf => 2,
                    0xe0..=0xef => 3,
                    0xf0..=0xf7 => 4,
                    _ => 1,
                };
                let end = (at + length).min(bytes.len());
                let text = String::from_utf8_lossy(&bytes[at..end]).into_owned();
                origins.extend(std::iter::repeat_n(end - 1, text.len()));
                plain.push_str(&text);
                at = end;
            }
        }
    }
    (plain, origins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_not_text() {
        let (plain, origins) =
            without_escapes(b"\x1b[2J\x1b[1;1HName\x1b[0m: \x1b(Bgate\r\n\xc3\xa9");
        assert_eq!(plain, "Name: gate\n\u{e9}");
        assert_eq!(plain.len(), origins.len());
    }

    #[test]
    fn expect_returns_text_once_and_names_what_never_came() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("line");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let console = Console::connect(&path, Duration::from_secs(10)).unwrap();
        let (mut guest, _) = listener.accept().unwrap();
        guest.write_all(b"login\x1b[0m: one\r\nlogin: two\r\n").unwrap();
        assert_eq!(console.expect("login:", Duration::from_secs(10)).unwrap(), "login:");
        assert!(
            console.expect("two", Duration::from_secs(10)).unwrap().contains("one\nlogin: two")
        );
        drop(guest);
        let gone = console.expect("three", Duration::from_secs(10)).unwrap_err().to_string();
        assert!(gone.contains("three") && gone.contains("the line ended"), "{gone}");
    }
}
