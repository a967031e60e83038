//! Small translations between headers or DTO fields and the model.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use s3s::dto::{ETag, ETagCondition, Metadata, Timestamp};

use crate::blob::Body;
use crate::model::{
    Algorithm, Checksum, ChecksumKind, Encryption, Headers, Refused, Tag, WriteCondition,
};

/// The storage classes that S3 knows (S3 PutObject, x-amz-storage-class).
const STORAGE_CLASSES: [&str; 12] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "GLACIER_IR",
    "SNOW",
    "EXPRESS_ONEZONE",
    "FSX_OPENZFS",
];
/// The most bytes of names and values of user metadata (S3 User Guide, object metadata).
const USER_META_BYTES_MAX: usize = 2048;

/// A time of the model.
pub(super) fn timestamp(seconds: i64) -> Timestamp {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    Timestamp::from(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Seconds since 1970.
pub(super) fn seconds(timestamp: &Timestamp) -> i64 {
    let time = SystemTime::from(time::OffsetDateTime::from(timestamp.clone()));
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A size or a count as the DTOs have it.
pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// A count that cannot be large.
pub(super) fn count(entries: usize) -> i32 {
    i32::try_from(entries).unwrap_or(i32::MAX)
}

/// An ETag of the model, for a reply.
pub(super) fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

/// A condition of a request.
pub(super) fn tag(condition: ETagCondition) -> Tag {
    match condition {
        ETagCondition::Any => Tag::Any,
        ETagCondition::ETag(etag) => Tag::ETag(etag.into_value()),
    }
}

/// The destination's conditions, read from the raw headers: CopyObject's DTO has no fields for them.
pub(super) fn write_condition(headers: &HeaderMap) -> WriteCondition {
    let tag = |name| {
        headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).map(Tag::parse)
    };
    WriteCondition { if_match: tag("if-match"), if_none_match: tag("if-none-match") }
}

/// The storage class to keep: `None` is STANDARD.
///
/// # Errors
/// `InvalidStorageClass`.
pub(super) fn storage_class(asked: Option<&str>) -> Result<Option<String>, Refused> {
    match asked {
        None | Some("STANDARD") => Ok(None),
        Some(class) if STORAGE_CLASSES.contains(&class) => Ok(Some(class.to_owned())),
        Some(class) => Err(Refused::InvalidStorageClass(class.to_owned())),
    }
}

/// The encryption to keep.
///
/// # Errors
/// `InvalidArgument` for an unknown algorithm, or a key without KMS.
pub(super) fn encryption(
    algorithm: Option<&str>,
    kms_key: Option<String>,
) -> Result<Option<Encryption>, Refused> {
    let refused = |why: &str| Err(Refused::InvalidArgument(why.to_owned()));
    match (algorithm, kms_key) {
        (None, None) => Ok(None),
        (Some("aws:kms" | "aws:kms:dsse"), kms_key) | (Some("AES256"), kms_key @ None) => {
            Ok(algorithm.map(|algorithm| Encryption { algorithm: algorithm.to_owned(), kms_key }))
        }
        (None | Some("AES256"), Some(_)) => refused("a KMS key wants encryption with KMS"),
        (Some(_), _) => refused("the encryption must be AES256, aws:kms or aws:kms:dsse"),
    }
}

/// User metadata to keep.
///
/// # Errors
/// `MetadataTooLarge`.
pub(super) fn user_meta(
    metadata: Option<Metadata>,
) -> Result<std::collections::BTreeMap<String, String>, Refused> {
    let kept: std::collections::BTreeMap<String, String> =
        metadata.unwrap_or_default().into_iter().collect();
    let bytes = kept.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > USER_META_BYTES_MAX {
        return Err(Refused::MetadataTooLarge { bytes });
    }
    Ok(kept)
}

/// User metadata for a reply.
pub(super) fn metadata(headers: &Headers) -> Option<Metadata> {
    let metadata: Metadata =
        headers.user_meta.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    (!metadata.is_empty()).then_some(metadata)
}

/// Content-Encoding without `aws-chunked`, which describes the transfer and is not kept.
pub(super) fn content_encoding(asked: Option<String>) -> Option<String> {
    let kept: Vec<String> = asked?
        .split(',')
        .map(|coding| coding.trim().to_owned())
        .filter(|coding| !coding.is_empty() && coding != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// The five checksum fields and the type that most replies have.
#[derive(Debug, Default)]
pub(super) struct ChecksumFields {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
    pub(super) kind: Option<s3s::dto::ChecksumType>,
}

impl From<&Checksum> for ChecksumFields {
    fn from(checksum: &Checksum) -> Self {
        let mut fields = Self { kind: Some(checksum_type(checksum.kind)), ..Self::default() };
        let field = match checksum.algorithm {
            Algorithm::Crc32 => &mut fields.crc32,
            Algorithm::Crc32c => &mut fields.crc32c,
            Algorithm::Crc64Nvme => &mut fields.crc64nvme,
            Algorithm::Sha1 => &mut fields.sha1,
            Algorithm::Sha256 => &mut fields.sha256,
        };
        *field = Some(checksum.value.clone());
        fields
    }
}

/// `x-amz-checksum-type` for a reply.
pub(super) fn checksum_type(kind: ChecksumKind) -> s3s::dto::ChecksumType {
    s3s::dto::ChecksumType::from_static(match kind {
        ChecksumKind::FullObject => "FULL_OBJECT",
        ChecksumKind::Composite => "COMPOSITE",
    })
}

/// The source of a copy.
///
/// # Errors
/// `InvalidArgument` for anything but bucket and key.
pub(super) fn copy_source(
    source: &s3s::dto::CopySource,
) -> Result<(&str, &str, Option<&str>), Refused> {
    match source {
        s3s::dto::CopySource::Bucket { bucket, key, version_id } => {
            Ok((bucket, key, version_id.as_deref()))
        }
        s3s::dto::CopySource::AccessPoint { .. } | s3s::dto::CopySource::Outpost { .. } => {
            Err(Refused::InvalidArgument("the copy source must be BUCKET/KEY".to_owned()))
        }
    }
}

/// What a body needs to be hashed with again, where its ETag or checksum is not of the bytes alone.
pub(super) fn needs_rehash(content: &crate::model::Content<Body>) -> bool {
    content.etag.contains('-') || content.checksum.kind == ChecksumKind::Composite
}
