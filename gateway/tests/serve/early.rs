//! Large files go ahead while they are written: nothing is published early, and nothing is mixed.
use std::collections::BTreeMap;

use gateway_api::status::Ability;
use s3_store::S3Store;

use crate::{
    BUCKET,
    mount::Mount,
    pattern,
    process::{Gateway, Home, settings, store, until},
};

/// Five parts, of which a background commit takes four or five.
const SIZE: usize = 80 << 20;

/// Settings under which only what is written early goes by itself.
fn early(store: &S3Store) -> String {
    settings(store)
        .replace("upload_delay_ms = 50", "upload_delay_ms = 3600000\nearly_upload_bytes = 33554432")
}

/// A gateway that has asked its bucket what it can do, and the requests that took.
fn start(home: &Home, store: &S3Store) -> (Gateway, Requests) {
    let gateway = Gateway::start(home, &early(store));
    until("the bucket was asked", || {
        (gateway.status().shares[0].capabilities.crc64nvme != Ability::Unknown).then_some(())
    });
    (gateway, Requests(store.request_counts()))
}

/// What the store had been asked for at one moment.
struct Requests(BTreeMap<String, u64>);

impl Requests {
    /// How many have come since.
    fn since(&self, store: &S3Store, operation: &str) -> u64 {
        let of = |counts: &BTreeMap<String, u64>| counts.get(operation).copied().unwrap_or(0);
        of(&store.request_counts()) - of(&self.0)
    }

    /// Returns when the parts that were committed are in S3.
    fn until_ahead(&self, store: &S3Store) {
        until("four parts are in S3", || (self.since(store, "UploadPart") >= 4).then_some(()));
        assert!(store.keys(BUCKET).is_empty(), "nothing is published");
    }
}

/// semantics.md "One file is one object".
#[test]
fn a_large_file_goes_ahead_while_it_is_written() {
    let (store, home) = (store(), Home::new());
    let (gateway, before) = start(&home, &store);
    let mut share = Mount::new(gateway.port, "sales");
    let mut content = pattern(SIZE, 1);
    let file = share.create("backup");
    share.write_unstable(&file, 0, &content);
    before.until_ahead(&store);
    let changed = pattern(1 << 20, 2);
    content[..changed.len()].copy_from_slice(&changed);
    share.write_at(&file, 0, &changed);
    content.extend_from_slice(b"the end");
    share.write_at(&file, SIZE as u64, b"the end");
    gateway.flush();
    let object = store.object(BUCKET, "onprem/backup").expect("it is published");
    assert!(object.body == content, "the bytes are not the file's");
    let parts = before.since(&store, "UploadPart");
    assert!(
        (7..=8).contains(&parts),
        "six parts, the first twice, and what was cut short: {parts}"
    );
    assert_eq!(before.since(&store, "CreateMultipartUpload"), 1);
    assert_eq!(store.uploads_in_progress(BUCKET), 0);
    let mtime = share.getattr("backup").mtime;
    let nanos = u64::from(mtime.seconds) * 1_000_000_000 + u64::from(mtime.nseconds);
    assert_eq!(object.user_meta["file-mtime"], format!("{nanos}ns"), "not those of the beginning");
}

/// Linux commits what it has written every few seconds, and at once when it runs short of memory.
#[test]
fn a_large_file_that_is_committed_all_the_time_goes_ahead_too() {
    let (store, home) = (store(), Home::new());
    let (gateway, before) = start(&home, &store);
    let mut share = Mount::new(gateway.port, "sales");
    // Offered when it has come to its 32 MiB, and after 64 MiB more: whenever that is looked at, four parts
    // go ahead.
    let content = pattern(128 << 20, 6);
    let file = share.create("backup");
    for (number, piece) in content.chunks(1 << 20).enumerate() {
        share.write_at(&file, (number as u64) << 20, piece);
    }
    before.until_ahead(&store);
    gateway.flush();
    let object = store.object(BUCKET, "onprem/backup").expect("it is published");
    assert!(object.body == content, "the bytes are not the file's");
    assert_eq!(before.since(&store, "CreateMultipartUpload"), 1);
    assert_eq!(before.since(&store, "UploadPart"), 8, "none of them twice");
}

/// After a crash the cache file may hold bytes that were never committed. They must not differ from
/// those of a part that was sent before.
#[test]
fn parts_that_went_ahead_are_not_believed_after_a_crash_in_the_burst() {
    let (store, home) = (store(), Home::new());
    let (gateway, before) = start(&home, &store);
    let mut share = Mount::new(gateway.port, "sales");
    let file = share.create("backup");
    share.write_unstable(&file, 0, &pattern(SIZE, 3));
    before.until_ahead(&store);
    share.write_unstable(&file, 5 << 20, &pattern(1 << 20, 4));
    gateway.kill();

    let gateway = Gateway::start(&home, &early(&store));
    gateway.flush();
    let object = store.object(BUCKET, "onprem/backup").expect("it is published");
    let read = Mount::new(gateway.port, "sales").read("backup").expect("it is there");
    assert!(read.len() >= 64 << 20, "what was committed in the background");
    assert!(object.body == read, "S3 has other bytes than clients read");
    assert_eq!(store.uploads_in_progress(BUCKET), 0);
}

/// A file that is removed before its end leaves nothing in S3.
#[test]
fn parts_of_a_removed_file_are_taken_back() {
    let (store, home) = (store(), Home::new());
    let (gateway, before) = start(&home, &store);
    let mut share = Mount::new(gateway.port, "sales");
    let file = share.create("backup");
    share.write_unstable(&file, 0, &pattern(SIZE, 5));
    before.until_ahead(&store);
    share.remove("backup");
    gateway.flush();
    until("its parts are gone", || (store.uploads_in_progress(BUCKET) == 0).then_some(()));
    assert!(store.keys(BUCKET).is_empty());
}
