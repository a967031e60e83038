//! A question before something that cannot be taken back or cuts somebody off. Pure.
//!
//! Enter means no: who presses it without reading harms nobody.
use super::{
    command::Command,
    grid::Line,
    keys::Key,
    page::{Drawn, Kind, Page, Shows, Step},
    view::View,
};

/// A question.
pub(super) struct Question {
    shows: Shows,
    ask: String,
    yes: Command,
    /// What "no" does; nothing but going back, if there is none.
    no: Option<Command>,
}

/// A question below lines drawn from the view.
pub(super) fn question(
    title: impl Into<String>,
    shows: Shows,
    ask: impl Into<String>,
    yes: Command,
) -> Page {
    let question = Question { shows, ask: ask.into(), yes, no: None };
    Page { title: title.into(), kind: Kind::Question(question) }
}

/// A question whose "no" does something, too.
pub(super) fn either(title: &str, shows: Shows, ask: &str, yes: Command, no: Command) -> Page {
    let question = Question { shows, ask: ask.to_owned(), yes, no: Some(no) };
    Page { title: title.to_owned(), kind: Kind::Question(question) }
}

impl Question {
    pub(super) fn press(&self, key: Key) -> Step {
        match key {
            Key::Char('y' | 'Y') => Step::Do(self.yes.clone()),
            Key::Char('n' | 'N' | 'x' | 'X') | Key::Escape | Key::Enter => match &self.no {
                Some(no) => Step::Do(no.clone()),
                None => Step::Back,
            },
            Key::Char(_)
            | Key::Tab
            | Key::BackTab
            | Key::Backspace
            | Key::Up
            | Key::Down
            | Key::Left
            | Key::Right
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End
            | Key::Clear
            | Key::Redraw
            | Key::EndOfInput => Step::Stay,
        }
    }

    pub(super) fn draw(&self, view: &View) -> Drawn {
        let mut lines = (self.shows)(view);
        lines.push(Line::empty());
        let ask = format!(" {} [y/N] ", self.ask);
        let cursor = Some((lines.len(), ask.len()));
        lines.push(Line::bold(ask));
        Drawn { lines, footer: "y: yes   n or Enter: no".to_owned(), cursor }
    }
}
