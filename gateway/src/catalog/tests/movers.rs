//! Claims, publishes, deletions, renames of what is in S3.
use super::*;

fn syncs(jobs: &[Job]) -> Vec<&SyncJob> {
    jobs.iter()
        .filter_map(|job| match job {
            Job::Sync(job) => Some(job.as_ref()),
            Job::Early(_) | Job::Delete(_) | Job::Abort { .. } => None,
            Job::StepAside(_) | Job::Still { .. } => None,
        })
        .collect()
}

/// An upload in parts of what the job publishes.
fn upload(job: &SyncJob, id: &str) -> MultipartState {
    let (upload_id, key, version) = (id.to_owned(), job.key.clone(), job.inode.version);
    let tag = Some("t".to_owned());
    MultipartState { upload_id, key, version, tag, is_early: false, parts: Vec::new() }
}

#[tokio::test]
async fn a_publish_of_an_older_version_makes_nothing_clean() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.write(file, 10).await;
    let jobs = f.claim().await;
    let job = syncs(&jobs)[0].clone();
    assert_eq!((job.key.as_str(), &job.expect), ("p/f", &Expected::Absent));
    assert!(f.claim().await.is_empty(), "a claimed job is out");
    f.write(file, 20).await;
    assert!(!f.catalog.is_current(job.op, job.inode.version).await.unwrap());
    let finish = f
        .catalog
        .finish_sync(job.op, job.inode.version, &job.key, &tag("one"), at(9))
        .await
        .unwrap();
    assert_eq!(finish, Finish::Superseded);
    let jobs = f.claim().await;
    let next = syncs(&jobs)[0];
    assert_eq!(next.expect, Expected::Tag(tag("one")));
    assert!(next.inode.content_dirty && !next.sent_before);
    let finish = f
        .catalog
        .finish_sync(next.op, next.inode.version, &next.key, &tag("two"), at(9))
        .await
        .unwrap();
    assert_eq!(finish, Finish::Clean);
    let row = f.catalog.inode(file).await.unwrap();
    assert!(!row.dirty && row.etag == Some(tag("two")));
    f.verify().await;
}

#[tokio::test]
async fn a_file_with_an_open_burst_is_not_uploaded_and_not_called_clean() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    let job = syncs(&f.claim().await)[0].clone();
    f.catalog.begin_write(file, at(6)).await.unwrap();
    let finish = f
        .catalog
        .finish_sync(job.op, job.inode.version, &job.key, &tag("empty"), at(9))
        .await
        .unwrap();
    assert_eq!(finish, Finish::Superseded);
    assert!(f.claim().await.is_empty());
    assert_eq!(f.catalog.next_due().await.unwrap(), None);
    let f = f.crash().await;
    assert_eq!(f.catalog.recover_journal(at(10)).await.unwrap(), (1, 0));
    assert_eq!(f.drain().await, ["put p/f over"]);
}

#[tokio::test]
async fn a_commit_of_an_older_burst_leaves_the_newer_one_open() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    let old = f.catalog.begin_write(file, at(6)).await.unwrap();
    let new = f.catalog.begin_write(file, at(6)).await.unwrap();
    let commit = |version| WriteCommit {
        sums: Vec::new(),
        noted: Some(version),
        disk: DiskId::PRIMARY,
        bytes: DurableBytes::Synced(None),
        size: 1,
        mtime: at(6),
        clear_set_id: false,
        ranges: std::iter::once(0..1).collect(),
        closes: true,
        due: at(6),
    };
    assert!(f.catalog.commit_write(file, commit(old.version)).await.unwrap().writing);
    assert!(!f.catalog.commit_write(file, commit(new.version)).await.unwrap().writing);
    assert_eq!(f.drain().await, ["put p/f"]);
}

#[tokio::test]
async fn a_commit_that_comes_late_takes_nothing_back() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    let burst = f.catalog.begin_write(file, at(6)).await.unwrap();
    let commit = |size: u64, seconds| WriteCommit {
        sums: Vec::new(),
        noted: Some(burst.version),
        disk: DiskId::PRIMARY,
        bytes: DurableBytes::Synced(None),
        size,
        mtime: at(seconds),
        clear_set_id: false,
        ranges: std::iter::once(0..size).collect(),
        closes: false,
        due: at(6),
    };
    f.catalog.commit_write(file, commit(200, 8)).await.unwrap();
    let inode = f.catalog.commit_write(file, commit(100, 7)).await.unwrap();
    assert_eq!((inode.size, inode.mtime), (200, at(8)));
    assert_eq!(f.catalog.ranges(file).await.unwrap(), std::iter::once(0..200).collect());
}

