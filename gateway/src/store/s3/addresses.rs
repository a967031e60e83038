//! Where requests go, case by case: the URL and the signed headers that the SDK would send, captured
//! before they leave.
use std::sync::{Arc, Mutex};

use aws_sdk_s3::{
    Client,
    config::{HttpClient, RuntimeComponents, http::HttpRequest},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    result::ConnectorError,
};
use bytes::Bytes;
use gateway_api::{
    Secret,
    settings::{Addressing, S3Settings},
};

use super::{Checksums, S3Bucket};
use crate::{
    object::{ETag, ObjectKey},
    store::{Expect, ObjectStore, PutOptions},
};

/// Keeps the requests and answers none.
#[derive(Clone, Debug, Default)]
struct Capture {
    sent: Arc<Mutex<Vec<HttpRequest>>>,
}

impl HttpConnector for Capture {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.sent.lock().unwrap().push(request);
        HttpConnectorFuture::ready(Err(ConnectorError::io("captured".into())))
    }
}

impl HttpClient for Capture {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl Capture {
    fn take(&self) -> HttpRequest {
        self.sent.lock().unwrap().pop().expect("a request was sent")
    }
}

/// A bucket whose requests are captured.
fn captured(settings: &S3Settings, bucket: &str) -> (S3Bucket, Capture) {
    let settings = S3Settings {
        region: "ap-northeast-2".to_owned(),
        access_key_id: "AKID".to_owned(),
        secret_access_key: Secret::new("secret"),
        ..settings.clone()
    };
    let bucket = S3Bucket::new(&settings, &bucket.parse().unwrap());
    let capture = Capture::default();
    let config = bucket.client.config().to_builder().http_client(capture.clone());
    (S3Bucket { client: Client::from_conf(config.build()), ..bucket }, capture)
}

fn header<'r>(request: &'r HttpRequest, name: &str) -> &'r str {
    request.headers().get(name).unwrap_or_default()
}

fn key() -> ObjectKey {
    ObjectKey::new("dir/a b").unwrap()
}

async fn put(bucket: &S3Bucket) {
    let body = Bytes::from_static(b"123456789");
    bucket.put(&key(), body, &PutOptions::default(), &Expect::Absent).await.unwrap_err();
}

const VPCE: &str = "https://bucket.vpce-0a1b-2c3d.s3.ap-northeast-2.vpce.amazonaws.com";
const ARN: &str = "arn:aws:s3:ap-northeast-2:111122223333:accesspoint/onprem";
const ALIAS: &str = "onprem-abcdefghijklmnopqrstuvwxyz12345678-s3alias";

/// Every kind of endpoint and bucket, and the address that its objects have.
#[tokio::test]
async fn each_endpoint_gets_the_host_and_the_path_that_it_expects() {
    let public = S3Settings::default();
    let fips = S3Settings { fips: true, ..S3Settings::default() };
    let dual = S3Settings { dual_stack: true, ..S3Settings::default() };
    let both = S3Settings { fips: true, dual_stack: true, ..S3Settings::default() };
    let path = |settings: S3Settings| S3Settings { addressing: Addressing::Path, ..settings };
    let at = |endpoint: &str| S3Settings {
        endpoint: endpoint.to_owned(),
        allow_http: true,
        ..S3Settings::default()
    };
    let accesspoint = VPCE.replace("bucket", "accesspoint");
    let aws = "ap-northeast-2.amazonaws.com/dir/a%20b";
    let vpce = "vpce-0a1b-2c3d.s3.ap-northeast-2.vpce.amazonaws.com";
    for (settings, bucket, url) in [
        (public.clone(), "sales", format!("https://sales.s3.{aws}")),
        (
            path(public.clone()),
            "sales",
            "https://s3.ap-northeast-2.amazonaws.com/sales/dir/a%20b".to_owned(),
        ),
        // No certificate covers a dot before the endpoint's name.
        (
            public.clone(),
            "my.sales",
            "https://s3.ap-northeast-2.amazonaws.com/my.sales/dir/a%20b".to_owned(),
        ),
        (fips.clone(), "sales", format!("https://sales.s3-fips.{aws}")),
        (dual, "sales", format!("https://sales.s3.dualstack.{aws}")),
        (both, "sales", format!("https://sales.s3-fips.dualstack.{aws}")),
        (at(VPCE), "sales", format!("https://sales.bucket.{vpce}/dir/a%20b")),
        (path(at(VPCE)), "sales", format!("https://bucket.{vpce}/sales/dir/a%20b")),
        (public.clone(), ALIAS, format!("https://{ALIAS}.s3.{aws}")),
        (public, ARN, format!("https://onprem-111122223333.s3-accesspoint.{aws}")),
        (fips, ARN, format!("https://onprem-111122223333.s3-accesspoint-fips.{aws}")),
        (
            at(&accesspoint),
            ARN,
            format!("https://onprem-111122223333.accesspoint.{vpce}/dir/a%20b"),
        ),
        (
            path(at("http://10.0.2.2:9000")),
            "sales",
            "http://10.0.2.2:9000/sales/dir/a%20b".to_owned(),
        ),
        (
            at("https://minio.example:9443"),
            "sales",
            "https://sales.minio.example:9443/dir/a%20b".to_owned(),
        ),
        (
            path(at("https://store.example/s3")),
            "sales",
            "https://store.example/s3/sales/dir/a%20b".to_owned(),
        ),
    ] {
        let (store, capture) = captured(&settings, bucket);
        put(&store).await;
        let request = capture.take();
        let sent = request.uri().split('?').next().unwrap_or_default();
        assert_eq!(sent, url, "{bucket} at {:?}", settings.endpoint);
        let scope = header(&request, "authorization");
        assert!(scope.contains("/ap-northeast-2/s3/aws4_request"), "{scope}");
    }
}

