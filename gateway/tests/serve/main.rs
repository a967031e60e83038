//! The whole `gateway serve` as a process, against the embedded S3 store and a user-space NFS client:
//! what docs/semantics.md promises, seen from outside.
mod alone;
mod crash;
mod damage;
mod disks;
mod early;
mod edge;
mod entries;
mod failing;
mod figures;
mod flush;
mod full;
mod held;
mod kills;
mod mount;
mod process;
#[path = "../nfs_protocol/raw.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "shared with the protocol's own tests")]
mod raw;
mod repeated;
mod stored;
mod stranded;
mod two;
mod wired;

use gateway_api::status::FileState;
use mount::Mount;
use process::{Gateway, Home, settings, store, until};
use s3_store::{FaultAction, FaultRule, S3Store};

const BUCKET: &str = "bucket";

/// The object under the share's prefix, once it has exactly `content`.
fn object_with(store: &S3Store, path: &str, content: &[u8]) -> s3_store::StoredObject {
    let key = format!("onprem/{path}");
    until(&format!("{key} is in the bucket"), || {
        store.object(BUCKET, &key).filter(|object| object.body == content)
    })
}

/// What is in the bucket, but for the object that the gateway tries the store with.
fn keys(store: &S3Store) -> Vec<String> {
    let mut keys = store.keys(BUCKET);
    keys.retain(|key| !key.contains(".tidegate-probe-"));
    keys
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i / 251 + i).to_le_bytes()[0] ^ seed).collect()
}

/// semantics.md "One file is one object", "POSIX metadata".
#[test]
fn files_become_plain_objects_with_their_metadata() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    let mut share = Mount::new(gateway.port, "sales");
    share.mkdir("2026");
    share.write("2026/a name with spaces.txt", b"test storage gateway mount\n");
    let object =
        object_with(&store, "2026/a name with spaces.txt", b"test storage gateway mount\n");
    assert_eq!(object.user_meta["file-owner"], "1000");
    assert_eq!(object.user_meta["file-group"], "100");
    assert_eq!(object.user_meta["file-permissions"], "0100640");
    assert!(object.user_meta["file-mtime"].ends_with("ns"), "{:?}", object.user_meta);
    assert_eq!(object.storage_class, "STANDARD");
    gateway.flush();
    let marker = store.object(BUCKET, "onprem/2026/").expect("the directory has its marker");
    assert!(marker.body.is_empty());
    assert_eq!(marker.user_meta["file-permissions"], "0040755");
    assert!(gateway.status().upload.is_idle());
}

/// semantics.md "One file is one object": multipart above 16 MiB, the same bytes.
#[test]
fn large_files_arrive_whole_and_read_back_from_an_empty_cache() {
    let (store, home) = (store(), Home::new());
    let content = pattern((20 << 20) + 17, 3);
    let gateway = Gateway::start(&home, &settings(&store));
    Mount::new(gateway.port, "sales").write("large.bin", &content);
    gateway.flush();
    let object = object_with(&store, "large.bin", &content);
    assert!(object.etag.contains("-2"), "two parts: {}", object.etag);
    assert_eq!(store.uploads_in_progress(BUCKET), 0);
    assert!(gateway.stop().success());
    let other = Home::new();
    let gateway = Gateway::start(&other, &settings(&store));
    assert_eq!(Mount::new(gateway.port, "sales").read("large.bin").unwrap(), content);
}

/// semantics.md "Acknowledged means on the cache disk": COMMIT, then kill -9 while S3 refuses.
#[test]
fn acknowledged_files_survive_a_killed_process() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    let mut share = Mount::new(gateway.port, "sales");
    assert!(share.list("").is_empty(), "an unknown directory cannot be written while S3 refuses");
    gateway.replace_settings(&settings(&store).replace("tidegate-secret", "wrong-secret"));
    let content = pattern(300_000, 7);
    share.write("kept.bin", &content);
    let upload = gateway.status().upload;
    assert!(upload.dirty_bytes.0 >= 300_000, "nothing was at risk: {upload:?}");
    gateway.kill();
    assert!(store.object(BUCKET, "onprem/kept.bin").is_none(), "nothing was at risk");

    let gateway = Gateway::start(&home, &settings(&store));
    let mut share = Mount::new(gateway.port, "sales");
    assert_eq!(share.read("kept.bin").unwrap(), content);
    gateway.replace_settings(&settings(&store));
    object_with(&store, "kept.bin", &content);
}

