//! A cache disk that changes bytes under a running gateway: semantics.md, "When something is wrong".
use std::{fs::File, os::unix::fs::FileExt};

use gateway_api::status::{FileState, HealthEventKind, Shutdown};
use nfs3_client::nfs3_types::nfs3::nfsstat3;
use s3_store::{FaultAction, FaultRule, S3Store};

use crate::{
    BUCKET,
    mount::Mount,
    pattern,
    process::{Gateway, Home, settings, store, until},
};

/// More than one request takes.
const LARGE: usize = (17 << 20) + 5;

/// Turns one bit of the file's bytes on the cache disk around.
fn flip(home: &Home, share: &mut Mount, path: &str, at: u64) {
    let ino = share.getattr(path).fileid;
    let file = home.path("cache").join(format!("data/{:02x}/{ino}", ino & 0xff));
    let file = File::options().read(true).write(true).open(file).expect("it has a cache file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is so long");
    file.write_all_at(&[byte[0] ^ 1], at).expect("it can be written");
}

fn damage_told(gateway: &Gateway, path: &str) -> usize {
    let events = gateway.status().events.into_iter();
    let damage = events.filter(|event| event.kind == HealthEventKind::CacheDamaged);
    damage.filter(|event| event.message.starts_with(&format!("{path}: bytes "))).count()
}

fn refuse_uploads(store: &S3Store) {
    for operation in ["PutObject", "CreateMultipartUpload"] {
        let refused = FaultAction::FailBefore { status: 500, code: "InternalError".to_owned() };
        store.faults().add(FaultRule::new(refused).operation(operation).times(u64::MAX));
    }
}

fn gets(store: &S3Store) -> u64 {
    store.request_counts().get("GetObject").copied().unwrap_or(0)
}

#[test]
fn damaged_bytes_that_s3_has_are_fetched_again_and_right() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    let mut share = Mount::new(gateway.port, "sales");
    for (path, len, at) in [("f", 300_000, 100_000), ("large", LARGE, LARGE as u64 - 1)] {
        let content = pattern(len, 1);
        share.write(path, &content);
        gateway.flush();
        let before = gets(&store);
        assert!(share.read(path) == Ok(content.clone()));
        assert_eq!((gets(&store), damage_told(&gateway, path)), (before, 0), "{path}");
        flip(&home, &mut share, path, at);
        assert!(share.read(path) == Ok(content.clone()), "{path} is another one");
        assert!(gets(&store) > before, "{path} was not fetched again");
        assert_eq!(damage_told(&gateway, path), 1);
        let after = gets(&store);
        assert!(share.read(path) == Ok(content), "{path} is another one");
        assert_eq!((gets(&store), damage_told(&gateway, path)), (after, 1), "it is mended");
    }
}

/// Goal: no wrong byte gets out, neither to a client nor to the bucket, where the version of before stays; the
/// operator is told; and writing the file again mends it.
#[test]
fn damaged_bytes_that_only_the_disk_has_are_an_error_and_never_uploaded() {
    for len in [300_000, LARGE] {
        let (store, home) = (store(), Home::new());
        let gateway = Gateway::start(&home, &settings(&store));
        let mut share = Mount::new(gateway.port, "sales");
        let (old, new) = (pattern(len, 1), pattern(len, 2));
        share.write("f", &old);
        gateway.flush();
        refuse_uploads(&store);
        share.write("f", &new);
        share.write("never", &new);
        for path in ["f", "never"] {
            flip(&home, &mut share, path, len as u64 - 1000);
            assert_eq!(share.read(path), Err(nfsstat3::NFS3ERR_IO), "{path} of {len}");
            assert_eq!(damage_told(&gateway, path), 1);
        }
        store.faults().clear();
        for path in ["f", "never"] {
            until("the status says why it is not uploaded", || match gateway.file(path) {
                Ok(found) => match found.state {
                    FileState::Failing { error, .. } => {
                        error.contains("not what was written").then_some(())
                    }
                    other @ (FileState::InS3 | FileState::Incomplete { .. }) => {
                        panic!("{path}: {other:?}")
                    }
                    FileState::Waiting | FileState::Uploading => None,
                },
                Err(error) => panic!("{error:?}"),
            });
        }
        let status = gateway.status();
        assert_eq!((status.shutdown, status.upload.failing), (Shutdown::Stuck, 2));
        let words = status.upload.last_error.unwrap_or_default();
        assert!(words.contains("not what was written"), "{words}");
        assert!(store.object(BUCKET, "onprem/f").is_some_and(|object| object.body == old));
        assert!(store.object(BUCKET, "onprem/never").is_none());

        for path in ["f", "never"] {
            share.write(path, &new);
        }
        gateway.flush();
        for path in ["f", "never"] {
            let object = store.object(BUCKET, &format!("onprem/{path}"));
            assert!(object.is_some_and(|object| object.body == new), "{path} of {len}");
            assert!(share.read(path) == Ok(new.clone()));
        }
        assert_eq!(gateway.status().upload.failing, 0);
    }
}
