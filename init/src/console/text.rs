//! Text to page through: fixed, drawn from the view, or growing while it is watched. Pure.
use std::collections::VecDeque;

use super::{
    command::JournalFilter,
    grid::{Line, wrapped},
    keys::Key,
    page::{Drawn, Opens, Room, Shows, Step},
    view::View,
};

/// Lines that are kept of what grows.
const FEED_LINES_MAX: usize = 2000;

type Words = Box<dyn Fn(&View) -> String>;

/// A text.
pub(super) struct Text {
    source: Source,
    /// First line shown.
    from: usize,
    /// Whether the end is shown, wherever it is.
    at_end: bool,
    /// What Enter leads to, and the footer's word for it.
    enter: Option<(Words, Opens)>,
}

enum Source {
    Fixed(Vec<Line>),
    Live(Shows),
    Feed(Feed),
}

/// The journal, as it comes.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) filter: JournalFilter,
    lines: VecDeque<String>,
}

impl Text {
    /// Text that stays as it is.
    pub(super) fn fixed(lines: Vec<Line>) -> Self {
        Self { source: Source::Fixed(lines), from: 0, at_end: false, enter: None }
    }

    /// Text drawn from the view.
    pub(super) fn live(shows: Shows) -> Self {
        Self { source: Source::Live(shows), from: 0, at_end: false, enter: None }
    }

    /// The journal, its end first.
    pub(super) fn journal(filter: JournalFilter) -> Self {
        let feed = Feed { filter, lines: VecDeque::new() };
        Self { source: Source::Feed(feed), from: 0, at_end: true, enter: None }
    }

    /// The same, with something that Enter does.
    pub(super) fn with_enter(
        mut self,
        word: impl Fn(&View) -> String + 'static,
        opens: impl Fn(&View) -> Step + 'static,
    ) -> Self {
        self.enter = Some((Box::new(word), Box::new(opens)));
        self
    }

    /// What of the journal it wants.
    pub(super) fn wanted(&self) -> Option<&JournalFilter> {
        match &self.source {
            Source::Feed(feed) => Some(&feed.filter),
            Source::Fixed(_) | Source::Live(_) => None,
        }
    }

    /// A line of the journal came.
    pub(super) fn grow(&mut self, line: String) {
        if let Source::Feed(feed) = &mut self.source {
            feed.lines.push_back(line);
            if feed.lines.len() > FEED_LINES_MAX {
                feed.lines.pop_front();
            }
        }
    }

    fn lines(&self, view: &View, room: Room) -> Vec<Line> {
        match &self.source {
            Source::Fixed(lines) => lines.clone(),
            Source::Live(shows) => shows(view),
            Source::Feed(feed) if feed.lines.is_empty() => {
                vec![Line::plain(" Nothing of this kind so far.")]
            }
            Source::Feed(feed) => {
                let wrap = |line: &String| wrapped(line, room.columns);
                feed.lines.iter().flat_map(wrap).map(Line::plain).collect()
            }
        }
    }

    pub(super) fn press(&mut self, key: Key, view: &View, room: Room) -> Step {
        let end = self.lines(view, room).len().saturating_sub(room.rows);
        let from = if self.at_end { end } else { self.from.min(end) };
        let page = room.rows.saturating_sub(1).max(1);
        self.from = match key {
            Key::Up => from.saturating_sub(1),
            Key::Down => (from + 1).min(end),
            Key::PageUp => from.saturating_sub(page),
            Key::PageDown | Key::Char(' ') => (from + page).min(end),
            Key::Home => 0,
            Key::End => end,
            Key::Enter => match &self.enter {
                Some((_, opens)) => return opens(view),
                None => return Step::Back,
            },
            Key::Escape | Key::Char('x' | 'X' | 'q' | 'Q') => return Step::Back,
            Key::Char(_)
            | Key::Tab
            | Key::BackTab
            | Key::Backspace
            | Key::Left
            | Key::Right
            | Key::Clear
            | Key::Redraw
            | Key::EndOfInput => from,
        };
        // What grows is followed for as long as its end is looked at.
        self.at_end = matches!(self.source, Source::Feed(_)) && self.from == end;
        Step::Stay
    }

    pub(super) fn draw(&self, view: &View, room: Room) -> Drawn {
        let lines = self.lines(view, room);
        let total = lines.len();
        let end = total.saturating_sub(room.rows);
        let from = if self.at_end { end } else { self.from.min(end) };
        let lines = lines.into_iter().skip(from).take(room.rows).collect();
        let leave = match &self.enter {
            Some((word, _)) => format!("Enter: {}", word(view)),
            None => "x: back".to_owned(),
        };
        let footer = if total > room.rows {
            let to = (from + room.rows).min(total);
            format!(
                "{leave}   arrows, page up/down, Home, End   lines {}-{to} of {total}",
                from + 1
            )
        } else {
            leave
        };
        Drawn { lines, footer, cursor: None }
    }
}
