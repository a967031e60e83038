//! A catalog that is gone or damaged, made anew of the dirty log.
use std::{fs, path::Path};

use super::*;
use crate::catalog::dirty_log::Told;

mod log;

/// One dirty inode: its row, its key, its ranges and what is carried of it.
type Waiting = (Inode, String, Vec<std::ops::Range<u64>>, Option<Vec<u8>>);

impl Fixture {
    /// Everything that waits for S3, in words that can be compared: rows, and what the next jobs are.
    async fn waiting(&self) -> Vec<Waiting> {
        let inos: Vec<u64> = self
            .catalog
            .read(|db| {
                let mut query = db.prepare("SELECT ino FROM inode WHERE dirty = 1 ORDER BY ino")?;
                let inos = query.query_map([], |row| row.get(0))?;
                Ok(inos.collect::<Result<_, _>>()?)
            })
            .await
            .unwrap();
        let mut found = Vec::new();
        for ino in inos.into_iter().map(Ino) {
            let mut row = (*self.catalog.inode(ino).await.unwrap()).clone();
            // Clients are told of an open burst's end; directories are listed again, and counted.
            (row.writing, row.listed_at, row.subdirectories) = (false, None, 0);
            (row.ctime, row.atime) = (at(0), at(0));
            if row.kind == FileKind::Directory {
                row.mtime = at(0);
            }
            let key = self.catalog.standing(ino).await.unwrap().key;
            // Of others S3 has the bytes: what of them was cached is fetched again.
            let ranges = if row.content_dirty {
                self.catalog.ranges(ino).await.unwrap().iter().collect()
            } else {
                Vec::new()
            };
            let carried = self
                .catalog
                .read(move |db| crate::catalog::dirty_log::carried_of(db, ino.0))
                .await
                .unwrap();
            found.push((row, key, ranges, carried));
        }
        found
    }

    /// Drops everything, does something to the files, and opens again.
    async fn crash_and(self, harm: impl FnOnce(&Path)) -> Self {
        let Self { catalog, share, dir } = self;
        let thread = catalog.inner.thread.lock().unwrap().take().unwrap();
        // Else the last to close may be one that cannot write, and the write-ahead log stays.
        catalog.inner.readers.close();
        drop(catalog);
        thread.join().unwrap();
        until_nobody_has_the_lock(dir.path());
        harm(dir.path());
        let catalog = Catalog::open(dir.path()).unwrap();
        Self { catalog, share, dir }
    }

