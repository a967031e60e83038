//! How much a store that is in trouble is asked meanwhile.
use gateway::clock::Clock;
use gateway_api::status::ShareState;
use s3_store::{FaultAction, FaultRule};

use crate::world::World;

const FILES: u64 = 50;
const STEP_SECONDS: i64 = 10;
/// So long the store refuses: twenty minutes.
const STEPS: u64 = 120;
/// Most attempts for one file: the seven whose pauses still double, then one in three quarters of 30 s.
const ATTEMPTS_MAX: u64 = 7 + 1200 * 4 / (3 * 30) + 1;
/// Whoever only looks asks again at once, three times.
const LOOKS: u64 = 4;

/// All that S3 was asked so far.
fn all_requests(w: &World) -> u64 {
    w.s3.request_counts().values().sum()
}

/// Goal: while S3 refuses everything each file is asked for less and less often, and all arrive in the end (F11).
/// Method: the clock goes on in steps, and in each the uploader does all that is due by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_outage_makes_no_storm_of_requests() {
    for (status, code) in [(503, "SlowDown"), (500, "InternalError")] {
        let mut w = World::new().await;
        w.halt().await;
        let down = FaultAction::FailBefore { status, code: code.to_owned() };
        w.s3.faults().add(FaultRule::new(down).times(u64::MAX));
        for number in 0..FILES {
            w.file(&format!("f{number}"), b"kept").await;
        }
        w.start();
        for _ in 0..STEPS {
            w.until_by_now("all that is due has been tried", || async {
                let now = w.clock.now();
                let waits = w.catalog.next_due().await.unwrap().is_some_and(|due| due > now);
                waits && w.catalog.jobs_out().await.unwrap() == 0
            })
            .await;
            w.clock.advance_millis(STEP_SECONDS * 1000);
        }
        let asked = all_requests(&w);
        let sent = w.requests("PutObject");
        println!("{code}: {asked} requests, {sent} of them with a body");
        assert!(sent <= FILES * ATTEMPTS_MAX, "{code}: {sent} bodies for {FILES} files");
        assert!(asked <= FILES * ATTEMPTS_MAX * LOOKS, "{code}: {asked} requests");
        assert!(asked >= FILES * 10, "{code}: {asked} requests: it was hardly tried again");
        assert_eq!(w.catalog.pending(None).await.unwrap().dirty_files, FILES);
        assert!(matches!(w.share.health.state(), ShareState::Unavailable(_)), "{code}");
        w.s3.faults().clear();
        w.drain().await;
        assert_eq!(w.keys().len() as u64, FILES, "{code}");
        assert!(all_requests(&w) <= asked + 2 * FILES, "{code}");
    }
}
