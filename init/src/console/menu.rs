//! A menu: entries with numbers, chosen by arrows or by number and Enter. Pure.
use super::{
    grid::Line,
    keys::Key,
    page::{Drawn, Kind, Opens, Page, Room, Shows, Step, window},
    view::View,
};

/// Most digits of an entry's number.
const DIGITS_MAX: usize = 3;

/// One entry.
pub(super) struct Entry {
    pub(super) label: String,
    pub(super) opens: Opens,
}

/// A menu's entries, as the view has them.
pub(super) type Entries = Box<dyn Fn(&View) -> Vec<Entry>>;

/// A menu.
pub(super) struct Menu {
    /// Lines above the entries.
    shows: Shows,
    entries: Entries,
    selected: usize,
    typed: String,
    /// Whether leaving it ends the session.
    is_main: bool,
}

/// An entry that opens a page.
pub(super) fn entry(label: impl Into<String>, opens: impl Fn(&View) -> Page + 'static) -> Entry {
    Entry { label: label.into(), opens: Box::new(move |view| Step::Open(opens(view))) }
}

/// A menu with fixed entries.
pub(super) fn menu(title: &str, entries: fn(&View) -> Vec<Entry>) -> Page {
    menu_with(title, Box::new(|_| Vec::new()), Box::new(entries))
}

/// A menu below lines drawn from the view.
pub(super) fn menu_with(title: &str, shows: Shows, entries: Entries) -> Page {
    let menu = Menu { shows, entries, selected: 0, typed: String::new(), is_main: false };
    Page { title: title.to_owned(), kind: Kind::Menu(menu) }
}

/// The menu that is left by logging out.
pub(super) fn main_menu(title: &str, shows: Shows, entries: fn(&View) -> Vec<Entry>) -> Page {
    let menu = Menu {
        shows,
        entries: Box::new(entries),
        selected: 0,
        typed: String::new(),
        is_main: true,
    };
    Page { title: title.to_owned(), kind: Kind::Menu(menu) }
}

impl Menu {
    pub(super) fn press(&mut self, key: Key, view: &View) -> Step {
        let entries = (self.entries)(view);
        let last = entries.len().saturating_sub(1);
        self.selected = self.selected.min(last);
        match key {
            Key::Up | Key::BackTab => self.select(self.selected.checked_sub(1).unwrap_or(last)),
            Key::Down | Key::Tab => {
                self.select(if self.selected == last { 0 } else { self.selected + 1 });
            }
            Key::Home | Key::PageUp => self.select(0),
            Key::End | Key::PageDown => self.select(last),
            Key::Char('x' | 'X') | Key::Escape if self.is_main => return Step::LogOut,
            Key::Char('x' | 'X') | Key::Escape => return Step::Back,
            Key::Backspace => {
                self.typed.pop();
            }
            Key::Clear => self.typed.clear(),
            Key::Char(digit) if digit.is_ascii_digit() && self.typed.len() < DIGITS_MAX => {
                self.typed.push(digit);
                if let Some(at) = self.number(entries.len()) {
                    self.selected = at;
                }
            }
            Key::Enter => {
                let chosen = if self.typed.is_empty() {
                    Some(self.selected)
                } else {
                    self.number(entries.len())
                };
                self.typed.clear();
                if let Some(entry) = chosen.and_then(|at| entries.get(at)) {
                    return (entry.opens)(view);
                }
            }
            Key::Char(_) | Key::Left | Key::Right | Key::Redraw | Key::EndOfInput => {}
        }
        Step::Stay
    }

    fn select(&mut self, at: usize) {
        self.selected = at;
        self.typed.clear();
    }

    /// The entry whose number was typed.
    fn number(&self, entries: usize) -> Option<usize> {
        let number: usize = self.typed.parse().ok()?;
        number.checked_sub(1).filter(|at| *at < entries)
    }

    pub(super) fn draw(&self, view: &View, room: Room) -> Drawn {
        let mut lines = (self.shows)(view);
        if !lines.is_empty() {
            lines.push(Line::empty());
        }
        let entries = (self.entries)(view);
        // Two rows for the prompt.
        let shown = room.rows.saturating_sub(lines.len() + 2).max(1);
        let from = window(self.selected, entries.len(), shown);
        let digits = entries.len().to_string().len();
        for (at, entry) in entries.iter().enumerate().skip(from).take(shown) {
            let text = format!(" {:>digits$}: {}", at + 1, entry.label);
            if at == self.selected.min(entries.len() - 1) {
                lines.push(Line::reverse(format!("{text} ")));
            } else {
                lines.push(Line::plain(text));
            }
        }
        let leave = if self.is_main { "x: exit session" } else { "x: back" };
        if entries.is_empty() {
            return Drawn { lines, footer: leave.to_owned(), cursor: None };
        }
        lines.push(Line::empty());
        let prompt = format!(" Enter command: {}", self.typed);
        let cursor = Some((lines.len(), prompt.len()));
        lines.push(Line::plain(prompt));
        let footer = format!("number or arrows, then Enter: choose   {leave}");
        Drawn { lines, footer, cursor }
    }
}
