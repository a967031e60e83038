//! Files whose key is another one's still: who waits for whom, and who steps aside.
use super::*;

/// The file of which the object is to step aside.
fn aside(jobs: &[Job]) -> Ino {
    match jobs {
        [Job::StepAside(job)] => job.inode.ino,
        others => panic!("{others:?}"),
    }
}

/// What keeps a renamed file from its upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Busy {
    /// An open burst of writes.
    Writing,
    /// One that is kept in memory alone.
    Held,
    /// The quiet time after the last write.
    Quiet,
}

/// A log that is rotated by a rename, while whoever writes it goes on.
#[tokio::test]
async fn a_new_file_does_not_wait_for_the_end_of_the_writes_of_the_one_that_had_its_name() {
    for busy in [Busy::Writing, Busy::Held, Busy::Quiet] {
        let f = Fixture::new().await;
        let root = f.share.root;
        let log = f.file(root, "log").await;
        f.write(log, 10).await;
        f.drain().await;
        let held = match busy {
            Busy::Writing => {
                f.catalog.begin_write(log, at(6)).await.unwrap();
                None
            }
            Busy::Held => {
                f.write(log, 20).await;
                Some(f.catalog.hold(log).unwrap())
            }
            Busy::Quiet => None,
        };
        f.rename((root, "log"), (root, "log.1")).await;
        if busy == Busy::Quiet {
            let change = AttrChange { mode: Some(0o600), ..AttrChange::default() };
            let due = at(SOON).plus_millis(5000);
            f.catalog.set_attr(log, change, Stamp { due, ..stamp(8) }).await.unwrap();
        }
        f.file(root, "log").await;
        let jobs = f.claim().await;
        assert_eq!(aside(&jobs), log, "{busy:?}");
        assert!(f.claim().await.is_empty(), "one job at a time, {busy:?}");
        for job in jobs {
            f.perform(job, 0).await;
        }
        let later = at(SOON).plus_millis(300);
        let jobs = f.catalog.claim_jobs(later, 100).await.unwrap();
        assert_eq!(jobs.len(), 1, "{busy:?}: {jobs:?}");
        for job in jobs {
            assert_eq!(f.perform(job, 1).await, "put p/log over", "{busy:?}");
        }
        let row = f.catalog.inode(log).await.unwrap();
        assert_eq!((row.dirty, row.writing), (true, busy == Busy::Writing), "{busy:?}");
        drop(held);
        f.write(log, 30).await;
        let mut done = f.drain().await;
        done.sort();
        let from = format!("p/aside-{}", log.0);
        assert_eq!(
            done,
            [format!("delete {from}"), format!("put p/log.1 from {from}")],
            "{busy:?}"
        );
        f.verify().await;
    }
}

/// Where an attempt of the one that goes on being written may have landed, that is found out first.
#[tokio::test]
async fn an_object_of_unknown_outcome_is_settled_before_it_steps_aside() {
    let f = Fixture::new().await;
    let root = f.share.root;
    let log = f.file(root, "log").await;
    f.write(log, 10).await;
    f.drain().await;
    f.write(log, 20).await;
    for job in f.claim().await {
        f.catalog.fail_job(job.op(), "no answer", at(SOON)).await.unwrap();
    }
    f.catalog.begin_write(log, at(6)).await.unwrap();
    f.rename((root, "log"), (root, "log.1")).await;
    f.file(root, "log").await;
    let jobs = f.claim().await;
    let [Job::Sync(job)] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((job.key.as_str(), job.is_elsewhere, job.inode.ino), ("p/log", true, log));
    for job in jobs {
        f.perform(job, 0).await;
    }
    let jobs = f.catalog.claim_jobs(at(SOON).plus_millis(300), 100).await.unwrap();
    assert_eq!(aside(&jobs), log);
    f.verify().await;
}

/// Files, all of whose names are shifted by one.
async fn ring(f: &Fixture, files: u32) {
    let root = f.share.root;
    let name = |n: u32| format!("f{n:03}");
    for n in 0..files {
        let file = f.file(root, &name(n)).await;
        f.write(file, 3).await;
    }
    f.drain().await;
    f.rename((root, &name(0)), (root, "t")).await;
    for n in 1..files {
        f.rename((root, &name(n)), (root, &name(n - 1))).await;
    }
    f.rename((root, "t"), (root, &name(files - 1))).await;
}

#[tokio::test]
async fn a_ring_of_any_length_ends() {
    for files in [3, 66] {
        let f = Fixture::new().await;
        ring(&f, files).await;
        let done = f.drain().await;
        let aside = done.iter().filter(|step| step.starts_with("aside")).count();
        assert!((1..=8).contains(&aside), "{aside} of {files} have stepped aside");
        for row in f.catalog.children(f.share.root, Ino(0), 1000).await.unwrap() {
            let own = format!("p/{}", row.name);
            assert_eq!(row.object_key.as_ref().map(|key| key.as_str()), Some(own.as_str()));
        }
        f.verify().await;
    }
}

/// A long row of files that move on by one name is no ring: each goes when the one before has gone.
#[tokio::test]
async fn nobody_steps_aside_in_a_long_row() {
    let f = Fixture::new().await;
    let (root, name) = (f.share.root, |n: u32| format!("log.{n}"));
    for n in 0..100 {
        f.file(root, &name(n)).await;
    }
    f.drain().await;
    for n in (0..70).rev() {
        f.rename((root, &name(n)), (root, &name(n + 1))).await;
    }
    let done = f.drain().await;
    let moved = |step: &&String| step.starts_with("put");
    assert_eq!(done.iter().filter(moved).count(), 70, "{done:?}");
    assert_eq!(done.len(), 71, "and one deletion: {done:?}");
    f.verify().await;
}
