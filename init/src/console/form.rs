//! A form: fields with a label and a line of help each, and a button. Pure.
//!
//! What was typed stays when it is refused, and the cursor goes to the field that is wrong.
use gateway_api::Secret;

use super::{
    basis::Basis,
    grid::{Attribute, Line, wrapped},
    keys::Key,
    page::{Drawn, Kind, Page, Room, Step, window},
    view::View,
};

/// Longest value of a field: an S3 session token is below.
const VALUE_BYTES_MAX: usize = 4096;
/// Columns of labels and of values.
const LABEL_COLUMNS: usize = 24;

/// One field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    label: &'static str,
    help: &'static str,
    input: Input,
}

#[derive(Clone, Debug)]
enum Input {
    Text(String),
    /// Shown as asterisks.
    Secret(Secret),
    Choice {
        options: Vec<String>,
        chosen: usize,
    },
}

/// A field for text.
pub(super) fn text(label: &'static str, value: impl Into<String>, help: &'static str) -> Field {
    Field { label, help, input: Input::Text(value.into()) }
}

/// A field whose value nobody sees.
pub(super) fn secret(label: &'static str, help: &'static str) -> Field {
    Field { label, help, input: Input::Secret(Secret::default()) }
}

/// A field with few possible values; the first is chosen if `chosen` is none of them.
pub(super) fn choice(
    label: &'static str,
    options: &[&str],
    chosen: &str,
    help: &'static str,
) -> Field {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    let chosen = options.iter().position(|option| option == chosen).unwrap_or(0);
    Field { label, help, input: Input::Choice { options, chosen } }
}

/// What was filled in.
#[derive(Debug)]
pub(super) struct Values<'a>(&'a [Field]);

impl Values<'_> {
    fn field(&self, label: &str) -> &Field {
        self.0.iter().find(|field| field.label == label).expect("a form asks for its own fields")
    }

    /// The text or the choice in the field with this label, without blanks around it.
    pub(super) fn text(&self, label: &str) -> &str {
        match &self.field(label).input {
            Input::Text(value) => value.trim(),
            Input::Secret(_) => "",
            Input::Choice { options, chosen } => &options[*chosen],
        }
    }

    /// The secret in the field with this label.
    pub(super) fn secret(&self, label: &str) -> Secret {
        match &self.field(label).input {
            Input::Secret(value) => value.clone(),
            Input::Text(_) | Input::Choice { .. } => Secret::default(),
        }
    }
}

/// Why a form is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Label of the field.
    pub(super) field: &'static str,
    /// What is wrong and what would be right.
    pub(super) says: String,
}

impl Problem {
    /// A field and what is wrong with it.
    pub(super) fn new(field: &'static str, says: impl Into<String>) -> Self {
        Self { field, says: says.into() }
    }
}

