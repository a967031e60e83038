//! The console's state: a stack of pages, who is logged in, and what is under way. Pure: keys and
//! events come in, commands go out, and a grid is drawn.
use std::time::Duration;

use super::{
    command::{Command, Finished, JournalFilter, StepReport},
    grid::{Grid, Line, Size, paragraph},
    keys::Key,
    page::{Kind, Page, Room, Step},
    pages,
    progress::progress,
    view::View,
};
use crate::machine::Machine;

/// Who does not press a key for so long is logged out.
const IDLE_LOG_OUT: Duration = Duration::from_secs(600);
/// Pages on top of each other; no path through the menus comes near it.
const PAGES_MAX: usize = 16;
/// Rows above and below a page's body: bar, title, empty row; footer.
const ROWS_AROUND: usize = 4;
const BAR: &str = " Tidegate - S3 File Gateway";

/// A command and the number that its events carry.
pub(super) type Job = (u64, Command);

/// The console.
pub(super) struct App {
    /// Never empty: the front page is at the bottom.
    stack: Vec<Page>,
    logged_in: bool,
    last_key: Duration,
    jobs: u64,
    size: Size,
    trial: Option<Trial>,
}

/// Settings on trial, as this console knows of them.
struct Trial {
    until: u64,
    /// Those on trial.
    settings: Option<Machine>,
    /// The answer under way, if it was given here.
    answered: Option<u64>,
}

impl App {
    /// Shows the front page.
    pub(super) fn new(size: Size) -> Self {
        Self {
            stack: vec![pages::front::page()],
            logged_in: false,
            last_key: Duration::ZERO,
            jobs: 0,
            size,
            trial: None,
        }
    }

    /// The terminal has this size.
    pub(super) fn resize(&mut self, size: Size) {
        self.size = size;
    }

    fn room(&self) -> Room {
        Room { columns: self.size.columns, rows: self.size.rows - ROWS_AROUND }
    }

    fn top(&mut self) -> &mut Page {
        self.stack.last_mut().expect("the front page is never removed")
    }

    /// A key was pressed; answers what is to be run.
    pub(super) fn press(&mut self, key: Key, view: &View) -> Option<Job> {
        self.last_key = view.now;
        let room = self.room();
        match self.top().press(key, view, room) {
            Step::Stay => None,
            Step::Back => {
                self.back();
                None
            }
            Step::Open(page) => {
                self.open(page.opened(view));
                None
            }
            Step::Do(command) => Some(self.begin(command, true)),
            Step::Beside(command) => Some(self.begin(command, false)),
            Step::LogOut => {
                self.log_out();
                None
            }
        }
    }

    fn back(&mut self) {
        if self.stack.len() > 1 {
            self.stack.pop();
        }
    }

    pub(super) fn open(&mut self, page: Page) {
        if self.stack.len() < PAGES_MAX {
            self.stack.push(page);
        }
    }

    fn begin(&mut self, command: Command, shown: bool) -> Job {
        self.jobs += 1;
        if matches!(command, Command::Confirm | Command::Revert) {
            // The question has its answer; what came of it is shown in its place.
            self.drop_trial_page();
            if let Some(trial) = &mut self.trial {
                trial.answered = Some(self.jobs);
            }
        }
        let job = self.jobs;
        if shown {
            let (title, doing) = command.words();
            self.open(progress(title, job, doing));
        } else if let Kind::Prompt(prompt) = &mut self.top().kind {
            prompt.job = Some(job);
        }
        (self.jobs, command)
    }

    fn log_in(&mut self, view: &View) {
        self.stack.truncate(1);
        self.logged_in = true;
        self.last_key = view.now;
        self.stack.push(pages::main_menu::page());
    }

    fn log_out(&mut self) {
        self.stack.truncate(1);
        self.logged_in = false;
        self.trial = None;
    }

    /// What passes by itself: idle time, and settings that come on trial or are over with it.
    pub(super) fn follow(&mut self, view: &View) {
        if self.logged_in && view.now.saturating_sub(self.last_key) >= IDLE_LOG_OUT {
            self.log_out();
        }
        if !self.logged_in {
            return;
        }
        match (view.machine.trial_until, &self.trial) {
            (Some(until), Some(trial)) if trial.until == until => {}
            (Some(until), _) => {
                self.drop_trial_page();
                let settings = view.settings.as_ref().ok().cloned();
                self.trial = Some(Trial { until, settings, answered: None });
                self.stack.push(pages::trial::page(until));
            }
            (None, Some(trial)) => {
                let said = trial
                    .answered
                    .is_none()
                    .then(|| pages::trial::over(trial.settings.as_ref(), &view.settings));
                self.trial = None;
                self.drop_trial_page();
                if let Some(page) = said {
                    self.open(page);
                }
            }
            (None, None) => {}
        }
    }

    fn drop_trial_page(&mut self) {
        self.stack.retain(|page| !pages::trial::is(page));
    }