/// semantics.md "Objects that others write".
#[test]
fn objects_of_other_writers_appear_change_and_disappear() {
    let (store, home) = (store(), Home::new());
    store.put(BUCKET, "onprem/report/q1.csv", b"first");
    store.put(BUCKET, "elsewhere/secret", b"not below the prefix");
    let gateway = Gateway::start(&home, &settings(&store));
    let mut share = Mount::new(gateway.port, "sales");
    assert_eq!(share.list(""), ["report"]);
    assert_eq!(share.list("report"), ["q1.csv"]);
    assert_eq!(share.read("report/q1.csv").unwrap(), b"first");
    let attr = share.getattr("report/q1.csv");
    assert_eq!((attr.mode & 0o7777, attr.uid), (0o666, 65534), "the share's defaults");

    store.put(BUCKET, "onprem/report/q1.csv", b"second, longer");
    store.put(BUCKET, "onprem/report/q2.csv", b"new");
    until("the new object is a file", || {
        (share.list("report") == ["q1.csv", "q2.csv"]).then_some(())
    });
    until("the changed object is read anew", || {
        (share.read("report/q1.csv").ok()? == b"second, longer").then_some(())
    });
    store.delete(BUCKET, "onprem/report/q1.csv");
    until("the deleted object is gone", || (share.list("report") == ["q2.csv"]).then_some(()));
}

/// semantics.md "One file is one object": renames and deletions follow.
#[test]
fn renames_and_deletions_follow_in_the_bucket() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    let mut share = Mount::new(gateway.port, "sales");
    share.mkdir("old");
    share.write("old/one", b"1");
    share.write("old/two", b"22");
    share.write("gone", b"x");
    gateway.flush();
    share.rename("old", "new");
    share.rename("new/one", "new/eins");
    share.remove("gone");
    assert_eq!(share.list("new"), ["eins", "two"], "clients see it at once");
    gateway.flush();
    assert_eq!(keys(&store), ["onprem/new/", "onprem/new/eins", "onprem/new/two"]);
    assert_eq!(store.object(BUCKET, "onprem/new/eins").unwrap().body, b"1");
}

/// semantics.md "When something is wrong": settings.
#[test]
fn wrong_settings_are_said_and_mended_while_running() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, "version = 1\n[s3]\nregion = \"us-east-1\"\n");
    let problem = gateway.status().settings_problem.expect("the missing keys are said");
    assert!(problem.contains("access_key_id"), "{problem}");
    gateway.replace_settings(&settings(&store));
    let status = gateway.status();
    assert_eq!(status.settings_problem, None);
    assert_eq!(status.shares.len(), 1);
    let mut share = Mount::new(gateway.port, "sales");
    share.write("after", b"mended");
    object_with(&store, "after", b"mended");
}

/// A stop is clean, and what was written meanwhile is uploaded at the next start.
#[test]
fn sigterm_stops_cleanly_and_nothing_is_left_behind() {
    let (store, home) = (store(), Home::new());
    let slow = settings(&store).replace("upload_delay_ms = 50", "upload_delay_ms = 3600000");
    let gateway = Gateway::start(&home, &slow);
    Mount::new(gateway.port, "sales").write("late", b"not uploaded yet");
    assert!(gateway.stop().success());
    assert!(keys(&store).is_empty(), "nothing was left to do");
    let gateway = Gateway::start(&home, &settings(&store));
    gateway.flush();
    object_with(&store, "late", b"not uploaded yet");
}

/// semantics.md "Acknowledged means on the cache disk": a change whose reply was lost, repeated after
/// kill -9, is answered as made.
#[test]
fn a_change_that_is_repeated_after_a_killed_process_is_not_made_twice() {
    use raw::{Call, NFS, Raw, call, opaque, word, words};
    let (store, home) = (store(), Home::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ask = |gateway: &Gateway, xid: u32, procedure: u32, args: &[&[u8]]| {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], gateway.port));
        let call = Call { xid, ..call(NFS, procedure, args.concat()) };
        let reply = runtime.block_on(async { Raw::connect(address).await.ask(&call).await });
        word(&reply.expect("an answer"), 6)
    };
    let gateway = Gateway::start(&home, &settings(&store));
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], gateway.port));
    let root = opaque(&runtime.block_on(raw::mount(address, "/sales")).unwrap());
    let (mkdir, rmdir, no_attributes) = (9, 13, words(&[0; 6]));
    for (xid, name) in [(70, b"made"), (71, b"gone")] {
        assert_eq!(ask(&gateway, xid, mkdir, &[&root, &opaque(name), &no_attributes]), 0);
    }
    assert_eq!(ask(&gateway, 72, rmdir, &[&root, &opaque(b"gone")]), 0);
    gateway.kill();

    let gateway = Gateway::start(&home, &settings(&store));
    assert_eq!(ask(&gateway, 70, mkdir, &[&root, &opaque(b"made"), &no_attributes]), 0);
    assert_eq!(ask(&gateway, 72, rmdir, &[&root, &opaque(b"gone")]), 0);
    let (exists, no_entry) = (17, 2);
    assert_eq!(ask(&gateway, 80, mkdir, &[&root, &opaque(b"made"), &no_attributes]), exists);
    assert_eq!(ask(&gateway, 82, rmdir, &[&root, &opaque(b"gone")]), no_entry);
    assert_eq!(Mount::new(gateway.port, "sales").list(""), ["made"]);
}

