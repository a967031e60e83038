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
    let due = f.catalog.next_due().await.unwrap().unwrap();
    assert!(due >= at(SOON).plus_millis(60_000), "it is left alone for a while: {due:?}");
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
    assert_eq!(f.catalog.left_of(watermark).await.unwrap(), (0, None));
    let root = RootAttr { mode: 0o777, uid: 0, gid: 0, now: at(1) };
    f.catalog.ensure_share(&f.share.name, "bucket", "elsewhere/", root).await.unwrap();
    assert_eq!(f.catalog.next_due().await.unwrap(), None, "nobody can do it any more");
    f.verify().await;
}
