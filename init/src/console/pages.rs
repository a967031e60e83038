//! Pages as text of at most 80 columns and 24 lines. Pure.
use gateway_api::{GatewayStatus, status::ShareState};

use super::{
    View,
    menu::{LIST_LINES, List, MAIN, Menu, Page, TEXT_LINES},
};
use crate::shutdown::Ending;

pub(super) const COLUMNS: usize = 80;
/// Shares whose mount commands fit on the status page.
const SHARES_SHOWN: usize = 3;
const PROBLEMS_SHOWN: usize = 3;
/// Lines of one field: what S3 and the network library say of an error can be long.
const FIELD_LINES: usize = 3;
/// Lines of the status above the menu.
const STATUS_LINES: usize = 24 - 1 - MAIN.len();
/// The first words of every page.
pub(super) const TITLE: &str = " Tidegate - S3 File Gateway";

/// The page as it is drawn.
pub(super) fn render(menu: &Menu, view: &View) -> String {
    let mut lines = vec![format!("\x1b[7m{TITLE:<COLUMNS$}\x1b[0m"), String::new()];
    match &menu.page {
        Page::Main => main(menu, view, &mut lines),
        Page::List(list) => choose(list, &mut lines),
        Page::Text { title, lines: text, from } => {
            lines.push(format!(" {title} ({} lines)", text.len()));
            lines.push(String::new());
            lines.extend(text.iter().skip(*from).take(TEXT_LINES).cloned());
            lines.push(" arrows, page up and down, Home, End: scroll   q: back".to_owned());
        }
        Page::Ask(ending) => ask(*ending, view, &mut lines),
        Page::Said(message) => {
            lines.extend(wrapped(message, COLUMNS - 2).into_iter().map(|line| format!(" {line}")));
            lines.push(String::new());
            lines.push(" any key: back".to_owned());
        }
    }
    lines.join("\n")
}

fn field(name: &str, value: &str) -> Vec<String> {
    let width = COLUMNS - 14;
    let mut lines = wrapped(value, width);
    if lines.len() > FIELD_LINES {
        lines.truncate(FIELD_LINES);
        lines[FIELD_LINES - 1] = format!("{} ...", cut(&lines[FIELD_LINES - 1], width - 4));
    }
    lines
        .into_iter()
        .enumerate()
        .map(
            |(i, line)| {
                if i == 0 { format!(" {name:<12} {line}") } else { format!(" {:<12} {line}", "") }
            },
        )
        .collect()
}

fn main(menu: &Menu, view: &View, lines: &mut Vec<String>) {
    let network = &view.network;
    let address = match network.main().and_then(|main| Some((main, main.addresses.first()?))) {
        Some((main, address)) => match network.problems().next() {
            None => format!("{address} on {}", main.name),
            Some(problem) => format!("{address} on {}; {problem}", main.name),
        },
        None => network.problems().next().unwrap_or("none yet").to_owned(),
    };
    lines.extend(field("Name", &view.machine.hostname));
    lines.extend(field("Address", &address));
    lines.extend(field("Time zone", &format!("{}, {}", view.machine.timezone, view.clock)));
    lines.extend(field("Clock", &view.machine.clock));
    lines.extend(field("Cache disk", &view.machine.cache));
    match &view.gateway {
        Ok(status) => gateway(status, view.network.host(), lines),
        Err(why) if view.machine.cache_mounted => lines.extend(field("Gateway", why)),
        Err(_) => lines.extend(field("Gateway", "waits for the cache disk")),
    }
    for problem in view.machine.problems.iter().chain(&view.machine.services).take(PROBLEMS_SHOWN) {
        lines.extend(field("Problem", problem));
    }
    if lines.len() > STATUS_LINES {
        lines.truncate(STATUS_LINES - 1);
        lines.push(" ... the rest is in the journal (3: Support)".to_owned());
    }
    lines.push(String::new());
    for (i, entry) in MAIN.iter().enumerate() {
        let mark = if i == menu.selected { ">" } else { " " };
        lines.push(format!(" {mark} {}: {entry}", i + 1));
    }
}