    /// The same of a process that was killed: the write-ahead log is left as it was.
    async fn kill_and(self, harm: impl FnOnce(&Path)) -> Self {
        let left = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), left.path().join(entry.file_name())).unwrap();
        }
        let Self { share, .. } = self;
        harm(left.path());
        let catalog = Catalog::open(left.path()).unwrap();
        Self { catalog, share, dir: left }
    }

    async fn carry(&self, ino: Ino, bytes: &[u8]) {
        let begun = self.catalog.begin_write(ino, at(6)).await.unwrap();
        let size = bytes.len() as u64;
        let commit = WriteCommit {
            bytes: DurableBytes::Carried(bytes.to_vec().into()),
            ..commit_of(begun.version, size)
        };
        self.catalog.commit_write(ino, commit).await.unwrap();
    }

    async fn tree() -> Self {
        Self::new().await.with_tree().await
    }

    /// Makes a tree with every kind of thing that can wait for S3, beside what does not.
    async fn with_tree(self) -> Self {
        let f = self;
        let root = f.share.root;
        for name in ["kept", "moved", "over", "gone", "mode"] {
            let ino = f.file(root, name).await;
            f.write(ino, 100).await;
        }
        let (clean, far) = (f.mkdir(root, "clean").await, f.mkdir(root, "far").await);
        let old = f.file(clean, "old").await;
        f.write(old, 5000).await;
        for name in ["left", "removed"] {
            let dir = f.mkdir(root, name).await;
            f.file(dir, "a").await;
            f.file(dir, "b").await;
        }
        f.drain().await;
        // Of which nothing is known but what a listing tells.
        f.list(far, &["listed"]).await;
        f.rename((far, "listed"), (far, "named")).await;
        for (name, files) in [("left", &["a"][..]), ("removed", &["a", "b"])] {
            let dir = f.catalog.child(root, name).await.unwrap().unwrap().ino;
            for file in files {
                let kind = RemoveKind::NotDirectory;
                f.catalog.remove(dir, file, kind, stamp(9)).await.unwrap();
            }
        }
        f.catalog.remove(root, "removed", RemoveKind::EmptyDirectory, stamp(9)).await.unwrap();
        let deep = f.mkdir(clean, "deep").await;
        let small = f.file(deep, "small").await;
        f.carry(small, b"carried").await;
        f.write(old, 9000).await;
        f.rename((root, "moved"), (deep, "renamed")).await;
        f.catalog.remove(root, "gone", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
        let over = f.file(root, "new").await;
        f.write(over, 300).await;
        f.rename((root, "new"), (root, "over")).await;
        let mode = f.catalog.child(root, "mode").await.unwrap().unwrap().ino;
        let change = AttrChange { mode: Some(0o600), ..AttrChange::default() };
        f.catalog.set_attr(mode, change, stamp(9)).await.unwrap();
        f.place(root, "link", NewKind::Symlink(b"kept".to_vec())).await;
        let shrunk = f.file(root, "shrunk").await;
        f.write(shrunk, 70_000).await;
        let change = AttrChange { size: Some(50_000), ..AttrChange::default() };
        f.catalog.set_attr(shrunk, change, stamp(9)).await.unwrap();
        f.catalog.ensure_disk("d1", "/somewhere").await.unwrap();
        f
    }
}

fn remove(dir: &Path, names: &[&str]) {
    for name in names {
        fs::remove_file(dir.join(name)).unwrap();
    }
}

const ALL: [&str; 3] = ["catalog.db", "catalog.db-wal", "catalog.db-shm"];

/// Goal: what waits for S3 is all there, with its inode numbers, and goes to the same keys on the same
/// conditions; the old files are kept.
#[tokio::test]
async fn a_lost_catalog_is_made_anew_with_all_that_waits() {
    let f = Fixture::tree().await;
    let (before, disks) = (f.waiting().await, f.catalog.disks().await.unwrap());
    assert_eq!(before.len(), 9, "{before:#?}");
    let generation = f.catalog.generation();
    let share = f.share.clone();
    let f = f.crash_and(|dir| remove(dir, &["catalog.db"])).await;
    let rebuilt = f.catalog.rebuilt().expect("it was gone").clone();
    assert!(rebuilt.why.contains("gone"), "{rebuilt:?}");
    assert_eq!((rebuilt.waiting, rebuilt.aside), (before.len() as u64, None));
    assert_eq!(f.waiting().await, before);
    // Nothing of it waits but a deletion: a listing, which hides that, would not show the directory.
    assert!(f.catalog.child(share.root, "left").await.unwrap().is_some());
    assert!(f.catalog.child(share.root, "removed").await.unwrap().is_none());
    assert_eq!(f.catalog.disks().await.unwrap(), disks);
    assert_eq!(f.catalog.generation(), generation, "handles mean what they meant");
    assert_eq!(f.catalog.ensure_share("s", "bucket", "p/", ROOT).await.unwrap(), share);
    f.verify().await;
    // Inode numbers of what is not known any more are not given out again.
    let highest = before.iter().map(|(row, ..)| row.ino).max().unwrap();
    assert!(f.file(share.root, "another").await > highest);
    let mut done = f.drain().await;
    done.sort();
    assert_eq!(
        done,
        [
            "delete p/far/listed",
            "delete p/gone",
            "delete p/left/a",
            "delete p/moved",
            "delete p/removed/",
            "delete p/removed/a",
            "delete p/removed/b",
            "put p/another",
            "put p/clean/deep/",
            "put p/clean/deep/renamed from p/moved",
            "put p/clean/deep/small",
            "put p/clean/old over",
            "put p/far/named from p/far/listed",
            "put p/link",
            "put p/mode over",
            "put p/over over",
            "put p/shrunk",
        ]
    );
    f.verify().await;
    let f = f.crash().await;
    assert_eq!(f.waiting().await, []);
}

