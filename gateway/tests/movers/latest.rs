//! How long a file that is written on and on may be kept from S3 (settings.md `upload_latest_ms`).
use bytes::Bytes;
use gateway::{
    ids::Ino,
    vfs::{CreateHow, SetAttr, ShareFs, Stability, Vfs},
};
use s3_store::{FaultAction, FaultRule, Hold};

use crate::{
    listing::root_user,
    quiet::{QUIET_MS, do_what_is_due},
    world::{World, pattern},
};

pub(crate) const LATEST_MS: u64 = 20_000;
/// Between two writes: less than the quiet time.
pub(crate) const PACE_MS: u64 = 4_000;

/// Goal: a file that is never left alone is in the bucket at its latest time, as it was written until then, and
/// counted from what S3 has: not before that time again. Method: a clock driven by hand, with another file that is
/// due at each step; writes that are committed, and writes that nobody ever commits.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_on_and_on_is_uploaded_at_its_latest_time() {
    for how in [Stability::FileSync, Stability::Unstable] {
        let w = World::versioned().await;
        w.catalog.set_upload_latest_ms(LATEST_MS);
        let write_back = w.write_back(QUIET_MS);
        w.commit_by(&write_back);
        let (fs, who) = (w.mount_by(write_back), root_user());
        let new = CreateHow::Guarded(SetAttr::default());
        let file = fs.create(&who, w.share.root, b"f", new).await.unwrap().attr.ino;
        let has = || w.keys().contains(&"p/f".to_owned());
        let mut times = Vec::new();
        let mut known = Vec::new();
        for step in 0..14_u64 {
            let bytes = Bytes::copy_from_slice(&step.to_be_bytes());
            fs.write(&who, file, 8 * step, bytes, how).await.unwrap();
            w.clock.advance_millis(i64::try_from(PACE_MS).unwrap());
            do_what_is_due(&w, &format!("beside{step}")).await;
            let body = if has() { w.object("p/f").body.to_vec() } else { Vec::new() };
            if body != known {
                let written: Vec<u8> = (0..=step).flat_map(u64::to_be_bytes).collect();
                assert_eq!(body, written, "{how:?}: what was written until then");
                times.push((step + 1) * PACE_MS);
                known = body;
            }
        }
        // The first change would have been uploaded after the quiet time.
        let [first, second] = times[..] else { panic!("{how:?}: {times:?}") };
        assert!((QUIET_MS + LATEST_MS..QUIET_MS + LATEST_MS + PACE_MS).contains(&first), "{first}");
        // The next: counted from there, or from the first change after it.
        let next = first + LATEST_MS..first + QUIET_MS + LATEST_MS + PACE_MS;
        assert!(next.contains(&second), "{how:?}: {times:?}");
        assert_eq!(w.object("p/f").versions, 2);
    }
}

/// Goal: where S3 refuses, a file that is written on and on is tried again after the pauses of any other, not at each
/// write, and goes when S3 takes it.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_at_its_latest_time_that_fails_keeps_its_pauses() {
    let w = World::new().await;
    w.catalog.set_upload_latest_ms(1_000);
    let write_back = w.write_back(QUIET_MS);
    w.commit_by(&write_back);
    let (fs, who) = (w.mount_by(write_back), root_user());
    let new = CreateHow::Guarded(SetAttr::default());
    let file = fs.create(&who, w.share.root, b"f", new).await.unwrap().attr.ino;
    let refuse = FaultAction::FailBefore { status: 500, code: "InternalError".to_owned() };
    let refuse = FaultRule::new(refuse).operation("PutObject").key_prefix("p/f");
    w.s3.faults().add(refuse.times(u64::MAX));
    let attempts =
        async || w.catalog.standing(file).await.unwrap().failures.map_or(0, |(times, _)| times);
    let mut tries = Vec::new();
    for step in 0..200_u64 {
        let bytes = Bytes::copy_from_slice(&step.to_be_bytes());
        fs.write(&who, file, 0, bytes, Stability::FileSync).await.unwrap();
        w.clock.advance_millis(500);
        do_what_is_due(&w, &format!("beside{step}")).await;
        tries.push(attempts().await);
    }
    let last = tries[199];
    // 100 s at pauses of 1, 2, 4, 8, 16 and then 30 seconds, less what they are spread by.
    assert!((5..=12).contains(&last), "{tries:?}");
    w.s3.faults().clear();
    w.drain().await;
    assert_eq!(w.object("p/f").body, 199_u64.to_be_bytes()[..]);
}

/// Appends to a file of others, without a pause; answers when it is in the bucket with what was appended.
pub(crate) struct Appender {
    pub(crate) w: World,
    fs: Vfs,
    pub(crate) file: Ino,
    pub(crate) body: Vec<u8>,
    steps: u8,
}

impl Appender {
    /// A file of `size` bytes that others have put there; S3 has to be asked for all of it.
    pub(crate) async fn to(size: usize) -> Self {
        let w = World::versioned().await;
        w.catalog.set_upload_latest_ms(LATEST_MS);
        let write_back = w.write_back(QUIET_MS);
        w.commit_by(&write_back);
        let body = pattern(size, 7);
        w.foreign("p/log", &body);
        w.refresher.now(w.share.root).await.unwrap();
        let file = w.entry("log").await.expect("it is listed").ino;
        let fs = w.mount_by(write_back);
        Self { w, fs, file, body, steps: 0 }
    }

