//! Which jobs are handed out, whatever else the journal has.
use super::*;

fn keys(jobs: &[Job]) -> Vec<&str> {
    let syncs = jobs.iter().map(|job| match job {
        Job::Sync(job) => job.key.as_str(),
        other => panic!("{other:?}"),
    });
    syncs.collect()
}

fn scratch(n: usize) -> ObjectKey {
    ObjectKey::new(format!("p/.tidegate-probe-{n}")).unwrap()
}

/// Goal: however many objects one job has noted for itself, the others are handed out.
#[tokio::test]
async fn a_job_with_many_keys_hides_no_other() {
    let f = Fixture::new().await;
    f.file(f.share.root, "large").await;
    let jobs = f.claim().await;
    assert_eq!(keys(&jobs), ["p/large"]);
    for n in 0..2000 {
        f.catalog.begin_aside(jobs[0].op(), &scratch(n), at(1)).await.unwrap();
    }
    f.file(f.share.root, "other").await;
    let others = f.catalog.claim_jobs(at(SOON), 1).await.unwrap();
    assert_eq!(keys(&others), ["p/other"]);
    f.verify().await;
}

/// Goal: an object of a part that is gone again leaves neither a note nor a key behind.
#[tokio::test]
async fn an_object_aside_that_is_gone_is_forgotten() {
    let f = Fixture::new().await;
    f.file(f.share.root, "large").await;
    let op = f.claim().await[0].op();
    f.catalog.begin_aside(op, &scratch(1), at(1)).await.unwrap();
    let again = f.catalog.begin_aside(op, &scratch(1), at(1)).await;
    assert!(matches!(again, Err(CatalogError::Changed)), "{again:?}");
    f.catalog.aside_gone(op, &scratch(1)).await.unwrap();
    f.catalog.begin_aside(op, &scratch(1), at(1)).await.unwrap();
    f.catalog.aside_gone(op, &scratch(1)).await.unwrap();
    assert_eq!(f.drain().await.len(), 0, "the only job is out");
    f.catalog.release_job(op, at(1)).await.unwrap();
    assert_eq!(f.drain().await, ["put p/large"], "nothing is to be deleted");
    f.verify().await;
}

/// Goal: an operation that makes no sense waits alone, with a reason, and no other job is lost with it.
#[tokio::test]
async fn an_operation_that_cannot_be_done_stops_no_other() {
    let f = Fixture::new().await;
    f.file(f.share.root, "first").await;
    f.catalog
        .write(|txn| {
            txn.db.execute(
                "INSERT INTO journal (kind, share, key, not_before) VALUES (3, 1, 'p/no-upload', 0)",
                [],
            )?;
            Ok(())
        })
        .await
        .unwrap();
    f.file(f.share.root, "second").await;
    let jobs = f.claim().await;
    assert_eq!(keys(&jobs), ["p/first", "p/second"]);
    assert_eq!(f.catalog.jobs_out().await.unwrap(), 2);
    assert_eq!(f.catalog.next_due().await.unwrap(), None, "it is left alone");
}

/// Goal: a flush does not wait for ever for an operation that makes no sense: it says so, after another look.
#[tokio::test]
async fn a_flush_says_what_cannot_be_done() {
    let f = Fixture::new().await;
    let share = f.share.id.0;
    let bad = move |txn: &mut Txn<'_>| {
        let insert = "INSERT INTO journal (kind, share, key, not_before) VALUES (1, ?1, '', 0)";
        Ok(txn.db.execute(insert, [share])?)
    };
    f.catalog.write(bad).await.unwrap();
    assert!(f.claim().await.is_empty());
    let watermark = f.catalog.hasten(at(8)).await.unwrap();
    let left = async || f.catalog.left_of(&watermark, &[f.share.id]).await.unwrap();
    assert_eq!((left().await.operations, left().await.put_off), (1, 0), "it is looked at again");
    assert!(f.claim().await.is_empty());
    let left = left().await;
    assert_eq!((left.operations, left.put_off), (1, 1));
    assert!(left.last_error.is_some_and(|why| why.contains("bad key")));
}

