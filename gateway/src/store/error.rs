//! What an object store can refuse, as kinds that callers act on.
use crate::object::ObjectKey;

/// The operation that failed, by its S3 name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "S3's own operation names")]
pub enum StoreOp {
    HeadObject,
    GetObject,
    ListObjects,
    PutObject,
    CopyObject,
    DeleteObject,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListMultipartUploads,
    ListParts,
}

impl StoreOp {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 13] = [
        Self::HeadObject,
        Self::GetObject,
        Self::ListObjects,
        Self::PutObject,
        Self::CopyObject,
        Self::DeleteObject,
        Self::CreateMultipartUpload,
        Self::UploadPart,
        Self::UploadPartCopy,
        Self::CompleteMultipartUpload,
        Self::AbortMultipartUpload,
        Self::ListMultipartUploads,
        Self::ListParts,
    ];

    /// S3's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::HeadObject => "HeadObject",
            Self::GetObject => "GetObject",
            Self::ListObjects => "ListObjectsV2",
            Self::PutObject => "PutObject",
            Self::CopyObject => "CopyObject",
            Self::DeleteObject => "DeleteObject",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::UploadPartCopy => "UploadPartCopy",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::ListMultipartUploads => "ListMultipartUploads",
            Self::ListParts => "ListParts",
        }
    }
}

/// Why it failed; decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No such object (404 NoSuchKey), upload (NoSuchUpload) or page.
    NotFound,
    /// A condition did not hold (412 PreconditionFailed, 409 ConditionalRequestConflict).
    Changed,
    /// 403 AccessDenied.
    Denied,
    /// The key, secret, token or clock is wrong.
    Credentials,
    /// The object's storage class must be restored first (InvalidObjectState).
    Archived,
    /// Larger than the store takes.
    TooLarge,
    /// 404 NoSuchBucket, or a bucket of another region.
    NoBucket,
    /// 503 SlowDown, 429.
    Throttled,
    /// 5xx, connection refused or broken, DNS.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// Bytes or checksum are not what was announced.
    Integrity,
    /// The store says that the request is wrong: a bug, or a server that lacks the feature.
    Invalid,
}

impl StoreErrorKind {
    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Throttled | Self::Unavailable | Self::Timeout | Self::Integrity => true,
            Self::NotFound
            | Self::Changed
            | Self::Denied
            | Self::Credentials
            | Self::Archived
            | Self::TooLarge
            | Self::NoBucket
            | Self::Invalid => false,
        }
    }
}

/// A failed operation.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{op:?} of {key} failed: {message}", key = key.as_ref().map_or("the bucket", ObjectKey::as_str))]
pub struct StoreError {
    /// Which operation.
    pub op: StoreOp,
    /// On which key; `None` for bucket operations.
    pub key: Option<ObjectKey>,
    /// What to do about it.
    pub kind: StoreErrorKind,
    /// S3's request id, for its support.
    pub request_id: Option<String>,
    /// S3's code and words, or the transport's.
    pub message: String,
}
