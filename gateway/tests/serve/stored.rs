//! The settings of a share that say how its objects are stored and what others' objects are taken for
//! (settings.md "[[share]]"), from the settings file to the object and back.
use s3_store::StoredObject;

use crate::{
    BUCKET, Mount, object_with, pattern,
    process::{Gateway, Home, settings, store, until},
};

const WANTED: &str = r#"
storage_class = "STANDARD_IA"
encryption = "SseKms"
kms_key = "alias/sales"
object_acl = "bucket-owner-full-control"
file_mode = "0640"
directory_mode = "0757"
owner_id = 123
group_id = 456
"#;

fn check(object: &StoredObject, content_type: &str) {
    let kms = ("aws:kms".to_owned(), Some("alias/sales".to_owned()));
    assert_eq!(object.encryption, Some(kms));
    assert_eq!(
        (object.storage_class.as_str(), object.acl.as_str()),
        ("STANDARD_IA", "bucket-owner-full-control")
    );
    assert_eq!(object.content_type, content_type);
}

#[test]
fn objects_are_stored_as_the_share_wants_however_they_come_about() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &format!("{}{WANTED}", settings(&store)));
    let mut share = Mount::new(gateway.port, "sales");
    let large = pattern((17 << 20) + 5, 1);
    share.write("page.html", b"<p>");
    share.write("film.mp4", &large);
    share.mkdir("d");
    gateway.flush();
    check(&object_with(&store, "page.html", b"<p>"), "text/html");
    check(&object_with(&store, "film.mp4", &large), "video/mp4");
    check(&object_with(&store, "d/", b""), "application/x-directory");
    // By a copy on the server, with the type of the new name.
    share.rename("page.html", "note.txt");
    gateway.flush();
    check(&object_with(&store, "note.txt", b"<p>"), "text/plain");
    let unguessed = format!("{}{WANTED}guess_mime_type = false\n", settings(&store));
    gateway.replace_settings(&unguessed);
    share.write("again.html", b"<p>");
    gateway.flush();
    assert_ne!(object_with(&store, "again.html", b"<p>").content_type, "text/html");
}

#[test]
fn objects_that_say_nothing_are_what_the_share_says() {
    let (store, home) = (store(), Home::new());
    store.put(BUCKET, "onprem/theirs/plain", b"x");
    let gateway = Gateway::start(&home, &format!("{}{WANTED}", settings(&store)));
    let mut share = Mount::new(gateway.port, "sales");
    let seen = |attr: nfs3_client::nfs3_types::nfs3::fattr3| (attr.mode, attr.uid, attr.gid);
    share.list("");
    assert_eq!(seen(share.getattr("theirs")), (0o757, 123, 456));
    assert_eq!(seen(share.getattr("theirs/plain")), (0o640, 123, 456));
}

/// The four settings count for what is known already, as far as its object does not say otherwise: the root, a
/// directory without an object, files that were and were not asked about.
#[test]
fn known_entries_follow_what_the_share_says_unless_their_objects_say_otherwise() {
    let (store, home) = (store(), Home::new());
    for name in ["asked", "listed"] {
        store.put(BUCKET, &format!("onprem/theirs/{name}"), b"x");
    }
    let gateway = Gateway::start(&home, &format!("{}{WANTED}", settings(&store)));
    let mut share = Mount::new(gateway.port, "sales");
    share.write("ours", b"x");
    share.mkdir("our");
    gateway.flush();
    let seen = |attr: nfs3_client::nfs3_types::nfs3::fattr3| (attr.mode, attr.uid, attr.gid);
    let ours = seen(share.getattr("ours"));
    assert_eq!(ours, (0o640, 1000, 100));
    assert_eq!(share.list("theirs"), ["asked", "listed"]);
    assert_eq!(seen(share.getattr("theirs/asked")), (0o640, 123, 456));
    assert_eq!(seen(share.getattr("")), (0o757, 123, 456));
    let others = WANTED
        .replace("\"0640\"", "\"0604\"")
        .replace("\"0757\"", "\"0775\"")
        .replace("= 123", "= 321")
        .replace("= 456", "= 654");
    gateway.replace_settings(&format!("{}{others}", settings(&store)));
    for (path, mode) in
        [("", 0o775), ("theirs", 0o775), ("theirs/asked", 0o604), ("theirs/listed", 0o604)]
    {
        until(&format!("{path:?} follows"), || {
            (seen(share.getattr(path)) == (mode, 321, 654)).then_some(())
        });
    }
    assert_eq!(seen(share.getattr("ours")), ours, "its object says so");
    assert_eq!(seen(share.getattr("our")), (0o755, 1000, 100), "its object says so");
    // Wherever the gateway is cut off, it goes on.
    gateway.replace_settings(&format!("{}{WANTED}", settings(&store)));
    gateway.kill();
    let gateway = Gateway::start(&home, &format!("{}{WANTED}", settings(&store)));
    let mut share = Mount::new(gateway.port, "sales");
    until("a file follows", || {
        (seen(share.getattr("theirs/listed")) == (0o640, 123, 456)).then_some(())
    });
    assert_eq!(seen(share.getattr("ours")), ours);
}

/// Each way of encryption that a share can ask for, as S3 has it of the object (S3 PutObject,
/// `x-amz-server-side-encryption`).
#[test]
fn each_way_of_encryption_comes_to_the_object() {
    let (store, home) = (store(), Home::new());
    let with = |encryption: &str| format!("{}{encryption}", settings(&store));
    let gateway = Gateway::start(&home, &settings(&store));
    let mut share = Mount::new(gateway.port, "sales");
    let key = || Some("alias/sales".to_owned());
    for (name, said, wanted) in [
        ("s3", "encryption = \"SseS3\"\n", Some(("AES256", None))),
        (
            "dsse",
            "encryption = \"DsseKms\"\nkms_key = \"alias/sales\"\n",
            Some(("aws:kms:dsse", key())),
        ),
        ("kms", "encryption = \"SseKms\"\nkms_key = \"alias/sales\"\n", Some(("aws:kms", key()))),
        ("none", "", None),
    ] {
        gateway.replace_settings(&with(said));
        share.write(name, b"secret");
        gateway.flush();
        let object = object_with(&store, name, b"secret");
        assert_eq!(object.encryption, wanted.map(|(how, key)| (how.to_owned(), key)), "{name}");
    }
}