/// The ARN says the region, whatever the settings' region is.
#[tokio::test]
async fn an_access_point_s_arn_names_the_region() {
    let arn = "arn:aws:s3:eu-west-1:111122223333:accesspoint:onprem";
    let (store, capture) = captured(&S3Settings::default(), arn);
    put(&store).await;
    let request = capture.take();
    assert!(
        request.uri().starts_with(
            "https://onprem-111122223333.s3-accesspoint.eu-west-1.amazonaws.com/dir/a%20b"
        ),
        "{}",
        request.uri()
    );
    assert!(header(&request, "authorization").contains("/eu-west-1/s3/aws4_request"));
}

#[tokio::test]
async fn a_copy_names_its_source_as_the_bucket_is_named() {
    for (bucket, source) in [
        ("sales", "sales/dir/a%20b".to_owned()),
        (ALIAS, format!("{ALIAS}/dir/a%20b")),
        (ARN, format!("{ARN}/object/dir/a%20b")),
    ] {
        let (store, capture) = captured(&S3Settings::default(), bucket);
        let etag = ETag::new("\"e\"");
        let options = PutOptions::default();
        store.copy(&key(), &etag, &key(), &options, &Expect::Anything).await.unwrap_err();
        assert_eq!(header(&capture.take(), "x-amz-copy-source"), source);
        store.copy_part(&key(), "id", 1, &key(), &etag, 0..9).await.unwrap_err();
        assert_eq!(header(&capture.take(), "x-amz-copy-source"), source);
    }
}

#[tokio::test]
async fn a_checksum_is_on_every_body_or_on_none() {
    // CRC-64/NVME of "123456789" (its published check value, ae8b14860a799888), in base64.
    for (checksums, expected) in
        [(Checksums::Crc64Nvme, "rosUhgp5mIg="), (Checksums::PayloadSignature, "")]
    {
        let (store, capture) = captured(&S3Settings::default(), "sales");
        let store = store.with_checksums(checksums);
        put(&store).await;
        let whole = capture.take();
        let body = Bytes::from_static(b"123456789");
        store.begun.note("id", checksums);
        store.put_part(&key(), "id", 1, body).await.unwrap_err();
        for request in [whole, capture.take()] {
            assert_eq!(header(&request, "x-amz-checksum-crc64nvme"), expected);
            assert_eq!(header(&request, "x-amz-checksum-crc32"), "");
            let named = header(&request, "x-amz-sdk-checksum-algorithm");
            assert!(named.is_empty() || !expected.is_empty(), "announced and not sent");
            let signed = header(&request, "x-amz-content-sha256");
            assert_eq!(signed.len(), 64, "the signature covers the body: {signed}");
        }
    }
}

/// Credentials for a while come with a token, which each request has to carry (S3 SigV4, temporary security
/// credentials).
#[tokio::test]
async fn a_session_token_goes_along_under_the_signature() {
    let (store, capture) = captured(&S3Settings::default(), "sales");
    put(&store).await;
    assert_eq!(header(&capture.take(), "x-amz-security-token"), "");
    let settings = S3Settings { session_token: Secret::new("token"), ..S3Settings::default() };
    let (store, capture) = captured(&settings, "sales");
    put(&store).await;
    let whole = capture.take();
    store.head(&key()).await.unwrap_err();
    for request in [whole, capture.take()] {
        assert_eq!(header(&request, "x-amz-security-token"), "token");
        assert!(header(&request, "authorization").contains("x-amz-security-token"));
    }
}

#[tokio::test]
async fn a_requester_who_pays_says_so_under_the_signature() {
    let (store, capture) = captured(&S3Settings::default(), "sales");
    put(&store).await;
    assert_eq!(header(&capture.take(), "x-amz-request-payer"), "");
    put(&store.with_requester_pays(true)).await;
    let request = capture.take();
    assert_eq!(header(&request, "x-amz-request-payer"), "requester");
    assert!(header(&request, "authorization").contains("x-amz-request-payer"));
}

/// Without keys nothing is sent, and the kind says that credentials are what is missing.
#[tokio::test]
async fn a_credentials_file_that_is_not_there_is_said() {
    let settings = S3Settings {
        region: "ap-northeast-2".to_owned(),
        credentials_file: "/nowhere/keys".to_owned(),
        ..S3Settings::default()
    };
    let bucket = S3Bucket::new(&settings, &"sales".parse().unwrap());
    let refused = bucket.head(&key()).await.unwrap_err();
    assert_eq!(refused.kind, crate::store::StoreErrorKind::Credentials, "{refused}");
    assert!(refused.message.contains("/nowhere/keys"), "{refused}");
}
