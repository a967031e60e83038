//! Why a request is refused, in S3's own error codes.

/// A refusal with the S3 error code of the same name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// 404
    #[error("the specified bucket does not exist")]
    NoSuchBucket,
    /// 404; `delete_marker` tells that the newest version is one.
    #[error("the specified key does not exist")]
    NoSuchKey { delete_marker: Option<String> },
    /// 404
    #[error("the specified version does not exist")]
    NoSuchVersion,
    /// 404
    #[error("the specified upload does not exist; it may have been completed or aborted")]
    NoSuchUpload,
    /// 405: a delete marker was asked for by its version.
    #[error("the specified version is a delete marker")]
    MethodNotAllowed,
    /// 409
    #[error("the bucket already exists and is yours")]
    BucketAlreadyOwnedByYou,
    /// 409
    #[error("the bucket still holds objects, versions or delete markers; delete them first")]
    BucketNotEmpty,
    /// 412
    #[error("the precondition {0} did not hold")]
    PreconditionFailed(&'static str),
    /// 304
    #[error("not modified")]
    NotModified,
    /// 400
    #[error("part {number} is smaller than 5 MiB and not the last one")]
    EntityTooSmall { number: u16 },
    /// 400
    #[error("part {number} was not uploaded, or its ETag or checksum differs")]
    InvalidPart { number: u16 },
    /// 400
    #[error("the list of parts is not in ascending order")]
    InvalidPartOrder,
    /// 400
    #[error("the request's XML is not what the schema asks for: {0}")]
    MalformedXml(&'static str),
    /// 400
    #[error("{0}")]
    InvalidRequest(String),
    /// 400
    #[error("{0}")]
    InvalidArgument(String),
    /// 400
    #[error("the storage class {0:?} does not exist")]
    InvalidStorageClass(String),
    /// 400: the body does not match a checksum sent with it.
    #[error("the {0} sent does not match what was received")]
    BadDigest(&'static str),
    /// 400
    #[error("the {0} sent is not valid")]
    InvalidDigest(&'static str),
    /// 400
    #[error("the key is {bytes} bytes long; the most is 1024")]
    KeyTooLong { bytes: usize },
    /// 400
    #[error("user metadata is {bytes} bytes; the most is 2048")]
    MetadataTooLarge { bytes: usize },
    /// 400: the connection ended before the announced length.
    #[error("the body ended after {received} bytes: {reason}")]
    IncompleteBody { received: u64, reason: String },
    /// 400: chunk or payload signature.
    #[error("the body does not match its signature")]
    SignatureDoesNotMatch,
    /// 400
    #[error("the body does not match x-amz-content-sha256")]
    ContentSha256Mismatch,
    /// 416
    #[error("the range is not satisfiable for {size} bytes")]
    InvalidRange { size: u64 },
    /// 501
    #[error("not implemented: {0}")]
    NotImplemented(&'static str),
    /// 500: the store's own disk failed.
    #[error("the store cannot keep its data: {0}")]
    Internal(String),
}
