//! What is on the terminal: a grid of ASCII cells, and the bytes that turn one grid into the next. Pure.
//!
//! Only cells that differ are sent: a clock that moves on costs a dozen bytes, which a serial line of
//! 9,600 baud carries in a hundredth of a second.

/// How a cell looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Attribute {
    #[default]
    Plain,
    Bold,
    Reverse,
}

impl Attribute {
    /// SGR (ECMA-48 §8.3.117) that sets it, whatever was set before.
    fn sequence(self) -> &'static str {
        match self {
            Self::Plain => "\x1b[0m",
            Self::Bold => "\x1b[0;1m",
            Self::Reverse => "\x1b[0;7m",
        }
    }
}

/// A line of text with its looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<(Attribute, String)>);

impl Line {
    /// An empty one.
    pub(super) fn empty() -> Self {
        Self::default()
    }

    /// Plain text.
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self(vec![(Attribute::Plain, text.into())])
    }

    /// Bold text.
    pub(super) fn bold(text: impl Into<String>) -> Self {
        Self(vec![(Attribute::Bold, text.into())])
    }

    /// Text in reverse.
    pub(super) fn reverse(text: impl Into<String>) -> Self {
        Self(vec![(Attribute::Reverse, text.into())])
    }

    /// The same with more after it.
    pub(super) fn and(mut self, attribute: Attribute, text: impl Into<String>) -> Self {
        self.0.push((attribute, text.into()));
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    byte: u8,
    attribute: Attribute,
}

const BLANK: Cell = Cell { byte: b' ', attribute: Attribute::Plain };

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// A terminal's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    size: Size,
    cells: Vec<Cell>,
    /// Row and column of the cursor, if one is shown.
    pub(super) cursor: Option<(usize, usize)>,
}

impl Grid {
    /// All blank.
    pub(super) fn new(size: Size) -> Self {
        Self { size, cells: vec![BLANK; size.columns * size.rows], cursor: None }
    }

    /// Writes a line; what does not fit is cut off, and what is not ASCII becomes a question mark.
    pub(super) fn put(&mut self, row: usize, line: &Line) {
        if row >= self.size.rows {
            return;
        }
        let from = row * self.size.columns;
        let cells = line.0.iter().flat_map(|(attribute, text)| {
            text.chars().map(|c| {
                let plain = c.is_ascii_graphic() || c == ' ';
                let byte = if plain { u8::try_from(c).unwrap_or(b'?') } else { b'?' };
                Cell { byte, attribute: *attribute }
            })
        });
        for (target, cell) in self.cells[from..from + self.size.columns].iter_mut().zip(cells) {
            *target = cell;
        }
    }

    fn row(&self, row: usize) -> &[Cell] {
        &self.cells[row * self.size.columns..(row + 1) * self.size.columns]
    }

    /// What to send to a terminal that shows `before`; `None` when nobody knows what it shows.
    pub(super) fn changes(&self, before: Option<&Self>) -> String {
        let mut bytes = String::new();
        let blank;
        let before = match before.filter(|before| before.size == self.size) {
            Some(before) => before,
            None => {
                bytes.push_str("\x1b[0m\x1b[2J\x1b[?25l");
                blank = Self::new(self.size);
                &blank
            }
        };
        if before == self {
            return bytes;
        }
        if before.cursor.is_some() {
            bytes.push_str("\x1b[?25l");
        }
        for row in 0..self.size.rows {
            send_row(row, before.row(row), self.row(row), &mut bytes);
        }
        if let Some((row, column)) = self.cursor {
            bytes.push_str(&format!("\x1b[{};{}H\x1b[?25h", row + 1, column + 1));
        }
        bytes
    }
}

/// Sends the part of a row that differs.
fn send_row(row: usize, before: &[Cell], cells: &[Cell], bytes: &mut String) {
    let differs = |(old, new): (&Cell, &Cell)| old != new;
    let Some(first) = before.iter().zip(cells).position(differs) else { return };
    let last = before.iter().zip(cells).rposition(differs).unwrap_or(first);
    // Blanks up to the end of the row are one short sequence.
    let text_end = cells.iter().rposition(|cell| *cell != BLANK).map_or(0, |at| at + 1);
    let erase = last >= text_end;
    let end = if erase { text_end.max(first) } else { last + 1 };
    bytes.push_str(&format!("\x1b[{};{}H", row + 1, first + 1));
    let mut attribute = Attribute::Plain;
    for cell in &cells[first..end] {
        if cell.attribute != attribute {
            attribute = cell.attribute;
            bytes.push_str(attribute.sequence());
        }
        bytes.push(char::from(cell.byte));
    }
    if attribute != Attribute::Plain {
        bytes.push_str(Attribute::Plain.sequence());
    }
    if erase {
        bytes.push_str("\x1b[K");
    }
}

