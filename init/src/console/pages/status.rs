//! How the appliance is: in short on the front page, in full behind the log-in.
use gateway_api::{
    ByteSize, GatewayStatus,
    status::{ShareState, ShareStatus, Shutdown},
    utc,
};

use super::addresses;
use crate::console::{
    grid::{Line, wrapped},
    page::Page,
    view::View,
};

/// Columns of names.
const NAME_COLUMNS: usize = 13;
/// Columns of values.
const VALUE_COLUMNS: usize = 65;
/// Lines of one value: what S3 and the network library say of an error can be long.
const VALUE_LINES: usize = 3;

/// A name and its value, wrapped.
pub(super) fn field(name: &str, value: &str) -> Vec<Line> {
    let mut lines = wrapped(value, VALUE_COLUMNS);
    if lines.len() > VALUE_LINES {
        lines.truncate(VALUE_LINES);
        let last = &mut lines[VALUE_LINES - 1];
        *last = format!("{} ...", last.chars().take(VALUE_COLUMNS - 4).collect::<String>());
    }
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    let line = |(name, value): (&str, String)| format!(" {name:<NAME_COLUMNS$}{value}");
    names.zip(lines).map(|pair| Line::plain(line(pair))).collect()
}

/// What fits on the front page.
pub(super) fn summary(view: &View) -> Vec<Line> {
    let mut lines = field("Name", &view.machine.hostname);
    let mut name = "Address";
    for address in addresses::summary(view) {
        lines.extend(field(name, &address));
        name = "";
    }
    lines.extend(field("Time zone", &format!("{}, {}", view.machine.timezone, view.clock)));
    lines.extend(field("Clock", &view.machine.clock));
    lines.extend(field("Cache disk", &view.machine.cache));
    match &view.gateway {
        Ok(status) => {
            lines.extend(field("To upload", &to_upload(status)));
            if let Some(problem) = &status.settings_problem {
                lines.extend(field("Settings", problem));
            }
            for share in &status.shares {
                lines.extend(share_lines(view, share));
            }
        }
        Err(why) if view.machine.cache_mounted => lines.extend(field("Gateway", why)),
        Err(_) => lines.extend(field("Gateway", "waits for the cache disk")),
    }
    for warning in &view.machine.cache_warnings {
        lines.extend(field("Cache disks", warning));
    }
    for problem in view.machine.problems.iter().chain(&view.machine.services) {
        lines.extend(field("Problem", problem));
    }
    if let Some(until) = view.machine.trial_until {
        let left = until.saturating_sub(view.now.as_secs());
        let words = format!(
            "a change of the settings waits to be confirmed: it is taken back in {left} s; log in to \
             keep it"
        );
        lines.extend(field("On trial", &words));
    }
    lines
}

fn share_lines(view: &View, share: &ShareStatus) -> Vec<Line> {
    let place = format!("/{} = {}/{}", share.name, share.bucket, share.prefix);
    let state = match &share.state {
        ShareState::Starting => format!("{place}, starting"),
        ShareState::Available => place,
        ShareState::Unavailable(reason) => format!("{place}: {reason}"),
    };
    let mut lines = field("Share", &state);
    if let Some(host) = addresses::host(view).filter(|_| share.state != ShareState::Starting) {
        let mount = GatewayStatus::mount_command(&host, &share.name);
        lines.extend(command(&mount));
    }
    lines
}

/// A command to be copied; a long one goes on in the next line.
pub(super) fn command(text: &str) -> Vec<Line> {
    wrapped(text, 77).into_iter().map(|line| Line::plain(format!("   {line}"))).collect()
}

/// What is still to be uploaded, in words.
pub(super) fn to_upload(status: &GatewayStatus) -> String {
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

/// Everything, drawn anew as it changes.
pub(super) fn page() -> Page {
    Page::live("Status", Box::new(full))
}

fn full(view: &View) -> Vec<Line> {
    let status = match &view.gateway {
        Ok(status) => status,
        Err(why) => {
            let mut lines = summary(view);
            lines.push(Line::empty());
            lines.extend(field(
                "What to do",
                &format!("The gateway does not answer: {why}. See Logs, Gateway."),
            ));
            return lines;
        }
    };
    let mut lines = field("Shut-down", &shut_down(status));
    lines.extend(field("To upload", &to_upload(status)));
    if let Some(seconds) = status.upload.oldest_seconds {
        lines.extend(field("", &format!("the oldest has waited {}", duration(seconds))));
    }
    let figures = &status.figures;
    let rates = format!(
        "to S3 {}/s, from S3 {}/s",
        ByteSize(figures.upload_bytes_per_second),
        ByteSize(figures.download_bytes_per_second)
    );
    lines.extend(field("Rates", &rates));
    let hits = figures.hit_percent().map_or("no reads yet".to_owned(), |percent| {
        format!("{percent:.0} % of {} reads from the cache", figures.reads)
    });
    lines.extend(field("Reads", &hits));
    let written = format!("{} in {} writes", figures.written_bytes, figures.writes);
    lines.extend(field("Writes", &written));
    let cache = &status.cache;
    let words = format!("{} of {} in use, {} free", cache.used, cache.total, cache.free);
    lines.extend(field("Cache", &words));
    let machine = &status.machine;
    let words = format!(
        "{} of {} in use, CPU {:.0} %, waiting for disks {:.0} %",
        machine.memory_used,
        machine.memory_total,
        machine.user_cpu_percent,
        machine.io_wait_percent
    );
    lines.extend(field("Memory", &words));
    lines.extend(field("Clients", &format!("{} connections", machine.nfs_sessions)));
    let version = format!("{}, running for {}", status.version, duration(status.uptime_seconds));
    lines.extend(field("Version", &version));
    lines.push(Line::empty());
    lines.extend(summary(view));
    if !status.renames.is_empty() {
        lines.push(Line::empty());
        for rename in &status.renames {
            let to = rename.to.as_deref().unwrap_or("(removed)");
            let words = format!(
                "{}: {} to {to}, {} of {} objects left",
                rename.share, rename.from, rename.objects_left, rename.objects
            );
            lines.extend(field("Rename", &words));
        }
    }
    if !status.events.is_empty() {
        lines.push(Line::empty());
        for event in &status.events {
            let share = event.share.as_ref().map(|share| format!("{share}: ")).unwrap_or_default();
            let (at, kind) = (utc(event.at_unix_seconds), event.kind.as_str());
            lines.extend(field("Event", &format!("{at} {kind}: {share}{}", event.message)));
        }
    }
    lines
}

fn shut_down(status: &GatewayStatus) -> String {
    match (status.shutdown, status.upload.drain_seconds) {
        (Shutdown::Safe, _) => "safe: everything written is in S3".to_owned(),
        (Shutdown::Uploading, Some(seconds)) => {
            format!("everything is in S3 in about {}", duration(seconds))
        }
        (Shutdown::Uploading, None) => "uploading; nothing moves at the moment".to_owned(),
        (Shutdown::Stuck, _) => {
            "stuck: nothing gets through to S3 until what is named below is mended".to_owned()
        }
    }
}

/// As people say it.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}
