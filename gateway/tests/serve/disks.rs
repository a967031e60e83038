//! Several cache disks of a running gateway: semantics.md "Several cache disks".
use std::fs;

use gateway_api::disks::{DiskState, DisksStatus};
use s3_store::{FaultAction, FaultRule};

use crate::{
    BUCKET,
    mount::Mount,
    object_with, pattern,
    process::{Gateway, Home, settings, store, until},
};

fn disks(home: &Home) -> DisksStatus {
    let text = Gateway::command(home, &["disks", "--json"]).expect("it answers");
    serde_json::from_str(&text).expect("the disks")
}

fn state(home: &Home, name: &str) -> Option<DiskState> {
    disks(home).disks.iter().find(|disk| disk.name.as_str() == name).map(|disk| disk.state)
}

/// `--cache-disk NAME=DIR` for each.
fn given(home: &Home, names: &[&str]) -> Vec<String> {
    let mut words = Vec::new();
    for name in names {
        let dir = home.path(name);
        fs::create_dir_all(&dir).expect("it can be made");
        words.push(format!("--cache-disk={name}={}", dir.display()));
    }
    // Small, so that each of them gets its share.
    words.push(format!("--cache-bytes={}", 1 << 30));
    words
}

fn start(home: &Home, settings: &str, names: &[&str]) -> Gateway {
    Gateway::start_with(home, settings, None, &given(home, names))
        .unwrap_or_else(|status| panic!("the gateway ended at its start: {status}"))
}

/// Goal: the life of a disk by its commands: used, released while S3 takes nothing, kept, emptied and taken away.
#[test]
fn a_disk_is_used_released_emptied_and_taken_away() {
    let (store, home) = (store(), Home::new());
    let refused = FaultAction::FailBefore { status: 500, code: "InternalError".to_owned() };
    store.faults().add(FaultRule::new(refused).operation("PutObject").times(u64::MAX));
    let gateway = start(&home, &settings(&store), &["d1"]);
    let mut share = Mount::new(gateway.port, "sales");
    let body = |n: u8| pattern(100_000 + usize::from(n), n);
    for n in 0..8 {
        share.write(&format!("f{n}"), &body(n));
    }
    let before = disks(&home).disks;
    assert_eq!(before.len(), 2);
    assert!(before[0].primary && !before[1].primary);
    assert!(before.iter().all(|disk| disk.state == DiskState::InUse && disk.dirty_files > 1));
    assert_eq!(gateway.status().cache.total.0, 2 << 30, "the disks count together");
    let primary = Gateway::command(&home, &["disks", "release", "primary"]).unwrap_err();
    assert!(primary.contains("has the catalog"), "{primary}");
    let unknown = Gateway::command(&home, &["disks", "release", "d2"]).unwrap_err();
    assert!(unknown.contains("no cache disk is called d2"), "{unknown}");
    let there = Gateway::command(&home, &["disks", "forget", "d1"]).unwrap_err();
    assert!(there.contains("is there"), "{there}");

    Gateway::command(&home, &["disks", "release", "d1"]).expect("it can be released");
    until("d1 is empty", || (state(&home, "d1") == Some(DiskState::Empty)).then_some(()));
    assert_eq!(disks(&home).disks[1].files, 0);
    let text = Gateway::command(&home, &["disks"]).expect("it answers");
    assert!(text.contains("d1: empty: it can be taken away"), "{text}");
    share.write("late", &body(90));
    assert_eq!(disks(&home).disks[1].files, 0, "nothing new is placed there");
    let kept = Gateway::command(&home, &["disks", "keep", "d1", "--json"]).expect("it can be kept");
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    assert_eq!(kept, serde_json::json!({ "name": "d1", "draining": false }));
    assert_eq!(state(&home, "d1"), Some(DiskState::InUse));
    share.write("later", &body(91));
    // Files are counted anew when that is cheap.
    until("what is new is placed there", || (disks(&home).disks[1].files == 1).then_some(()));
    let words = ["disks", "release", "d1", "--json"];
    let released = Gateway::command(&home, &words).expect("it can be released");
    let released: serde_json::Value = serde_json::from_str(&released).expect("JSON");
    assert_eq!(released, serde_json::json!({ "name": "d1", "draining": true }));
    gateway.kill();

    let gateway = start(&home, &settings(&store), &["d1"]);
    until("d1 is empty", || (state(&home, "d1") == Some(DiskState::Empty)).then_some(()));
    assert!(gateway.stop().success());
    let gateway = start(&home, &settings(&store), &[]);
    assert_eq!(state(&home, "d1"), None, "it was empty: nobody needs to be told");
    assert_eq!(gateway.status().settings_problem, None);
    store.faults().clear();
    gateway.flush();
    for n in 0..8 {
        object_with(&store, &format!("f{n}"), &body(n));
    }
    object_with(&store, "later", &body(91));
}

