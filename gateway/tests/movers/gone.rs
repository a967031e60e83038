//! Objects that others delete while only the name or the attributes of their files were changed here.
use gateway::{
    catalog::CatalogError,
    store::{
        StoreErrorKind, StoreOp,
        fault::{Fault, FaultRule as PortRule, Gate},
    },
};

use crate::world::{BUCKET, World, pattern};

/// A change that leaves the bytes alone.
#[derive(Clone, Copy, Debug)]
enum Change {
    Rename,
    Chmod,
}

impl Change {
    /// The name that the file has then.
    async fn happens(self, w: &World) -> &'static str {
        match self {
            Self::Rename => {
                w.rename("f", "g").await;
                "g"
            }
            Self::Chmod => {
                w.chmod(w.entry("f").await.unwrap().ino, 0o600).await;
                "f"
            }
        }
    }
}

/// semantics.md, "Objects that others write": such a file goes with its object, as in the bucket, and is not
/// kept as one of which nothing can be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_its_bytes_goes_with_its_object() {
    for change in [Change::Rename, Change::Chmod] {
        for kept in [0..0, 200_000..200_100] {
            let case = format!("{change:?}, {kept:?} read");
            let mut w = World::new().await;
            let ino = w.file("f", &pattern(300_000, 1)).await;
            w.drain().await;
            w.halt().await;
            w.evict(ino).await;
            if !kept.is_empty() {
                // In the middle: nothing is read ahead.
                w.read(ino, kept.clone()).await;
            }
            change.happens(&w).await;
            w.s3.delete(BUCKET, "p/f");
            w.start();
            w.until("it is told", || async { w.conflicts() == 1 }).await;
            w.drain().await;
            assert_eq!(w.names().await, Vec::<String>::new(), "{case}");
            assert_eq!((w.keys(), w.conflicts()), (Vec::<String>::new(), 1), "{case}");
            let gone = w.catalog.inode(ino).await;
            assert!(matches!(gone, Err(CatalogError::Gone(_))), "{case}: {gone:?}");
            let file = w.dir.path().join(format!("data/{:02x}/{}", ino.0 & 0xff, ino.0));
            assert!(!file.exists(), "{case}: its cache file stays");
            assert_eq!(w.catalog.verify().await.unwrap(), Vec::<String>::new(), "{case}");
            // The name is free.
            w.file("f", b"anew").await;
            w.drain().await;
            assert_eq!(w.object("p/f").body, b"anew", "{case}");
        }
    }
}

/// I13: an answer that says "no such object" does not take a file away that a listing shows.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_listing_shows_does_not_go() {
    for change in [Change::Rename, Change::Chmod] {
        let mut w = World::new().await;
        let body = pattern(1000, 2);
        let ino = w.file("f", &body).await;
        w.drain().await;
        w.halt().await;
        w.evict(ino).await;
        let name = change.happens(&w).await;
        for op in [StoreOp::HeadObject, StoreOp::CopyObject] {
            let lost = Fault::FailBefore(StoreErrorKind::NotFound);
            w.faults.add(PortRule::new(lost).on(op).times(u64::MAX));
        }
        w.start();
        w.until("it failed twice", || async {
            let standing = w.catalog.standing(ino).await.unwrap();
            standing.failures.is_some_and(|(failures, _)| failures > 1)
        })
        .await;
        assert!(!w.catalog.standing(ino).await.unwrap().is_incomplete, "{change:?}");
        w.faults.clear();
        w.drain().await;
        assert!(w.object(&format!("p/{name}")).body == body, "{change:?}");
        assert!(w.read(ino, 0..1000).await == body, "{change:?}");
        assert_eq!(w.conflicts(), 0, "{change:?}");
    }
}

/// A file that is changed while its going is found out stays, as what was written must.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_meanwhile_is_kept() {
    let mut w = World::new().await;
    let ino = w.file("f", &pattern(1000, 3)).await;
    w.drain().await;
    w.halt().await;
    w.evict(ino).await;
    w.rename("f", "g").await;
    w.s3.delete(BUCKET, "p/f");
    let gate = Gate::default();
    w.faults.add(PortRule::new(Fault::Hold(gate.clone())).on(StoreOp::ListObjects));
    w.start();
    gate.arrived(1).await;
    w.write(ino, 0, &pattern(1000, 4)).await;
    gate.open();
    w.drain().await;
    assert!(w.object("p/g").body == pattern(1000, 4));
    assert_eq!(w.keys(), ["p/g"]);
}
