//! The object storage port: S3's operations in our words and with our errors.
//!
//! Owns: the [`ObjectStore`] trait and its vocabulary. One instance is one bucket at one endpoint.
//! Must not know: files, shares, the catalog. AWS's names appear in `s3/` and `s3_error.rs` only.
mod degraded;
pub mod error;
#[cfg(feature = "testing")]
pub mod fault;
#[cfg(feature = "testing")]
mod memory;
mod meter;
pub mod pace;
mod retry;
#[cfg(feature = "service")]
pub mod s3;
#[cfg(feature = "service")]
mod s3_error;
mod unset;

use std::{collections::BTreeMap, fmt, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;

pub use degraded::{DegradedStore, KnownAbilities, SCRATCH_NAME};
pub use error::{StoreError, StoreErrorKind, StoreOp};
#[cfg(feature = "testing")]
pub use fault::FaultStore;
#[cfg(feature = "testing")]
pub use memory::MemoryStore;
pub use meter::{MeteredStore, StoreMeter};
pub use retry::RetryingStore;
#[cfg(feature = "service")]
pub use s3::{Checksums, CredentialsStanding, S3Bucket, S3Credentials, SendLimits, WaitLimits};
pub use unset::UnsetStore;

use crate::{
    clock::Timestamp,
    object::{ETag, ObjectKey, Stored, VersionId},
};

/// User metadata: names without `x-amz-meta-`, lower case.
pub type UserMeta = BTreeMap<String, String>;

/// What HEAD tells of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its bytes.
    pub size: u64,
    /// Its entity tag.
    pub etag: ETag,
    /// Its version (`x-amz-version-id`); `None` in a bucket without versions.
    pub version: Option<VersionId>,
    /// When S3 took it, whole seconds.
    pub last_modified: Timestamp,
    /// User metadata.
    pub user: UserMeta,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// What else its writer has named.
    pub headers: ObjectHeaders,
    /// Names of what its writer has said in bytes that no request says again: anything but visible ASCII, spaces and
    /// tabs (RFC 9110 §5.5). It is in none of the fields before.
    pub unsayable: Vec<String>,
}

/// Headers that S3 keeps with an object for whoever gets it, and that say nothing to the gateway (S3 PutObject).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectHeaders {
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Expires`, in seconds since 1970.
    pub expires: Option<i64>,
}

impl ObjectMeta {
    /// Its tag and version.
    pub fn stored(&self) -> Stored {
        Stored { etag: self.etag.clone(), version: self.version.clone() }
    }
}

/// One object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// The key as S3 has it: may be unusable as a file name, empty parts included.
    pub key: String,
    /// Its bytes.
    pub size: u64,
    /// Its entity tag.
    pub etag: ETag,
    /// When S3 took it.
    pub last_modified: Timestamp,
}

/// One page of a listing with delimiter `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// Objects directly under the prefix (the prefix's own marker included).
    pub objects: Vec<ListedObject>,
    /// Common prefixes, each ending in `/`.
    pub prefixes: Vec<String>,
    /// Continuation token of the next page; `None` on the last.
    pub next: Option<String>,
}

impl ListPage {
    /// A key that is not below `prefix`, which was asked for: nothing may be concluded from such a page.
    pub fn stray(&self, prefix: &str) -> Option<&str> {
        let objects = self.objects.iter().map(|object| object.key.as_str());
        let keys = objects.chain(self.prefixes.iter().map(String::as_str));
        keys.into_iter().find(|key| !key.starts_with(prefix))
    }
}

/// What must hold of the key for a publish to happen (S3 `If-None-Match: *`, `If-Match`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No object has this key.
    Absent,
    /// The object has this tag.
    Tag(ETag),
    /// Anything; for stores without conditional writes.
    Anything,
}

/// How an object is to be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// User metadata.
    pub user: UserMeta,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// Headers for whoever gets it.
    pub headers: ObjectHeaders,
    /// `x-amz-storage-class`; empty for the bucket's own choice.
    pub storage_class: String,
    /// `x-amz-server-side-encryption`; `None` for the bucket's own choice.
    pub encryption: Option<String>,
    /// `x-amz-server-side-encryption-aws-kms-key-id`; `None` for the account's own key.
    pub kms_key: Option<String>,
    /// `x-amz-acl`; `None` for none.
    pub acl: Option<String>,
}

/// A part that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedPart {
    /// 1 to 10,000.
    pub number: u32,
    /// Its tag, named again when the upload is completed.
    pub etag: ETag,
}

/// A multipart upload that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingUpload {
    /// Its key.
    pub key: String,
    /// Its id.
    pub upload_id: String,
    /// When it was begun.
    pub initiated: Timestamp,
}

