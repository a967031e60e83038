//! One disk: what it is, and what can be done about it.
use super::{of_gateway, short};
use crate::{
    console::{
        command::Command,
        form::{Problem, form, text},
        grid::{Line, paragraph},
        menu::{Entry, entry, menu_with},
        page::{Page, Step},
        pages::{refused, status::field},
        question::question,
        view::View,
    },
    disks::{Disk, Order, Role},
    gateway_disks::{DiskState, GatewayDisk, Verb, words_of},
};

const CONFIRM: &str = "Confirm";
const PAUSE: &str = "The gateway is restarted for it: clients wait for some seconds and go on.";

/// The page of a disk, drawn anew as things change.
pub(super) fn page(name: &str) -> Page {
    let (shown, listed) = (name.to_owned(), name.to_owned());
    let shows = move |view: &View| match find(view, &shown) {
        Some(disk) => lines(view, disk),
        None => paragraph("The disk is not attached any more."),
    };
    let entries = move |view: &View| match find(view, &listed) {
        Some(disk) => actions(view, disk),
        None => Vec::new(),
    };
    menu_with(&format!("Disk {name}"), Box::new(shows), Box::new(entries))
}

fn find<'a>(view: &'a View, name: &str) -> Option<&'a Disk> {
    view.machine.disks.iter().find(|disk| disk.name == name)
}

fn lines(view: &View, disk: &Disk) -> Vec<Line> {
    let mut lines = field("Size", &disk.size.to_string());
    lines.extend(field("Model", &disk.model));
    lines.extend(field("What it is", &what(disk)));
    if let Some(uuid) = &disk.uuid {
        lines.extend(field("Identity", short(uuid)));
    }
    let known = of_gateway(view, disk);
    if let Some(known) = known {
        lines.extend(field("State", words_of(known.state)));
        lines.extend(known.problem.iter().flat_map(|problem| field("Problem", problem)));
        lines.extend(field("Free", &format!("{} of {}", known.free, known.total)));
        lines.extend(field("To upload", &known.dirty_bytes.to_string()));
        lines.extend(field("Cached", &known.cached_bytes.to_string()));
        lines.extend(field("Files", &known.files.to_string()));
    } else if let (Role::Primary | Role::Further, Err(why)) = (disk.role, &view.gateway_disks) {
        lines.extend(field("State", &format!("the gateway does not tell: {why}")));
    }
    lines.extend(advice(disk, known).into_iter().flat_map(|words| {
        let mut lines = vec![Line::empty()];
        lines.extend(paragraph(words));
        lines
    }));
    lines
}

fn what(disk: &Disk) -> String {
    match disk.role {
        Role::Primary => "the primary cache disk: catalog and data".to_owned(),
        Role::Further => "a further cache disk: data".to_owned(),
        Role::System | Role::Blank | Role::OtherCache | Role::Foreign => disk.holds.clone(),
    }
}

fn advice(disk: &Disk, known: Option<&GatewayDisk>) -> Option<&'static str> {
    match (disk.role, known.map(|known| known.state)) {
        (Role::Further, Some(DiskState::Draining)) => Some(
            "It is being emptied: what is not in S3 is uploaded, the rest goes at once. Then it is \
             taken out of use by itself, and may be detached.",
        ),
        (Role::Further, Some(DiskState::Empty)) => {
            Some("It is empty and is being taken out of use. Then it may be detached.")
        }
        (Role::Foreign, _) => Some(
            "It was left alone. To use it as a cache disk, empty it where it belongs, or attach a \
             blank disk instead.",
        ),
        (Role::Primary | Role::Further | Role::System | Role::Blank | Role::OtherCache, _) => None,
    }
}

fn actions(view: &View, disk: &Disk) -> Vec<Entry> {
    let uuid = disk.uuid.clone().unwrap_or_default();
    match (disk.role, of_gateway(view, disk).map(|known| known.state)) {
        (Role::System | Role::Foreign, _) => Vec::new(),
        (Role::Blank, _) => {
            let disk = disk.clone();
            vec![entry("Allocate", move |view| allocate(view, &disk))]
        }
        (Role::OtherCache, _) => {
            let (adopted, wiped) = (disk.clone(), disk.clone());
            vec![
                entry("Adopt as the primary cache disk", move |view| adopt(view, &adopted)),
                entry("Wipe", move |_| wipe(&wiped)),
            ]
        }
        (Role::Primary, _) => vec![grow()],
        (Role::Further, Some(DiskState::InUse)) => {
            let disk = disk.clone();
            vec![grow(), entry("Release", move |_| release(&disk))]
        }
        // An empty one is being taken out of use at this moment.
        (Role::Further, Some(DiskState::Empty)) => Vec::new(),
        (Role::Further, Some(DiskState::Draining)) => vec![Entry {
            label: "Keep after all".to_owned(),
            opens: Box::new(move |_| {
                Step::Do(Command::GatewayDisk { verb: Verb::Keep, uuid: uuid.clone() })
            }),
        }],
        (Role::Further, Some(DiskState::Missing) | None) => vec![grow()],
    }
}

