//! What clients are told, and what the operator, when S3 refuses: the table of errors row by row, through
//! the real file system.
use gateway::{
    object::ObjectKey,
    vfs::{CreateHow, FILE_BYTES_MAX, FsError, Ino, SetAttr, ShareFs, Stability},
};
use gateway_api::status::{HealthEventKind, ShareState};
use s3_store::{FaultAction, FaultRule};

use crate::{
    ops::Disk,
    walk::root,
    world::{BUCKET, PREFIX, World},
};

/// What the operator sees afterwards.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// Nothing.
    Nothing,
    /// The share's state has these words.
    Share(&'static str),
    /// Nothing, unless it stays so: then the share's state has these words.
    IfItStays(&'static str),
    /// The share is as it was, and there is an event.
    Event(HealthEventKind),
}

/// An object that is known and not cached.
fn world() -> (World, Ino) {
    let world = World::new(Disk::Simulated, 0);
    world.s3.put(BUCKET, &format!("{PREFIX}f"), b"there");
    let dir = world.gateway().share.root;
    world.refresh(dir).unwrap();
    let file = world.run(world.gateway().fs.lookup(&root(), dir, b"f")).unwrap();
    (world, file.ino)
}

fn always(action: FaultAction) -> FaultRule {
    FaultRule::new(action).operation("GetObject").times(1_000)
}

fn read(world: &World, ino: Ino) -> Result<Vec<u8>, FsError> {
    let read = world.run(world.gateway().fs.read(&root(), ino, 0, 100));
    read.map(|read| read.data.to_vec())
}

fn check_told(world: &World, told: Told, case: &str) {
    let state = world.gateway().share.health.state();
    match told {
        Told::Nothing | Told::IfItStays(_) => {
            assert_eq!(state, ShareState::Available, "{case}");
        }
        Told::Share(words) => {
            let ShareState::Unavailable(reason) = state else { panic!("{case}: {state:?}") };
            assert!(reason.contains(words), "{case}: {reason}");
        }
        Told::Event(kind) => {
            assert_eq!(state, ShareState::Available, "{case}");
            let events = world.gateway().events.list();
            assert!(events.iter().any(|event| event.kind == kind), "{case}: {events:?}");
        }
    }
}

#[test]
fn a_read_that_s3_refuses_is_answered_and_told_as_the_table_says() {
    let archived = Told::Event(HealthEventKind::InaccessibleStorageClass);
    for (status, code, answer, told) in [
        (404, "NoSuchKey", FsError::Stale, Told::Nothing),
        (404, "NoSuchBucket", FsError::Io, Told::Share("bucket")),
        (412, "PreconditionFailed", FsError::TryLater, Told::Nothing),
        (403, "AccessDenied", FsError::Access, Told::Share("allow")),
        (400, "ExpiredToken", FsError::Io, Told::Share("clock")),
        (403, "InvalidAccessKeyId", FsError::Io, Told::Share("clock")),
        (403, "SignatureDoesNotMatch", FsError::Io, Told::Share("clock")),
        (403, "RequestTimeTooSkewed", FsError::Io, Told::Share("clock")),
        (403, "InvalidObjectState", FsError::Io, archived),
        (503, "SlowDown", FsError::TryLater, Told::IfItStays("fewer requests")),
        (500, "InternalError", FsError::TryLater, Told::IfItStays("trouble of its own")),
        (503, "ServiceUnavailable", FsError::TryLater, Told::IfItStays("trouble of its own")),
        (429, "TooManyRequests", FsError::TryLater, Told::IfItStays("fewer requests")),
        (400, "RequestTimeout", FsError::TryLater, Told::IfItStays("network")),
    ] {
        let (world, ino) = world();
        let code = code.to_owned();
        let case = code.clone();
        if answer == FsError::Stale {
            // A listing has to agree.
            world.s3.delete(BUCKET, &format!("{PREFIX}f"));
        }
        world.s3.faults().add(always(FaultAction::FailBefore { status, code }));
        assert_eq!(read(&world, ino), Err(answer), "{case}");
        check_told(&world, told, &case);
        if let Told::IfItStays(words) = told {
            for _ in 0..2 {
                world.clock.advance_millis(5_000);
                assert_eq!(read(&world, ino), Err(answer), "{case}");
            }
            check_told(&world, Told::Share(words), &case);
        }
        world.s3.faults().clear();
        if answer == FsError::Stale {
            assert_eq!(read(&world, ino), Err(FsError::Stale), "{case}: it is forgotten");
        } else {
            assert_eq!(read(&world, ino).unwrap(), b"there", "{case}: it is not for ever");
        }
    }
}

#[test]
fn a_read_whose_connection_breaks_or_whose_body_is_short_is_never_answered_with_bytes() {
    for action in [FaultAction::DropBefore, FaultAction::ShortBody { bytes: 2 }] {
        let (world, ino) = world();
        world.s3.faults().add(always(action.clone()));
        let answer = read(&world, ino).unwrap_err();
        assert!(matches!(answer, FsError::TryLater | FsError::Io), "{action:?}: {answer:?}");
        world.s3.faults().clear();
        assert_eq!(read(&world, ino).unwrap(), b"there", "{action:?}");
    }
}

#[test]
fn an_object_that_changes_once_is_read_anew_and_one_that_goes_takes_its_file_along() {
    let (world, ino) = world();
    world.s3.put(BUCKET, &format!("{PREFIX}f"), b"other");
    assert_eq!(read(&world, ino).unwrap(), b"other");
    world.evict();
    world.s3.delete(BUCKET, &format!("{PREFIX}f"));
    assert_eq!(read(&world, ino), Err(FsError::Stale));
    assert_eq!(read(&world, ino), Err(FsError::Stale));
}

#[test]
fn names_keys_and_sizes_beyond_s3_s_are_refused_before_s3_is_asked() {
    let (mut world, ino) = world();
    let cx = root();
    let asked: u64 = world.s3.request_counts().values().sum();
    let new = |world: &World, dir: Ino, name: &[u8]| {
        let how = CreateHow::Guarded(SetAttr::default());
        world.run(world.gateway().fs.create(&root(), dir, name, how)).map(|made| made.attr.ino)
    };
    let top = world.gateway().share.root;
    assert_eq!(new(&world, top, &[b'n'; 256]), Err(FsError::NameTooLong));
    let mut dir = top;
    for _ in 0..4 {
        let made = world.gateway().fs.mkdir(&cx, dir, &[b'd'; 250], SetAttr::default());
        dir = world.run(made).unwrap().attr.ino;
    }
    // The prefix, four times 250 bytes and a slash.
    let room = ObjectKey::new("k".repeat(1024)).unwrap().as_str().len() - PREFIX.len() - 4 * 251;
    assert_eq!(new(&world, dir, &vec![b'k'; room + 1]), Err(FsError::NameTooLong));
    new(&world, dir, &vec![b'k'; room]).unwrap();
    let bytes = bytes::Bytes::from_static(b"x");
    let write = |at| world.gateway().fs.write(&cx, ino, at, bytes.clone(), Stability::Unstable);
    let beyond = world.run(write(FILE_BYTES_MAX));
    assert_eq!(beyond.map(|written| written.count), Err(FsError::FileTooBig));
    let size = Some(FILE_BYTES_MAX + 1);
    let set = SetAttr { size, ..SetAttr::default() };
    let set = world.run(world.gateway().fs.setattr(&root(), ino, set, None));
    assert_eq!(set.map(|_| ()), Err(FsError::FileTooBig));
    assert_eq!(world.s3.request_counts().values().sum::<u64>(), asked);
    world.drain().unwrap();
}
