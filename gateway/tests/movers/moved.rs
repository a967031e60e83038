//! Directories that are renamed before anybody has asked for the attributes of what others have put into
//! them: what the objects say of themselves moves along.
use std::collections::BTreeMap;

use gateway::{
    clock::Clock,
    ids::{FileKind, Ino},
    object::ObjectKey,
    store::{Expect, PutOptions},
    vfs::{ShareFs, Vfs},
};

use crate::{listing::root_user, world::World};

/// Owner and permissions.
type Said = (&'static str, &'static str);

/// A marker, a file and a symbolic link, with what their writer says of them.
const THREE: [(&str, &[u8], Said); 3] = [
    ("sub/", b"", ("76", "0040700")),
    ("x", b"body", ("77", "0100600")),
    ("l", b"../target", ("78", "0120777")),
];

const MTIME: &str = "1602647222222919600ns";

/// Another writer's objects below `p/dir/`, of owners whose numbers end in `mark`.
async fn three(w: &World, dir: &str, mark: &str) {
    for (name, body, (owner, mode)) in THREE {
        let said = [("file-owner", format!("{owner}{mark}")), ("file-permissions", mode.into())];
        let said = said.into_iter().chain([("file-mtime", MTIME.to_owned())]);
        let user = said.map(|(name, value)| (name.to_owned(), value)).collect();
        let options = PutOptions { user, ..PutOptions::default() };
        let key = ObjectKey::new(format!("p/{dir}/{name}")).unwrap();
        w.store().put(&key, body.into(), &options, &Expect::Absent).await.unwrap();
    }
}

/// They are there, say what they said, and are the files that this means.
async fn are_in(w: &World, fs: &Vfs, dir: &str, mark: &str) {
    let who = root_user();
    let above = fs.lookup(&who, w.share.root, dir.as_bytes()).await.unwrap().ino;
    for (name, body, (owner, mode)) in THREE {
        let object = w.object(&format!("p/{dir}/{name}"));
        assert_eq!(object.body, body, "{dir}/{name}");
        let said = |name: &str| object.user_meta.get(name).map(String::as_str);
        let owner = format!("{owner}{mark}");
        let wanted = [("file-owner", owner.as_str()), ("file-permissions", mode)];
        for (what, value) in wanted.into_iter().chain([("file-mtime", MTIME)]) {
            assert_eq!(said(what), Some(value), "{what} of {dir}/{name}");
        }
        let attr = fs.lookup(&who, above, name.trim_end_matches('/').as_bytes()).await.unwrap();
        assert_eq!(attr.uid.to_string(), owner, "{dir}/{name}");
        match name {
            "l" => assert_eq!(fs.readlink(&who, attr.ino).await.unwrap().0, body),
            "x" => assert_eq!(attr.kind, FileKind::File),
            _ => assert_eq!(attr.kind, FileKind::Directory),
        }
    }
}

/// semantics.md, "One file is one object": one HEAD for each object that moves.
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_directory_takes_along_what_others_said_of_the_objects_in_it() {
    let mut w = World::new().await;
    three(&w, "d", "").await;
    w.halt().await;
    let (fs, who) = (w.mount(), root_user());
    w.refresher.tree(w.share.root, "", true).await.unwrap();
    let before = w.requests("HeadObject");
    fs.rename(&who, w.share.root, b"d", w.share.root, b"e").await.unwrap();
    // The walk's step, and no job.
    assert!(w.catalog.claim_jobs(w.clock.as_ref().now(), 0).await.unwrap().is_empty());
    let told = w.catalog.renames().await.unwrap().remove(0);
    assert_eq!((told.objects, told.asked), (3, 3), "what it costs is said");
    w.start();
    w.drain().await;
    assert_eq!(w.requests("HeadObject") - before, 3);
    are_in(&w, &fs, "e", "").await;
    assert_eq!(w.keys(), ["p/e/", "p/e/l", "p/e/sub/", "p/e/x"]);
    assert_eq!(w.conflicts(), 0);
    assert_eq!(w.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// The same of two directories that swap names, whose objects step aside for each other.
#[tokio::test(flavor = "multi_thread")]
async fn swapped_directories_take_along_what_others_said_of_the_objects_in_them() {
    let mut w = World::new().await;
    three(&w, "a", "1").await;
    three(&w, "b", "2").await;
    w.halt().await;
    let (fs, who, root) = (w.mount(), root_user(), w.share.root);
    w.refresher.tree(root, "", true).await.unwrap();
    for (from, to) in [("a", "t"), ("b", "a"), ("t", "b")] {
        fs.rename(&who, root, from.as_bytes(), root, to.as_bytes()).await.unwrap();
    }
    w.start();
    w.drain().await;
    are_in(&w, &fs, "b", "1").await;
    are_in(&w, &fs, "a", "2").await;
    let below: BTreeMap<_, _> = w.keys().into_iter().map(|key| (key, ())).collect();
    assert_eq!(below.len(), 8, "two directories with three objects each: {below:?}");
    assert_eq!(w.conflicts(), 0);
    assert_eq!(w.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// What others do to an object between the listing and its move is seen before it is moved.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_changes_before_its_directory_s_rename_arrives_is_moved_as_it_is() {
    let mut w = World::new().await;
    three(&w, "d", "").await;
    w.halt().await;
    let (fs, who, root) = (w.mount(), root_user(), w.share.root);
    w.refresher.tree(root, "", true).await.unwrap();
    let dir = fs.lookup(&who, root, b"d").await.unwrap().ino;
    let x: Ino = w.catalog.child(dir, "x").await.unwrap().unwrap().ino;
    fs.rename(&who, root, b"d", root, b"e").await.unwrap();
    w.foreign("p/d/x", b"another body");
    w.s3.delete(crate::world::BUCKET, "p/d/sub/");
    w.start();
    w.drain().await;
    assert_eq!(w.object("p/e/x").body, b"another body");
    assert!(w.s3.object(crate::world::BUCKET, "p/d/x").is_none(), "{:?}", w.keys());
    assert_eq!(w.read(x, 0..12).await, b"another body");
    let mode = &w.object("p/e/x").user_meta["file-permissions"];
    assert_eq!(mode, "0100666", "its new writer says nothing: the share's");
    assert_eq!(w.object("p/e/l").user_meta["file-permissions"], "0120777");
    assert_eq!(w.catalog.verify().await.unwrap(), Vec::<String>::new());
}
