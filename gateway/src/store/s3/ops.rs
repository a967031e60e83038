//! The port's operations as requests of the SDK.
use std::ops::Range;

use async_trait::async_trait;
use aws_sdk_s3::{
    operation::{
        put_object::builders::PutObjectFluentBuilder,
        upload_part_copy::builders::UploadPartCopyFluentBuilder,
    },
    primitives::ByteStream,
    types::{
        ChecksumType, CompletedMultipartUpload, CompletedPart, EncodingType, MetadataDirective,
    },
};
use bytes::{Bytes, BytesMut};

use super::{
    S3Bucket,
    client::{busy, sending},
    pace::Sending,
    wire::{
        conditions, decoded, expires, meta, part_number, range_header, size, storage_class, stored,
        tag, timestamp,
    },
};
use crate::{
    essential::{self, Step},
    object::{ETag, ObjectKey, Stored},
    store::{
        Expect, ListPage, ListedObject, ObjectMeta, ObjectStore, PendingUpload, PutOptions,
        StoreError, StoreErrorKind, StoreOp, UploadedPart, UploadsMarker, UploadsPage,
        s3_error::{self, At},
    },
};

impl S3Bucket {
    /// PutObject, but for the body.
    pub(super) fn put_request(
        &self,
        key: &ObjectKey,
        options: &PutOptions,
        expect: &Expect,
    ) -> PutObjectFluentBuilder {
        let (if_none_match, if_match) = conditions(expect);
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .set_metadata(Some(options.user.clone().into_iter().collect()))
            .set_content_type(options.content_type.clone())
            .set_cache_control(options.headers.cache_control.clone())
            .set_content_disposition(options.headers.content_disposition.clone())
            .set_content_encoding(options.headers.content_encoding.clone())
            .set_content_language(options.headers.content_language.clone())
            .set_expires(expires(&options.headers))
            .set_storage_class(storage_class(options))
            .set_server_side_encryption(options.encryption.as_deref().map(From::from))
            .set_ssekms_key_id(options.kms_key.clone())
            .set_acl(options.acl.as_deref().map(From::from))
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
    }

    /// UploadPartCopy, but for the part's number and the range.
    pub(super) fn part_copy_request(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        from: &ObjectKey,
        from_etag: &ETag,
    ) -> UploadPartCopyFluentBuilder {
        self.client
            .upload_part_copy()
            .bucket(&self.bucket)
            .key(key.as_str())
            .upload_id(upload_id)
            .copy_source(self.copy_source(from))
            .copy_source_if_match(from_etag.as_str())
    }
}

fn stalled(at: At<'_>) -> StoreError {
    at.error(StoreErrorKind::Timeout, "the body has stopped moving, or no answer came")
}

