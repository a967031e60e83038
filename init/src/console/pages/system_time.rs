//! System Time Management: the clock, NTP servers, the time zone.
use super::{Keep, changed, refused, status::field};
use crate::console::{
    command::Command,
    form::{Problem, Values, form, text},
    grid::{Line, paragraph},
    list::list,
    menu::{Entry, entry, menu_with},
    page::{Page, Step},
    question::question,
    view::View,
};

const SERVERS: [&str; 4] =
    ["Preferred NTP server", "Second NTP server", "Third NTP server", "Fourth NTP server"];

/// The menu.
pub(super) fn page() -> Page {
    menu_with("System Time Management", Box::new(clock_lines), Box::new(entries))
}

fn clock_lines(view: &View) -> Vec<Line> {
    let mut lines = field("System time", &view.clock);
    lines.extend(field("Time zone", &view.machine.timezone));
    lines.extend(field("Clock", &view.machine.clock));
    lines
}

fn entries(_: &View) -> Vec<Entry> {
    let ask = |_: &View| Step::Do(Command::ClockState);
    vec![
        Entry { label: "View System Time".to_owned(), opens: Box::new(ask) },
        entry("Synchronize System Time", |_| synchronize()),
        entry("Edit NTP Configuration", edit_servers),
        entry("View NTP Configuration", |_| view_servers()),
        entry("Time Zone", regions),
    ]
}

fn synchronize() -> Page {
    let lines = |view: &View| {
        let mut lines = clock_lines(view);
        lines.push(Line::empty());
        lines.extend(paragraph(
            "The clock is set to the NTP servers' time at once, however far off it is. Files written \
             meanwhile get the times of the clock as it is then.",
        ));
        lines
    };
    question("Synchronize System Time", Box::new(lines), "Synchronize?", Command::StepClock)
}

fn edit_servers(view: &View) -> Page {
    let servers = view.settings.as_ref().map(|s| s.ntp_servers.clone()).unwrap_or_default();
    let help = "A name or an address. All empty: those that DHCP names.";
    let fields = SERVERS
        .iter()
        .enumerate()
        .map(|(at, label)| text(label, servers.get(at).cloned().unwrap_or_default(), help))
        .collect();
    form("Edit NTP Configuration", Vec::new(), fields, "Apply", submit_servers)
}

fn submit_servers(values: &Values<'_>, view: &View) -> Result<Step, Problem> {
    let mut servers = Vec::new();
    for label in SERVERS {
        let server = values.text(label);
        if server.is_empty() {
            continue;
        }
        if server.len() > 253 || server.contains(char::is_whitespace) {
            return Err(Problem::new(label, "Write one name or address, such as pool.ntp.org."));
        }
        servers.push(server.to_owned());
    }
    changed(view, SERVERS[0], Keep::AtOnce, |settings| {
        // More than the form has fields for came from a seed, and stay.
        let rest: Vec<String> = settings.ntp_servers.iter().skip(SERVERS.len()).cloned().collect();
        settings.ntp_servers = servers;
        settings.ntp_servers.extend(rest);
    })
}

fn view_servers() -> Page {
    let lines = |view: &View| {
        let mut lines = match &view.settings {
            Ok(settings) if settings.ntp_servers.is_empty() => field("Source", "Assigned by DHCP"),
            Ok(_) => field("Source", "Set here"),
            Err(why) => field("Source", why),
        };
        lines.extend(field("Clock", &view.machine.clock));
        lines
    };
    Page::live("View NTP Configuration", Box::new(lines))
}

fn regions(view: &View) -> Page {
    let mut names: Vec<String> = view.zones.iter().map(|(region, _)| region.clone()).collect();
    names.push("UTC".to_owned());
    list("Time zone: choose a region", names, |region, view| {
        if region == "UTC" {
            return set_zone(view, "UTC".to_owned());
        }
        let found = view.zones.iter().find(|(name, _)| name == region);
        let cities = found.map(|(_, cities)| cities.clone()).unwrap_or_default();
        let region = region.to_owned();
        let title = format!("Time zone: choose a city in {region}");
        Step::Open(list(&title, cities, move |city, view| {
            set_zone(view, format!("{region}/{city}"))
        }))
    })
}

fn set_zone(view: &View, zone: String) -> Step {
    match changed(view, "", Keep::AtOnce, |settings| settings.timezone = zone) {
        Ok(step) => step,
        Err(problem) => Step::Open(refused("Time zone", &problem.says)),
    }
}
