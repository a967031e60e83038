//! `gateway flush`: it ends when what was acknowledged before it is in the bucket, and not before.
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use gateway_api::status::FileState;
use s3_store::{FaultAction, FaultRule, Hold};

use crate::{
    BUCKET,
    crash::asked,
    mount::Mount,
    process::{Gateway, Home, settings, store, until},
};

/// New files beside the one that is written over and over.
const NEW_FILES: u64 = 20;

/// Tells a client to stop, however the test ends.
struct Stops<'s>(&'s AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// semantics.md "Acknowledged means on the cache disk", `gateway flush`. Method: S3 refuses the file while the
/// flush is under way, which is known to have come because nothing else makes the upload due.
#[test]
fn a_flush_waits_for_a_store_that_refuses_and_ends_when_it_takes() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store).replace("= 50", "= 3600000"));
    asked(&gateway);
    Mount::new(gateway.port, "sales").write("kept", b"acknowledged");
    assert_eq!(gateway.file("kept").expect("it is known").state, FileState::Waiting);
    let refuse = FaultAction::FailBefore { status: 500, code: "InternalError".to_owned() };
    let refuse = FaultRule::new(refuse).operation("PutObject").key_prefix("onprem/kept");
    store.faults().add(refuse.times(u64::MAX));
    thread::scope(|scope| {
        let flush = scope.spawn(|| {
            gateway.flush();
            store.object(BUCKET, "onprem/kept").map(|object| object.body)
        });
        until("the refusal is noted", || {
            let state = gateway.file("kept").expect("it is known").state;
            matches!(state, FileState::Failing { .. }).then_some(())
        });
        assert!(!flush.is_finished(), "nothing is in the bucket");
        store.faults().clear();
        let then = flush.join().expect("the flush ends");
        assert_eq!(then.as_deref(), Some(&b"acknowledged"[..]), "when the flush had ended");
    });
}

/// A flush waits for what was there before it, and for nothing that is written meanwhile. Method: a client writes
/// one file over and over without a pause, and new ones beside it.
#[test]
fn a_flush_ends_while_clients_go_on_writing() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    asked(&gateway);
    let hold = Hold::new();
    let held = FaultRule::new(FaultAction::Hold(hold.clone())).operation("PutObject");
    store.faults().add(held.key_prefix("onprem/busy").times(u64::MAX));
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let new = |number: u64| format!("new{number}");
    thread::scope(|scope| {
        let _stops = Stops(&stop);
        scope.spawn(|| {
            let mut share = Mount::new(gateway.port, "sales");
            let busy = share.create("busy");
            for number in 1.. {
                share.write_at(&busy, 0, &u64::to_be_bytes(number));
                if number <= NEW_FILES {
                    share.write(&new(number), b"x");
                }
                written.store(number, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        let more = |than: u64| {
            until("the client goes on", || {
                Some(written.load(Ordering::SeqCst)).filter(|number| *number > than)
            })
        };
        let before = more(2);
        let flush = scope.spawn(|| gateway.flush());
        more(more(before));
        hold.open();
        flush.join().expect("it ends");
        let body = store.object(BUCKET, "onprem/busy").expect("it was there before").body;
        let kept = u64::from_be_bytes(body.try_into().expect("eight bytes"));
        assert!(kept >= before, "{kept} is in the bucket, {before} was acknowledged");
        for number in 1..=before.min(NEW_FILES) {
            let key = format!("onprem/{}", new(number));
            assert!(store.object(BUCKET, &key).is_some(), "{key} is missing");
        }
    });
}