/// Where a page of pending uploads ends (S3 `key-marker` and `upload-id-marker`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadsMarker {
    /// The last key.
    pub key: String,
    /// The id of its last upload; `None` where the store tells only keys.
    pub upload_id: Option<String>,
}

/// One page of pending uploads, by key, those of one key in the store's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadsPage {
    /// At most 1,000.
    pub uploads: Vec<PendingUpload>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<UploadsMarker>,
}

/// One bucket. Every method is cancel safe in the sense that a dropped call may or may not have
/// happened: settle a publish with [`ObjectStore::head`].
///
/// # Errors
/// Every method: [`StoreError`]; its `kind` says what to do.
#[async_trait]
pub trait ObjectStore: fmt::Debug + Send + Sync + 'static {
    /// Whether objects below `prefix` may be listed (ListObjectsV2 of one key). Unlike HeadBucket it
    /// needs no right beyond the prefix, and a refusal comes with S3's code.
    async fn probe(&self, prefix: &str) -> Result<(), StoreError>;
    /// HeadObject.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError>;
    /// Bytes `range` of the object with exactly the tag `etag` (GetObject, Range, If-Match); never
    /// fewer bytes than asked for: a short body is [`StoreErrorKind::Integrity`].
    async fn get(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        etag: &ETag,
    ) -> Result<Bytes, StoreError>;
    /// One page of objects and common prefixes under `prefix` (ListObjectsV2, delimiter `/`,
    /// encoding-type url). Keys come decoded, in UTF-8 byte order.
    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage, StoreError>;
    /// Stores a whole object (PutObject) and returns its tag and version.
    async fn put(
        &self,
        key: &ObjectKey,
        body: Bytes,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, StoreError>;
    /// Copies `from` (which must have the tag `from_etag`) to `to` on the server with new metadata
    /// (CopyObject, directive REPLACE); its tags go along (`x-amz-tagging-directive`, COPY by default).
    /// `from == to` changes metadata in place.
    async fn copy(
        &self,
        from: &ObjectKey,
        from_etag: &ETag,
        to: &ObjectKey,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, StoreError>;
    /// Deletes the object if it has the tag (DeleteObject, If-Match); a missing object is success.
    async fn delete(&self, key: &ObjectKey, etag: Option<&ETag>) -> Result<(), StoreError>;
    /// CreateMultipartUpload; returns the upload id.
    async fn create_multipart(
        &self,
        key: &ObjectKey,
        options: &PutOptions,
    ) -> Result<String, StoreError>;
    /// UploadPart, `number` 1 to 10,000.
    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: u32,
        body: Bytes,
    ) -> Result<UploadedPart, StoreError>;
    /// UploadPartCopy of `range` of `from` with the tag `from_etag`.
    async fn copy_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: u32,
        from: &ObjectKey,
        from_etag: &ETag,
        range: Range<u64>,
    ) -> Result<UploadedPart, StoreError>;
    /// CompleteMultipartUpload; a 200 whose body is an error is an error.
    async fn complete_multipart(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: &[UploadedPart],
        expect: &Expect,
    ) -> Result<Stored, StoreError>;
    /// AbortMultipartUpload; an unknown upload is success.
    async fn abort_multipart(&self, key: &ObjectKey, upload_id: &str) -> Result<(), StoreError>;
    /// One page of the uploads under way below `prefix`, from behind `after` on (ListMultipartUploads,
    /// encoding-type url).
    async fn list_multipart(
        &self,
        prefix: &str,
        after: Option<&UploadsMarker>,
    ) -> Result<UploadsPage, StoreError>;
    /// The object `key` as a listing shows it: it would be the first of those that begin with it (S3 ListObjectsV2). What
    /// HEAD says with 404 has no words, and a bucket that is gone and a proxy say the same (I13).
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] for a page that cannot be of that listing.
    async fn listed(&self, key: &ObjectKey) -> Result<Option<ListedObject>, StoreError> {
        let page = self.list(key.as_str(), None).await?;
        if let Some(stray) = page.stray(key.as_str()) {
            let message = format!("a listing of {:?} shows {stray:?}", key.as_str());
            let (op, kind) = (StoreOp::ListObjects, StoreErrorKind::Invalid);
            return Err(StoreError { op, key: None, kind, request_id: None, message });
        }
        Ok(page.objects.into_iter().find(|listed| listed.key == key.as_str()))
    }
    /// Whether [`ObjectStore::copy_part`] can be expected to work, as far as is known. The outermost
    /// store answers for all of them.
    fn copies_parts(&self) -> bool {
        true
    }
}
