//! Bodies that are changed on their way to S3: refused there, sent again, and right in the end.
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use gateway::store::Checksums;
use gateway_api::status::HealthEventKind;

use crate::{
    ways,
    world::{Line, World, pattern},
};

/// Bodies that are changed, of a file in one request.
const OF_ONE: u32 = 3;
/// And of one in two parts: more than the four attempts of each, which are repeated without a word.
const OF_PARTS: u32 = 10;

/// Method: a proxy turns a bit around in the first bodies, of files in one request and of parts, with a checksum
/// beside the body and without one, when the signature covers it.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_was_changed_on_its_way_is_refused_and_arrives_right() {
    for checksums in [Checksums::Crc64Nvme, Checksums::PayloadSignature] {
        for (size, damaged) in [(30_000, OF_ONE), ((17 << 20) + 5, OF_PARTS)] {
            let w = World::versioned().await;
            let bodies = Arc::new(AtomicU32::new(damaged));
            let way = ways::damaging(&w.s3, &bodies).await;
            let bucket = way.bucket.clone().with_checksums(checksums);
            let mut w = w.restart_by(Line { bucket, known: None }).await;
            let body = pattern(size, 6);
            let ino = w.file("f", &body).await;
            w.start();
            w.drain().await;
            let case = format!("{checksums:?}, {size} bytes");
            assert_eq!(bodies.load(Ordering::SeqCst), 0, "{case}: nothing was changed");
            let object = w.object("p/f");
            assert!(object.body == body, "{case}");
            assert_eq!((object.versions, w.conflicts()), (1, 0), "{case}");
            assert!(!w.catalog.inode(ino).await.unwrap().dirty, "{case}");
            let told = w.events.list();
            let is_said = told.iter().any(|event| event.kind == HealthEventKind::TransferDamaged);
            assert!(is_said, "{case}: {told:?}");
        }
    }
}
