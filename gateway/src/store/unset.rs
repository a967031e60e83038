//! The store of a share whose S3 settings are missing: every request says what is missing.
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Expect, ListPage, ObjectMeta, ObjectStore, PutOptions, StoreError, StoreErrorKind, StoreOp,
    UploadedPart, UploadsMarker, UploadsPage,
};
use crate::object::{ETag, ObjectKey, Stored};

/// Refuses everything. Cached files are served and writes are kept all the same.
#[derive(Clone, Copy, Debug)]
pub struct UnsetStore {
    missing: &'static str,
}

impl UnsetStore {
    /// `missing`: what the operator must fill in.
    pub fn new(missing: &'static str) -> Self {
        Self { missing }
    }

    fn refuse<T>(self, op: StoreOp, key: Option<&ObjectKey>) -> Result<T, StoreError> {
        Err(StoreError {
            op,
            key: key.cloned(),
            kind: StoreErrorKind::Credentials,
            request_id: None,
            message: self.missing.to_owned(),
        })
    }
}

#[async_trait]
impl ObjectStore for UnsetStore {
    async fn probe(&self, _: &str) -> Result<(), StoreError> {
        self.refuse(StoreOp::ListObjects, None)
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.refuse(StoreOp::HeadObject, Some(key))
    }

    async fn get(&self, key: &ObjectKey, _: Range<u64>, _: &ETag) -> Result<Bytes, StoreError> {
        self.refuse(StoreOp::GetObject, Some(key))
    }

    async fn list(&self, _: &str, _: Option<&str>) -> Result<ListPage, StoreError> {
        self.refuse(StoreOp::ListObjects, None)
    }

    async fn put(
        &self,
        key: &ObjectKey,
        _: Bytes,
        _: &PutOptions,
        _: &Expect,
    ) -> Result<Stored, StoreError> {
        self.refuse(StoreOp::PutObject, Some(key))
    }

    async fn copy(
        &self,
        _: &ObjectKey,
        _: &ETag,
        to: &ObjectKey,
        _: &PutOptions,
        _: &Expect,
    ) -> Result<Stored, StoreError> {
        self.refuse(StoreOp::CopyObject, Some(to))
    }

    async fn delete(&self, key: &ObjectKey, _: Option<&ETag>) -> Result<(), StoreError> {
        self.refuse(StoreOp::DeleteObject, Some(key))
    }

    async fn create_multipart(
        &self,
        key: &ObjectKey,
        _: &PutOptions,
    ) -> Result<String, StoreError> {
        self.refuse(StoreOp::CreateMultipartUpload, Some(key))
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        _: &str,
        _: u32,
        _: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        self.refuse(StoreOp::UploadPart, Some(key))
    }

    async fn copy_part(
        &self,
        key: &ObjectKey,
        _: &str,
        _: u32,
        _: &ObjectKey,
        _: &ETag,
        _: Range<u64>,
    ) -> Result<UploadedPart, StoreError> {
        self.refuse(StoreOp::UploadPartCopy, Some(key))
    }

    async fn complete_multipart(
        &self,
        key: &ObjectKey,
        _: &str,
        _: &[UploadedPart],
        _: &Expect,
    ) -> Result<Stored, StoreError> {
        self.refuse(StoreOp::CompleteMultipartUpload, Some(key))
    }

    async fn abort_multipart(&self, key: &ObjectKey, _: &str) -> Result<(), StoreError> {
        self.refuse(StoreOp::AbortMultipartUpload, Some(key))
    }

    async fn list_multipart(
        &self,
        _: &str,
        _: Option<&UploadsMarker>,
    ) -> Result<UploadsPage, StoreError> {
        self.refuse(StoreOp::ListMultipartUploads, None)
    }
}