#[tokio::test]
async fn a_removed_file_that_was_never_sent_costs_no_request() {
    let f = Fixture::new().await;
    f.file(f.share.root, "f").await;
    f.catalog.remove(f.share.root, "f", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    assert!(f.drain().await.is_empty());
}

#[tokio::test]
async fn a_file_removed_while_its_upload_runs_is_deleted_after_it() {
    let f = Fixture::new().await;
    f.file(f.share.root, "f").await;
    let job = syncs(&f.claim().await)[0].clone();
    f.catalog.remove(f.share.root, "f", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    assert!(f.claim().await.is_empty(), "the key is busy");
    let finish = f
        .catalog
        .finish_sync(job.op, job.inode.version, &job.key, &tag("late"), at(9))
        .await
        .unwrap();
    assert_eq!(finish, Finish::Removed);
    let jobs = f.claim().await;
    assert!(
        matches!(&jobs[..], [Job::Delete(job)] if job.etag == Some(tag("late")) && !job.uncertain)
    );
}

#[tokio::test]
async fn a_file_removed_before_a_crash_that_hid_its_upload_does_not_come_back() {
    let f = Fixture::new().await;
    f.file(f.share.root, "f").await;
    f.claim().await;
    let f = f.crash().await;
    f.catalog.remove(f.share.root, "f", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    let jobs = f.claim().await;
    assert!(matches!(&jobs[..], [Job::Delete(job)] if job.etag.is_none() && job.uncertain));
}

#[tokio::test]
async fn an_attempt_of_unknown_outcome_is_marked_for_the_next() {
    let f = Fixture::new().await;
    f.file(f.share.root, "f").await;
    let job = syncs(&f.claim().await)[0].clone();
    assert!(!job.sent_before);
    f.catalog.fail_job(job.op, "timeout", at(100)).await.unwrap();
    let counts = f.catalog.pending(Some(f.share.id)).await.unwrap();
    assert_eq!((counts.failing, counts.last_error.as_deref()), (1, Some("timeout")));
    let jobs = f.claim().await;
    assert!(syncs(&jobs)[0].sent_before && syncs(&jobs)[0].attempts == 1);
}

#[tokio::test]
async fn a_recreated_file_replaces_the_object_and_the_deletion_is_folded_in() {
    let f = Fixture::new().await;
    f.file(f.share.root, "f").await;
    f.drain().await;
    f.catalog.remove(f.share.root, "f", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    f.file(f.share.root, "f").await;
    assert_eq!(f.drain().await, ["put p/f over"]);
    f.verify().await;
}

#[tokio::test]
async fn a_file_renamed_over_another_replaces_its_object() {
    let f = Fixture::new().await;
    f.file(f.share.root, "old").await;
    f.drain().await;
    let new = f.file(f.share.root, "tmp").await;
    f.rename((f.share.root, "tmp"), (f.share.root, "old")).await;
    assert_eq!(f.drain().await, ["put p/old over"]);
    assert_eq!(f.catalog.child(f.share.root, "old").await.unwrap().unwrap().ino, new);
}

#[tokio::test]
async fn a_folded_in_deletion_is_not_forgotten_when_the_file_moves_on() {
    let f = Fixture::new().await;
    f.file(f.share.root, "old").await;
    f.drain().await;
    f.file(f.share.root, "tmp").await;
    f.rename((f.share.root, "tmp"), (f.share.root, "old")).await;
    let job = syncs(&f.claim().await)[0].clone();
    assert!(matches!(job.expect, Expected::Tag(_)));
    f.catalog.fail_job(job.op, "down", at(1)).await.unwrap();
    let f = f.crash().await;
    f.rename((f.share.root, "old"), (f.share.root, "elsewhere")).await;
    let mut done = f.drain().await;
    done.sort();
    assert_eq!(done, ["delete p/old", "put p/elsewhere"]);
    f.verify().await;
}

/// The first file's attempt ends without a request, as the file is renamed; then its name is another's.
#[tokio::test]
async fn a_key_that_a_renamed_file_was_to_have_is_settled_before_another_file_has_it() {
    for is_taken_over in [false, true] {
        let f = Fixture::new().await;
        let root = f.share.root;
        if is_taken_over {
            f.file(root, "f").await;
            f.drain().await;
            f.catalog.remove(root, "f", RemoveKind::NotDirectory, stamp(5)).await.unwrap();
        }
        f.file(root, "f").await;
        let job = syncs(&f.claim().await)[0].clone();
        assert_eq!(matches!(job.expect, Expected::Tag(_)), is_taken_over);
        f.rename((root, "f"), (root, "g")).await;
        f.catalog.release_job(job.op, at(SOON)).await.unwrap();
        f.file(root, "f").await;
        let done = f.drain().await;
        assert_eq!(done, ["put p/g", "delete p/f", "put p/f"], "taken over: {is_taken_over}");
        f.verify().await;
    }
}

#[tokio::test]
async fn an_uploaded_file_is_moved_by_copy_and_delete() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "a").await;
    f.write(file, 5).await;
    f.drain().await;
    f.rename((f.share.root, "a"), (f.share.root, "b")).await;
    let jobs = f.claim().await;
    assert!(!syncs(&jobs)[0].inode.content_dirty, "a copy is enough");
    f.catalog.release_job(jobs[0].op(), at(1)).await.unwrap();
    assert_eq!(f.drain().await, ["put p/b from p/a", "delete p/a"]);
    f.verify().await;
}

#[tokio::test]
async fn a_file_renamed_while_its_upload_runs_ends_at_its_new_key() {
    let f = Fixture::new().await;
    f.file(f.share.root, "a").await;
    let job = syncs(&f.claim().await)[0].clone();
    f.rename((f.share.root, "a"), (f.share.root, "b")).await;
    let finish =
        f.catalog.finish_sync(job.op, job.inode.version, &job.key, &tag("x"), at(9)).await.unwrap();
    assert_eq!(finish, Finish::Superseded);
    assert_eq!(f.drain().await, ["put p/b from p/a", "delete p/a"]);
}

#[tokio::test]
async fn rotated_logs_move_in_an_order_that_loses_none() {
    let f = Fixture::new().await;
    let root = f.share.root;
    for name in ["log", "log.1"] {
        let file = f.file(root, name).await;
        f.write(file, 3).await;
    }
    f.drain().await;
    f.rename((root, "log.1"), (root, "log.2")).await;
    f.rename((root, "log"), (root, "log.1")).await;
    f.file(root, "log").await;
    let done = f.drain().await;
    let position = |text: &str| done.iter().position(|step| step.starts_with(text)).unwrap();
    assert!(position("put p/log.2 from p/log.1") < position("put p/log.1 from p/log"));
    assert!(position("put p/log.1 from p/log") < position("put p/log over"), "{done:?}");
    assert!(!done.iter().any(|step| step.starts_with("delete")), "{done:?}");
    f.verify().await;
}

#[tokio::test]
async fn swapped_files_do_not_wait_for_each_other_forever() {
    let f = Fixture::new().await;
    let root = f.share.root;
    for name in ["a", "b"] {
        let file = f.file(root, name).await;
        f.write(file, 3).await;
    }
    f.drain().await;
    for name in ["a", "b"] {
        let ino = f.catalog.child(root, name).await.unwrap().unwrap().ino;
        assert!(f.catalog.drop_ranges(ino).await.unwrap());
    }
    f.rename((root, "a"), (root, "t")).await;
    f.rename((root, "b"), (root, "a")).await;
    f.rename((root, "t"), (root, "b")).await;
    let done = f.drain().await;
    assert!(done.iter().any(|step| step.starts_with("aside")), "{done:?}");
    f.verify().await;
    for name in ["a", "b"] {
        let row = f.catalog.child(root, name).await.unwrap().unwrap();
        assert_eq!(row.object_key.as_ref().unwrap().as_str(), format!("p/{name}"));
    }
}

/// Goal: a directory rename reaches every object, whatever happens in between. Method: more files
/// than one step takes, a crash between steps.
#[tokio::test]
async fn a_renamed_directory_is_walked_in_steps_that_survive_crashes() {
    let mut f = Fixture::new().await;
    let root = f.share.root;
    let dir = f.mkdir(root, "d").await;
    let sub = f.mkdir(dir, "sub").await;
    for n in 0..1200 {
        f.file(if n % 2 == 0 { dir } else { sub }, &format!("f{n:04}")).await;
    }
    f.drain().await;
    f.rename((root, "d"), (root, "e")).await;
    assert_eq!(f.catalog.pending(None).await.unwrap().pending_moves, 1);
    f.file(dir, "new").await;
    for _ in 0..7 {
        assert!(!f.claim().await.is_empty());
        f = f.crash().await;
    }
    let told = f.catalog.renames().await.unwrap().remove(0);
    assert_eq!((told.from.as_str(), told.to.as_deref()), ("p/d/", Some("p/e/")));
    assert_eq!((told.objects, told.objects_left, told.all_found), (1201, 1201, true));
    let done = f.drain().await;
    assert!(f.catalog.renames().await.unwrap().is_empty());
    assert_eq!(done.iter().filter(|step| step.contains(" from p/d/")).count(), 1202);
    assert_eq!(done.iter().filter(|step| step.starts_with("delete p/d/")).count(), 1202);
    assert!(done.contains(&"put p/e/new".to_owned()));
    assert_eq!(f.catalog.pending(None).await.unwrap(), PendingCounts::default());
    f.verify().await;
}

#[tokio::test]
async fn a_directory_renamed_twice_ends_at_the_last_name() {
    let f = Fixture::new().await;
    let root = f.share.root;
    let dir = f.mkdir(root, "a").await;
    f.file(dir, "x").await;
    f.drain().await;
    f.rename((root, "a"), (root, "b")).await;
    f.rename((root, "b"), (root, "c")).await;
    f.rename((root, "c"), (root, "a")).await;
    f.rename((root, "a"), (root, "d")).await;
    let mut done = f.drain().await;
    done.sort();
    assert_eq!(done, ["delete p/a/", "delete p/a/x", "put p/d/ from p/a/", "put p/d/x from p/a/x"]);
    f.verify().await;
}

/// An overwrite of unknown outcome is settled where it may have landed, before a renamed file is copied
/// from there.
#[tokio::test]
async fn a_renamed_file_is_settled_first_where_its_object_may_be_ours() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.write(file, 10).await;
    f.drain().await;
    f.write(file, 20).await;
    let sent = syncs(&f.claim().await)[0].clone();
    let f = f.crash().await;
    f.catalog.recover_journal(at(9)).await.unwrap();
    f.rename((f.share.root, "f"), (f.share.root, "g")).await;
    let job = syncs(&f.claim().await)[0].clone();
    assert_eq!((job.key.as_str(), job.is_elsewhere), ("p/f", true));
    assert_eq!(job.sent_version, Some(sent.inode.version));
    let made = (sent.inode.version, 20);
    let finish = f.catalog.finish_earlier(job.op, made, &job.key, &tag("ours"), at(9)).await;
    assert_eq!(finish.unwrap(), Finish::Superseded);
    let job = syncs(&f.claim().await)[0].clone();
    assert_eq!((job.key.as_str(), job.is_elsewhere, job.sent_before), ("p/g", false, false));
    assert_eq!(job.moved_from.unwrap().1, tag("ours"));
    assert!(!job.inode.content_dirty, "its bytes are in S3");
    f.verify().await;
}

/// Parts of the upload that is noted tell what is in the object only if that upload has made it.
/// The same while another file waits for the name.
#[tokio::test]
async fn a_file_that_wants_the_key_leaves_it_to_the_owner_to_settle_it() {
    let f = Fixture::new().await;
    let root = f.share.root;
    let file = f.file(root, "f").await;
    f.drain().await;
    f.write(file, 10).await;
    let job = syncs(&f.claim().await)[0].clone();
    f.rename((root, "f"), (root, "g")).await;
    let next = f.file(root, "f").await;
    f.catalog.fail_job(job.op, "no answer", at(SOON)).await.unwrap();
    let done = f.drain().await;
    assert_eq!(done, ["settle p/f", "put p/g from p/f", "put p/f over"]);
    assert_eq!(f.catalog.inode(next).await.unwrap().object_key, ObjectKey::new("p/f"));
    f.verify().await;
}

#[tokio::test]
async fn parts_of_another_upload_than_the_one_that_landed_are_not_in_the_object() {
    for (landed, aborted, same) in [("up1", true, false), ("up2", false, true)] {
        let f = Fixture::new().await;
        let file = f.file(f.share.root, "big").await;
        f.write(file, 100).await;
        let first = syncs(&f.claim().await)[0].clone();
        f.catalog.record_multipart(first.op, &upload(&first, "up1")).await.unwrap();
        f.catalog.release_job(first.op, at(1)).await.unwrap();
        f.write(file, 100).await;
        let job = syncs(&f.claim().await)[0].clone();
        f.catalog.record_multipart(job.op, &upload(&job, "up2")).await.unwrap();
        f.catalog.begin_part(job.op, "up2", 1, 0..100).await.unwrap();
        f.catalog.record_part(job.op, "up2", 1, &tag("p1"), 0..100).await.unwrap();
        f.catalog.abandon_other_multipart(job.op, Some(landed.to_owned())).await.unwrap();
        let made = (first.inode.version, 100);
        f.catalog.finish_earlier(job.op, made, &job.key, &tag("o"), at(9)).await.unwrap();
        let jobs = f.claim().await;
        let unchanged = syncs(&jobs)[0].changed.as_ref().is_some_and(|c| !c.covers(&(0..100)));
        assert_eq!(unchanged, same, "{landed}: {:?}", syncs(&jobs)[0].changed);
        let is_it = |job: &Job| matches!(job, Job::Abort { upload_id, .. } if upload_id == "up2");
        assert_eq!(jobs.iter().any(is_it), aborted, "{landed}: {jobs:?}");
        f.verify().await;
    }
}

#[tokio::test]
async fn parts_belong_to_one_upload_of_one_key() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "big").await;
    f.write(file, 100).await;
    let job = syncs(&f.claim().await)[0].clone();
    let version = job.inode.version;
    f.catalog.record_multipart(job.op, &upload(&job, "up1")).await.unwrap();
    f.catalog.begin_part(job.op, "up1", 1, 0..50).await.unwrap();
    f.catalog.record_part(job.op, "up1", 1, &tag("p1"), 0..50).await.unwrap();
    f.catalog.begin_part(job.op, "up1", 2, 50..100).await.unwrap();
    for refused in [
        f.catalog.begin_part(job.op, "other", 2, 50..100).await,
        f.catalog.record_part(job.op, "other", 2, &tag("p2"), 50..100).await,
        f.catalog.record_part(job.op, "up1", 1, &tag("p2"), 0..50).await,
    ] {
        assert!(matches!(refused, Err(CatalogError::NoEntry)));
    }
    let f = f.crash().await;
    let jobs = f.claim().await;
    let resumed = syncs(&jobs)[0].multipart.clone().unwrap();
    assert_eq!((resumed.upload_id.as_str(), resumed.version), ("up1", version));
    assert_eq!(resumed.parts, [PartRecord { number: 1, etag: tag("p1"), range: 0..50 }]);
    f.catalog.release_job(job.op, at(1)).await.unwrap();
    f.rename((f.share.root, "big"), (f.share.root, "moved")).await;
    let mut done = f.drain().await;
    done.sort();
    assert_eq!(done, ["abort up1", "delete p/big", "put p/moved"]);
    f.verify().await;
}