/// semantics.md "Acknowledged means on the cache disk": what clients hold over kill -9, and what tells
/// them that unstable writes are lost; with the cache disk, handles are lost too.
#[test]
fn handles_and_exclusive_creates_outlive_a_killed_process_and_the_write_verifier_does_not() {
    use raw::{Call, NFS, Raw, call, opaque, word, words};
    let (store, home) = (store(), Home::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = |gateway: &Gateway| std::net::SocketAddr::from(([127, 0, 0, 1], gateway.port));
    let ask = |gateway: &Gateway, xid: u32, procedure: u32, args: &[&[u8]]| {
        let (flavour, credential) = (1, words(&[0, 0, 1000, 100, 0]));
        let call = Call { xid, flavour, credential, ..call(NFS, procedure, args.concat()) };
        let reply =
            runtime.block_on(async { Raw::connect(address(gateway)).await.ask(&call).await });
        reply.expect("an answer")
    };
    let (getattr, write, create) = (1, 7, 8);
    let how = |verifier: &[u8; 8]| [words(&[2]), verifier.to_vec()].concat();
    let gateway = Gateway::start(&home, &settings(&store));
    let root = opaque(&runtime.block_on(raw::mount(address(&gateway), "/sales")).unwrap());
    let made = ask(&gateway, 1, create, &[&root, &opaque(b"x"), &how(b"exclusiv")]);
    assert_eq!(word(&made, 6), 0);
    let file = made[36..76].to_vec();
    let unstable = [opaque(&file), words(&[0, 0, 4, 0]), opaque(b"lost")].concat();
    let verifier = |reply: &[u8]| {
        assert_eq!(word(reply, 6), 0);
        reply[reply.len() - 8..].to_vec()
    };
    let before = verifier(&ask(&gateway, 2, write, &[&unstable]));
    assert_eq!(before, verifier(&ask(&gateway, 3, write, &[&unstable])), "the same all along");
    gateway.kill();

    let gateway = Gateway::start(&home, &settings(&store));
    let again = ask(&gateway, 4, create, &[&root, &opaque(b"x"), &how(b"exclusiv")]);
    assert_eq!((word(&again, 6), &again[36..76]), (0, &file[..]), "the very file");
    let exists = ask(&gateway, 5, create, &[&root, &opaque(b"x"), &how(b"another1")]);
    assert_eq!(word(&exists, 6), 17);
    assert_ne!(before, verifier(&ask(&gateway, 6, write, &[&unstable])), "to be sent again");
    assert!(gateway.stop().success());

    std::fs::remove_dir_all(home.path("cache")).unwrap();
    let gateway = Gateway::start(&home, &settings(&store));
    for handle in [&root, &opaque(&file)] {
        assert_eq!(word(&ask(&gateway, 7, getattr, &[handle]), 6), 70, "NFS3ERR_STALE");
    }
}

/// settings.md, `gateway file`: a file's way from the cache to the bucket, told at each step.
#[test]
fn each_file_says_where_it_stands() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store).replace("= 50", "= 3600000"));
    let mut share = Mount::new(gateway.port, "sales");
    share.mkdir("2026");
    share.write("2026/report.txt", b"sales");
    let file = || gateway.file("2026/report.txt").expect("it is known");
    let waiting = file();
    assert_eq!((waiting.kind.as_str(), waiting.size.0, waiting.cached.0), ("file", 5, 5));
    assert_eq!((waiting.etag, waiting.state), (None, FileState::Waiting));
    store.faults().add(
        FaultRule::new(FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() })
            .operation("PutObject")
            .times(u64::MAX),
    );
    gateway.replace_settings(&settings(&store));
    share.write("2026/other.txt", b"other");
    let failing = until("the upload fails", || match gateway.file("2026/other.txt") {
        Ok(status) => Some(status.state).filter(|state| matches!(state, FileState::Failing { .. })),
        Err(error) => panic!("{error}"),
    });
    assert!(matches!(failing, FileState::Failing { error, .. } if error.contains("AccessDenied")));
    store.faults().clear();
    gateway.flush();
    let done = file();
    assert_eq!(done.state, FileState::InS3);
    let object = store.object(BUCKET, &done.key).expect("the key that it names");
    assert_eq!(done.etag.expect("a tag").trim_matches('"'), object.etag);
    assert_eq!(gateway.file("2026").expect("a directory").kind, "directory");
    let unknown = gateway.file("2026/none").expect_err("nobody wrote it").to_string();
    let hint = "if it is in the bucket, gateway refresh sales '2026' lists its directory";
    assert_eq!(unknown, format!("sales:/2026/none is not known here: {hint}"));
}

