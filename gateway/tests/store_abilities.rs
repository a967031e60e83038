//! Stores that are not quite S3: what they lack is found out by trying, and made up for or said.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]
use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use gateway::{
    object::{ETag, ObjectKey},
    store::{
        Checksums, DegradedStore, Expect, KnownAbilities, ObjectStore, PutOptions, S3Bucket,
        StoreError, StoreErrorKind as Kind, StoreMeter,
    },
};
use gateway_api::{
    Secret,
    figures::Figures,
    settings::{Addressing, S3Settings},
    status::{Ability, Capabilities},
};
use s3_store::{FaultAction, FaultRule, S3Store, StoreConfig};

const SCRATCH: &str = "p/.tidegate-probe-0123456789abcdef";

async fn server() -> (S3Store, S3Bucket) {
    let config = StoreConfig { buckets: vec!["bucket".to_owned()], ..StoreConfig::default() };
    let s3 = S3Store::start(config).await.unwrap();
    let bucket = of(&s3);
    (s3, bucket)
}

fn of(s3: &S3Store) -> S3Bucket {
    let settings = S3Settings {
        endpoint: s3.endpoint(),
        region: "us-east-1".to_owned(),
        addressing: Addressing::Path,
        allow_http: true,
        access_key_id: "tidegate".to_owned(),
        secret_access_key: Secret::new("tidegate-secret"),
        ..S3Settings::default()
    };
    S3Bucket::new(&settings, &"bucket".parse().unwrap())
}

fn key(key: &str) -> ObjectKey {
    ObjectKey::new(key).unwrap()
}

async fn ask(bucket: &S3Bucket) -> Result<Capabilities, StoreError> {
    bucket.capabilities(&key(SCRATCH), &PutOptions::default()).await
}

fn lacks(operation: &str) -> FaultRule {
    let action = FaultAction::FailBefore { status: 501, code: "NotImplemented".to_owned() };
    FaultRule::new(action).operation(operation).times(u64::MAX)
}

fn all(ability: Ability) -> Capabilities {
    Capabilities::all(ability)
}

/// Whatever was found out, nothing is left of the finding.
fn assert_nothing_left(s3: &S3Store) {
    assert!(s3.keys("bucket").is_empty(), "{:?}", s3.keys("bucket"));
    assert_eq!(s3.uploads_in_progress("bucket"), 0);
}

#[tokio::test]
async fn s3_can_do_everything_and_nothing_stays_behind() {
    let (s3, bucket) = server().await;
    assert_eq!(bucket.checksums(), Checksums::PayloadSignature, "until the store is known");
    assert_eq!(ask(&bucket).await.unwrap(), all(Ability::Yes));
    assert_eq!(bucket.checksums(), Checksums::Crc64Nvme);
    assert_nothing_left(&s3);
}

#[tokio::test]
async fn conditions_that_are_ignored_are_found_out() {
    let (s3, bucket) = server().await;
    s3.faults().set_ignore_write_conditions(true);
    let expected = Capabilities {
        copy_source_if_match: Ability::Yes,
        upload_part_copy: Ability::Yes,
        part_copy_source_if_match: Ability::Yes,
        list_multipart_uploads: Ability::Yes,
        crc64nvme: Ability::Yes,
        ..all(Ability::Ignored)
    };
    assert_eq!(ask(&bucket).await.unwrap(), expected);
    assert_eq!(expected.conditions_not_kept().len(), 7);
    assert_nothing_left(&s3);
}

