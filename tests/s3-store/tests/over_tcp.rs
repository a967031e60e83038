//! The store over TCP, by the AWS SDK and by hand: what a client sees, faults and restarts included.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test by panicking")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use s3_store::{FaultAction, FaultRule, S3Store, StartError, StoreConfig};

async fn start(directory: Option<&Path>) -> (S3Store, Client) {
    let config = StoreConfig {
        buckets: vec!["bucket".to_owned()],
        directory: directory.map(Path::to_owned),
        ..StoreConfig::default()
    };
    let (access, secret) = (config.access_key_id.clone(), config.secret_access_key.clone());
    let store = S3Store::start(config).await.unwrap();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(store.endpoint())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(access, secret, None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .force_path_style(true)
        .build();
    (store, Client::from_conf(config))
}

async fn put(client: &Client, key: &str, body: &[u8]) -> Result<(), String> {
    let request =
        client.put_object().bucket("bucket").key(key).body(ByteStream::from(body.to_vec()));
    request.send().await.map(|_| ()).map_err(|error| error.code().unwrap_or("no reply").to_owned())
}

async fn get(client: &Client, key: &str) -> Result<Vec<u8>, String> {
    let reply = client.get_object().bucket("bucket").key(key).send().await;
    let reply = reply.map_err(|error| error.code().unwrap_or("no reply").to_owned())?;
    reply.body.collect().await.map(|body| body.to_vec()).map_err(|_| "broken body".to_owned())
}

#[tokio::test]
async fn an_object_put_by_the_sdk_is_seen_directly_and_the_other_way_round() {
    let (store, client) = start(None).await;
    client
        .put_object()
        .bucket("bucket")
        .key("dir/a name with spaces")
        .metadata("user-agent-mode", "0100644")
        .content_type("text/plain")
        .body(ByteStream::from_static(b"hello"))
        .send()
        .await
        .unwrap();
    let object = store.object("bucket", "dir/a name with spaces").unwrap();
    assert_eq!(object.body, b"hello");
    assert_eq!(object.etag, "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(object.user_meta["user-agent-mode"], "0100644");
    assert_eq!(
        (object.content_type.as_str(), object.storage_class.as_str()),
        ("text/plain", "STANDARD")
    );
    store.put("bucket", "dir/other", b"from elsewhere");
    assert_eq!(get(&client, "dir/other").await.unwrap(), b"from elsewhere");
    store.delete("bucket", "dir/other");
    assert_eq!(get(&client, "dir/other").await, Err("NoSuchKey".to_owned()));
    assert_eq!(store.keys("bucket"), ["dir/a name with spaces"]);
    assert_eq!(store.request_counts()["PutObject"], 1);
}

#[tokio::test]
async fn head_names_the_storage_class_only_where_it_is_not_standard() {
    let (_store, client) = start(None).await;
    for (key, class) in [("s", "STANDARD"), ("i", "STANDARD_IA")] {
        let request = client.put_object().bucket("bucket").key(key).storage_class(class.into());
        request.send().await.unwrap();
    }
    let head =
        async |key: &str| client.head_object().bucket("bucket").key(key).send().await.unwrap();
    assert_eq!(head("s").await.storage_class(), None);
    assert_eq!(head("i").await.storage_class().unwrap().as_str(), "STANDARD_IA");
    let listed = client.list_objects_v2().bucket("bucket").send().await.unwrap();
    let classes: Vec<&str> =
        listed.contents().iter().map(|o| o.storage_class().unwrap().as_str()).collect();
    assert_eq!(classes, ["STANDARD_IA", "STANDARD"]);
}

#[tokio::test]
async fn a_key_of_1025_bytes_is_refused() {
    let (_store, client) = start(None).await;
    assert_eq!(put(&client, &"k".repeat(1024), b"").await, Ok(()));
    assert_eq!(put(&client, &"k".repeat(1025), b"").await, Err("KeyTooLongError".to_owned()));
}

#[tokio::test]
async fn a_request_signed_for_another_region_is_told_the_right_one() {
    let (store, client) = start(None).await;
    let config = client.config().to_builder().region(Region::new("eu-west-1")).build();
    let error = Client::from_conf(config).list_buckets().send().await.unwrap_err();
    assert_eq!(error.code(), Some("AuthorizationHeaderMalformed"));
    assert!(error.message().unwrap().contains("us-east-1"));
    assert!(store.request_counts().is_empty());
}

#[tokio::test]
async fn an_unsigned_request_is_refused() {
    let (store, _client) = start(None).await;
    let address = store.address();
    let reply = tokio::task::spawn_blocking(move || {
        let mut connection = TcpStream::connect(address).unwrap();
        write!(
            connection,
            "GET /bucket/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut reply = String::new();
        connection.read_to_string(&mut reply).unwrap();
        reply
    });
    assert!(reply.await.unwrap().starts_with("HTTP/1.1 403 "));
}

#[tokio::test]
async fn a_failure_after_the_fact_leaves_the_object() {
    let (store, client) = start(None).await;
    store.faults().add(FaultRule::fail_after().operation("PutObject").key_prefix("a/"));
    assert_eq!(put(&client, "a/x", b"1").await, Err("InternalError".to_owned()));
    assert_eq!(store.object("bucket", "a/x").unwrap().body, b"1");
    assert_eq!(put(&client, "a/x", b"2").await, Ok(()), "the rule fires once");
}

#[tokio::test]
async fn a_failure_before_leaves_nothing() {
    let (store, client) = start(None).await;
    store.faults().add(FaultRule::slow_down().operation("PutObject").times(2));
    store.faults().add(FaultRule::new(FaultAction::DropBefore).operation("PutObject"));
    assert_eq!(put(&client, "x", b"1").await, Err("SlowDown".to_owned()));
    assert_eq!(put(&client, "x", b"1").await, Err("SlowDown".to_owned()));
    assert_eq!(put(&client, "x", b"1").await, Err("no reply".to_owned()));
    assert!(store.keys("bucket").is_empty());
    assert_eq!(store.faults().pending(), 0);
}

#[tokio::test]
async fn a_dropped_connection_after_the_fact_leaves_the_object() {
    let (store, client) = start(None).await;
    store.faults().add(FaultRule::new(FaultAction::DropAfter).operation("PutObject"));
    assert_eq!(put(&client, "x", b"1").await, Err("no reply".to_owned()));
    assert_eq!(store.keys("bucket"), ["x"]);
}

#[tokio::test]
async fn bodies_can_be_cut_short_and_changed() {
    let (store, client) = start(None).await;
    let body: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    store.put("bucket", "k", &body);
    let range =
        |client: &Client| client.get_object().bucket("bucket").key("k").range("bytes=0-1048574");
    store
        .faults()
        .add(FaultRule::new(FaultAction::ShortBody { bytes: 700_000 }).operation("GetObject"));
    assert!(range(&client).send().await.unwrap().body.collect().await.is_err());
    store
        .faults()
        .add(FaultRule::new(FaultAction::FlipByte { offset: 600_000 }).operation("GetObject"));
    let flipped = range(&client).send().await.unwrap().body.collect().await.unwrap().to_vec();
    let different: Vec<usize> = (0..flipped.len()).filter(|at| flipped[*at] != body[*at]).collect();
    assert_eq!(different, [600_000]);
    assert_eq!(get(&client, "k").await.unwrap(), body);
}

#[tokio::test]
async fn a_store_that_ignores_conditions_overwrites() {
    let (store, client) = start(None).await;
    let create = || client.put_object().bucket("bucket").key("k").if_none_match("*").send();
    create().await.unwrap();
    assert_eq!(create().await.unwrap_err().code(), Some("PreconditionFailed"));
    store.faults().set_ignore_write_conditions(true);
    create().await.unwrap();
}

async fn upload(client: &Client, key: &str, bodies: &[Vec<u8>]) -> String {
    let started = client.create_multipart_upload().bucket("bucket").key(key).send().await.unwrap();
    let id = started.upload_id().unwrap();
    let mut parts = CompletedMultipartUpload::builder();
    for (number, body) in (1..).zip(bodies) {
        let request =
            client.upload_part().bucket("bucket").key(key).upload_id(id).part_number(number);
        let part = request.body(ByteStream::from(body.clone())).send().await.unwrap();
        let tag = part.e_tag().unwrap();
        parts = parts.parts(CompletedPart::builder().part_number(number).e_tag(tag).build());
    }
    let request = client.complete_multipart_upload().bucket("bucket").key(key).upload_id(id);
    request.multipart_upload(parts.build()).send().await.unwrap().e_tag().unwrap().to_owned()
}

#[tokio::test]
async fn everything_survives_a_restart_in_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let odd = "odd \u{1}/../ё\n//";
    let parts = [vec![1; 5 << 20], b"end".to_vec()];
    {
        let (store, client) = start(Some(directory.path())).await;
        put(&client, odd, b"first").await.unwrap();
        put(&client, odd, b"second").await.unwrap();
        put(&client, "gone", b"gone").await.unwrap();
        upload(&client, "uploaded", &parts).await;
        upload(&client, "uploaded and gone", &parts).await;
        let copy = client.copy_object().bucket("bucket").key("copy").copy_source("bucket/uploaded");
        copy.send().await.unwrap();
        for key in ["gone", "uploaded", "uploaded and gone"] {
            client.delete_object().bucket("bucket").key(key).send().await.unwrap();
        }
        let started =
            client.create_multipart_upload().bucket("bucket").key("open").send().await.unwrap();
        let request = client.upload_part().bucket("bucket").key("open").part_number(1);
        let request =
            request.upload_id(started.upload_id().unwrap()).body(ByteStream::from_static(b"part"));
        request.send().await.unwrap();
        drop(store);
    }
    let files = || std::fs::read_dir(directory.path().join("blobs")).unwrap().count();
    assert_eq!(files(), 4, "one for the object, two for the copy, one for the open upload");
    let (store, client) = start(Some(directory.path())).await;
    assert_eq!(store.keys("bucket"), ["copy", odd]);
    assert_eq!(store.object("bucket", odd).unwrap().body, b"second");
    assert_eq!(get(&client, "copy").await.unwrap(), parts.concat());
    assert_eq!(store.uploads_in_progress("bucket"), 1);
    assert_eq!(files(), 4);
}

#[tokio::test]
async fn a_directory_is_used_by_one_store_and_a_torn_last_line_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    {
        let (_store, client) = start(Some(directory.path())).await;
        put(&client, "k", b"1").await.unwrap();
        let config =
            StoreConfig { directory: Some(directory.path().to_owned()), ..StoreConfig::default() };
        assert!(matches!(S3Store::start(config).await, Err(StartError::Directory(_))));
    }
    let journal = directory.path().join("journal");
    let mut text = std::fs::read(&journal).unwrap();
    text.extend_from_slice(b"{\"PutVersion\":{\"buck");
    std::fs::write(&journal, text).unwrap();
    let (store, _client) = start(Some(directory.path())).await;
    assert_eq!(store.keys("bucket"), ["k"]);
}

#[test]
fn a_store_runs_without_tokio_and_stops_when_dropped() {
    let config = StoreConfig { buckets: vec!["bucket".to_owned()], ..StoreConfig::default() };
    let store = S3Store::start_blocking(config).unwrap();
    let address = store.address();
    assert!(TcpStream::connect(address).is_ok());
    drop(store);
    let config = StoreConfig { buckets: vec!["Not A Bucket".to_owned()], ..StoreConfig::default() };
    assert!(matches!(S3Store::start_blocking(config), Err(StartError::BucketName(_))));
}