fn grow() -> Entry {
    Entry {
        label: "Grow to the disk's size, after it was made larger".to_owned(),
        opens: Box::new(|_| Step::Do(Command::Disks(Order::Look))),
    }
}

fn allocate(view: &View, disk: &Disk) -> Page {
    let (name, size, model) = (&disk.name, disk.size, &disk.model);
    let role = if view.machine.cache_mounted { "a further cache disk" } else { "the cache disk" };
    let pause = if view.machine.cache_mounted { PAUSE } else { "" };
    let words =
        format!("{name} ({size}, {model}) becomes {role}: a file system is made on it. {pause}");
    let order = Order::Allocate { name: name.clone(), size };
    let ask = format!("Allocate {name}, {size}?");
    question("Allocate a disk", Box::new(move |_| paragraph(&words)), ask, Command::Disks(order))
}

fn release(disk: &Disk) -> Page {
    let words = format!(
        "Nothing new goes to {} any more. What is on it and not in S3 is uploaded; then it is taken out \
         of use, is blank, and may be detached. Until then it can be kept after all. {PAUSE}",
        disk.name
    );
    let uuid = disk.uuid.clone().unwrap_or_default();
    let command = Command::GatewayDisk { verb: Verb::Release, uuid };
    let ask = format!("Release {}, {}?", disk.name, disk.size);
    question("Release a cache disk", Box::new(move |_| paragraph(&words)), ask, command)
}

/// Only where no files of this appliance would be lost.
fn adopt(view: &View, disk: &Disk) -> Page {
    const TITLE: &str = "Adopt a cache disk";
    let files = match &view.gateway_disks {
        Ok(known) => known.iter().map(|disk| disk.files).sum(),
        Err(_) => 0,
    };
    if view.machine.cache_mounted && files > 0 {
        let words = format!(
            "{} files are on the cache of this appliance, so it keeps its own primary disk, and a cache \
             disk of another appliance cannot be a further one: its files are known to its own \
             primary disk only. Attach it to a new appliance and adopt it there, or wipe it here.",
            files
        );
        return refused(TITLE, &words);
    }
    let words = format!(
        "{} is the cache disk of another appliance. It becomes the primary cache disk of this one, with \
         the files on it and those of them that are not in S3 yet. The other appliance must not \
         use it, nor a copy of it, any more. The S3 target and the shares must be set here as they were there.",
        disk.name
    );
    let order = Order::Adopt { uuid: disk.uuid.clone().unwrap_or_default() };
    let ask = format!("Adopt {}, {}?", disk.name, disk.size);
    question(TITLE, Box::new(move |_| paragraph(&words)), ask, Command::Disks(order))
}

fn wipe(disk: &Disk) -> Page {
    let words = format!(
        "{} ({}, {}) is the cache disk of another appliance. Files on it that are not in S3 are lost.",
        disk.name, disk.size, disk.model
    );
    let order = Order::Wipe { uuid: disk.uuid.clone().unwrap_or_default() };
    confirmed(
        "Wipe a cache disk",
        &words,
        disk.name.clone(),
        "The disk's name: it wipes it.",
        order,
    )
}

/// The page of a cache disk that is not attached.
pub(super) fn missing(uuid: &str) -> Page {
    let uuid = uuid.to_owned();
    let shows = |_: &View| {
        paragraph(
            "A cache disk of this appliance is not attached. Attach it again: it may hold files that \
             are not in S3 yet. Only if it is lost for good, have the appliance forget it.",
        )
    };
    let entries = move |_: &View| {
        let uuid = uuid.clone();
        vec![entry("Forget it", move |view| forget(view, &uuid))]
    };
    menu_with("A missing cache disk", Box::new(shows), Box::new(entries))
}

fn forget(view: &View, uuid: &str) -> Page {
    let words = if view.machine.cache_mounted {
        "Files on it that are not in S3 are lost. If it comes back, it is taken for the disk of another \
         appliance."
    } else {
        "It is the primary cache disk. Everything on it that is not in S3 is lost, and the other cache \
         disks are of no use without it. If it comes back, it is taken for the disk of another \
         appliance. A blank disk can be the cache then."
    };
    let order = Order::Forget { uuid: uuid.to_owned() };
    confirmed("Forget a cache disk", words, "forget".to_owned(), "The word forget.", order)
}

/// A form that wants a word before it does what cannot be taken back.
fn confirmed(
    title: &'static str,
    words: &str,
    word: String,
    help: &'static str,
    order: Order,
) -> Page {
    let intro = paragraph(&format!("{words} Type {word} to confirm."));
    form(title, intro, vec![text(CONFIRM, "", help)], "Do it", move |values, _| {
        if values.text(CONFIRM) == word {
            Ok(Step::Do(Command::Disks(order.clone())))
        } else {
            Err(Problem::new(CONFIRM, format!("Type {word}, or press Esc to leave it as it is.")))
        }
    })
}
