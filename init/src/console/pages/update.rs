//! Updates: what runs, what the other slot holds, and how another version comes there.
use super::{addresses, refused};
use crate::{
    console::{
        command::Command,
        form::{Field, Values, choice, form},
        grid::{Line, paragraph},
        menu::{Entry, entry, menu_with},
        page::{Page, Step},
        question::question,
        view::View,
    },
    update::{Stage, Standing, Wanted},
};

const OLDER: &str = "An older version";
const REFUSE: &str = "refuse";
const ALLOW: &str = "allow";

/// The menu.
pub(super) fn page() -> Page {
    menu_with("Update", Box::new(shows), Box::new(entries))
}

fn shows(view: &View) -> Vec<Line> {
    let update = &view.machine.update;
    let Some(running) = update.running else {
        return paragraph("Which version runs is not known.");
    };
    let (version, slot) = (running.version, running.slot.letter());
    let mut lines = paragraph(&format!("Version {version} runs, from slot {slot}."));
    if let Some(note) = &update.note {
        lines.extend(paragraph(&note.in_words()));
    } else if update.on_trial {
        lines.extend(paragraph("It is on trial."));
    }
    lines
}

fn entries(view: &View) -> Vec<Entry> {
    let mut entries =
        vec![entry("Update from a Volume", from_volume), entry("Update from a URL", from_url)];
    if let Some(other) = other(view) {
        let again =
            view.machine.update.note.as_ref().is_some_and(|note| note.stage == Stage::Failed);
        let verb = if again { "Try" } else { "Go Back to" };
        let label = format!("{verb} Version {}", other.version);
        entries.push(entry(label.clone(), move |view| to_other(&label, view)));
    }
    entries
}

/// What the other slot holds.
fn other(view: &View) -> Option<Standing> {
    let update = &view.machine.update;
    update.note.as_ref().zip(update.running).and_then(|(note, running)| note.other(running))
}

/// Why nothing can be begun.
fn busy(view: &View) -> Option<&'static str> {
    let on_trial = view.machine.update.on_trial;
    on_trial.then_some("This version is on trial itself: wait until it is found healthy.")
}

fn from_volume(view: &View) -> Page {
    let title = "Update from a Volume";
    if let Some(why) = busy(view) {
        return refused(title, why);
    }
    let lines = paragraph(
        "Attach a CD or disk labelled TIDEGATE (ISO 9660 or FAT) with the update file \
         (tidegate-VERSION.update). It is checked and written beside the running version, which goes on \
         serving. The next start tries it; if it does not serve, this version starts again by itself. \
         Settings and cached files stay.",
    );
    form(title, lines, vec![older_field()], "Check and write", |values, _| {
        let older_too = is_older_too(values);
        Ok(Step::Do(Command::Update(Wanted::Volume { older_too })))
    })
}

fn from_url(view: &View) -> Page {
    let title = "Update from a URL";
    if let Some(why) = busy(view) {
        return refused(title, why);
    }
    let lines = paragraph(
        "The update file (tidegate-VERSION.update) at an address that begins with http:// or https://, such \
         as a presigned URL of an object. It is fetched by the proxy and with the CA bundle that are set for \
         S3, in ten minutes at most, and its signature is checked as that of a volume's. All else is as from \
         a volume.",
    );
    let fields = vec![addresses::url_field(), older_field()];
    form(title, lines, fields, "Check and write", |values, _| {
        let (url, older_too) = (addresses::url(values)?, is_older_too(values));
        Ok(Step::Do(Command::Update(Wanted::Url { url, older_too })))
    })
}

fn older_field() -> Field {
    let help = "An older version is a step back: mended mistakes return with it.";
    choice(OLDER, &[REFUSE, ALLOW], REFUSE, help)
}

fn is_older_too(values: &Values<'_>) -> bool {
    values.text(OLDER) == ALLOW
}

fn to_other(title: &str, view: &View) -> Page {
    if let Some(why) = busy(view) {
        return refused(title, why);
    }
    let shows = |_: &View| {
        paragraph(
            "The next start tries the version in the other slot; if it does not serve, this version \
             starts again by itself. Settings and cached files stay.",
        )
    };
    question(title, Box::new(shows), "Try it at the next start?", Command::Update(Wanted::Other))
}
