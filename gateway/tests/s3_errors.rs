//! Every answer that S3 or the way to it can give, as canned replies, and the kind it must become
//! (the table of the error kinds in `store/s3_error.rs`).
#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gateway::{
    object::{ETag, ObjectKey},
    store::{
        Expect, ObjectStore, PutOptions, S3Bucket, SendLimits, StoreError, StoreErrorKind as Kind,
        StoreOp, WaitLimits,
    },
};
use gateway_api::{
    Secret,
    settings::{Addressing, S3Settings},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// A server that reads one request per connection and answers always the same.
struct Canned {
    endpoint: String,
    serving: AbortHandle,
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Canned {
    async fn new(reply: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let reply: Arc<[u8]> = reply.into().into();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&reply)));
            }
        });
        Self { endpoint, serving: serving.abort_handle() }
    }

    fn bucket(&self) -> S3Bucket {
        let settings = S3Settings {
            endpoint: self.endpoint.clone(),
            region: "us-east-1".to_owned(),
            addressing: Addressing::Path,
            allow_http: true,
            access_key_id: "key".to_owned(),
            secret_access_key: Secret::new("secret"),
            ..S3Settings::default()
        };
        S3Bucket::new(&settings, &"bucket".parse().unwrap())
    }
}

/// Reads a request to the end of its body, answers, closes.
async fn answer(mut stream: TcpStream, reply: Arc<[u8]>) {
    let mut request = Vec::new();
    let mut buffer = [0; 16 << 10];
    while !is_whole(&request) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => request.extend_from_slice(&buffer[..n]),
        }
    }
    // A client that has gone away is none of the server's business.
    stream.write_all(&reply).await.ok();
    stream.shutdown().await.ok();
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap());
    body.len() >= length
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\
         x-amz-request-id: REQ123\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn error(status: &str, code: &str) -> String {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>words</Message></Error>"
    );
    reply(status, "content-type: application/xml\r\n", &body)
}

fn key() -> ObjectKey {
    ObjectKey::new("dir/file").unwrap()
}

async fn put(canned: &Canned) -> StoreError {
    let body = Bytes::from_static(b"hello");
    canned
        .bucket()
        .put(&key(), body, &PutOptions::default(), &Expect::Absent)
        .await
        .expect_err("the canned reply is an error")
}

async fn get(canned: &Canned) -> StoreError {
    let etag = ETag::new("\"e\"");
    canned.bucket().get(&key(), 0..5, &etag).await.expect_err("the canned reply is an error")
}

#[tokio::test]
async fn every_refusal_becomes_its_kind() {
    for (status, code, kind) in [
        ("404 Not Found", "NoSuchBucket", Kind::NoBucket),
        ("301 Moved Permanently", "PermanentRedirect", Kind::NoBucket),
        ("400 Bad Request", "AuthorizationHeaderMalformed", Kind::NoBucket),
        ("412 Precondition Failed", "PreconditionFailed", Kind::Changed),
        ("409 Conflict", "ConditionalRequestConflict", Kind::Changed),
        ("409 Conflict", "OperationAborted", Kind::Unavailable),
        ("403 Forbidden", "AccessDenied", Kind::Denied),
        ("400 Bad Request", "ExpiredToken", Kind::Credentials),
        ("403 Forbidden", "InvalidAccessKeyId", Kind::Credentials),
        ("403 Forbidden", "SignatureDoesNotMatch", Kind::Credentials),
        ("403 Forbidden", "RequestTimeTooSkewed", Kind::Credentials),
        ("400 Bad Request", "EntityTooLarge", Kind::TooLarge),
        ("503 Slow Down", "SlowDown", Kind::Throttled),
        ("503 Service Unavailable", "ServiceUnavailable", Kind::Unavailable),
        ("429 Too Many Requests", "TooManyRequests", Kind::Throttled),
        ("500 Internal Server Error", "InternalError", Kind::Unavailable),
        ("400 Bad Request", "RequestTimeout", Kind::Timeout),
        ("400 Bad Request", "BadDigest", Kind::Integrity),
        ("400 Bad Request", "XAmzContentChecksumMismatch", Kind::Integrity),
        ("400 Bad Request", "InvalidArgument", Kind::Invalid),
        ("501 Not Implemented", "NotImplemented", Kind::Invalid),
    ] {
        let canned = Canned::new(error(status, code)).await;
        let refused = put(&canned).await;
        assert_eq!(refused.kind, kind, "{status} {code}: {refused}");
        assert_eq!(refused.request_id.as_deref(), Some("REQ123"), "{code}");
        assert!(refused.message.contains("words") && refused.to_string().contains("dir/file"));
    }
}