type Submits = Box<dyn Fn(&Values<'_>, &View) -> Result<Step, Problem>>;

/// A form.
pub(super) struct Form {
    intro: Vec<Line>,
    fields: Vec<Field>,
    /// The last one is the button.
    selected: usize,
    button: &'static str,
    submits: Submits,
    problem: Option<String>,
    /// Whether secrets are emptied once they are handed over.
    forgets: bool,
    /// What it was filled from.
    basis: Option<Box<Basis>>,
}

/// A form; `submits` checks what was filled in and says what it leads to.
pub(super) fn form(
    title: impl Into<String>,
    intro: Vec<Line>,
    fields: Vec<Field>,
    button: &'static str,
    submits: impl Fn(&Values<'_>, &View) -> Result<Step, Problem> + 'static,
) -> Page {
    let submits = Box::new(submits);
    let (selected, problem, forgets, basis) = (0, None, false, None);
    let form = Form { intro, fields, selected, button, submits, problem, forgets, basis };
    Page { title: title.into(), kind: Kind::Form(form) }
}

impl Page {
    /// The same form, whose secrets are emptied once they are handed over.
    pub(super) fn forgetting_secrets(mut self) -> Self {
        if let Kind::Form(form) = &mut self.kind {
            form.forgets = true;
        }
        self
    }
}

impl Form {
    /// It comes on the screen, filled from this view.
    pub(super) fn opened(&mut self, view: &View) {
        self.basis = Some(Box::new(Basis::of(view)));
    }

    pub(super) fn press(&mut self, key: Key, view: &View) -> Step {
        let button = self.fields.len();
        match key {
            Key::Escape => return Step::Back,
            Key::Up | Key::BackTab => self.selected = self.selected.saturating_sub(1),
            Key::Down | Key::Tab => self.selected = (self.selected + 1).min(button),
            Key::PageUp => self.selected = 0,
            Key::PageDown => self.selected = button,
            Key::Enter if self.selected == button => return self.submit(view),
            Key::Enter => self.selected += 1,
            Key::Char(_)
            | Key::Backspace
            | Key::Clear
            | Key::Left
            | Key::Right
            | Key::Home
            | Key::End => {
                if let Some(field) = self.fields.get_mut(self.selected) {
                    field.press(key);
                }
            }
            Key::Redraw | Key::EndOfInput => {}
        }
        Step::Stay
    }

    fn submit(&mut self, view: &View) -> Step {
        let step = (self.submits)(&Values(&self.fields), view);
        if let (Ok(step), Some(basis)) = (&step, &self.basis)
            && let Err(says) = basis.allows(step, view)
        {
            self.problem = Some(says.to_owned());
            return Step::Stay;
        }
        match step {
            Ok(step) => {
                self.problem = None;
                if self.forgets {
                    self.forget();
                }
                step
            }
            Err(Problem { field, says }) => {
                let at = self.fields.iter().position(|f| f.label == field);
                self.selected = at.unwrap_or(self.selected);
                self.problem = Some(says);
                Step::Stay
            }
        }
    }

    fn forget(&mut self) {
        for field in &mut self.fields {
            if let Input::Secret(value) = &mut field.input {
                *value = Secret::default();
            }
        }
        self.selected = 0;
    }

    pub(super) fn draw(&self, room: Room) -> Drawn {
        let mut lines = self.intro.clone();
        if !lines.is_empty() {
            lines.push(Line::empty());
        }
        let value_columns = room.columns.saturating_sub(LABEL_COLUMNS + 4).max(1);
        let mut cursor = None;
        // Below the fields: an empty row, the button, an empty row, three of help or complaint.
        let rows = room.rows.saturating_sub(lines.len() + 6).max(1);
        let selected = self.selected.min(self.fields.len().saturating_sub(1));
        let from = window(selected, self.fields.len(), rows);
        for (at, field) in self.fields.iter().enumerate().skip(from).take(rows) {
            let value = field.shown(value_columns);
            if at == self.selected && !matches!(field.input, Input::Choice { .. }) {
                cursor = Some((lines.len(), LABEL_COLUMNS + 2 + value.len()));
            }
            let attribute = if at == self.selected { Attribute::Reverse } else { Attribute::Plain };
            let label = Line::plain(format!(" {:<LABEL_COLUMNS$} ", field.label));
            lines.push(label.and(attribute, format!("{value} ")));
        }
        let hidden = self.fields.len().saturating_sub(from + rows);
        lines.push(match hidden {
            0 => Line::empty(),
            more => Line::plain(format!(" {:<LABEL_COLUMNS$} ... {more} more below", "")),
        });
        let button = format!("[ {} ]", self.button);
        lines.push(Line::plain(" ").and(
            if self.selected == self.fields.len() { Attribute::Reverse } else { Attribute::Plain },
            button,
        ));
        lines.push(Line::empty());
        let help = self.fields.get(self.selected).map_or("", |field| field.help);
        let width = room.columns - 2;
        match &self.problem {
            Some(problem) => lines.extend(
                wrapped(problem, width).into_iter().take(3).map(|l| Line::bold(format!(" {l}"))),
            ),
            None => lines.extend(
                wrapped(help, width).into_iter().take(3).map(|l| Line::plain(format!(" {l}"))),
            ),
        }
        let choice = self
            .fields
            .get(self.selected)
            .is_some_and(|field| matches!(field.input, Input::Choice { .. }));
        let footer = if choice {
            "space or left/right: change   up/down: field   Enter: next   Esc: cancel"
        } else {
            "up/down: field   Enter: next   Ctrl-U: empty the field   Esc: cancel"
        };
        Drawn { lines, footer: footer.to_owned(), cursor }
    }
}

impl Field {
    fn press(&mut self, key: Key) {
        match &mut self.input {
            Input::Text(value) => edit(value, key),
            Input::Secret(value) => {
                let mut text = value.expose().to_owned();
                edit(&mut text, key);
                *value = Secret::new(text);
            }
            Input::Choice { options, chosen } => match key {
                Key::Left | Key::Backspace => {
                    *chosen = chosen.checked_sub(1).unwrap_or(options.len() - 1);
                }
                Key::Right | Key::Char(' ') => *chosen = (*chosen + 1) % options.len(),
                Key::Home => *chosen = 0,
                Key::End => *chosen = options.len() - 1,
                // The next option that begins so.
                Key::Char(c) => {
                    let begins = |at: &usize| {
                        options[*at].to_lowercase().starts_with(c.to_ascii_lowercase())
                    };
                    let after = (*chosen + 1..options.len()).chain(0..=*chosen);
                    *chosen = after.into_iter().find(begins).unwrap_or(*chosen);
                }
                Key::Enter
                | Key::Tab
                | Key::BackTab
                | Key::Escape
                | Key::Up
                | Key::Down
                | Key::PageUp
                | Key::PageDown
                | Key::Clear
                | Key::Redraw
                | Key::EndOfInput => {}
            },
        }
    }

    /// The end of the value: what is being typed.
    fn shown(&self, columns: usize) -> String {
        match &self.input {
            Input::Text(value) => end_of(value, columns - 1),
            Input::Secret(value) => "*".repeat(value.expose().len().min(columns - 1)),
            Input::Choice { options, chosen } => format!("< {} >", options[*chosen]),
        }
    }
}

fn edit(value: &mut String, key: Key) {
    match key {
        Key::Char(c) if value.len() < VALUE_BYTES_MAX => value.push(c),
        Key::Backspace => {
            value.pop();
        }
        Key::Clear => value.clear(),
        Key::Char(_)
        | Key::Enter
        | Key::Tab
        | Key::BackTab
        | Key::Escape
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
}

fn end_of(value: &str, columns: usize) -> String {
    let length = value.chars().count();
    if length <= columns {
        return value.to_owned();
    }
    let rest: String = value.chars().skip(length - (columns - 2)).collect();
    format!("..{rest}")
}
