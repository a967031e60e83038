//! What the gateway relies on of an object store, as one suite: run here through the S3 adapter
//! against a real S3 server over TCP. Any other store of the port must pass the same.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway::{
    object::{ETag, ObjectKey},
    store::{
        Checksums, Expect, ObjectStore, PutOptions, S3Bucket, SendLimits, StoreError,
        StoreErrorKind as Kind, UploadedPart, UserMeta, pace::Paces,
    },
};
use gateway_api::{
    Secret,
    settings::{Addressing, S3Settings},
};
use s3_store::{S3Store, StoreConfig};

fn settings(s3: &S3Store) -> S3Settings {
    S3Settings {
        endpoint: s3.endpoint(),
        region: "us-east-1".to_owned(),
        addressing: Addressing::Path,
        allow_http: true,
        access_key_id: "tidegate".to_owned(),
        secret_access_key: Secret::new("tidegate-secret"),
        ..S3Settings::default()
    }
}

async fn server() -> S3Store {
    let config = StoreConfig { buckets: vec!["bucket".to_owned()], ..StoreConfig::default() };
    S3Store::start(config).await.unwrap()
}

/// Each test runs with either kind of checksums.
async fn stores() -> Vec<(S3Store, S3Bucket)> {
    let mut stores = Vec::new();
    for checksums in [Checksums::Crc64Nvme, Checksums::PayloadSignature] {
        let s3 = server().await;
        let bucket = S3Bucket::new(&settings(&s3), &"bucket".parse().unwrap());
        stores.push((s3, bucket.with_checksums(checksums)));
    }
    stores
}

fn key(key: &str) -> ObjectKey {
    ObjectKey::new(key).unwrap()
}

fn options() -> PutOptions {
    PutOptions {
        user: UserMeta::from([("file-owner".to_owned(), "1000".to_owned())]),
        content_type: Some("text/plain".to_owned()),
        storage_class: "STANDARD".to_owned(),
        ..PutOptions::default()
    }
}

async fn put(store: &dyn ObjectStore, at: &str, body: &[u8]) -> ETag {
    let body = Bytes::copy_from_slice(body);
    store.put(&key(at), body, &options(), &Expect::Anything).await.unwrap().etag
}

fn kind<T: std::fmt::Debug>(refused: Result<T, StoreError>) -> Kind {
    refused.expect_err("it should have been refused").kind
}

#[tokio::test]
async fn contract_what_was_put_is_got_headed_and_listed() {
    for (_s3, store) in stores().await {
        store.probe("p/").await.unwrap();
        let etag = put(&store, "a/b", b"hello").await;
        let head = store.head(&key("a/b")).await.unwrap();
        assert_eq!((head.size, &head.etag, &head.user), (5, &etag, &options().user));
        assert!(head.last_modified.seconds() > 1_700_000_000);
        assert_eq!(&store.get(&key("a/b"), 1..4, &etag).await.unwrap()[..], b"ell");
        assert!(store.get(&key("a/b"), 2..2, &etag).await.unwrap().is_empty());
        let page = store.list("a/", None).await.unwrap();
        assert_eq!((page.objects.len(), page.objects[0].etag.clone()), (1, etag));
        assert_eq!(put(&store, "empty", b"").await, store.head(&key("empty")).await.unwrap().etag);
    }
}

#[tokio::test]
async fn contract_any_key_survives_the_way_there_and_back() {
    let odd = [
        "a name with spaces",
        "a+b%2B&=?#;:@$,!'()*~",
        "서울/파일.txt",
        "e\u{301}",
        "\u{e9}",
        "x//y",
        "./z",
        "../w",
        "q/../r",
        "tab\there",
        "quote\"back\\slash",
        "trailing/",
        "\u{1F30A}",
    ];
    let long = "k".repeat(1024);
    for (_s3, store) in stores().await {
        for name in odd.into_iter().chain([long.as_str()]) {
            let etag = put(&store, name, name.as_bytes()).await;
            let got = store.get(&key(name), 0..name.len() as u64, &etag).await.unwrap();
            assert_eq!(&got[..], name.as_bytes(), "{name:?}");
            let copy = ObjectKey::new(format!("copy/{name}"));
            if let Some(copy) = copy {
                store.copy(&key(name), &etag, &copy, &options(), &Expect::Absent).await.unwrap();
                let head = store.head(&copy).await.unwrap();
                assert_eq!(head.size, name.len() as u64, "{name:?}");
            }
            let dir = &name[..name.rfind('/').map_or(0, |at| at + 1)];
            let page = store.list(dir, None).await.unwrap();
            assert!(page.objects.iter().any(|object| object.key == name), "{name:?}");
            store.delete(&key(name), Some(&etag)).await.unwrap();
            assert_eq!(kind(store.head(&key(name)).await), Kind::NotFound, "{name:?}");
        }
    }
}

