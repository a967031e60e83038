//! The status document as people read it.
use std::fmt::Write;

use gateway_api::{
    ByteSize, FileStatus, GatewayStatus,
    admin::{AliasedKey, RefreshReport, RefreshRequest, RefusedShare, SettingsReport},
    connection::{Outcome, StepReport},
    failing::{FailingObject, FailingPage},
    figures::Figures,
    status::{Ability, Capabilities, FileState, RenameStatus, ShareState, Shutdown, UploadStatus},
    utc,
};

use crate::terminal::one_line;

/// Events shown; the document has all that are kept.
const EVENTS_SHOWN: usize = 5;

/// A status in a few lines, the most important word first.
pub fn render(status: &GatewayStatus) -> String {
    let mut text = String::new();
    let upload = &status.upload;
    let safe = match status.shutdown {
        Shutdown::Safe => "safe to shut down: everything written is in S3".to_owned(),
        Shutdown::Uploading => format!("still to upload: {}", to_upload(upload)),
        Shutdown::Stuck => format!("stuck, still to upload: {}", to_upload(upload)),
    };
    let cache = &status.cache;
    let mut line = |words: String| {
        text.push_str(&one_line(&words));
        text.push('\n');
    };
    line(format!("gateway {}, up {} s", status.version, status.uptime_seconds));
    line(safe);
    if upload.failing > 0 {
        let why = upload.last_error.as_deref().unwrap_or("no reason recorded");
        line(format!("failing: {} objects, last: {why}", upload.failing));
    }
    if let Some(problem) = &status.settings_problem {
        line(format!("settings: {problem}"));
    }
    let hits = match status.figures.hit_percent() {
        Some(percent) => format!(", {percent:.0} % of reads from it"),
        None => String::new(),
    };
    line(format!("cache: {} used, {} free of {}{hits}", cache.used, cache.free, cache.total));
    line(s3_line(&status.figures));
    for of in status.figures.requests.iter().filter(|of| of.latency.count() > 0) {
        let (count, mean) = (of.latency.count(), of.latency.mean_ms());
        line(format!("  {}: {count} of {mean} ms on average", of.operation));
    }
    for rename in &status.renames {
        line(rename_line(rename));
    }
    for share in &status.shares {
        let state = match &share.state {
            ShareState::Starting => "starting".to_owned(),
            ShareState::Available => "available".to_owned(),
            ShareState::Unavailable(reason) => format!("unavailable: {reason}"),
        };
        line(format!("share /{}: {}/{} {state}", share.name, share.bucket, share.prefix));
        if !share.upload.is_idle() && status.shares.len() > 1 {
            line(format!("  still to upload: {}", to_upload(&share.upload)));
        }
        if let Some(pinned) = &share.pinned {
            let state = if pinned.complete { "all here" } else { "not all here yet" };
            line(format!("  pinned: {} of {} cached, {state}", pinned.cached, pinned.total));
            if let Some(problem) = &pinned.problem {
                line(format!("  pinned: {problem}"));
            }
        }
        if share.unrepresentable_keys > 0 {
            line(format!(
                "  {} objects are shown under an alias, as no file can have their names; \
                 gateway keys {} lists them",
                share.unrepresentable_keys, share.name
            ));
        }
        if let Some(lacks) = lacks(&share.capabilities) {
            line(format!("  the store {lacks}"));
        }
    }
    for share in &status.shares {
        for refresh in &share.refreshes {
            line(format!(
                "refresh of {}:/{}: {} of {} directories so far, {} names",
                share.name,
                refresh.path,
                refresh.directories_done,
                refresh.directories_found,
                refresh.names
            ));
        }
    }
    for event in status.events.iter().take(EVENTS_SHOWN) {
        let share = event.share.as_ref().map(|s| format!("/{s}: ")).unwrap_or_default();
        let (at, kind) = (utc(event.at_unix_seconds), event.kind.as_str());
        line(format!("event: {at} {kind}: {share}{}", event.message));
    }
    let more = status.events.len().saturating_sub(EVENTS_SHOWN);
    if more > 0 {
        line(format!("and {more} more events: gateway status --json"));
    }
    text
}