/// Goal: everything is made due, also where it takes several transactions.
#[tokio::test]
async fn a_flush_makes_very_many_operations_due() {
    const MANY: u64 = 10_000;
    let f = Fixture::new().await;
    let share = f.share.id.0;
    let fill = move |txn: &mut Txn<'_>| {
        let insert = "INSERT INTO journal (kind, share, key, not_before) VALUES (1, ?1, ?2, ?3)";
        let mut insert = txn.db.prepare(insert)?;
        for number in 0..MANY {
            let later = at(100 * SOON).as_nanos();
            insert.execute(rusqlite::params![share, format!("p/{number}"), later])?;
        }
        Ok(())
    };
    f.catalog.write(fill).await.unwrap();
    let watermark = f.catalog.hasten(at(8)).await.unwrap();
    let not_due = |db: &rusqlite::Connection| {
        let count = "SELECT count(*) FROM journal WHERE not_before <> ?1";
        Ok(db.query_row(count, [at(8).as_nanos()], |row| row.get::<_, u64>(0))?)
    };
    assert_eq!(f.catalog.read(not_due).await.unwrap(), 0);
    assert_eq!(left(&f, &watermark).await, MANY);
}

/// Goal: what is only tidied up in the bucket keeps no flush waiting, and goes with its share.
#[tokio::test]
async fn an_upload_that_cannot_be_aborted_keeps_nobody_waiting() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.write(file, 10).await;
    let jobs = f.claim().await;
    let Job::Sync(job) = &jobs[0] else { panic!("{jobs:?}") };
    let upload = MultipartState {
        upload_id: "u".to_owned(),
        key: job.key.clone(),
        version: job.inode.version,
        tag: None,
        is_early: false,
        parts: Vec::new(),
    };
    f.catalog.record_multipart(job.op, &upload).await.unwrap();
    f.catalog.release_job(job.op, at(1)).await.unwrap();
    f.catalog.remove(f.share.root, "f", RemoveKind::NotDirectory, stamp(1)).await.unwrap();
    let jobs = f.claim().await;
    let aborts = jobs.iter().filter(|job| matches!(job, Job::Abort { .. })).count();
    assert_eq!(aborts, 1, "{jobs:?}");
    for job in jobs {
        match job {
            Job::Abort { op, .. } => f.catalog.fail_job(op, "denied", at(9)).await.unwrap(),
            Job::Delete(job) => f.catalog.finish_delete(job.op).await.unwrap(),
            other => panic!("{other:?}"),
        }
    }
    let watermark = f.catalog.hasten(at(SOON)).await.unwrap();
    assert_eq!(f.catalog.left_of(&watermark, &[f.share.id]).await.unwrap(), Left::default());
    let root = RootAttr { mode: 0o777, uid: 0, gid: 0, now: at(1) };
    f.catalog.ensure_share(&f.share.name, "bucket", "elsewhere/", root).await.unwrap();
    assert_eq!(f.catalog.next_due().await.unwrap(), None, "nobody can do it any more");
    f.verify().await;
}

/// A write that goes through, but for its commit.
async fn begin(f: &Fixture, ino: Ino) -> impl Future<Output = ()> {
    let begun = f.catalog.begin_write(ino, at(6)).await.unwrap();
    let catalog = f.catalog.clone();
    async move {
        let commit = WriteCommit {
            // Hours after anything here.
            due: at(100 * SOON),
            ..commit_of(begun.version, 10)
        };
        catalog.commit_write(ino, commit).await.unwrap();
    }
}

async fn sync(f: &Fixture) -> Box<SyncJob> {
    match f.claim().await.pop() {
        Some(Job::Sync(job)) => job,
        other => panic!("{other:?}"),
    }
}

async fn finish(f: &Fixture, job: &SyncJob, etag: &str) -> Finish {
    let (op, version) = (job.op, job.inode.version);
    f.catalog.finish_sync(op, version, &job.key, tag(etag), at(7)).await.unwrap()
}

