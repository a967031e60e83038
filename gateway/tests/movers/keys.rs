//! Keys that no file name can stand for: reachable under an alias, and not harmed by anything that
//! is done beside them. Others put them into the bucket; clients see them through the whole stack.
use std::collections::BTreeMap;

use gateway::{
    ids::{FileKind, Ino},
    share::keymap,
    vfs::{CreateHow, FsError, ReadDir, SetAttr, ShareFs, Stability, Vfs},
};
use s3_store::{FaultAction, FaultRule, Hold};

use crate::{
    listing::root_user,
    world::{BUCKET, World},
};

/// Keys below the share's prefix, and the paths that they are shown under.
fn table() -> Vec<(String, String)> {
    let long = "n".repeat(300);
    let alias = |part: &str, kind| keymap::alias(part, kind);
    let long_name = alias(&long, keymap::PartKind::Object);
    let long_dir = alias(&long, keymap::PartKind::Prefix);
    // With the share's prefix, the longest key that S3 has: 1,024 bytes.
    let longest = [("d", 255), ("e", 255), ("f", 255), ("g", 254)];
    let longest = longest.map(|(letter, times)| letter.repeat(times)).join("/");
    [
        ("plain", "plain"),
        ("dir/plain", "dir/plain"),
        ("/leading", "s3dir%/leading"),
        ("//twice", "s3dir%/s3dir%/twice"),
        ("dir//e///f", "dir/s3dir%/e/s3dir%/s3dir%/f"),
        (".", "s3key%%2E"),
        ("..", "s3key%%2E%2E"),
        ("./y", "s3dir%%2E/y"),
        ("../z", "s3dir%%2E%2E/z"),
        ("../../etc", "s3dir%%2E%2E/s3dir%%2E%2E/etc"),
        ("new\nline", "s3key%new%0Aline"),
        ("bell\u{7}/x", "s3dir%bell%07/x"),
        ("del\u{7f}", "s3key%del%7F"),
        ("100%\t", "s3key%100%25%09"),
        ("100%", "100%"),
        ("back\\slash", "back\\slash"),
        (" led and trailed ", " led and trailed "),
        ("a+b &=?#;%2F", "a+b &=?#;%2F"),
        // Two names, although they look like one.
        ("\u{e9}", "\u{e9}"),
        ("e\u{301}", "e\u{301}"),
        // Three names, to S3 as to clients of NFS.
        ("Case", "Case"),
        ("case", "case"),
        ("CASE/x", "CASE/x"),
        ("서울/\u{1f600}", "서울/\u{1f600}"),
        ("\u{85}next", "s3key%%C2%85next"),
        ("both", "s3key%both"),
        ("both/in", "both/in"),
        ("s3key%both", "s3key%s3key%25both"),
        (long.as_str(), long_name.as_str()),
        (&format!("{long}/x"), &format!("{long_dir}/x")),
        (longest.as_str(), longest.as_str()),
    ]
    .into_iter()
    .map(|(key, path)| (key.to_owned(), path.to_owned()))
    .collect()
}

async fn with_odd_keys() -> (World, Vfs) {
    let w = World::new().await;
    for (key, _) in table() {
        w.foreign(&format!("p/{key}"), key.as_bytes());
    }
    let fs = w.mount();
    (w, fs)
}

/// The entry at a path, as a client finds it.
async fn at(fs: &Vfs, path: &str) -> Result<Ino, FsError> {
    let mut at = fs.root();
    for name in path.split('/') {
        at = fs.lookup(&root_user(), at, name.as_bytes()).await?.ino;
    }
    Ok(at)
}

/// Every file below a directory with its content, as a client sees it.
async fn tree(fs: &Vfs, dir: Ino) -> BTreeMap<String, String> {
    let who = root_user();
    let mut files = BTreeMap::new();
    let mut open = vec![(String::new(), dir)];
    while let Some((path, dir)) = open.pop() {
        let ask = ReadDir { cookie: 0, verifier: [0; 8], entries_max: 1000, want_attr: true };
        let page = fs.readdir(&who, dir, ask).await.unwrap();
        assert!(page.end);
        for entry in page.entries.into_iter().filter(|entry| !matches!(&*entry.name, b"." | b".."))
        {
            let name = String::from_utf8(entry.name).unwrap();
            assert!(keymap::is_file_name(&name), "{name:?}");
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            if entry.attr.unwrap().kind == FileKind::Directory {
                open.push((path, entry.ino));
            } else {
                let read = fs.read(&who, entry.ino, 0, 4096).await.unwrap();
                files.insert(path, String::from_utf8(read.data.to_vec()).unwrap());
            }
        }
    }
    files
}

