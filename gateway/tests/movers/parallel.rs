//! Several requests at once: as many as there should be, of one version of the object, and within the memory
//! that there is for them.
use gateway::{
    budget::MemoryBudget,
    store::{
        StoreOp,
        fault::{Fault, FaultRule as PortRule, Gate},
    },
};
use s3_store::{FaultAction, FaultRule, Hold};

use crate::world::{BUCKET, World, pattern};

/// Three parts: 16, 16 and 8 MiB.
const SIZE: usize = 40 << 20;

/// Holds requests of one operation in the server, however many come.
fn hold(w: &World, operation: &str) -> Hold {
    let hold = Hold::new();
    let held = FaultAction::Hold(hold.clone());
    w.s3.faults().add(FaultRule::new(held).operation(operation).times(u64::MAX));
    hold
}

/// Method: no part is answered before all of them have come.
#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_a_file_go_side_by_side() {
    let w = World::new().await;
    let parts = hold(&w, "UploadPart");
    w.file("f", &pattern(SIZE, 1)).await;
    w.until("all its parts are under way", || async { w.requests("UploadPart") == 3 }).await;
    parts.come(3).await;
    parts.open();
    w.drain().await;
    assert!(w.object("p/f").body == pattern(SIZE, 1));
}

/// Goal: what is brought ahead comes in several requests at once, all of them for the version of the object
/// that the file shows. Method: the object is replaced while they are held; without the condition,
/// their answers would stand beside the bytes that were there before.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_brought_ahead_comes_side_by_side_and_of_one_version() {
    const MIB: u64 = 1 << 20;
    let (w, size) = (World::new().await, 8 * MIB);
    let length = usize::try_from(size).unwrap();
    w.foreign("p/f", &pattern(length, 2));
    w.refresher.on_access(w.share.root).await.unwrap();
    let ino = w.entry("f").await.unwrap().ino;
    // Somewhere in the middle: nothing is read ahead of that.
    let known = 3 * MIB..3 * MIB + 1000;
    assert!(w.read(ino, known).await == pattern(length, 2)[3 << 20..][..1000]);
    assert_eq!(w.requests("GetObject"), 1);
    let gets = hold(&w, "GetObject");
    w.fetcher.ahead(ino, 0..size).await;
    w.until("eight GETs are under way", || async { w.requests("GetObject") == 1 + 8 }).await;
    gets.come(8).await;
    w.foreign("p/f", &pattern(length, 3));
    gets.open();
    assert!(w.read(ino, 0..size).await == pattern(length, 3), "of one version");
}

/// Goal: bodies take no more memory than there is for them, however many uploads want some. Method: every
/// part is held on its way; when there is room for three, the budget is taken by those.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_on_their_way_take_no_more_memory_than_they_may() {
    const BUDGET: u64 = 48 << 20;
    // Three parts each, all of one size: whichever three come first, there is no room for a fourth.
    let body = |number| pattern(48 << 20, number);
    let mut w = World::new().await;
    w.halt().await;
    let budget = MemoryBudget::new(BUDGET);
    w.upload_within(budget.clone());
    let gate = Gate::default();
    let held = PortRule::new(Fault::Hold(gate.clone())).on(StoreOp::UploadPart);
    w.faults.add(held.times(u64::MAX));
    for number in 0..2 {
        w.file(&format!("f{number}"), &body(number)).await;
    }
    w.start();
    w.until("all uploads have begun", || async { w.s3.uploads_in_progress(BUCKET) == 2 }).await;
    gate.arrived(3).await;
    assert!(
        budget.try_reserve(1).is_none(),
        "three bodies are held, and their memory is not taken"
    );
    gate.open();
    w.drain().await;
    assert_eq!(w.faults.sending_max(), BUDGET);
    for number in 0..2 {
        assert!(w.object(&format!("p/f{number}")).body == body(number));
    }
}

/// Goal: a part that does not move holds up its own file only (F12). Method: all parts of a large file are held,
/// and uploads have the least number of places that they ever come down to.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_stands_still_holds_up_no_other_file() {
    const SMALL: usize = 20;
    for places in [2, 4] {
        let mut w = World::new().await;
        w.halt().await;
        w.upload_at_once(places);
        let parts = hold(&w, "UploadPart");
        w.file("large", &pattern(SIZE, 4)).await;
        w.start();
        parts.come(1).await;
        for number in 0..SMALL {
            w.file(&format!("small{number}"), b"passes by").await;
        }
        w.until("all the small ones are there", || async { w.keys().len() == SMALL }).await;
        assert_eq!(w.s3.uploads_in_progress(BUCKET), 1);
        assert!(!w.keys().contains(&"p/large".to_owned()), "nothing stood still");
        parts.open();
        w.drain().await;
        assert!(w.object("p/large").body == pattern(SIZE, 4));
    }
}
