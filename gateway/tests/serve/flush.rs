//! `gateway flush`: it ends when what was acknowledged before it is in the bucket, and not before.
use std::thread;

use gateway_api::status::FileState;
use s3_store::{FaultAction, FaultRule};

use crate::{
    BUCKET,
    crash::asked,
    mount::Mount,
    process::{Gateway, Home, settings, store, until},
};

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