fn expected() -> BTreeMap<String, String> {
    table().into_iter().map(|(key, path)| (path, key)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_listed_and_read_and_untouched_afterwards() {
    let (w, fs) = with_odd_keys().await;
    let before: Vec<_> = w.keys().into_iter().map(|key| (w.object(&key), key)).collect();
    assert_eq!(before.len(), table().len());
    for _ in 0..2 {
        assert_eq!(tree(&fs, w.share.root).await, expected());
        w.clock.advance_millis(5_000);
    }
    for (key, path) in table() {
        let ino = at(&fs, &path).await.unwrap();
        assert_eq!(w.catalog.key(ino).await.unwrap(), format!("p/{key}"), "{path}");
    }
    w.drain().await;
    let after: Vec<_> = w.keys().into_iter().map(|key| (w.object(&key), key)).collect();
    assert!(before == after, "an object was touched");
    assert!(w.catalog.verify().await.unwrap().is_empty());
    assert_eq!(w.requests("PutObject") + w.requests("CopyObject") + w.requests("DeleteObject"), 0);
    let aliases = w.catalog.aliased(w.share.id, Ino(0), 1000).await.unwrap();
    let first = aliases.iter().find(|one| one.path == "s3dir%").unwrap();
    assert_eq!((first.key.as_str(), first.part.as_str()), ("p//", ""));
    assert!(w.share.health.unrepresentable_keys() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_under_an_alias_is_changed_at_its_key() {
    let (w, fs) = with_odd_keys().await;
    let who = root_user();
    let data = bytes::Bytes::from_static(b"changed");
    for path in ["s3dir%%2E%2E/z", "s3key%new%0Aline", "s3key%both"] {
        let ino = at(&fs, path).await.unwrap();
        let cut = SetAttr { size: Some(0), ..SetAttr::default() };
        fs.setattr(&who, ino, cut, None).await.unwrap();
        fs.write(&who, ino, 0, data.clone(), Stability::FileSync).await.unwrap();
    }
    let dir = at(&fs, "dir/s3dir%").await.unwrap();
    let made = fs.create(&who, dir, b"made", CreateHow::Guarded(SetAttr::default())).await;
    made.unwrap();
    let root = fs.root();
    fs.remove(&who, root, b"s3key%%2E").await.unwrap();
    fs.rename(&who, root, b"s3key%del%7F", root, b"mended").await.unwrap();
    w.drain().await;
    for key in ["p/../z", "p/new\nline", "p/both"] {
        assert_eq!(w.object(key).body, b"changed", "{key:?}");
    }
    assert_eq!(w.object("p/mended").body, "del\u{7f}".as_bytes());
    assert_eq!(w.object("p/dir//made").body, b"");
    let gone = ["p/.", "p/del\u{7f}"];
    let left = |key: &String| !gone.contains(&key.as_str());
    let mut keys: Vec<String> = table().into_iter().map(|(key, _)| format!("p/{key}")).collect();
    keys.retain(left);
    keys.extend(["p/mended".to_owned(), "p/dir//made".to_owned()]);
    keys.sort();
    assert_eq!(w.keys(), keys);
    assert!(w.catalog.verify().await.unwrap().is_empty());
    // Another gateway on the bucket sees the same.
    let here = tree(&fs, root).await;
    drop(fs);
    let w = w.with_new_disk().await;
    assert_eq!(tree(&w.mount(), w.share.root).await, here);
}

/// Goal: what kind of file an object is is told by its key. Method: the alias of a long key is cut short and
/// has lost the key's end.
#[tokio::test(flavor = "multi_thread")]
async fn the_content_type_is_that_of_the_key_and_not_of_its_alias() {
    let w = World::new().await;
    let part = format!("{}.html", "n".repeat(300));
    w.foreign(&format!("p/{part}"), b"<p>");
    w.refresher.now(w.share.root).await.unwrap();
    let alias = keymap::alias(&part, keymap::PartKind::Object);
    assert!(!alias.contains(".html"), "{alias}");
    let ino = w.entry(&alias).await.unwrap().ino;
    // As whoever changes attributes does.
    w.refresher.load_attr(ino).await.unwrap();
    w.chmod(ino, 0o600).await;
    w.drain().await;
    let object = w.object(&format!("p/{part}"));
    assert_eq!(object.user_meta["file-permissions"], "0100600");
    assert_eq!(object.content_type, "text/html");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_takes_its_odd_keys_along_and_is_not_removed_with_them() {
    let (w, fs) = with_odd_keys().await;
    let (who, root) = (root_user(), fs.root());
    for name in [&b"dir"[..], b"s3dir%", b"s3dir%%2E"] {
        assert_eq!(fs.rmdir(&who, root, name).await.unwrap_err(), FsError::NotEmpty);
    }
    fs.rename(&who, root, b"dir", root, b"moved").await.unwrap();
    fs.rename(&who, root, b"s3dir%%2E%2E", root, b"up").await.unwrap();
    w.drain().await;
    let keys = w.keys();
    for key in ["p/moved/plain", "p/moved//e///f", "p/up/z", "p/up/../etc"] {
        assert!(keys.contains(&key.to_owned()), "{key} is not in {keys:?}");
    }
    assert!(!keys.iter().any(|key| key.starts_with("p/dir/") || key.starts_with("p/../")));
    assert!(w.catalog.verify().await.unwrap().is_empty());
    let mut moved = expected();
    for (from, to) in [("dir/", "moved/"), ("s3dir%%2E%2E/", "up/")] {
        let below: Vec<String> =
            moved.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in below {
            let content = moved.remove(&path).unwrap();
            moved.insert(path.replacen(from, to, 1), content);
        }
    }
    w.clock.advance_millis(5_000);
    assert_eq!(tree(&fs, root).await, moved);
}

/// Goal: an object beside a directory keeps its identity while the directory comes and goes.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_has_its_own_name_whenever_no_directory_has_it() {
    let w = World::new().await;
    let (fs, who, root) = (w.mount(), root_user(), w.share.root);
    w.foreign("p/a", b"object");
    let object = at(&fs, "a").await.unwrap();
    w.foreign("p/a/b", b"below");
    w.clock.advance_millis(5_000);
    let directory = at(&fs, "a").await.unwrap();
    assert_eq!(at(&fs, "s3key%a").await.unwrap(), object);
    assert_ne!(directory, object);
    w.s3.delete(BUCKET, "p/a/b");
    w.clock.advance_millis(5_000);
    assert_eq!(at(&fs, "a").await.unwrap(), object, "the directory is gone");
    assert_eq!(at(&fs, "s3key%a").await.unwrap_err(), FsError::NotFound);
    w.foreign("p/a/b", b"below");
    w.clock.advance_millis(5_000);
    fs.remove(&who, at(&fs, "a").await.unwrap(), b"b").await.unwrap();
    assert_eq!(at(&fs, "s3key%a").await.unwrap(), object);
    fs.rmdir(&who, root, b"a").await.unwrap();
    assert_eq!(at(&fs, "a").await.unwrap(), object, "removed here");
    w.drain().await;
    w.foreign("p/a/b", b"below");
    w.clock.advance_millis(5_000);
    assert_eq!(at(&fs, "s3key%a").await.unwrap(), object);
    fs.rename(&who, root, b"a", root, b"elsewhere").await.unwrap();
    assert_eq!(at(&fs, "a").await.unwrap(), object, "renamed here");
    w.drain().await;
    assert_eq!(w.object("p/a").body, b"object");
    assert_eq!(w.object("p/elsewhere/b").body, b"below");
    assert!(w.catalog.verify().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_aliases_are_not_for_clients_to_make() {
    let (w, fs) = with_odd_keys().await;
    let (who, root) = (root_user(), w.share.root);
    let guarded = CreateHow::Guarded(SetAttr::default());
    for name in [&b"s3key%mine"[..], b"s3dir%mine"] {
        assert_eq!(fs.create(&who, root, name, guarded).await.unwrap_err(), FsError::Invalid);
        let made = fs.mkdir(&who, root, name, SetAttr::default()).await;
        assert_eq!(made.unwrap_err(), FsError::Invalid);
        let renamed = fs.rename(&who, root, b"plain", root, name).await;
        assert_eq!(renamed.unwrap_err(), FsError::Invalid);
    }
    // One that is there may be opened, as any file.
    let open = CreateHow::Unchecked(SetAttr::default());
    let opened = fs.create(&who, root, b"s3key%both", open).await.unwrap();
    assert_eq!(opened.attr.ino, at(&fs, "s3key%both").await.unwrap());
}

/// Goal: an alias is looked up by itself while the listing goes on, a short one too. Method: the
/// listing is held back after its first page.
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_leads_to_its_key_before_the_listing_has_met_it() {
    let w = World::new().await;
    for number in 0..1500 {
        w.foreign(&format!("p/big/f{number:05}"), b"x");
    }
    let long = "z".repeat(400);
    for key in ["z\n1", "z2", "z2/in", "z//in", long.as_str()] {
        w.foreign(&format!("p/big/{key}"), key.as_bytes());
    }
    let (fs, who) = (w.mount(), root_user());
    let big = at(&fs, "big").await.unwrap();
    let hold = Hold::new();
    let rule = FaultRule::new(FaultAction::Hold(hold.clone())).operation("ListObjectsV2");
    w.s3.faults().add(rule.skip(1));
    let ask = ReadDir { cookie: 0, verifier: [0; 8], entries_max: 10, want_attr: false };
    fs.readdir(&who, big, ask).await.unwrap();
    hold.come(1).await;
    let long_alias = keymap::alias(&long, keymap::PartKind::Object);
    for (name, content) in [("s3key%z%0A1", "z\n1"), ("s3key%z2", "z2"), (&long_alias, &long)] {
        let ino = fs.lookup(&who, big, name.as_bytes()).await.unwrap().ino;
        assert_eq!(fs.read(&who, ino, 0, 4096).await.unwrap().data, content.as_bytes(), "{name}");
    }
    assert_eq!(at(&fs, "big/z2").await.map(|_| ()), Ok(()));
    for name in ["s3key%z%0A2", "s3key%f00001", "s3dir%z2", "s3key%%0a"] {
        let none = fs.lookup(&who, big, name.as_bytes()).await;
        assert_eq!(none.unwrap_err(), FsError::NotFound, "{name}");
    }
    hold.open();
    w.refresher.on_access(big).await.unwrap();
    assert!(w.catalog.verify().await.unwrap().is_empty());
}

/// Names that differ by case or by normalisation are names of their own, made by clients, too.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_alike_are_files_and_keys_of_their_own() {
    let w = World::new().await;
    let (fs, who, root) = (w.mount(), root_user(), w.share.root);
    let names = ["readme", "README", "ReadMe", "\u{e9}", "e\u{301}", "\u{df}", "ss"];
    for name in names {
        let how = CreateHow::Guarded(SetAttr::default());
        let made = fs.create(&who, root, name.as_bytes(), how).await.unwrap().attr.ino;
        let data = bytes::Bytes::from_static(name.as_bytes());
        fs.write(&who, made, 0, data, Stability::FileSync).await.unwrap();
    }
    w.drain().await;
    assert_eq!(w.keys().len(), names.len());
    for name in names {
        assert_eq!(w.object(&format!("p/{name}")).body, name.as_bytes(), "{name}");
    }
    fs.rename(&who, root, b"readme", root, b"README").await.unwrap();
    fs.remove(&who, root, "\u{e9}".as_bytes()).await.unwrap();
    w.drain().await;
    assert_eq!(w.object("p/README").body, b"readme");
    assert_eq!(w.keys().len(), names.len() - 2);
    drop(fs);
    let w = w.with_new_disk().await;
    let there = tree(&w.mount(), w.share.root).await;
    assert_eq!(there["README"], "readme");
    assert_eq!((there["ReadMe"].as_str(), there["e\u{301}"].as_str()), ("ReadMe", "e\u{301}"));
    assert_eq!(there.len(), names.len() - 2);
}
