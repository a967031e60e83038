//! Large objects that are copied in parts, and what happens to their files meanwhile.
//! "Large" is 16 MiB here instead of S3's 5 GiB.
use gateway::{
    ids::Ino,
    store::{
        StoreErrorKind, StoreOp,
        fault::{Fault, FaultRule as PortRule},
    },
};
use s3_store::{FaultAction, FaultRule};

use crate::{
    copies::{PART, with_object},
    settle::lose_reply_of_copy,
    world::{BUCKET, World, pattern},
};

/// Two pieces.
const SIZE: usize = 20 << 20;

/// What a client does in the meantime.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Chmod,
    Write,
    Rename,
}

impl Then {
    const ALL: [Self; 4] = [Self::Nothing, Self::Chmod, Self::Write, Self::Rename];

    /// Does it to `b`, whose bytes are `body`; answers the key that the object has in the end.
    async fn happens(self, w: &World, ino: Ino, body: &mut [u8]) -> &'static str {
        match self {
            Self::Nothing => {}
            Self::Chmod => w.chmod(ino, 0o600).await,
            Self::Write => {
                w.write(ino, 17 << 20, b"later").await;
                body[17 << 20..][..5].copy_from_slice(b"later");
            }
            Self::Rename => {
                w.rename("b", "c").await;
                return "p/c";
            }
        }
        "p/b"
    }

    /// How many copies, or changes of a part, it takes.
    fn costs(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Chmod | Self::Write | Self::Rename => 1,
        }
    }

    /// The mode of an object that had `before`.
    fn mode(self, before: &'static str) -> &'static str {
        match self {
            Self::Chmod => "0100600",
            Self::Nothing | Self::Write | Self::Rename => before,
        }
    }
}

/// The bucket has this one object, S3 has everything, and nothing has gone wrong.
async fn ended(w: &World, then: Then, (key, mode): (&str, &str), body: &[u8]) {
    w.drain().await;
    assert_eq!(w.keys(), [key], "{then:?}");
    let object = w.object(key);
    assert!(object.body == body, "{then:?}");
    assert_eq!(object.user_meta["file-permissions"], mode, "{then:?}");
    assert_eq!((w.conflicts(), w.s3.uploads_in_progress(BUCKET)), (0, 0), "{then:?}");
    assert_eq!(w.catalog.verify().await.unwrap(), Vec::<String>::new(), "{then:?}");
    let ino = w.entry(key.trim_start_matches("p/")).await.unwrap().ino;
    assert!(w.read(ino, 0..SIZE as u64).await == body, "{then:?}");
}

/// Goal: a rename whose end was not heard of is known by what it left, whatever happens to the file before
/// anybody looks. Method: the end of the copy is done, its reply is lost, and the gateway is started anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_end_of_a_large_rename_is_recognised_whatever_comes_next() {
    for then in Then::ALL {
        let w = with_object(&pattern(SIZE, 31)).await;
        let mut body = pattern(SIZE, 31);
        w.rename("a", "b").await;
        let mut w = lose_reply_of_copy(w, "CompleteMultipartUpload").await;
        w.copy_at_most(PART as u64);
        let ino = w.entry("b").await.unwrap().ino;
        let key = then.happens(&w, ino, &mut body).await;
        let completed = w.requests("CompleteMultipartUpload");
        w.start();
        ended(&w, then, (key, then.mode("0100640")), &body).await;
        assert_eq!(w.requests("CompleteMultipartUpload") - completed, then.costs(), "{then:?}");
        let sent = w.requests("UploadPart") - 2;
        assert!(
            sent <= u64::from(matches!(then, Then::Write)),
            "{then:?}: {sent} parts sent again"
        );
    }
}

/// The same of a change of attributes, which copies the object to where it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_end_of_a_large_change_of_attributes_is_recognised_whatever_comes_next() {
    for then in [Then::Nothing, Then::Write] {
        let mut w = with_object(&pattern(SIZE, 32)).await;
        let mut body = pattern(SIZE, 32);
        w.rename("a", "b").await;
        w.start();
        w.drain().await;
        w.halt().await;
        let ino = w.entry("b").await.unwrap().ino;
        w.chmod(ino, 0o644).await;
        let mut w = lose_reply_of_copy(w, "CompleteMultipartUpload").await;
        w.copy_at_most(PART as u64);
        let key = then.happens(&w, ino, &mut body).await;
        let completed = w.requests("CompleteMultipartUpload");
        w.start();
        ended(&w, then, (key, then.mode("0100644")), &body).await;
        assert_eq!(w.requests("CompleteMultipartUpload") - completed, then.costs(), "{then:?}");
    }
}

/// Goal: a change of a file of which half is copied is not lost, and the halves are of one version. Method: the
/// copy stops after one part; then that is written, or the other one.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_when_half_of_it_is_copied_has_all_its_bytes() {
    for (at, restarts) in [(1 << 20, false), (18 << 20, false), (1 << 20, true)] {
        let mut w = with_object(&pattern(SIZE, 33)).await;
        let mut body = pattern(SIZE, 33);
        let refused = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
        let copies = FaultRule::new(refused).operation("UploadPartCopy");
        w.s3.faults().add(copies.skip(1).times(u64::MAX));
        w.rename("a", "b").await;
        w.start();
        w.until("it failed", || async { w.catalog.pending(None).await.unwrap().failing > 0 }).await;
        w.halt().await;
        w.s3.faults().clear();
        let ino = w.entry("b").await.unwrap().ino;
        w.write(ino, at as u64, b"written").await;
        body[at..][..7].copy_from_slice(b"written");
        if restarts {
            w = w.restart().await;
            w.copy_at_most(PART as u64);
        }
        w.start();
        ended(&w, Then::Nothing, ("p/b", "0100640"), &body).await;
    }
}

/// A copy that S3 has done, and whose answer came too late, is not made again; one that it has not done is.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_given_up_is_looked_for_and_tried_again() {
    let timeout = StoreErrorKind::Timeout;
    for (fault, copies) in [(Fault::FailAfter(timeout), 1), (Fault::FailBefore(timeout), 1)] {
        let w = World::versioned().await;
        w.file("a", b"body").await;
        w.drain().await;
        w.faults.add(PortRule::new(fault.clone()).on(StoreOp::CopyObject));
        w.rename("a", "b").await;
        w.drain().await;
        assert_eq!((w.keys(), w.faults.happened()), (vec!["p/b".to_owned()], 1), "{fault:?}");
        assert_eq!(w.requests("CopyObject"), copies, "{fault:?}");
        let object = w.object("p/b");
        assert_eq!((object.body.as_slice(), object.versions), (&b"body"[..], 1), "{fault:?}");
        assert_eq!(w.conflicts(), 0);
    }
}