/// Goal: what a flush waits for is due at once after each commit, gets a turn while a burst is open, and is the flush's
/// no more once S3 has what was there when it began, whatever has come since.
#[tokio::test]
async fn a_flush_waits_for_what_was_there_and_for_no_later_version() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.write(file, 10).await;
    // An upload of what was there before is no answer: it may lack what was written since.
    let earlier = sync(&f).await;
    begin(&f, file).await.await;
    let watermark = f.catalog.hasten(at(8)).await.unwrap();
    assert_eq!(finish(&f, &earlier, "first").await, Finish::Superseded);
    let left = async || f.catalog.left_of(&watermark, &[f.share.id]).await.unwrap().operations;
    assert_eq!(left().await, 1);
    // It is written again and again, each time to be uploaded in some hours.
    let commit = begin(&f, file).await;
    commit.await;
    let open = begin(&f, file).await;
    let jobs = f.claim().await;
    let [Job::Still { op, ino, .. }] = jobs[..] else { panic!("{jobs:?}") };
    assert_eq!(ino, file);
    assert!(f.claim().await.is_empty(), "it has its turn");
    assert!(f.catalog.claim_still(op, at(SOON)).await.unwrap().is_none(), "a burst is open");
    assert!(f.claim().await.is_empty(), "its commit makes it due");
    open.await;
    let open = begin(&f, file).await;
    let jobs = f.claim().await;
    let [Job::Still { op, .. }] = jobs[..] else { panic!("{jobs:?}") };
    open.await;
    let Some(Job::Sync(job)) = f.catalog.claim_still(op, at(SOON)).await.unwrap() else {
        panic!("nobody writes")
    };
    assert_eq!(left().await, 1);
    let open = begin(&f, file).await;
    assert_eq!(finish(&f, &job, "second").await, Finish::Superseded);
    assert_eq!(left().await, 0, "S3 has what was there, and more");
    open.await;
    assert!(f.claim().await.is_empty(), "the rest has time");
    let watermark = f.catalog.hasten(at(9)).await.unwrap();
    assert_eq!(finish(&f, sync(&f).await.as_ref(), "third").await, Finish::Clean);
    assert_eq!(f.catalog.left_of(&watermark, &[f.share.id]).await.unwrap(), Left::default());
    f.verify().await;
}

/// An attempt that failed is not made again before its time because the file is written meanwhile.
#[tokio::test]
async fn what_a_flush_waits_for_keeps_its_pause_after_a_failure() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.write(file, 10).await;
    let watermark = f.catalog.hasten(at(8)).await.unwrap();
    let job = sync(&f).await;
    f.catalog.fail_job(job.op, "refused", at(2 * SOON)).await.unwrap();
    begin(&f, file).await.await;
    assert!(f.claim().await.is_empty());
    assert_eq!(f.catalog.next_due().await.unwrap(), Some(at(2 * SOON)));
    let left = f.catalog.left_of(&watermark, &[f.share.id]).await.unwrap();
    assert_eq!(
        (left.operations, left.put_off, left.last_error.as_deref()),
        (1, 0, Some("refused"))
    );
}

async fn left(f: &Fixture, watermark: &Watermark) -> u64 {
    f.catalog.left_of(watermark, &[f.share.id]).await.unwrap().operations
}

/// A burst that was open before the flush began gets its turn, too; without a flush it does not.
#[tokio::test]
async fn a_file_that_is_written_when_a_flush_begins_gets_its_turn() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.drain().await;
    let open = begin(&f, file).await;
    f.catalog.try_again(at(SOON)).await.unwrap();
    assert!(f.claim().await.is_empty(), "nobody waits for it");
    let watermark = f.catalog.hasten(at(8)).await.unwrap();
    let jobs = f.claim().await;
    let [Job::Still { op, .. }] = jobs[..] else { panic!("{jobs:?}") };
    open.await;
    let Some(Job::Sync(job)) = f.catalog.claim_still(op, at(SOON)).await.unwrap() else {
        panic!("nobody writes")
    };
    assert_eq!(left(&f, &watermark).await, 1);
    assert_eq!(finish(&f, &job, "it").await, Finish::Clean);
    assert_eq!(left(&f, &watermark).await, 0);
    drop(watermark);
    // Nobody waits any more: it has time.
    begin(&f, file).await.await;
    assert!(f.claim().await.is_empty());
}

/// Each flush is told of the publishes that were claimed since it began, and of no others.
#[tokio::test]
async fn a_later_flush_does_not_keep_an_earlier_one_waiting() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.write(file, 10).await;
    let first = f.catalog.hasten(at(8)).await.unwrap();
    let job = sync(&f).await;
    begin(&f, file).await.await;
    let second = f.catalog.hasten(at(9)).await.unwrap();
    assert_eq!(finish(&f, &job, "it").await, Finish::Superseded);
    assert_eq!((left(&f, &first).await, left(&f, &second).await), (0, 1));
}

