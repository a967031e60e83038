//! How the catalog and the log stand to each other, and what becomes of the log's files.
#[cfg(feature = "testing")]
use std::process::Command;
use std::time::Duration;

use super::*;
#[cfg(feature = "testing")]
use crate::essential::Step;

/// Copies the files of the catalog, or those of the log, and puts them back later.
struct Saved {
    is_log: bool,
    dir: TempDir,
}

impl Saved {
    fn of(f: &Fixture, is_log: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(f.dir.path(), dir.path(), is_log);
        Self { is_log, dir }
    }

    /// In place of those in `dir`.
    fn put(&self, dir: &Path) {
        copy(self.dir.path(), dir, self.is_log);
    }
}

fn copy(from: &Path, to: &Path, is_log: bool) {
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        let text = name.to_string_lossy();
        if text.starts_with(if is_log { "dirty" } else { "catalog." }) {
            fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}

/// The log's only file.
fn log_of(dir: &Path) -> std::path::PathBuf {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let logs: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    let [log] = &logs[..] else { panic!("{logs:?}") };
    log.clone()
}

/// The names of the log's files, in their order.
fn files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().unwrap())
        .filter(|name| name.starts_with("dirty-"))
        .collect();
    names.sort();
    names
}

/// Begins the file after the last one, as a gateway does that is cut off right then.
fn begin_next(dir: &Path) {
    let last = files(dir).pop().unwrap();
    let number: u64 = last["dirty-".len()..last.len() - ".log".len()].parse().unwrap();
    fs::write(dir.join(format!("dirty-{:08}.log", number + 1)), b"").unwrap();
}

const MARK: &str = "dirty.mark";

/// Goal: cut off between the log and the commit, nothing has happened; what was committed has, even if the catalog
/// has lost no more than that.
#[tokio::test]
async fn a_transaction_counts_when_it_was_committed() {
    let f = Fixture::tree().await;
    let before = f.waiting().await;
    let catalog = Saved::of(&f, false);
    let mark = fs::read(f.dir.path().join(MARK)).unwrap();
    f.file(f.share.root, "one").await;
    let with_one = f.waiting().await;
    let harm = |dir: &Path| {
        catalog.put(dir);
        // It is set after the commit.
        fs::write(dir.join(MARK), &mark).unwrap();
    };
    let cut = f.kill_and(harm).await;
    assert_eq!(cut.catalog.rebuilt(), None);
    assert_eq!(cut.waiting().await, before);
    cut.verify().await;
    // Another takes its place in the log.
    cut.mkdir(cut.share.root, "another").await;
    let with_another = cut.waiting().await;
    cut.verify().await;
    let cut = cut.crash().await;
    assert_eq!(cut.waiting().await, with_another);

    let f = Fixture::tree().await;
    let catalog = Saved::of(&f, false);
    f.file(f.share.root, "one").await;
    let lost = f.kill_and(|dir| catalog.put(dir)).await;
    assert!(lost.catalog.rebuilt().is_some());
    let names = |waiting: &[Waiting]| -> Vec<String> {
        waiting.iter().map(|(row, ..)| row.name.clone()).collect()
    };
    assert_eq!(names(&lost.waiting().await), names(&with_one));
    assert!(!Told::read(lost.dir.path()).unwrap().unwrap().is_damaged());
}

/// Goal: a power cut that has taken the log's end has damaged nothing, whatever that told, and it is told again.
#[tokio::test]
async fn what_the_log_lost_is_told_again() {
    let f = Fixture::tree().await;
    let log = Saved::of(&f, true);
    let new = f.file(f.share.root, "new").await;
    f.file(f.share.root, "newer").await;
    f.rename((f.share.root, "link"), (f.share.root, "renamed")).await;
    let before = f.waiting().await;
    let f = f.kill_and(|dir| log.put(dir)).await;
    assert_eq!(f.catalog.rebuilt(), None);
    assert_eq!(f.waiting().await, before);
    f.verify().await;
    f.write(new, 10).await;
    let before = f.waiting().await;
    let f = f.kill_and(|dir| remove(dir, &ALL)).await;
    assert_eq!(f.waiting().await, before);
}