#[tokio::test]
async fn a_read_that_is_refused_becomes_its_kind() {
    for (status, code, kind) in [
        ("404 Not Found", "NoSuchKey", Kind::NotFound),
        ("412 Precondition Failed", "PreconditionFailed", Kind::Changed),
        ("403 Forbidden", "InvalidObjectState", Kind::Archived),
        ("416 Requested Range Not Satisfiable", "InvalidRange", Kind::Invalid),
    ] {
        let canned = Canned::new(error(status, code)).await;
        assert_eq!(get(&canned).await.kind, kind, "{code}");
    }
}

#[tokio::test]
async fn an_answer_without_words_counts_by_its_status() {
    for (status, head, probe) in [
        ("404 Not Found", Kind::NotFound, Kind::NoBucket),
        ("403 Forbidden", Kind::Denied, Kind::Denied),
        // S3 has words for a GET: whoever is on the way refuses this one request.
        ("400 Bad Request", Kind::Invalid, Kind::Invalid),
        ("412 Precondition Failed", Kind::Changed, Kind::Changed),
        ("503 Service Unavailable", Kind::Throttled, Kind::Throttled),
        ("502 Bad Gateway", Kind::Unavailable, Kind::Unavailable),
        ("301 Moved Permanently", Kind::NoBucket, Kind::NoBucket),
    ] {
        let canned = Canned::new(reply(status, "", "")).await;
        let store = canned.bucket();
        assert_eq!(store.head(&key()).await.unwrap_err().kind, head, "{status}");
        assert_eq!(store.probe("p/").await.unwrap_err().kind, probe, "{status}");
    }
}

/// Goal: no 404 of somebody on the way is S3's word that an object is gone; a deletion is not done by it. Method: S3 has
/// words for each 404 but that of a HEAD, and this one has none, nor has that of the listing which is asked then.
#[tokio::test]
async fn a_404_without_words_is_not_s3_s() {
    let canned = Canned::new(reply("404 Not Found", "", "")).await;
    let store = canned.bucket();
    let etag = ETag::new("\"tag\"");
    for tag in [None, Some(&etag)] {
        assert_eq!(store.delete(&key(), tag).await.unwrap_err().kind, Kind::NoBucket);
    }
}

/// To HEAD S3 answers without words (HTTP's rule), to whatever it refuses: the reason is found out all the same.
#[tokio::test]
async fn a_refused_head_becomes_the_kind_that_a_refused_get_is() {
    for (status, code, kind) in [
        ("400 Bad Request", "ExpiredToken", Kind::Credentials),
        ("400 Bad Request", "AuthorizationHeaderMalformed", Kind::NoBucket),
        ("400 Bad Request", "InvalidRequest", Kind::Invalid),
        ("403 Forbidden", "SignatureDoesNotMatch", Kind::Credentials),
        ("403 Forbidden", "RequestTimeTooSkewed", Kind::Credentials),
        ("403 Forbidden", "AccessDenied", Kind::Denied),
    ] {
        let canned = Canned::new(error(status, code)).await;
        let refused = canned.bucket().head(&key()).await.unwrap_err();
        assert_eq!((refused.kind, refused.op), (kind, StoreOp::HeadObject), "{code}: {refused}");
        assert!(refused.message.contains(code), "{refused}");
    }
}

#[tokio::test]
async fn a_web_page_of_a_proxy_is_not_an_answer_of_s3() {
    let page = reply("502 Bad Gateway", "content-type: text/html\r\n", "<html>bad gateway</html>");
    let canned = Canned::new(page).await;
    assert_eq!(put(&canned).await.kind, Kind::Unavailable);
    assert!(get(&canned).await.kind.is_retryable());
}

#[tokio::test]
async fn a_body_that_is_short_or_wrong_is_never_handed_out() {
    let ok = "206 Partial Content";
    let cut = format!(
        "HTTP/1.1 {ok}\r\ncontent-length: 5\r\netag: \"e\"\r\nconnection: close\r\n\r\nhel"
    );
    // An orderly end of the connection is the store's: not one that passes by itself.
    assert_eq!(get(&Canned::new(cut).await).await.kind, Kind::Integrity);
    let few = reply(ok, "etag: \"e\"\r\n", "hel");
    assert_eq!(get(&Canned::new(few).await).await.kind, Kind::Integrity);
    let all_of_it = reply("200 OK", "etag: \"e\"\r\n", "hello and more than the range");
    assert_eq!(get(&Canned::new(all_of_it).await).await.kind, Kind::Integrity);
    // The CRC32 of something else, on a whole object.
    let wrong = reply("200 OK", "etag: \"e\"\r\nx-amz-checksum-crc32: AAAAAA==\r\n", "hello");
    let refused = get(&Canned::new(wrong).await).await;
    assert_eq!(refused.kind, Kind::Integrity, "{refused}");
    assert!(refused.message.contains("checksum"), "{refused}");
}

