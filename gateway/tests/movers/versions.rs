//! Buckets with versions: which version of its object a file is, as far as S3 has told.
use gateway::{ids::Ino, object::ObjectKey};

use crate::world::{BUCKET, World, pattern};

async fn noted(w: &World, ino: Ino) -> Option<String> {
    w.catalog.standing(ino).await.unwrap().version_id
}

/// What S3 says.
async fn current(w: &World, key: &str) -> Option<String> {
    let head = w.store().head(&ObjectKey::new(key).unwrap()).await.unwrap();
    head.version.map(|version| version.as_str().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_known_of_whatever_way_the_object_was_made() {
    let w = World::new().await;
    w.s3.keep_versions(BUCKET);
    let ino = w.file("f", b"put").await;
    w.drain().await;
    let put = noted(&w, ino).await;
    assert!(put.is_some() && put == current(&w, "p/f").await, "{put:?}");
    w.chmod(ino, 0o600).await;
    w.drain().await;
    let copied = noted(&w, ino).await;
    assert!(copied.is_some() && copied == current(&w, "p/f").await && copied != put, "{copied:?}");
    let large = w.file("large", &pattern(17 << 20, 1)).await;
    w.drain().await;
    let completed = noted(&w, large).await;
    assert!(completed.is_some() && completed == current(&w, "p/large").await, "{completed:?}");
}

/// HEAD tells it of objects that others made; a listing takes what was known of the one before away.
#[tokio::test(flavor = "multi_thread")]
async fn the_version_of_an_object_of_others_is_known_when_its_attributes_are() {
    let w = World::new().await;
    w.s3.keep_versions(BUCKET);
    for body in [b"first".as_slice(), b"second"] {
        w.foreign("p/f", body);
        w.refresher.now(w.share.root).await.unwrap();
        let ino = w.entry("f").await.unwrap().ino;
        assert_eq!(noted(&w, ino).await, None);
        w.refresher.load_attr(ino).await.unwrap();
        let told = noted(&w, ino).await;
        assert!(told.is_some() && told == current(&w, "p/f").await, "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_versions_has_none() {
    let w = World::new().await;
    let ino = w.file("f", b"put").await;
    w.drain().await;
    assert_eq!(noted(&w, ino).await, None);
}
