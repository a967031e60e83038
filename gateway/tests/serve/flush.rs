//! `gateway flush`: it ends when what was acknowledged before it is in the bucket, and not before.
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use gateway_api::status::FileState;
use nfs3_client::nfs3_types::nfs3::nfs_fh3;
use s3_store::{FaultAction, FaultRule};

use crate::{
    BUCKET,
    crash::asked,
    mount::Mount,
    process::{Gateway, Home, settings, store, until},
};

/// Objects of others, with their sizes: one that goes to S3 in one request, and one that goes in parts.
const THEIRS: [(&str, usize); 2] = [("theirs", 1 << 20), ("large", 40 << 20)];
/// More writes than a flush takes, by far.
const WRITES_MAX: u64 = 100_000;

/// Tells clients to stop, however the test ends.
struct Stops<'s>(&'s AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// semantics.md "Acknowledged means on the cache disk", `gateway flush`. Method: S3 refuses the file while the
/// flush is under way, which is known to have come because nothing else makes the upload due.
#[test]
fn a_flush_waits_for_a_store_that_refuses_and_ends_when_it_takes() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store).replace("= 50", "= 3600000"));
    asked(&gateway);
    Mount::new(gateway.port, "sales").write("kept", b"acknowledged");
    assert_eq!(gateway.file("kept").expect("it is known").state, FileState::Waiting);
    let refuse = FaultAction::FailBefore { status: 500, code: "InternalError".to_owned() };
    let refuse = FaultRule::new(refuse).operation("PutObject").key_prefix("onprem/kept");
    store.faults().add(refuse.times(u64::MAX));
    thread::scope(|scope| {
        let flush = scope.spawn(|| {
            gateway.flush();
            store.object(BUCKET, "onprem/kept").map(|object| object.body)
        });
        until("the refusal is noted", || {
            let state = gateway.file("kept").expect("it is known").state;
            matches!(state, FileState::Failing { .. }).then_some(())
        });
        assert!(!flush.is_finished(), "nothing is in the bucket");
        store.faults().clear();
        let then = flush.join().expect("the flush ends");
        assert_eq!(then.as_deref(), Some(&b"acknowledged"[..]), "when the flush had ended");
    });
}

/// settings.md, `gateway flush`: whoever waits sees for what.
#[test]
fn the_command_shows_what_it_waits_for() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    let refuse = FaultAction::FailBefore { status: 500, code: "InternalError".to_owned() };
    let refuse = FaultRule::new(refuse).operation("PutObject").key_prefix("onprem/kept");
    store.faults().add(refuse.times(u64::MAX));
    Mount::new(gateway.port, "sales").write("kept", b"acknowledged");
    let mut flush = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["flush".as_ref(), "--admin".as_ref(), home.path("state/admin.sock").as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the gateway program starts");
    let mut line = String::new();
    let shown = flush.stderr.take().expect("a pipe");
    BufReader::new(shown).read_line(&mut line).expect("words");
    assert!(line.starts_with("still to upload: 12 B in 1 files, 0 deletions"), "{line}");
    assert!(line.contains("1 failing, last: ") && line.contains("InternalError"), "{line}");
    store.faults().clear();
    let ended = flush.wait_with_output().expect("it ends");
    assert!(ended.status.success());
    assert_eq!(ended.stdout, b"everything written before this command is in S3\n");
}

/// A flush waits for what was there before it, and for nothing that is written meanwhile. Method: clients write one
/// file each without a pause, in every way to do so, and new files beside them.
#[test]
fn a_flush_ends_while_clients_go_on_writing() {
    type Write = fn(&mut Mount, &nfs_fh3, &[u8]);
    let ways: [(&str, Write); 5] = [
        // Of most of their bytes only S3 knows.
        ("theirs", |share, file, bytes| share.write_at(file, 0, bytes)),
        ("large", |share, file, bytes| drop(share.write_unstable(file, 0, bytes))),
        ("committed", |share, file, bytes| share.write_at(file, 0, bytes)),
        ("stable", |share, file, bytes| share.write_stable(file, 0, bytes)),
        ("unstable", |share, file, bytes| drop(share.write_unstable(file, 0, bytes))),
    ];
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    asked(&gateway);
    for (name, size) in THEIRS {
        store.put(BUCKET, &format!("onprem/{name}"), &vec![7; size]);
    }
    let stop = AtomicBool::new(false);
    let written = ways.map(|_| AtomicU64::new(0));
    thread::scope(|scope| {
        let _stops = Stops(&stop);
        for ((name, write), written) in ways.iter().zip(&written) {
            let (gateway, stop) = (&gateway, &stop);
            scope.spawn(move || {
                let mut share = Mount::new(gateway.port, "sales");
                let busy = share.lookup(name).unwrap_or_else(|_| share.create(name));
                for number in 1..=WRITES_MAX {
                    write(&mut share, &busy, &u64::to_be_bytes(number));
                    if number % 10 == 0 {
                        share.write(&format!("{name}{number}"), b"beside");
                    }
                    written.store(number, Ordering::SeqCst);
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        let now = || written.each_ref().map(|number| number.load(Ordering::SeqCst));
        let before = until("all write", || Some(now()).filter(|all| all.iter().all(|n| *n > 2)));
        gateway.flush();
        let after = now();
        for ((name, _), (before, after)) in ways.iter().zip(before.into_iter().zip(after)) {
            assert!(after < WRITES_MAX, "{name}: it ended because nobody writes any more");
            let body = store.object(BUCKET, &format!("onprem/{name}")).expect(name).body;
            let (kept, rest) = body.split_first_chunk().expect("eight bytes at least");
            let kept = u64::from_be_bytes(*kept);
            let theirs = THEIRS.iter().find(|(theirs, _)| theirs == name);
            let size = theirs.map_or(0, |(_, size)| size - 8);
            assert!(rest.len() == size && rest.iter().all(|byte| *byte == 7), "{name}: the rest");
            assert!(kept >= before, "{name}: {kept} is in the bucket, {before} was acknowledged");
        }
    });
}

/// What is written after a flush has begun does not keep it, though S3 never takes it.
#[test]
fn a_flush_does_not_wait_for_what_comes_after_it() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store).replace("= 50", "= 3600000"));
    asked(&gateway);
    let mut share = Mount::new(gateway.port, "sales");
    share.mkdir("d");
    share.write("d/before", b"before");
    gateway.flush();
    // The copy of the renamed file is what the flush waits for, and then the deletion of the old object.
    share.rename("d", "e");
    let refuse = |operation: &str, key: &str| {
        let refuse = FaultAction::FailBefore { status: 500, code: "InternalError".to_owned() };
        FaultRule::new(refuse).operation(operation).key_prefix(key).times(u64::MAX)
    };
    store.faults().add(refuse("CopyObject", "onprem/e/before"));
    thread::scope(|scope| {
        let flush = scope.spawn(|| gateway.flush());
        until("the copy is refused", || {
            let state = gateway.file("e/before").expect("it is known").state;
            matches!(state, FileState::Failing { .. }).then_some(())
        });
        store.faults().clear();
        store.faults().add(refuse("PutObject", "onprem/after"));
        share.write("after", b"after");
        flush.join().expect("the flush ends");
    });
    assert!(store.object(BUCKET, "onprem/e/before").is_some());
    assert!(store.object(BUCKET, "onprem/d/before").is_none(), "what it was copied from");
    assert!(store.object(BUCKET, "onprem/after").is_none());
}
