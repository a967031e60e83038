//! What other writers have said with their objects beside the attributes of a file: it moves along with a copy
//! within the store, and is not said of new bytes.
use bytes::Bytes;
use gateway::{
    object::ObjectKey,
    store::{Expect, ObjectHeaders, PutOptions},
};
use s3_store::StoredObject;

use crate::{
    settle::lose_reply_of_copy,
    world::{BUCKET, World, pattern},
};

/// 2027-01-15 00:00 UTC.
const EXPIRES: i64 = 1_799_971_200;

/// An object of somebody else's, with everything that S3 keeps for its readers.
fn options() -> PutOptions {
    let user = [("project", "x"), ("file-owner", "77"), ("mtime", "1700000000.5")];
    PutOptions {
        user: user.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        content_type: Some("application/x-report".to_owned()),
        headers: ObjectHeaders {
            cache_control: Some("max-age=60".to_owned()),
            content_disposition: Some("attachment; filename=\"r\"".to_owned()),
            content_encoding: Some("gzip".to_owned()),
            content_language: Some("ko".to_owned()),
            expires: Some(EXPIRES),
        },
        ..PutOptions::default()
    }
}

async fn theirs(w: &World, name: &str, body: Vec<u8>) {
    let key = ObjectKey::new(format!("p/{name}")).unwrap();
    w.store().put(&key, Bytes::from(body), &options(), &Expect::Absent).await.unwrap();
}

/// The object says what its writer said, and the file's attributes in our form and no other.
fn says_it(object: &StoredObject, mode: &str) {
    let named: Vec<_> = object.named.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let expires = EXPIRES.to_string();
    let wanted = [
        ("cache-control", "max-age=60"),
        ("content-disposition", "attachment; filename=\"r\""),
        ("content-encoding", "gzip"),
        ("content-language", "ko"),
        ("expires", expires.as_str()),
    ];
    assert_eq!(named, wanted);
    assert_eq!(object.content_type, "application/x-report");
    let said = |name: &str| object.user_meta.get(name).map(String::as_str);
    assert_eq!(said("project"), Some("x"));
    assert_eq!((said("file-owner"), said("file-permissions")), (Some("77"), Some(mode)));
    assert_eq!(said("mtime"), None, "in another form it would stay behind");
    assert!(said("tidegate-gen").is_some());
}

/// semantics.md, "One file is one object". Method: one HEAD before each copy tells what an object says, the same that
/// tells attributes if nobody knows them.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_said_of_their_objects_moves_along_with_each_copy() {
    let mut w = World::new().await;
    theirs(&w, "report.txt", b"bytes".to_vec()).await;
    theirs(&w, "dir/below.txt", b"below".to_vec()).await;
    w.foreign("p/silent.html", b"<p>");
    w.refresher.tree(w.share.root, "", true).await.unwrap();
    let at = async |name: &str| w.entry(name).await.unwrap().ino;
    let (report, silent) = (at("report.txt").await, at("silent.html").await);
    for ino in [report, silent] {
        w.refresher.load_attr(ino).await.unwrap();
    }
    w.halt().await;
    w.chmod(report, 0o600).await;
    w.chmod(silent, 0o600).await;
    w.rename("dir", "moved").await;
    w.start();
    w.drain().await;
    says_it(&w.object("p/report.txt"), "0100600");
    says_it(&w.object("p/moved/below.txt"), "0100666");
    let object = w.object("p/silent.html");
    assert_eq!((object.content_type.as_str(), object.named.len()), ("text/html", 0));
    let heads = w.requests("HeadObject");
    // Two of load_attr, and one of each of the three copies.
    assert_eq!(heads, 5);

    w.rename("report.txt", "renamed.html").await;
    w.rename("silent.html", "renamed.txt").await;
    w.drain().await;
    says_it(&w.object("p/renamed.html"), "0100600");
    assert_eq!(w.object("p/renamed.txt").content_type, "text/plain", "of its new name");
    assert_eq!(w.requests("HeadObject") - heads, 2, "one of each copy");

    // New bytes are an object of ours, of which nothing else is said.
    w.write(report, 0, b"other").await;
    w.drain().await;
    let object = w.object("p/renamed.html");
    assert_eq!(object.body, b"other");
    assert_eq!((object.content_type.as_str(), object.named.len()), ("text/html", 0));
    assert_eq!(object.user_meta.get("project"), None);
    assert_eq!(w.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// What others say in place of an object whose bytes stay the same has the same tag, whether the object is theirs or
/// was made here a moment ago.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_say_later_of_an_object_with_the_same_tag_moves_along() {
    let w = World::new().await;
    theirs(&w, "theirs", b"of others".to_vec()).await;
    w.refresher.tree(w.share.root, "", true).await.unwrap();
    let theirs = w.entry("theirs").await.unwrap().ino;
    w.refresher.load_attr(theirs).await.unwrap();
    let ours = w.file("ours", b"of ours").await;
    w.drain().await;
    for (name, value) in [("theirs", "no-cache"), ("ours", "no-store")] {
        says_in_place(&w, name, value).await;
    }
    w.chmod(theirs, 0o600).await;
    w.rename("ours", "moved").await;
    w.drain().await;
    for (name, value) in [("theirs", "no-cache"), ("moved", "no-store")] {
        let object = w.object(&format!("p/{name}"));
        assert_eq!(object.named.get("cache-control").map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(w.object("p/theirs").user_meta["file-permissions"], "0100600");
    assert_eq!(w.conflicts(), 0);
    // Nor is it lost with the next one.
    w.chmod(ours, 0o644).await;
    w.drain().await;
    assert_eq!(w.object("p/moved").named["cache-control"], "no-store");
}

/// Somebody copies the object onto itself with `Cache-Control: value` and what it has said so far.
async fn says_in_place(w: &World, name: &str, value: &str) {
    let (store, key) = (w.store(), ObjectKey::new(format!("p/{name}")).unwrap());
    let before = store.head(&key).await.unwrap();
    let headers = ObjectHeaders { cache_control: Some(value.to_owned()), ..before.headers };
    let options = PutOptions { user: before.user, headers, ..PutOptions::default() };
    store.copy(&key, &before.etag, &key, &options, &Expect::Anything).await.unwrap();
    assert_eq!(store.head(&key).await.unwrap().etag, before.etag, "the same bytes");
}

/// Whether types are guessed is asked of the setting that is in force when the object is copied.
#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_was_a_guess_is_its_writer_s_word_where_nobody_guesses() {
    let mut w = World::new().await;
    w.file("page.html", b"<p>").await;
    w.drain().await;
    assert_eq!(w.object("p/page.html").content_type, "text/html");
    w.set(|settings| settings.guess_mime_type = false);
    w.rename("page.html", "page.txt").await;
    w.drain().await;
    assert_eq!(w.object("p/page.txt").content_type, "text/html", "as the object said");
}

/// The same where it is copied in parts, also when a restart cuts that off.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_said_of_a_large_object_moves_along_in_parts() {
    let mut w = World::new().await;
    w.copy_at_most(6 << 20);
    let body = pattern(15 << 20, 3);
    theirs(&w, "large", body.clone()).await;
    w.refresher.now(w.share.root).await.unwrap();
    w.rename("large", "copied").await;
    w.drain().await;
    let object = w.object("p/copied");
    assert!(object.body == body && object.etag.contains('-'), "{}", object.etag);
    says_it(&object, "0100666");
    assert!(w.requests("UploadPartCopy") > 0);
    let mut w = w.restart().await;
    w.copy_at_most(6 << 20);
    w.start();
    w.rename("copied", "again").await;
    w.drain().await;
    says_it(&w.object("p/again"), "0100666");
}

