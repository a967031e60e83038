//! A database that refuses: nothing that was acknowledged is lost, nothing is half done, and it is no damage.
use std::time::Duration;

use rusqlite::Connection;

use super::*;

/// Tries to make a file, however that ends.
async fn try_file(f: &Fixture, name: &str) -> Result<Placed, CatalogError> {
    let new = NewInode {
        parent: f.share.root,
        name: name.to_owned(),
        kind: NewKind::File { verifier: None },
        mode: 0o644,
        uid: 1,
        gid: 1,
        atime: at(5),
        mtime: at(5),
    };
    f.catalog.create(new, stamp(5)).await
}

async fn names(f: &Fixture) -> Vec<String> {
    let children = f.catalog.children(f.share.root, Ino(0), 10_000).await.unwrap();
    children.into_iter().map(|child| child.name).collect()
}

/// SQLITE_BUSY: somebody else has the database. Method: they do, and SQLite waits for no time at all.
#[tokio::test]
async fn a_database_that_somebody_else_has_refuses_changes_until_they_are_gone() {
    let f = Fixture::new().await;
    f.file(f.share.root, "before").await;
    let waits = f
        .catalog
        .write(|txn| {
            let waits: u32 = txn.db.pragma_query_value(None, "busy_timeout", |row| row.get(0))?;
            txn.db.busy_timeout(Duration::ZERO)?;
            Ok(waits)
        })
        .await;
    assert_eq!(waits.unwrap(), 10_000, "milliseconds");
    let other = Connection::open(f.dir.path().join(CATALOG_FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = try_file(&f, "refused").await.unwrap_err();
    assert!(matches!(&refused, CatalogError::Commit(why) if why.contains("locked")), "{refused}");
    assert!(!refused.is_corruption());
    assert_eq!(names(&f).await, ["before"], "what is known is told meanwhile");
    other.execute_batch("ROLLBACK").unwrap();
    try_file(&f, "refused").await.unwrap();
    let f = f.crash().await;
    assert_eq!(names(&f).await, ["before", "refused"]);
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// SQLITE_FULL: the disk has no room for another page. Method: the database may not grow.
#[tokio::test]
async fn a_database_that_cannot_grow_keeps_what_it_has_and_goes_on_when_it_can() {
    let f = Fixture::new().await;
    let may_grow = async |f: &Fixture, pages: Option<i64>| {
        let set = f.catalog.write(move |txn| {
            let now = txn.db.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))?;
            let most = now + pages.unwrap_or(1 << 30);
            txn.db.pragma_update_and_check(None, "max_page_count", most, |_| Ok(()))?;
            Ok(())
        });
        set.await.unwrap();
    };
    may_grow(&f, Some(1)).await;
    let (mut made, mut refused) = (Vec::new(), None);
    while refused.is_none() {
        assert!(made.len() < 5000, "it grows all the same");
        let name = format!("{:0>200}", made.len());
        match try_file(&f, &name).await {
            Ok(_) => made.push(name),
            Err(error) => refused = Some((name, error)),
        }
    }
    let (name, error) = refused.unwrap();
    assert!(matches!(error, CatalogError::Sqlite(_) | CatalogError::Commit(_)), "{error}");
    assert!(!error.is_corruption(), "{error}");
    try_file(&f, &name).await.unwrap_err();
    assert_eq!(names(&f).await, made);
    let f = f.crash().await;
    assert_eq!(names(&f).await, made, "nothing more, nothing less");
    try_file(&f, &name).await.unwrap();
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
}
