//! What is counted of what clients do.
use gateway_api::figures::Figures;

use super::*;

fn figures(f: &Fixture) -> Figures {
    let mut figures = Figures::default();
    f.fs.meter.add_to(&mut figures);
    figures
}

#[tokio::test]
async fn a_read_that_fails_is_neither_a_hit_nor_a_miss() {
    let f = Fixture::new().await;
    let file = f.object("o", &[7; 3000]).await;
    f.source.down.store(true, Ordering::SeqCst);
    let put_off = f.fs.read(&owner(), file, 0, 100).await;
    assert_eq!(put_off.unwrap_err(), FsError::TryLater);
    let gone = f.fs.read(&owner(), Ino(999_999), 0, 100).await;
    assert_eq!(gone.unwrap_err(), FsError::Stale);
    let dir = f.fs.read(&owner(), f.root(), 0, 100).await;
    assert_eq!(dir.unwrap_err(), FsError::IsDirectory);
    let failed = figures(&f);
    assert_eq!((failed.reads, failed.read_hits, failed.failed_reads), (0, 0, 3));
    assert_eq!(failed.hit_percent(), None);

    f.source.down.store(false, Ordering::SeqCst);
    for _ in 0..4 {
        f.content(file).await;
    }
    let all = figures(&f);
    assert_eq!((all.reads, all.read_hits, all.failed_reads), (4, 3, 3));
    assert_eq!((all.read_bytes.0, all.hit_percent()), (12_000, Some(75.0)));
}
