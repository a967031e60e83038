//! `gateway failing`: which files and deletions do not get to S3, and why.
use gateway_api::failing::{FailingObject, FailingPage, FailingWork};
use s3_store::{FaultAction, FaultRule, S3Store};

use crate::{
    BUCKET,
    mount::Mount,
    process::{Gateway, Home, settings, store, until},
};

/// More than a page has.
const FILES: usize = 210;

fn refuse(store: &S3Store, operation: &str, key: &str, status: u16, code: &str) {
    let refuse = FaultAction::FailBefore { status, code: code.to_owned() };
    let rule = FaultRule::new(refuse).operation(operation).key_prefix(key);
    store.faults().add(rule.times(u64::MAX));
}

fn failing(home: &Home, share: &[&str]) -> Vec<FailingObject> {
    let words = [&["failing", "--json"], share].concat();
    let text = Gateway::command(home, &words).expect("it is answered");
    let page: FailingPage = serde_json::from_str(&text).expect("JSON");
    assert_eq!(page.next, None, "all of them");
    page.failing
}

/// settings.md, `gateway failing`. Method: S3 refuses three keys for three reasons.
#[test]
fn what_fails_is_listed_with_its_reason() {
    let (store, home) = (store(), Home::new());
    // Whoever may write objects chooses their keys.
    store.put(BUCKET, "onprem/gone\u{1b}[2J", b"1");
    let gateway = Gateway::start(&home, &settings(&store));
    let mut share = Mount::new(gateway.port, "sales");
    assert_eq!(Gateway::command(&home, &["failing"]).expect("it runs"), "nothing fails\n");
    refuse(&store, "PutObject", "onprem/d/a", 500, "InternalError");
    refuse(&store, "PutObject", "onprem/d/b", 503, "SlowDown");
    refuse(&store, "DeleteObject", "onprem/gone", 500, "InternalError");
    share.mkdir("d");
    share.write("d/a", b"2");
    share.write("d/b", b"3");
    share.remove("s3key%gone%1B[2J");
    let mut found = until("all three have failed", || {
        Some(failing(&home, &["sales"])).filter(|found| found.len() == 3)
    });
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let about = |one: &FailingObject| (one.what, one.path.clone(), one.key.clone());
    let upload =
        |path: &str| (FailingWork::Upload, Some(path.to_owned()), format!("onprem/{path}"));
    let deletion = (FailingWork::Deletion, None, "onprem/gone\u{1b}[2J".to_owned());
    let expected = [upload("d/a"), upload("d/b"), deletion];
    assert_eq!(found.iter().map(about).collect::<Vec<_>>(), expected);
    for (one, code) in found.iter().zip(["InternalError", "SlowDown", "InternalError"]) {
        assert!(one.error.contains(code) && one.attempts > 0, "{one:?}");
        assert!(one.next_try_unix_seconds.is_some(), "{one:?}");
    }
    assert!(found[0].since_unix_seconds.is_some(), "{:?}", found[0]);
    let text = Gateway::command(&home, &["failing"]).expect("it runs");
    assert!(text.contains("upload of sales:/d/a: failed "), "{text}");
    assert!(text.contains("deletion of object onprem/gone\\u001b[2J of sales: failed "), "{text}");
    assert!(text.contains("HTTP 503 SlowDown"), "{text}");
    let unknown = Gateway::command(&home, &["failing", "none"]).expect_err("no such share");
    assert!(unknown.contains("no share is called none"), "{unknown}");
    store.faults().clear();
    gateway.flush();
    assert_eq!(failing(&home, &[]), []);
}

/// However many there are, each is listed once.
#[test]
fn more_than_a_page_is_listed_to_the_end() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    refuse(&store, "PutObject", "onprem/f", 500, "InternalError");
    let mut share = Mount::new(gateway.port, "sales");
    (0..FILES).for_each(|n| share.write(&format!("f{n:03}"), b"1"));
    let found =
        until("all have failed", || Some(failing(&home, &[])).filter(|found| found.len() >= FILES));
    let mut keys: Vec<_> = found.into_iter().map(|one| one.key).collect();
    keys.sort();
    let expected: Vec<_> = (0..FILES).map(|n| format!("onprem/f{n:03}")).collect();
    assert_eq!(keys, expected);
    assert!(store.keys(BUCKET).iter().all(|key| !key.starts_with("onprem/f")));
}
