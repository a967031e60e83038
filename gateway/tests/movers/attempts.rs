//! Attempts of one upload after another: what each has left is known for what it is.
use bytes::Bytes;
use gateway::{
    catalog::{DurableBytes, Job, NewKind, SyncJob, WriteCommit},
    clock::Clock,
    ids::{DiskId, Ino},
    object::ObjectKey,
    store::{
        Expect, StoreOp,
        fault::{Fault, FaultRule as PortRule, Gate},
    },
};
use s3_store::{FaultAction, FaultRule};

use crate::world::{World, pattern};

const PART: usize = 16 << 20;
/// Three parts: 16, 16 and 8 MiB.
const SIZE: usize = 40 << 20;

fn refuse(operation: &str) -> FaultRule {
    let refused = FaultAction::FailBefore { status: 503, code: "SlowDown".to_owned() };
    FaultRule::new(refused).operation(operation).times(u64::MAX)
}

async fn until_it_fails(w: &World) {
    w.until("it failed", || async { w.catalog.pending(None).await.unwrap().failing > 0 }).await;
}

/// One burst of writes: commits of it, the last of which may close it.
struct Burst {
    ino: Ino,
    version: u64,
}

impl Burst {
    async fn begin(w: &World, ino: Ino) -> Self {
        Self { ino, version: w.catalog.begin_write(ino, w.stamp().due).await.unwrap().version }
    }

    async fn commit(&self, w: &World, at: usize, body: &[u8], closes: bool) {
        let range = at as u64..(at + body.len()) as u64;
        w.cache.write_at(self.ino, range.start, Bytes::copy_from_slice(body)).await.unwrap();
        w.cache.sync(self.ino).await.unwrap();
        let commit = WriteCommit {
            sums: Vec::new(),
            noted: Some(self.version),
            disk: DiskId::PRIMARY,
            bytes: DurableBytes::Synced(None),
            size: range.end,
            mtime: w.clock.as_ref().now(),
            clear_set_id: false,
            ranges: vec![range],
            closes,
            due: w.clock.as_ref().now(),
        };
        w.catalog.commit_write(self.ino, commit).await.unwrap();
    }
}

/// What is due, while the uploader does not run.
async fn due(w: &World) -> SyncJob {
    w.clock.advance_millis(60_000);
    let mut jobs = w.catalog.claim_jobs(w.clock.now(), 1).await.unwrap();
    let Some(Job::Sync(job)) = jobs.pop() else { panic!("no upload is due: {jobs:?}") };
    w.catalog.release_job(job.op, w.clock.now()).await.unwrap();
    *job
}

/// semantics.md, "One file is one object": what went ahead is not sent again, however little it was, and the
/// last attributes follow. One burst of writes from the beginning to the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_went_ahead_gets_the_time_of_its_last_write() {
    let mut w = World::new().await;
    let body = pattern(6 * PART, 1);
    let ino = w.file("f", b"").await;
    w.drain().await;
    let burst = Burst::begin(&w, ino).await;
    burst.commit(&w, 0, &body[..2 * PART], false).await;
    assert!(w.catalog.offer_early(ino).await.unwrap());
    w.until("two parts went ahead", || async { w.requests("UploadPart") == 2 }).await;
    w.until("and are noted", || async { w.catalog.jobs_out().await.unwrap() == 0 }).await;
    w.clock.advance_millis(5000);
    burst.commit(&w, 2 * PART, &body[2 * PART..], true).await;
    w.drain().await;
    let (object, inode) = (w.object("p/f"), w.entry("f").await.unwrap());
    assert!(object.body == body);
    assert_eq!(object.user_meta["file-mtime"], format!("{}ns", inode.mtime.as_nanos()));
    assert_eq!((w.requests("UploadPart"), w.requests("CreateMultipartUpload")), (6, 1));
    // The same after a crash in the burst, which leaves the version that it was begun at.
    let burst = Burst::begin(&w, ino).await;
    burst.commit(&w, 0, &body[..2 * PART], false).await;
    assert!(w.catalog.offer_early(ino).await.unwrap());
    w.until("two parts went ahead", || async { w.requests("UploadPart") == 8 }).await;
    w.until("and are noted", || async { w.catalog.jobs_out().await.unwrap() == 0 }).await;
    w.clock.advance_millis(5000);
    burst.commit(&w, 2 * PART, b"more", false).await;
    w = w.crash().await;
    w.start();
    w.drain().await;
    let (object, inode) = (w.object("p/f"), w.entry("f").await.unwrap());
    assert_eq!(object.user_meta["file-mtime"], format!("{}ns", inode.mtime.as_nanos()));
}

/// Goal: an object without bytes is known for ours by a later start, too, whose file was written since. Method: the
/// answer to its upload is lost, and so is the process.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_object_whose_upload_nobody_heard_of_is_ours() {
    let mut w = World::new().await;
    w.halt().await;
    let unheard = FaultAction::FailAfter { status: 500, code: "InternalError".to_owned() };
    w.s3.faults().add(FaultRule::new(unheard).operation("PutObject").times(u64::MAX));
    w.s3.faults().add(refuse("HeadObject"));
    let ino = w.create(w.share.root, "f", NewKind::File { verifier: None }).await;
    w.start();
    until_it_fails(&w).await;
    assert_eq!(w.object("p/f").body, b"");
    let mut w = w.crash().await;
    w.s3.faults().clear();
    w.write(ino, 0, b"since").await;
    w.start();
    w.drain().await;
    assert_eq!((w.keys(), w.object("p/f").body), (vec!["p/f".to_owned()], b"since".to_vec()));
    assert_eq!(w.conflicts(), 0);
}

