//! Settings import: the document is checked as a whole, what it changes is listed, and nothing is
//! changed before somebody has seen that.
use std::path::Path;

use gateway_api::Settings;
use toml::Table;

use super::gateway_settings;
use crate::{
    console::{
        command::{Command, MachineChange},
        differences::differences,
        grid::{Line, paragraph, wrapped},
        page::{Kind, Page, Step},
        question::question,
        text::Text,
        view::View,
    },
    machine::Machine,
    not_toml,
    seed::Seed,
    support::redacted,
    time,
};

const TITLE: &str = "Settings Import";

/// What a document changes, and the way on; or why it cannot be used.
pub(in crate::console) fn review(text: &str, view: &View) -> Page {
    match Import::read(text, view, Path::new(time::ZONES)) {
        Ok(import) if import.lines.is_empty() => {
            Page::said(TITLE, paragraph("Nothing changes: these are the settings in use."))
        }
        Ok(import) => import.page(),
        Err(why) => {
            // A complaint may name values.
            let shown = redacted(&why);
            let shown = shown.lines().flat_map(|line| wrapped(line, 78));
            Page::said(TITLE, shown.map(|line| Line::plain(format!(" {line}"))).collect())
        }
    }
}

/// A document that can be used.
#[derive(Clone, Debug)]
struct Import {
    machine: Option<MachineChange>,
    gateway: Option<(Box<Settings>, u64)>,
    lines: Vec<String>,
}

impl Import {
    fn read(text: &str, view: &View, zones: &Path) -> Result<Self, String> {
        let seed = Seed::parse(text, zones).map_err(|error| format!("{error:#}"))?;
        if seed.machine.is_none() && seed.gateway.is_none() {
            return Err("The text has neither a table [machine] nor [gateway].".to_owned());
        }
        let mut lines = Vec::new();
        let machine = seed.machine.map(|machine| machine_change(machine, view, &mut lines));
        let gateway = seed.gateway.map(|text| gateway_change(&text, view, &mut lines));
        Ok(Self {
            machine: machine.transpose()?.flatten(),
            gateway: gateway.transpose()?.flatten(),
            lines,
        })
    }

    fn page(self) -> Page {
        let shown = self.lines.iter().flat_map(|line| wrapped(line, 78));
        let lines = shown.map(|line| Line::plain(format!(" {line}"))).collect();
        let text = Text::fixed(lines).with_enter(
            |_| "use these settings".to_owned(),
            move |_| {
                let (machine, gateway) = (self.machine.clone(), self.gateway.clone());
                Step::Open(ask(self.lines.len(), machine, gateway))
            },
        );
        Page { title: TITLE.to_owned(), kind: Kind::Text(text) }
    }
}

fn ask(
    changes: usize,
    machine: Option<MachineChange>,
    gateway: Option<(Box<Settings>, u64)>,
) -> Page {
    let mut words = format!("{changes} settings change.");
    if machine.as_ref().is_some_and(|change| change.on_trial) {
        words.push_str(
            " The network is among them: the machine's settings are on trial for a minute, and taken \
             back unless somebody confirms them. The gateway's are kept.",
        );
    }
    let shows = move |_: &View| paragraph(&words);
    let command = Command::Import { machine, gateway };
    question(TITLE, Box::new(shows), "Use these settings?", command)
}

/// The machine's settings, if they are other ones. The password stays: whoever imports settings has
/// logged in with it.
fn machine_change(
    machine: Machine,
    view: &View,
    lines: &mut Vec<String>,
) -> Result<Option<MachineChange>, String> {
    let before = view.settings.as_ref().map_err(Clone::clone)?;
    let after = Machine { password_hash: None, ..machine };
    let new = differences("machine", &table(before)?, &table(&after)?);
    if new.is_empty() {
        return Ok(None);
    }
    lines.extend(new);
    let on_trial = after.network != before.network;
    let revision = view.settings_revision;
    Ok(Some(MachineChange { settings: Box::new(after), revision, on_trial }))
}

fn gateway_change(
    text: &str,
    view: &View,
    lines: &mut Vec<String>,
) -> Result<Option<(Box<Settings>, u64)>, String> {
    let after = not_toml::gateway_settings(text).map_err(|error| format!("[gateway]: {error}"))?;
    let (revision, before) = gateway_settings(view)?;
    let new = differences("gateway", &table(before)?, &table(&after)?);
    if new.is_empty() {
        return Ok(None);
    }
    lines.extend(new);
    Ok(Some((Box::new(after), revision)))
}

