//! Reads of what is only in S3: the right bytes, of one version, once.
use gateway::{
    fetch::FetchError,
    store::{
        StoreOp,
        fault::{Fault, FaultRule as PortRule, Gate},
    },
    vfs::{FsError, ShareFs},
};
use gateway_api::status::{HealthEvent, HealthEventKind};
use s3_store::{FaultAction, FaultRule};

use crate::{
    listing::root_user,
    world::{BUCKET, World, pattern},
};

/// Three blocks and a bit.
fn bytes(seed: u8) -> Vec<u8> {
    pattern((3 << 20) + 100, seed)
}

async fn world_with(body: &[u8]) -> (World, gateway::ids::Ino) {
    let w = World::new().await;
    w.foreign("p/f", body);
    w.refresher.on_access(w.share.root).await.unwrap();
    let ino = w.entry("f").await.unwrap().ino;
    (w, ino)
}

#[tokio::test(flavor = "multi_thread")]
async fn any_range_is_the_object_s_and_the_second_read_is_free() {
    let body = bytes(0);
    let (w, ino) = world_with(&body).await;
    let size = body.len() as u64;
    for range in [5..17, (1 << 20) - 3..(1 << 20) + 3, size - 1..size, 0..size] {
        let slice =
            &body[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        assert!(w.read(ino, range.clone()).await == slice, "{range:?}");
    }
    let before = w.requests("GetObject");
    assert!(
        before <= 7,
        "{before} requests for a byte here and there and three GETs' worth of rest"
    );
    w.read(ino, 0..size).await;
    assert_eq!(w.requests("GetObject"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_one_block_share_its_fetch() {
    let (w, ino) = world_with(&[7; 1000]).await;
    let slow = FaultAction::Delay(std::time::Duration::from_millis(200));
    w.s3.faults().add(FaultRule::new(slow).operation("GetObject"));
    let reads: Vec<_> = (0..8).map(|i| w.fetcher.fetch(ino, i * 10..i * 10 + 10)).collect();
    let mut waiting = tokio::task::JoinSet::new();
    let fetcher = w.fetcher.clone();
    for i in 0..8 {
        let fetcher = fetcher.clone();
        waiting.spawn(async move { fetcher.fetch(ino, i * 10..i * 10 + 10).await });
    }
    for read in reads {
        read.await.unwrap();
    }
    waiting.join_all().await.into_iter().for_each(|read| read.unwrap());
    assert_eq!(w.requests("GetObject"), 1);
}

/// semantics.md "When something is wrong": a few times, and not for ever. Nothing of it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_sends_less_than_it_announces_is_given_up() {
    let (w, ino) = world_with(&[7; 1000]).await;
    let (fs, who) = (w.mount(), root_user());
    let short = FaultAction::ShortBody { bytes: 600 };
    w.s3.faults().add(FaultRule::new(short).operation("GetObject").times(4));
    assert_eq!(fs.read(&who, ino, 0, 1000).await.unwrap_err(), FsError::Io);
    assert_eq!(w.requests("GetObject"), 4);
    let told = |event: &HealthEvent| event.kind == HealthEventKind::TransferDamaged;
    assert_eq!(w.events.list().iter().filter(|event| told(event)).count(), 1);
    assert!(w.catalog.ranges(ino).await.unwrap().is_empty());
    assert_eq!(fs.read(&who, ino, 0, 1000).await.unwrap().data, [7; 1000].as_slice());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_changed_is_read_as_it_is_now_never_mixed() {
    let (w, ino) = world_with(&bytes(1)).await;
    w.read(ino, 0..100).await;
    let changed = bytes(2);
    w.foreign("p/f", &changed);
    w.fetcher.fetch(ino, 2 << 20..(2 << 20) + 10).await.unwrap();
    let size = changed.len() as u64;
    assert!(w.read(ino, 0..size).await == changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_gone_takes_its_file_along() {
    let (w, ino) = world_with(b"here").await;
    w.s3.delete(BUCKET, "p/f");
    let error = w.fetcher.fetch(ino, 0..4).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Store { .. } | FetchError::Changed | FetchError::Gone),
        "{error:?}"
    );
    assert!(w.entry("f").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn short_and_broken_answers_are_asked_for_again() {
    let body = bytes(3);
    for fault in [
        FaultAction::ShortBody { bytes: 10 },
        FaultAction::DropBefore,
        FaultAction::FailBefore { status: 503, code: "SlowDown".to_owned() },
    ] {
        let (w, ino) = world_with(&body).await;
        w.s3.faults().add(FaultRule::new(fault.clone()).operation("GetObject"));
        assert!(w.read(ino, 0..1000).await == body[..1000], "{fault:?}");
        assert_eq!(w.s3.faults().pending(), 0, "{fault:?} has happened");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fetched_bytes_never_replace_written_ones() {
    let body = bytes(4);
    let (w, ino) = world_with(&body).await;
    w.write(ino, 100, b"written").await;
    let read = w.read(ino, 0..1000).await;
    assert_eq!(&read[100..107], b"written");
    assert!(read[..100] == body[..100] && read[107..] == body[107..1000]);
    w.drain().await;
    let mut expected = body;
    expected[100..107].copy_from_slice(b"written");
    assert!(w.object("p/f").body == expected, "the upload has the rest of the object");
}

/// The bytes of the GETs so far: what the store was asked for.
fn fetched(w: &World, ino: gateway::ids::Ino) -> impl Future<Output = u64> {
    let catalog = w.catalog.clone();
    async move { catalog.ranges(ino).await.unwrap().bytes() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_random_read_of_a_large_object_brings_little_besides() {
    let body = pattern(20 << 20, 5);
    let (w, ino) = world_with(&body).await;
    for i in [17_u64, 3, 11, 7, 19] {
        let at = (i << 20) + 777;
        let slice = &body[usize::try_from(at).unwrap()..usize::try_from(at + 4096).unwrap()];
        assert!(w.read(ino, at..at + 4096).await == slice);
    }
    assert_eq!((fetched(&w, ino).await, w.requests("GetObject")), (5 * (128 << 10), 5));
}

/// Goal: who reads on finds everything there, in few requests, and the window stops at the end. Method: a
/// reader that reads on only when what it was promised is here.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_reads_on_waits_only_for_its_first_bytes() {
    let size = 24_u64 << 20;
    let body = pattern(usize::try_from(size).unwrap(), 6);
    let (w, ino) = world_with(&body).await;
    let mut misses = 0;
    for at in (0..size).step_by(256 << 10) {
        let range = at..at + (256 << 10);
        if !w.catalog.ranges(ino).await.unwrap().covers(&range) {
            misses += 1;
            w.fetcher.fetch(ino, range.clone()).await.unwrap();
        }
        let ahead = w.fetcher.read_on(ino, &range);
        if let Some(ahead) = ahead {
            w.fetcher.ahead(ino, ahead).await;
        }
        // A reader that is slower than the network.
        let next = range.end..(range.end + (256 << 10)).min(size);
        w.until("the next bytes are here", || async {
            w.catalog.ranges(ino).await.unwrap().covers(&next)
        })
        .await;
    }
    assert_eq!(misses, 1);
    assert_eq!(fetched(&w, ino).await, size);
    assert!((24..=26).contains(&w.requests("GetObject")), "{}", w.requests("GetObject"));
    assert!(w.cache.read_at(ino, 0..size).await.unwrap() == body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asked_for_takes_no_memory_from_who_must_have_it() {
    let body = pattern(8 << 20, 7);
    let (w, ino) = world_with(&body).await;
    // All but a little: the budget of the world has 128 MiB.
    let held = w.budget.reserve(127 << 20).await;
    w.fetcher.ahead(ino, 0..8 << 20).await;
    w.read(ino, 0..100).await;
    assert_eq!(w.requests("GetObject"), 1, "who asks is served");
    assert!(fetched(&w, ino).await <= 1 << 20);
    drop(held);
    w.fetcher.ahead(ino, 1 << 20..8 << 20).await;
    w.until("the rest has come", || async { fetched(&w, ino).await == 8 << 20 }).await;
}

/// Goal: what S3 says of the key that a file had before its rename is not said of the file, which has a copy with the
/// same tag: neither that it is gone, nor that it is what another file has put there. Method: a GET, or a HEAD, of the
/// old key waits until the rename is done in the bucket, and in turns until a new file has its key.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_heard_of_the_key_before_a_rename_is_not_of_the_renamed_file() {
    let body = pattern(1000, 3);
    for (op, is_taken) in [
        (StoreOp::GetObject, false),
        (StoreOp::GetObject, true),
        (StoreOp::HeadObject, false),
        (StoreOp::HeadObject, true),
    ] {
        let (w, ino) = world_with(&body).await;
        let gate = Gate::default();
        w.faults.add(PortRule::new(Fault::Hold(gate.clone())).on(op).below("p/f"));
        let asked = tokio::spawn({
            let (fetcher, refresher) = (w.fetcher.clone(), w.refresher.clone());
            async move {
                match op {
                    StoreOp::GetObject => fetcher.fetch(ino, 0..100).await.map_err(drop),
                    _ => refresher.load_attr(ino).await.map_err(drop),
                }
            }
        });
        gate.arrived(1).await;
        w.rename("f", "g").await;
        if is_taken {
            w.file("f", b"new").await;
        }
        w.drain().await;
        let before = w.entry("g").await.unwrap();
        gate.open();
        assert_eq!(asked.await.unwrap(), Ok(()), "{op:?}, {is_taken}");
        let after = w.entry("g").await.expect("it is there");
        assert_eq!((after.ino, after.size), (ino, 1000), "{op:?}, {is_taken}");
        assert_eq!((&after.etag, &after.object_key), (&before.etag, &before.object_key));
        assert!(w.read(ino, 0..1000).await == body, "{op:?}, {is_taken}");
        w.remove("g").await;
        w.drain().await;
        assert!(!w.keys().contains(&"p/g".to_owned()), "{op:?}, {is_taken}");
        assert_eq!(w.conflicts(), 0, "{op:?}, {is_taken}");
    }
}
