//! The terminal: raw mode, its size, keys, and pages. Asks the terminal itself nothing.
use std::{
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::termios::{self, SetArg},
    unistd::read,
};

use super::{
    grid::{Grid, Size},
    keys::{self, Byte, Key},
};

/// What every terminal can show. A serial line does not tell its size; VT100 and all after it have this.
const SIZE_MIN: Size = Size { columns: 80, rows: 24 };
/// Larger ones get no more than this: nothing here needs it, and it bounds the memory.
const SIZE_MAX: Size = Size { columns: 240, rows: 100 };

/// Around what belongs together (synchronized output, DEC private mode 2026): a terminal that knows it shows a page when
/// all of it has come, the others take no notice.
const BEGIN: &[u8] = b"\x1b[?2026h";
const END: &[u8] = b"\x1b[?2026l";

/// A terminal in raw mode.
#[derive(Debug)]
pub(super) struct Terminal {
    drawn: Option<Grid>,
}

/// What was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// A key.
    Key(Key),
    /// The bell rang, or the time is over, or a key that means nothing was pressed.
    Other,
}

impl Terminal {
    /// Takes the terminal of standard input and output over.
    pub(super) fn open() -> io::Result<Self> {
        let stdin = io::stdin();
        let mut mode = termios::tcgetattr(&stdin)?;
        termios::cfmakeraw(&mut mode);
        termios::tcsetattr(&stdin, SetArg::TCSANOW, &mode)?;
        Ok(Self { drawn: None })
    }

    /// Its size as the kernel knows it (`TIOCGWINSZ`); the smallest there is where it does not.
    pub(super) fn size(&self) -> Size {
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCGWINSZ fills the winsize that it is given a pointer to.
        let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
        if done < 0 {
            return SIZE_MIN;
        }
        within(usize::from(size.ws_col), usize::from(size.ws_row))
    }

    /// Shows a page; sends what differs from the one before.
    pub(super) fn draw(&mut self, page: Grid) -> io::Result<()> {
        let bytes = page.changes(self.drawn.as_ref());
        if !bytes.is_empty() {
            let mut out = io::stdout().lock();
            out.write_all(&[BEGIN, bytes.as_bytes(), END].concat())?;
            out.flush()?;
        }
        self.drawn = Some(page);
        Ok(())
    }

    /// The next page is sent whole.
    pub(super) fn forget(&mut self) {
        self.drawn = None;
    }

    /// Waits for a key, for `bell` to become readable, or for `time`.
    pub(super) fn wait(&self, bell: BorrowedFd<'_>, time: Duration) -> io::Result<Woken> {
        let stdin = io::stdin();
        let mut polled =
            [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(bell, PollFlags::POLLIN)];
        let ms = u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
        poll(&mut polled, PollTimeout::from(ms))?;
        if !polled[0].any().unwrap_or(true) {
            return Ok(Woken::Other);
        }
        let key = match next_byte(0)? {
            None => None,
            Some(None) => Some(Key::EndOfInput),
            Some(Some(byte)) => keys::decode(byte, next_byte)?,
        };
        Ok(key.map_or(Woken::Other, Woken::Key))
    }
}

fn within(columns: usize, rows: usize) -> Size {
    Size {
        columns: columns.clamp(SIZE_MIN.columns, SIZE_MAX.columns),
        rows: rows.clamp(SIZE_MIN.rows, SIZE_MAX.rows),
    }
}

fn next_byte(ms: u16) -> io::Result<Byte> {
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

    #[test]
    fn a_terminal_that_does_not_tell_its_size_is_a_vt100() {
        assert_eq!(within(0, 0), SIZE_MIN);
        assert_eq!(within(132, 43), Size { columns: 132, rows: 43 });
        assert_eq!(within(65_535, 65_535), SIZE_MAX);
    }
}