fn table(settings: &impl serde::Serialize) -> Result<Table, String> {
    Table::try_from(settings).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        console::{
            command::Finished,
            operator::{Operator, story},
        },
        machine::{Adapter, Ipv4},
    };

    fn zones() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("Asia")).unwrap();
        std::fs::write(dir.path().join("Asia/Seoul"), b"TZif2").unwrap();
        std::fs::write(dir.path().join("UTC"), b"TZif2").unwrap();
        dir
    }

    fn read(text: &str) -> Result<Import, String> {
        Import::read(text, &story(), zones().path())
    }

    #[test]
    fn what_changes_is_listed_and_the_rest_left_alone() {
        let import = read("[machine]\nhostname = \"gate7\"\ntimezone = \"Asia/Seoul\"\n").unwrap();
        assert_eq!(import.lines, ["machine.hostname: \"tidegate\" -> \"gate7\""]);
        let change = import.machine.unwrap();
        assert_eq!((change.settings.hostname.as_str(), change.revision), ("gate7", 5));
        assert!(!change.on_trial && import.gateway.is_none());
        let same = read("[machine]\ntimezone = \"Asia/Seoul\"\n").unwrap();
        assert!(same.lines.is_empty() && same.machine.is_none());
    }

    #[test]
    fn another_network_is_on_trial() {
        let text = "[machine]\ntimezone = \"Asia/Seoul\"\n[[machine.network.adapter]]\nname = \"eth0\"\n\
                    ipv4 = { method = \"static\", address = \"10.0.0.5/24\" }\n";
        let change = read(text).unwrap().machine.unwrap();
        assert!(change.on_trial);
        let [Adapter { ipv4: Ipv4::Static { .. }, .. }] =
            change.settings.network.adapters.as_slice()
        else {
            panic!("{change:?}");
        };
    }

    #[test]
    fn the_gateway_s_part_is_based_on_what_was_seen_and_a_password_is_none_of_it() {
        let text = "[gateway]\nversion = 1\n[gateway.s3]\nregion = \"eu-west-1\"\n\
                    access_key_id = \"AKIDEXAMPLE\"\nsecret_access_key = \"hush\"\n";
        let import = read(text).unwrap();
        let (settings, revision) = import.gateway.unwrap();
        assert_eq!((settings.s3.secret_access_key.expose(), revision), ("hush", 7));
        assert!(
            import.lines.contains(&"gateway.s3.secret_access_key: a secret is given".to_owned())
        );
        assert!(import.lines.contains(&"gateway.share.sales: removed".to_owned()));
        assert!(!import.lines.iter().any(|line| line.contains("hush")), "{:?}", import.lines);
        let hash = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
        let text = format!("[machine]\ntimezone = \"Asia/Seoul\"\npassword_hash = \"{hash}\"\n");
        assert!(read(&text).unwrap().machine.is_none());
    }

    #[test]
    fn an_operator_sees_what_changes_before_it_does() {
        let mut operator = Operator::logged_in();
        operator.choose("Settings Export");
        operator.choose("Import Pasted Text");
        operator.types("[gateway.s3]\nsecret_access_key = \"hush\"\nregi");
        operator.sees_golden("import-paste");
        operator.types("\n[unfinished\n.\n");
        operator.sees_golden("import-refused");
        operator.types("\n\x1b");
        let text = "[machine]\nhostname = \"gate7\"\ntimezone = \"Asia/Seoul\"\n[machine.network]\n\
                    name_servers = [\"10.0.0.2\"]\n";
        operator.app.open(read(text).unwrap().page());
        operator.sees_golden("import-changes");
        operator.types("\n");
        operator.sees_golden("import-ask");
        operator.types("y");
        match operator.command() {
            Command::Import { machine: Some(change), gateway: None } => {
                assert!(change.on_trial && change.settings.hostname == "gate7");
            }
            other => panic!("{other:?}"),
        }
        let mut operator = Operator::logged_in();
        operator.choose("Settings Export");
        operator.choose("Import from a Volume");
        assert_eq!(operator.command(), Command::ReadVolume);
        operator.finished(Ok(Finished::Document("typo = 1".to_owned())));
        assert!(
            operator.sees().contains("known are [machine] and [gateway]"),
            "{}",
            operator.sees()
        );
    }

    #[test]
    fn a_document_at_a_url_is_fetched_and_looked_at_first() {
        let mut operator = Operator::logged_in();
        operator.choose("Settings Export");
        operator.choose("Import from a URL");
        for (typed, says) in [("host/a", "begins with http"), ("http:///a", "the name of a host")] {
            operator.press(crate::console::keys::Key::Clear);
            operator.types(&format!("{typed}\n\n"));
            assert!(operator.sees().contains(says), "{}", operator.sees());
        }
        operator.sees_golden("import-url");
        operator.press(crate::console::keys::Key::Clear);
        operator.types("https://host/tidegate.toml\n\n");
        assert_eq!(operator.command(), Command::ReadUrl("https://host/tidegate.toml".to_owned()));
        operator.finished(Ok(Finished::Document("typo = 1".to_owned())));
        assert!(operator.sees().contains("known are [machine]"), "{}", operator.sees());
    }

    #[test]
    fn more_than_can_be_taken_is_refused_as_a_whole() {
        let mut operator = Operator::logged_in();
        operator.choose("Settings Export");
        operator.choose("Import Pasted Text");
        operator.types(&"0123456789abcde\n".repeat((256 << 10) / 16 + 1));
        assert!(operator.sees().contains("too long"), "{}", operator.sees());
        operator.types(".\n");
        assert!(operator.sees().contains("More than 256 KiB"), "{}", operator.sees());
    }

    #[test]
    fn what_is_wrong_with_any_part_refuses_the_whole() {
        for (text, says) in [
            ("hostname = 1", "known are [machine] and [gateway]"),
            ("", "neither a table"),
            ("[machine", "not TOML"),
            ("[machine]\nhostname = \"-a\"\n", "hyphen"),
            ("[machine]\ntimezone = \"UTC\"\n[gateway]\nversion = 1\ntypo = 1", "typo"),
            ("[gateway]\nversion = 9\n", "version 9"),
            (
                "[gateway]\nversion = 1\n[gateway.s3]\nsecret_acces_key = \"SEEDED\"",
                "unknown field `secret_acces_key`",
            ),
            (
                "[gateway]\nversion = 1\n[gateway.s3]\nsecret_access_key = 5337335",
                "invalid type, expected a string",
            ),
            ("[gateway.s3]\nsecret_access_key = SEEDED", "line 2: string values must be quoted"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
            assert!(!why.contains("SEEDED") && !why.contains("5337335"), "{text}: {why}");
        }
        let mut view = story();
        view.gateway_settings = Err("it is being started".to_owned());
        let text = "[machine]\nhostname = \"gate7\"\n[gateway]\nversion = 1\n";
        let why = Import::read(text, &view, zones().path()).unwrap_err();
        assert!(why.contains("being started"), "{why}");
    }
}
