//! A line to type commands on, below what they said. Pure.
use std::collections::VecDeque;

use super::{
    command::Command,
    gateway_console::{self, Typed},
    grid::{Line, wrapped},
    keys::Key,
    page::{Drawn, Kind, Page, Room, Step},
};

const LINES_MAX: usize = 500;
const INPUT_BYTES_MAX: usize = 300;
const HISTORY_MAX: usize = 50;
const PROMPT: &str = "gateway> ";

/// The gateway console.
pub(super) struct Prompt {
    said: VecDeque<String>,
    input: String,
    history: VecDeque<String>,
    /// Where in the history the input comes from.
    recalled: usize,
    /// Rows scrolled up from the end.
    up: usize,
    /// The command that is under way.
    pub(super) job: Option<u64>,
}

/// A page to type commands on.
pub(super) fn prompt(title: &str) -> Page {
    let mut prompt = Prompt {
        said: VecDeque::new(),
        input: String::new(),
        history: VecDeque::new(),
        recalled: 0,
        up: 0,
        job: None,
    };
    prompt.say(gateway_console::HELP);
    Page { title: title.to_owned(), kind: Kind::Prompt(prompt) }
}

impl Prompt {
    /// A command says something.
    pub(super) fn say(&mut self, text: &str) {
        for line in text.lines() {
            self.said.push_back(line.to_owned());
            if self.said.len() > LINES_MAX {
                self.said.pop_front();
            }
        }
    }

    pub(super) fn press(&mut self, key: Key, room: Room) -> Step {
        match key {
            Key::Char(c) if self.input.len() < INPUT_BYTES_MAX => self.input.push(c),
            Key::Backspace => {
                self.input.pop();
            }
            Key::Clear => self.input.clear(),
            Key::Escape => return Step::Back,
            Key::PageUp => self.up += room.rows / 2,
            Key::PageDown => self.up = self.up.saturating_sub(room.rows / 2),
            Key::Up => self.recall(self.recalled + 1),
            Key::Down => self.recall(self.recalled.saturating_sub(1)),
            Key::Enter if self.job.is_none() => return self.enter(),
            Key::Char(_)
            | Key::Enter
            | Key::Tab
            | Key::BackTab
            | Key::Left
            | Key::Right
            | Key::Home
            | Key::End
            | Key::Redraw
            | Key::EndOfInput => {}
        }
        Step::Stay
    }

    fn recall(&mut self, back: usize) {
        self.recalled = back.min(self.history.len());
        self.input = match self.recalled {
            0 => String::new(),
            back => self.history[self.history.len() - back].clone(),
        };
    }

    fn enter(&mut self) -> Step {
        let typed = std::mem::take(&mut self.input);
        self.recalled = 0;
        self.up = 0;
        self.say(&format!("{PROMPT}{typed}"));
        if !typed.trim().is_empty() {
            self.history.push_back(typed.clone());
            if self.history.len() > HISTORY_MAX {
                self.history.pop_front();
            }
        }
        match gateway_console::parse(&typed) {
            Typed::Nothing => Step::Stay,
            Typed::Say(text) => {
                self.say(&text);
                Step::Stay
            }
            Typed::Exit => Step::Back,
            Typed::Open(page) => Step::Open(page()),
            Typed::Run(tool) => Step::Beside(Command::Tool(tool)),
        }
    }

    pub(super) fn draw(&self, room: Room) -> Drawn {
        let wrap = |line: &String| wrapped(line, room.columns - 1);
        let said: Vec<String> = self.said.iter().flat_map(wrap).collect();
        let rows = room.rows.saturating_sub(1);
        let end = said.len().saturating_sub(rows);
        let from = end.saturating_sub(self.up);
        let mut lines: Vec<Line> =
            said.into_iter().skip(from).take(rows).map(|l| Line::plain(format!(" {l}"))).collect();
        let wait = if self.job.is_some() { "... " } else { PROMPT };
        let input = format!(" {wait}{}", self.input);
        let shown: String =
            input.chars().skip(input.len().saturating_sub(room.columns - 1)).collect();
        let cursor = Some((lines.len(), shown.len()));
        lines.push(Line::plain(shown));
        let footer = "h: commands   up: earlier ones   page up/down   exit or Esc: back".to_owned();
        Drawn { lines, footer, cursor }
    }
}
