//! The figure of what S3 does not have, beside what the database counts.
use super::*;

#[tokio::test]
async fn the_figure_follows_writes_uploads_removals_and_failures() {
    let f = Fixture::new().await;
    let is = async |sizes: &[u64]| {
        assert_eq!(f.catalog.unsent_room(), sizes.iter().map(|size| room_of(*size)).sum::<u64>());
        f.verify().await;
    };
    let (one, two) = (f.file(f.share.root, "one").await, f.file(f.share.root, "two").await);
    // A new file takes room as well.
    is(&[0, 0]).await;
    f.write(one, 100).await;
    f.write(two, 1000).await;
    is(&[100, 1000]).await;
    f.write(one, 5000).await;
    is(&[5000, 1000]).await;
    f.drain().await;
    is(&[]).await;
    // Attributes are no bytes.
    let mode = AttrChange { mode: Some(0o600), ..AttrChange::default() };
    f.catalog.set_attr(one, mode, stamp(9)).await.unwrap();
    is(&[]).await;
    let size = AttrChange { size: Some(70), ..AttrChange::default() };
    f.catalog.set_attr(one, size, stamp(9)).await.unwrap();
    is(&[70]).await;
    f.catalog.begin_write(two, at(6)).await.unwrap();
    is(&[70, 1000]).await;
    f.catalog.remove(f.share.root, "two", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    is(&[70]).await;
}

#[tokio::test]
async fn what_is_undone_does_not_count_and_a_start_counts_anew() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.write(file, 100).await;
    let undone = f.catalog.write(move |txn| {
        txn.db.execute("UPDATE inode SET size = 5000 WHERE ino = ?1", [file.0])?;
        Err::<(), _>(CatalogError::NoEntry)
    });
    undone.await.unwrap_err();
    assert_eq!(f.catalog.unsent_room(), room_of(100));
    f.verify().await;
    let f = f.crash().await;
    assert_eq!(f.catalog.unsent_room(), room_of(100));
    f.verify().await;
}
