//! The main ways of a file to the bucket and back, on S3 servers by different authors: the embedded one,
//! and moto, which knows nothing of ours. Each server is asked first what it can do, and what it lacks
//! is made up for, as the gateway does it. Where a server falls short all the same is a table here, not a
//! test that is skipped: a difference that comes or goes fails.
//!
//! `cargo verify` starts moto from PyPI; by hand as `tests/store_peers/main.rs` says.
use std::{collections::BTreeSet, future::Future, pin::Pin};

use bytes::Bytes;
use gateway::{
    catalog::NewKind,
    object::ObjectKey,
    store::{
        Expect, KnownAbilities, ObjectStore, PutOptions, S3Bucket, StoreErrorKind, StoreOp,
        UserMeta,
        fault::{Fault, FaultRule},
    },
};
use gateway_api::settings::S3Settings;
use s3_store::{S3Store, StoreConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::world::{Line, World, pattern, s3_settings};

/// Where a moto server listens.
const MOTO: &str = "TIDEGATE_MOTO_ENDPOINT";
/// Set by `cargo verify`: to go without moto is an error.
const MOTO_REQUIRED: &str = "TIDEGATE_MOTO_REQUIRED";

/// What does not go as on S3 on moto 5.2.5, by the way on which it shows.
const MOTO_DIFFERS: &[(&str, &str)] = &[];

/// Three parts: 16, 16 and 1 MiB.
const LARGE: usize = 33 << 20;

type Way = fn(World, Others) -> Pin<Box<dyn Future<Output = ()> + Send>>;

const WAYS: &[(&str, Way)] = &[
    ("small", |w, s3| Box::pin(small(w, s3))),
    ("lost-answer", |w, s3| Box::pin(lost_answer(w, s3))),
    ("renamed", |w, s3| Box::pin(renamed(w, s3))),
    ("directory-renamed", |w, s3| Box::pin(directory_renamed(w, s3))),
    ("removed", |w, s3| Box::pin(removed(w, s3))),
    ("read", |w, s3| Box::pin(read(w, s3))),
    ("parts", |w, s3| Box::pin(parts(w, s3))),
    ("parts-resumed", |w, s3| Box::pin(parts_resumed(w, s3))),
    ("parts-copied", |w, s3| Box::pin(parts_copied(w, s3))),
    ("conflict-new", |w, s3| Box::pin(conflict_new(w, s3))),
    ("conflict-written", |w, s3| Box::pin(conflict_written(w, s3))),
    ("conflict-attributes", |w, s3| Box::pin(conflict_attributes(w, s3))),
    ("conflict-renamed", |w, s3| Box::pin(conflict_renamed(w, s3))),
    ("conflict-removed", |w, s3| Box::pin(conflict_removed(w, s3))),
    ("conflict-parts", |w, s3| Box::pin(conflict_parts(w, s3))),
];

/// Other clients of the bucket, on whatever server it is.
struct Others(S3Bucket);

fn key(key: &str) -> ObjectKey {
    ObjectKey::new(key).unwrap()
}

impl Others {
    async fn put(&self, at: &str, body: &[u8]) {
        let (body, options) = (Bytes::copy_from_slice(body), PutOptions::default());
        self.0.put(&key(at), body, &options, &Expect::Anything).await.unwrap();
    }

    async fn delete(&self, at: &str) {
        self.0.delete(&key(at), None).await.unwrap();
    }

    async fn body(&self, at: &str) -> Vec<u8> {
        let head = self.0.head(&key(at)).await.unwrap();
        self.0.get(&key(at), 0..head.size, &head.etag).await.unwrap().to_vec()
    }

    async fn user(&self, at: &str) -> UserMeta {
        self.0.head(&key(at)).await.unwrap().user
    }

    /// Every key of the bucket, in order.
    async fn keys(&self) -> Vec<String> {
        let (mut keys, mut below) = (Vec::new(), vec![String::new()]);
        while let Some(prefix) = below.pop() {
            let mut next = None;
            loop {
                let page = self.0.list(&prefix, next.as_deref()).await.unwrap();
                keys.extend(page.objects.into_iter().map(|object| object.key));
                below.extend(page.prefixes);
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
        }
        keys.sort();
        keys
    }
}

/// Refuses every request of a kind beyond so many; [`FaultStore::happened`] tells whether there was one.
///
/// [`FaultStore::happened`]: gateway::store::FaultStore::happened
fn at_most(w: &World, op: StoreOp, requests: u64) {
    let refused = Fault::FailBefore(StoreErrorKind::Denied);
    w.faults.add(FaultRule::new(refused).on(op).nth(requests + 1).times(u64::MAX));
}

/// Everything is in S3, and no request was too many.
async fn drained(w: &World) {
    w.drain().await;
    assert_eq!(w.faults.happened(), 0, "more requests than it takes");
}

async fn small(mut w: World, s3: Others) {
    w.halt().await;
    at_most(&w, StoreOp::PutObject, 4);
    w.file("a report.html", b"<p>hello</p>").await;
    let dir = w.create(w.share.root, "서울", NewKind::Directory).await;
    w.create(dir, "link", NewKind::Symlink(b"../target".to_vec())).await;
    w.create(dir, "empty", NewKind::File { verifier: None }).await;
    w.start();
    drained(&w).await;
    assert_eq!(s3.keys().await, ["p/a report.html", "p/서울/", "p/서울/empty", "p/서울/link"]);
    assert_eq!(s3.body("p/a report.html").await, b"<p>hello</p>");
    assert_eq!(s3.body("p/서울/link").await, b"../target");
    assert!(s3.body("p/서울/empty").await.is_empty() && s3.body("p/서울/").await.is_empty());
    let user = s3.user("p/a report.html").await;
    assert_eq!(
        (user["file-permissions"].as_str(), user["file-owner"].as_str()),
        ("0100640", "1000")
    );
    assert_eq!(user["file-mtime"], "1800000000000000000ns");
    assert_eq!(s3.user("p/서울/link").await["file-permissions"], "0120640");
}

async fn lost_answer(mut w: World, s3: Others) {
    w.halt().await;
    let lost = Fault::FailAfter(StoreErrorKind::Timeout);
    w.faults.add(FaultRule::new(lost).on(StoreOp::PutObject));
    at_most(&w, StoreOp::PutObject, 0);
    w.file("f", b"once").await;
    w.start();
    w.drain().await;
    assert_eq!(w.faults.happened(), 1, "it is not sent again");
    assert_eq!((s3.keys().await, w.conflicts()), (vec!["p/f".to_owned()], 0));
}

async fn renamed(w: World, s3: Others) {
    let ino = w.file("old", b"body").await;
    w.drain().await;
    at_most(&w, StoreOp::PutObject, 0);
    at_most(&w, StoreOp::GetObject, 0);
    w.rename("old", "new + name").await;
    drained(&w).await;
    w.chmod(ino, 0o600).await;
    drained(&w).await;
    assert_eq!(s3.keys().await, ["p/new + name"]);
    assert_eq!(s3.body("p/new + name").await, b"body");
    assert_eq!(s3.user("p/new + name").await["file-permissions"], "0100600");
}

async fn directory_renamed(w: World, s3: Others) {
    let dir = w.create(w.share.root, "old", NewKind::Directory).await;
    for i in 0..5 {
        let ino = w.create(dir, &format!("f{i}"), NewKind::File { verifier: None }).await;
        w.write(ino, 0, format!("body {i}").as_bytes()).await;
    }
    w.drain().await;
    w.rename("old", "new").await;
    drained(&w).await;
    let keys = ["p/new/", "p/new/f0", "p/new/f1", "p/new/f2", "p/new/f3", "p/new/f4"];
    assert_eq!(s3.keys().await, keys);
    assert_eq!(s3.body("p/new/f3").await, b"body 3");
}

async fn removed(w: World, s3: Others) {
    w.file("kept", b"kept").await;
    w.file("gone", b"gone").await;
    w.drain().await;
    w.remove("gone").await;
    drained(&w).await;
    assert_eq!(s3.keys().await, ["p/kept"]);
}

async fn read(w: World, s3: Others) {
    s3.put("p/f", &pattern(300_000, 1)).await;
    s3.put("p/d/in", b"in").await;
    w.refresher.now(w.share.root).await.unwrap();
    assert_eq!(w.names().await, ["d", "f"]);
    let ino = w.entry("f").await.unwrap().ino;
    assert!(w.read(ino, 100_000..100_010).await == pattern(300_000, 1)[100_000..100_010]);
    // Changed behind us: never a mixture.
    s3.put("p/f", &pattern(300_000, 2)).await;
    w.evict(ino).await;
    w.fetcher.fetch(ino, 0..10).await.unwrap();
    assert!(w.read(ino, 0..300_000).await == pattern(300_000, 2));
    s3.delete("p/f").await;
    w.refresher.now(w.share.root).await.unwrap();
    assert_eq!(w.names().await, ["d"]);
}

async fn parts(mut w: World, s3: Others) {
    w.halt().await;
    at_most(&w, StoreOp::CreateMultipartUpload, 1);
    at_most(&w, StoreOp::UploadPart, 3);
    at_most(&w, StoreOp::PutObject, 0);
    w.file("large.bin", &pattern(LARGE, 3)).await;
    w.start();
    drained(&w).await;
    assert!(s3.body("p/large.bin").await == pattern(LARGE, 3));
    assert_eq!(s3.user("p/large.bin").await["file-permissions"], "0100640");
}

async fn parts_resumed(mut w: World, s3: Others) {
    w.halt().await;
    at_most(&w, StoreOp::UploadPart, 1);
    w.file("large.bin", &pattern(LARGE, 4)).await;
    w.start();
    w.until("parts were refused", || async { w.catalog.pending(None).await.unwrap().failing > 0 })
        .await;
    let mut w = w.crash().await;
    at_most(&w, StoreOp::UploadPart, 2);
    at_most(&w, StoreOp::CreateMultipartUpload, 0);
    w.start();
    drained(&w).await;
    assert!(s3.body("p/large.bin").await == pattern(LARGE, 4));
}

async fn parts_copied(w: World, s3: Others) {
    let ino = w.file("log", &pattern(LARGE, 5)).await;
    w.drain().await;
    w.evict(ino).await;
    at_most(&w, StoreOp::UploadPart, 1);
    w.write(ino, LARGE as u64, b"one more line").await;
    drained(&w).await;
    assert!(s3.body("p/log").await == [&pattern(LARGE, 5)[..], b"one more line"].concat());
}

/// Ours is at the key, theirs beside it.
async fn both_kept(w: &World, s3: &Others, at: &str, (ours, theirs): (&[u8], &[u8])) {
    w.drain().await;
    let keys = s3.keys().await;
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(keys[1].starts_with(&format!("{at}.conflict-")), "{keys:?}");
    assert!(s3.body(at).await == ours && s3.body(&keys[1]).await == theirs);
    assert_eq!(w.conflicts(), 1);
}

async fn conflict_new(mut w: World, s3: Others) {
    w.halt().await;
    w.file("f", b"ours").await;
    s3.put("p/f", b"theirs").await;
    w.start();
    both_kept(&w, &s3, "p/f", (b"ours", b"theirs")).await;
}

async fn conflict_written(mut w: World, s3: Others) {
    let ino = w.file("f", b"base").await;
    w.drain().await;
    w.halt().await;
    w.write(ino, 0, b"ours").await;
    s3.put("p/f", b"theirs").await;
    w.start();
    both_kept(&w, &s3, "p/f", (b"ours", b"theirs")).await;
}

async fn conflict_attributes(mut w: World, s3: Others) {
    let ino = w.file("f", b"base").await;
    w.drain().await;
    w.halt().await;
    w.chmod(ino, 0o600).await;
    s3.put("p/f", b"theirs").await;
    w.start();
    w.drain().await;
    assert_eq!(
        (s3.keys().await, s3.body("p/f").await),
        (vec!["p/f".to_owned()], b"theirs".to_vec())
    );
    assert_eq!(s3.user("p/f").await["file-permissions"], "0100600");
}

async fn conflict_renamed(mut w: World, s3: Others) {
    w.file("f", b"base").await;
    w.drain().await;
    w.halt().await;
    w.rename("f", "g").await;
    s3.put("p/g", b"theirs").await;
    w.start();
    both_kept(&w, &s3, "p/g", (b"base", b"theirs")).await;
}

async fn conflict_removed(mut w: World, s3: Others) {
    w.file("f", b"ours").await;
    w.drain().await;
    w.halt().await;
    w.remove("f").await;
    s3.put("p/f", b"theirs").await;
    w.start();
    w.drain().await;
    assert_eq!((s3.body("p/f").await, w.conflicts()), (b"theirs".to_vec(), 1));
}

async fn conflict_parts(mut w: World, s3: Others) {
    w.halt().await;
    w.file("large.bin", &pattern(LARGE, 6)).await;
    s3.put("p/large.bin", b"theirs").await;
    w.start();
    both_kept(&w, &s3, "p/large.bin", (&pattern(LARGE, 6), b"theirs")).await;
}

/// A server that goes on running has what an earlier run has left.
fn bucket(way: &str) -> String {
    format!("movers-{}-{way}", std::process::id())
}

/// The ways that fail on a server with such settings, with what they found. Each has a bucket of its own.
async fn failing(settings: &S3Settings) -> Vec<(&'static str, String)> {
    let mut running = JoinSet::new();
    let mut of = std::collections::HashMap::new();
    for (name, way) in WAYS {
        let bucket = S3Bucket::new(settings, &bucket(name).parse().unwrap());
        let task = running.spawn(async move {
            let known = KnownAbilities::default();
            let scratch = key("p/.tidegate-probe-gw1");
            known.set(bucket.capabilities(&scratch, &PutOptions::default()).await.unwrap());
            let line = Line { bucket: bucket.clone(), known: Some(known) };
            way(World::on(line).await, Others(bucket)).await;
        });
        of.insert(task.id(), *name);
    }
    let mut found = Vec::new();
    while let Some(ended) = running.join_next().await {
        if let Err(died) = ended {
            found.push((of[&died.id()], died.to_string()));
        }
    }
    found
}

/// Makes a bucket: the gateway never does, so its adapter cannot.
async fn make_bucket(endpoint: &str, bucket: &str) {
    let address = endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "PUT /{bucket} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_every_way_leads_to_the_embedded_server_and_back() {
    let buckets = WAYS.iter().map(|(name, _)| bucket(name)).collect();
    let s3 = S3Store::start(StoreConfig { buckets, ..StoreConfig::default() }).await.unwrap();
    assert_eq!(failing(&s3_settings(&s3)).await, []);
}

/// What such a server lacks is looked after by the gateway itself.
#[tokio::test(flavor = "multi_thread")]
async fn contract_every_way_leads_to_a_server_that_ignores_conditions_and_back() {
    let buckets = WAYS.iter().map(|(name, _)| bucket(name)).collect();
    let s3 = S3Store::start(StoreConfig { buckets, ..StoreConfig::default() }).await.unwrap();
    s3.faults().set_ignore_write_conditions(true);
    assert_eq!(failing(&s3_settings(&s3)).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_every_way_leads_to_moto_and_back_but_for_what_the_table_says() {
    let Ok(endpoint) = std::env::var(MOTO) else {
        assert!(std::env::var_os(MOTO_REQUIRED).is_none(), "{MOTO} is not set");
        println!("left out: {MOTO} is not set");
        return;
    };
    for (name, _) in WAYS {
        make_bucket(&endpoint, &bucket(name)).await;
    }
    let s3 = S3Store::start(StoreConfig::default()).await.unwrap();
    let found = failing(&S3Settings { endpoint, ..s3_settings(&s3) }).await;
    let names: BTreeSet<&str> = found.iter().map(|(name, _)| *name).collect();
    let known = MOTO_DIFFERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known, "{found:#?}\nwhat is known: {MOTO_DIFFERS:#?}");
}
