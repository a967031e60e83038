//! What a command is doing: its steps appear one by one, and then what came of it. Pure.
use super::{
    command::{Command, Outcome, StepReport},
    grid::{Attribute, Line, paragraph, wrapped},
    keys::Key,
    page::{Drawn, Kind, Page, Room, Step},
};

/// Most steps that are kept: no command has more.
const STEPS_MAX: usize = 200;

/// A command under way, or over.
pub(super) struct Progress {
    /// Which one.
    pub(super) job: u64,
    doing: String,
    steps: Vec<StepReport>,
    end: Option<Vec<Line>>,
    /// What can be done next, and the question for it.
    offer: Option<(&'static str, Command)>,
    /// Rows scrolled up from the end.
    up: usize,
}

/// A page for a command that has just begun.
pub(super) fn progress(title: &str, job: u64, doing: &str) -> Page {
    let doing = doing.to_owned();
    let progress = Progress { job, doing, steps: Vec::new(), end: None, offer: None, up: 0 };
    Page { title: title.to_owned(), kind: Kind::Progress(progress) }
}

impl Progress {
    /// A step is over.
    pub(super) fn step(&mut self, report: StepReport) {
        if self.steps.len() < STEPS_MAX {
            self.steps.push(report);
        }
    }

    /// The command is over.
    pub(super) fn finish(&mut self, words: &[String]) {
        self.end = Some(words.iter().flat_map(|words| paragraph(words)).collect());
    }

    /// The command is over, and something can be done next.
    pub(super) fn offer(&mut self, said: &str, ask: &'static str, command: Command) {
        self.finish(&[said.to_owned()]);
        self.offer = Some((ask, command));
    }

    /// Whether the command is over.
    pub(super) fn is_over(&self) -> bool {
        self.end.is_some()
    }

    pub(super) fn press(&mut self, key: Key) -> Step {
        match key {
            Key::Up => self.up += 1,
            Key::Down => self.up = self.up.saturating_sub(1),
            Key::PageUp => self.up += 10,
            Key::PageDown => self.up = self.up.saturating_sub(10),
            Key::Redraw | Key::EndOfInput => {}
            Key::Escape => return Step::Back,
            Key::Char('y' | 'Y') if self.offer.is_some() => {
                if let Some((_, command)) = self.offer.take() {
                    return Step::Do(command);
                }
            }
            Key::Char(_)
            | Key::Enter
            | Key::Tab
            | Key::BackTab
            | Key::Backspace
            | Key::Left
            | Key::Right
            | Key::Home
            | Key::End
            | Key::Clear => {
                if self.is_over() {
                    return Step::Back;
                }
            }
        }
        Step::Stay
    }

    pub(super) fn draw(&self, room: Room) -> Drawn {
        let mut lines = Vec::new();
        for step in &self.steps {
            lines.extend(step_lines(step, room.columns));
        }
        match &self.end {
            None => lines.push(Line::plain(format!(" {} ...", self.doing))),
            Some(end) => {
                if !lines.is_empty() {
                    lines.push(Line::empty());
                }
                lines.extend(end.iter().cloned());
            }
        }
        if let Some((ask, _)) = &self.offer {
            lines.push(Line::bold(format!(" {ask} [y/N] ")));
        }
        let end = lines.len().saturating_sub(room.rows);
        let from = end.saturating_sub(self.up);
        let lines = lines.into_iter().skip(from).take(room.rows).collect();
        let footer = if self.offer.is_some() {
            "y: yes   any other key: no, back"
        } else if self.is_over() {
            "Press any key to continue"
        } else {
            "Esc: leave this page; what has begun goes on"
        };
        Drawn { lines, footer: footer.to_owned(), cursor: None }
    }
}

/// A step with its outcome at the right, and below it what to do.
fn step_lines(step: &StepReport, columns: usize) -> Vec<Line> {
    let (mark, attribute) = match step.outcome {
        Outcome::Passed => ("[PASSED]", Attribute::Plain),
        Outcome::Warning => ("[WARNING]", Attribute::Bold),
        Outcome::Failed => ("[FAILED]", Attribute::Reverse),
        Outcome::Skipped => ("[SKIPPED]", Attribute::Plain),
        Outcome::Note => ("", Attribute::Plain),
    };
    // What is to be copied is not broken in two if it can be helped.
    let room = if step.outcome == Outcome::Note { columns - 2 } else { columns - 12 };
    let mut titles = wrapped(&step.title, room).into_iter();
    let first = titles.next().unwrap_or_default();
    let mut lines = vec![Line::plain(format!(" {first:<room$} ")).and(attribute, mark)];
    lines.extend(titles.map(|title| Line::plain(format!(" {title}"))));
    if !step.advice.is_empty() {
        let advice = wrapped(&step.advice, columns - 6);
        lines.extend(advice.into_iter().map(|line| Line::plain(format!("     {line}"))));
    }
    lines
}