fn gateway(status: &GatewayStatus, host: Option<&str>, lines: &mut Vec<String>) {
    lines.extend(field("To upload", &to_upload(status)));
    if let Some(problem) = &status.settings_problem {
        lines.extend(field("Settings", problem));
    }
    for share in status.shares.iter().take(SHARES_SHOWN) {
        let place = format!("/{} = {}/{}", share.name, share.bucket, share.prefix);
        let state = match &share.state {
            ShareState::Starting => format!("{place}, starting"),
            ShareState::Available => place,
            ShareState::Unavailable(reason) => format!("{place}: {reason}"),
        };
        lines.extend(field("Share", &state));
        if let Some(host) = host.filter(|_| share.state != ShareState::Starting) {
            lines.push(format!("   {}", GatewayStatus::mount_command(host, &share.name)));
        }
    }
    if status.shares.len() > SHARES_SHOWN {
        lines.push(format!("   and {} more shares", status.shares.len() - SHARES_SHOWN));
    }
}

/// What is still to be uploaded, in words.
fn to_upload(status: &GatewayStatus) -> String {
    let upload = &status.upload;
    if upload.is_idle() {
        return "nothing: everything written is in S3".to_owned();
    }
    let mut words = format!(
        "{} in {} files, {} deletions",
        upload.dirty_bytes, upload.dirty_files, upload.pending_deletes
    );
    if upload.failing > 0 {
        let why = upload.last_error.as_deref().unwrap_or("no reason noted");
        words.push_str(&format!("; {} failing: {why}", upload.failing));
    }
    words
}

fn choose(list: &List, lines: &mut Vec<String>) {
    lines.push(format!(" {}", list.title));
    lines.push(String::new());
    let from = list.selected.saturating_sub(LIST_LINES / 2);
    let from = from.min(list.entries.len().saturating_sub(LIST_LINES));
    for (i, entry) in list.entries.iter().enumerate().skip(from).take(LIST_LINES) {
        let mark = if i == list.selected { ">" } else { " " };
        lines.push(format!(" {mark} {:>3}: {entry}", i + 1));
    }
    lines.push(String::new());
    lines.push(format!(" number, name or arrows, then Enter   Esc: back   {}", list.typed));
}

fn ask(ending: Ending, view: &View, lines: &mut Vec<String>) {
    let what = match ending {
        Ending::Reboot => "Reboot",
        Ending::PowerOff => "Shut down",
    };
    let upload = match &view.gateway {
        Ok(status) if status.upload.is_idle() => "Everything written is in S3.".to_owned(),
        Ok(status) => format!(
            "Still to be uploaded: {}. It stays on the cache disk and is uploaded after the next start.",
            to_upload(status)
        ),
        Err(why) => format!("What is still to be uploaded is not known: {why}"),
    };
    lines.extend(wrapped(&upload, COLUMNS - 2).into_iter().map(|line| format!(" {line}")));
    lines.push(String::new());
    lines.push(format!(" {what}? Clients wait until it is back. y: yes   n: no"));
}

fn cut(text: &str, columns: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(columns).collect()
}

