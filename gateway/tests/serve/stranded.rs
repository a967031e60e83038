//! A share that goes from the settings while S3 does not have everything of it.
use std::fs;

use gateway_api::status::{HealthEventKind, Shutdown};
use s3_store::{FaultAction, FaultRule};

use crate::{
    BUCKET, keys,
    mount::Mount,
    object_with,
    process::{Gateway, Home, settings, store, until},
};

/// semantics.md, "When something is wrong". Method: S3 refuses what is written; the share is renamed, which is
/// refused, then forced, and in the end it is put back.
#[test]
fn a_share_with_dirty_files_is_let_go_only_by_force_and_told_until_it_is_back() {
    let (store, home) = (store(), Home::new());
    let (right, renamed) = (settings(&store), settings(&store).replace("\"sales\"", "\"sold\""));
    let gateway = Gateway::start(&home, &right);
    let refuse = FaultAction::FailBefore { status: 500, code: "InternalError".to_owned() };
    let refuse = FaultRule::new(refuse).operation("PutObject").key_prefix("onprem/kept");
    store.faults().add(refuse.times(u64::MAX));
    Mount::new(gateway.port, "sales").write("kept", b"acknowledged");

    let file = home.path("renamed.toml");
    fs::write(&file, &renamed).expect("it can be written");
    let file = file.to_str().expect("a plain path");
    let replace = ["settings", "--replace", file];
    let refused = Gateway::command(&home, &replace).expect_err("something would be left behind");
    assert!(refused.contains("share /sales has 12 B in 1 files"), "{refused}");
    assert!(refused.contains("bucket, prefix \"onprem/\""), "{refused}");
    let status = gateway.status();
    assert_eq!((status.shares[0].name.as_str(), status.stranded.len()), ("sales", 0));

    let forced = Gateway::command(&home, &[&replace[..], &["--force-delete"]].concat());
    forced.expect("it is asked for");
    let status = gateway.status();
    assert_eq!(status.shares[0].name.as_str(), "sold");
    assert_eq!(status.shutdown, Shutdown::Stuck);
    let left = &status.stranded[0];
    assert_eq!((left.name.as_str(), left.upload.dirty_files), ("sales", 1));
    let problem = status.settings_problem.expect("it is said what is wrong");
    for words in ["/sales is not in the settings", "bucket bucket", "prefix \"onprem/\""] {
        assert!(problem.contains(words), "{problem}");
    }
    let told = status.events.iter().find(|one| one.kind == HealthEventKind::ShareStranded);
    assert_eq!(told.expect("an event").share.as_ref().expect("of a share").as_str(), "sales");
    // What is left behind already is no reason against other changes.
    gateway.replace_settings(&renamed.replace("= 50", "= 60"));

    // Another bucket for a share that waits is no share that goes: it is not served, and said so.
    let sales =
        |bucket: &str| renamed.replace("\"sold\"", "\"sales\"").replace("\"bucket\"", bucket);
    fs::write(home.path("renamed.toml"), sales("\"elsewhere\"")).expect("it can be written");
    let gone = Gateway::command(&home, &replace).expect_err("it is not served");
    assert_eq!(gone, "", "the settings are in force, and it fails without a complaint");
    let status = gateway.status();
    let told = status.events.iter().find(|one| one.kind == HealthEventKind::ShareRefused);
    assert!(told.expect("an event").message.contains("bucket"), "{told:?}");

    store.faults().clear();
    assert_eq!(keys(&store), Vec::<String>::new(), "it waits for its share");
    gateway.replace_settings(&right);
    object_with(&store, "kept", b"acknowledged");
    until("nothing is left", || (gateway.status().shutdown == Shutdown::Safe).then_some(()));
    let status = gateway.status();
    assert_eq!((status.stranded.len(), status.settings_problem), (0, None));
    gateway.replace_settings(&renamed);
    assert!(store.object(BUCKET, "onprem/kept").is_some());
}