/// A tree, what waits in it, and something in its catalog that no batch tells until anybody writes; of which inode.
async fn with_something_untold() -> (Fixture, Vec<Waiting>, Ino) {
    let f = Fixture::new().await;
    // From the beginning: the writer's thread remembers until when it waits.
    f.catalog.inner.writer.with_log(|log| log.settle_after(Duration::from_secs(3600)));
    let f = f.with_tree().await;
    let waiting = f.waiting().await;
    let ino = f.catalog.child(f.share.root, "mode").await.unwrap().unwrap().ino;
    let soon = f.catalog.write_soon(move |txn| {
        Ok(txn.db.execute("UPDATE inode SET atime = 7 WHERE ino = ?1", [ino.0])?)
    });
    assert_eq!(soon.await.unwrap(), 1);
    assert!(f.catalog.inner.writer.with_log(|log| log.settles_in().is_some()));
    (f, waiting, ino)
}

/// Goal: a kill before a commit, and another one while the next start tells everything anew, are no damage. Method: the
/// log ends with a transaction that was never committed, beside a catalog with something that no batch tells; the new
/// file of the log is not there yet.
#[tokio::test]
async fn a_log_that_was_being_made_anew_leaves_the_one_before_as_good() {
    let (f, before, _) = with_something_untold().await;
    let catalog = Saved::of(&f, false);
    let mark = fs::read(f.dir.path().join(MARK)).unwrap();
    f.catalog.remove(f.share.root, "mode", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    // It is set after the commit.
    fs::write(f.dir.path().join(MARK), &mark).unwrap();
    let (log, first) = (Saved::of(&f, true), log_of(f.dir.path()));
    let f = f.kill_and(|dir| catalog.put(dir)).await;
    assert_ne!(log_of(f.dir.path()).file_name(), first.file_name(), "it is told anew");
    assert_eq!((f.catalog.rebuilt(), f.waiting().await), (None, before.clone()));
    let harm = |dir: &Path| {
        fs::remove_file(log_of(dir)).unwrap();
        log.put(dir);
    };
    let f = f.kill_and(harm).await;
    assert_eq!((f.catalog.rebuilt(), f.waiting().await), (None, before.clone()));
    f.verify().await;
    let f = f.kill_and(|dir| remove(dir, &ALL)).await;
    assert_eq!(f.waiting().await, before);
}

/// Goal: the same of a log that is made anew while the gateway runs. Method: the last transaction in the old file could
/// not be committed.
#[tokio::test]
async fn a_log_that_is_made_anew_after_a_failure_leaves_the_one_before_as_good() {
    let (f, _, ino) = with_something_untold().await;
    // SQLite finds out at COMMIT, when the log tells of it.
    let orphan = "CREATE TEMP TABLE whole (id INTEGER PRIMARY KEY);
        CREATE TEMP TABLE part (of REFERENCES whole DEFERRABLE INITIALLY DEFERRED);
        INSERT INTO part VALUES (1);";
    let refused = f.catalog.write(move |txn| {
        txn.db.execute("UPDATE inode SET mode = 0 WHERE ino = ?1", [ino.0])?;
        Ok(txn.db.execute_batch(orphan)?)
    });
    let refused = refused.await;
    assert!(matches!(&refused, Err(CatalogError::Commit(_))), "{refused:?}");
    let log = Saved::of(&f, true);
    f.catalog.write(|_| Ok(())).await.unwrap();
    let before = f.waiting().await;
    let harm = |dir: &Path| {
        fs::remove_file(log_of(dir)).unwrap();
        log.put(dir);
    };
    let f = f.kill_and(harm).await;
    assert_eq!((f.catalog.rebuilt(), f.waiting().await), (None, before));
    f.verify().await;
}

/// Goal: a log whose sync has failed is trusted no more: who waited is told, and everything is told anew before
/// anything else is answered.
#[tokio::test]
async fn a_log_whose_sync_failed_is_made_anew() {
    let f = Fixture::tree().await;
    let first = log_of(f.dir.path());
    f.catalog.inner.writer.with_log(|log| log.fail());
    let change = AttrChange { mode: Some(0o611), ..AttrChange::default() };
    let mode = f.catalog.child(f.share.root, "mode").await.unwrap().unwrap().ino;
    let failed = f.catalog.set_attr(mode, change, stamp(9)).await.unwrap_err();
    assert!(
        matches!(&failed, CatalogError::Commit(why) if why.contains("a test says so")),
        "{failed}"
    );
    f.file(f.share.root, "later").await;
    assert_ne!(log_of(f.dir.path()), first);
    f.verify().await;
    let before = f.waiting().await;
    let f = f.kill_and(|dir| remove(dir, &ALL)).await;
    assert_eq!(f.waiting().await, before);
    f.verify().await;
}

/// Goal: nobody is answered before the log is on the disk, and its file's name; but for who makes a file, which is told
/// once more with its first bytes.
#[tokio::test]
async fn what_is_answered_is_durable_in_the_log() {
    let f = Fixture::new().await;
    let is_wanted = |f: &Fixture| f.catalog.inner.writer.with_log(|log| log.is_wanted());
    let is_durable =
        |f: &Fixture| is_wanted(f) && f.catalog.inner.writer.with_log(|log| log.is_durable());
    for name in ["a", "b", "c"] {
        let ino = f.file(f.share.root, name).await;
        assert!(name == "a" || !is_wanted(&f), "{name} costs two syncs");
        for size in [10, 0] {
            f.write(ino, size).await;
            assert!(is_durable(&f), "{name} of {size} bytes");
        }
    }
}

/// Goal: the test above notices each step that makes it so, left out. Method: it runs once more without that step.
#[cfg(feature = "testing")]
#[tokio::test]
async fn a_sync_of_the_log_that_is_left_out_is_noticed() {
    // Elsewhere nothing depends on what is filled ahead.
    let f = Fixture::new().await;
    let is_direct = f.catalog.inner.writer.with_log(|log| log.is_direct());
    for step in [Step::DirtyLogSync, Step::DirtyLogFillSync, Step::DirtyLogEntrySync] {
        if step == Step::DirtyLogFillSync && !is_direct {
            continue;
        }
        let test = "catalog::tests::rebuild::log::what_is_answered_is_durable_in_the_log";
        let mut command = Command::new(std::env::current_exe().unwrap());
        let ran = command.args(["--exact", test]).env("TIDEGATE_DROP", step.name());
        let said = String::from_utf8(ran.output().unwrap().stdout).unwrap();
        assert!(said.contains("0 passed; 1 failed"), "without {}: {said}", step.name());
    }
}

/// Goal: when the log is damaged, a good catalog goes on and the log is written anew; with a damaged catalog
/// nothing is touched.
#[tokio::test]
async fn a_damaged_log_is_never_made_a_catalog_of() {
    fn flip(dir: &Path) {
        let name = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|e| e == "log"))
            .unwrap();
        let mut bytes = fs::read(&name).unwrap();
        bytes[100] ^= 1;
        fs::write(name, bytes).unwrap();
    }
    let f = Fixture::tree().await;
    let before = f.waiting().await;
    let f = f.kill_and(flip).await;
    assert_eq!(f.catalog.rebuilt(), None);
    assert_eq!(f.waiting().await, before);
    f.verify().await;
    let f = f.kill_and(|dir| remove(dir, &ALL)).await;
    assert_eq!(f.waiting().await, before, "of the log that was written anew");
    let names = |dir: &Path| -> Vec<_> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let left = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(f.dir.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), left.path().join(entry.file_name())).unwrap();
    }
    flip(left.path());
    fs::write(left.path().join("catalog.db"), [7; 5000]).unwrap();
    let there = names(left.path());
    let refused = Catalog::open(left.path()).unwrap_err();
    assert!(refused.is_corruption(), "{refused}");
    assert_eq!(names(left.path()), there);
}

