//! What S3 says of a file's object, for the file that was asked about and no other.
use super::*;

/// Goal: what is heard of a file's object says nothing of a file that was changed, or whose object was put to another key,
/// since it was asked for. Method: it is changed after that in each way, and the object is said to be another one, or gone.
#[tokio::test]
async fn what_is_heard_of_an_object_changes_only_the_file_that_was_asked_about() {
    for way in ["written", "chmod", "renamed", "renamed and done"] {
        let f = Fixture::new().await;
        let file = f.file(f.share.root, "f").await;
        f.write(file, 10).await;
        f.drain().await;
        let seen = f.catalog.inode(file).await.unwrap();
        match way {
            "written" => f.write(file, 20).await,
            "chmod" => {
                let change = AttrChange { mode: Some(0o600), ..AttrChange::default() };
                f.catalog.set_attr(file, change, stamp(40)).await.unwrap();
            }
            _ => f.rename((f.share.root, "f"), (f.share.root, "g")).await,
        }
        if way.ends_with("done") {
            f.drain().await;
        }
        let before = f.catalog.inode(file).await.unwrap();
        let ranges = f.catalog.ranges(file).await.unwrap();
        assert_eq!(before.dirty, !way.ends_with("done"), "{way}");
        let is = ChangedObject { size: 3, etag: tag("new"), last_modified: at(50), now: at(60) };
        assert!(!f.catalog.mark_changed(&seen, is).await.unwrap(), "{way}");
        assert!(!f.catalog.mark_gone(&seen, at(60)).await.unwrap(), "{way}");
        assert_eq!(f.catalog.inode(file).await.unwrap(), before, "{way}");
        assert_eq!(f.catalog.ranges(file).await.unwrap(), ranges, "{way}");
        f.verify().await;
    }
}

#[tokio::test]
async fn fetched_ranges_of_another_object_are_refused() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.write(file, 10).await;
    f.drain().await;
    let etag = f.catalog.inode(file).await.unwrap().etag.clone().unwrap();
    assert!(f.catalog.drop_ranges(file).await.unwrap());
    f.catalog
        .add_clean_ranges(file, &etag, DiskId::PRIMARY, vec![0..4, 4..99], Vec::new())
        .await
        .unwrap();
    assert_eq!(f.catalog.ranges(file).await.unwrap(), std::iter::once(0..10).collect());
    let is = ChangedObject { size: 3, etag: tag("new"), last_modified: at(50), now: at(60) };
    let seen = f.catalog.inode(file).await.unwrap();
    assert!(f.catalog.mark_changed(&seen, is.clone()).await.unwrap());
    assert!(!f.catalog.mark_changed(&seen, is).await.unwrap());
    assert!(f.catalog.ranges(file).await.unwrap().is_empty());
    let all = || std::iter::once(0..3).collect();
    assert!(matches!(
        f.catalog.add_clean_ranges(file, &etag, DiskId::PRIMARY, all(), Vec::new()).await,
        Err(CatalogError::Changed)
    ));
    let row = f.catalog.inode(file).await.unwrap();
    assert_eq!((row.size, row.needs_head, row.dirty), (3, true, false));
    f.catalog
        .add_clean_ranges(file, &tag("new"), DiskId::PRIMARY, all(), Vec::new())
        .await
        .unwrap();
    f.verify().await;
}
