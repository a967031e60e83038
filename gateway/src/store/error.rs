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

impl StoreError {
    /// Whether S3 has said so, and not the way to it. That a request was too slow says nothing of S3.
    pub fn is_answer_of_s3(&self) -> bool {
        self.kind != StoreErrorKind::Timeout && self.message.starts_with("HTTP ")
    }

    /// Whether the answer had this HTTP status.
    pub fn is_status(&self, status: u16) -> bool {
        self.message.strip_prefix("HTTP ").is_some_and(|rest| rest.starts_with(&status.to_string()))
    }

    /// A 404, and a listing shows the object: nothing may be concluded from it (I13). `kind` says what comes of that.
    #[must_use]
    pub fn belied_by_a_listing(self, kind: StoreErrorKind) -> Self {
        let message = format!("{} although a listing shows it", self.message);
        Self { kind, message, ..self }
    }

    /// What to change in the settings, or in the bucket's, where S3's words name it (S3 error responses).
    pub fn setting_to_change(&self) -> Option<&'static str> {
        let says = |words: &str| self.message.contains(words);
        if says("AccessControlListNotSupported") {
            Some(
                "set object_acl to \"private\": the bucket has ACLs switched off (bucket owner enforced)",
            )
        } else if says(" KMS.") {
            Some(
                "name a KMS key in kms_key that is enabled, in the bucket's region, and that these credentials \
                 may use (kms:GenerateDataKey, kms:Decrypt)",
            )
        } else if says("kms:") {
            Some("allow these credentials kms:GenerateDataKey and kms:Decrypt for the KMS key")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_s3_name_the_setting_to_change() {
        for (message, advice) in [
            (
                "HTTP 400 AccessControlListNotSupported The bucket does not allow ACLs",
                Some("object_acl"),
            ),
            ("HTTP 400 KMS.NotFoundException Invalid arn", Some("kms_key")),
            ("HTTP 400 KMS.DisabledException arn is disabled", Some("kms_key")),
            ("HTTP 400 KMS.KMSInvalidStateException pending deletion", Some("kms_key")),
            (
                "HTTP 403 AccessDenied User: x is not authorized to perform: kms:GenerateDataKey on",
                Some("allow these credentials kms:GenerateDataKey"),
            ),
            ("HTTP 403 AccessDenied Access Denied", None),
            ("HTTP 400 InvalidArgument", None),
        ] {
            let error = StoreError {
                op: StoreOp::PutObject,
                key: None,
                kind: StoreErrorKind::Invalid,
                request_id: None,
                message: message.to_owned(),
            };
            let said = error.setting_to_change();
            assert_eq!(said.is_some(), advice.is_some(), "{message}: {said:?}");
            assert!(
                advice.is_none_or(|advice| said.unwrap().contains(advice)),
                "{message}: {said:?}"
            );
        }
    }
}
