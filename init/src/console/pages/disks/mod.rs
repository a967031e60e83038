//! Cache disks: what is attached, what is on it, what is in use, and what can be done about it.
mod disk;

use super::{Keep, changed, refused, status::field};
use crate::{
    console::{
        command::Command,
        form::{choice, form},
        grid::{Line, paragraph},
        menu::{Entry, entry, menu_with},
        page::{Page, Step},
        view::View,
    },
    disks::{Disk, Order, Role},
    gateway_disks::{GatewayDisk, words_of},
    machine::CacheDisks,
};

const POLICY: &str = "Used without asking";
const POLICIES: [(&str, CacheDisks); 3] = [
    ("a single blank disk", CacheDisks::SingleBlank),
    ("every blank disk", CacheDisks::EveryBlank),
    ("none", CacheDisks::Ask),
];

/// The page, drawn anew as disks come and go.
pub(super) fn page() -> Page {
    menu_with("Cache Disks", Box::new(shows), Box::new(entries))
}

fn shows(view: &View) -> Vec<Line> {
    let mut lines = field("Cache disk", &view.machine.cache);
    if let Ok(status) = &view.gateway {
        let cache = &status.cache;
        let words = format!("{} of {} in use, {} free", cache.used, cache.total, cache.free);
        lines.extend(field("In use", &words));
    }
    for warning in &view.machine.cache_warnings {
        lines.extend(field("Warning", warning));
    }
    if view.machine.disks.is_empty() {
        lines.extend(paragraph("No disk is known: they are looked for, or see Logs, Machine."));
    }
    lines
}

fn entries(view: &View) -> Vec<Entry> {
    let mut entries: Vec<Entry> = view
        .machine
        .disks
        .iter()
        .map(|disk| {
            let name = disk.name.clone();
            entry(label(view, disk), move |_| disk::page(&name))
        })
        .collect();
    entries.extend(view.machine.missing_disks.iter().map(|uuid| {
        let label = format!("{:<8} {:>9}  {:<8} not attached", short(uuid), "", "missing");
        let uuid = uuid.clone();
        entry(label, move |_| disk::missing(&uuid))
    }));
    entries.push(Entry {
        label: "Look for changes: disks that were added or made larger".to_owned(),
        opens: Box::new(|_| Step::Do(Command::Disks(Order::Look))),
    });
    entries.push(entry("Set which blank disks are used without asking", policy));
    entries
}

fn label(view: &View, disk: &Disk) -> String {
    let state = match of_gateway(view, disk) {
        Some(known) => {
            let used = gateway_api::ByteSize(known.total.0.saturating_sub(known.free.0));
            format!("{}, {used} of {} used", words_of(known.state), known.total)
        }
        None => disk.holds.clone(),
    };
    let (name, size) = (&disk.name, disk.size.to_string());
    format!("{name:<8} {size:>9}  {:<8} {state}", disk.role.word())
}

/// What the gateway says of a disk, if it is one of its own.
fn of_gateway<'a>(view: &'a View, disk: &Disk) -> Option<&'a GatewayDisk> {
    let known = view.gateway_disks.as_ref().ok()?;
    match disk.role {
        Role::Primary => known.iter().find(|known| known.primary),
        Role::Further => {
            known.iter().find(|known| Some(known.name.as_str()) == disk.uuid.as_deref())
        }
        Role::System | Role::Blank | Role::OtherCache | Role::Foreign => None,
    }
}

/// A UUID as it is shown: enough of it to tell disks apart.
fn short(uuid: &str) -> &str {
    uuid.get(..8).unwrap_or(uuid)
}

fn policy(view: &View) -> Page {
    const TITLE: &str = "Blank disks";
    let current = match &view.settings {
        Ok(settings) => settings.cache_disks,
        Err(why) => return refused(TITLE, why),
    };
    let intro = paragraph(
        "A disk that holds anything is never used without being asked. A single blank disk: only as \
         the first cache disk, if it is the only blank one. Every blank disk: also those that are \
         added later.",
    );
    let names = POLICIES.map(|(name, _)| name);
    let chosen =
        POLICIES.iter().find(|(_, policy)| *policy == current).map_or("", |(name, _)| name);
    let fields = vec![choice(POLICY, &names, chosen, "Blank disks that become cache disks.")];
    form(TITLE, intro, fields, "Apply", |values, view| {
        let wanted = values.text(POLICY);
        let policy = POLICIES.iter().find(|(name, _)| *name == wanted).map(|(_, policy)| *policy);
        changed(view, POLICY, Keep::AtOnce, |settings| {
            settings.cache_disks = policy.unwrap_or(settings.cache_disks);
        })
    })
}
