//! The way to S3 where it is not the plain one: an authority of one's own, an HTTP proxy. A TLS front
//! and a proxy of this file stand before the S3 server, and pass on what it says.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]
mod connection;
mod fronts;

use bytes::Bytes;
use gateway::{
    object::ObjectKey,
    store::{Expect, ObjectStore, PutOptions, S3Bucket, StoreError, StoreErrorKind as Kind},
};
use gateway_api::{
    Secret,
    settings::{Addressing, S3Settings},
};

use fronts::{AUTHORITY, proxy, s3, tls_front};

fn settings(endpoint: String) -> S3Settings {
    S3Settings {
        endpoint,
        region: "us-east-1".to_owned(),
        addressing: Addressing::Path,
        access_key_id: "tidegate".to_owned(),
        secret_access_key: Secret::new("tidegate-secret"),
        ..S3Settings::default()
    }
}

/// Puts an object and reads it back.
async fn round_trip(settings: &S3Settings) -> Result<(), StoreError> {
    let bucket = S3Bucket::new(settings, &"bucket".parse().unwrap());
    let key = ObjectKey::new("dir/a b").unwrap();
    let body = Bytes::from(vec![7; 300_000]);
    let options = PutOptions::default();
    let etag = bucket.put(&key, body.clone(), &options, &Expect::Anything).await?.etag;
    assert!(bucket.get(&key, 0..300_000, &etag).await? == body);
    Ok(())
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_given_and_only_then() {
    let s3 = s3().await;
    let front = tls_front(s3.address()).await;
    let plain = settings(format!("https://localhost:{}", front.address.port()));
    let refused = round_trip(&plain).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable);
    assert!(refused.message.contains("certificate"), "{refused}");
    let trusting = S3Settings { ca_bundle: AUTHORITY.to_owned(), ..plain };
    round_trip(&trusting).await.unwrap();
    assert_eq!(s3.keys("bucket"), ["dir/a b"]);
    // The authority is trusted for the names that its certificates say, and for no other.
    let other =
        S3Settings { endpoint: format!("https://127.0.0.2:{}", front.address.port()), ..trusting };
    let refused = round_trip(&other).await.unwrap_err();
    assert!(refused.message.contains("certificate"), "{refused}");
}

#[tokio::test]
async fn https_goes_through_the_proxy_unread() {
    let s3 = s3().await;
    let front = tls_front(s3.address()).await;
    let (proxy, heads) = proxy(front.address, Some("me:it's 100% p@ss:word")).await;
    let settings = S3Settings {
        ca_bundle: AUTHORITY.to_owned(),
        http_proxy: format!("http://{}", proxy.address),
        proxy_user: "me".to_owned(),
        proxy_password: Secret::new("it's 100% p@ss:word"),
        // No name server knows the name: the proxy alone resolves it.
        ..settings("https://store.test".to_owned())
    };
    round_trip(&settings).await.unwrap();
    let heads = heads.lock().unwrap();
    assert!(!heads.is_empty());
    for head in heads.iter() {
        assert!(head.starts_with("CONNECT store.test:443 HTTP/1.1\r\n"), "{head}");
        assert!(!head.contains("dir/"), "{head}");
    }
}

#[tokio::test]
async fn a_proxy_that_lets_nobody_in_is_not_the_store_s_refusal() {
    let s3 = s3().await;
    let front = tls_front(s3.address()).await;
    let (proxy, heads) = proxy(front.address, Some("me:right")).await;
    let settings = S3Settings {
        ca_bundle: AUTHORITY.to_owned(),
        http_proxy: format!("http://{}", proxy.address),
        proxy_user: "me".to_owned(),
        proxy_password: Secret::new("wrong"),
        ..settings("https://store.test".to_owned())
    };
    let refused = round_trip(&settings).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable);
    assert!(!format!("{refused:?}{settings:?}").contains("wrong"), "{refused:?}");
    assert_eq!(heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn plain_http_is_asked_of_the_proxy() {
    let s3 = s3().await;
    let (proxy, heads) = proxy(s3.address(), None).await;
    let settings = S3Settings {
        allow_http: true,
        http_proxy: format!("http://{}", proxy.address),
        ..settings("http://store.test".to_owned())
    };
    round_trip(&settings).await.unwrap();
    let heads = heads.lock().unwrap();
    let first = heads.first().unwrap();
    assert!(first.starts_with("PUT http://store.test/bucket/dir/a%20b"), "{first}");
}

#[tokio::test]
async fn what_needs_no_proxy_does_not_meet_it() {
    let s3 = s3().await;
    let (proxy, heads) = proxy(s3.address(), None).await;
    let through = S3Settings {
        allow_http: true,
        http_proxy: format!("http://{}", proxy.address),
        ..settings(s3.endpoint())
    };
    for no_proxy in ["127.0.0.0/8", "127.0.0.1"] {
        let around = S3Settings { no_proxy: vec![no_proxy.to_owned()], ..through.clone() };
        round_trip(&around).await.unwrap();
        assert!(heads.lock().unwrap().is_empty(), "{no_proxy}");
    }
    round_trip(&through).await.unwrap();
    assert!(!heads.lock().unwrap().is_empty());
}
