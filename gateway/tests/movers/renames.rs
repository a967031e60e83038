//! A directory that is renamed while the process is cut off again and again: nothing is ever at neither of its keys.
use gateway::{catalog::NewKind, ids::Ino};

use crate::world::World;

const FILES: usize = 80;
/// Requests between two cuts.
const STEPS: [u64; 4] = [1, 2, 5, 3];

/// All that S3 was asked so far.
fn all_requests(w: &World) -> u64 {
    w.s3.request_counts().values().sum()
}

fn body(number: usize) -> Vec<u8> {
    format!("body of {number}").into_bytes()
}

async fn fill(w: &World, dir: Ino) {
    for number in 0..FILES {
        let file = NewKind::File { verifier: None };
        let ino = w.create(dir, &format!("f{number}"), file).await;
        w.write(ino, 0, &body(number)).await;
    }
}

/// How many of the files have their object at the new key; each has one at the old or the new.
fn moved(w: &World, cut: usize) -> usize {
    let at = |dir: &str, number: usize| w.s3.object("bucket", &format!("p/{dir}/f{number}"));
    let mut moved = 0;
    for number in 0..FILES {
        let (old, new) = (at("old", number), at("new", number));
        assert!(old.is_some() || new.is_some(), "cut {cut}: f{number} is nowhere");
        for object in [&old, &new].into_iter().flatten() {
            assert_eq!(object.body, body(number), "cut {cut}: f{number}");
        }
        moved += usize::from(new.is_some());
    }
    moved
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_rename_of_a_directory_is_cut_off_each_file_is_at_one_of_its_keys() {
    let mut w = World::new().await;
    let dir = w.create(w.share.root, "old", NewKind::Directory).await;
    fill(&w, dir).await;
    w.drain().await;
    w.halt().await;
    w.rename("old", "new").await;
    let (mut cuts, mut half_way) = (0, 0);
    loop {
        let enough = all_requests(&w) + STEPS[cuts % STEPS.len()];
        w.start();
        w.until("it is asked a little, or has all", || async {
            let pending = w.catalog.pending(None).await.unwrap();
            let left = pending.dirty_files + pending.pending_deletes + pending.pending_moves;
            all_requests(&w) >= enough || left == 0
        })
        .await;
        w = w.crash().await;
        cuts += 1;
        let there = moved(&w, cuts);
        half_way += usize::from(there > 0 && there < FILES);
        let pending = w.catalog.pending(None).await.unwrap();
        if pending.dirty_files + pending.pending_deletes + pending.pending_moves == 0 {
            break;
        }
        assert!(cuts < 1000, "it comes to no end: {pending:?}");
    }
    assert!(half_way >= 10, "it was cut {half_way} times half way");
    w.start();
    w.drain().await;
    let keys = w.keys();
    assert_eq!(keys.len(), FILES + 1);
    assert!(keys.iter().all(|key| key.starts_with("p/new/")), "{keys:?}");
    assert_eq!((moved(&w, cuts), w.conflicts()), (FILES, 0));
    assert!(w.catalog.verify().await.unwrap().is_empty());
}
