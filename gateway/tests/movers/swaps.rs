//! Files that swap names while others change the objects that they swap.
use gateway::{
    catalog::CatalogError,
    ids::Ino,
    store::{
        StoreOp,
        fault::{Fault, FaultRule as PortRule, Gate},
    },
};

use crate::world::{BUCKET, World, pattern};

const BYTES: usize = 1000;

/// What somebody else does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    Replace,
    Delete,
}

impl Others {
    const BOTH: [Self; 2] = [Self::Replace, Self::Delete];

    fn change(self, w: &World, key: &str) {
        match self {
            Self::Replace => w.foreign(key, theirs(key).as_bytes()),
            Self::Delete => w.s3.delete(BUCKET, key),
        }
    }
}

fn theirs(key: &str) -> String {
    format!("theirs, at {key}")
}

/// Files `a` and `b` with objects, of which nothing is cached, and whose uploader does not run.
async fn two() -> (World, Ino, Ino) {
    let mut w = World::new().await;
    let (a, b) = (w.file("a", &pattern(BYTES, 1)).await, w.file("b", &pattern(BYTES, 2)).await);
    w.drain().await;
    w.halt().await;
    for ino in [a, b] {
        w.evict(ino).await;
    }
    (w, a, b)
}

async fn swap(w: &World) {
    for (from, to) in [("a", "t"), ("b", "a"), ("t", "b")] {
        w.rename(from, to).await;
    }
}

/// Waits until both files are uploaded or put off, and then until no object is left to be deleted: neither
/// begins anew, so nothing is under way.
async fn is_at_rest(w: &World, files: [Ino; 2]) {
    w.until("nothing is left to do", || async {
        for ino in files {
            match w.catalog.standing(ino).await {
                Ok(standing) if standing.inode.dirty && !standing.is_incomplete => return false,
                Ok(_) | Err(CatalogError::Gone(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        w.catalog.pending(None).await.unwrap().pending_deletes == 0
    })
    .await;
    assert_eq!(w.catalog.verify().await.unwrap(), Vec::<String>::new());
    let scratch = w.keys().into_iter().find(|key| key.contains("tidegate-probe"));
    assert_eq!(scratch, None, "left of the way there");
}

/// Goal: what others did to an object that was to step aside is not undone, and the other file gets its name.
/// A file that has lost its object goes with it, and nothing is left twice: what it was to replace is at that
/// one's new key (ADR 19). Method: each of the two, replaced or deleted before anything is copied, or between
/// look and copy.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_others_change_before_it_steps_aside_leaves_the_other_file_whole() {
    for (others, key, late) in Others::BOTH.into_iter().flat_map(|others| {
        [
            (others, "p/a", false),
            (others, "p/b", false),
            (others, "p/a", true),
            (others, "p/b", true),
        ]
    }) {
        let case = format!("{others:?} {key}, late: {late}");
        let (mut w, a, b) = two().await;
        swap(&w).await;
        let gate = Gate::default();
        if late {
            let held = PortRule::new(Fault::Hold(gate.clone())).on(StoreOp::CopyObject);
            w.faults.add(held);
            w.start();
            gate.arrived(1).await;
        }
        others.change(&w, key);
        gate.open();
        if !late {
            w.start();
        }
        is_at_rest(&w, [a, b]).await;
        // The file whose object was changed, where it is, and the other one.
        let (changed, at, other, seed) =
            if key == "p/a" { (a, "p/b", "p/a", 2) } else { (b, "p/a", "p/b", 1) };
        assert!(w.object(other).body == pattern(BYTES, seed), "{case}: {:?}", w.keys());
        match others {
            Others::Replace => {
                assert_eq!(w.object(at).body, theirs(key).as_bytes(), "{case}");
                assert_eq!(w.keys(), ["p/a", "p/b"], "{case}");
                let standing = w.catalog.standing(changed).await.unwrap();
                assert!(!standing.is_incomplete, "{case}");
            }
            Others::Delete => {
                assert_eq!(w.keys(), [other], "{case}: what was to be replaced is elsewhere");
                let gone = w.catalog.inode(changed).await;
                assert!(matches!(gone, Err(CatalogError::Gone(_))), "{case}: {gone:?}");
            }
        }
        assert!(w.conflicts() > 0, "{case}: it is said");
    }
}

/// Goal: two files that each have bytes of their own, and swapped names, lose none of them when the objects
/// that had the rest are gone, and the bucket's stay where they are. Method: every mixture of both.
#[tokio::test(flavor = "multi_thread")]
async fn swapped_files_whose_other_bytes_are_gone_are_both_kept_aside() {
    for (of_a, of_b) in Others::BOTH.into_iter().flat_map(|a| Others::BOTH.map(|b| (a, b))) {
        let (mut w, a, b) = two().await;
        w.write(a, 0, b"ours of a").await;
        w.write(b, 0, b"ours of b").await;
        swap(&w).await;
        of_a.change(&w, "p/a");
        of_b.change(&w, "p/b");
        w.start();
        is_at_rest(&w, [a, b]).await;
        w.refresher.on_access(w.share.root).await.unwrap();
        for (ino, name, bytes) in [(a, "b", b"ours of a"), (b, "a", b"ours of b")] {
            assert!(w.catalog.standing(ino).await.unwrap().is_incomplete, "{name}");
            let row = w.catalog.inode(ino).await.unwrap();
            assert!(row.name.starts_with(&format!("{name}.conflict-gw1-")), "{}", row.name);
            assert!(row.name.ends_with(".incomplete"), "{}", row.name);
            assert_eq!(w.read(ino, 0..9).await, bytes);
        }
        let kept = [("p/a", of_a), ("p/b", of_b)];
        let kept: Vec<_> = kept
            .into_iter()
            .filter(|(_, did)| *did == Others::Replace)
            .map(|(key, _)| key)
            .collect();
        assert_eq!(w.keys(), kept, "{of_a:?} {of_b:?}");
        for key in kept {
            assert_eq!(w.object(key).body, theirs(key).as_bytes());
            let ino = w.entry(key.trim_start_matches("p/")).await.unwrap().ino;
            let size = theirs(key).len() as u64;
            assert_eq!(w.read(ino, 0..size).await, theirs(key).as_bytes());
        }
        assert_eq!(w.conflicts(), 2, "{of_a:?} {of_b:?}");
    }
}

/// Goal: of a file that is kept aside, as bytes of it are gone, the object that it was to replace does not stay as
/// a second copy: it is at its own new key. Method: `b` steps aside first; then `a`, which was written in part,
/// loses its object.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_was_to_replace_is_not_left_twice() {
    let (mut w, a, b) = two().await;
    for (from, to) in [("b", "t"), ("a", "b"), ("t", "a")] {
        w.rename(from, to).await;
    }
    w.write(a, 0, b"ours of a").await;
    Others::Delete.change(&w, "p/a");
    w.start();
    is_at_rest(&w, [a, b]).await;
    assert!(w.catalog.standing(a).await.unwrap().is_incomplete);
    assert_eq!(w.keys(), ["p/a"]);
    assert!(w.object("p/a").body == pattern(BYTES, 2));
    w.refresher.now(w.share.root).await.unwrap();
    let names = w.names().await;
    assert!(names.len() == 2 && names[0] == "a" && names[1].ends_with(".incomplete"), "{names:?}");
}