/// A server that ignores If-Match on reads; its bytes are of another version (I6).
#[tokio::test]
async fn the_bytes_of_another_version_are_never_handed_out() {
    let other = reply("206 Partial Content", "etag: \"other\"\r\n", "hello");
    assert_eq!(get(&Canned::new(other).await).await.kind, Kind::Changed);
}

#[tokio::test]
async fn an_error_inside_a_200_is_an_error() {
    let inside = error("200 OK", "InternalError");
    let canned = Canned::new(inside).await;
    let store = canned.bucket();
    let completed = store.complete_multipart(&key(), "id", &[], &Expect::Absent).await;
    assert_eq!(completed.unwrap_err().kind, Kind::Unavailable);
    let etag = ETag::new("\"e\"");
    let copied = store.copy(&key(), &etag, &key(), &PutOptions::default(), &Expect::Absent).await;
    assert_eq!(copied.unwrap_err().kind, Kind::Unavailable);
}

/// A server that takes the connection and nothing else.
#[tokio::test]
async fn a_body_that_does_not_move_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let canned = Canned {
        endpoint: format!("http://{}", listener.local_addr().unwrap()),
        serving: tokio::spawn(std::future::pending::<()>()).abort_handle(),
    };
    let short = Duration::from_millis(50);
    // The first part of an upload also asks how that was begun.
    let waits = WaitLimits { connect: short, answer: short, stall: short };
    let limits = SendLimits { stall: short, answer: short };
    let store = canned.bucket().with_send_limits(limits).with_wait_limits(waits);
    // More than the system buffers, so that it stands still; and little, so that no answer comes.
    for bytes in [32 << 20, 5, 0] {
        let (body, options) = (Bytes::from(vec![0; bytes]), PutOptions::default());
        let refused = store.put(&key(), body.clone(), &options, &Expect::Anything).await;
        assert_eq!(refused.unwrap_err().kind, Kind::Timeout, "{bytes}");
        let refused = store.put_part(&key(), "id", 1, body).await;
        assert_eq!(refused.unwrap_err().kind, Kind::Timeout, "{bytes}");
    }
}

#[tokio::test]
async fn what_is_not_http_or_not_there_is_unavailable() {
    let canned = Canned::new("SSH-2.0-server\r\n".to_owned()).await;
    assert_eq!(put(&canned).await.kind, Kind::Unavailable);
    let silent = Canned::new(String::new()).await;
    assert_eq!(put(&silent).await.kind, Kind::Unavailable);
    let gone = Canned::new(String::new()).await;
    gone.serving.abort();
    assert!(put(&gone).await.kind.is_retryable());
}

/// What others have named of an object in whatever bytes keeps nobody from it, and what a copy of it could not say is
/// told apart (semantics.md, "One file is one object").
#[tokio::test]
async fn what_no_request_can_say_again_is_left_out_of_what_head_tells() {
    let headers = [
        &b"etag: \"e\"\r\nlast-modified: Wed, 01 Jan 2025 00:00:00 GMT\r\n"[..],
        b"x-amz-meta-plain: a b\tc\r\n",
        // As UTF-8, and as ISO 8859-1.
        b"x-amz-meta-utf8: caf\xc3\xa9\r\nx-amz-meta-latin: caf\xe9\r\n",
        b"content-disposition: attachment; filename=\"caf\xe9\"\r\n",
        b"content-encoding: aws-chunked,gzip\r\ncontent-language: fr\r\n",
    ];
    let headers = headers.concat();
    let reply = [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n", &headers[..]];
    let canned = Canned::new([&reply.concat()[..], b"\r\n"].concat()).await;
    let head = canned.bucket().head(&key()).await.unwrap();
    let user: Vec<_> = head.user.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    assert_eq!(user, [("plain", "a b\tc")]);
    assert_eq!(head.headers.content_encoding.as_deref(), Some("gzip"));
    assert_eq!(head.headers.content_language.as_deref(), Some("fr"));
    assert_eq!(head.headers.content_disposition, None);
    let mut unsayable = head.unsayable;
    unsayable.sort_unstable();
    assert_eq!(unsayable, ["content-disposition", "latin", "utf8"]);
}
