//! A few quick repetitions of what a client waits for. Uploads have the journal for the long run.
use std::{future::Future, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Expect, ListPage, ObjectMeta, ObjectStore, PutOptions, StoreError, UploadedPart, UploadsMarker,
    UploadsPage,
};
use crate::object::{ETag, ObjectKey, Stored};

/// Attempts of a read, the first included: at most 1.4 s of waiting in between, far below an NFS
/// client's 60 s time-out.
const READ_ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Repeats reads that failed for a passing reason. Changes pass through: whether a change happened
/// must be looked up before it is repeated.
#[derive(Debug)]
pub struct RetryingStore {
    inner: Arc<dyn ObjectStore>,
    first_pause: Duration,
}

impl RetryingStore {
    /// Repeats the reads of `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, first_pause: FIRST_PAUSE }
    }

    /// Waits `first_pause` before the first repetition, and twice as long before each further one.
    #[must_use]
    pub fn with_first_pause(self, first_pause: Duration) -> Self {
        Self { first_pause, ..self }
    }
}

async fn repeat<T, F, Fut>(first_pause: Duration, mut attempt: F) -> Result<T, StoreError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, StoreError>>,
{
    let mut pause = first_pause;
    for _ in 1..READ_ATTEMPTS {
        match attempt().await {
            Err(error) if error.kind.is_retryable() => {
                tracing::debug!(%error, "repeating");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            done => return done,
        }
    }
    attempt().await
}

#[async_trait]
impl ObjectStore for RetryingStore {
    async fn probe(&self, prefix: &str) -> Result<(), StoreError> {
        repeat(self.first_pause, || self.inner.probe(prefix)).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        repeat(self.first_pause, || self.inner.head(key)).await
    }

    async fn get(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        etag: &ETag,
    ) -> Result<Bytes, StoreError> {
        repeat(self.first_pause, || self.inner.get(key, range.clone(), etag)).await
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage, StoreError> {
        repeat(self.first_pause, || self.inner.list(prefix, page)).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        body: Bytes,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        self.inner.put(key, body, options, expect).await
    }

    async fn copy(
        &self,
        from: &ObjectKey,
        from_etag: &ETag,
        to: &ObjectKey,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        self.inner.copy(from, from_etag, to, options, expect).await
    }

    async fn delete(&self, key: &ObjectKey, etag: Option<&ETag>) -> Result<(), StoreError> {
        self.inner.delete(key, etag).await
    }

    async fn create_multipart(
        &self,
        key: &ObjectKey,
        options: &PutOptions,
    ) -> Result<String, StoreError> {
        self.inner.create_multipart(key, options).await
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: u32,
        body: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        // The same part with the same bytes: repeating it changes nothing.
        repeat(self.first_pause, || self.inner.put_part(key, upload_id, number, body.clone())).await
    }

    async fn copy_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: u32,
        from: &ObjectKey,
        from_etag: &ETag,
        range: Range<u64>,
    ) -> Result<UploadedPart, StoreError> {
        repeat(self.first_pause, || {
            self.inner.copy_part(key, upload_id, number, from, from_etag, range.clone())
        })
        .await
    }

    async fn complete_multipart(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: &[UploadedPart],
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        self.inner.complete_multipart(key, upload_id, parts, expect).await
    }

    async fn abort_multipart(&self, key: &ObjectKey, upload_id: &str) -> Result<(), StoreError> {
        self.inner.abort_multipart(key, upload_id).await
    }

    async fn list_multipart(
        &self,
        prefix: &str,
        after: Option<&UploadsMarker>,
    ) -> Result<UploadsPage, StoreError> {
        repeat(self.first_pause, || self.inner.list_multipart(prefix, after)).await
    }
}
