//! The S3 edge seen from outside: what the bucket can do, and credentials that change.
use std::fs;

use gateway_api::status::{Ability, Capabilities, HealthEventKind, ShareState};
use s3_store::{FaultAction, FaultRule, S3Store};

use crate::{
    BUCKET,
    mount::Mount,
    object_with,
    process::{Gateway, Home, settings, store, until},
};

/// What the bucket can do, once it was asked.
fn asked(gateway: &Gateway) -> Capabilities {
    until("the bucket was asked", || {
        let found = gateway.status().shares[0].capabilities;
        (!found.are_unknown()).then_some(found)
    })
}

/// Uploads begun: while all files are small, only the question what the bucket can do begins any.
fn times_asked(store: &S3Store) -> u64 {
    store.request_counts().get("CreateMultipartUpload").copied().unwrap_or(0)
}

/// semantics.md "Objects that others write", on a store that ignores conditions.
#[test]
fn a_store_that_ignores_conditions_is_found_out_and_no_version_is_lost() {
    let (store, home) = (store(), Home::new());
    store.faults().set_ignore_write_conditions(true);
    let gateway = Gateway::start(&home, &settings(&store));
    assert_eq!(asked(&gateway).put_if_absent, Ability::Ignored);
    let event = |event: &gateway_api::status::HealthEvent| {
        event.kind == HealthEventKind::StoreLacksAbility
            && event.message.contains("overwritten unseen")
    };
    until("it is said", || gateway.status().events.iter().any(event).then_some(()));
    let mut share = Mount::new(gateway.port, "sales");
    assert!(share.list("").is_empty(), "the scratch object is gone, and was never a file");
    store.put(BUCKET, "onprem/f", b"theirs");
    share.write("f", b"ours");
    object_with(&store, "f", b"ours");
    let kept = store.keys(BUCKET).into_iter().find(|key| key.contains(".conflict-"));
    let kept = kept.expect("the other writer's version is kept");
    assert_eq!(store.object(BUCKET, &kept).unwrap().body, b"theirs");
}

/// semantics.md "When something is wrong": a bucket that does not answer at the start.
#[test]
fn a_share_is_served_before_its_bucket_answers_and_asked_when_it_does() {
    let (store, home) = (store(), Home::new());
    store.faults().add(FaultRule::new(FaultAction::DropBefore).times(u64::MAX));
    let gateway = Gateway::start(&home, &settings(&store));
    until("it is said", || match &gateway.status().shares[0].state {
        ShareState::Unavailable(why) => why.contains("network").then_some(()),
        ShareState::Starting | ShareState::Available => None,
    });
    assert!(gateway.status().shares[0].capabilities.are_unknown());
    store.faults().clear();
    assert_eq!(asked(&gateway).delete_if_match, Ability::Yes);
    assert_eq!(gateway.status().shares[0].state, ShareState::Available);
}

#[test]
fn a_read_only_share_asks_nothing_and_writes_nothing() {
    let (store, home) = (store(), Home::new());
    store.put(BUCKET, "onprem/f", b"content");
    let gateway = Gateway::start(&home, &format!("{}read_only = true\n", settings(&store)));
    until("the bucket answers", || {
        (gateway.status().shares[0].state == ShareState::Available).then_some(())
    });
    assert_eq!(Mount::new(gateway.port, "sales").read("f").unwrap(), b"content");
    assert!(gateway.status().shares[0].capabilities.are_unknown());
    assert_eq!(store.request_counts().get("PutObject"), None);
}

/// semantics.md "When something is wrong": credentials, given anew to shares that run.
#[test]
fn renewed_credentials_count_for_running_shares() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    asked(&gateway);
    let before = times_asked(&store);
    let mut share = Mount::new(gateway.port, "sales");
    share.write("before", b"1");
    object_with(&store, "before", b"1");
    gateway.replace_settings(&settings(&store).replace("tidegate-secret", "wrong-secret"));
    share.write("meanwhile", b"2");
    let rejected = until("the refusal is said", || {
        let events = gateway.status().events;
        events.into_iter().find(|event| event.kind == HealthEventKind::CredentialsRejected)
    });
    assert!(rejected.message.contains("check access key"), "{}", rejected.message);
    assert!(store.object(BUCKET, "onprem/meanwhile").is_none(), "nothing was at stake");
    gateway.replace_settings(&settings(&store));
    object_with(&store, "meanwhile", b"2");
    until("the share is available", || {
        (gateway.status().shares[0].state == ShareState::Available).then_some(())
    });
    assert_eq!(times_asked(&store), before, "the share was not built anew");
}

/// settings.md `credentials_file`: renewed by somebody else, and never shown.
#[test]
fn a_credentials_file_is_followed() {
    let (store, home) = (store(), Home::new());
    let file = home.path("keys");
    let keys = |secret: &str| {
        format!(
            "{{\"Version\": 1, \"AccessKeyId\": \"tidegate\", \"SecretAccessKey\": \"{secret}\"}}"
        )
    };
    let given = "access_key_id = \"tidegate\"\nsecret_access_key = \"tidegate-secret\"\n";
    let by_file = format!("credentials_file = \"{}\"\n", file.display());
    let gateway = Gateway::start(&home, &settings(&store).replace(given, &by_file));
    let problem = until("the missing file is said", || gateway.status().settings_problem);
    assert!(problem.contains("s3.credentials_file") && problem.contains("keys"), "{problem}");
    fs::write(&file, keys("wrong and longer")).unwrap();
    until("the refusal is said", || {
        let events = gateway.status().events;
        events.iter().any(|event| event.message.contains("check access key")).then_some(())
    });
    fs::write(&file, keys("tidegate-secret")).unwrap();
    until("the share is available", || {
        (gateway.status().shares[0].state == ShareState::Available).then_some(())
    });
    assert_eq!(gateway.status().settings_problem, None);
    Mount::new(gateway.port, "sales").write("f", b"content");
    object_with(&store, "f", b"content");
}
