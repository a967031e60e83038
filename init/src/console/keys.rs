//! Keys, and the bytes that terminals send for them. Pure.
use std::io;

/// After an escape byte: time for the rest of an arrow key.
const ESCAPE_TIME_MS: u16 = 50;
/// Longest sequence that is followed to its end.
const SEQUENCE_BYTES_MAX: usize = 16;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A printable ASCII character.
    Char(char),
    Enter,
    Tab,
    BackTab,
    Backspace,
    Escape,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-U: empty the field.
    Clear,
    /// Ctrl-L: draw everything again.
    Redraw,
    /// The line was hung up.
    EndOfInput,
}

/// A byte of input: `None` when none came in time, `Some(None)` at the end of input.
pub(super) type Byte = Option<Option<u8>>;

/// The key that begins with the next byte; `next` waits for so many milliseconds. `None` when nothing
/// came, or what came means nothing here.
///
/// # Errors
/// What reading says.
pub(super) fn decode(
    first: u8,
    next: impl FnMut(u16) -> io::Result<Byte>,
) -> io::Result<Option<Key>> {
    Ok(match first {
        b'\r' | b'\n' => Some(Key::Enter),
        b'\t' => Some(Key::Tab),
        0x7f | 0x08 => Some(Key::Backspace),
        0x0c => Some(Key::Redraw),
        0x15 => Some(Key::Clear),
        0x1b => return escape(next),
        byte if byte.is_ascii_graphic() || byte == b' ' => Some(Key::Char(char::from(byte))),
        _ => None,
    })
}

/// The key whose sequence follows ESC: the key Escape itself when nothing does. Linux's console and
/// xterm disagree about Home and End.
fn escape(mut next: impl FnMut(u16) -> io::Result<Byte>) -> io::Result<Option<Key>> {
    match next(ESCAPE_TIME_MS)? {
        Some(Some(b'[' | b'O')) => {}
        Some(_) | None => return Ok(Some(Key::Escape)),
    }
    let mut parameters = Vec::new();
    // A sequence ends with a byte from 0x40 on (ECMA-48 §5.4).
    for _ in 0..SEQUENCE_BYTES_MAX {
        let Some(Some(byte)) = next(ESCAPE_TIME_MS)? else { return Ok(None) };
        match (byte, parameters.as_slice()) {
            (b'A', []) => return Ok(Some(Key::Up)),
            (b'B', []) => return Ok(Some(Key::Down)),
            (b'C', []) => return Ok(Some(Key::Right)),
            (b'D', []) => return Ok(Some(Key::Left)),
            (b'Z', []) => return Ok(Some(Key::BackTab)),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(bytes: &[u8]) -> Option<Key> {
        let mut rest = bytes[1..].iter();
        decode(bytes[0], |_| Ok(rest.next().map(|byte| Some(*byte)))).unwrap()
    }

    #[test]
    fn keys_are_known_by_the_sequences_of_both_kinds_of_terminal() {
        for (bytes, key) in [
            (b"\x1b".as_slice(), Key::Escape),
            (b"\x1b[A", Key::Up),
            (b"\x1bOB", Key::Down),
            (b"\x1b[C", Key::Right),
            (b"\x1b[D", Key::Left),
            (b"\x1b[Z", Key::BackTab),
            (b"\x1b[1~", Key::Home),
            (b"\x1b[H", Key::Home),
            (b"\x1b[4~", Key::End),
            (b"\x1bOF", Key::End),
            (b"\x1b[5~", Key::PageUp),
            (b"\x1b[6~", Key::PageDown),
            (b"\r", Key::Enter),
            (b"\t", Key::Tab),
            (b"\x08", Key::Backspace),
            (b"\x0c", Key::Redraw),
            (b"\x15", Key::Clear),
            (b"x", Key::Char('x')),
            (b" ", Key::Char(' ')),
        ] {
            assert_eq!(key_of(bytes), Some(key), "{bytes:?}");
        }
    }

    #[test]
    fn what_means_nothing_here_is_no_key() {
        for bytes in [
            b"\x1b[15~".as_slice(),
            b"\x1b[1;5C",
            b"\x1b[",
            b"\x1b[11111111111111111111",
            b"\x01",
            b"\xe9",
        ] {
            assert_eq!(key_of(bytes), None, "{bytes:?}");
        }
    }
}