/// Breaks text into lines of at most `width` characters, at spaces where there are any.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in cut(text, 10_000).split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        let used = line.chars().count();
        if used > 0 && used + 1 + word.chars().count() > width {
            lines.push(String::new());
        } else if used > 0 {
            line.push(' ');
        }
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let line = lines.last_mut().expect("there is always a line");
            let room = width - line.chars().count();
            let take = room.min(rest.len());
            line.extend(rest.drain(..take));
            if !rest.is_empty() {
                lines.push(String::new());
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use gateway_api::{
        ByteSize,
        status::{Capabilities, ShareStatus, UploadStatus},
    };

    use super::*;
    use crate::observed::{AdapterState, MachineState, NetworkState};

    fn story() -> View {
        let share = ShareStatus {
            name: "sales".parse().unwrap(),
            bucket: "sales-backup".parse().unwrap(),
            prefix: "onprem/".parse().unwrap(),
            state: ShareState::Available,
            read_only: false,
            unrepresentable_keys: 0,
            upload: UploadStatus::default(),
            figures: gateway_api::figures::Figures::default(),
            capabilities: Capabilities::default(),
            pinned: None,
            refreshes: Vec::new(),
        };
        View {
            machine: MachineState {
                hostname: "tidegate".to_owned(),
                timezone: "Asia/Seoul".to_owned(),
                clock: "follows NTP: 10.0.2.2".to_owned(),
                cache: "150 GiB on /dev/sdb".to_owned(),
                cache_mounted: true,
                ..MachineState::default()
            },
            network: NetworkState {
                adapters: vec![AdapterState {
                    name: "eth0".to_owned(),
                    addresses: vec!["10.0.2.15/24".to_owned()],
                    ..AdapterState::default()
                }],
                ..NetworkState::default()
            },
            gateway: Ok(GatewayStatus { shares: vec![share], ..GatewayStatus::default() }),
            clock: "2026-11-23 18:00:00 KST (+0900)".to_owned(),
        }
    }

    #[test]
    fn the_status_page_of_the_story() {
        let page = render(&Menu::default(), &story());
        let expected = "\
\x1b[7m Tidegate - S3 File Gateway                                                     \x1b[0m

 Name         tidegate
 Address      10.0.2.15/24 on eth0
 Time zone    Asia/Seoul, 2026-11-23 18:00:00 KST (+0900)
 Clock        follows NTP: 10.0.2.2
 Cache disk   150 GiB on /dev/sdb
 To upload    nothing: everything written is in S3
 Share        /sales = sales-backup/onprem/
   mount -t nfs -o vers=3,nolock,hard 10.0.2.15:/sales /mnt/sales

 > 1: Status
   2: Time zone
   3: Support
   4: Reboot
   5: Shut down";
        assert_eq!(page, expected);
    }

    #[test]
    fn trouble_is_said_with_what_to_do() {
        let mut view = story();
        view.machine.cache_mounted = false;
        view.machine.cache =
            "no blank disk is attached: add one of 150 GiB or more to the VM".to_owned();
        view.gateway = Err("the gateway does not answer".to_owned());
        view.network.adapters[0].addresses.clear();
        view.network.adapters[0].problem = Some("eth0 has no link: connect the adapter".to_owned());
        view.machine.problems.push("seed: the seed is not TOML".to_owned());
        let page = render(&Menu::default(), &view);
        for words in ["add one of 150 GiB", "no link", "waits for the cache disk", "not TOML"] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }

    #[test]
    fn wrong_s3_settings_are_said_beside_the_share() {
        let mut view = story();
        let status = view.gateway.as_mut().unwrap();
        status.settings_problem = Some("[s3] access_key_id is not set".to_owned());
        let why = "HTTP 403 SignatureDoesNotMatch (check access key and secret)";
        status.shares[0].state = ShareState::Unavailable(why.to_owned());
        let page = render(&Menu::default(), &view);
        for words in [
            "Settings     [s3] access_key_id is not set",
            "sales-backup/onprem/: HTTP 403 Sig",
            "check access key and",
            "mount -t nfs",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }

    #[test]
    fn the_question_before_the_end_says_what_is_not_in_s3() {
        let mut view = story();
        let menu = Menu { page: Page::Ask(Ending::PowerOff), ..Menu::default() };
        assert!(render(&menu, &view).contains("Everything written is in S3."));
        let upload =
            UploadStatus { dirty_files: 2, dirty_bytes: ByteSize(4096), ..UploadStatus::default() };
        view.gateway = Ok(GatewayStatus { upload, ..GatewayStatus::default() });
        let page = render(&menu, &view);
        assert!(page.contains("4.0 KiB in 2 files") && page.contains("Shut down?"), "{page}");
    }

    #[test]
    fn no_page_is_larger_than_80_by_24() {
        let mut view = story();
        view.machine.problems = vec!["a long problem ".repeat(20); 9];
        view.machine.cache = "x".repeat(300);
        let status = view.gateway.as_mut().unwrap();
        status.settings_problem = Some("a long story ".repeat(50));
        status.shares[0].state = ShareState::Unavailable("dispatch failure: ".repeat(60));
        status.shares = vec![status.shares[0].clone(); 5];
        let mut menus = vec![Menu::default(), Menu::default(), Menu::default(), Menu::default()];
        menus[1].show_regions((0..60).map(|n| format!("Region{n}")).collect());
        menus[2].show_support(&vec!["y".repeat(500); 100]);
        menus[3].say("z ".repeat(200));
        for menu in &menus {
            for line in render(menu, &view).replace("\x1b[7m", "").replace("\x1b[0m", "").lines() {
                assert!(line.chars().count() <= COLUMNS, "{line}");
            }
        }
        for menu in &menus {
            let page = render(menu, &view);
            assert!(page.lines().count() <= 24, "{page}");
        }
        let status = render(&menus[0], &view);
        assert!(status.contains("5: Shut down") && status.contains("the rest is in"), "{status}");
    }
}
