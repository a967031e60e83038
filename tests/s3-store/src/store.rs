//! A running store, and the direct look into it that tests use.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::blob::Body;
use crate::config::{StartError, StoreConfig};
use crate::faults::Faults;
use crate::history::History;
use crate::model::{Algorithm, Change, Content, Digests, Headers, Refused, Upload, Versioning};
use crate::server::{self, RequestCounts};
use crate::storage::Storage;

/// A running S3 server. Stops when dropped; with a directory everything is kept for the next start.
#[derive(Debug)]
pub struct S3Store {
    address: SocketAddr,
    storage: Arc<Storage>,
    faults: Faults,
    counts: RequestCounts,
    open: Arc<AtomicUsize>,
    serving: AbortHandle,
    /// Of `start_blocking`.
    runtime: Option<tokio::runtime::Runtime>,
}

/// An object as a direct look finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Its bytes.
    pub body: Vec<u8>,
    /// Without quotes.
    pub etag: String,
    /// `x-amz-meta-*`, names without the prefix.
    pub user_meta: BTreeMap<String, String>,
    /// As the writer named it; empty where it named none.
    pub content_type: String,
    /// `STANDARD` where the writer named none.
    pub storage_class: String,
    /// `x-amz-server-side-encryption` and the KMS key; `None` where the writer named none.
    pub encryption: Option<(String, Option<String>)>,
    /// The canned ACL; empty where the writer named none.
    pub acl: String,
    /// What else the writer named: `cache-control`, `content-disposition`, `content-encoding`,
    /// `content-language`, and `expires` in seconds since 1970.
    pub named: BTreeMap<&'static str, String>,
    /// Whole seconds, as S3 keeps it.
    pub last_modified: SystemTime,
    /// Versions of this key, delete markers included; 1 in a bucket without versions.
    pub versions: usize,
    /// `x-amz-version-id`; `null` in a bucket without versions.
    pub version_id: String,
}