/// How much, since when, and for how long.
fn to_upload(upload: &UploadStatus) -> String {
    let mut words = format!(
        "{} in {} files, {} deletions",
        upload.dirty_bytes, upload.dirty_files, upload.pending_deletes
    );
    if let Some(seconds) = upload.oldest_seconds {
        words.push_str(&format!(", the oldest for {}", span(seconds)));
    }
    if let Some(seconds) = upload.drain_seconds {
        words.push_str(&format!(", done in about {}", span(seconds)));
    }
    words
}

/// Seconds as people say them.
fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn s3_line(figures: &Figures) -> String {
    let (mut requests, mut bad, mut total_ms) = (0, 0, 0);
    for of in &figures.requests {
        requests += of.latency.count();
        bad += of.throttled + of.failed;
        total_ms += of.latency.total_ms;
    }
    let mean = total_ms
        .checked_div(requests)
        .map(|mean| format!(" of {mean} ms on average"))
        .unwrap_or_default();
    format!(
        "s3: {} up at {}/s, {} down at {}/s, {requests} requests{mean}, {bad} of them without a good answer",
        figures.uploaded_bytes,
        ByteSize(figures.upload_bytes_per_second),
        figures.downloaded_bytes,
        ByteSize(figures.download_bytes_per_second),
    )
}

fn rename_line(rename: &RenameStatus) -> String {
    let to = rename.to.as_deref().unwrap_or("(removed since)");
    let found = if rename.all_found { "" } else { " found so far" };
    format!(
        "rename in /{}: {} to {to}, {} of {} objects{found} still to move, {} requests in all",
        rename.share, rename.from, rename.objects_left, rename.objects, rename.requests
    )
}

