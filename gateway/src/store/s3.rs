//! The object store of AWS and everything that speaks its protocol, through aws-sdk-s3.
//!
//! One instance is one bucket. The SDK's own retries are off: `retry.rs` and the upload journal
//! decide (retries that multiply turn an outage into a storm).
use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Builder, Region, RequestChecksumCalculation,
        StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
    },
    operation::head_object::HeadObjectOutput,
    primitives::{ByteStream, DateTime},
    types::{
        ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, EncodingType,
        MetadataDirective, RequestPayer, StorageClass,
    },
};
use bytes::{Bytes, BytesMut};
use gateway_api::{
    BucketName,
    settings::{Addressing, S3Settings},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{
    Expect, ListPage, ListedObject, ObjectMeta, ObjectStore, PendingUpload, PutOptions, StoreError,
    StoreErrorKind, StoreOp, UploadedPart,
    pace::Paces,
    s3_error::{self, At},
    s3_pace::PacedBodies,
};
use crate::{
    clock::Timestamp,
    object::{ETag, ObjectKey},
};

/// Longest wait for a TCP and TLS connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest that one request may take, body included: a 16 MiB part at 64 KiB/s, a copy of 5 GiB
/// within the store.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(300);
/// The same for requests that move no more than one 1 MiB block: somebody waits for their answer.
const QUICK_TIMEOUT: Duration = Duration::from_secs(20);
/// A body that moves no byte for this long is given up.
const STALL_GRACE: Duration = Duration::from_secs(20);
/// What stands unescaped in `x-amz-copy-source` (URL-encoded, slashes kept).
const COPY_SOURCE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How the store is to prove that it took the bytes that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// `x-amz-checksum-crc64nvme` on every body; of an upload in parts over the whole object (S3's
    /// FULL_OBJECT type), so that the object has one checksum however it was sent.
    Crc64Nvme,
    /// None but the SHA-256 that every signature covers: servers other than AWS differ in which
    /// checksums they know, and some refuse what they do not know.
    PayloadSignature,
}

impl Checksums {
    fn of_endpoint(endpoint: &str) -> Self {
        let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
        let host = host.split(['/', ':']).next().unwrap_or_default();
        let aws = ["", "amazonaws.com", "amazonaws.com.cn"];
        let is_aws =
            aws.iter().any(|domain| host == *domain || host.ends_with(&format!(".{domain}")));
        if is_aws { Self::Crc64Nvme } else { Self::PayloadSignature }
    }

    fn algorithm(self) -> Option<ChecksumAlgorithm> {
        match self {
            Self::Crc64Nvme => Some(ChecksumAlgorithm::Crc64Nvme),
            Self::PayloadSignature => None,
        }
    }
}

/// One bucket at one endpoint.
#[derive(Clone, Debug)]
pub struct S3Bucket {
    client: Client,
    bucket: String,
    checksums: Checksums,
    /// Who pays, if not the owner of the bucket.
    payer: Option<RequestPayer>,
    paces: Paces,
}

impl S3Bucket {
    /// A bucket as the settings tell. Sends nothing yet.
    pub fn new(settings: &S3Settings, bucket: &BucketName) -> Self {
        Self::at_pace(settings, bucket, Paces::default())
    }

    /// The same, with bodies moving no faster than `paces`.
    pub fn at_pace(settings: &S3Settings, bucket: &BucketName, paces: Paces) -> Self {
        let token = settings.session_token.expose();
        let credentials = Credentials::new(
            &settings.access_key_id,
            settings.secret_access_key.expose(),
            (!token.is_empty()).then(|| token.to_owned()),
            None,
            "settings",
        );
        let mut config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .credentials_provider(credentials)
            .force_path_style(settings.addressing == Addressing::Path)
            .retry_config(RetryConfig::disabled())
            // Where a checksum is wanted, the request names it.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .timeout_config(timeouts(ATTEMPT_TIMEOUT))
            .interceptor(PacedBodies(Arc::clone(&paces.upload)))
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled().grace_period(STALL_GRACE).build(),
            );
        if !settings.endpoint.is_empty() {
            config = config.endpoint_url(&settings.endpoint);
        }
        Self {
            client: Client::from_conf(config.build()),
            bucket: bucket.as_str().to_owned(),
            checksums: Checksums::of_endpoint(&settings.endpoint),
            payer: None,
            paces,
        }
    }

    /// The same bucket, with its requests paid for by this account if `pays`.
    #[must_use]
    pub fn with_requester_pays(self, pays: bool) -> Self {
        Self { payer: pays.then_some(RequestPayer::Requester), ..self }
    }

    /// The same bucket with other checksums than its endpoint's name suggests.
    #[must_use]
    pub fn with_checksums(self, checksums: Checksums) -> Self {
        Self { checksums, ..self }
    }

    fn copy_source(&self, key: &ObjectKey) -> String {
        format!("{}/{}", self.bucket, utf8_percent_encode(key.as_str(), COPY_SOURCE))
    }
}

fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(attempt)
        .build()
}

/// What a quick request has other than the rest.
fn quick() -> Builder {
    Builder::new().timeout_config(timeouts(QUICK_TIMEOUT))
}

fn timestamp(time: Option<&DateTime>) -> Timestamp {
    time.map_or(Timestamp::default(), |t| Timestamp::new(t.secs(), t.subsec_nanos()))
}

fn size(length: Option<i64>) -> u64 {
    u64::try_from(length.unwrap_or(0)).unwrap_or(0)
}

fn storage_class(options: &PutOptions) -> Option<StorageClass> {
    (!options.storage_class.is_empty()).then(|| StorageClass::from(options.storage_class.as_str()))
}

/// `If-None-Match` and `If-Match` of a publish.
fn conditions(expect: &Expect) -> (Option<String>, Option<String>) {
    match expect {
        Expect::Absent => (Some("*".to_owned()), None),
        Expect::Tag(etag) => (None, Some(etag.as_str().to_owned())),
        Expect::Anything => (None, None),
    }
}

fn range_header(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end - 1)
}

/// A key or prefix of a listing with `encoding-type=url`: form encoding, so `+` is a space.
fn decoded(text: &str, encoded: bool) -> Option<String> {
    if !encoded {
        return Some(text.to_owned());
    }
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn meta(head: HeadObjectOutput, at: At<'_>) -> Result<ObjectMeta, StoreError> {
    let etag = head.e_tag().ok_or_else(|| at.error(StoreErrorKind::Invalid, "no ETag"))?;
    Ok(ObjectMeta {
        size: size(head.content_length()),
        etag: ETag::new(etag),
        last_modified: timestamp(head.last_modified()),
        user: head.metadata().cloned().unwrap_or_default().into_iter().collect(),
    })
}

fn tag(etag: Option<&str>, at: At<'_>) -> Result<ETag, StoreError> {
    etag.map(ETag::new).ok_or_else(|| at.error(StoreErrorKind::Invalid, "no ETag in the answer"))
}

#[async_trait]
impl ObjectStore for S3Bucket {
    async fn probe(&self, prefix: &str) -> Result<(), StoreError> {
        let at = At::bucket(StoreOp::ListObjects);
        let sent = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .set_request_payer(self.payer.clone())
            .prefix(prefix)
            .max_keys(1)
            .customize()
            .config_override(quick())
            .send()
            .await;
        sent.map(|_| ()).map_err(|e| s3_error::from_sdk(at, e))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        let at = At::key(StoreOp::HeadObject, key);
        let request = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .set_request_payer(self.payer.clone())
            .key(key.as_str());
        let head = request
            .customize()
            .config_override(quick())
            .send()
            .await
            .map_err(|e| s3_error::from_sdk(at, e))?;
        meta(head, at)
    }

    async fn get(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        etag: &ETag,
    ) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let at = At::key(StoreOp::GetObject, key);
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .set_request_payer(self.payer.clone())
            .key(key.as_str())
            .range(range_header(&range))
            .if_match(etag.as_str());
        let got = request
            .customize()
            .config_override(quick())
            .send()
            .await
            .map_err(|e| s3_error::from_sdk(at, e))?;
        // Before a byte is read: a server that ignores ranges answers with the whole object.
        let expected = range.end - range.start;
        let wrong = |came: u64| {
            let what = format!("{came} bytes came instead of {expected}");
            at.error(StoreErrorKind::Integrity, &what)
        };
        if let Some(came) = got.content_length().filter(|length| size(Some(*length)) != expected) {
            return Err(wrong(size(Some(came))));
        }
        let broke_off = |error: &dyn std::fmt::Display| {
            at.error(StoreErrorKind::Unavailable, &format!("the body broke off: {error}"))
        };
        let mut body = got.body;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|e| broke_off(&e))?;
            self.paces.download.pass(chunk.len()).await;
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > expected {
                return Err(wrong(bytes.len() as u64));
            }
        }
        if bytes.len() as u64 != expected {
            return Err(wrong(bytes.len() as u64));
        }
        Ok(bytes.freeze())
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage, StoreError> {
        let at = At::bucket(StoreOp::ListObjects);
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .set_request_payer(self.payer.clone())
            .prefix(prefix)
            .delimiter("/")
            .encoding_type(EncodingType::Url)
            .set_continuation_token(page.map(str::to_owned));
        let listed = request
            .customize()
            .config_override(quick())
            .send()
            .await
            .map_err(|e| s3_error::from_sdk(at, e))?;
        let encoded = listed.encoding_type() == Some(&EncodingType::Url);
        let text = |text: Option<&str>| {
            decoded(text.unwrap_or_default(), encoded).ok_or_else(|| {
                at.error(StoreErrorKind::Invalid, "a key in the listing is not UTF-8")
            })
        };
        let mut page = ListPage::default();
        for object in listed.contents() {
            page.objects.push(ListedObject {
                key: text(object.key())?,
                size: size(object.size()),
                etag: tag(object.e_tag(), at)?,
                last_modified: timestamp(object.last_modified()),
            });
        }
        for common in listed.common_prefixes() {
            page.prefixes.push(text(common.prefix())?);
        }
        if listed.is_truncated() == Some(true) {
            let next = listed.next_continuation_token().ok_or_else(|| {
                at.error(StoreErrorKind::Invalid, "a truncated listing without a token")
            })?;
            page.next = Some(next.to_owned());
        }
        Ok(page)
    }

    async fn put(
        &self,
        key: &ObjectKey,
        body: Bytes,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<ETag, StoreError> {
        let at = At::key(StoreOp::PutObject, key);
        let (if_none_match, if_match) = conditions(expect);
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .set_request_payer(self.payer.clone())
            .key(key.as_str())
            .body(ByteStream::from(body))
            .set_checksum_algorithm(self.checksums.algorithm())
            .set_metadata(Some(options.user.clone().into_iter().collect()))
            .set_content_type(options.content_type.clone())
            .set_storage_class(storage_class(options))
            .set_server_side_encryption(options.encryption.as_deref().map(From::from))
            .set_ssekms_key_id(options.kms_key.clone())
            .set_acl(options.acl.as_deref().map(From::from))
            .set_if_none_match(if_none_match)
            .set_if_match(if_match);
        let put = request.send().await.map_err(|e| s3_error::from_sdk(at, e))?;
        tag(put.e_tag(), at)
    }

    async fn copy(
        &self,
        from: &ObjectKey,
        from_etag: &ETag,
        to: &ObjectKey,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<ETag, StoreError> {
        let at = At::key(StoreOp::CopyObject, to);
        let (if_none_match, if_match) = conditions(expect);
        let request = self
            .client
            .copy_object()
            .bucket(&self.bucket)
            .set_request_payer(self.payer.clone())
            .key(to.as_str())
            .copy_source(self.copy_source(from))
            .copy_source_if_match(from_etag.as_str())
            .metadata_directive(MetadataDirective::Replace)
            .set_metadata(Some(options.user.clone().into_iter().collect()))
            .set_content_type(options.content_type.clone())
            .set_storage_class(storage_class(options))
            .set_server_side_encryption(options.encryption.as_deref().map(From::from))
            .set_ssekms_key_id(options.kms_key.clone())
            .set_acl(options.acl.as_deref().map(From::from))
            .set_if_none_match(if_none_match)
            .set_if_match(if_match);
        let copied = request.send().await.map_err(|e| s3_error::from_sdk(at, e))?;
        tag(copied.copy_object_result().and_then(|result| result.e_tag()), at)
    }

    async fn delete(&self, key: &ObjectKey, etag: Option<&ETag>) -> Result<(), StoreError> {
        let at = At::key(StoreOp::DeleteObject, key);
        let request = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .set_request_payer(self.payer.clone())
            .key(key.as_str())
            .set_if_match(etag.map(|tag| tag.as_str().to_owned()));
        match request
            .customize()
            .config_override(quick())
            .send()
            .await
            .map_err(|e| s3_error::from_sdk(at, e))
        {
            Ok(_) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn create_multipart(
        &self,
        key: &ObjectKey,
        options: &PutOptions,
    ) -> Result<String, StoreError> {
        let at = At::key(StoreOp::CreateMultipartUpload, key);
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .set_request_payer(self.payer.clone())
            .key(key.as_str())
            .set_metadata(Some(options.user.clone().into_iter().collect()))
            .set_checksum_algorithm(self.checksums.algorithm())
            .set_checksum_type(self.checksums.algorithm().map(|_| ChecksumType::FullObject))
            .set_content_type(options.content_type.clone())
            .set_storage_class(storage_class(options))
            .set_server_side_encryption(options.encryption.as_deref().map(From::from))
            .set_ssekms_key_id(options.kms_key.clone())
            .set_acl(options.acl.as_deref().map(From::from));
        let begun = request
            .customize()
            .config_override(quick())
            .send()
            .await
            .map_err(|e| s3_error::from_sdk(at, e))?;
        let id = begun.upload_id().filter(|id| !id.is_empty());
        id.map(str::to_owned).ok_or_else(|| at.error(StoreErrorKind::Invalid, "no upload id"))
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: u32,
        body: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        let at = At::key(StoreOp::UploadPart, key);
        let request = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .set_request_payer(self.payer.clone())
            .key(key.as_str())
            .upload_id(upload_id)
            .part_number(part_number(number, at)?)
            .body(ByteStream::from(body))
            .set_checksum_algorithm(self.checksums.algorithm());
        let put = request.send().await.map_err(|e| s3_error::from_sdk(at, e))?;
        Ok(UploadedPart { number, etag: tag(put.e_tag(), at)? })
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
        let at = At::key(StoreOp::UploadPart, key);
        let request = self
            .client
            .upload_part_copy()
            .bucket(&self.bucket)
            .set_request_payer(self.payer.clone())
            .key(key.as_str())
            .upload_id(upload_id)
            .part_number(part_number(number, at)?)
            .copy_source(self.copy_source(from))
            .copy_source_if_match(from_etag.as_str())
            .copy_source_range(range_header(&range));
        let copied = request.send().await.map_err(|e| s3_error::from_sdk(at, e))?;
        let etag = copied.copy_part_result().and_then(|result| result.e_tag());
        Ok(UploadedPart { number, etag: tag(etag, at)? })
    }

    async fn complete_multipart(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: &[UploadedPart],
        expect: &Expect,
    ) -> Result<ETag, StoreError> {
        let at = At::key(StoreOp::CompleteMultipartUpload, key);
        let (if_none_match, if_match) = conditions(expect);
        let mut upload = CompletedMultipartUpload::builder();
        for part in parts {
            upload = upload.parts(
                CompletedPart::builder()
                    .part_number(part_number(part.number, at)?)
                    .e_tag(part.etag.as_str())
                    .build(),
            );
        }
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .set_request_payer(self.payer.clone())
            .key(key.as_str())
            .upload_id(upload_id)
            .multipart_upload(upload.build())
            .set_if_none_match(if_none_match)
            .set_if_match(if_match);
        let completed = request.send().await.map_err(|e| s3_error::from_sdk(at, e))?;
        tag(completed.e_tag(), at)
    }

    async fn abort_multipart(&self, key: &ObjectKey, upload_id: &str) -> Result<(), StoreError> {
        let at = At::key(StoreOp::AbortMultipartUpload, key);
        let request = self
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .set_request_payer(self.payer.clone())
            .key(key.as_str())
            .upload_id(upload_id);
        match request
            .customize()
            .config_override(quick())
            .send()
            .await
            .map_err(|e| s3_error::from_sdk(at, e))
        {
            Ok(_) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn list_multipart(&self, prefix: &str) -> Result<Vec<PendingUpload>, StoreError> {
        let at = At::bucket(StoreOp::ListMultipartUploads);
        let request = self
            .client
            .list_multipart_uploads()
            .bucket(&self.bucket)
            .set_request_payer(self.payer.clone())
            .prefix(prefix);
        let listed = request
            .customize()
            .config_override(quick())
            .send()
            .await
            .map_err(|e| s3_error::from_sdk(at, e))?;
        let pending = |upload: &aws_sdk_s3::types::MultipartUpload| PendingUpload {
            key: upload.key().unwrap_or_default().to_owned(),
            upload_id: upload.upload_id().unwrap_or_default().to_owned(),
            initiated: timestamp(upload.initiated()),
        };
        Ok(listed.uploads().iter().map(pending).collect())
    }
}

fn part_number(number: u32, at: At<'_>) -> Result<i32, StoreError> {
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
    fn aws_gets_whole_object_checksums_and_others_what_all_know() {
        for (endpoint, checksums) in [
            ("", Checksums::Crc64Nvme),
            ("https://bucket.vpce-1-2.s3.ap-northeast-2.vpce.amazonaws.com", Checksums::Crc64Nvme),
            ("https://s3.cn-north-1.amazonaws.com.cn/", Checksums::Crc64Nvme),
            ("http://127.0.0.1:9000", Checksums::PayloadSignature),
            ("https://minio.example:9000/x.amazonaws.com", Checksums::PayloadSignature),
            ("https://notamazonaws.com", Checksums::PayloadSignature),
        ] {
            assert_eq!(Checksums::of_endpoint(endpoint), checksums, "{endpoint}");
        }
    }

    #[test]
    fn copy_sources_keep_slashes_and_escape_the_rest() {
        let settings = S3Settings { region: "us-east-1".to_owned(), ..S3Settings::default() };
        let bucket = S3Bucket::new(&settings, &"bucket".parse().unwrap());
        let key = ObjectKey::new("a b/é+%&").unwrap();
        assert_eq!(bucket.copy_source(&key), "bucket/a%20b/%C3%A9%2B%25%26");
    }
}