/// Goal: a catalog that is lost while directories are being renamed is made anew, says which, and is good from then on.
#[tokio::test]
async fn renames_of_directories_under_way_are_told_and_given_up() {
    let f = Fixture::tree().await;
    let root = f.share.root;
    for name in ["one", "other"] {
        let dir = f.mkdir(root, name).await;
        f.file(dir, "a").await;
        f.file(dir, "b").await;
    }
    f.drain().await;
    f.rename((root, "one"), (root, "renamed")).await;
    let dir = f.catalog.child(root, "other").await.unwrap().unwrap().ino;
    f.rename((root, "other"), (root, "away")).await;
    let new = f.file(dir, "new").await;
    f.write(new, 10).await;
    assert_eq!(f.catalog.pending(None).await.unwrap().pending_moves, 2);
    let before = f.waiting().await;
    let f = f.kill_and(|dir| remove(dir, &ALL)).await;
    let moves = |f: &Fixture| -> Vec<(String, String)> {
        let rebuilt = f.catalog.rebuilt().expect("it was gone");
        rebuilt.moves.iter().map(|moved| (moved.from.clone(), moved.to.clone())).collect()
    };
    let expected = [("p/one/", "renamed"), ("p/other/", "away")];
    assert_eq!(moves(&f), expected.map(|(from, to)| (from.to_owned(), to.to_owned())));
    assert_eq!(f.waiting().await, before);
    assert_eq!(f.catalog.pending(None).await.unwrap().pending_moves, 0);
    f.verify().await;
    // From here on it is as any other.
    let f = f.crash().await;
    assert_eq!(f.waiting().await, before);
    let f = f.kill_and(|dir| remove(dir, &ALL)).await;
    assert_eq!((moves(&f), f.waiting().await), (Vec::new(), before));
}

