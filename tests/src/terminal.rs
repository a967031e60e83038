//! What a terminal shows: a small emulator of the sequences that consoles send. Pure.
//!
//! The appliance's console sends what differs from the page before, so its pages are not in the stream
//! but on the screen; and it says where each page ends (synchronized output, DEC private mode 2026), so none is seen in
//! part.

const COLUMNS: usize = 80;
const ROWS: usize = 24;
/// Longest control sequence that is followed to its end.
const SEQUENCE_BYTES_MAX: usize = 64;

/// A VT100's screen.
#[derive(Debug)]
pub struct Terminal {
    rows: Vec<[u8; COLUMNS]>,
    row: usize,
    column: usize,
    state: State,
    /// What is shown while the next page comes.
    before: Option<String>,
}

/// The mode in which a page is shown when all of it has come.
const SYNCHRONIZED: &[u8] = b"?2026";

#[derive(Debug)]
enum State {
    Text,
    /// After ESC.
    Escape,
    /// After ESC [, with what came since.
    Sequence(Vec<u8>),
    /// One more byte names a character set.
    CharacterSet,
}

impl Default for Terminal {
    fn default() -> Self {
        let rows = vec![[b' '; COLUMNS]; ROWS];
        Self { rows, row: 0, column: 0, state: State::Text, before: None }
    }
}

impl Terminal {
    /// Takes output in, wherever it was cut.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.take(*byte);
        }
    }

    /// Forgets what is shown.
    pub fn clear(&mut self) {
        self.rows.fill([b' '; COLUMNS]);
        self.before = None;
    }

    /// The lines, without blanks at their ends.
    pub fn text(&self) -> String {
        self.before.clone().unwrap_or_else(|| self.drawn())
    }

    fn drawn(&self) -> String {
        let line = |row: &[u8; COLUMNS]| String::from_utf8_lossy(row).trim_end().to_owned();
        let lines: Vec<String> = self.rows.iter().map(line).collect();
        lines.join("\n").trim_end().to_owned()
    }

    fn take(&mut self, byte: u8) {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Text => self.put(byte),
            State::CharacterSet => {}
            State::Escape => match byte {
                b'[' => self.state = State::Sequence(Vec::new()),
                b'(' | b')' => self.state = State::CharacterSet,
                _ => {}
            },
            State::Sequence(mut parameters) => {
                // A sequence ends with a byte from 0x40 on (ECMA-48 §5.4).
                if (0x40..=0x7e).contains(&byte) {
                    self.obey(byte, &parameters);
                } else if parameters.len() < SEQUENCE_BYTES_MAX {
                    parameters.push(byte);
                    self.state = State::Sequence(parameters);
                }
            }
        }
    }

    fn put(&mut self, byte: u8) {
        match byte {
            0x1b => self.state = State::Escape,
            b'\r' => self.column = 0,
            b'\n' => self.line_feed(),
            0x08 => self.column = self.column.saturating_sub(1),
            b' '..=b'~' => {
                // The last column is left by the next character, not by its own.
                if self.column == COLUMNS {
                    self.column = 0;
                    self.line_feed();
                }
                self.rows[self.row][self.column] = byte;
                self.column += 1;
            }
            _ => {}
        }
    }

    fn line_feed(&mut self) {
        if self.row + 1 < ROWS {
            self.row += 1;
        } else {
            self.rows.remove(0);
            self.rows.push([b' '; COLUMNS]);
        }
    }

    fn obey(&mut self, end: u8, parameters: &[u8]) {
        let text = String::from_utf8_lossy(parameters);
        let number = |at: usize| text.split(';').nth(at).and_then(|n| n.parse::<usize>().ok());
        let column = self.column.min(COLUMNS - 1);
        match end {
            b'H' | b'f' => {
                self.row = number(0).unwrap_or(1).clamp(1, ROWS) - 1;
                self.column = number(1).unwrap_or(1).clamp(1, COLUMNS) - 1;
            }
            b'K' if number(0).unwrap_or(0) == 0 => self.rows[self.row][column..].fill(b' '),
            b'J' if number(0) == Some(2) => self.rows.fill([b' '; COLUMNS]),
            b'h' if parameters == SYNCHRONIZED => self.before = Some(self.text()),
            b'l' if parameters == SYNCHRONIZED => self.before = None,
            b'J' if number(0).unwrap_or(0) == 0 => {
                self.rows[self.row][column..].fill(b' ');
                self.rows[self.row + 1..].fill([b' '; COLUMNS]);
            }
            // Colours, the cursor's looks, and what firmware sends besides.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_cells_are_put_where_they_belong() {
        let mut terminal = Terminal::default();
        terminal.feed(
            b"boot ...\r\nnoise\x1b[0m\x1b[2J\x1b[?25l\x1b[1;1H\x1b[0;7m Title\x1b[0m\x1b[3;",
        );
        terminal.feed(b"2HTime 18:00:00\x1b[24;80H!");
        terminal.feed(b"\x1b[3;14H2\x1b[1;2H\x1b[K");
        let lines: Vec<String> = terminal.text().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), ROWS);
        assert_eq!((lines[0].as_str(), lines[2].as_str()), ("", " Time 18:00:02"));
        assert_eq!(lines[23], format!("{:>80}", "!"));
    }

    #[test]
    fn a_page_is_shown_when_all_of_it_has_come() {
        let mut terminal = Terminal::default();
        terminal.feed(b"\x1b[?2026h\x1b[2JName  one\x1b[?2026l");
        terminal.feed(b"\x1b[?2026h\x1b[1;7Htwo");
        assert_eq!(terminal.text(), "Name  one");
        terminal.feed(b"\x1b[2;1HTime\x1b[?2026l");
        assert_eq!(terminal.text(), "Name  two\nTime");
        terminal.feed(b"\x1b[?2026h\x1b[1;7Hsix");
        terminal.clear();
        assert_eq!(terminal.text(), "", "nothing of it is remembered");
    }

    #[test]
    fn lines_scroll_and_wrap() {
        let mut terminal = Terminal::default();
        for n in 0..30 {
            terminal.feed(format!("line {n}\r\n").as_bytes());
        }
        terminal.feed(&[b'x'; 81]);
        let text = terminal.text();
        assert!(text.starts_with("line 8\n") && text.ends_with("x\nx"), "{text}");
        terminal.feed(b"\x1b[1;1H\x1b[J");
        assert_eq!(terminal.text(), "");
    }
}