impl S3Store {
    /// Starts a store on the current tokio runtime, which must outlive it.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: StoreConfig) -> Result<Self, StartError> {
        let storage = Arc::new(Storage::open(config.directory.as_deref())?);
        make_buckets(&storage, &config.buckets)?;
        let listen = |source| StartError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (faults, counts) = (Faults::default(), RequestCounts::default());
        let front = server::front(&config, Arc::clone(&storage), &faults, &counts);
        let open = Arc::default();
        let serving = server::serve(listener, front, Arc::clone(&open));
        let serving = tokio::spawn(serving).abort_handle();
        Ok(Self { address, storage, faults, counts, open, serving, runtime: None })
    }

    /// Starts a store on threads of its own, for callers without tokio.
    ///
    /// # Errors
    /// See [`StartError`].
    ///
    /// # Panics
    /// When called from within a tokio runtime; use [`S3Store::start`] there.
    pub fn start_blocking(config: StoreConfig) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("s3-store")
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let mut store = runtime.block_on(Self::start(config))?;
        store.runtime = Some(runtime);
        Ok(store)
    }

    /// Keeps every change from here on; `stamp` is asked at each, before anybody is told of it.
    #[must_use]
    pub fn record(&self, stamp: impl Fn() -> u64 + Send + 'static) -> History {
        let history = History::default();
        self.storage.record(history.recorder(Box::new(stamp)));
        history
    }

    pub(crate) fn replay(&self, changes: impl IntoIterator<Item = Change<Body>>) {
        self.storage.replay(changes);
    }

    /// Where the store listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for S3 clients, such as `http://127.0.0.1:9000`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The store's faults, to be changed at any time.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// The keys of current objects in UTF-8 byte order; empty where there is no such bucket.
    #[must_use]
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.storage.read(|catalog| {
            let Ok(bucket) = catalog.bucket(bucket) else {
                return Vec::new();
            };
            bucket.keys.keys().filter(|key| bucket.current(key).is_some()).cloned().collect()
        })
    }

    /// The current object of a key.
    ///
    /// # Panics
    /// Where the store's directory cannot be read.
    #[must_use]
    pub fn object(&self, bucket: &str, key: &str) -> Option<StoredObject> {
        let (content, (modified, version_id), versions) = self.storage.read(|catalog| {
            let bucket = catalog.bucket(bucket).ok()?;
            let (version, content) = bucket.read(key, None).ok()?;
            let versions = bucket.keys.get(key).map_or(0, Vec::len);
            Some((content.clone(), (version.modified, version.id.clone()), versions))
        })?;
        let body = content
            .body
            .to_vec()
            .unwrap_or_else(|error| panic!("cannot read {bucket}/{key}: {error}"));
        Some(StoredObject {
            body,
            etag: content.etag,
            named: named(&content.headers),
            user_meta: content.headers.user_meta,
            content_type: content.headers.content_type.unwrap_or_default(),
            encryption: content.headers.encryption.map(|how| (how.algorithm, how.kms_key)),
            acl: content.headers.acl.unwrap_or_default(),
            storage_class: content.headers.storage_class.unwrap_or_else(|| "STANDARD".to_owned()),
            last_modified: UNIX_EPOCH + Duration::from_secs(u64::try_from(modified).unwrap_or(0)),
            versions,
            version_id,
        })
    }

    /// Puts an object as another S3 client would, without faults; makes the bucket where it is missing.
    ///
    /// # Panics
    /// Where the store's directory cannot be written.
    pub fn put(&self, bucket: &str, key: &str, body: &[u8]) {
        let mut digests = Digests::new(Algorithm::Crc64Nvme);
        digests.update(body);
        let (md5, checksum) = digests.finish();
        let kept = self
            .storage
            .home
            .keep(body)
            .unwrap_or_else(|error| panic!("cannot keep {bucket}/{key}: {error}"));
        let content = Content {
            body: kept,
            size: body.len() as u64,
            etag: crate::hex(&md5),
            checksum,
            headers: Headers::default(),
            part_sizes: Vec::new(),
        };
        let put = make_bucket(&self.storage, bucket).and_then(|()| {
            self.storage.commit(|catalog, at| {
                let version =
                    catalog.bucket(bucket)?.next_version(Some(content), at.sequence, at.now);
                Ok((
                    Some(Change::PutVersion {
                        bucket: bucket.to_owned(),
                        key: key.to_owned(),
                        version,
                    }),
                    (),
                ))
            })
        });
        put.unwrap_or_else(|error| panic!("cannot put {bucket}/{key}: {error}"));
    }

    /// Begins an upload in parts as another S3 client did at `initiated`, in seconds since 1970; makes the
    /// bucket where it is missing.
    ///
    /// # Panics
    /// Where the store's directory cannot be written.
    pub fn begin_upload(&self, bucket: &str, key: &str, initiated: i64) {
        let begun = make_bucket(&self.storage, bucket).and_then(|()| {
            self.storage.commit(|catalog, at| {
                catalog.bucket(bucket)?;
                let upload = Upload::new(key, at.sequence, initiated);
                Ok((Some(Change::CreateUpload { bucket: bucket.to_owned(), upload }), ()))
            })
        });
        begun.unwrap_or_else(|error| panic!("cannot begin an upload of {bucket}/{key}: {error}"));
    }

    /// Has the bucket keep old versions from here on (S3 PutBucketVersioning, Enabled); makes it where it is
    /// missing.
    ///
    /// # Panics
    /// Where the store's directory cannot be written.
    pub fn keep_versions(&self, bucket: &str) {
        let kept = make_bucket(&self.storage, bucket).and_then(|()| {
            self.storage.commit(|_, _| {
                let versioning = Versioning::Enabled;
                Ok((Some(Change::SetVersioning { bucket: bucket.to_owned(), versioning }), ()))
            })
        });
        kept.unwrap_or_else(|error| panic!("cannot keep versions of {bucket}: {error}"));
    }

    /// Deletes an object as another S3 client would, without faults; nothing happens where it is missing.
    ///
    /// # Panics
    /// Where the store's directory cannot be written.
    pub fn delete(&self, bucket: &str, key: &str) {
        let deleted = self.storage.commit(|catalog, at| match catalog.bucket(bucket) {
            Ok(found) => found
                .delete(bucket, key, None, None, (at.sequence, at.now))
                .map(|(change, _)| (change, ())),
            Err(_) => Ok((None, ())),
        });
        deleted.unwrap_or_else(|error| panic!("cannot delete {bucket}/{key}: {error}"));
    }

    /// Versions that a key has, deletion markers among them.
    #[must_use]
    pub fn versions(&self, bucket: &str, key: &str) -> usize {
        self.storage.read(|catalog| {
            let found = catalog.bucket(bucket).ok();
            found.and_then(|bucket| bucket.keys.get(key).map(Vec::len)).unwrap_or(0)
        })
    }

    /// Requests that were signed rightly, by S3 operation such as `PutObject`, faulty ones included.
    #[must_use]
    pub fn request_counts(&self) -> BTreeMap<String, u64> {
        self.counts.snapshot()
    }

    /// Connections that are open. When a client has gone away and there are none, nothing that it has asked for is
    /// under way any more.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Multipart uploads that are neither completed nor aborted.
    #[must_use]
    pub fn uploads_in_progress(&self, bucket: &str) -> usize {
        self.storage.read(|catalog| catalog.bucket(bucket).map_or(0, |bucket| bucket.uploads.len()))
    }
}

impl Drop for S3Store {
    fn drop(&mut self) {
        self.serving.abort();
        self.storage.close();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a [`StoredObject`] tells of the less common headers.
fn named(headers: &Headers) -> BTreeMap<&'static str, String> {
    let expires = headers.expires.map(|seconds| seconds.to_string());
    let all = [
        ("cache-control", &headers.cache_control),
        ("content-disposition", &headers.content_disposition),
        ("content-encoding", &headers.content_encoding),
        ("content-language", &headers.content_language),
        ("expires", &expires),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
}

fn make_bucket(storage: &Storage, name: &str) -> Result<(), Refused> {
    storage.commit(|catalog, at| match catalog.create_bucket(name, at.now) {
        Ok(change) => Ok((Some(change), ())),
        Err(_already_there) => Ok((None, ())),
    })
}

fn make_buckets(storage: &Storage, names: &[String]) -> Result<(), StartError> {
    for name in names {
        if !s3s::path::check_bucket_name(name) {
            return Err(StartError::BucketName(name.clone()));
        }
        let failed = |refused: Refused| StartError::Bucket {
            name: name.clone(),
            reason: refused.to_string(),
        };
        make_bucket(storage, name).map_err(failed)?;
    }
    Ok(())
}
