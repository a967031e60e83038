//! Rows in memory: what is kept, what is not believed, and that they follow the database.
use super::*;
use crate::{
    catalog::{
        AttrChange, CatalogError, RemoveKind,
        tests::{Fixture, key, stamp, tag},
    },
    ids::DiskId,
};

fn row(ino: u64, parent: u64, name: &str) -> Arc<Inode> {
    let mut db = Connection::open_in_memory().unwrap();
    crate::catalog::schema::migrate(&mut db).unwrap();
    db.execute(
        "INSERT INTO inode (ino, share, parent, name, kind, mode, uid, gid, size, atime, mtime,
             ctime, dirty, version, content_version, synced_version)
         VALUES (?1, 1, ?2, ?3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
        rusqlite::params![ino, parent, name],
    )
    .unwrap();
    Arc::new(inode::get(&db, Ino(ino)).unwrap())
}

fn changes(inos: impl IntoIterator<Item = u64>) -> Changes {
    let inos = inos.into_iter().map(Ino).collect();
    Changes { touched: TouchedInos { inos, all: false }, rows: Vec::new() }
}

#[test]
fn a_snapshot_from_before_a_change_is_not_kept() {
    let rows = Rows::default();
    let (before, old) = (rows.since(), row(20, 16, "a"));
    rows.committed(changes([20]));
    rows.keep(before, &old, None);
    assert_eq!(rows.get(Ino(20)), None);
    // Of what nobody changed it is.
    rows.keep(before, &row(21, 16, "b"), None);
    assert!(rows.get(Ino(21)).is_some());
    rows.keep(rows.since(), &old, None);
    assert!(rows.get(Ino(20)).is_some());
}

#[test]
fn when_changes_are_forgotten_so_are_the_snapshots_from_before_them() {
    let rows = Rows::default();
    let before = rows.since();
    rows.committed(changes([20]));
    for first in (100..).step_by(1000).take(20) {
        rows.committed(changes(first..first + 1000));
    }
    assert!(rows.lock().changed_at.len() <= CHANGES_MAX);
    rows.keep(before, &row(20, 16, "a"), None);
    assert_eq!(rows.get(Ino(20)), None);
    rows.keep(before, &row(21, 16, "b"), None);
    assert_eq!(rows.get(Ino(21)), None, "whether it changed is not known any more");
}

#[test]
fn after_a_failed_commit_nothing_is_believed() {
    let rows = Rows::default();
    rows.keep(rows.since(), &row(20, 16, "a"), None);
    let before = rows.since();
    rows.doubt_all();
    assert_eq!(rows.get(Ino(20)), None);
    rows.keep(before, &row(20, 16, "a"), None);
    assert_eq!(rows.get(Ino(20)), None);
}

#[test]
fn rows_that_are_asked_for_stay_and_their_number_is_bounded() {
    let rows = Rows::default();
    let wanted = row(20, 16, "wanted");
    rows.keep(rows.since(), &wanted, None);
    let template = Arc::unwrap_or_clone(row(21, 16, "other"));
    for ino in 100..100 + 4 * GENERATION_ROWS_MAX as u64 {
        let other = Inode { ino: Ino(ino), name: format!("n{ino}"), ..template.clone() };
        rows.keep(rows.since(), &Arc::new(other), None);
        assert!(rows.child(Ino(16), "wanted").is_some());
    }
    let state = rows.lock();
    assert!(state.young.rows.len() + state.old.rows.len() <= 2 * GENERATION_ROWS_MAX + 1);
    assert!(state.young.names.len() + state.old.names.len() <= 2 * GENERATION_ROWS_MAX + 2);
}

#[tokio::test]
async fn rows_in_memory_follow_every_change() {
    let f = Fixture::new().await;
    let root = f.share.root;
    let dir = f.mkdir(root, "d").await;
    let file = f.file(root, "f").await;
    for ino in [root, dir, file] {
        f.catalog.inode_and_ranges(ino).await.unwrap();
    }
    f.write(file, 10).await;
    let (row, ranges) = f.catalog.inode_and_ranges(file).await.unwrap();
    assert_eq!((row.size, ranges.bytes()), (10, 10));
    let sized = AttrChange { size: Some(4), ..AttrChange::default() };
    f.catalog.set_attr(file, sized, stamp(8)).await.unwrap();
    let (row, ranges) = f.catalog.inode_and_ranges(file).await.unwrap();
    assert_eq!((row.size, ranges.bytes()), (4, 4));
    f.verify().await;

    f.rename((root, "f"), (dir, "g")).await;
    assert_eq!(f.catalog.child(root, "f").await.unwrap(), None);
    assert_eq!(f.catalog.child(dir, "g").await.unwrap().unwrap().ino, file);
    f.drain().await;
    assert!(!f.catalog.inode(file).await.unwrap().dirty);
    f.verify().await;
    assert!(f.catalog.drop_ranges(file).await.unwrap());
    assert!(f.catalog.inode_and_ranges(file).await.unwrap().1.is_empty());

    f.catalog.remove(dir, "g", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    assert!(matches!(f.catalog.inode(file).await, Err(CatalogError::Gone(_))));
    assert_eq!(f.catalog.child(dir, "g").await.unwrap(), None);
    assert_eq!(f.catalog.inode(root).await.unwrap().subdirectories, 1);
    f.catalog.remove(root, "d", RemoveKind::EmptyDirectory, stamp(9)).await.unwrap();
    assert_eq!(f.catalog.inode(root).await.unwrap().subdirectories, 0, "by a trigger");
    f.verify().await;
}

#[tokio::test]
async fn a_transition_that_fails_leaves_the_rows_in_memory_as_they_are() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    let before = f.catalog.inode(file).await.unwrap();
    let other = f
        .catalog
        .add_clean_ranges(
            file,
            &tag("other"),
            DiskId::PRIMARY,
            std::iter::once(0..1).collect(),
            Vec::new(),
        )
        .await;
    assert!(matches!(other, Err(CatalogError::Changed)));
    let long = "x".repeat(1100);
    let spec = crate::catalog::RenameSpec {
        from_dir: f.share.root,
        from_name: "f".to_owned(),
        to_dir: f.share.root,
        to_name: long,
    };
    let renamed = f.catalog.rename(spec, stamp(7)).await;
    assert!(matches!(renamed, Err(CatalogError::KeyTooLong)), "after the row was changed");
    assert_eq!(f.catalog.inode(file).await.unwrap(), before);
    assert_eq!(f.catalog.key(file).await.unwrap(), key("p/f").as_str());
    f.verify().await;
}
