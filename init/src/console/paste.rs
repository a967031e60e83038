//! Text of several lines that is pasted or typed, up to a line with a single dot. Pure.
use super::{
    grid::{Line, paragraph, wrapped},
    keys::Key,
    page::{Drawn, Kind, Page, Room, Step},
    view::View,
};
use crate::support::redacted;

/// Most bytes that are taken: settings with every share are far below.
const BYTES_MAX: usize = 256 << 10;
/// The line that ends the text.
const END: &str = ".";
const INTRO: &str = "Paste the text here, and then a line with a single dot. Lines that name a secret \
                     are shown without it.";

type Reads = Box<dyn Fn(&str, &View) -> Step>;

/// A text that is being pasted.
pub(super) struct Paste {
    lines: Vec<String>,
    typed: String,
    bytes: usize,
    reads: Reads,
}

/// A page to paste a text on; `reads` says what it leads to.
pub(super) fn paste(title: &str, reads: impl Fn(&str, &View) -> Step + 'static) -> Page {
    let reads = Box::new(reads);
    let paste = Paste { lines: Vec::new(), typed: String::new(), bytes: 0, reads };
    Page { title: title.to_owned(), kind: Kind::Paste(paste) }
}

impl Paste {
    fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    pub(super) fn press(&mut self, key: Key, view: &View) -> Step {
        match key {
            Key::Char(c) if self.is_full() && (c != '.' || !self.typed.is_empty()) => {}
            Key::Tab if self.is_full() => {}
            Key::Char(c) => {
                self.bytes += 1;
                self.typed.push(c);
            }
            Key::Tab => {
                self.bytes += 1;
                self.typed.push('\t');
            }
            Key::Enter if self.typed == END => {
                let text = std::mem::take(&mut self.lines).join("\n");
                self.typed.clear();
                let cut = self.is_full();
                self.bytes = 0;
                if cut {
                    let says = format!("More than {} KiB cannot be taken.", BYTES_MAX >> 10);
                    return Step::Open(Page::said("Too Long", paragraph(&says)));
                }
                return (self.reads)(&text, view);
            }
            Key::Enter if self.is_full() => self.typed.clear(),
            Key::Enter => {
                self.bytes += 1;
                self.lines.push(std::mem::take(&mut self.typed));
            }
            Key::Backspace => {
                self.typed.pop();
            }
            Key::Clear => self.typed.clear(),
            Key::Escape => return Step::Back,
            Key::BackTab
            | Key::Up
            | Key::Down
            | Key::Left
            | Key::Right
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End
            | Key::Redraw
            | Key::EndOfInput => {}
        }
        Step::Stay
    }

    pub(super) fn draw(&self, room: Room) -> Drawn {
        let mut lines = paragraph(INTRO);
        lines.push(Line::empty());
        let rows = room.rows.saturating_sub(lines.len() + 1);
        // Enough lines to fill the page, however short they are.
        let from = self.lines.len().saturating_sub(rows);
        let text = redacted(&self.lines[from..].join("\n"));
        let shown: Vec<String> =
            text.lines().flat_map(|line| wrapped(line, room.columns - 2)).collect();
        let from = shown.len().saturating_sub(rows);
        lines.extend(shown.into_iter().skip(from).map(|line| Line::plain(format!(" {line}"))));
        let typed = redacted(&self.typed);
        let left = typed.chars().count().saturating_sub(room.columns - 2);
        let typed: String = typed.chars().skip(left).collect();
        let cursor = Some((lines.len(), typed.chars().count() + 1));
        lines.push(Line::plain(format!(" {typed}")));
        let full = if self.is_full() { ", too long" } else { "" };
        let (count, bytes) = (self.lines.len(), self.bytes);
        let footer = format!("a dot alone: end   Esc: cancel   {count} lines, {bytes} bytes{full}");
        Drawn { lines, footer, cursor }
    }
}
