//! What the settings say comes to the parts of a running gateway (settings.md).
use std::{
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gateway_api::{
    bandwidth::Day,
    status::{FileState, HealthEventKind},
};
use nfs3_client::nfs3_types::nfs3::nfsstat3;
use s3_store::{FaultAction, FaultRule, Hold, S3Store};

use crate::{
    BUCKET,
    crash::asked,
    mount::Mount,
    object_with, pattern,
    process::{Gateway, Home, settings, store, until},
};

/// Returns when so many requests have come to the place.
fn come(hold: &Hold, requests: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    runtime.block_on(hold.come(requests));
}

/// Requests of one operation that the store has had.
fn requests(store: &S3Store, operation: &str) -> u64 {
    store.request_counts().get(operation).copied().unwrap_or(0)
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("it fits")
}

/// Settings of the share, which are the last in the document.
fn with(store: &S3Store, of_the_share: &str) -> String {
    format!("{}{of_the_share}", settings(store))
}

/// `requester_pays`: the store refuses requests that do not say so, of whatever kind.
#[test]
fn requests_say_that_the_requester_pays_when_the_share_does() {
    let (store, home) = (store(), Home::new());
    store.put(BUCKET, "onprem/theirs", b"theirs");
    store.faults().set_requester_pays(true);
    let gateway = Gateway::start(&home, &settings(&store));
    let refused = |gateway: &Gateway| {
        let events = gateway.status().events;
        events.iter().any(|event| event.kind == HealthEventKind::AccessDenied)
    };
    until("it is refused", || refused(&gateway).then_some(()));
    gateway.replace_settings(&with(&store, "requester_pays = true\n"));
    let mut share = Mount::new(gateway.port, "sales");
    assert_eq!(share.read("theirs").unwrap(), b"theirs");
    share.write("ours", b"ours");
    gateway.flush();
    object_with(&store, "ours", b"ours");
}

/// `upload_latest_ms`: a file that is written on and on is uploaded.
#[test]
fn a_file_that_is_never_left_alone_is_uploaded_all_the_same() {
    let (store, home) = (store(), Home::new());
    let waits = "upload_delay_ms = 2000\nupload_latest_ms = 1000";
    let gateway = Gateway::start(&home, &settings(&store).replace("upload_delay_ms = 50", waits));
    let mut share = Mount::new(gateway.port, "sales");
    let log = share.create("log");
    let mut number = 0_u64;
    let began = Instant::now();
    while store.object(BUCKET, "onprem/log").is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "{number} writes, and no upload");
        share.write_stable(&log, 0, &number.to_be_bytes());
        number += 1;
    }
    assert!(number > 1, "it was written on");
}

/// `expires_at`: an event says so before the end.
#[test]
fn credentials_that_end_are_told_of_before_the_end() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    assert_eq!(gateway.status().settings_problem, None);
    // By GNU date or BusyBox: the end in five minutes, as RFC 3339 has it.
    let end = format!("@{}", unix_seconds() + 300);
    let date = Command::new("date").args(["-u", "-d", &end, "+%Y-%m-%dT%H:%M:%SZ"]).output();
    let end = String::from_utf8(date.expect("date(1)").stdout).expect("text").trim().to_owned();
    let region = "region = \"us-east-1\"\n";
    let ending = settings(&store).replace(region, &format!("{region}expires_at = \"{end}\"\n"));
    gateway.replace_settings(&ending);
    let problem = gateway.status().settings_problem.expect("it is said at once");
    assert!(problem.contains(&end), "{problem}");
    let told = until("an event says it", || {
        let events = gateway.status().events;
        events.into_iter().find(|event| event.kind == HealthEventKind::CredentialsExpiring)
    });
    assert_eq!(told.message, problem);
    Mount::new(gateway.port, "sales").write("f", b"until then");
    object_with(&store, "f", b"until then");
}

