//! Turns of files that are written on and on: what goes ahead of them, what they read, and what keeps them waiting
//! (semantics.md, "One file is one object").
use bytes::Bytes;
use gateway::{
    clock::Clock,
    store::{
        StoreOp,
        fault::{Fault, FaultRule as PortRule, Gate},
    },
    vfs::{CreateHow, SetAttr, ShareFs, Stability},
};
use s3_store::{FaultAction, FaultRule, Hold};

use crate::{
    latest::{Appender, LATEST_MS, PACE_MS},
    listing::root_user,
    quiet::{QUIET_MS, do_what_is_due},
    world::{World, pattern},
};

const PART: u64 = 16 << 20;

fn millis(of: u64) -> i64 {
    i64::try_from(of).unwrap()
}

/// Changes a byte in each of these parts of the file.
async fn touch(file: &mut Appender, parts: u64, how: Stability) {
    for part in 0..parts {
        let byte = file.body[usize::try_from(part * PART).unwrap() + 5].wrapping_add(1);
        file.overwrite(part * PART + 5, &[byte], how).await;
    }
}

/// Lets the latest time of what was written come, and the uploader see that.
fn let_it_be_late(file: &Appender) {
    file.w.clock.advance_millis(millis(QUIET_MS + LATEST_MS) + 1);
    file.w.wake();
}

async fn until_it_is_there(file: &Appender) {
    file.w
        .until_by_now("its turn's version is there", || async {
            file.w.object("p/log").body == file.body
        })
        .await;
}

/// Drains, and compares everything.
async fn ends_well(file: &Appender) {
    file.w.drain().await;
    assert!(file.w.object("p/log").body == file.body);
    assert_eq!(file.w.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// Goal: a large file of which more parts are changed than a turn takes, a byte each, is uploaded at its latest time; each
/// part is sent once. Method: a database of others, of which hardly anything is here.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_is_written_all_over_is_uploaded_at_its_latest_time() {
    let mut file = Appender::to(100 << 20).await;
    for step in 0.. {
        assert!(step < 20, "it is never uploaded");
        touch(&mut file, 6, Stability::Unstable).await;
        file.w.clock.advance_millis(millis(PACE_MS));
        do_what_is_due(&file.w, &format!("beside{step}")).await;
        if file.w.object("p/log").versions > 1 {
            break;
        }
    }
    assert!(file.w.object("p/log").body == file.body, "all that was written until then");
    assert_eq!(file.w.requests("UploadPart"), 6);
    ends_well(&file).await;
}

/// Goal: a burst that the catalog has and nobody else, as its beginning was answered with an error, keeps no file from S3
/// for longer than its latest time.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_that_nobody_has_ends_with_the_file_s_turn() {
    let mut file = Appender::to(1 << 20).await;
    file.overwrite(5, b"new", Stability::FileSync).await;
    file.w.catalog.begin_write(file.file, file.w.clock.now()).await.unwrap();
    let_it_be_late(&file);
    until_it_is_there(&file).await;
    ends_well(&file).await;
}

/// Goal: parts that went ahead of a turn and were written again go ahead again. Method: all of them are, while the last is
/// on its way.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_again_after_it_went_ahead_goes_again() {
    let mut file = Appender::to(100 << 20).await;
    touch(&mut file, 6, Stability::Unstable).await;
    let gate = Gate::default();
    let rule = PortRule::new(Fault::Hold(gate.clone())).on(StoreOp::UploadPart);
    file.w.faults.add(rule.nth(6));
    let_it_be_late(&file);
    gate.arrived(1).await;
    touch(&mut file, 6, Stability::FileSync).await;
    gate.open();
    until_it_is_there(&file).await;
    assert_eq!(file.w.requests("UploadPart"), 12);
    ends_well(&file).await;
}

/// Goal: parts of a large file that are written faster than they are sent, a few, are read in its turn. Method: they are
/// written whenever they are on their way.
#[tokio::test(flavor = "multi_thread")]
async fn what_never_goes_ahead_is_read_in_the_turn_if_it_is_not_much() {
    let mut file = Appender::to(100 << 20).await;
    touch(&mut file, 3, Stability::Unstable).await;
    let gates = [Gate::default(), Gate::default(), Gate::default()];
    for gate in gates.clone() {
        let rule = PortRule::new(Fault::Hold(gate)).on(StoreOp::UploadPart);
        file.w.faults.add(rule.times(3));
    }
    let_it_be_late(&file);
    for gate in gates {
        gate.arrived(3).await;
        touch(&mut file, 3, Stability::FileSync).await;
        gate.open();
    }
    until_it_is_there(&file).await;
    assert_eq!(file.w.requests("UploadPart"), 12, "three times in vain, and once");
    ends_well(&file).await;
}