/// Breaks text into lines of at most `width` characters, at spaces where there are any.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let text: String = text.chars().filter(|c| !c.is_control()).take(10_000).collect();
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        let used = line.chars().count();
        if used > 0 && used + 1 + word.chars().count() > width {
            lines.push(String::new());
        } else if used > 0 {
            line.push(' ');
        }
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let line = lines.last_mut().expect("there is always a line");
            let room = width - line.chars().count();
            let take = room.min(rest.len());
            line.extend(rest.drain(..take));
            if !rest.is_empty() {
                lines.push(String::new());
            }
        }
    }
    lines
}

/// [`wrapped`] for the body of a page, one column from the left.
pub(super) fn paragraph(text: &str) -> Vec<Line> {
    wrapped(text, 78).into_iter().map(|line| Line::plain(format!(" {line}"))).collect()
}

#[cfg(test)]
impl Grid {
    /// For golden files: each row between bars, and after it what is not plain.
    pub(super) fn golden(&self) -> String {
        let mut text = String::new();
        for row in 0..self.size.rows {
            let cells = self.row(row);
            let content: String = cells.iter().map(|cell| char::from(cell.byte)).collect();
            text.push_str(&format!("|{content}|"));
            let mut from = 0;
            for run in cells.chunk_by(|a, b| a.attribute == b.attribute) {
                let to = from + run.len();
                if run[0].attribute != Attribute::Plain {
                    text.push_str(&format!(" {:?} {from}..{to}", run[0].attribute));
                }
                from = to;
            }
            if let Some((_, column)) = self.cursor.filter(|(at, _)| *at == row) {
                text.push_str(&format!(" cursor {column}"));
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { columns: 20, rows: 3 };

    fn grid(lines: &[Line]) -> Grid {
        let mut grid = Grid::new(SIZE);
        for (row, line) in lines.iter().enumerate() {
            grid.put(row, line);
        }
        grid
    }

    #[test]
    fn only_what_differs_is_sent() {
        let before = grid(&[Line::plain("Time 18:00:00"), Line::plain("same")]);
        let after = grid(&[Line::plain("Time 18:00:02"), Line::plain("same")]);
        assert_eq!(after.changes(Some(&before)), "\x1b[1;13H2");
        assert_eq!(after.changes(Some(&after)), "");
        let shorter = grid(&[Line::plain("Time"), Line::plain("same")]);
        assert_eq!(shorter.changes(Some(&after)), "\x1b[1;6H\x1b[K");
        let none = grid(&[Line::empty(), Line::plain("same")]);
        assert_eq!(none.changes(Some(&shorter)), "\x1b[1;1H\x1b[K");
    }

    #[test]
    fn an_unknown_terminal_is_cleared_first() {
        let page =
            grid(&[Line::reverse("T"), Line::empty(), Line::plain("x").and(Attribute::Bold, "y")]);
        let all = "\x1b[0m\x1b[2J\x1b[?25l\x1b[1;1H\x1b[0;7mT\x1b[0m\x1b[3;1Hx\x1b[0;1my\x1b[0m";
        assert_eq!(page.changes(None), all);
        let small = Grid::new(Size { columns: 10, rows: 2 });
        assert_eq!(page.changes(Some(&small)), all, "of another size");
    }

    #[test]
    fn a_reverse_bar_reaches_the_last_column() {
        let bar = grid(&[Line::reverse(" ".repeat(20))]);
        assert_eq!(
            bar.changes(Some(&grid(&[]))),
            format!("\x1b[1;1H\x1b[0;7m{}\x1b[0m", " ".repeat(20))
        );
    }

    #[test]
    fn the_cursor_is_shown_where_something_is_typed() {
        let mut page = grid(&[Line::plain("Name")]);
        page.cursor = Some((0, 4));
        assert!(page.changes(None).ends_with("\x1b[1;5H\x1b[?25h"));
        assert_eq!(grid(&[Line::plain("Name")]).changes(Some(&page)), "\x1b[?25l");
    }

    #[test]
    fn what_is_not_ascii_or_too_long_does_no_harm() {
        let page = grid(&[Line::plain(format!("\u{e9}\x1b{}", "x".repeat(30)))]);
        assert!(page.golden().starts_with(&format!("|??{}|\n", "x".repeat(18))));
        assert_eq!(wrapped("aaa bbb ccccccc", 5), ["aaa", "bbb", "ccccc", "cc"]);
    }
}