/// `orphaned_upload_days`: a running gateway looks by itself, and takes what is as old as the setting says.
#[test]
fn orphaned_uploads_go_from_the_bucket_of_a_running_gateway() {
    let (store, home) = (store(), Home::new());
    let days_ago = |days: i64| unix_seconds() - days * 86_400;
    store.begin_upload(BUCKET, "onprem/old", days_ago(40));
    store.begin_upload(BUCKET, "onprem/younger", days_ago(20));
    store.begin_upload(BUCKET, "elsewhere", days_ago(40));
    let delay = "upload_delay_ms = 50\n";
    let days = |days: u32| {
        let days = format!("{delay}orphaned_upload_days = {days}\n");
        settings(&store).replace(delay, &days)
    };
    let gateway = Gateway::start(&home, &days(30));
    until("the old one is gone", || (store.uploads_in_progress(BUCKET) == 2).then_some(()));
    assert!(gateway.stop().success());
    let _gateway = Gateway::start(&home, &days(10));
    until("the younger one is", || (store.uploads_in_progress(BUCKET) == 1).then_some(()));
}

/// `uploads_max`, and the state of a file that is being sent. Method: the store holds what comes; that the
/// others would come but for the setting is seen when it is raised.
#[test]
fn no_more_uploads_go_on_at_once_than_the_settings_say() {
    let (store, home) = (store(), Home::new());
    let delay = "upload_delay_ms = 50\n";
    let most =
        |most: u32| settings(&store).replace(delay, &format!("{delay}uploads_max = {most}\n"));
    let gateway = Gateway::start(&home, &most(1));
    asked(&gateway);
    let before = requests(&store, "PutObject");
    let hold = Hold::new();
    let held = FaultRule::new(FaultAction::Hold(hold.clone())).operation("PutObject");
    store.faults().add(held.key_prefix("onprem/f").times(u64::MAX));
    let names = ["f0", "f1", "f2", "f3"];
    let mut share = Mount::new(gateway.port, "sales");
    for name in names {
        share.write(name, name.as_bytes());
    }
    come(&hold, 1);
    // All have been due for more than a second.
    until("they wait", || (gateway.status().upload.oldest_seconds? >= 2).then_some(()));
    assert_eq!(requests(&store, "PutObject") - before, 1);
    let uploading = |name: &&str| {
        let state = gateway.file(name).expect("it is known").state;
        assert!(matches!(state, FileState::Uploading | FileState::Waiting), "{name}: {state:?}");
        state == FileState::Uploading
    };
    assert_eq!(names.iter().filter(|name| uploading(name)).count(), 1);
    gateway.replace_settings(&most(4));
    come(&hold, 4);
    assert_eq!(names.iter().filter(|name| uploading(name)).count(), 4);
    hold.open();
    gateway.flush();
    for name in names {
        object_with(&store, name, name.as_bytes());
        assert_eq!(gateway.file(name).expect("it is known").state, FileState::InS3);
    }
}

/// `pinned`: fetched though nobody reads, and there when others had to go.
#[test]
fn a_pinned_file_is_cached_without_a_read_and_stays() {
    let (store, home) = (store(), Home::new());
    let (pinned, other) = (pattern(4 << 20, 1), pattern(32 << 20, 2));
    store.put(BUCKET, "onprem/keep/this", &pinned);
    for n in 0..4 {
        store.put(BUCKET, &format!("onprem/others/{n}"), &other);
    }
    let settings = with(&store, "pinned = [\"keep\"]\n");
    let gateway = Gateway::start_on(&home, &settings, None, Some(128 << 20)).expect("it serves");
    let cached = |path: &str| Some(gateway.file(path).ok()?.cached.0);
    let size = pinned.len() as u64;
    until("it is cached", || (cached("keep/this")? == size).then_some(()));
    assert_eq!(gateway.status().figures.reads, 0);
    let mut share = Mount::new(gateway.port, "sales");
    for n in 0..4 {
        // Who is told to come again while room is made does, as clients do.
        let read = until("it is read", || match share.read(&format!("others/{n}")) {
            Err(nfsstat3::NFS3ERR_JUKEBOX) => None,
            answered => Some(answered),
        });
        assert!(read.unwrap() == other);
    }
    until("another has made room", || (cached("others/0")? < other.len() as u64).then_some(()));
    assert_eq!(cached("keep/this"), Some(size));
    let fetched = gateway.status().figures.downloaded_bytes.0;
    assert_eq!(fetched, size + 4 * other.len() as u64, "nothing was fetched twice");
}