/// Goal: the log stays as large as what it tells, and a new file of it tells everything. Method: more changes than
/// one file takes, with some things that wait all along.
#[tokio::test]
async fn an_old_file_of_the_log_goes_and_takes_nothing_with_it() {
    let f = Fixture::tree().await;
    let before = f.waiting().await;
    let root = f.share.root;
    let busy = f.file(root, "busy").await;
    let first = files(f.dir.path());
    assert_eq!(first.len(), 1);
    let mut rounds = 0;
    while files(f.dir.path()).contains(&first[0]) {
        f.carry(busy, &[u8::try_from(rounds % 251).unwrap(); 16 * 1024]).await;
        rounds += 1;
        assert!(rounds < 3000, "it does not go");
    }
    let (last, mut with_busy) = (u8::try_from((rounds - 1) % 251).unwrap(), before.clone());
    f.verify().await;
    with_busy.push(f.waiting().await.pop().unwrap());
    let f = f.kill_and(|dir| remove(dir, &ALL)).await;
    let after = f.waiting().await;
    assert_eq!(after, with_busy);
    assert_eq!(after.last().unwrap().3.as_deref(), Some(&[last; 16 * 1024][..]));
    f.verify().await;
}

/// Goal: starts after a cut at the beginning of the log's next file go on with both files, then with that one, and find
/// nothing wrong.
#[tokio::test]
async fn a_cut_at_the_next_file_of_the_log_harms_no_later_start() {
    let f = Fixture::tree().await;
    let before = f.waiting().await;
    let mut f = f.kill_and(begin_next).await;
    let mut new = 0;
    while files(f.dir.path()).len() > 1 {
        f.file(f.share.root, &format!("new{new}")).await;
        new += 1;
        assert!(new < 1000, "the older file stays");
    }
    for _ in 0..2 {
        f = f.kill_and(|_| {}).await;
        assert_eq!(f.catalog.rebuilt(), None);
        assert_eq!(f.waiting().await[..before.len()], before);
        f.verify().await;
    }
    let f = f.kill_and(|dir| remove(dir, &ALL)).await;
    assert_eq!(f.waiting().await[..before.len()], before);
}

