//! A clock that jumps (semantics.md, "When something is wrong"): what waits for S3 does not wait for it.
use bytes::Bytes;
use gateway::vfs::{CreateHow, SetAttr, ShareFs, Stability};
use gateway_api::status::ShareState;
use s3_store::{FaultAction, FaultRule};

use crate::{
    listing::root_user,
    quiet::{QUIET_MS, do_what_is_due},
    world::World,
};

const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3_600_000;

/// Goal: a file whose quiet time runs is uploaded after what was left of it, whichever way the clock jumps, and by
/// however much.
#[tokio::test(flavor = "multi_thread")]
async fn a_jump_of_the_clock_keeps_no_upload_waiting() {
    let w = World::new().await;
    let (fs, who) = (w.mount_with_quiet_time(QUIET_MS), root_user());
    for (round, jump) in
        [-TEN_YEARS_MS, 2 * TEN_YEARS_MS, -3_600_000, 3_600_000].into_iter().enumerate()
    {
        let name = format!("f{round}");
        let how = CreateHow::Guarded(SetAttr::default());
        let file = fs.create(&who, w.share.root, name.as_bytes(), how).await.unwrap().attr.ino;
        let body = Bytes::from_static(b"waits");
        fs.write(&who, file, 0, body, Stability::FileSync).await.unwrap();
        do_what_is_due(&w, &format!("seen{round}")).await;
        let key = format!("p/{name}");
        assert!(!w.keys().contains(&key), "it is quiet for a while first");
        w.clock.advance_millis(jump);
        // The uploader looks at the clock before the wait is over.
        do_what_is_due(&w, &format!("beside{round}")).await;
        w.clock.advance_millis(i64::try_from(QUIET_MS).unwrap());
        w.until_by_now("it is uploaded", || async { w.keys().contains(&key) }).await;
    }
    w.drain().await;
}

/// Goal: the same when the clock was set back while the gateway did not run, for what had failed before, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_waited_at_the_end_is_tried_soon_after_a_start_with_another_time() {
    let mut w = World::new().await;
    w.halt().await;
    let down = FaultAction::FailBefore { status: 503, code: "ServiceUnavailable".to_owned() };
    w.s3.faults().add(FaultRule::new(down).operation("PutObject").times(1));
    w.file("f", b"kept").await;
    w.start();
    w.until_by_now("it was refused", || async {
        w.catalog.pending(None).await.unwrap().failing == 1
    })
    .await;
    let mut w = {
        w.clock.advance_millis(-TEN_YEARS_MS);
        w.crash().await
    };
    w.clock.advance_millis(60_000);
    w.start();
    w.until_by_now("it is uploaded", || async { w.keys().contains(&"p/f".to_owned()) }).await;
}

/// Goal: a share that was refused before the clock was set back is asked again at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_does_not_outlast_the_clock() {
    let mut w = World::new().await;
    w.halt().await;
    let refused = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    w.s3.faults().add(FaultRule::new(refused).operation("PutObject").times(1));
    w.file("f", b"kept").await;
    w.start();
    w.until_by_now("it was refused", || async {
        matches!(w.share.health.state(), ShareState::Unavailable(_))
            && w.catalog.jobs_out().await.unwrap() == 0
    })
    .await;
    w.clock.advance_millis(-TEN_YEARS_MS);
    w.wake();
    w.file("g", b"new").await;
    w.until_by_now("the new file", || async { w.keys().contains(&"p/g".to_owned()) }).await;
    w.clock.advance_millis(60_000);
    w.until_by_now("the old file", || async { w.keys().contains(&"p/f".to_owned()) }).await;
}
