//! One suite of what the gateway relies on, on S3 servers by different authors: the embedded one, and
//! moto, which knows nothing of ours. Where a server falls short is a table here, not a test that is
//! skipped: a difference that comes or goes fails.
//!
//! `cargo verify` starts moto from PyPI and names it in `TIDEGATE_MOTO_ENDPOINT`; by hand:
//! `pip install 'moto[s3,server]==5.2.5'`, `moto_server -p 5555`, then
//! `TIDEGATE_MOTO_ENDPOINT=http://127.0.0.1:5555 cargo test --release --workspace --features
//! gateway/testing --test store_peers`.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]
mod checks;

use std::collections::BTreeSet;

use gateway::store::S3Bucket;
use gateway_api::{
    Secret,
    settings::{Addressing, S3Settings},
};
use s3_store::{S3Store, StoreConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use checks::CHECKS;

/// Where a moto server listens.
const MOTO: &str = "TIDEGATE_MOTO_ENDPOINT";
/// Set by `cargo verify`: to go without moto is an error.
const MOTO_REQUIRED: &str = "TIDEGATE_MOTO_REQUIRED";

/// What moto 5.2.5 does not do as S3 does, by the check that finds out.
const MOTO_DIFFERS: &[(&str, &str)] = &[
    ("copy-source-if-match", "x-amz-copy-source-if-match is ignored: the copy is made"),
    ("if-none-match-copy", "If-None-Match of CopyObject is ignored: the object is replaced"),
    ("if-match-copy", "If-Match of CopyObject is ignored: the object is replaced"),
    ("if-match-complete", "If-Match of CompleteMultipartUpload is ignored: the object is replaced"),
];

/// A server that goes on running has what an earlier run has left.
fn bucket() -> String {
    format!("contract-{}", std::process::id())
}

fn settings(endpoint: String) -> S3Settings {
    S3Settings {
        endpoint,
        region: "us-east-1".to_owned(),
        addressing: Addressing::Path,
        allow_http: true,
        access_key_id: "tidegate".to_owned(),
        secret_access_key: Secret::new("tidegate-secret"),
        ..S3Settings::default()
    }
}

/// The checks that a store fails, with what they found.
async fn failing(endpoint: String) -> Vec<(&'static str, String)> {
    let bucket = S3Bucket::new(&settings(endpoint), &bucket().parse().unwrap());
    let mut found = Vec::new();
    for (name, check) in CHECKS {
        if let Err(why) = check(&bucket, &format!("{name}/")).await {
            found.push((*name, why));
        }
    }
    found
}

/// Makes the bucket: the gateway never does, so its adapter cannot.
async fn make_bucket(endpoint: &str) {
    let address = endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let bucket = bucket();
    let request = format!(
        "PUT /{bucket} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

#[tokio::test]
async fn contract_the_embedded_server_passes_every_check() {
    let config = StoreConfig { buckets: vec![bucket()], ..StoreConfig::default() };
    let s3 = S3Store::start(config).await.unwrap();
    assert_eq!(failing(s3.endpoint()).await, []);
}

#[tokio::test]
async fn contract_a_server_that_ignores_conditions_fails_exactly_the_checks_of_conditions() {
    let config = StoreConfig { buckets: vec![bucket()], ..StoreConfig::default() };
    let s3 = S3Store::start(config).await.unwrap();
    s3.faults().set_ignore_write_conditions(true);
    let found = failing(s3.endpoint()).await;
    let names: BTreeSet<&str> = found.iter().map(|(name, _)| *name).collect();
    let conditions = CHECKS.iter().map(|(name, _)| *name).filter(|name| name.starts_with("if-"));
    assert_eq!(names, conditions.collect(), "{found:?}");
}

#[tokio::test]
async fn contract_moto_differs_where_the_table_says_and_nowhere_else() {
    let Ok(endpoint) = std::env::var(MOTO) else {
        assert!(std::env::var_os(MOTO_REQUIRED).is_none(), "{MOTO} is not set");
        println!("left out: {MOTO} is not set");
        return;
    };
    make_bucket(&endpoint).await;
    let found = failing(endpoint).await;
    let names: BTreeSet<&str> = found.iter().map(|(name, _)| *name).collect();
    let known = MOTO_DIFFERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known, "{found:#?}\nwhat is known: {MOTO_DIFFERS:#?}");
}
