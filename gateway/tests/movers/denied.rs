//! Single objects that S3 denies: a KMS key that this gateway may not use, an object under a lock. The others of the
//! share go on.
use gateway::vfs::{FsError, ShareFs};
use gateway_api::status::ShareState;
use s3_store::{FaultAction, FaultRule};

use crate::{listing::root_user, world::World};

fn deny(w: &World, operation: &str, key: &str) {
    let denied = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    let rule = FaultRule::new(denied).operation(operation).key_prefix(key);
    w.s3.faults().add(rule.times(u64::MAX));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_key_is_denied_is_eacces_and_the_others_are_served() {
    let w = World::new().await;
    for name in ["denied", "one", "two"] {
        w.foreign(&format!("p/{name}"), name.as_bytes());
    }
    w.refresher.now(w.share.root).await.unwrap();
    deny(&w, "GetObject", "p/denied");
    let (fs, who) = (w.mount(), root_user());
    let read = async |name: &str| {
        let ino = w.entry(name).await.unwrap().ino;
        fs.read(&who, ino, 0, 100).await.map(|read| read.data.to_vec())
    };
    for name in ["one", "two"] {
        assert_eq!(read("denied").await, Err(FsError::Access));
        assert_eq!(read(name).await.unwrap(), name.as_bytes());
        assert_eq!(w.share.health.state(), ShareState::Available, "it has answered since");
    }
    let told = w.events.list();
    assert!(told.iter().any(|event| event.message.contains("AccessDenied")), "{told:?}");
    w.s3.faults().clear();
    assert_eq!(read("denied").await.unwrap(), b"denied");
}

/// Goal: what may not be deleted stays to be done and is said, and holds up nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_may_not_be_deleted_stays_pending_and_holds_up_no_other() {
    let w = World::new().await;
    for name in ["locked", "free", "changed"] {
        w.file(name, name.as_bytes()).await;
    }
    w.drain().await;
    deny(&w, "DeleteObject", "p/locked");
    w.remove("locked").await;
    w.until("it is refused", || async { w.catalog.pending(None).await.unwrap().failing > 0 }).await;
    w.remove("free").await;
    w.file("new", b"new").await;
    let changed = w.entry("changed").await.unwrap().ino;
    w.write(changed, 0, b"CHANGED").await;
    w.until("all the others have arrived", || async {
        let pending = w.catalog.pending(None).await.unwrap();
        pending.dirty_files == 0 && pending.pending_deletes == 1
    })
    .await;
    assert_eq!(w.keys(), ["p/changed", "p/locked", "p/new"]);
    assert_eq!(
        (w.object("p/changed").body, w.object("p/locked").body),
        (b"CHANGED".to_vec(), b"locked".to_vec())
    );
    let pending = w.catalog.pending(None).await.unwrap();
    let words = pending.last_error.unwrap();
    assert!(words.contains("p/locked") && words.contains("AccessDenied"), "{words}");
    assert!(w.entry("locked").await.is_none(), "clients have removed it");
    w.s3.faults().clear();
    w.drain().await;
    assert_eq!((w.keys().len(), w.conflicts()), (2, 0));
}
