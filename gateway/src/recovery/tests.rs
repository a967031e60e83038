//! Recovery of a cache that has lost a file and holds another of no inode.
use std::{path::Path, sync::Arc};

use bytes::Bytes;

use super::*;
use crate::{
    cache::sim_disk::SimDisk,
    catalog::{DurableBytes, NewInode, NewKind, RootAttr, Stamp, WriteCommit},
    clock::ManualClock,
    ids::DiskId,
};

async fn committed_file(catalog: &Catalog, cache: &CacheStore, root: Ino, name: &str) -> Ino {
    let now = Timestamp::from_nanos(5);
    let stamp = Stamp { now, due: now, request: None };
    let new = NewInode {
        parent: root,
        name: name.to_owned(),
        kind: NewKind::File { verifier: None },
        mode: 0o644,
        uid: 0,
        gid: 0,
        atime: now,
        mtime: now,
    };
    let ino = catalog.create(new, stamp).await.unwrap().inode.ino;
    let begun = catalog.begin_write(ino, now).await.unwrap();
    cache.write_at(ino, 0, Bytes::from_static(b"data")).await.unwrap();
    cache.sync(ino).await.unwrap();
    let commit = WriteCommit {
        sums: Vec::new(),
        noted: Some(begun.version),
        disk: DiskId::PRIMARY,
        bytes: DurableBytes::Synced(None),
        size: 4,
        mtime: now,
        clear_set_id: false,
        ranges: std::iter::once(0..4).collect(),
        closes: true,
        due: now,
    };
    catalog.commit_write(ino, commit).await.unwrap();
    ino
}

#[tokio::test]
async fn lost_bytes_are_reported_and_never_uploaded_and_orphans_go() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SimDisk::default();
    let catalog = Catalog::open(dir.path()).unwrap();
    let cache = CacheStore::open(Arc::new(disk.clone()), Path::new("/cache")).unwrap();
    let now = Timestamp::from_nanos(1);
    let attr = RootAttr { mode: 0o777, uid: 0, gid: 0, now };
    let share = catalog.ensure_share("sales", "bucket", "", attr).await.unwrap();
    let kept = committed_file(&catalog, &cache, share.root, "kept").await;
    let lost = committed_file(&catalog, &cache, share.root, "lost").await;
    catalog.begin_write(kept, now).await.unwrap();
    cache.write_at(Ino(9999), 0, Bytes::from_static(b"orphan")).await.unwrap();
    disk.lose(Path::new(&format!("/cache/data/{:02x}/{}", lost.0 & 0xff, lost.0)));
    // Open files keep what was unlinked; a restart does not.
    let cache = CacheStore::open(Arc::new(disk), Path::new("/cache")).unwrap();

    let clock = ManualClock::new(Timestamp::new(100, 0));
    let recovered = recover(&catalog, &cache, &clock).await.unwrap();
    assert_eq!((recovered.open_bursts, recovered.rejournalled, recovered.orphans), (1, 0, 1));
    assert_eq!(recovered.events.len(), 1);
    assert_eq!(recovered.events[0].kind, HealthEventKind::DataLost);
    assert!(recovered.events[0].message.contains("sales:/lost"), "{:?}", recovered.events);
    let jobs = catalog.claim_jobs(Timestamp::new(1000, 0), 10).await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert!(catalog.child(share.root, "lost").await.unwrap().is_none());
    assert_eq!(catalog.inode(kept).await.unwrap().size, 4);
    assert_eq!(catalog.verify().await.unwrap(), Vec::<String>::new());
    let again = recover(&catalog, &cache, &clock).await.unwrap();
    assert!(again.events.is_empty() && again.orphans == 0);
}