/// The same where the end of such a copy was not heard of, and where its attributes change before anybody looks.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_said_of_a_large_object_outlives_a_lost_end_of_its_copy() {
    let mut w = World::new().await;
    w.halt().await;
    w.copy_at_most(6 << 20);
    let body = pattern(15 << 20, 4);
    theirs(&w, "large", body.clone()).await;
    w.refresher.now(w.share.root).await.unwrap();
    let ino = w.entry("large").await.unwrap().ino;
    w.refresher.load_attr(ino).await.unwrap();
    w.rename("large", "copied").await;
    let mut w = lose_reply_of_copy(w, "CompleteMultipartUpload").await;
    w.copy_at_most(6 << 20);
    w.chmod(ino, 0o600).await;
    w.start();
    w.drain().await;
    says_it(&w.object("p/copied"), "0100600");
    w.chmod(ino, 0o640).await;
    w.drain().await;
    let object = w.object("p/copied");
    assert!(object.body == body);
    says_it(&object, "0100640");
}

/// Two that swap names go by way of a scratch key; what was found in the way of a changed file is kept as it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_said_is_said_by_objects_that_step_aside_and_by_those_that_are_kept() {
    let mut w = World::new().await;
    theirs(&w, "a", b"of a".to_vec()).await;
    theirs(&w, "b", b"of b".to_vec()).await;
    w.refresher.now(w.share.root).await.unwrap();
    w.halt().await;
    for (from, to) in [("a", "t"), ("b", "a"), ("t", "b")] {
        w.rename(from, to).await;
    }
    w.start();
    w.drain().await;
    for (name, body) in [("a", b"of b"), ("b", b"of a")] {
        let object = w.object(&format!("p/{name}"));
        assert_eq!(object.body, body);
        says_it(&object, "0100666");
    }
    w.halt().await;
    w.file("c", b"ours").await;
    theirs(&w, "c", b"theirs".to_vec()).await;
    w.start();
    w.drain().await;
    let keys = w.keys();
    let kept = keys.iter().find(|key| key.contains(".conflict-")).expect("a copy beside it");
    let kept = w.s3.object(BUCKET, kept).unwrap();
    assert_eq!(
        (kept.body.as_slice(), kept.content_type.as_str()),
        (&b"theirs"[..], "application/x-report")
    );
    assert_eq!((kept.named.len(), kept.user_meta["mtime"].as_str()), (5, "1700000000.5"));
}