/// Of the transfers below: of the least limits it would be minutes, of the ones that are set seconds.
const BYTES: usize = 3_000_000;

/// The day and the hour in the time zone of the machine.
fn local() -> (usize, u32) {
    let date = Command::new("date").arg("+%u %H").env_remove("TZ").output().expect("date(1)");
    let text = String::from_utf8(date.stdout).expect("text");
    let (day, hour) = text.trim().split_once(' ').expect("two numbers");
    (day.parse::<usize>().expect("a number") - 1, hour.parse().expect("a number"))
}

/// Writes a file and reads another of [`BYTES`] each; how long each took, to the bucket and from it.
fn transfer(gateway: &Gateway, store: &S3Store, name: &str) -> (Duration, Duration) {
    let content = pattern(BYTES, 5);
    let mut share = Mount::new(gateway.port, "sales");
    store.put(BUCKET, &format!("onprem/from-{name}"), &content);
    until("it is listed", || share.list("").contains(&format!("from-{name}")).then_some(()));
    let begun = Instant::now();
    assert!(share.read(&format!("from-{name}")).is_ok_and(|read| read == content));
    let down = begun.elapsed();
    let begun = Instant::now();
    share.write(&format!("to-{name}"), &content);
    object_with(store, &format!("to-{name}"), &content);
    (begun.elapsed(), down)
}

/// `[[bandwidth]]`: a limit bounds both directions in its days and hours and in no others. Method: lower
/// bounds of time, which no machine can beat; that there is no limit shows in that a transfer ends which
/// the least one would hold for more than [`crate::process::PATIENCE`].
#[test]
fn the_link_is_used_as_the_schedule_says() {
    let (store, home) = (store(), Home::new());
    let (day, hour) = local();
    let quoted = |days: &[usize]| {
        let names = days.iter().map(|day| {
            let day = Day::ALL[(*day + 7) % 7];
            format!("\"{}\"", format!("{day:?}").to_lowercase())
        });
        names.collect::<Vec<_>>().join(", ")
    };
    // A test that meets midnight, or the end of the hour, still means what it says.
    let (near, far) = ([day + 6, day, day + 1], [day + 2, day + 3, day + 4]);
    let scheduled = |days: &[usize], hour: u32, to_hour: u32, (up, down): (u32, u32)| {
        let (from, days) = (format!("{hour:02}:00"), quoted(days));
        format!(
            "{}[[bandwidth]]\ndays = [{days}]\nfrom = \"{from}\"\nto = \"{to_hour:02}:59\"\n\
             upload_bits_per_second = {up}\ndownload_bits_per_second = {down}\n",
            settings(&store)
        )
    };
    let least = (51_200, 102_400);
    let gateway = Gateway::start(&home, &scheduled(&far, 0, 23, least));
    transfer(&gateway, &store, "other-days");
    let elsewhen = (hour + 12) % 24;
    gateway.replace_settings(&scheduled(&near, elsewhen, elsewhen, least));
    transfer(&gateway, &store, "other-hours");
    // 1,000,000 and 1,500,000 bytes in a second.
    gateway.replace_settings(&scheduled(&near, 0, 23, (8_000_000, 12_000_000)));
    let (up, down) = transfer(&gateway, &store, "now");
    // What the first step and the last, and a pace that may run ahead a little, take no time for.
    let free = Duration::from_millis(500);
    assert!(up >= Duration::from_secs(3) - free, "{BYTES} bytes went in {up:?}");
    assert!(down >= Duration::from_secs(2) - free, "{BYTES} bytes came in {down:?}");
    // A limit that is over lets go of what waits for it.
    gateway.replace_settings(&scheduled(&near, 0, 23, least));
    let content = pattern(BYTES, 6);
    Mount::new(gateway.port, "sales").write("held", &content);
    until("it is being sent", || {
        (gateway.file("held").ok()?.state == FileState::Uploading).then_some(())
    });
    gateway.replace_settings(&scheduled(&far, 0, 23, least));
    object_with(&store, "held", &content);
}
