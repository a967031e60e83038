//! The terminal: raw input, keys, and a whole page at a time. Plain ANSI; asks the terminal nothing.
use std::{
    io::{self, Write},
    os::fd::AsFd,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::termios::{self, SetArg},
    unistd::read,
};

use super::menu::Key;

/// After an escape byte: time for the rest of an arrow key.
const ESCAPE_TIME_MS: u16 = 50;

/// A terminal in raw mode.
#[derive(Debug)]
pub(super) struct Terminal {
    drawn: String,
}

impl Terminal {
    /// Takes the terminal of standard input and output over.
    pub(super) fn open() -> io::Result<Self> {
        let stdin = io::stdin();
        let mut mode = termios::tcgetattr(&stdin)?;
        termios::cfmakeraw(&mut mode);
        termios::tcsetattr(&stdin, SetArg::TCSANOW, &mode)?;
        Ok(Self { drawn: String::new() })
    }

    /// Shows a page. One that is the same as before is not sent again, which keeps a serial line quiet.
    pub(super) fn draw(&mut self, page: &str) -> io::Result<()> {
        if page == self.drawn {
            return Ok(());
        }
        // Line by line over the old page: clearing the whole screen first would flicker.
        let mut bytes = String::from("\x1b[?25l\x1b[H\x1b[K");
        bytes.push_str(&page.replace('\n', "\r\n\x1b[K"));
        bytes.push_str("\x1b[J");
        let mut out = io::stdout().lock();
        out.write_all(bytes.as_bytes())?;
        out.flush()?;
        page.clone_into(&mut self.drawn);
        Ok(())
    }

    /// The next key, if one comes within `time`.
    pub(super) fn key(&self, time: Duration) -> io::Result<Option<Key>> {
        let ms = u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
        let Some(byte) = next_byte(ms)? else { return Ok(None) };
        Ok(match byte {
            None => Some(Key::EndOfInput),
            Some(b'\r' | b'\n') => Some(Key::Enter),
            Some(0x7f | 0x08) => Some(Key::Backspace),
            Some(0x1b) => Some(self.escape()?),
            Some(byte) if byte.is_ascii_graphic() || byte == b' ' => {
                Some(Key::Char(char::from(byte)))
            }
            Some(_) => None,
        })
    }

    fn escape(&self) -> io::Result<Key> {
        match next_byte(ESCAPE_TIME_MS)? {
            Some(Some(b'[' | b'O')) => {}
            Some(_) | None => return Ok(Key::Escape),
        }
        Ok(match next_byte(ESCAPE_TIME_MS)? {
            Some(Some(b'A')) => Key::Up,
            Some(Some(b'B')) => Key::Down,
            Some(_) | None => Key::Escape,
        })
    }
}

/// One byte of input: `None` when the time is over, `Some(None)` at its end.
fn next_byte(ms: u16) -> io::Result<Option<Option<u8>>> {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    if poll(&mut polled, PollTimeout::from(ms))? == 0 {
        return Ok(None);
    }
    let mut byte = [0];
    Ok(Some((read(&stdin, &mut byte)? == 1).then_some(byte[0])))
}
