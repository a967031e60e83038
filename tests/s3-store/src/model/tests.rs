//! The semantic core without network or disk: bodies are numbers here.

use std::collections::BTreeMap;

use super::*;

type Store = Catalog<u32>;

fn content(body: u32, size: u64) -> Content<u32> {
    let checksum = Checksum {
        algorithm: Algorithm::Crc64Nvme,
        kind: ChecksumKind::FullObject,
        value: String::new(),
    };
    Content {
        body,
        size,
        etag: format!("tag{body}"),
        checksum,
        headers: Headers::default(),
        part_sizes: Vec::new(),
    }
}

fn put(store: &mut Store, key: &str, body: u32) {
    let version =
        store.bucket("b").unwrap().next_version(Some(content(body, 1)), store.next_sequence(), 100);
    store.apply(Change::PutVersion { bucket: "b".into(), key: key.into(), version });
}

fn delete(store: &mut Store, key: &str, id: Option<&str>) -> Deletion {
    let at = (store.next_sequence(), 100);
    let (change, deletion) = store.bucket("b").unwrap().delete("b", key, id, None, at).unwrap();
    change.into_iter().for_each(|change| store.apply(change));
    deletion
}

fn store_with(keys: &[&str]) -> Store {
    let mut store = Store::new();
    store.apply(store.create_bucket("b", 1).unwrap());
    for (body, key) in (0..).zip(keys) {
        put(&mut store, key, body);
    }
    store
}

fn pages(store: &Store, prefix: &str, delimiter: &str, entries_max: usize) -> (Vec<String>, usize) {
    let (mut names, mut count, mut after) = (Vec::new(), 0, None);
    loop {
        let query =
            ListQuery { prefix: prefix.into(), delimiter: delimiter.into(), after, entries_max };
        let (entries, more) = store.bucket("b").unwrap().list(&query);
        assert!(entries.len() <= entries_max);
        names.extend(entries.iter().map(|entry| entry.name().to_owned()));
        count += 1;
        after = names.last().cloned();
        if !more {
            return (names, count);
        }
    }
}

#[test]
fn every_page_size_lists_the_same_names_in_byte_order() {
    let keys =
        ["a", "a-", "a/", "a/b", "a/b/c", "a0", "é", "\u{ffff}", "\u{1f600}", "z//", "z/./y"];
    let store = store_with(&keys);
    let mut sorted = keys.map(str::to_owned);
    sorted.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    for size in 1..=keys.len() + 1 {
        assert_eq!(pages(&store, "", "", size).0, sorted, "pages of {size}");
        assert_eq!(
            pages(&store, "", "/", size).0,
            ["a", "a-", "a/", "a0", "z/", "é", "\u{ffff}", "\u{1f600}"]
        );
        assert_eq!(pages(&store, "a/", "/", size).0, ["a/", "a/b", "a/b/"]);
    }
    assert_eq!(pages(&store, "", "", keys.len()).1, 1, "a full last page is not truncated");
}

#[test]
fn a_rolled_up_prefix_ends_even_at_the_greatest_character() {
    let store = store_with(&["a\u{10ffff}x", "a\u{10ffff}y", "b"]);
    assert_eq!(pages(&store, "", "\u{10ffff}", 1).0, ["a\u{10ffff}", "b"]);
}