/// Goal: a turn has memory for all that it reads. Method: a new file that nobody has committed, of two parts, whose turn is
/// its first upload; the parts are held on their way.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_has_reserved_what_it_reads() {
    let w = World::new().await;
    w.catalog.set_upload_latest_ms(LATEST_MS);
    let write_back = w.write_back(QUIET_MS);
    w.commit_by(&write_back);
    let (fs, who) = (w.mount_by(write_back), root_user());
    let new = CreateHow::Guarded(SetAttr::default());
    let file = fs.create(&who, w.share.root, b"f", new).await.unwrap().attr.ino;
    let body = pattern(20 << 20, 3);
    fs.write(&who, file, 0, Bytes::from(body.clone()), Stability::Unstable).await.unwrap();
    let gate = Gate::default();
    let rule = PortRule::new(Fault::Hold(gate.clone())).on(StoreOp::UploadPart);
    w.faults.add(rule.times(2));
    w.clock.advance_millis(millis(QUIET_MS + LATEST_MS) + 1);
    w.wake();
    gate.arrived(2).await;
    // A quarter of all must be left over.
    let rest = w.budget.bytes() - w.budget.bytes() / 4 - (body.len() as u64);
    assert!(w.budget.try_reserve(rest + 1).is_none(), "less is reserved than what is sent");
    gate.open();
    w.drain().await;
    assert!(w.object("p/f").body == body);
}

/// Goal: while something else comes first, nothing is fetched for a turn. Method: the key of a file of which S3 has most
/// bytes is another one's, whose copy S3 refuses.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_cannot_begin_fetches_nothing() {
    let mut file = Appender::to(10 << 20).await;
    file.w.file("x", b"in the way").await;
    file.w.drain().await;
    let refuse = FaultAction::FailBefore { status: 500, code: "InternalError".to_owned() };
    let refuse = FaultRule::new(refuse).operation("CopyObject").key_prefix("p/y");
    file.w.s3.faults().add(refuse.times(u64::MAX));
    file.w.rename("x", "y").await;
    file.w.rename("log", "x").await;
    file.overwrite(5 << 20, b"on", Stability::Unstable).await;
    let before = file.w.requests("GetObject");
    for step in 0..12 {
        file.overwrite(5 << 20, &[step; 2], Stability::Unstable).await;
        file.w.clock.advance_millis(millis(PACE_MS));
        do_what_is_due(&file.w, &format!("beside{step}")).await;
    }
    assert_eq!(file.w.requests("GetObject"), before);
    file.w.s3.faults().clear();
    file.w.drain().await;
    assert!(file.w.object("p/x").body == file.body);
    assert_eq!(file.w.object("p/y").body, b"in the way"[..]);
}

/// Goal: a flush ends although each upload of a file goes ahead in part, and has attributes that follow later. Method: more
/// is appended whenever an upload is about to be completed.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_ends_though_each_upload_is_overtaken_by_more_than_a_turn_takes() {
    let mut file = Appender::to(20 << 20).await;
    let holds = [Hold::new(), Hold::new()];
    for hold in holds.clone() {
        let rule = FaultRule::new(FaultAction::Hold(hold)).operation("CompleteMultipartUpload");
        file.w.s3.faults().add(rule.times(1));
    }
    file.stream(40 << 20).await;
    let flush = file.w.catalog.hasten(file.w.clock.now()).await.unwrap();
    file.w.wake();
    holds[0].come(1).await;
    file.stream(40 << 20).await;
    let left = async || {
        let served = [file.w.share.id];
        file.w.catalog.left_of(&flush, &served).await.unwrap().operations
    };
    assert_eq!(left().await, 1);
    holds[0].open();
    file.w.until_by_now("the flush has ended", || async { left().await == 0 }).await;
    holds[1].open();
    drop(flush);
    ends_well(&file).await;
}
