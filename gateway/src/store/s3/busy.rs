//! How long the store may be busy with what it does by itself: a time that passes when a test lets it.
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_sdk_s3::{
    Client,
    config::{
        AsyncSleep, HttpClient, RuntimeComponents, SharedAsyncSleep, Sleep,
        http::{HttpRequest, HttpResponse},
    },
};
use aws_smithy_runtime_api::{
    client::http::{
        HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use gateway_api::{Secret, settings::S3Settings};
use tokio::sync::{oneshot, watch};

use super::S3Bucket;
use crate::{
    object::{ETag, ObjectKey},
    store::{Expect, ObjectStore, PutOptions, StoreError, StoreErrorKind, UploadedPart},
};

/// Long enough for a busy machine, short enough to see a test hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Seconds that pass only when all who take part are asleep.
#[derive(Clone, Debug)]
struct Time(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    seconds: AtomicU64,
    asleep: Mutex<Vec<(u64, oneshot::Sender<()>)>>,
    /// How many have ever gone to sleep.
    began: watch::Sender<usize>,
}

impl Time {
    fn new() -> Self {
        let (seconds, asleep) = (AtomicU64::new(0), Mutex::default());
        Self(Arc::new(Inner { seconds, asleep, began: watch::Sender::new(0) }))
    }

    fn now(&self) -> u64 {
        self.0.seconds.load(Ordering::SeqCst)
    }

    async fn rest(self, seconds: u64) {
        let (wake, woken) = oneshot::channel();
        let until = self.now() + seconds;
        self.0.asleep.lock().unwrap_or_else(PoisonError::into_inner).push((until, wake));
        self.0.began.send_modify(|began| *began += 1);
        // Who is never woken sleeps for ever.
        if woken.await.is_err() {
            std::future::pending().await
        }
    }

    /// Waits until `sleepers` have gone to sleep since the beginning, and wakes the first that would wake.
    async fn pass(&self, sleepers: usize) {
        let mut began = self.0.began.subscribe();
        let asleep = began.wait_for(|began| *began >= sleepers);
        drop(tokio::time::timeout(PATIENCE, asleep).await.expect("they sleep").unwrap());
        let mut asleep = self.0.asleep.lock().unwrap();
        asleep.sort_by_key(|(until, _)| *until);
        let (until, wake) = asleep.remove(0);
        self.0.seconds.store(until, Ordering::SeqCst);
        wake.send(()).unwrap();
    }
}

impl AsyncSleep for Time {
    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(self.clone().rest(duration.as_secs()))
    }
}

/// A server that answers everything with the same body, after so many seconds.
#[derive(Clone, Debug)]
struct Slow {
    time: Time,
    seconds: u64,
    body: &'static str,
}

impl HttpConnector for Slow {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let Self { time, seconds, body } = self.clone();
        HttpConnectorFuture::new(async move {
            time.rest(seconds).await;
            let ok = StatusCode::try_from(200_u16).expect("a status");
            Ok(HttpResponse::new(ok, SdkBody::from(body)))
        })
    }
}

impl HttpClient for Slow {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// The request's answer and when it came, from a server that takes so many seconds for it.
async fn asked<T>(
    (seconds, body): (u64, &'static str),
    request: impl AsyncFnOnce(S3Bucket) -> Result<T, StoreError>,
) -> (Result<T, StoreErrorKind>, u64) {
    let settings = S3Settings {
        region: "us-east-1".to_owned(),
        access_key_id: "AKID".to_owned(),
        secret_access_key: Secret::new("secret"),
        ..S3Settings::default()
    };
    let bucket = S3Bucket::new(&settings, &"sales".parse().unwrap());
    let time = Time::new();
    let config = bucket.client.config().to_builder();
    let config = config.sleep_impl(SharedAsyncSleep::new(time.clone()));
    let config = config.http_client(Slow { time: time.clone(), seconds, body });
    let bucket = S3Bucket { client: Client::from_conf(config.build()), ..bucket };
    // Two sleep: who waits for the answer, and the server.
    let (answer, ()) = tokio::join!(request(bucket), time.pass(2));
    (answer.map_err(|error| error.kind), time.now())
}

const COPIED: &str = "<CopyObjectResult><ETag>\"e\"</ETag></CopyObjectResult>";
const PART_COPIED: &str = "<CopyPartResult><ETag>\"e\"</ETag></CopyPartResult>";
const COMPLETED: &str =
    "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>";

fn key() -> ObjectKey {
    ObjectKey::new("k").unwrap()
}

async fn copy(bucket: S3Bucket) -> Result<ETag, StoreError> {
    let (etag, options) = (ETag::new("\"e\""), PutOptions::default());
    Ok(bucket.copy(&key(), &etag, &key(), &options, &Expect::Anything).await?.etag)
}

async fn copy_part(bucket: S3Bucket) -> Result<ETag, StoreError> {
    let etag = ETag::new("\"e\"");
    Ok(bucket.copy_part(&key(), "id", 1, &key(), &etag, 0..9).await?.etag)
}

async fn complete(bucket: S3Bucket) -> Result<ETag, StoreError> {
    let parts = [UploadedPart { number: 1, etag: ETag::new("\"e\"") }];
    Ok(bucket.complete_multipart(&key(), "id", &parts, &Expect::Anything).await?.etag)
}

/// Goal: a store that copies for long, or puts ten thousand parts together, is waited for; one that says nothing
/// for a quarter of an hour is given up, in a way that is tried again. Method: the SDK's own time is one
/// that jumps to whatever comes first, the answer or the end of patience.
#[tokio::test]
async fn a_busy_store_is_waited_for_a_quarter_of_an_hour_and_no_longer() {
    let done = Ok(ETag::new("\"e\""));
    for seconds in [800, 899] {
        assert_eq!(asked((seconds, COPIED), copy).await, (done.clone(), seconds));
        assert_eq!(asked((seconds, PART_COPIED), copy_part).await, (done.clone(), seconds));
        assert_eq!(asked((seconds, COMPLETED), complete).await, (done.clone(), seconds));
    }
    let given_up = (Err(StoreErrorKind::Timeout), 900);
    for seconds in [901, 100_000] {
        assert_eq!(asked((seconds, COPIED), copy).await, given_up);
        assert_eq!(asked((seconds, PART_COPIED), copy_part).await, given_up);
        assert_eq!(asked((seconds, COMPLETED), complete).await, given_up);
    }
    assert!(StoreErrorKind::Timeout.is_retryable());
}

/// What somebody waits for is not waited for that long.
#[tokio::test]
async fn a_store_that_does_not_answer_a_look_is_given_up_after_twenty_seconds() {
    let head = async |bucket: S3Bucket| bucket.head(&key()).await;
    let list = async |bucket: S3Bucket| bucket.list("p/", None).await;
    let delete = async |bucket: S3Bucket| bucket.delete(&key(), None).await;
    assert_eq!(asked((900, ""), head).await, (Err(StoreErrorKind::Timeout), 20));
    assert_eq!(asked((900, ""), list).await, (Err(StoreErrorKind::Timeout), 20));
    assert_eq!(asked((900, ""), delete).await, (Err(StoreErrorKind::Timeout), 20));
    assert_eq!(asked((19, ""), delete).await, (Ok(()), 19));
}
