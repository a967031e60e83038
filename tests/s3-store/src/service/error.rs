//! Refusals as S3 error replies: one table of code and status.

use http::{HeaderMap, HeaderValue, StatusCode};
use s3s::{S3Error, S3ErrorCode};

use crate::blob::ReceiveError;
use crate::model::Refused;

impl From<Refused> for S3Error {
    fn from(refused: Refused) -> Self {
        let (status, code) = match &refused {
            Refused::NoSuchBucket => (StatusCode::NOT_FOUND, "NoSuchBucket"),
            Refused::NoSuchKey { .. } => (StatusCode::NOT_FOUND, "NoSuchKey"),
            Refused::NoSuchVersion => (StatusCode::NOT_FOUND, "NoSuchVersion"),
            Refused::NoSuchUpload => (StatusCode::NOT_FOUND, "NoSuchUpload"),
            Refused::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Refused::BucketAlreadyOwnedByYou => (StatusCode::CONFLICT, "BucketAlreadyOwnedByYou"),
            Refused::BucketNotEmpty => (StatusCode::CONFLICT, "BucketNotEmpty"),
            Refused::PreconditionFailed(_) => {
                (StatusCode::PRECONDITION_FAILED, "PreconditionFailed")
            }
            Refused::NotModified => (StatusCode::NOT_MODIFIED, "NotModified"),
            Refused::EntityTooSmall { .. } => (StatusCode::BAD_REQUEST, "EntityTooSmall"),
            Refused::InvalidPart { .. } => (StatusCode::BAD_REQUEST, "InvalidPart"),
            Refused::InvalidPartOrder => (StatusCode::BAD_REQUEST, "InvalidPartOrder"),
            Refused::MalformedXml(_) => (StatusCode::BAD_REQUEST, "MalformedXML"),
            Refused::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "InvalidRequest"),
            Refused::InvalidArgument(_) => (StatusCode::BAD_REQUEST, "InvalidArgument"),
            Refused::InvalidStorageClass(_) => (StatusCode::BAD_REQUEST, "InvalidStorageClass"),
            Refused::BadDigest(_) => (StatusCode::BAD_REQUEST, "BadDigest"),
            Refused::InvalidDigest(_) => (StatusCode::BAD_REQUEST, "InvalidDigest"),
            Refused::KeyTooLong { .. } => (StatusCode::BAD_REQUEST, "KeyTooLongError"),
            Refused::MetadataTooLarge { .. } => (StatusCode::BAD_REQUEST, "MetadataTooLarge"),
            Refused::IncompleteBody { .. } => (StatusCode::BAD_REQUEST, "IncompleteBody"),
            Refused::SignatureDoesNotMatch => (StatusCode::FORBIDDEN, "SignatureDoesNotMatch"),
            Refused::ContentSha256Mismatch => {
                (StatusCode::BAD_REQUEST, "XAmzContentSHA256Mismatch")
            }
            Refused::InvalidRange { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"),
            Refused::NotImplemented(_) => (StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
            Refused::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        };
        let mut error = s3_error(status, code, refused.to_string());
        if let Some(headers) = extra_headers(&refused) {
            error.set_headers(headers);
        }
        error
    }
}

/// An S3 error reply with any code and status.
pub(crate) fn s3_error(status: StatusCode, code: &str, message: String) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(code, message);
    error.set_status_code(status);
    error
}

/// Headers that replies to a refusal carry beside the XML.
fn extra_headers(refused: &Refused) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    match refused {
        Refused::NoSuchKey { delete_marker: Some(id) } => {
            headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
            headers.insert("x-amz-version-id", HeaderValue::from_str(id).ok()?);
            Some(headers)
        }
        Refused::MethodNotAllowed => {
            headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
            Some(headers)
        }
        Refused::InvalidRange { size } => {
            let range = HeaderValue::from_str(&format!("bytes */{size}")).ok()?;
            headers.insert(http::header::CONTENT_RANGE, range);
            Some(headers)
        }
        Refused::NoSuchKey { delete_marker: None }
        | Refused::NoSuchBucket
        | Refused::NoSuchVersion
        | Refused::NoSuchUpload
        | Refused::BucketAlreadyOwnedByYou
        | Refused::BucketNotEmpty
        | Refused::PreconditionFailed(_)
        | Refused::NotModified
        | Refused::EntityTooSmall { .. }
        | Refused::InvalidPart { .. }
        | Refused::InvalidPartOrder
        | Refused::MalformedXml(_)
        | Refused::InvalidRequest(_)
        | Refused::InvalidArgument(_)
        | Refused::InvalidStorageClass(_)
        | Refused::BadDigest(_)
        | Refused::InvalidDigest(_)
        | Refused::KeyTooLong { .. }
        | Refused::MetadataTooLarge { .. }
        | Refused::IncompleteBody { .. }
        | Refused::SignatureDoesNotMatch
        | Refused::ContentSha256Mismatch
        | Refused::NotImplemented(_)
        | Refused::Internal(_) => None,
    }
}

impl From<ReceiveError> for Refused {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Disk(error) => Self::Internal(error.to_string()),
            ReceiveError::Source { received, source } => {
                // s3s has no public type for these two; their texts are stable within the pinned version.
                let mut reason = source.to_string();
                let mut cause = source.source();
                while let Some(inner) = cause {
                    reason = format!("{reason}: {inner}");
                    cause = inner.source();
                }
                if reason.contains("SignatureMismatch") {
                    Self::SignatureDoesNotMatch
                } else if reason.contains("Sha256Mismatch") {
                    Self::ContentSha256Mismatch
                } else {
                    Self::IncompleteBody { received, reason }
                }
            }
        }
    }
}