#[tokio::test]
async fn what_is_refused_is_found_out() {
    let (s3, bucket) = server().await;
    s3.faults().set_unknown_headers(&["if-", "x-amz-checksum-", "x-amz-sdk-checksum-"]);
    s3.faults().add(lacks("UploadPartCopy"));
    s3.faults().add(lacks("ListMultipartUploads"));
    let bucket = bucket.with_checksums(Checksums::Crc64Nvme);
    let expected = Capabilities {
        copy_source_if_match: Ability::Yes,
        part_copy_source_if_match: Ability::Unknown,
        ..all(Ability::No)
    };
    assert_eq!(ask(&bucket).await.unwrap(), expected);
    assert_eq!(bucket.checksums(), Checksums::PayloadSignature);
    assert_nothing_left(&s3);
    // And with what was found out, it can be written to.
    bucket
        .put(&key("p/a"), Bytes::from_static(b"x"), &PutOptions::default(), &Expect::Anything)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_store_that_does_not_answer_or_allow_tells_nothing() {
    for (status, code, kind) in
        [(403, "AccessDenied", Kind::Denied), (500, "InternalError", Kind::Unavailable)]
    {
        // Whichever request it is that fails.
        for skip in 0..12 {
            let (s3, bucket) = server().await;
            let action = FaultAction::FailBefore { status, code: code.to_owned() };
            s3.faults().add(FaultRule::new(action).operation("PutObject").skip(skip));
            match ask(&bucket).await {
                Err(error) => assert_eq!(error.kind, kind),
                Ok(found) => assert_eq!((found, s3.faults().pending()), (all(Ability::Yes), 1)),
            }
            assert_nothing_left(&s3);
        }
    }
}

#[tokio::test]
async fn what_a_crashed_probe_left_is_removed_by_the_next() {
    let (s3, bucket) = server().await;
    s3.put("bucket", SCRATCH, b"left");
    bucket.create_multipart(&key(SCRATCH), &PutOptions::default()).await.unwrap();
    bucket.create_multipart(&key("p/other"), &PutOptions::default()).await.unwrap();
    assert_eq!(ask(&bucket).await.unwrap(), all(Ability::Yes));
    assert!(s3.keys("bucket").is_empty());
    assert_eq!(s3.uploads_in_progress("bucket"), 1, "another's upload is left alone");
}

/// A store with faults, seen through what is known of it.
async fn degraded(faults: impl Fn(&S3Store), asked: bool) -> (S3Store, DegradedStore) {
    let (s3, bucket) = server().await;
    faults(&s3);
    let known = KnownAbilities::default();
    if asked {
        known.set(ask(&bucket).await.unwrap());
    }
    (s3, DegradedStore::new(Arc::new(bucket), known, "p/"))
}

fn kind<T: std::fmt::Debug>(refused: Result<T, StoreError>) -> Kind {
    refused.expect_err("it should have been refused").kind
}

/// One small part, completed under a condition.
async fn upload(
    store: &dyn ObjectStore,
    at: &ObjectKey,
    expect: &Expect,
) -> Result<ETag, StoreError> {
    let id = store.create_multipart(at, &PutOptions::default()).await?;
    let part = store.put_part(at, &id, 1, Bytes::from_static(b"part")).await?;
    Ok(store.complete_multipart(at, &id, &[part], expect).await?.etag)
}

/// I10 on stores that do not keep it by themselves, and while it is not known whether they do.
#[tokio::test]
async fn no_change_of_another_writer_is_overwritten_in_a_store_that_keeps_no_condition() {
    let ignores = |s3: &S3Store| s3.faults().set_ignore_write_conditions(true);
    let refuses = |s3: &S3Store| s3.faults().set_unknown_headers(&["if-"]);
    let s3_itself = |_: &S3Store| {};
    for (s3, store) in [
        degraded(ignores, true).await,
        degraded(ignores, false).await,
        degraded(refuses, true).await,
        degraded(s3_itself, true).await,
        degraded(s3_itself, false).await,
    ] {
        let (k, options) = (key("p/k"), PutOptions::default());
        let body = || Bytes::from_static(b"ours");
        let put = async |expect: &Expect| -> Result<ETag, StoreError> {
            Ok(store.put(&k, body(), &options, expect).await?.etag)
        };
        let first = put(&Expect::Absent).await.unwrap();
        s3.put("bucket", "p/k", b"theirs");
        let theirs = s3.object("bucket", "p/k").unwrap().etag;
        let stale = Expect::Tag(first.clone());
        assert_eq!(kind(put(&Expect::Absent).await), Kind::Changed);
        assert_eq!(kind(put(&stale).await), Kind::Changed);
        assert_eq!(kind(upload(&store, &k, &Expect::Absent).await), Kind::Changed);
        assert_eq!(kind(upload(&store, &k, &stale).await), Kind::Changed);
        assert_eq!(kind(store.delete(&k, Some(&first)).await), Kind::Changed);
        let from = key("p/from");
        let source = store.put(&from, body(), &options, &Expect::Absent).await.unwrap().etag;
        let copy = async |expect: &Expect| -> Result<ETag, StoreError> {
            Ok(store.copy(&from, &source, &k, &options, expect).await?.etag)
        };
        assert_eq!(kind(copy(&Expect::Absent).await), Kind::Changed);
        assert_eq!(kind(copy(&stale).await), Kind::Changed);
        let of_old = store.copy(&k, &first, &key("p/to"), &options, &Expect::Absent).await;
        assert_eq!(kind(of_old), Kind::Changed);
        assert_eq!(s3.object("bucket", "p/k").unwrap().body, b"theirs");

        // What is as expected is changed all the same.
        let now = put(&Expect::Tag(ETag::new(theirs))).await.unwrap();
        let now = upload(&store, &k, &Expect::Tag(now)).await.unwrap();
        let now = copy(&Expect::Tag(now)).await.unwrap();
        store.delete(&k, Some(&now)).await.unwrap();
        store.delete(&k, Some(&now)).await.unwrap();
        assert_eq!(kind(put(&stale).await), Kind::NotFound);
        upload(&store, &k, &Expect::Absent).await.unwrap();
        assert_eq!(s3.object("bucket", "p/k").unwrap().body, b"part");
    }
}

/// It is refused without a request: who asked fetches the bytes and sends them.
#[tokio::test]
async fn a_part_that_the_store_cannot_copy_is_refused_and_said_before() {
    let (s3, store) = degraded(|s3| s3.faults().add(lacks("UploadPartCopy")), true).await;
    assert!(!store.copies_parts());
    s3.put("bucket", "p/from", b"bytes");
    let from = ETag::new(s3.object("bucket", "p/from").unwrap().etag);
    let (source, to) = (key("p/from"), key("p/to"));
    let id = store.create_multipart(&to, &PutOptions::default()).await.unwrap();
    let asked = s3.request_counts()["UploadPartCopy"];
    let refused = store.copy_part(&to, &id, 1, &source, &from, 0..5).await.unwrap_err();
    assert!(refused.kind == Kind::Invalid && refused.message.contains("UploadPartCopy"));
    assert_eq!(s3.request_counts()["UploadPartCopy"], asked);
    let (_s3, store) = degraded(|_| {}, false).await;
    assert!(store.copies_parts(), "tried while nothing is known");
}

/// Bytes of another object than the one that was named must not get into a part.
#[tokio::test]
async fn a_store_that_ignores_which_object_a_part_is_copied_from_is_found_out() {
    let (s3, bucket) = server().await;
    s3.faults().set_ignore_part_sources(true);
    let expected =
        Capabilities { part_copy_source_if_match: Ability::Ignored, ..all(Ability::Yes) };
    assert_eq!(ask(&bucket).await.unwrap(), expected);
    assert_eq!(expected.conditions_not_kept(), ["part_copy_source_if_match"]);
    assert_nothing_left(&s3);
    for asked in [true, false] {
        let (s3, store) = degraded(|s3| s3.faults().set_ignore_part_sources(true), asked).await;
        s3.put("bucket", "p/from", b"ours");
        let ours = ETag::new(s3.object("bucket", "p/from").unwrap().etag);
        let (source, to) = (key("p/from"), key("p/to"));
        let id = store.create_multipart(&to, &PutOptions::default()).await.unwrap();
        store.copy_part(&to, &id, 1, &source, &ours, 0..4).await.unwrap();
        s3.put("bucket", "p/from", b"theirs");
        let copied = store.copy_part(&to, &id, 2, &source, &ours, 0..4).await;
        assert_eq!(kind(copied), Kind::Changed);
    }
}

/// A part that is the whole object instead of the range that was asked for makes an object of wrong bytes.
#[tokio::test]
async fn a_store_that_copies_another_range_than_it_is_asked_for_is_found_out() {
    let (s3, bucket) = server().await;
    s3.faults().set_ignore_part_ranges(true);
    let expected = Capabilities { upload_part_copy: Ability::Ignored, ..all(Ability::Yes) };
    assert_eq!(ask(&bucket).await.unwrap(), expected);
    assert_nothing_left(&s3);
    let (s3, store) = degraded(|s3| s3.faults().set_ignore_part_ranges(true), true).await;
    assert!(!store.copies_parts());
    s3.put("bucket", "p/from", b"ours");
    let ours = ETag::new(s3.object("bucket", "p/from").unwrap().etag);
    let to = key("p/to");
    let id = store.create_multipart(&to, &PutOptions::default()).await.unwrap();
    let copied = store.copy_part(&to, &id, 1, &key("p/from"), &ours, 1..2).await;
    assert_eq!(kind(copied), Kind::Invalid, "who asked sends the bytes");
}

/// S3 refuses ranges of objects up to 5 MiB: that tells nothing against it.
#[tokio::test]
async fn a_range_that_is_refused_of_a_small_object_is_no_lack() {
    let (s3, bucket) = server().await;
    let action = FaultAction::FailBefore { status: 400, code: "InvalidRequest".to_owned() };
    // The whole object, the condition on it, and the range.
    s3.faults().add(FaultRule::new(action).operation("UploadPartCopy").skip(2));
    assert_eq!(ask(&bucket).await.unwrap(), all(Ability::Yes));
    assert_eq!(s3.faults().pending(), 0, "the third one was refused");
    assert_nothing_left(&s3);
}

#[tokio::test]
async fn scratch_objects_are_in_no_listing() {
    let (s3, store) = degraded(|_| {}, false).await;
    for name in [SCRATCH, "p/.tidegate-probe-of-another", "p/a", "p/sub/.tidegate-probe-x"] {
        s3.put("bucket", name, b"x");
    }
    let listed = async |prefix: &str| -> Vec<String> {
        let page = store.list(prefix, None).await.unwrap();
        page.objects.into_iter().map(|object| object.key).collect()
    };
    assert_eq!(listed("p/").await, ["p/a"]);
    assert_eq!(listed("p/sub/").await, ["p/sub/.tidegate-probe-x"]);
}

/// What the finding out costs is in the figures, request by request.
#[tokio::test]
async fn the_requests_of_a_probe_are_counted() {
    let (s3, bucket) = server().await;
    let meter = Arc::new(StoreMeter::default());
    ask(&bucket.with_meter(Arc::clone(&meter))).await.unwrap();
    let mut figures = Figures::default();
    meter.add_to(&mut figures);
    let counted: BTreeMap<String, u64> =
        figures.requests.iter().map(|of| (of.operation.clone(), of.latency.count())).collect();
    assert_eq!(counted, s3.request_counts());
    assert_eq!(figures.uploaded_bytes.0, 0, "no file's bytes");
}

/// Goal: an upload in parts ends as it was begun, although what bodies carry changes meanwhile, also when
/// another process goes on with it. Method: a store that refuses checksums which the upload did not name.
#[tokio::test]
async fn an_upload_ends_with_the_checksums_that_it_was_begun_with() {
    let part = |byte: u8| Bytes::from(vec![byte; 5 << 20]);
    let (s3, bucket) = server().await;
    let id = bucket.create_multipart(&key("p/a"), &PutOptions::default()).await.unwrap();
    s3.faults().set_unknown_headers(&["x-amz-checksum-"]);
    let mut parts = vec![bucket.put_part(&key("p/a"), &id, 1, part(1)).await.unwrap()];
    bucket.use_checksums(Checksums::Crc64Nvme);
    parts.push(bucket.put_part(&key("p/a"), &id, 2, part(2)).await.unwrap());
    let meter = Arc::new(StoreMeter::default());
    let another = of(&s3).with_checksums(Checksums::Crc64Nvme).with_meter(Arc::clone(&meter));
    for number in 3..=4 {
        parts.push(another.put_part(&key("p/a"), &id, number, part(3)).await.unwrap());
    }
    let mut figures = Figures::default();
    meter.add_to(&mut figures);
    let asked: Vec<_> =
        figures.requests.iter().map(|of| (of.operation.as_str(), of.succeeded)).collect();
    assert_eq!(asked, [("ListParts", 1)], "once for the upload");
    another.complete_multipart(&key("p/a"), &id, &parts, &Expect::Absent).await.unwrap();
    // The next one is begun as is sent by then, and refused by such a store.
    let refused = another.create_multipart(&key("p/b"), &PutOptions::default()).await;
    assert_eq!(refused.unwrap_err().kind, Kind::Invalid);
}
