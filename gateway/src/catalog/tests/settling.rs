//! What is committed without a sync, because S3 says it again.
use std::time::Duration;

use super::*;

/// What is put off waits until something else is committed.
async fn patient() -> Fixture {
    let f = Fixture::new().await;
    let hour = Duration::from_secs(3600);
    f.catalog.inner.writer.with_log(|log| log.settle_after(hour));
    f
}

fn is_settled(f: &Fixture) -> bool {
    f.catalog.inner.writer.with_log(|log| log.settles_in().is_none())
}

/// Uploads everything that waits.
async fn publish(f: &Fixture) {
    for job in f.catalog.claim_jobs(at(SOON), 64).await.unwrap() {
        let Job::Sync(job) = job else { panic!("{job:?}") };
        let etag = tag(&format!("of {}", job.key));
        let version = job.inode.version;
        f.catalog.finish_sync(job.op, version, &job.key, etag, at(SOON)).await.unwrap();
    }
}

/// sqlite.org/pragma.html#pragma_synchronous: 1 is NORMAL, which syncs nothing at a commit in WAL mode; 2 is FULL.
#[tokio::test]
async fn only_what_s3_says_again_is_committed_without_a_sync() {
    fn mode(txn: &mut Txn<'_>) -> Result<u8, CatalogError> {
        Ok(txn.db.query_row("PRAGMA synchronous", [], |row| row.get(0))?)
    }
    let f = patient().await;
    for _ in 0..3 {
        assert_eq!(f.catalog.write_soon(mode).await.unwrap(), 1);
        assert_eq!(f.catalog.write(mode).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn an_upload_is_seen_at_once_and_told_with_the_next_commit_that_is_synced() {
    let f = patient().await;
    let ino = f.file(f.share.root, "a").await;
    f.write(ino, 10).await;
    assert!(is_settled(&f));
    publish(&f).await;
    assert!(!is_settled(&f), "it waits");
    assert!(!f.catalog.inode(ino).await.unwrap().dirty);
    f.file(f.share.root, "b").await;
    assert!(is_settled(&f), "what is synced takes it along");
    assert_eq!(f.catalog.verify().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn what_nobody_takes_along_is_settled_before_long() {
    let f = Fixture::new().await;
    let ino = f.file(f.share.root, "a").await;
    f.write(ino, 10).await;
    publish(&f).await;
    while !is_settled(&f) {
        tokio::task::yield_now().await;
    }
    let f = f.crash().await;
    assert_eq!(f.catalog.verify().await.unwrap(), [""; 0]);
}

/// A kill leaves what was committed and not told; the log is told anew, and no damage is seen.
#[tokio::test]
async fn a_kill_before_it_is_told_is_no_damage() {
    let f = patient().await;
    for name in ["a", "b"] {
        let ino = f.file(f.share.root, name).await;
        f.write(ino, 10).await;
    }
    publish(&f).await;
    let gone = f.catalog.child(f.share.root, "b").await.unwrap().unwrap().ino;
    assert!(!is_settled(&f));
    let f = f.crash().await;
    assert!(is_settled(&f));
    assert!(!f.catalog.inode(gone).await.unwrap().dirty);
    assert_eq!(f.catalog.verify().await.unwrap(), [""; 0]);
    // The next start finds nothing to be told.
    let f = f.crash().await;
    assert_eq!(f.catalog.pending(None).await.unwrap(), PendingCounts::default());
}

/// The transaction that was to tell what was put off is not committed: nothing of it is forgotten.
#[tokio::test]
async fn a_failed_commit_leaves_nothing_untold() {
    let f = patient().await;
    let ino = f.file(f.share.root, "a").await;
    f.write(ino, 10).await;
    publish(&f).await;
    let given_up = f.catalog.write(|txn| Ok(txn.db.execute_batch("ROLLBACK")?)).await;
    assert!(matches!(given_up, Err(CatalogError::Commit(_))), "{given_up:?}");
    f.file(f.share.root, "b").await;
    assert!(is_settled(&f));
    assert_eq!(f.catalog.verify().await.unwrap(), [""; 0]);
    let f = f.crash().await;
    assert!(!f.catalog.inode(ino).await.unwrap().dirty);
}
