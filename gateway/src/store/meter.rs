//! Counts the requests of a store, how long they took, and the bytes they moved.
use std::{future::Future, ops::Range, sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use gateway_api::{
    ByteSize,
    figures::{Figures, RequestFigures},
};

use super::{
    Expect, ListPage, ObjectMeta, ObjectStore, PutOptions, StoreError, StoreErrorKind, StoreOp,
    UploadedPart, UploadsMarker, UploadsPage,
};
use crate::{
    metrics::{Counter, Latencies, Rate},
    object::{ETag, ObjectKey, Stored},
};

/// What one bucket's requests came to. Shared by all who use the bucket.
#[derive(Debug, Default)]
pub struct StoreMeter {
    operations: [Operation; StoreOp::ALL.len()],
    uploaded: Flow,
    downloaded: Flow,
}

#[derive(Debug, Default)]
struct Operation {
    succeeded: Counter,
    refused: Counter,
    throttled: Counter,
    failed: Counter,
    latencies: Latencies,
}

#[derive(Debug, Default)]
struct Flow {
    bytes: Counter,
    rate: Rate,
}

impl Flow {
    fn add(&self, bytes: usize) {
        self.bytes.add(bytes as u64);
        self.rate.add(bytes as u64);
    }
}

impl StoreMeter {
    /// Adds what has been counted to `figures`.
    pub fn add_to(&self, figures: &mut Figures) {
        let mut requests = Vec::new();
        for (op, counted) in StoreOp::ALL.iter().zip(&self.operations) {
            let latency = counted.latencies.get();
            if latency.count() > 0 {
                requests.push(RequestFigures {
                    operation: op.name().to_owned(),
                    succeeded: counted.succeeded.get(),
                    refused: counted.refused.get(),
                    throttled: counted.throttled.get(),
                    failed: counted.failed.get(),
                    latency,
                });
            }
        }
        figures.add(&Figures {
            uploaded_bytes: ByteSize(self.uploaded.bytes.get()),
            downloaded_bytes: ByteSize(self.downloaded.bytes.get()),
            upload_bytes_per_second: self.uploaded.rate.per_second(),
            download_bytes_per_second: self.downloaded.rate.per_second(),
            requests,
            ..Figures::default()
        });
    }

    /// Counts `request` and how long it took. For a request that moves a file's bytes, use a
    /// [`MeteredStore`].
    pub(super) async fn counted<T>(
        &self,
        op: StoreOp,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let done = request.await;
        let counts = &self.operations[op as usize];
        counts.latencies.note(begun.elapsed());
        match &done {
            Ok(_) => &counts.succeeded,
            Err(error) => match error.kind {
                StoreErrorKind::NotFound
                | StoreErrorKind::Changed
                | StoreErrorKind::Denied
                | StoreErrorKind::Credentials
                | StoreErrorKind::Archived
                | StoreErrorKind::TooLarge
                | StoreErrorKind::NoBucket
                | StoreErrorKind::Invalid => &counts.refused,
                StoreErrorKind::Throttled => &counts.throttled,
                StoreErrorKind::Unavailable
                | StoreErrorKind::Timeout
                | StoreErrorKind::Integrity => &counts.failed,
            },
        }
        .add(1);
        done
    }
}

/// Counts what is asked of another store.
#[derive(Debug)]
pub struct MeteredStore {
    inner: Arc<dyn ObjectStore>,
    meter: Arc<StoreMeter>,
}

impl MeteredStore {
    /// Counts the requests of `inner` in `meter`.
    pub fn new(inner: Arc<dyn ObjectStore>, meter: Arc<StoreMeter>) -> Self {
        Self { inner, meter }
    }
}

#[async_trait]
impl ObjectStore for MeteredStore {
    async fn probe(&self, prefix: &str) -> Result<(), StoreError> {
        self.meter.counted(StoreOp::ListObjects, self.inner.probe(prefix)).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.meter.counted(StoreOp::HeadObject, self.inner.head(key)).await
    }

    async fn get(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        etag: &ETag,
    ) -> Result<Bytes, StoreError> {
        let got = self.meter.counted(StoreOp::GetObject, self.inner.get(key, range, etag)).await?;
        self.meter.downloaded.add(got.len());
        Ok(got)
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage, StoreError> {
        self.meter.counted(StoreOp::ListObjects, self.inner.list(prefix, page)).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        body: Bytes,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        let len = body.len();
        let put = self.inner.put(key, body, options, expect);
        let etag = self.meter.counted(StoreOp::PutObject, put).await?;
        self.meter.uploaded.add(len);
        Ok(etag)
    }

    async fn copy(
        &self,
        from: &ObjectKey,
        from_etag: &ETag,
        to: &ObjectKey,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        let copy = self.inner.copy(from, from_etag, to, options, expect);
        self.meter.counted(StoreOp::CopyObject, copy).await
    }

    async fn delete(&self, key: &ObjectKey, etag: Option<&ETag>) -> Result<(), StoreError> {
        self.meter.counted(StoreOp::DeleteObject, self.inner.delete(key, etag)).await
    }

    async fn create_multipart(
        &self,
        key: &ObjectKey,
        options: &PutOptions,
    ) -> Result<String, StoreError> {
        let create = self.inner.create_multipart(key, options);
        self.meter.counted(StoreOp::CreateMultipartUpload, create).await
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: u32,
        body: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        let len = body.len();
        let put = self.inner.put_part(key, upload_id, number, body);
        let part = self.meter.counted(StoreOp::UploadPart, put).await?;
        self.meter.uploaded.add(len);
        Ok(part)
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
        let copy = self.inner.copy_part(key, upload_id, number, from, from_etag, range);
        self.meter.counted(StoreOp::UploadPartCopy, copy).await
    }

    async fn complete_multipart(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: &[UploadedPart],
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        let complete = self.inner.complete_multipart(key, upload_id, parts, expect);
        self.meter.counted(StoreOp::CompleteMultipartUpload, complete).await
    }

    async fn abort_multipart(&self, key: &ObjectKey, upload_id: &str) -> Result<(), StoreError> {
        let abort = self.inner.abort_multipart(key, upload_id);
        self.meter.counted(StoreOp::AbortMultipartUpload, abort).await
    }

    async fn list_multipart(
        &self,
        prefix: &str,
        after: Option<&UploadsMarker>,
    ) -> Result<UploadsPage, StoreError> {
        self.meter
            .counted(StoreOp::ListMultipartUploads, self.inner.list_multipart(prefix, after))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_filed_by_what_became_of_them() {
        let meter = StoreMeter::default();
        let error = |kind| StoreError {
            op: StoreOp::GetObject,
            key: None,
            kind,
            request_id: None,
            message: String::new(),
        };
        for kind in [StoreErrorKind::Throttled, StoreErrorKind::Timeout, StoreErrorKind::Changed] {
            let answer = async { Err::<(), _>(error(kind)) };
            meter.counted(StoreOp::GetObject, answer).await.unwrap_err();
        }
        meter.counted(StoreOp::UploadPartCopy, async { Ok(()) }).await.unwrap();
        let mut figures = Figures::default();
        meter.add_to(&mut figures);
        let seen: Vec<_> = figures
            .requests
            .iter()
            .map(|r| (r.operation.as_str(), r.succeeded, r.refused, r.throttled, r.failed))
            .collect();
        assert_eq!(seen, [("GetObject", 0, 1, 1, 1), ("UploadPartCopy", 1, 0, 0, 0)]);
    }
}