#[test]
fn a_listing_goes_on_after_a_key_that_is_gone() {
    let mut store = store_with(&["a", "b", "c"]);
    delete(&mut store, "b", None);
    let query = ListQuery { after: Some("b".into()), entries_max: 10, ..ListQuery::default() };
    let (entries, _) = store.bucket("b").unwrap().list(&query);
    assert_eq!(entries.iter().map(Entry::name).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn a_delete_marker_hides_a_key_and_its_prefix_until_it_is_removed() {
    let mut store = store_with(&[]);
    store.apply(Change::SetVersioning { bucket: "b".into(), versioning: Versioning::Enabled });
    put(&mut store, "d/x", 1);
    put(&mut store, "d/x", 2);
    let marker = delete(&mut store, "d/x", None);
    assert!(marker.delete_marker);
    assert!(pages(&store, "", "/", 10).0.is_empty());
    let bucket = store.bucket("b").unwrap();
    assert!(matches!(bucket.read("d/x", None), Err(Refused::NoSuchKey { delete_marker: Some(_) })));
    assert_eq!(bucket.read("d/x", marker.version_id.as_deref()), Err(Refused::MethodNotAllowed));
    let (versions, more) = bucket.list_versions(&VersionQuery {
        list: ListQuery { entries_max: 2, ..ListQuery::default() },
        after_version: None,
    });
    assert_eq!((versions.len(), more), (2, true), "the marker and the newest version come first");
    delete(&mut store, "d/x", marker.version_id.as_deref());
    assert_eq!(store.bucket("b").unwrap().current("d/x").unwrap().body, 2);
}

#[test]
fn versions_go_on_within_a_key_after_the_marker_version() {
    let mut store = store_with(&[]);
    store.apply(Change::SetVersioning { bucket: "b".into(), versioning: Versioning::Enabled });
    (0..5).for_each(|body| put(&mut store, "k", body));
    put(&mut store, "l", 9);
    let (mut seen, mut marker) = (Vec::new(), (None, None));
    loop {
        let query = VersionQuery {
            list: ListQuery { after: marker.0.clone(), entries_max: 2, ..ListQuery::default() },
            after_version: marker.1.clone(),
        };
        let (entries, more) = store.bucket("b").unwrap().list_versions(&query);
        for entry in &entries {
            let Entry::Item(key, (version, _)) = entry else {
                panic!("no delimiter was asked for")
            };
            seen.push(version.content.as_ref().unwrap().body);
            marker = (Some((*key).to_owned()), Some(version.id.clone()));
        }
        if !more {
            break;
        }
    }
    assert_eq!(seen, [4, 3, 2, 1, 0, 9]);
}

#[test]
fn a_suspended_bucket_replaces_only_its_null_version() {
    let mut store = store_with(&["k"]);
    store.apply(Change::SetVersioning { bucket: "b".into(), versioning: Versioning::Enabled });
    put(&mut store, "k", 1);
    store.apply(Change::SetVersioning { bucket: "b".into(), versioning: Versioning::Suspended });
    put(&mut store, "k", 2);
    put(&mut store, "k", 3);
    let bodies: Vec<u32> = store.bucket("b").unwrap().keys["k"]
        .iter()
        .map(|version| version.content.as_ref().unwrap().body)
        .collect();
    assert_eq!(bodies, [1, 3]);
}

#[test]
fn write_conditions_answer_with_s3s_codes() {
    let store = store_with(&["k"]);
    let bucket = store.bucket("b").unwrap();
    let check = |key: &str, if_match: Option<&str>, if_none_match: Option<&str>| {
        let condition = WriteCondition {
            if_match: if_match.map(Tag::parse),
            if_none_match: if_none_match.map(Tag::parse),
        };
        bucket.check_write(key, &condition)
    };
    assert_eq!(check("k", Some("\"tag0\""), None), Ok(()));
    assert_eq!(check("k", Some("other"), None), Err(Refused::PreconditionFailed("If-Match")));
    assert_eq!(check("none", Some("tag0"), None), Err(Refused::NoSuchKey { delete_marker: None }));
    assert_eq!(check("none", Some("*"), None), Err(Refused::NoSuchKey { delete_marker: None }));
    assert_eq!(check("k", None, Some("*")), Err(Refused::PreconditionFailed("If-None-Match")));
    assert_eq!(check("none", None, Some("*")), Ok(()));
    assert!(matches!(check("k", None, Some("tag0")), Err(Refused::NotImplemented(_))));
}

#[test]
fn read_conditions_follow_rfc_9110_precedence() {
    let store = store_with(&["k"]);
    let (version, content) = store.bucket("b").unwrap().read("k", None).unwrap();
    let check = |condition: ReadCondition| condition.check(version, content);
    let (tag, other) = (|| Some(Tag::parse("tag0")), || Some(Tag::parse("other")));
    let none = ReadCondition::default;
    assert_eq!(
        check(ReadCondition { if_match: tag(), if_unmodified_since: Some(1), ..none() }),
        Ok(())
    );
    assert!(check(ReadCondition { if_match: other(), ..none() }).is_err());
    assert!(check(ReadCondition { if_unmodified_since: Some(99), ..none() }).is_err());
    assert_eq!(check(ReadCondition { if_none_match: tag(), ..none() }), Err(Refused::NotModified));
    assert_eq!(
        check(ReadCondition { if_none_match: other(), if_modified_since: Some(100), ..none() }),
        Ok(())
    );
    assert_eq!(
        check(ReadCondition { if_modified_since: Some(100), ..none() }),
        Err(Refused::NotModified)
    );
    assert_eq!(check(ReadCondition { if_modified_since: Some(99), ..none() }), Ok(()));
}

fn upload(sizes: &[u64]) -> Upload<u32> {
    let parts = (1..).zip(sizes).map(|(number, size)| {
        let checksum = Checksum {
            algorithm: Algorithm::Crc64Nvme,
            kind: ChecksumKind::FullObject,
            value: encode_base64(&[0; 8]),
        };
        let part =
            Part { body: u32::from(number), size: *size, md5: [0; 16], checksum, modified: 1 };
        (number, part)
    });
    Upload {
        id: "u".into(),
        key: "k".into(),
        sequence: 1,
        initiated: 1,
        headers: Headers::default(),
        algorithm: Algorithm::Crc64Nvme,
        kind: ChecksumKind::FullObject,
        algorithm_named: false,
        parts: parts.collect::<BTreeMap<_, _>>(),
    }
}

fn named(numbers: &[u16]) -> Vec<NamedPart> {
    let tag = crate::hex(&[0; 16]);
    numbers
        .iter()
        .map(|number| NamedPart { number: *number, etag: Some(tag.clone()), checksum: None })
        .collect()
}

#[test]
fn completing_an_upload_checks_order_tags_and_the_five_mebibyte_rule() {
    let upload = upload(&[5 << 20, 5 << 20, (5 << 20) - 1, 1]);
    let plan = upload.plan(&named(&[1, 2, 4]), None).unwrap();
    assert_eq!((plan.bodies, plan.part_sizes), (vec![1, 2, 4], vec![5 << 20, 5 << 20, 1]));
    assert!(plan.etag.ends_with("-3"));
    assert_eq!(upload.plan(&named(&[2, 1]), None), Err(Refused::InvalidPartOrder));
    assert_eq!(upload.plan(&named(&[1, 1]), None), Err(Refused::InvalidPartOrder));
    assert_eq!(upload.plan(&named(&[1, 3, 4]), None), Err(Refused::EntityTooSmall { number: 3 }));
    assert_eq!(upload.plan(&named(&[1, 9]), None), Err(Refused::InvalidPart { number: 9 }));
    assert!(matches!(upload.plan(&[], None), Err(Refused::MalformedXml(_))));
    let mut wrong = named(&[1]);
    wrong[0].etag = Some("beef".into());
    assert_eq!(upload.plan(&wrong, None), Err(Refused::InvalidPart { number: 1 }));
    assert!(matches!(upload.plan(&named(&[1]), Some("AAAA")), Err(Refused::BadDigest(_))));
}

#[test]
fn a_snapshot_rebuilds_the_same_state() {
    let mut store = store_with(&["a", "b"]);
    store.apply(Change::SetVersioning { bucket: "b".into(), versioning: Versioning::Enabled });
    put(&mut store, "a", 7);
    delete(&mut store, "b", None);
    store.apply(Change::CreateUpload { bucket: "b".into(), upload: upload(&[1]) });
    let mut again = Store::new();
    store.snapshot().into_iter().for_each(|change| again.apply(change));
    assert_eq!(again.snapshot(), store.snapshot());
    assert_eq!(again.next_sequence(), store.next_sequence());
}
