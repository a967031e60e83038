//! Bursts of writes: held in memory or noted, and bytes carried or synced.
use super::*;
use bytes::Bytes;

fn carrying(bytes: &'static [u8], noted: Option<u64>) -> WriteCommit {
    let size = bytes.len() as u64;
    WriteCommit {
        sums: Vec::new(),
        noted,
        size,
        mtime: at(6),
        clear_set_id: false,
        ranges: std::iter::once(0..size).collect(),
        disk: DiskId::PRIMARY,
        bytes: DurableBytes::Carried(Bytes::from_static(bytes)),
        closes: true,
        due: at(6),
    }
}

#[tokio::test]
async fn a_new_file_is_held_without_a_transaction_and_not_uploaded_before_its_commit() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.catalog.inode(file).await.unwrap();
    let (hold, row) = f.catalog.hold(file).expect("dirty, and known");
    assert!(row.dirty && !row.writing);
    assert!(f.claim().await.is_empty());
    let version = row.version;
    f.catalog.commit_write(file, carrying(b"abc", None)).await.unwrap();
    drop(hold);
    let row = f.catalog.inode(file).await.unwrap();
    assert!(row.size == 3 && row.version > version);
    assert_eq!(f.drain().await, ["put p/f"]);
    f.verify().await;
}

#[tokio::test]
async fn what_is_clean_or_being_uploaded_is_not_held() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    let jobs = f.claim().await;
    assert_eq!(jobs.len(), 1);
    assert!(f.catalog.hold(file).is_none(), "an upload is under way");
    f.catalog.release_job(jobs[0].op(), at(0)).await.unwrap();
    assert!(f.catalog.hold(file).is_none(), "something of this version may be in S3");
    f.drain().await;
    f.catalog.inode(file).await.unwrap();
    assert!(f.catalog.hold(file).is_none(), "clean: it must become dirty durably first (I3)");
}

/// Goal: a commit that was made, though its client was told that it had failed, keeps nothing that is written later from
/// S3. Method: the dirty log fails after the catalog has it; in between the file is uploaded.
#[tokio::test]
async fn what_is_committed_of_a_burst_that_has_ended_already_is_uploaded() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.drain().await;
    for noted_again in [true, false] {
        let version = f.catalog.begin_write(file, at(5)).await.unwrap().version;
        f.catalog.inner.writer.with_log(|log| log.fail());
        f.catalog.commit_write(file, carrying(b"abc", Some(version))).await.unwrap_err();
        assert_eq!(f.drain().await, ["put p/f over"], "it was made");
        let noted = Some(version).filter(|_| noted_again);
        let row = f.catalog.commit_write(file, carrying(b"abcd", noted)).await.unwrap();
        assert!(row.dirty && !row.writing);
        assert_eq!(f.drain().await, ["put p/f over"]);
    }
    f.verify().await;
}

/// The same of the beginning of a burst.
#[tokio::test]
async fn a_burst_that_nobody_has_ends_with_the_next_commit_and_where_nobody_writes() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    for by_commit in [true, false] {
        f.catalog.inner.writer.with_log(|log| log.fail());
        f.catalog.begin_write(file, at(5)).await.unwrap_err();
        assert!(f.catalog.inode(file).await.unwrap().writing, "it was made");
        if by_commit {
            f.catalog.commit_write(file, carrying(b"abc", None)).await.unwrap();
        } else {
            f.catalog.end_lost_burst(file).await.unwrap();
        }
        assert!(!f.catalog.inode(file).await.unwrap().writing);
    }
    f.verify().await;
}

#[tokio::test]
async fn after_a_crash_nothing_is_held() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.catalog.inode(file).await.unwrap();
    let hold = f.catalog.hold(file).unwrap();
    assert!(f.claim().await.is_empty());
    // Its upload was put off, not given up.
    let f = f.crash().await;
    drop(hold);
    f.catalog.recover_journal(at(10)).await.unwrap();
    assert_eq!(f.drain().await, ["put p/f"]);
}

#[tokio::test]
async fn a_sync_takes_away_only_what_was_carried_before_it() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.catalog.commit_write(file, carrying(b"one", None)).await.unwrap();
    let first = f.catalog.carried_of(file).await.unwrap();
    f.catalog.commit_write(file, carrying(b"two", None)).await.unwrap();
    let second = f.catalog.carried_of(file).await.unwrap();
    assert!(first.is_some() && second > first);
    for (seen, left) in [(None, second), (first, second), (second, None)] {
        let synced = WriteCommit { bytes: DurableBytes::Synced(seen), ..carrying(b"two", None) };
        f.catalog.commit_write(file, synced).await.unwrap();
        assert_eq!(f.catalog.carried_of(file).await.unwrap(), left);
    }
}

#[tokio::test]
async fn carried_bytes_are_forgotten_up_to_a_number_and_no_further() {
    let f = Fixture::new().await;
    let f = std::sync::Arc::new(f);
    let mut writing = tokio::task::JoinSet::new();
    for n in 0..1500 {
        let f = f.clone();
        writing.spawn(async move {
            let file = f.file(f.share.root, &format!("f{n}")).await;
            f.catalog.commit_write(file, carrying(b"x", None)).await.unwrap();
        });
    }
    writing.join_all().await;
    let until = f.catalog.carried_until().await.unwrap().unwrap();
    let late = f.file(f.share.root, "late").await;
    f.catalog.commit_write(late, carrying(b"late", None)).await.unwrap();
    f.catalog.forget_carried(until).await.unwrap();
    let left = f.catalog.carried(0).await.unwrap().unwrap();
    assert_eq!((left.ino, &left.bytes[..]), (late, &b"late"[..]));
    assert_eq!(f.catalog.carried(left.seq).await.unwrap(), None);
    f.verify().await;
}

/// Goal: what a client sets is not gone over by what S3 tells, though S3 has come to be asked in between (another object,
/// other defaults of the share): the client is told to come again.
#[tokio::test]
async fn attributes_are_not_set_on_what_is_not_known_any_more() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    let set = |told| AttrChange { mode: Some(0o600), told, ..AttrChange::default() };
    f.catalog.set_attr(file, set(true), stamp(7)).await.unwrap();
    let ask = move |txn: &mut Txn<'_>| {
        Ok(txn.db.execute("UPDATE inode SET needs_head = 1 WHERE ino = ?1", [file.0])?)
    };
    f.catalog.write(ask).await.unwrap();
    let refused = f.catalog.set_attr(file, set(true), stamp(8)).await;
    assert!(matches!(refused, Err(CatalogError::Changed)), "{refused:?}");
    f.catalog.set_attr(file, set(false), stamp(9)).await.unwrap();
}
