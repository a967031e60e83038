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

/// The content coding of a request whose body is signed in chunks.
const CODING_OF_A_REQUEST: &str = "aws-chunked";

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
    let mut said = Said::default();
    let user = head.metadata().into_iter().flatten();
    let user =
        user.filter_map(|(name, value)| Some((name.clone(), said.again(name, Some(value))?)));
    let user = user.collect();
    Ok(ObjectMeta {
        size: size(head.content_length()),
        etag: ETag::new(etag),
        version: head.version_id().and_then(VersionId::new),
        last_modified: timestamp(head.last_modified()),
        user,
        content_type: said.again("content-type", head.content_type()),
        headers: headers(&head, &mut said),
        unsayable: said.unsayable,
    })
}

/// What HEAD has told besides. A time that is none is left out: it could not be sent again.
fn headers(head: &HeadObjectOutput, said: &mut Said) -> ObjectHeaders {
    let expires =
        head.expires_string().map(|text| DateTime::from_str(text, DateTimeFormat::HttpDate));
    let encoding = said.again("content-encoding", head.content_encoding());
    ObjectHeaders {
        cache_control: said.again("cache-control", head.cache_control()),
        content_disposition: said.again("content-disposition", head.content_disposition()),
        content_encoding: encoding.and_then(|named| own_codings(&named)),
        content_language: said.again("content-language", head.content_language()),
        expires: expires.and_then(Result::ok).map(|time| time.secs()),
    }
}

/// What an answer says, as far as a request can say it again.
#[derive(Debug, Default)]
struct Said {
    unsayable: Vec<String>,
}

impl Said {
    /// The value of this name. A recipient takes bytes beyond ASCII for opaque, and a sender makes none (RFC 9110
    /// §5.5); S3 takes a signature over them for a wrong one.
    fn again<V: AsRef<str>>(&mut self, name: &str, value: Option<V>) -> Option<String> {
        let value = value?;
        let value = value.as_ref();
        if value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            return Some(value.to_owned());
        }
        self.unsayable.push(name.to_owned());
        None
    }
}

/// The codings of the object itself. `aws-chunked` is how a request brought its body: S3 keeps an object without it
/// (S3 API, "Signature calculations: transferring payload in multiple chunks"), others do not, and sent again it says
/// that the body is in such chunks. Codings know no case, and empty elements of a list say nothing (RFC 9110 §8.4.1,
/// §5.6.1).
fn own_codings(named: &str) -> Option<String> {
    let codings = named.split(',').map(|coding| coding.trim_matches([' ', '\t']));
    let is_own =
        |coding: &&str| !coding.is_empty() && !coding.eq_ignore_ascii_case(CODING_OF_A_REQUEST);
    let own: Vec<_> = codings.filter(is_own).collect();
    (!own.is_empty()).then(|| own.join(", "))
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
    fn a_coding_of_the_request_is_none_of_the_object() {
        for (named, own) in [
            ("aws-chunked", None),
            ("AWS-Chunked,gzip", Some("gzip")),
            ("gzip , br,aws-chunked,", Some("gzip, br")),
            ("gzip", Some("gzip")),
            ("", None),
        ] {
            assert_eq!(own_codings(named).as_deref(), own, "{named:?}");
        }
    }

    #[test]
    fn copy_sources_keep_slashes_and_escape_the_rest() {
        let key = ObjectKey::new("a b/é+%&").unwrap();
        assert_eq!(copy_source("bucket", &key), "bucket/a%20b/%C3%A9%2B%25%26");
        let arn = "arn:aws:s3:ap-northeast-2:111122223333:accesspoint/onprem";
        assert_eq!(copy_source(arn, &key), format!("{arn}/object/a%20b/%C3%A9%2B%25%26"));
    }
}