/// Goal: whatever becomes of the catalog's files, it is noticed where anything is missing, and nothing is.
#[tokio::test]
async fn every_harm_to_the_catalog_is_mended() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 9] = [
        ("all gone", |dir| remove(dir, &ALL)),
        ("database gone", |dir| remove(dir, &["catalog.db"])),
        ("write-ahead log gone", |dir| remove(dir, &["catalog.db-wal", "catalog.db-shm"])),
        ("empty", |dir| fs::write(dir.join("catalog.db"), b"").unwrap()),
        ("empty and alone", |dir| {
            remove(dir, &["catalog.db-wal", "catalog.db-shm"]);
            fs::write(dir.join("catalog.db"), b"").unwrap();
        }),
        ("no database", |dir| {
            remove(dir, &["catalog.db-wal", "catalog.db-shm"]);
            fs::write(dir.join("catalog.db"), [7; 10_000]).unwrap();
        }),
        ("write-ahead log cut", |dir| {
            let path = dir.join("catalog.db-wal");
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("write-ahead log zeroed", |dir| {
            let path = dir.join("catalog.db-wal");
            let len = fs::read(&path).unwrap().len();
            fs::write(path, vec![0; len]).unwrap();
        }),
        ("said to be damaged", |dir| note_damage(dir, "a test says so").unwrap()),
    ];
    for (what, harm) in harms {
        let f = Fixture::tree().await;
        let before = f.waiting().await;
        let f = f.kill_and(harm).await;
        assert!(f.catalog.rebuilt().is_some(), "{what} was not noticed");
        assert_eq!(f.waiting().await, before, "{what}");
        f.verify().await;
        let f = f.crash().await;
        assert_eq!(f.waiting().await, before, "{what}, and a crash");
    }
}

/// Goal: a publish is on the condition that it was on, and what was found at a key is still not ours to delete; so it
/// is with deletions. Method: one of each kind, one of them older than all that is published.
#[tokio::test]
async fn what_publishes_and_deletions_are_about_is_kept() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.file(root, "early").await;
    let moved = f.file(root, "moved").await;
    f.write(moved, 10).await;
    f.drain().await;
    f.catalog.remove(root, "early", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    f.rename((root, "moved"), (root, "there")).await;
    let jobs = f.claim().await;
    for job in jobs {
        match job {
            Job::Sync(_) => drop(f.perform(job, 0).await),
            Job::Delete(job) => f.catalog.release_job(job.op, at(SOON)).await.unwrap(),
            other => panic!("{other:?}"),
        }
    }
    for name in ["left", "seen"] {
        let ino = f.file(root, name).await;
        f.write(ino, 10).await;
    }
    // Its bytes are elsewhere, and it is to be replaced.
    let over = f.file(root, "moved").await;
    f.write(over, 10).await;
    for job in f.claim().await {
        let Job::Sync(job) = job else { continue };
        if job.inode.name == "seen" {
            let theirs = Some(tag("theirs"));
            f.catalog.adopt_object(job.op, &job.key, theirs).await.unwrap();
        }
        f.catalog.release_job(job.op, at(SOON)).await.unwrap();
    }
    f.catalog.remove(root, "left", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    for number in 0..20 {
        f.file(root, &number.to_string()).await;
    }
    let journal = async |f: &Fixture| {
        let read = f.catalog.read(|db| {
            let mut query = db.prepare(
                "SELECT concat_ws(' ', kind, CASE kind WHEN 1 THEN op END, share, ino, key, etag, uncertain,
                     expect_key, expect_etag, 'seen', expect_seen, 'moved', moved)
                 FROM journal ORDER BY kind, ino, key",
            )?;
            let rows = query.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<Vec<String>, _>>()?)
        });
        read.await.unwrap()
    };
    let before = journal(&f).await;
    let has = |text: &str| before.iter().any(|row| row.contains(text));
    assert!(has("p/seen \"theirs\" seen 1 moved 0") && has("seen 0 moved 1"), "{before:#?}");
    assert!(has("p/left 1 seen 0"), "{before:#?}");
    let f = f.crash_and(|dir| remove(dir, &["catalog.db"])).await;
    assert!(f.catalog.rebuilt().is_some());
    assert_eq!(journal(&f).await, before);
    f.verify().await;
}

/// Goal: an object of another past of the disk, before it went back to a snapshot, is not taken for an attempt of
/// ours. Method: S3 has a version that was never known here, between the one that was and the first of this start.
#[tokio::test]
async fn versions_of_another_past_are_not_taken_for_ours() {
    let f = Fixture::new().await;
    let ino = f.file(f.share.root, "a").await;
    f.write(ino, 10).await;
    f.drain().await;
    let synced = f.catalog.inode(ino).await.unwrap().version;
    let f = f.crash().await;
    f.write(ino, 20).await;
    f.write(ino, 30).await;
    let version = f.catalog.inode(ino).await.unwrap().version;
    let f = f.crash_and(|dir| remove(dir, &["catalog.db"])).await;
    f.catalog.recover_journal(at(9)).await.unwrap();
    let jobs = f.claim().await;
    let [Job::Sync(job)] = &jobs[..] else { panic!("{jobs:?}") };
    let since = job.sent_version.unwrap();
    assert!(since > synced + 1_000_000 && since < version, "{synced} {since} {version}");
    assert!(job.sent_before, "what was sent before is looked for");
}
