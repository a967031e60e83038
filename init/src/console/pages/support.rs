//! The support bundle: what is in it, and where it goes.
use super::{known_settings, refused};
use crate::{
    console::{
        command::Command,
        form::{Problem, Values, choice, form, text},
        grid::{Line, paragraph},
        menu::{Entry, entry, menu_with},
        page::{Page, Step},
        question::question,
        view::View,
    },
    support,
};

const SHARE: &str = "File share";
const KEY: &str = "Key below its prefix";
/// Longest key that is taken: with a prefix it stays below S3's 1,024 bytes.
const KEY_BYTES_MAX: usize = 512;

/// The menu.
pub(super) fn page() -> Page {
    menu_with("Support Bundle", Box::new(shows), Box::new(entries))
}

fn shows(_: &View) -> Vec<Line> {
    paragraph(
        "One archive (tar.gz) for whoever helps: journal, settings, gateway's status and events, \
         network, disks, memory, processes, versions. Credentials and passwords are not in it; names \
         of hosts, shares, buckets and files, and addresses, are.",
    )
}

fn entries(_: &View) -> Vec<Entry> {
    vec![
        entry("Send to the Bucket of a Share", send),
        entry("Offer for Download by HTTP", |_| offer()),
    ]
}

fn send(view: &View) -> Page {
    let title = "Send to the Bucket of a Share";
    let settings = match known_settings(view) {
        Ok((_, settings)) => settings,
        Err(why) => return refused(title, &why),
    };
    let shares = settings.shares.iter().filter(|share| !share.read_only);
    let names: Vec<&str> = shares.map(|share| share.name.as_str()).collect();
    let Some(first) = names.first() else {
        return refused(title, "There is no file share that may be written to.");
    };
    let name = support::name(&view.machine.hostname, &view.clock);
    let fields = vec![
        choice(SHARE, &names, first, "The bundle goes to its bucket, by its credentials."),
        text(
            KEY,
            format!(".tidegate/support/{name}.tar.gz"),
            "Where in the bucket; the share shows it as a file. An object that is there is replaced.",
        ),
    ];
    form(title, Vec::new(), fields, "Collect and send", submit)
}

fn submit(values: &Values<'_>, _: &View) -> Result<Step, Problem> {
    let share = values.text(SHARE).parse();
    let share = share.map_err(|e: gateway_api::NameError| Problem::new(SHARE, e.to_string()))?;
    let key = values.text(KEY).to_owned();
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.starts_with('/') || key.ends_with('/') {
        let says = format!("Write 1 to {KEY_BYTES_MAX} bytes, without / at either end.");
        return Err(Problem::new(KEY, says));
    }
    Ok(Step::Do(Command::SendBundle { share, key }))
}

fn offer() -> Page {
    let shows = |_: &View| {
        paragraph(
            "The next page shows an address from which the bundle can be downloaded once, within ten \
             minutes. It is sent by plain http: whoever listens on the way can read it.",
        )
    };
    question("Offer for Download by HTTP", Box::new(shows), "Offer it?", Command::OfferBundle)
}
