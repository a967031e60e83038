//! Who commits: the writer's thread, or the caller where it may wait for the disk.
use std::{
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::pin,
    task::Poll,
    thread,
};

use super::*;
use crate::blocking::{Patience, here};

/// Polls once on a thread that may wait for the disk.
async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let poll = poll_fn(|cx| Poll::Ready(here(Patience::Sync, || future.as_mut().poll(cx))));
    match poll.await {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_caller_that_may_wait_commits_itself_and_durably() {
    let f = Fixture::new().await;
    let of_test = thread::current().id();
    let ran_on = |f: &Fixture| {
        let catalog = f.catalog.clone();
        async move { catalog.write(|_| Ok(thread::current().id())).await }
    };
    assert_ne!(ran_on(&f).await.unwrap(), of_test);
    f.catalog.inner.writer.wait_until_free();
    assert_eq!(at_once(ran_on(&f)).await.unwrap().unwrap(), of_test);
    let root = f.share.root;
    let made = at_once(f.file(root, "a")).await.expect("nobody else is at it");
    let refused = f.catalog.create(
        NewInode {
            parent: root,
            name: "a".to_owned(),
            kind: NewKind::Directory,
            mode: 0o755,
            uid: 1,
            gid: 1,
            atime: at(5),
            mtime: at(5),
        },
        stamp(6),
    );
    assert!(matches!(at_once(refused).await, Some(Err(CatalogError::Exists))));
    let f = f.crash().await;
    assert_eq!(f.catalog.child(root, "a").await.unwrap().unwrap().ino, made);
}

/// A change that is under way until it is told to go on.
async fn held_writer(
    f: &Fixture,
) -> (tokio::task::JoinHandle<Result<(), CatalogError>>, std::sync::mpsc::Sender<()>) {
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let catalog = f.catalog.clone();
    let slow = tokio::spawn(async move {
        let wait = move |_: &mut Txn<'_>| {
            begun.send(()).unwrap();
            may_go_on.recv().unwrap();
            Ok(())
        };
        catalog.write(wait).await
    });
    tokio::task::spawn_blocking(move || has_begun.recv().unwrap()).await.unwrap();
    (slow, go_on)
}

#[tokio::test]
async fn a_caller_does_not_wait_for_somebody_who_commits() {
    let f = Fixture::new().await;
    let (slow, go_on) = held_writer(&f).await;
    let mut meanwhile = pin!(f.file(f.share.root, "a"));
    let first = poll_fn(|cx| {
        Poll::Ready(here(Patience::Sync, || meanwhile.as_mut().poll(cx)).is_pending())
    });
    assert!(first.await, "it is queued");
    go_on.send(()).unwrap();
    meanwhile.await;
    slow.await.unwrap().unwrap();
}

#[tokio::test]
async fn after_a_transition_that_panicked_nothing_is_committed() {
    let f = Fixture::new().await;
    f.catalog.inner.writer.wait_until_free();
    let catalog = f.catalog.clone();
    let broken = thread::spawn(move || {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut broken = pin!(catalog.write(|_| -> Result<(), CatalogError> { panic!("broken") }));
        std::panic::catch_unwind(AssertUnwindSafe(|| {
            here(Patience::Sync, || broken.as_mut().poll(&mut cx).is_ready())
        }))
        .is_err()
    });
    assert!(broken.join().unwrap());
    let later = || f.catalog.write(|_| Ok(()));
    assert!(matches!(later().await, Err(CatalogError::Closed)));
    assert!(matches!(at_once(later()).await, Some(Err(CatalogError::Closed))));
}

#[tokio::test]
async fn nobody_commits_after_the_close() {
    let f = Fixture::new().await;
    f.catalog.close().await.unwrap();
    let later = f.catalog.write(|_| Ok(()));
    assert!(matches!(at_once(later).await, Some(Err(CatalogError::Closed))));
    // Not even one who was about to when the catalog was closed.
    let run: Run = Box::new(|_| Box::new(|_| ()));
    let late = f.catalog.inner.writer.commit_here(Operation { durable: Durable::Now, run });
    assert!(matches!(late, Err(CatalogError::Closed)));
    let log = f.dir.path().join("catalog.db-wal");
    assert!(!log.exists(), "the last connection folds it into the database");
}

/// What semantics.md promises of a power cut rests on this: SQLite syncs its log before it says that a
/// transaction is committed (sqlite.org/pragma.html#pragma_synchronous, 2 is FULL). The setting is not in
/// the file: each start has to make it.
#[tokio::test]
async fn the_writer_syncs_its_log_at_each_commit_in_every_run() {
    let f = Fixture::new().await;
    let settings = async |f: &Fixture| {
        let asked = f.catalog.write(|txn| {
            let number = |name| txn.db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let mode: String = txn.db.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            Ok((number("synchronous")?, mode))
        });
        asked.await.unwrap()
    };
    let wanted = (2, "wal".to_owned());
    assert_eq!(settings(&f).await, wanted);
    let f = f.crash().await;
    assert_eq!(settings(&f).await, wanted);
}

/// Commits in the database's log: frames that say how large the database is after them
/// (sqlite.org/fileformat2.html#walformat).
fn commits(f: &Fixture) -> usize {
    const HEADER: usize = 32;
    const FRAME_HEADER: usize = 24;
    let log = std::fs::read(f.dir.path().join("catalog.db-wal")).unwrap();
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let frame = FRAME_HEADER + number(8) as usize;
    (HEADER..log.len()).step_by(frame).filter(|at| number(at + 4) > 0).count()
}

/// Goal: while one commit is under way the next gathers all that comes. Method: the writer is held until all
/// have asked.
#[tokio::test]
async fn many_changes_share_few_commits() {
    const CHANGES: usize = 600;
    let f = Fixture::new().await;
    let (slow, go_on) = held_writer(&f).await;
    let before = commits(&f);
    let names: Vec<String> = (0..CHANGES).map(|number| format!("f{number:03}")).collect();
    let root = f.share.root;
    let mut made: Vec<_> = names.iter().map(|name| Box::pin(f.file(root, name))).collect();
    for one in &mut made {
        let asked = poll_fn(|cx| Poll::Ready(one.as_mut().poll(cx).is_pending()));
        assert!(tokio::task::unconstrained(asked).await, "it is queued");
    }
    go_on.send(()).unwrap();
    for one in made {
        one.await;
    }
    slow.await.unwrap().unwrap();
    // As many as fit one transaction, and the rest.
    assert_eq!(commits(&f) - before, 2);
    let f = f.crash().await;
    assert_eq!(f.catalog.children(root, Ino(0), 10_000).await.unwrap().len(), CHANGES);
}
