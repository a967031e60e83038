//! What a server may answer to a listing, as canned replies over TCP: whatever it is, an error is not
//! absence, and a listing comes to an end.
use std::sync::Arc;

use gateway::{
    clock::Clock,
    refresh::{RefreshError, Refresher},
    share::{Share, ShareHealth},
    store::{RetryingStore, S3Bucket, StoreError, StoreErrorKind},
};
use gateway_api::status::{HealthEvent, HealthEventKind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use crate::world::{BUCKET, World, s3_settings};

/// A server that answers its requests one after the other from a list, the last again and again.
struct Script {
    endpoint: String,
    serving: AbortHandle,
}

impl Drop for Script {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Script {
    async fn new(replies: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let mut replies = replies.into_iter().peekable();
            let mut reply = String::new();
            while let Ok((stream, _)) = listener.accept().await {
                reply = replies.next().unwrap_or(reply);
                answer(stream, &reply).await;
            }
        });
        Self { endpoint, serving: serving.abort_handle() }
    }
}

/// Reads a request without a body, answers, closes.
async fn answer(mut stream: TcpStream, reply: &str) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => request.extend_from_slice(&buffer[..n]),
        }
    }
    // A client that has gone away is none of the server's business.
    stream.write_all(reply.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}

fn reply(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A page with these keys; `next` is its continuation token, empty for a truncated page without one.
fn page(keys: &[&str], next: Option<&str>) -> String {
    let object = |key: &&str| {
        format!(
            "<Contents><Key>{key}</Key><Size>1</Size><ETag>\"e\"</ETag>\
             <LastModified>2023-11-14T22:13:20.000Z</LastModified></Contents>"
        )
    };
    let token = match next {
        None | Some("") => String::new(),
        Some(token) => format!("<NextContinuationToken>{token}</NextContinuationToken>"),
    };
    let body = format!(
        "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>{}</IsTruncated>{token}{}\
         </ListBucketResult>",
        next.is_some(),
        keys.iter().map(object).collect::<String>()
    );
    reply("200 OK", &body)
}

fn refusal(status: &str, code: &str) -> String {
    reply(status, &format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>"))
}

/// The world's share, with the server that follows the script for its bucket.
fn refresher(w: &World, script: &Script) -> Refresher {
    let mut settings = s3_settings(&w.s3);
    settings.endpoint.clone_from(&script.endpoint);
    let name = w.share.settings.name.clone();
    let bucket = S3Bucket::new(&settings, &BUCKET.parse().unwrap());
    let share = Share {
        id: w.share.id,
        root: w.share.root,
        settings: w.share.settings.clone(),
        store: Arc::new(RetryingStore::new(Arc::new(bucket))),
        health: ShareHealth::new(name, w.events.clone()),
        gateway_id: w.share.gateway_id.clone(),
        catalog: w.share.catalog,
    };
    let clock = Arc::clone(&w.clock) as Arc<dyn Clock>;
    let (catalog, cache) = (w.catalog.clone(), w.cache.clone());
    Refresher::new(Arc::new(share), catalog, cache, clock, w.tasks.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_cannot_be_trusted_removes_nothing() {
    let first = || page(&["p/new"], Some("1"));
    let cut = {
        let whole = page(&["p/new"], None);
        whole[..whole.len() - 30].to_owned()
    };
    let mut invalid = 0;
    for (what, replies) in [
        ("403 on the second page", vec![first(), refusal("403 Forbidden", "AccessDenied")]),
        ("404 on the second page", vec![first(), refusal("404 Not Found", "NoSuchKey")]),
        ("no such bucket", vec![refusal("404 Not Found", "NoSuchBucket")]),
        ("500 on the second page", vec![first(), refusal("500 Oops", "InternalError")]),
        ("a truncated page without a token", vec![page(&["p/new"], Some(""))]),
        ("a token again", vec![page(&["p/new"], Some("1")), page(&["p/new"], Some("1"))]),
        (
            "tokens in a circle",
            vec![first(), page(&["p/new"], Some("2")), page(&["p/new"], Some("1"))],
        ),
        ("a key of elsewhere", vec![page(&["p/new", "q/x"], None)]),
        ("a page that breaks off", vec![first(), cut]),
        ("no page at all", vec![reply("200 OK", "")]),
        ("the page of a proxy", vec![reply("200 OK", "<html><body>Sign in</body></html>")]),
        ("an error in a 200", vec![refusal("200 OK", "InternalError")]),
    ] {
        let w = World::new().await;
        w.foreign("p/a", b"1");
        w.foreign("p/dir/b", b"1");
        w.refresher.now(w.share.root).await.unwrap();
        let script = Script::new(replies).await;
        let listed = refresher(&w, &script).now(w.share.root).await;
        let is_invalid = matches!(
            listed.expect_err(what),
            RefreshError::Store(StoreError { kind: StoreErrorKind::Invalid, .. })
        );
        invalid += u32::from(is_invalid);
        let told = |event: &HealthEvent| event.kind == HealthEventKind::ListingInvalid;
        let events = w.events.list();
        assert_eq!(events.iter().any(told), is_invalid, "{what}: {events:?}");
        for name in ["a", "dir"] {
            assert!(w.entry(name).await.is_some(), "{what}: {name} is gone");
        }
        // The next listing tells the truth again.
        w.refresher.now(w.share.root).await.unwrap();
        assert_eq!(w.names().await, ["a", "dir"], "{what}");
    }
    assert!(invalid >= 4, "only {invalid} were found to be no listings");
}

#[tokio::test(flavor = "multi_thread")]
async fn order_does_not_matter_and_a_name_may_come_twice() {
    let w = World::new().await;
    w.foreign("p/gone", b"1");
    w.refresher.now(w.share.root).await.unwrap();
    let script = Script::new(vec![
        page(&["p/z", "p/m"], Some("1")),
        page(&[], Some("2")),
        page(&["p/a", "p/m"], None),
    ])
    .await;
    refresher(&w, &script).now(w.share.root).await.unwrap();
    assert_eq!(w.names().await, ["a", "m", "z"]);
}