/// The same: which version S3 has, where the bucket keeps versions, and which after the next upload.
#[test]
fn a_file_in_s3_names_its_version() {
    let (store, home) = (store(), Home::new());
    store.keep_versions(BUCKET);
    let gateway = Gateway::start(&home, &settings(&store));
    let mut share = Mount::new(gateway.port, "sales");
    let mut known = Vec::new();
    for body in [b"one".as_slice(), b"other"] {
        share.write("f", body);
        gateway.flush();
        let version = gateway.file("f").expect("it is known").version_id;
        let version = version.expect("the bucket keeps versions");
        assert_eq!(store.object(BUCKET, "onprem/f").expect("it is there").version_id, version);
        known.push(version);
    }
    assert_ne!(known[0], known[1]);
    let told = Gateway::command(&home, &["file", "sales", "f"]).expect("it is known");
    assert!(told.contains(&format!(", version {}", known[1])), "{told}");
}

/// semantics.md "Objects that others write" and "Names": a whole tree listed again by command, though no
/// listing grows stale by itself; the keys that no file can have the name of.
#[test]
fn a_tree_is_listed_again_and_odd_keys_are_told_by_command() {
    let (store, home) = (store(), Home::new());
    let never = settings(&store).replace("timeout_seconds = 1", "timeout_seconds = 0");
    let gateway = Gateway::start(&home, &never);
    store.put(BUCKET, "onprem/a/b/c", b"1");
    let mut share = Mount::new(gateway.port, "sales");
    assert_eq!(share.list("a/b"), ["c"]);
    store.put(BUCKET, "onprem/a/b/new", b"1");
    store.put(BUCKET, "onprem/a/b", b"object");
    store.put(BUCKET, "onprem/x//y", b"1");
    assert_eq!(share.list("a/b"), ["c"], "not listed again by itself");
    let refresh =
        |words: &[&str]| Gateway::command(&home, &[&["refresh", "sales"], words].concat());
    let one = refresh(&["/a/b/"]).expect("it is a directory");
    assert_eq!(one.trim(), "sales:/a/b: 1 directories listed again, 2 names");
    assert_eq!(share.list("a/b"), ["c", "new"]);
    let all = refresh(&["--recursive"]).expect("the root is a directory");
    assert_eq!(all.trim(), "sales:/: 5 directories listed again, 8 names");
    assert_eq!(share.list("x"), ["s3dir%"]);
    assert_eq!(share.read("a/s3key%b").unwrap(), b"object");
    let none = refresh(&["a/b/c"]).expect_err("a file");
    assert!(none.contains("sales:/a/b/c is no directory"), "{none}");
    let keys = Gateway::command(&home, &["keys", "sales"]).expect("it answers");
    let mut lines: Vec<&str> = keys.lines().filter(|line| !line.is_empty()).collect();
    // Directories are listed side by side: which comes first is open.
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "a/s3key%b\t\"onprem/a/b\"\ta directory has its name",
            "x/s3dir%\t\"onprem/x//\"\tan empty part",
        ]
    );
    assert_eq!(gateway.status().shares[0].unrepresentable_keys, 2);
    assert!(gateway.status().shares[0].refreshes.is_empty());
}

/// semantics.md "The catalog is lost or damaged": when the log is damaged too, nothing is served, nothing of the
/// cache disk is touched, and the supervisor is told that starting again does not help.
#[test]
fn a_damaged_catalog_with_a_damaged_log_is_not_served_and_says_so() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    Mount::new(gateway.port, "sales").write("kept", b"on the cache disk");
    gateway.flush();
    assert!(gateway.stop().success());
    let (catalog, log) = (home.path("cache/catalog.db"), home.path("cache/dirty-00000001.log"));
    let damage = |path: &std::path::Path, len: usize| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[..len].fill(0xa5);
        std::fs::write(path, &bytes).unwrap();
        bytes
    };
    let (catalog_bytes, log_bytes) = (damage(&catalog, 4096), damage(&log, 100));
    let (code, words) = Gateway::start_in_vain(&home, &settings(&store));
    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains("catalog") && words.contains("damaged as well"), "{words}");
    assert_eq!(std::fs::read(&catalog).unwrap(), catalog_bytes, "it is left as it was found");
    assert_eq!(std::fs::read(&log).unwrap(), log_bytes, "it is left as it was found");
}