/// Goal: a part counts only while the file has its bytes. Method: change bytes of parts before, while
/// and after they are sent, by every transition that changes bytes, and crash in a burst.
#[tokio::test]
async fn a_part_counts_only_while_the_file_has_its_bytes() {
    const MIB: u64 = 1 << 20;
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "big").await;
    f.write(file, 64 * MIB).await;
    let job = syncs(&f.claim().await)[0].clone();
    f.catalog.record_multipart(job.op, &upload(&job, "up1")).await.unwrap();
    let part = |number: u32| u64::from(number - 1) * 16 * MIB..u64::from(number) * 16 * MIB;
    for number in 1..=4 {
        f.catalog.begin_part(job.op, "up1", number, part(number)).await.unwrap();
    }
    for number in [1, 2, 4] {
        let etag = tag(&number.to_string());
        f.catalog.record_part(job.op, "up1", number, &etag, part(number)).await.unwrap();
    }
    let begun = f.catalog.begin_write(file, at(6)).await.unwrap();
    let commit = |version, range: std::ops::Range<u64>, closes| WriteCommit {
        noted: Some(version),
        size: 64 * MIB,
        mtime: at(20),
        clear_set_id: false,
        ranges: vec![range],
        sums: Vec::new(),
        disk: DiskId::PRIMARY,
        bytes: DurableBytes::Synced(None),
        closes,
        due: at(SOON),
    };
    let second_and_third = 20 * MIB..40 * MIB;
    f.catalog.commit_write(file, commit(begun.version, second_and_third, true)).await.unwrap();
    let late = f.catalog.record_part(job.op, "up1", 3, &tag("3"), part(3)).await;
    assert!(matches!(late, Err(CatalogError::NoEntry)), "its bytes changed while it was sent");
    let parts = async |f: &Fixture| -> Vec<u32> {
        let job = syncs(&f.claim().await)[0].clone();
        f.catalog.release_job(job.op, at(1)).await.unwrap();
        job.multipart.unwrap().parts.iter().map(|part| part.number).collect()
    };
    f.catalog.release_job(job.op, at(1)).await.unwrap();
    assert_eq!(parts(&f).await, [1, 4]);
    let shorter = AttrChange { size: Some(63 * MIB), ..AttrChange::default() };
    f.catalog.set_attr(file, shorter, stamp(30)).await.unwrap();
    assert_eq!(parts(&f).await, [1], "the fourth ends beyond the file");
    f.catalog.begin_write(file, at(6)).await.unwrap();
    let f = f.crash().await;
    f.catalog.recover_journal(at(SOON)).await.unwrap();
    assert!(parts(&f).await.is_empty(), "who knows what was written");
    f.verify().await;
}