    /// A step of a command is over.
    pub(super) fn step(&mut self, job: u64, report: StepReport) {
        for page in &mut self.stack {
            match &mut page.kind {
                Kind::Progress(progress) if progress.job == job => progress.step(report.clone()),
                Kind::Prompt(prompt) if prompt.job == Some(job) => prompt.say(&report.title),
                Kind::Progress(_)
                | Kind::Prompt(_)
                | Kind::Menu(_)
                | Kind::List(_)
                | Kind::Form(_)
                | Kind::Question(_)
                | Kind::Paste(_)
                | Kind::Text(_) => {}
            }
        }
    }

    /// A command is over. Who has left its page meanwhile does not hear of it, but for a password
    /// that was right.
    pub(super) fn done(&mut self, job: u64, outcome: Result<Finished, String>, view: &View) {
        if outcome.is_err()
            && let Some(trial) = &mut self.trial
            && trial.answered == Some(job)
        {
            // Not answered after all: it is asked again while the trial goes on.
            self.trial = None;
        }
        let of_job = |page: &Page| matches!(&page.kind, Kind::Progress(p) if p.job == job);
        let Some(at) = self.stack.iter().position(of_job) else {
            self.answer_prompt(job, &outcome);
            return;
        };
        match outcome {
            Ok(Finished::LoggedIn) if self.logged_in => {
                self.settle(at, &["The password is set.".to_owned()]);
            }
            Ok(Finished::LoggedIn) => self.log_in(view),
            Ok(Finished::SetFor(words)) if self.logged_in => self.settle(at, &[words]),
            Ok(Finished::SetFor(words)) => {
                self.log_in(view);
                self.open(Page::said("Set the password", paragraph(&words)));
            }
            Ok(Finished::OnTrial) => {
                self.stack.remove(at);
                self.drop_forms_below(at);
            }
            Ok(Finished::Said(words)) => self.settle(at, &words),
            Ok(Finished::Document(text)) => {
                self.stack.remove(at);
                self.open(pages::import::review(&text, view));
            }
            Ok(Finished::Offer { said, ask, command }) => {
                if let Kind::Progress(progress) = &mut self.stack[at].kind {
                    progress.offer(&said, ask, *command);
                }
            }
            Err(why) => {
                if let Kind::Progress(progress) = &mut self.stack[at].kind {
                    progress.finish(&[why]);
                }
            }
        }
    }

    /// Says what came of a command, and takes away the forms that led to it.
    fn settle(&mut self, at: usize, words: &[String]) {
        if let Kind::Progress(progress) = &mut self.stack[at].kind {
            progress.finish(words);
        }
        self.drop_forms_below(at);
    }

    fn drop_forms_below(&mut self, mut at: usize) {
        while at > 1 {
            match self.stack[at - 1].kind {
                Kind::Form(_)
                | Kind::Question(_)
                | Kind::List(_)
                | Kind::Paste(_)
                | Kind::Progress(_) => {
                    self.stack.remove(at - 1);
                    at -= 1;
                }
                Kind::Menu(_) | Kind::Text(_) | Kind::Prompt(_) => return,
            }
        }
    }

    fn answer_prompt(&mut self, job: u64, outcome: &Result<Finished, String>) {
        for page in &mut self.stack {
            if let Kind::Prompt(prompt) = &mut page.kind
                && prompt.job == Some(job)
            {
                prompt.job = None;
                match outcome {
                    Ok(Finished::Said(words)) => prompt.say(&words.join("\n")),
                    Ok(
                        Finished::LoggedIn
                        | Finished::SetFor(_)
                        | Finished::OnTrial
                        | Finished::Document(_)
                        | Finished::Offer { .. },
                    ) => {}
                    Err(why) => prompt.say(why),
                }
            }
        }
    }

    /// What of the journal the page on top shows.
    pub(super) fn wanted_journal(&self) -> Option<&JournalFilter> {
        match self.stack.last().map(|page| &page.kind) {
            Some(Kind::Text(text)) => text.wanted(),
            Some(
                Kind::Menu(_)
                | Kind::List(_)
                | Kind::Form(_)
                | Kind::Question(_)
                | Kind::Progress(_)
                | Kind::Paste(_)
                | Kind::Prompt(_),
            )
            | None => None,
        }
    }

    /// A line of the journal came.
    pub(super) fn line(&mut self, line: String) {
        if let Kind::Text(text) = &mut self.top().kind {
            text.grow(line);
        }
    }

    /// What the terminal shows.
    pub(super) fn draw(&self, view: &View) -> Grid {
        let page = self.stack.last().expect("the front page is never removed");
        let room = self.room();
        let drawn = page.draw(view, room);
        let mut grid = Grid::new(self.size);
        let columns = self.size.columns;
        let name = &view.machine.hostname;
        let left = columns.saturating_sub(BAR.len() + 2);
        grid.put(0, &Line::reverse(format!("{BAR}{name:>left$}  ")));
        grid.put(1, &Line::bold(format!(" {}", page.title)));
        let first = ROWS_AROUND - 1;
        for (row, line) in drawn.lines.iter().take(room.rows).enumerate() {
            grid.put(first + row, line);
        }
        let footer = format!(" {:<width$}", drawn.footer, width = columns - 1);
        grid.put(self.size.rows - 1, &Line::reverse(footer));
        grid.cursor = drawn
            .cursor
            .filter(|(row, column)| *row < room.rows && *column < columns)
            .map(|(row, column)| (first + row, column));
        grid
    }
}