#[tokio::test]
async fn contract_listings_page_in_byte_order_with_prefixes_and_markers() {
    for (s3, store) in stores().await {
        for i in 0..2100 {
            s3.put("bucket", &format!("d/{i:05}"), b"x");
        }
        for name in ["d/", "d/00007/below", "d/zz/1", "d/zz/2", "d0", "c"] {
            s3.put("bucket", name, b"x");
        }
        let (mut objects, mut prefixes, mut pages) = (Vec::new(), Vec::new(), 0);
        let mut next = None;
        loop {
            let page = store.list("d/", next.as_deref()).await.unwrap();
            objects.extend(page.objects.into_iter().map(|object| object.key));
            prefixes.extend(page.prefixes);
            pages += 1;
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        assert_eq!((objects.len(), pages), (2101, 3));
        assert!(objects.is_sorted() && objects[0] == "d/");
        assert_eq!(prefixes, ["d/00007/", "d/zz/"]);
    }
}

#[tokio::test]
async fn contract_a_publish_happens_only_on_its_condition() {
    for (_s3, store) in stores().await {
        let k = key("k");
        let body = || Bytes::from_static(b"1");
        let first = store.put(&k, body(), &options(), &Expect::Absent).await.unwrap().etag;
        assert_eq!(kind(store.put(&k, body(), &options(), &Expect::Absent).await), Kind::Changed);
        let tag = Expect::Tag(first.clone());
        let second = store.put(&k, Bytes::from_static(b"2"), &options(), &tag).await.unwrap().etag;
        assert_eq!(kind(store.put(&k, body(), &options(), &tag).await), Kind::Changed);
        let missing = store.put(&key("none"), body(), &options(), &tag).await;
        assert!(matches!(kind(missing), Kind::NotFound | Kind::Changed));
        assert_eq!(kind(store.get(&k, 0..1, &first).await), Kind::Changed);
        assert_eq!(kind(store.delete(&k, Some(&first)).await), Kind::Changed);
        assert_eq!(store.head(&k).await.unwrap().etag, second);
        store.delete(&k, Some(&second)).await.unwrap();
        assert_eq!(kind(store.get(&k, 0..1, &second).await), Kind::NotFound);
    }
}

#[tokio::test]
async fn contract_deleting_what_is_not_there_is_success() {
    for (_s3, store) in stores().await {
        store.delete(&key("none"), None).await.unwrap();
        let tag = ETag::new("\"00000000000000000000000000000000\"");
        store.delete(&key("none"), Some(&tag)).await.unwrap();
    }
}

#[tokio::test]
async fn contract_a_copy_replaces_metadata_and_checks_both_ends() {
    for (_s3, store) in stores().await {
        let etag = put(&store, "from", b"body").await;
        let new = PutOptions {
            user: UserMeta::from([("file-permissions".to_owned(), "0100600".to_owned())]),
            ..options()
        };
        let (from, to) = (key("from"), key("to"));
        let copied = store.copy(&from, &etag, &to, &new, &Expect::Absent).await.unwrap().etag;
        let head = store.head(&to).await.unwrap();
        assert_eq!((head.etag, head.user), (copied, new.user.clone()));
        let again = store.copy(&from, &etag, &to, &new, &Expect::Absent).await;
        assert_eq!(kind(again), Kind::Changed);
        let other = ETag::new("\"00000000000000000000000000000000\"");
        let wrong = store.copy(&from, &other, &key("x"), &new, &Expect::Absent).await;
        assert_eq!(kind(wrong), Kind::Changed);
        let missing = store.copy(&key("no"), &etag, &key("x"), &new, &Expect::Absent).await;
        assert_eq!(kind(missing), Kind::NotFound);
        // In place: only the metadata changes.
        let tag = Expect::Tag(etag.clone());
        store.copy(&from, &etag, &from, &new, &tag).await.unwrap();
        assert_eq!(store.head(&from).await.unwrap().user, new.user);
    }
}

async fn parts(store: &dyn ObjectStore, k: &ObjectKey, id: &str) -> Vec<UploadedPart> {
    let large = Bytes::from(vec![1; 5 << 20]);
    let last = Bytes::from_static(b"end");
    vec![
        store.put_part(k, id, 1, large).await.unwrap(),
        store.put_part(k, id, 2, last).await.unwrap(),
    ]
}

#[tokio::test]
async fn contract_an_upload_in_parts_appears_whole_and_on_its_condition() {
    for (_s3, store) in stores().await {
        let k = key("large");
        let id = store.create_multipart(&k, &options()).await.unwrap();
        let sent = parts(&store, &k, &id).await;
        assert_eq!(kind(store.head(&k).await), Kind::NotFound, "not before it is completed");
        let pending = store.list_multipart("lar", None).await.unwrap().uploads;
        assert_eq!((pending.len(), pending[0].upload_id.as_str()), (1, id.as_str()));
        let etag = store.complete_multipart(&k, &id, &sent, &Expect::Absent).await.unwrap().etag;
        let head = store.head(&k).await.unwrap();
        assert_eq!((head.size, head.etag, head.user), ((5 << 20) + 3, etag, options().user));
        let id = store.create_multipart(&k, &options()).await.unwrap();
        let sent = parts(&store, &k, &id).await;
        let refused = store.complete_multipart(&k, &id, &sent, &Expect::Absent).await;
        assert_eq!(kind(refused), Kind::Changed);
        store.abort_multipart(&k, &id).await.unwrap();
        store.abort_multipart(&k, &id).await.unwrap();
        assert!(store.list_multipart("", None).await.unwrap().uploads.is_empty());
        let late = store.put_part(&k, &id, 1, Bytes::from_static(b"x")).await;
        assert_eq!(kind(late), Kind::NotFound);
    }
}

#[tokio::test]
async fn contract_uploads_are_told_in_pages_each_once() {
    let (_s3, store) = stores().await.remove(0);
    let mut begun = Vec::new();
    for number in 0..1003 {
        // Some of one key, on both sides of the page's end; and a key that has to be escaped.
        let k = key(&format!("of +{}", number / 5));
        begun.push(store.create_multipart(&k, &options()).await.unwrap());
    }
    store.create_multipart(&key("other"), &options()).await.unwrap();
    let (mut seen, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let page = store.list_multipart("of +", after.as_ref()).await.unwrap();
        assert!(page.uploads.iter().all(|upload| upload.key.starts_with("of +")));
        seen.extend(page.uploads.into_iter().map(|upload| upload.upload_id));
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    begun.sort();
    seen.sort();
    assert!(seen == begun, "{} of {} are told", seen.len(), begun.len());
    assert_eq!(pages, 2);
}

#[tokio::test]
async fn contract_encryption_and_acl_are_asked_for_however_the_object_comes_to_be() {
    let with_key = ("aws:kms", Some("arn:aws:kms:ap-northeast-2:111122223333:key/sales"));
    for (algorithm, kms_key) in [("AES256", None), with_key, ("aws:kms:dsse", None)] {
        let options = PutOptions {
            encryption: Some(algorithm.to_owned()),
            kms_key: kms_key.map(str::to_owned),
            acl: Some("bucket-owner-full-control".to_owned()),
            ..options()
        };
        for (s3, store) in stores().await {
            let (put, copy, large) = (key("put"), key("copy"), key("large"));
            let body = Bytes::from_static(b"body");
            let etag = store.put(&put, body, &options, &Expect::Absent).await.unwrap().etag;
            store.copy(&put, &etag, &copy, &options, &Expect::Absent).await.unwrap();
            let id = store.create_multipart(&large, &options).await.unwrap();
            let parts = parts(&store, &large, &id).await;
            store.complete_multipart(&large, &id, &parts, &Expect::Absent).await.unwrap();
            for at in ["put", "copy", "large"] {
                let object = s3.object("bucket", at).unwrap();
                let asked = (algorithm.to_owned(), kms_key.map(str::to_owned));
                assert_eq!(object.encryption, Some(asked), "{at}");
                assert_eq!(object.acl, "bucket-owner-full-control", "{at}");
            }
        }
    }
    let (s3, store) = stores().await.remove(0);
    store.put(&key("k"), Bytes::new(), &options(), &Expect::Absent).await.unwrap();
    let object = s3.object("bucket", "k").unwrap();
    assert_eq!((object.encryption, object.acl.as_str()), (None, ""), "the bucket decides");
}

#[tokio::test]
async fn contract_every_request_says_that_the_requester_pays() {
    for (s3, store) in stores().await {
        s3.faults().set_requester_pays(true);
        assert_eq!(kind(store.probe("").await), Kind::Denied);
        let store = store.with_requester_pays(true);
        store.probe("").await.unwrap();
        let (k, copy, large) = (key("k"), key("copy"), key("large"));
        let etag = put(&store, "k", b"body").await;
        assert_eq!(store.head(&k).await.unwrap().size, 4);
        store.get(&k, 0..4, &etag).await.unwrap();
        store.copy(&k, &etag, &copy, &options(), &Expect::Absent).await.unwrap();
        assert_eq!(store.list("", None).await.unwrap().objects.len(), 2);
        for ends in [true, false] {
            let id = store.create_multipart(&large, &options()).await.unwrap();
            let mut parts = parts(&store, &large, &id).await;
            let copied = store.copy_part(&large, &id, 2, &k, &etag, 0..4).await.unwrap();
            parts[1] = copied;
            assert_eq!(store.list_multipart("", None).await.unwrap().uploads.len(), 1);
            if ends {
                store.complete_multipart(&large, &id, &parts, &Expect::Absent).await.unwrap();
            } else {
                store.abort_multipart(&large, &id).await.unwrap();
            }
        }
        store.delete(&copy, None).await.unwrap();
    }
}

#[tokio::test]
async fn contract_parts_can_be_copied_within_the_store() {
    for (_s3, store) in stores().await {
        let body: Vec<u8> = (0..6 << 20).map(|i: u32| (i % 251) as u8).collect();
        let from = put(&store, "from", &body).await;
        let k = key("to");
        let id = store.create_multipart(&k, &options()).await.unwrap();
        let half = 5 << 20;
        let size = body.len() as u64;
        let one = store.copy_part(&k, &id, 1, &key("from"), &from, 0..half).await.unwrap();
        let two = store.copy_part(&k, &id, 2, &key("from"), &from, half..size).await.unwrap();
        let etag =
            store.complete_multipart(&k, &id, &[one, two], &Expect::Absent).await.unwrap().etag;
        assert!(store.get(&k, 0..size, &etag).await.unwrap() == body);
    }
}

/// What is paced arrives as what is not, checksums and signatures included.
#[tokio::test]
async fn contract_a_bounded_rate_changes_no_byte() {
    let s3 = server().await;
    for checksums in [Checksums::Crc64Nvme, Checksums::PayloadSignature] {
        let paces = Paces::default();
        paces.upload.set(Some(40 << 20));
        paces.download.set(Some(40 << 20));
        let store = S3Bucket::new(&settings(&s3), &"bucket".parse().unwrap())
            .at_pace(paces)
            .with_checksums(checksums);
        let body: Vec<u8> = (0..(1_u32 << 20)).map(|n| (n / 251).to_le_bytes()[0]).collect();
        let etag = put(&store, "paced", &body).await;
        assert_eq!(&store.get(&key("paced"), 0..1 << 20, &etag).await.unwrap()[..], &body[..]);
        let id = store.create_multipart(&key("parts"), &options()).await.unwrap();
        let part = Bytes::copy_from_slice(&body);
        let part = store.put_part(&key("parts"), &id, 1, part).await.unwrap();
        store.complete_multipart(&key("parts"), &id, &[part], &Expect::Anything).await.unwrap();
        assert_eq!(s3.object("bucket", "parts").unwrap().body, body);
        assert_eq!(put(&store, "empty", b"").await, store.head(&key("empty")).await.unwrap().etag);
    }
}

/// A body that takes longer than every limit, because the link is slow and not because it stands.
#[tokio::test]
async fn contract_a_slow_body_is_waited_for_as_long_as_it_moves() {
    let s3 = server().await;
    s3.faults().set_rate_per_connection(Some(4 << 20));
    let limits = SendLimits { stall: Duration::from_secs(3), answer: Duration::from_secs(5) };
    let store = S3Bucket::new(&settings(&s3), &"bucket".parse().unwrap()).with_send_limits(limits);
    let body = Bytes::from(vec![7; 32 << 20]);
    let begun = Instant::now();
    store.put(&key("k"), body.clone(), &options(), &Expect::Absent).await.unwrap();
    assert!(begun.elapsed() > limits.answer, "the link was not slow: nothing was tried");
    assert!(s3.object("bucket", "k").unwrap().body == body);
}

#[tokio::test]
async fn contract_part_numbers_beyond_s3_s_are_refused_before_they_are_sent() {
    for (s3, store) in stores().await {
        let sent = store.put_part(&key("k"), "id", 10_001, Bytes::new()).await;
        assert_eq!(kind(sent), Kind::TooLarge);
        assert_eq!(s3.request_counts().get("UploadPart"), None);
    }
}

#[tokio::test]
async fn contract_wrong_credentials_and_buckets_are_told_apart() {
    let s3 = server().await;
    let bucket =
        |settings: &S3Settings, name: &str| S3Bucket::new(settings, &name.parse().unwrap());
    let wrong = S3Settings { secret_access_key: Secret::new("wrong"), ..settings(&s3) };
    let refused = bucket(&wrong, "bucket").list("", None).await;
    assert_eq!(kind(refused), Kind::Credentials);
    assert_eq!(kind(bucket(&settings(&s3), "missing").probe("p/").await), Kind::NoBucket);
    assert_eq!(kind(bucket(&settings(&s3), "missing").list("", None).await), Kind::NoBucket);
    let nowhere = S3Settings { endpoint: "http://127.0.0.1:9".to_owned(), ..settings(&s3) };
    assert_eq!(kind(bucket(&nowhere, "bucket").probe("p/").await), Kind::Unavailable);
}
