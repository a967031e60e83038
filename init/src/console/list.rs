//! A long list: typing narrows it to the names with these letters in them, or goes to a number. Pure.
use super::{
    grid::Line,
    keys::Key,
    page::{Drawn, Kind, Page, Room, Step, window},
    view::View,
};

/// Longest search.
const SEARCH_BYTES_MAX: usize = 60;

type Chooses = Box<dyn Fn(&str, &View) -> Step>;

/// A list.
pub(super) struct List {
    names: Vec<String>,
    chooses: Chooses,
    typed: String,
    /// Among those that are shown.
    selected: usize,
}

/// A list of names; `chooses` says what the chosen one leads to.
pub(super) fn list(
    title: &str,
    names: Vec<String>,
    chooses: impl Fn(&str, &View) -> Step + 'static,
) -> Page {
    let list = List { names, chooses: Box::new(chooses), typed: String::new(), selected: 0 };
    Page { title: title.to_owned(), kind: Kind::List(list) }
}

impl List {
    /// Numbers and names that are shown: all while a number is typed.
    fn shown(&self) -> Vec<(usize, &str)> {
        let all = self.names.iter().enumerate().map(|(at, name)| (at + 1, name.as_str()));
        if self.number().is_some() {
            return all.collect();
        }
        let typed = self.typed.to_lowercase();
        all.filter(|(_, name)| name.to_lowercase().contains(&typed)).collect()
    }

    fn number(&self) -> Option<usize> {
        self.typed.parse().ok()
    }

    pub(super) fn press(&mut self, key: Key, view: &View, room: Room) -> Step {
        let shown = self.shown().len();
        let last = shown.saturating_sub(1);
        let page = room.rows.saturating_sub(2).max(1);
        match key {
            Key::Up | Key::BackTab => self.selected = self.selected.saturating_sub(1),
            Key::Down | Key::Tab => self.selected = (self.selected + 1).min(last),
            Key::PageUp => self.selected = self.selected.saturating_sub(page),
            Key::PageDown => self.selected = (self.selected + page).min(last),
            Key::Home => self.selected = 0,
            Key::End => self.selected = last,
            Key::Escape => return Step::Back,
            Key::Backspace => {
                self.typed.pop();
                self.follow_typed();
            }
            Key::Clear => {
                self.typed.clear();
                self.follow_typed();
            }
            Key::Char(c) if self.typed.len() < SEARCH_BYTES_MAX => {
                self.typed.push(c);
                self.follow_typed();
            }
            Key::Enter => {
                let chosen = self.shown().get(self.selected).map(|(_, name)| (*name).to_owned());
                if let Some(name) = chosen {
                    return (self.chooses)(&name, view);
                }
            }
            Key::Char(_) | Key::Left | Key::Right | Key::Redraw | Key::EndOfInput => {}
        }
        Step::Stay
    }

    /// Goes to the number, or to the first name that begins with what was typed.
    fn follow_typed(&mut self) {
        if let Some(number) = self.number() {
            self.selected = number.saturating_sub(1).min(self.names.len().saturating_sub(1));
            return;
        }
        let typed = self.typed.to_lowercase();
        let begins = |(_, name): &(usize, &str)| name.to_lowercase().starts_with(&typed);
        self.selected = self.shown().iter().position(begins).unwrap_or(0);
    }

    pub(super) fn draw(&self, room: Room) -> Drawn {
        let prompt = format!(" Search: {}", self.typed);
        let cursor = Some((0, prompt.len()));
        let mut lines = vec![Line::plain(prompt), Line::empty()];
        let shown = self.shown();
        if shown.is_empty() {
            lines.push(Line::plain(" nothing here has these letters: Backspace takes one away"));
        }
        let rows = room.rows.saturating_sub(lines.len()).max(1);
        let from = window(self.selected, shown.len(), rows);
        for (at, (number, name)) in shown.iter().enumerate().skip(from).take(rows) {
            let text = format!(" {number:>3}: {name}");
            lines.push(if at == self.selected {
                Line::reverse(format!("{text} "))
            } else {
                Line::plain(text)
            });
        }
        let footer =
            "type letters or a number, or use arrows; Enter: choose   Esc: back".to_owned();
        Drawn { lines, footer, cursor }
    }
}
