//! Pages: what a page is made of, what keys do to it, and how it is drawn. Pure.
//!
//! A page is data: a title and one of few kinds, which pages/ fills with words, fields and what comes
//! next. What depends on the machine's state is a function of the view, so that a page is always as
//! fresh as the last look.
use super::{
    command::Command, form::Form, grid::Line, keys::Key, list::List, menu::Menu, paste::Paste,
    progress::Progress, prompt::Prompt, question::Question, text::Text, view::View,
};

/// A page.
pub(super) struct Page {
    pub(super) title: String,
    pub(super) kind: Kind,
}

/// What kind of page it is.
pub(super) enum Kind {
    /// Entries to choose from, by number or arrows.
    Menu(Menu),
    /// A long list to search.
    List(List),
    /// Fields to fill in.
    Form(Form),
    /// Yes or no.
    Question(Question),
    /// Text to page through: fixed, drawn from the view, or growing.
    Text(Text),
    /// What a command is doing.
    Progress(Progress),
    /// A line to type commands on, and what they said.
    Prompt(Prompt),
    /// Several lines that are pasted.
    Paste(Paste),
}

/// What follows from a key.
pub(super) enum Step {
    /// Nothing; the page may have changed.
    Stay,
    /// To the page below.
    Back,
    /// This page on top.
    Open(Page),
    /// Run a command, and show how it goes.
    Do(Command),
    /// Run a command beside the page that is shown.
    Beside(Command),
    /// Back to the front page, logged out.
    LogOut,
}

/// What an entry leads to.
pub(super) type Opens = Box<dyn Fn(&View) -> Step>;
/// What a page shows.
pub(super) type Shows = Box<dyn Fn(&View) -> Vec<Line>>;

/// Room for a page between title and footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// A page as it is drawn into its room.
#[derive(Debug, Default)]
pub(super) struct Drawn {
    pub(super) lines: Vec<Line>,
    /// Which keys do what.
    pub(super) footer: String,
    /// Row and column of the cursor, if something is typed.
    pub(super) cursor: Option<(usize, usize)>,
}

impl Page {
    /// A page of text that stays as it is.
    pub(super) fn said(title: impl Into<String>, lines: Vec<Line>) -> Self {
        Self { title: title.into(), kind: Kind::Text(Text::fixed(lines)) }
    }

    /// A page that is drawn from the view.
    pub(super) fn live(title: impl Into<String>, shows: Shows) -> Self {
        Self { title: title.into(), kind: Kind::Text(Text::live(shows)) }
    }

    /// It comes on the screen, made from this view.
    pub(super) fn opened(mut self, view: &View) -> Self {
        if let Kind::Form(form) = &mut self.kind {
            form.opened(view);
        }
        self
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: Key, view: &View, room: Room) -> Step {
        match &mut self.kind {
            Kind::Menu(menu) => menu.press(key, view),
            Kind::List(list) => list.press(key, view, room),
            Kind::Form(form) => form.press(key, view),
            Kind::Question(question) => question.press(key),
            Kind::Text(text) => text.press(key, view, room),
            Kind::Progress(progress) => progress.press(key),
            Kind::Prompt(prompt) => prompt.press(key, room),
            Kind::Paste(paste) => paste.press(key, view),
        }
    }

    /// The page's body.
    pub(super) fn draw(&self, view: &View, room: Room) -> Drawn {
        match &self.kind {
            Kind::Menu(menu) => menu.draw(view, room),
            Kind::List(list) => list.draw(room),
            Kind::Form(form) => form.draw(room),
            Kind::Question(question) => question.draw(view),
            Kind::Text(text) => text.draw(view, room),
            Kind::Progress(progress) => progress.draw(room),
            Kind::Prompt(prompt) => prompt.draw(room),
            Kind::Paste(paste) => paste.draw(room),
        }
    }
}

/// What comes first of `total` rows, so that `selected` is among the `shown` ones.
pub(super) fn window(selected: usize, total: usize, shown: usize) -> usize {
    selected.saturating_sub(shown / 2).min(total.saturating_sub(shown))
}
