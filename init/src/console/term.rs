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
            Some(0x1b) => escape(next_byte)?,
            Some(byte) if byte.is_ascii_graphic() || byte == b' ' => {
                Some(Key::Char(char::from(byte)))
            }
            Some(_) => None,
        })
    }
}

/// The key whose sequence follows ESC: the key Escape itself when nothing does, no key when it is one
/// that means nothing here. Linux's console and xterm disagree about Home and End.
fn escape(mut next: impl FnMut(u16) -> io::Result<Option<Option<u8>>>) -> io::Result<Option<Key>> {
    match next(ESCAPE_TIME_MS)? {
        Some(Some(b'[' | b'O')) => {}
        Some(_) | None => return Ok(Some(Key::Escape)),
    }
    let mut parameters = Vec::new();
    // A sequence ends with a byte from 0x40 on (ECMA-48 §5.4); none is longer than this.
    for _ in 0..16 {
        let Some(Some(byte)) = next(ESCAPE_TIME_MS)? else { return Ok(None) };
        match (byte, parameters.as_slice()) {
            (b'A', []) => return Ok(Some(Key::Up)),
            (b'B', []) => return Ok(Some(Key::Down)),
            (b'H', []) | (b'~', b"1" | b"7") => return Ok(Some(Key::Home)),
            (b'F', []) | (b'~', b"4" | b"8") => return Ok(Some(Key::End)),
            (b'~', b"5") => return Ok(Some(Key::PageUp)),
            (b'~', b"6") => return Ok(Some(Key::PageDown)),
            (0x40..=0x7e, _) => return Ok(None),
            (parameter, _) => parameters.push(parameter),
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the bytes after ESC.
    fn key_of(bytes: &[u8]) -> Option<Key> {
        let mut bytes = bytes.iter();
        escape(|_| Ok(bytes.next().map(|byte| Some(*byte)))).unwrap()
    }

    #[test]
    fn keys_are_known_by_the_sequences_of_both_kinds_of_terminal() {
        assert_eq!(key_of(b""), Some(Key::Escape));
        assert_eq!((key_of(b"[A"), key_of(b"OB")), (Some(Key::Up), Some(Key::Down)));
        assert_eq!((key_of(b"[1~"), key_of(b"[H")), (Some(Key::Home), Some(Key::Home)));
        assert_eq!((key_of(b"[4~"), key_of(b"OF")), (Some(Key::End), Some(Key::End)));
        assert_eq!((key_of(b"[5~"), key_of(b"[6~")), (Some(Key::PageUp), Some(Key::PageDown)));
    }

    #[test]
    fn sequences_that_mean_nothing_here_are_no_keys() {
        for bytes in [b"[C".as_slice(), b"[15~", b"[1;5C", b"[", b"[1111111111111111111"] {
            assert_eq!(key_of(bytes), None, "{bytes:?}");
        }
    }
}