/// What follows from what a flush waits for is waited for as well: copies of a renamed directory's files, and the
/// deletions of what they were copied from. What is made meanwhile is not.
#[tokio::test]
async fn a_flush_waits_for_what_follows_and_not_for_what_comes_after() {
    let f = Fixture::new().await;
    let (root, dir) = (f.share.root, f.mkdir(f.share.root, "d").await);
    f.file(dir, "f").await;
    f.drain().await;
    f.rename((root, "d"), (root, "e")).await;
    let watermark = f.catalog.hasten(at(8)).await.unwrap();
    f.file(root, "later").await;
    let mut done = 0;
    for round in 0..20 {
        for job in f.claim().await {
            match job {
                Job::Sync(job) if job.key == key("p/later") => {
                    f.catalog.fail_job(job.op, "refused", at(2 * SOON)).await.unwrap();
                }
                job => {
                    assert!(left(&f, &watermark).await > 0, "{job:?} is left");
                    f.perform(job, round).await;
                    done += 1;
                }
            }
        }
    }
    assert_eq!(left(&f, &watermark).await, 0);
    assert!(done >= 4, "two copies and two deletions: {done}");
    assert_eq!(f.catalog.pending(None).await.unwrap().dirty_files, 1);
}

/// A removed file's object is not gone before it is replaced: a flush waits for the file that has the name since,
/// however often that is written.
#[tokio::test]
async fn a_flush_waits_for_the_successor_of_a_removed_file() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.file(root, "f").await;
    f.drain().await;
    f.catalog.remove(root, "f", RemoveKind::NotDirectory, stamp(1)).await.unwrap();
    let watermark = f.catalog.hasten(at(8)).await.unwrap();
    let successor = f.file(root, "f").await;
    let open = begin(&f, successor).await;
    let mut turns = f.claim().await;
    turns.extend(f.catalog.claim_jobs(at(2 * SOON), 100).await.unwrap());
    let [Job::Still { op, ino, .. }] = turns[..] else { panic!("{turns:?}") };
    assert_eq!(ino, successor);
    open.await;
    let Some(Job::Sync(job)) = f.catalog.claim_still(op, at(2 * SOON)).await.unwrap() else {
        panic!("nobody writes")
    };
    begin(&f, successor).await.await;
    assert_eq!(left(&f, &watermark).await, 1);
    assert_eq!(finish(&f, &job, "new").await, Finish::Superseded);
    assert_eq!(left(&f, &watermark).await, 0);
}

/// What a flush waits for is due at a time that the clock has reached, though that was set back meanwhile.
#[tokio::test]
async fn a_flush_does_not_wait_for_a_clock_that_was_set_back() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    let _watermark = f.catalog.hasten(at(2 * SOON)).await.unwrap();
    f.catalog.clock_set_back(at(2 * SOON), at(SOON)).await.unwrap();
    begin(&f, file).await.await;
    assert_eq!(f.claim().await.len(), 1);
}

/// Jobs of which the catalog could not note the end are handed out again in the same run.
#[tokio::test]
async fn claims_of_jobs_that_are_over_are_given_back() {
    let f = Fixture::new().await;
    f.file(f.share.root, "f").await;
    let job = sync(&f).await;
    assert!(f.claim().await.is_empty());
    f.catalog.free_claims(vec![job.op]).await.unwrap();
    assert_eq!(sync(&f).await.op, job.op);
}

/// What replaces a file that S3 lacks is waited for as that was: in between the bucket has neither.
#[tokio::test]
async fn a_flush_waits_for_what_replaces_a_file_that_s3_lacks() {
    let f = Fixture::new().await;
    let root = f.share.root;
    let old = f.file(root, "f").await;
    f.drain().await;
    f.write(old, 10).await;
    let watermark = f.catalog.hasten(at(8)).await.unwrap();
    // As editors save.
    let new = f.file(root, "f.tmp").await;
    f.write(new, 20).await;
    f.rename((root, "f.tmp"), (root, "f")).await;
    assert_eq!(left(&f, &watermark).await, 2, "the new file and the deletion of what was there");
    let job = sync(&f).await;
    assert_eq!(job.inode.ino, new);
    begin(&f, new).await.await;
    assert_eq!(finish(&f, &job, "new").await, Finish::Superseded);
    assert_eq!(left(&f, &watermark).await, 0);
}

/// A share that nobody serves is told apart from what is under way.
#[tokio::test]
async fn what_of_a_flush_is_of_a_share_that_is_not_served_is_told() {
    let f = Fixture::new().await;
    f.file(f.share.root, "f").await;
    let watermark = f.catalog.hasten(at(8)).await.unwrap();
    let left = f.catalog.left_of(&watermark, &[]).await.unwrap();
    assert_eq!((left.operations, left.unserved), (1, 1));
    let left = f.catalog.left_of(&watermark, &[f.share.id]).await.unwrap();
    assert_eq!((left.operations, left.unserved), (1, 0));
}
