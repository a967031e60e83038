//! Our words as S3's fields, and S3's answers in our words. Pure.
use std::ops::Range;

use aws_sdk_s3::{
    operation::head_object::HeadObjectOutput,
    primitives::{DateTime, DateTimeFormat},
    types::StorageClass,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::{
    clock::Timestamp,
    object::{ETag, ObjectKey, Stored, VersionId},
    store::{
        Expect, ObjectHeaders, ObjectMeta, PutOptions, StoreError, StoreErrorKind, s3_error::At,
    },
};

/// What stands unescaped in `x-amz-copy-source` (URL-encoded, slashes kept).
const COPY_SOURCE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// `x-amz-copy-source` of a key: `BUCKET/KEY`, and of an access point `ARN/object/KEY` (S3
/// CopyObject).
pub(super) fn copy_source(bucket: &str, key: &ObjectKey) -> String {
    let object = if bucket.starts_with("arn:") { "object/" } else { "" };
    format!("{bucket}/{object}{}", utf8_percent_encode(key.as_str(), COPY_SOURCE))
}

/// A time of an answer.
pub(super) fn timestamp(time: Option<&DateTime>) -> Timestamp {
    time.map_or(Timestamp::default(), |t| Timestamp::new(t.secs(), t.subsec_nanos()))
}

/// A size of an answer; what is missing or negative counts as nothing.
pub(super) fn size(length: Option<i64>) -> u64 {
    u64::try_from(length.unwrap_or(0)).unwrap_or(0)
}

/// `x-amz-storage-class`.
pub(super) fn storage_class(options: &PutOptions) -> Option<StorageClass> {
    (!options.storage_class.is_empty()).then(|| StorageClass::from(options.storage_class.as_str()))
}

/// `If-None-Match` and `If-Match` of a publish.
pub(super) fn conditions(expect: &Expect) -> (Option<String>, Option<String>) {
    match expect {
        Expect::Absent => (Some("*".to_owned()), None),
        Expect::Tag(etag) => (None, Some(etag.as_str().to_owned())),
        Expect::Anything => (None, None),
    }
}

/// `Range` and `x-amz-copy-source-range`; the range is not empty.
pub(super) fn range_header(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end - 1)
}

/// A key or prefix of a listing with `encoding-type=url`: form encoding, so `+` is a space.
pub(super) fn decoded(text: &str, encoded: bool) -> Option<String> {
    if !encoded {
        return Some(text.to_owned());
    }
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// What HEAD has told.
pub(super) fn meta(head: HeadObjectOutput, at: At<'_>) -> Result<ObjectMeta, StoreError> {
    let etag = head.e_tag().ok_or_else(|| at.error(StoreErrorKind::Invalid, "no ETag"))?;
    Ok(ObjectMeta {
        size: size(head.content_length()),
        etag: ETag::new(etag),
        version: head.version_id().and_then(VersionId::new),
        last_modified: timestamp(head.last_modified()),
        user: head.metadata().cloned().unwrap_or_default().into_iter().collect(),
        content_type: head.content_type().map(str::to_owned),
        headers: headers(&head),
    })
}

/// What HEAD has told besides. A time that is none is left out: it could not be sent again.
fn headers(head: &HeadObjectOutput) -> ObjectHeaders {
    let expires =
        head.expires_string().map(|text| DateTime::from_str(text, DateTimeFormat::HttpDate));
    ObjectHeaders {
        cache_control: head.cache_control().map(str::to_owned),
        content_disposition: head.content_disposition().map(str::to_owned),
        content_encoding: head.content_encoding().map(str::to_owned),
        content_language: head.content_language().map(str::to_owned),
        expires: expires.and_then(Result::ok).map(|time| time.secs()),
    }
}

/// `Expires`.
pub(super) fn expires(headers: &ObjectHeaders) -> Option<DateTime> {
    headers.expires.map(DateTime::from_secs)
}

/// The tag of an answer that must have one.
pub(super) fn tag(etag: Option<&str>, at: At<'_>) -> Result<ETag, StoreError> {
    etag.map(ETag::new).ok_or_else(|| at.error(StoreErrorKind::Invalid, "no ETag in the answer"))
}

/// The tag of an answer that must have one, with the version where there is one.
pub(super) fn stored(
    etag: Option<&str>,
    version: Option<&str>,
    at: At<'_>,
) -> Result<Stored, StoreError> {
    Ok(Stored { etag: tag(etag, at)?, version: version.and_then(VersionId::new) })
}

/// A part's number as S3 takes it.
pub(super) fn part_number(number: u32, at: At<'_>) -> Result<i32, StoreError> {
    i32::try_from(number)
        .ok()
        .filter(|n| (1..=10_000).contains(n))
        .ok_or_else(|| at.error(StoreErrorKind::TooLarge, "S3 takes parts 1 to 10,000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_keys_are_form_decoded() {
        let cases = [
            ("a+b%2Bc", Some("a b+c")),
            ("%EC%84%9C%EC%9A%B8", Some("서울")),
            ("x%2F%2Fy", Some("x//y")),
            ("%FF", None),
        ];
        for (wire, key) in cases {
            assert_eq!(decoded(wire, true).as_deref(), key);
        }
        assert_eq!(decoded("a+b", false).as_deref(), Some("a+b"));
    }

    #[test]
    fn copy_sources_keep_slashes_and_escape_the_rest() {
        let key = ObjectKey::new("a b/é+%&").unwrap();
        assert_eq!(copy_source("bucket", &key), "bucket/a%20b/%C3%A9%2B%25%26");
        let arn = "arn:aws:s3:ap-northeast-2:111122223333:accesspoint/onprem";
        assert_eq!(copy_source(arn, &key), format!("{arn}/object/a%20b/%C3%A9%2B%25%26"));
    }
}