/// Goal: a missing disk is said loudly, costs only its files, and can be forgotten only with leave, which names
/// what it costs; another installation's disk is not used, and keeps
/// nobody from the share.
#[test]
fn a_missing_disk_is_told_of_and_forgotten_only_with_leave() {
    let (store, home) = (store(), Home::new());
    let refused = FaultAction::FailBefore { status: 500, code: "InternalError".to_owned() };
    store.faults().add(FaultRule::new(refused).operation("PutObject").times(u64::MAX));
    let gateway = start(&home, &settings(&store), &["d1"]);
    let mut share = Mount::new(gateway.port, "sales");
    let body = |n: u8| pattern(100_000, n);
    for n in 0..6 {
        share.write(&format!("f{n}"), &body(n));
    }
    let lost = disks(&home).disks[1].dirty_files;
    assert!((1..6).contains(&lost));
    assert!(gateway.stop().success());

    let gateway = start(&home, &settings(&store), &[]);
    let words = format!("cache disk d1 with {lost} dirty files is missing: attach it again");
    assert_eq!(gateway.status().settings_problem, Some(words));
    assert_eq!(state(&home, "d1"), Some(DiskState::Missing));
    let mut share = Mount::new(gateway.port, "sales");
    let mut broken = Vec::new();
    for n in 0..6 {
        match share.read(&format!("f{n}")) {
            Ok(read) => assert!(read == body(n)),
            Err(_) => broken.push(n),
        }
    }
    assert_eq!(broken.len() as u64, lost);
    let refusal = Gateway::command(&home, &["disks", "forget", "d1"]).unwrap_err();
    for n in &broken {
        assert!(refusal.contains(&format!("sales:/f{n} ")), "{refusal}");
    }
    assert!(refusal.contains("--lose-dirty"), "{refusal}");
    assert_eq!(state(&home, "d1"), Some(DiskState::Missing), "nothing happened");
    let done = Gateway::command(&home, &["disks", "forget", "d1", "--lose-dirty"]);
    let done = done.expect("with leave it is forgotten");
    assert!(done.contains(&format!("{lost} files were lost")), "{done}");
    assert_eq!((state(&home, "d1"), gateway.status().settings_problem), (None, None));
    store.faults().clear();
    gateway.flush();
    for n in 0..6 {
        let object = store.object(BUCKET, &format!("onprem/f{n}"));
        assert_eq!(object.map(|object| object.body), (!broken.contains(&n)).then(|| body(n)));
    }
    assert!(gateway.stop().success());

    // Back after all: what it has means nothing any more, and it can be used.
    let gateway = start(&home, &settings(&store), &["d1"]);
    assert_eq!(state(&home, "d1"), Some(DiskState::InUse));
    assert_eq!(disks(&home).disks[1].files, 0);
    assert!(gateway.stop().success());
    let stranger = Home::new();
    let words = vec![format!("--cache-disk=d1={}", home.path("d1").display())];
    let gateway = Gateway::start_with(&stranger, &settings(&store), None, &words)
        .unwrap_or_else(|status| panic!("one disk keeps it from starting: {status}"));
    let left_out = disks(&stranger).disks.remove(1);
    assert_eq!((left_out.name.as_str(), left_out.state), ("d1", DiskState::Missing));
    let why = left_out.problem.expect("it says why");
    assert!(why.contains("another installation"), "{why}");
    let problem = gateway.status().settings_problem.expect("it is no secret");
    assert!(problem.starts_with("cache disk d1 is not used: "), "{problem}");
    let mut share = Mount::new(gateway.port, "sales");
    share.write("on-the-primary", &body(9));
    gateway.flush();
    object_with(&store, "on-the-primary", &body(9));
    assert!(gateway.stop().success());
}