#[tokio::test]
async fn a_file_that_is_written_is_claimed_early_and_by_nobody_else() {
    const MIB: u64 = 1 << 20;
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "big").await;
    f.write(file, 32 * MIB).await;
    let (hold, _) = f.catalog.hold(file).expect("it is dirty and nobody uploads it");
    assert!(!f.catalog.offer_early(file).await.unwrap(), "the catalog does not know of the burst");
    f.catalog.begin_write(file, at(6)).await.unwrap();
    drop(hold);
    assert!(f.claim().await.is_empty(), "it is being written");
    assert!(f.catalog.offer_early(file).await.unwrap());
    assert!(f.catalog.hold(file).is_none(), "parts may be under way: the next burst is noted");
    let mut jobs = f.claim().await;
    let Some(Job::Early(job)) = jobs.pop() else { panic!("no early job: {jobs:?}") };
    assert!(jobs.is_empty() && job.ranges.covers(&(0..32 * MIB)));
    f.catalog.offer_early(file).await.unwrap();
    assert!(f.claim().await.is_empty(), "one job at a time");
    f.catalog.release_job(job.op, at(1)).await.unwrap();
    f.catalog.remove(f.share.root, "big", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    f.catalog.offer_early(file).await.unwrap();
    assert_eq!(f.drain().await, Vec::<String>::new(), "nothing is left of it");
    f.verify().await;
}

#[tokio::test]
async fn a_removed_file_aborts_its_upload() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "big").await;
    f.write(file, 100).await;
    let job = syncs(&f.claim().await)[0].clone();
    f.catalog.record_multipart(job.op, &upload(&job, "up1")).await.unwrap();
    f.catalog.release_job(job.op, at(1)).await.unwrap();
    f.catalog.remove(f.share.root, "big", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    let mut done = f.drain().await;
    done.sort();
    assert_eq!(done, ["abort up1", "delete p/big"]);
    f.verify().await;
}

#[tokio::test]
async fn dirty_bytes_are_never_forgotten() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.write(file, 10).await;
    assert!(!f.catalog.drop_ranges(file).await.unwrap());
    assert!(f.catalog.clean_cached(DiskId::PRIMARY, Ino(0), 10).await.unwrap().is_empty());
    f.drain().await;
    assert_eq!(f.catalog.clean_cached(DiskId::PRIMARY, Ino(0), 10).await.unwrap(), [file]);
}