/// A request that was given up may be done after later ones of which nothing was heard either.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_attempt_is_known_when_it_lands_after_the_second() {
    let mut w = World::new().await;
    let mut expected = pattern(1 << 20, 2);
    let ino = w.file("f", &expected).await;
    w.drain().await;
    w.halt().await;
    w.evict(ino).await;
    w.write(ino, 0, b"first").await;
    expected[..5].copy_from_slice(b"first");
    w.s3.faults().add(refuse("PutObject"));
    w.start();
    until_it_fails(&w).await;
    let mut w = w.restart().await;
    let first = w.entry("f").await.unwrap();
    let options = w.share.put_options(&first);
    let late = Bytes::from(expected.clone());
    w.write(ino, 1000, b"second").await;
    expected[1000..1006].copy_from_slice(b"second");
    let tried = w.requests("PutObject");
    w.start();
    w.until("the second was tried", || async { w.requests("PutObject") > tried }).await;
    let mut w = w.restart().await;
    w.s3.faults().clear();
    let key = ObjectKey::new("p/f").unwrap();
    w.store().put(&key, late, &options, &Expect::Anything).await.unwrap();
    w.start();
    w.drain().await;
    assert_eq!((w.keys(), w.conflicts()), (vec!["p/f".to_owned()], 0));
    assert!(w.object("p/f").body == expected);
}

/// Goal: a copy of an object that others have replaced since, done late, does not pass for a copy of theirs.
/// Method: the first copy is given up; others replace the object; the second attempt takes theirs over; the
/// first copy lands right before the second one is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_what_others_have_replaced_is_not_taken_for_a_copy_of_theirs() {
    let mut w = World::new().await;
    w.file("f", b"before").await;
    w.drain().await;
    w.halt().await;
    w.rename("f", "g").await;
    w.s3.faults().add(refuse("CopyObject"));
    w.start();
    until_it_fails(&w).await;
    let mut w = w.restart().await;
    w.s3.faults().clear();
    let options = w.share.put_options(w.entry("g").await.unwrap().as_ref());
    w.foreign("p/f", b"theirs");
    let gate = Gate::default();
    w.faults.add(PortRule::new(Fault::Hold(gate.clone())).on(StoreOp::CopyObject).nth(2));
    w.start();
    let copied = async {
        gate.arrived(1).await;
        true
    };
    let (arrived, ()) =
        tokio::join!(copied, w.until("theirs is known", || async { w.conflicts() == 1 }));
    assert!(arrived);
    let key = ObjectKey::new("p/g").unwrap();
    w.store().put(&key, Bytes::from_static(b"before"), &options, &Expect::Absent).await.unwrap();
    gate.open();
    w.drain().await;
    assert_eq!((w.keys(), w.object("p/g").body), (vec!["p/g".to_owned()], b"theirs".to_vec()));
    let ino = w.entry("g").await.unwrap().ino;
    assert_eq!(w.read(ino, 0..6).await, b"theirs");
}

/// What is between this gateway and S3 may send a request again: the second answer is of an upload that is
/// complete, and gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_attempt_knows_the_object_that_it_has_made_itself() {
    let mut w = World::new().await;
    let mut expected = pattern(SIZE, 3);
    let ino = w.file("f", &expected).await;
    w.drain().await;
    w.halt().await;
    w.evict(ino).await;
    w.write(ino, 20 << 20, b"ours").await;
    expected[20 << 20..][..4].copy_from_slice(b"ours");
    let gone = FaultAction::FailAfter { status: 404, code: "NoSuchUpload".to_owned() };
    w.s3.faults().add(FaultRule::new(gone).operation("CompleteMultipartUpload"));
    let sent = w.requests("UploadPart");
    w.start();
    w.drain().await;
    assert_eq!((w.keys(), w.conflicts()), (vec!["p/f".to_owned()], 0));
    assert!(w.object("p/f").body == expected);
    assert_eq!(w.requests("UploadPart") - sent, 1);
}

/// The object that the rest was to be copied from is replaced, and S3 has copied before what is not here.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_copied_before_the_object_was_replaced_is_not_missing() {
    let mut w = World::new().await;
    let mut expected = pattern(SIZE, 4);
    let ino = w.file("f", &expected).await;
    w.drain().await;
    w.halt().await;
    w.evict(ino).await;
    w.write(ino, 20 << 20, b"ours").await;
    expected[20 << 20..][..4].copy_from_slice(b"ours");
    w.s3.faults().add(refuse("UploadPartCopy").skip(1));
    w.start();
    until_it_fails(&w).await;
    let mut w = w.restart().await;
    let taken: Vec<u32> =
        due(&w).await.multipart.unwrap().parts.iter().map(|part| part.number).collect();
    assert!(taken == [1, 2] || taken == [2, 3], "{taken:?}");
    let part = |from: usize, to: usize| from as u64..to as u64;
    let other = if taken[0] == 1 { part(2 * PART, SIZE) } else { part(0, PART) };
    w.read(ino, other).await;
    w.foreign("p/f", b"theirs");
    w.s3.faults().clear();
    w.start();
    w.drain().await;
    assert!(w.object("p/f").body == expected);
    let keys = w.keys();
    assert!(keys.len() == 2 && !keys[1].ends_with(".incomplete"), "{keys:?}");
    assert_eq!((w.object(&keys[1]).body, w.conflicts()), (b"theirs".to_vec(), 1));
}