    pub(crate) async fn overwrite(&mut self, at: u64, bytes: &[u8], how: Stability) {
        let data = Bytes::copy_from_slice(bytes);
        self.fs.write(&root_user(), self.file, at, data, how).await.unwrap();
        let at = usize::try_from(at).unwrap();
        self.body.resize(self.body.len().max(at + bytes.len()), 0);
        self.body[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Appends `bytes`, uncommitted.
    pub(crate) async fn stream(&mut self, bytes: usize) {
        let more = pattern(bytes, self.steps);
        self.overwrite(self.body.len() as u64, &more, Stability::Unstable).await;
    }

    /// Appends `bytes`, uncommitted, a moment later than the last time; then everything is done that is due.
    async fn append(&mut self, bytes: usize) {
        self.stream(bytes).await;
        self.w.clock.advance_millis(i64::try_from(PACE_MS).unwrap());
        do_what_is_due(&self.w, &format!("beside{}", self.steps)).await;
        self.steps += 1;
    }

    /// Appends until the object has more, which is all that was written.
    async fn until_published(&mut self, bytes: usize) {
        let before = self.w.object("p/log").body.len();
        while self.w.object("p/log").body.len() == before {
            assert!(self.steps < 60, "it is never uploaded");
            self.append(bytes).await;
        }
        assert!(self.w.object("p/log").body == self.body, "all that was written until then");
    }
}

/// Goal: so is a large file, of which only what is new is sent, each time. Method: a log of others of 40 MiB that is
/// appended to without a pause and is never committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_is_appended_to_on_and_on_is_uploaded_and_only_what_is_new_is_sent() {
    let mut log = Appender::to(40 << 20).await;
    for round in 0..3 {
        let sent = log.w.requests("UploadPart");
        log.until_published(100_000).await;
        assert_eq!(log.w.requests("UploadPart") - sent, 1, "round {round}: the last part");
        assert_eq!(log.w.object("p/log").versions, 2 + round, "one version each time");
    }
    log.w.drain().await;
    assert!(log.w.object("p/log").body == log.body);
    assert_eq!(log.w.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// Goal: so is a file that grows by more than a turn takes: what is there of it goes ahead.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_grows_fast_goes_ahead_of_its_turn() {
    let mut log = Appender::to(20 << 20).await;
    log.until_published(14 << 20).await;
    log.until_published(1000).await;
    log.w.drain().await;
    assert!(log.w.object("p/log").body == log.body);
    assert_eq!(log.w.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// What becomes of the end of an upload.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// It waits in S3 while the file is written, and is done then.
    Late,
    /// It is done, and the answer is lost.
    Unheard,
    /// The process is gone before S3 does it.
    Crash,
}

/// Goal: what is written while a large file is being sent is in the next version, whatever becomes of the end of the
/// upload. Method: the file is written in its middle and at its end meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_a_large_file_is_sent_is_in_the_next_version() {
    for end in [End::Late, End::Unheard, End::Crash] {
        let mut log = Appender::to(40 << 20).await;
        log.until_published(100_000).await;
        let hold = Hold::new();
        let action = match end {
            End::Late | End::Crash => FaultAction::Hold(hold.clone()),
            End::Unheard => FaultAction::DropAfter,
        };
        let rule = FaultRule::new(action).operation("CompleteMultipartUpload").times(1);
        log.w.s3.faults().add(rule);
        let size = log.body.len() as u64;
        log.overwrite(size, b"appended", Stability::Unstable).await;
        log.w.clock.advance_millis(i64::try_from(QUIET_MS + LATEST_MS).unwrap() + 1);
        log.w.wake();
        let sent = log.body.clone();
        let is_there = |w: &World| w.object("p/log").body == sent;
        if end == End::Unheard {
            log.w.until_by_now("it is there", || async { is_there(&log.w) }).await;
        } else {
            hold.come(1).await;
        }
        log.overwrite(20 << 20, b"in its middle", Stability::FileSync).await;
        log.overwrite(size + 8, b"and again", Stability::FileSync).await;
        let Appender { mut w, fs, body, .. } = log;
        drop(fs);
        if end == End::Crash {
            w = w.crash().await;
            w.start();
        }
        hold.open();
        if end == End::Late {
            // The clock stands: what was written since has time.
            w.until_by_now("the turn's version is there", || async { is_there(&w) }).await;
        }
        w.drain().await;
        assert!(w.object("p/log").body == body, "{end:?}");
        assert_eq!(w.conflicts(), 0, "{end:?}");
        assert_eq!(w.catalog.verify().await.unwrap(), Vec::<String>::new());
    }
}

/// Goal: a large file that is committed faster than it is sent has its turn as well: no burst is open when its upload
/// is due, and what was sent of it is always of an earlier version by then. Method: a client writes again each time that
/// a part is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_is_committed_faster_than_it_is_sent_has_its_turn() {
    let mut log = Appender::to(40 << 20).await;
    let size = log.body.len() as u64;
    log.overwrite(size, b"before", Stability::FileSync).await;
    let holds = [Hold::new(), Hold::new()];
    for hold in holds.clone() {
        let rule = FaultRule::new(FaultAction::Hold(hold)).operation("UploadPart");
        log.w.s3.faults().add(rule.times(1));
    }
    log.w.clock.advance_millis(i64::try_from(QUIET_MS + LATEST_MS).unwrap() + 1);
    log.w.wake();
    holds[0].come(1).await;
    log.overwrite(size + 6, b"while it is sent", Stability::FileSync).await;
    holds[0].open();
    holds[1].come(1).await;
    let sent = log.body.clone();
    log.overwrite(size, b"and again", Stability::FileSync).await;
    holds[1].open();
    log.w
        .until_by_now("its turn's version is there", || async {
            log.w.object("p/log").body == sent
        })
        .await;
    log.w.drain().await;
    assert!(log.w.object("p/log").body == log.body);
    assert_eq!(log.w.catalog.verify().await.unwrap(), Vec::<String>::new());
}