/// Goal: while the log's last file does not tell everything, the loss of the one before is damage of the log, not of a
/// good catalog, and is mended from that. Method: it goes, or is empty.
#[tokio::test]
async fn the_loss_of_an_older_file_of_the_log_that_counts_is_no_damage_of_the_catalog() {
    for is_gone in [true, false] {
        let f = Fixture::tree().await;
        let before = f.waiting().await;
        let first = files(f.dir.path()).remove(0);
        let f = f.kill_and(begin_next).await;
        assert_eq!(files(f.dir.path()).len(), 2, "the last one does not tell everything");
        let f = f
            .kill_and(|dir| match is_gone {
                true => fs::remove_file(dir.join(&first)).unwrap(),
                false => fs::write(dir.join(&first), b"").unwrap(),
            })
            .await;
        assert_eq!(f.catalog.rebuilt(), None, "gone: {is_gone}");
        assert_eq!(f.waiting().await, before, "gone: {is_gone}");
        f.verify().await;
        let f = f.kill_and(|dir| remove(dir, &ALL)).await;
        assert_eq!(f.waiting().await, before, "of the log that was written anew");
    }
}

/// Goal: the same where the batch with which the last file would tell everything was not committed. Method: the catalog, and
/// the mark, are those of before it; the older file has gone after it.
#[tokio::test]
async fn what_an_uncommitted_batch_says_of_the_log_s_files_does_not_count() {
    let f = Fixture::tree().await;
    let f = f.kill_and(begin_next).await;
    for new in 0.. {
        let catalog = Saved::of(&f, false);
        let mark = fs::read(f.dir.path().join(MARK)).unwrap();
        let before = f.waiting().await;
        f.file(f.share.root, &format!("new{new}")).await;
        if files(f.dir.path()).len() > 1 {
            continue;
        }
        let f = f
            .kill_and(|dir| {
                catalog.put(dir);
                fs::write(dir.join(MARK), mark).unwrap();
            })
            .await;
        assert_eq!(f.catalog.rebuilt(), None);
        assert_eq!(f.waiting().await, before);
        f.verify().await;
        let f = f.kill_and(|dir| remove(dir, &ALL)).await;
        assert_eq!(f.waiting().await, before);
        return;
    }
}

/// Goal: the number of a file that was only listed, and that a lost write-ahead log has taken along, is given to no
/// other: a client may have its handle.
#[tokio::test]
async fn no_ino_is_given_out_twice_when_the_write_ahead_log_is_lost() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.list(root, &["a"]).await;
    // What there is so far is in the database itself.
    let other = rusqlite::Connection::open(f.dir.path().join("catalog.db")).unwrap();
    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    f.list(root, &["a", "b"]).await;
    let lost = f.catalog.child(root, "b").await.unwrap().unwrap().ino;
    let f = f.kill_and(|dir| remove(dir, &["catalog.db-wal", "catalog.db-shm"])).await;
    assert_eq!(f.catalog.rebuilt(), None, "nothing that waits is missing");
    f.list(root, &["a", "c"]).await;
    assert_eq!(f.names(root).await, ["a", "c"]);
    let new = f.catalog.child(root, "c").await.unwrap().unwrap().ino;
    assert!(new > lost, "{new:?} is not above {lost:?}");
    f.verify().await;
}