/// What a store cannot do, if it was asked and there is something.
fn lacks(capabilities: &Capabilities) -> Option<String> {
    let (mut no, mut ignored) = (Vec::new(), Vec::new());
    for (name, ability) in capabilities.each() {
        match ability {
            Ability::No => no.push(name),
            Ability::Ignored => ignored.push(name),
            Ability::Yes | Ability::Unknown => {}
        }
    }
    let words = [("cannot", no), ("ignores", ignored)];
    let said: Vec<String> = words
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {}", names.join(", ")))
        .collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// Where a file stands, in three lines.
pub fn render_file(status: &FileStatus) -> String {
    let FileStatus { kind, size, cached, bucket, key, etag, version_id, state } = status;
    let state = match state {
        FileState::InS3 => "in S3 as it is here".to_owned(),
        FileState::Waiting => "waits for its upload".to_owned(),
        FileState::Uploading => "is being uploaded".to_owned(),
        FileState::Failing { attempts, error } => {
            format!("its upload has failed {attempts} times and is tried again; last: {error}")
        }
        FileState::Incomplete { reason } => format!("is not uploaded: {reason}"),
    };
    let version = match (etag, version_id) {
        (Some(etag), Some(id)) => format!("S3 has {etag}, version {id}"),
        (Some(etag), None) => format!("S3 has {etag}"),
        (None, _) => "S3 has none yet".to_owned(),
    };
    let (state, place) = (one_line(&state), one_line(&format!("s3://{bucket}/{key}: {version}")));
    format!("{kind}, {size}, {cached} of it cached\n{state}\n{place}\n")
}

/// How far the refresh is that was asked for, in a line; nothing if it is not under way.
pub fn render_progress(status: &GatewayStatus, request: &RefreshRequest) -> String {
    let shares = status.shares.iter().filter(|share| share.name == request.share);
    let mut refreshes = shares.flat_map(|share| &share.refreshes);
    let path = request.path.trim_matches('/');
    let found =
        refreshes.find(|refresh| refresh.path == path && refresh.recursive == request.recursive);
    found.map_or_else(String::new, |refresh| {
        format!(
            "{} of {} directories so far, {} names\n",
            refresh.directories_done, refresh.directories_found, refresh.names
        )
    })
}

/// What a flush waits for, in a line.
pub fn render_flush(status: &GatewayStatus) -> String {
    let upload = &status.upload;
    let fails = match &upload.last_error {
        Some(why) if upload.failing > 0 => format!("; {} failing, last: {why}", upload.failing),
        Some(_) | None => String::new(),
    };
    one_line(&format!("still to upload: {}{fails}", to_upload(upload))) + "\n"
}

/// What new settings have come to.
pub fn render_settings(report: &SettingsReport) -> String {
    let mut text = "the new settings are in force".to_owned();
    for RefusedShare { share, reason } in &report.refused {
        text.push_str(&format!("\nshare /{share} is not served: {}", one_line(reason)));
    }
    text
}

/// What a refresh has done.
pub fn render_refresh(request: &RefreshRequest, report: &RefreshReport) -> String {
    let RefreshReport { directories, names, failed, first_failure } = report;
    let mut text = format!(
        "{}:/{}: {directories} directories listed again, {names} names",
        request.share,
        one_line(request.path.trim_matches('/'))
    );
    if *failed > 0 {
        let why = one_line(first_failure.as_deref().unwrap_or("no reason recorded"));
        write!(
            text,
            "\n{failed} directories could not be listed and are as they were; first: {why}"
        )
        .expect("writing to a string works");
    }
    text
}

/// Keys that are shown under an alias, one a line: path, key, reason; and whether there are more.
pub fn render_keys(keys: &[AliasedKey], more: bool) -> String {
    if keys.is_empty() {
        return "every object met so far has its own name".to_owned();
    }
    let line =
        |one: &AliasedKey| format!("{}\t{:?}\t{}\n", one_line(&one.path), one.key, one.reason);
    let mut text: String = keys.iter().map(line).collect();
    if more {
        text.push_str(&format!("and more: these are the first {}\n", keys.len()));
    }
    text
}

/// What fails, two lines each.
pub fn render_failing(page: &FailingPage) -> String {
    if page.failing.is_empty() {
        return "nothing fails".to_owned();
    }
    let each = |one: &FailingObject| {
        let place = one.path.as_ref().map_or_else(
            || format!("object {} of {}", one.key, one.share),
            |path| format!("{}:/{path}", one.share),
        );
        let since = one.since_unix_seconds.map(|at| format!(", waits since {}", utc(at)));
        let next = match one.next_try_unix_seconds {
            Some(at) => format!("next try {}", utc(at)),
            None => "not tried before it is written again".to_owned(),
        };
        let first = format!(
            "{} of {place}: failed {} times{}, {next}",
            one.what.as_str(),
            one.attempts,
            since.unwrap_or_default()
        );
        format!("{}\n  {}\n", one_line(&first), one_line(&one.error))
    };
    let mut text: String = page.failing.iter().map(each).collect();
    if page.next.is_some() {
        text.push_str("and more: these are the first\n");
    }
    text
}

/// One step of a connection's test: its verdict, what was seen, and what to do.
pub fn render_step(report: &StepReport) -> String {
    let title = report.step.title();
    let (verdict, seen, advice) = match &report.outcome {
        Outcome::Passed { note } => ("PASSED", note, None),
        Outcome::Warning { why, advice } => ("WARNING", why, Some(advice)),
        Outcome::Failed { why, advice } => ("FAILED", why, Some(advice)),
        Outcome::Skipped { because } => ("SKIPPED", because, None),
    };
    let seen = one_line(seen);
    let mut text = format!("{verdict:<8} {title:<18} {seen} ({} ms)\n", report.millis);
    if let Some(advice) = advice {
        text.push_str(&format!("{:<27} -> {}\n", "", one_line(advice)));
    }
    text
}

#[cfg(test)]
mod tests {
    use gateway_api::{
        connection::Step,
        figures::{Latency, RequestFigures},
        status::{HealthEvent, HealthEventKind},
    };

    use super::*;

    #[test]
    fn a_file_that_fails_says_how_often_and_why() {
        let status = FileStatus {
            kind: "file".to_owned(),
            size: ByteSize(1536),
            cached: ByteSize(1536),
            bucket: "sales-backup".parse().unwrap(),
            key: "onprem/a.txt".to_owned(),
            etag: None,
            version_id: None,
            state: FileState::Failing { attempts: 3, error: "403 AccessDenied".to_owned() },
        };
        assert_eq!(
            render_file(&status),
            "file, 1.5 KiB, 1.5 KiB of it cached\n\
             its upload has failed 3 times and is tried again; last: 403 AccessDenied\n\
             s3://sales-backup/onprem/a.txt: S3 has none yet\n"
        );
    }

    #[test]
    fn a_file_in_s3_says_which_version_it_is() {
        let mut status = FileStatus {
            kind: "file".to_owned(),
            size: ByteSize(512),
            cached: ByteSize(0),
            bucket: "sales-backup".parse().unwrap(),
            key: "a".to_owned(),
            etag: Some("\"e\"".to_owned()),
            version_id: Some("v.1".to_owned()),
            state: FileState::InS3,
        };
        let last = |status: &FileStatus| render_file(status).lines().last().unwrap().to_owned();
        assert_eq!(last(&status), "s3://sales-backup/a: S3 has \"e\", version v.1");
        status.version_id = None;
        assert_eq!(last(&status), "s3://sales-backup/a: S3 has \"e\"");
    }

    #[test]
    fn a_file_that_lacks_bytes_says_which() {
        let status = FileStatus {
            kind: "file".to_owned(),
            size: ByteSize(1536),
            cached: ByteSize(512),
            bucket: "sales-backup".parse().unwrap(),
            key: "a.incomplete".to_owned(),
            etag: None,
            version_id: None,
            state: FileState::Incomplete { reason: "bytes 0-1023 are nowhere".to_owned() },
        };
        assert_eq!(
            render_file(&status),
            "file, 1.5 KiB, 512 B of it cached\n\
             is not uploaded: bytes 0-1023 are nowhere\n\
             s3://sales-backup/a.incomplete: S3 has none yet\n"
        );
    }

    #[test]
    fn what_a_store_cannot_do_is_said_and_what_it_can_is_not() {
        assert_eq!(lacks(&Capabilities::default()), None);
        let capabilities = Capabilities {
            put_if_absent: Ability::Yes,
            put_if_match: Ability::Ignored,
            delete_if_match: Ability::Ignored,
            upload_part_copy: Ability::No,
            ..Capabilities::default()
        };
        assert_eq!(
            lacks(&capabilities).unwrap(),
            "cannot: upload_part_copy; ignores: put_if_match, delete_if_match"
        );
        assert_eq!(capabilities.conditions_not_kept(), ["put_if_match", "delete_if_match"]);
    }

    #[test]
    fn a_refresh_says_what_it_could_not_list() {
        let request = RefreshRequest {
            share: "sales".parse().unwrap(),
            path: "/docs/".to_owned(),
            recursive: true,
        };
        let mut report = RefreshReport { directories: 3, names: 40, ..RefreshReport::default() };
        let text = "sales:/docs: 3 directories listed again, 40 names";
        assert_eq!(render_refresh(&request, &report), text);
        report.failed = 1;
        report.first_failure = Some("403 AccessDenied".to_owned());
        assert!(render_refresh(&request, &report).ends_with("first: 403 AccessDenied"));
    }

    #[test]
    fn control_characters_of_a_key_do_not_reach_the_terminal() {
        let key = AliasedKey {
            key: "p/a\u{1b}[2J".to_owned(),
            path: "s3key%a%1B[2J".to_owned(),
            reason: "a control character".to_owned(),
        };
        let line = "s3key%a%1B[2J\t\"p/a\\u{1b}[2J\"\ta control character\n";
        assert_eq!(render_keys(std::slice::from_ref(&key), false), line);
        assert_eq!(render_keys(&[key], true), format!("{line}and more: these are the first 1\n"));
    }

    /// Whoever may write objects or names a server chooses these: none reaches the terminal of who looks.
    #[test]
    fn control_characters_from_outside_do_not_reach_the_terminal() {
        let bad = || "a\u{1b}[2J\nb".to_owned();
        let event = HealthEvent {
            at_unix_seconds: 0,
            kind: HealthEventKind::Conflict,
            share: None,
            message: bad(),
        };
        let rename = RenameStatus {
            share: "sales".parse().unwrap(),
            from: bad(),
            to: Some(bad()),
            objects: 1,
            all_found: true,
            objects_left: 1,
            requests: 2,
        };
        let upload =
            UploadStatus { failing: 1, last_error: Some(bad()), ..UploadStatus::default() };
        let status = GatewayStatus {
            upload,
            settings_problem: Some(bad()),
            renames: vec![rename],
            events: vec![event],
            ..GatewayStatus::default()
        };
        let file = FileStatus {
            kind: "file".to_owned(),
            size: ByteSize(1),
            cached: ByteSize(1),
            bucket: "bucket".parse().unwrap(),
            key: bad(),
            etag: Some(bad()),
            version_id: Some(bad()),
            state: FileState::Failing { attempts: 1, error: bad() },
        };
        let request =
            RefreshRequest { share: "sales".parse().unwrap(), path: bad(), recursive: false };
        let report =
            RefreshReport { failed: 1, first_failure: Some(bad()), ..RefreshReport::default() };
        let outcome = Outcome::Failed { why: bad(), advice: bad() };
        let step = StepReport { step: Step::List, outcome, millis: 1 };
        for (text, lines) in [
            (render(&status), 8),
            (render_file(&file), 3),
            (render_refresh(&request, &report), 2),
            (render_step(&step), 2),
        ] {
            assert!(!text.contains('\u{1b}') && text.contains("a\\u001b[2J\\u000ab"), "{text}");
            assert_eq!(text.lines().count(), lines, "{text}");
        }
    }

    #[test]
    fn the_second_line_says_whether_it_is_safe_to_shut_down() {
        let mut status = GatewayStatus { shutdown: Shutdown::Safe, ..GatewayStatus::default() };
        assert!(render(&status).lines().nth(1).unwrap().starts_with("safe to shut down"));
        status.upload = UploadStatus {
            dirty_files: 2,
            dirty_bytes: ByteSize(1536),
            pending_deletes: 1,
            oldest_seconds: Some(90),
            drain_seconds: Some(7300),
            ..UploadStatus::default()
        };
        let amount = "1.5 KiB in 2 files, 1 deletions, the oldest for 90 s, done in about 2 h";
        for (word, says) in [
            (Shutdown::Uploading, "still to upload: "),
            (Shutdown::Stuck, "stuck, still to upload: "),
        ] {
            status.shutdown = word;
            assert_eq!(render(&status).lines().nth(1).unwrap(), format!("{says}{amount}"));
        }
    }

    #[test]
    fn events_have_time_and_kind_and_it_is_said_that_there_are_more() {
        let event = |n: i64| HealthEvent {
            at_unix_seconds: 1_795_788_003 + n,
            kind: HealthEventKind::AccessDenied,
            share: Some("sales".parse().unwrap()),
            message: "no".to_owned(),
        };
        let mut status =
            GatewayStatus { events: (0..5).map(event).collect(), ..GatewayStatus::default() };
        let text = render(&status);
        let first = "event: 2026-11-27 14:00:03 UTC access_denied: /sales: no";
        assert!(text.lines().any(|line| line == first), "{text}");
        assert!(text.ends_with("14:00:07 UTC access_denied: /sales: no\n"), "{text}");
        status.events.extend([event(5), event(6)]);
        assert!(render(&status).ends_with("\nand 2 more events: gateway status --json\n"));
    }

    #[test]
    fn how_long_requests_take_is_said() {
        let mut latency = Latency { total_ms: 30, ..Latency::default() };
        latency.classes[1] = 3;
        let put = RequestFigures {
            operation: "PutObject".to_owned(),
            latency,
            ..RequestFigures::default()
        };
        let mut status = GatewayStatus::default();
        assert!(render(&status).contains(" 0 requests, 0 of them"), "{}", render(&status));
        status.figures.requests = vec![put];
        let text = render(&status);
        assert!(text.contains(" 3 requests of 10 ms on average, 0 of them"), "{text}");
        assert!(text.contains("\n  PutObject: 3 of 10 ms on average\n"), "{text}");
    }

    #[test]
    fn shares_that_are_not_served_are_named() {
        let refused =
            RefusedShare { share: "hr".parse().unwrap(), reason: "it is busy".to_owned() };
        let mut report = SettingsReport { revision: 3, refused: Vec::new() };
        assert_eq!(render_settings(&report), "the new settings are in force");
        report.refused.push(refused);
        let text = "the new settings are in force\nshare /hr is not served: it is busy";
        assert_eq!(render_settings(&report), text);
    }

    #[test]
    fn a_rename_says_how_far_it_is_and_what_it_costs() {
        let rename = RenameStatus {
            share: "sales".parse().unwrap(),
            from: "p/old/".to_owned(),
            to: Some("p/new/".to_owned()),
            objects: 500,
            all_found: false,
            objects_left: 420,
            requests: 1000,
        };
        let status = GatewayStatus { renames: vec![rename], ..GatewayStatus::default() };
        assert!(render(&status).contains(
            "rename in /sales: p/old/ to p/new/, 420 of 500 objects found so far still to move, \
             1000 requests in all\n"
        ));
    }
}