#[async_trait]
impl ObjectStore for S3Bucket {
    async fn probe(&self, prefix: &str) -> Result<(), StoreError> {
        let at = At::bucket(StoreOp::ListObjects);
        let sent = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .max_keys(1)
            .send()
            .await;
        sent.map(|_| ()).map_err(|e| s3_error::from_sdk(at, e))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        let at = At::key(StoreOp::HeadObject, key);
        let request = self.client.head_object().bucket(&self.bucket).key(key.as_str());
        match request.send().await.map_err(|e| s3_error::from_sdk(at, e)) {
            Ok(head) => meta(head, at),
            Err(refused) => Err(self.reason_of_head(key, refused).await),
        }
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
            .key(key.as_str())
            .range(range_header(&range))
            .if_match(etag.as_str());
        let got = request.send().await.map_err(|e| s3_error::from_sdk(at, e))?;
        // Before a byte is read: a server that ignores ranges answers with the whole object.
        let expected = range.end - range.start;
        let wrong = |came: u64| {
            let what = format!("{came} bytes came instead of {expected}");
            at.error(StoreErrorKind::Integrity, &what)
        };
        let is_other = |came: &ETag| came != etag && !essential::is_left_out(Step::FetchTagCheck);
        if let Some(other) = got.e_tag().map(ETag::new).filter(is_other) {
            // A server that ignores If-Match: these would be another version's bytes (I6).
            let what = format!("the object has the tag {other} instead of {etag}");
            return Err(at.error(StoreErrorKind::Changed, &what));
        }
        if let Some(came) = got.content_length().filter(|length| size(Some(*length)) != expected) {
            return Err(wrong(size(Some(came))));
        }
        let mut body = got.body;
        // The caller's own number, for which it has memory; a growing buffer copies what is in it.
        let mut bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|e| s3_error::of_body(at, &e))?;
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
            .prefix(prefix)
            .delimiter("/")
            .encoding_type(EncodingType::Url)
            .set_continuation_token(page.map(str::to_owned));
        let listed = request.send().await.map_err(|e| s3_error::from_sdk(at, e))?;
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
    ) -> Result<Stored, StoreError> {
        let at = At::key(StoreOp::PutObject, key);
        let going = Sending::new(body.clone(), &self.paces.upload);
        let request = self
            .put_request(key, options, expect)
            .set_checksum_crc64_nvme(self.checksums().of(&body))
            .body(ByteStream::from(body))
            .customize()
            .config_override(sending())
            .interceptor(going.clone());
        let put = going.watch(self.limits, request.send()).await;
        let put = put.ok_or_else(|| stalled(at))?.map_err(|e| s3_error::from_sdk(at, e))?;
        stored(put.e_tag(), put.version_id(), at)
    }

    async fn copy(
        &self,
        from: &ObjectKey,
        from_etag: &ETag,
        to: &ObjectKey,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        let at = At::key(StoreOp::CopyObject, to);
        let (if_none_match, if_match) = conditions(expect);
        let request = self
            .client
            .copy_object()
            .bucket(&self.bucket)
            .key(to.as_str())
            .copy_source(self.copy_source(from))
            .copy_source_if_match(from_etag.as_str())
            .metadata_directive(MetadataDirective::Replace)
            .set_metadata(Some(options.user.clone().into_iter().collect()))
            .set_content_type(options.content_type.clone())
            .set_cache_control(options.headers.cache_control.clone())
            .set_content_disposition(options.headers.content_disposition.clone())
            .set_content_encoding(options.headers.content_encoding.clone())
            .set_content_language(options.headers.content_language.clone())
            .set_expires(expires(&options.headers))
            .set_storage_class(storage_class(options))
            .set_server_side_encryption(options.encryption.as_deref().map(From::from))
            .set_ssekms_key_id(options.kms_key.clone())
            .set_acl(options.acl.as_deref().map(From::from))
            .set_if_none_match(if_none_match)
            .set_if_match(if_match);
        let copied = request
            .customize()
            .config_override(busy())
            .send()
            .await
            .map_err(|e| s3_error::from_sdk(at, e))?;
        let etag = copied.copy_object_result().and_then(|result| result.e_tag());
        stored(etag, copied.version_id(), at)
    }

    async fn delete(&self, key: &ObjectKey, etag: Option<&ETag>) -> Result<(), StoreError> {
        let at = At::key(StoreOp::DeleteObject, key);
        let request = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .set_if_match(etag.map(|tag| tag.as_str().to_owned()));
        match request.send().await.map_err(|e| s3_error::from_sdk(at, e)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
            // Without words: there are stores that say so of a key that they do not have.
            Err(error) if error.is_status(404) && self.listed(key).await?.is_none() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn create_multipart(
        &self,
        key: &ObjectKey,
        options: &PutOptions,
    ) -> Result<String, StoreError> {
        let at = At::key(StoreOp::CreateMultipartUpload, key);
        let checksums = self.checksums();
        let checksum = checksums.algorithm();
        let whole = checksum.as_ref().map(|_| ChecksumType::FullObject);
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(key.as_str())
            .set_metadata(Some(options.user.clone().into_iter().collect()))
            .set_checksum_algorithm(checksum)
            .set_checksum_type(whole)
            .set_content_type(options.content_type.clone())
            .set_cache_control(options.headers.cache_control.clone())
            .set_content_disposition(options.headers.content_disposition.clone())
            .set_content_encoding(options.headers.content_encoding.clone())
            .set_content_language(options.headers.content_language.clone())
            .set_expires(expires(&options.headers))
            .set_storage_class(storage_class(options))
            .set_server_side_encryption(options.encryption.as_deref().map(From::from))
            .set_ssekms_key_id(options.kms_key.clone())
            .set_acl(options.acl.as_deref().map(From::from));
        let begun = request.send().await.map_err(|e| s3_error::from_sdk(at, e))?;
        let id = begun.upload_id().filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| at.error(StoreErrorKind::Invalid, "no upload id"))?;
        self.begun.note(id, checksums);
        Ok(id.to_owned())
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: u32,
        body: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        let at = At::key(StoreOp::UploadPart, key);
        let wire_number = part_number(number, at)?;
        let checksums = self.begun_with(key, upload_id).await?;
        let going = Sending::new(body.clone(), &self.paces.upload);
        let request = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(key.as_str())
            .upload_id(upload_id)
            .part_number(wire_number)
            .set_checksum_crc64_nvme(checksums.of(&body))
            .body(ByteStream::from(body))
            .customize()
            .config_override(sending())
            .interceptor(going.clone());
        let put = going.watch(self.limits, request.send()).await;
        let put = put.ok_or_else(|| stalled(at))?.map_err(|e| s3_error::from_sdk(at, e))?;
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
        let at = At::key(StoreOp::UploadPartCopy, key);
        let request = self
            .part_copy_request(key, upload_id, from, from_etag)
            .part_number(part_number(number, at)?)
            .copy_source_range(range_header(&range));
        let copied = request
            .customize()
            .config_override(busy())
            .send()
            .await
            .map_err(|e| s3_error::from_sdk(at, e))?;
        let etag = copied.copy_part_result().and_then(|result| result.e_tag());
        Ok(UploadedPart { number, etag: tag(etag, at)? })
    }

    async fn complete_multipart(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: &[UploadedPart],
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
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
            .key(key.as_str())
            .upload_id(upload_id)
            .multipart_upload(upload.build())
            .set_if_none_match(if_none_match)
            .set_if_match(if_match);
        let completed = request
            .customize()
            .config_override(busy())
            .send()
            .await
            .map_err(|e| s3_error::from_sdk(at, e))?;
        self.begun.forget(upload_id);
        stored(completed.e_tag(), completed.version_id(), at)
    }

    async fn abort_multipart(&self, key: &ObjectKey, upload_id: &str) -> Result<(), StoreError> {
        let at = At::key(StoreOp::AbortMultipartUpload, key);
        let request = self
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(key.as_str())
            .upload_id(upload_id);
        match request.send().await.map_err(|e| s3_error::from_sdk(at, e)) {
            Err(error) if error.kind != StoreErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
        self.begun.forget(upload_id);
        Ok(())
    }

    async fn list_multipart(
        &self,
        prefix: &str,
        after: Option<&UploadsMarker>,
    ) -> Result<UploadsPage, StoreError> {
        let at = At::bucket(StoreOp::ListMultipartUploads);
        let request = self
            .client
            .list_multipart_uploads()
            .bucket(&self.bucket)
            .prefix(prefix)
            .encoding_type(EncodingType::Url)
            .set_key_marker(after.map(|after| after.key.clone()))
            .set_upload_id_marker(after.and_then(|after| after.upload_id.clone()));
        let listed = request.send().await.map_err(|e| s3_error::from_sdk(at, e))?;
        let encoded = listed.encoding_type() == Some(&EncodingType::Url);
        let mut page = UploadsPage::default();
        for upload in listed.uploads() {
            // One whose key is not UTF-8 is not ours, and could not be named.
            let Some(key) = decoded(upload.key().unwrap_or_default(), encoded) else { continue };
            page.uploads.push(PendingUpload {
                key,
                upload_id: upload.upload_id().unwrap_or_default().to_owned(),
                initiated: timestamp(upload.initiated()),
            });
        }
        if listed.is_truncated() == Some(true) {
            let key = listed.next_key_marker().and_then(|key| decoded(key, encoded));
            let key = key.ok_or_else(|| {
                at.error(StoreErrorKind::Invalid, "a truncated listing without a marker")
            })?;
            let upload_id = listed.next_upload_id_marker().filter(|id| !id.is_empty());
            page.next = Some(UploadsMarker { key, upload_id: upload_id.map(str::to_owned) });
        }
        Ok(page)
    }
}
