//! Settings export and import: both documents as one text, as a seed has them. Secrets are left out of
//! what goes; what comes may name them.
use serde::Serialize;

use gateway_api::Settings;

use super::{addresses, gateway_settings, import};
use crate::{
    console::{
        command::Command,
        form::form,
        grid::{Line, paragraph, wrapped},
        menu::{Entry, entry, menu_with},
        page::{Page, Step},
        paste::paste,
        view::View,
    },
    machine::Machine,
    support,
};

/// Both documents, as a seed has them.
#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<&'a Machine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<&'a Settings>,
}

/// The menu.
pub(super) fn page() -> Page {
    menu_with("Settings Export and Import", Box::new(shows), Box::new(entries))
}

fn shows(_: &View) -> Vec<Line> {
    paragraph(
        "All settings of the machine and of the gateway as one document, without secrets. What is \
         imported replaces them; it is checked, and shown as a list of changes first. Secrets that it \
         leaves out stay as they are.",
    )
}

fn entries(_: &View) -> Vec<Entry> {
    let offers = |view: &View| match document(view) {
        Ok(text) => {
            let name = support::name(&view.machine.hostname, &view.clock);
            Step::Do(Command::OfferText { name: format!("{name}.toml"), text })
        }
        Err(why) => Step::Open(super::refused("Export", &why)),
    };
    let volume = |_: &View| Step::Do(Command::ReadVolume);
    vec![
        entry("View", |_| Page::live("Settings Export", Box::new(lines))),
        Entry { label: "Offer for Download by HTTP".to_owned(), opens: Box::new(offers) },
        entry("Import Pasted Text", |_| {
            paste("Import Pasted Text", |text, view| Step::Open(import::review(text, view)))
        }),
        Entry {
            label: "Import from a Volume Labelled TIDEGATE or CIDATA".to_owned(),
            opens: Box::new(volume),
        },
        entry("Import from a URL", from_url),
    ]
}

fn from_url(_: &View) -> Page {
    let lines = paragraph(
        "The document at an address that begins with http:// or https://, such as a presigned URL of an \
         object; 1 MiB at most. It is fetched by the proxy and with the CA bundle that are set for S3, \
         checked, and shown as a list of changes before anything is used.",
    );
    let fields = vec![addresses::url_field()];
    form("Import from a URL", lines, fields, "Fetch", |values, _| {
        Ok(Step::Do(Command::ReadUrl(addresses::url(values)?)))
    })
}

/// Both documents as text; what is not known is left out.
fn document(view: &View) -> Result<String, String> {
    let machine = view.settings.as_ref().ok();
    let gateway = gateway_settings(view).ok().map(|(_, settings)| settings);
    let document = Document { machine, gateway };
    if document.machine.is_none() && document.gateway.is_none() {
        return Err("Neither PID 1 nor the gateway tells its settings.".to_owned());
    }
    // Texts of several lines stay so: what a terminal breaks in two cannot be pasted again.
    toml::to_string_pretty(&document).map_err(|error| error.to_string())
}

fn lines(view: &View) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Err(why) = gateway_settings(view) {
        lines.extend(paragraph(&why));
        lines.push(Line::empty());
    }
    match document(view) {
        Ok(text) => {
            lines.extend(text.lines().flat_map(|line| wrapped(line, 80)).map(Line::plain));
        }
        Err(why) => lines.extend(paragraph(&why)),
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{console::operator::story, seed::Seed};

    #[test]
    fn what_is_exported_is_a_seed_and_changes_nothing_when_it_comes_back() {
        let view = story();
        let text = document(&view).unwrap();
        assert!(!text.contains("password_hash"), "{text}");
        let zones = tempfile::tempdir().unwrap();
        std::fs::create_dir(zones.path().join("Asia")).unwrap();
        std::fs::write(zones.path().join("Asia/Seoul"), b"TZif2").unwrap();
        let seed = Seed::parse(&text, zones.path()).unwrap();
        assert_eq!(seed.machine.unwrap(), view.settings.unwrap());
        let settings = Settings::from_toml(&seed.gateway.unwrap()).unwrap();
        assert_eq!(settings, view.gateway_settings.unwrap().1);
    }
}
