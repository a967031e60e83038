//! GetObject and HeadObject.

use std::ops::Range;

use s3s::dto::{
    GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ServerSideEncryption,
    StorageClass, StreamingBlob,
};
use s3s::{S3Request, S3Response, S3Result};

use crate::blob::Body;
use crate::model::{Content, Headers, ReadCondition, Refused, Version};
use crate::service::Service;
use crate::service::headers::{
    ChecksumFields, count, etag, metadata, seconds, signed, tag, timestamp,
};

/// What GET and HEAD read alike.
struct Asked<'a> {
    bucket: &'a str,
    key: &'a str,
    version_id: Option<&'a str>,
    range: Option<s3s::dto::Range>,
    part_number: Option<i32>,
    condition: ReadCondition,
}

/// One version, and the bytes of it that are asked for.
struct Found {
    version: Version<()>,
    content: Content<Body>,
    version_id: Option<String>,
    range: Range<u64>,
    partial: bool,
    parts_count: Option<usize>,
}

fn find(service: &Service, asked: &Asked<'_>) -> Result<Found, Refused> {
    let (version, content, version_id) = service.storage.read(|catalog| {
        let bucket = catalog.bucket(asked.bucket)?;
        let (version, content) = bucket.read(asked.key, asked.version_id)?;
        asked.condition.check(version, content)?;
        let bare = Version {
            id: version.id.clone(),
            sequence: version.sequence,
            modified: version.modified,
            content: None,
        };
        Ok::<_, Refused>((bare, content.clone(), bucket.shown_id(&version.id)))
    })?;
    let size = content.size;
    let (range, partial, parts_count) = match (asked.range, asked.part_number) {
        (Some(_), Some(_)) => {
            return Err(Refused::InvalidRequest(
                "Range and partNumber cannot be used together".to_owned(),
            ));
        }
        (Some(range), None) => {
            (range.check(size).map_err(|_| Refused::InvalidRange { size })?, true, None)
        }
        (None, Some(number)) => {
            let part = u16::try_from(number).ok().and_then(|number| content.part_range(number));
            let (range, parts) = part.ok_or(Refused::InvalidRange { size })?;
            (range, true, (!content.part_sizes.is_empty()).then_some(parts))
        }
        (None, None) => (0..size, false, None),
    };
    Ok(Found { version, content, version_id, range, partial, parts_count })
}

impl Found {
    fn content_range(&self) -> Option<String> {
        let last = self.range.end.saturating_sub(1);
        (self.partial && self.range.end > 0)
            .then(|| format!("bytes {}-{last}/{}", self.range.start, self.content.size))
    }

    fn checksums(&self, mode: Option<&s3s::dto::ChecksumMode>) -> ChecksumFields {
        match mode {
            Some(_) if !self.partial => ChecksumFields::from(&self.content.checksum),
            Some(_) | None => ChecksumFields::default(),
        }
    }
}

/// Streams the bytes; memory use does not depend on the object's size.
pub(crate) async fn get(
    service: &Service,
    request: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let input = request.input;
    let found = find(
        service,
        &Asked {
            bucket: &input.bucket,
            key: &input.key,
            version_id: input.version_id.as_deref(),
            range: input.range,
            part_number: input.part_number,
            condition: ReadCondition {
                if_match: input.if_match.map(tag),
                if_none_match: input.if_none_match.map(tag),
                if_modified_since: input.if_modified_since.as_ref().map(seconds),
                if_unmodified_since: input.if_unmodified_since.as_ref().map(seconds),
            },
        },
    )?;
    let body = found.content.body.slice(found.range.clone()).stream();
    let sums = found.checksums(input.checksum_mode.as_ref());
    let content_range = found.content_range();
    let headers = &found.content.headers;
    Ok(S3Response::new(GetObjectOutput {
        body: Some(StreamingBlob::new(body)),
        accept_ranges: Some("bytes".to_owned()),
        content_length: Some(signed(found.range.end - found.range.start)),
        content_range,
        e_tag: Some(etag(&found.content.etag)),
        last_modified: Some(timestamp(found.version.modified)),
        metadata: metadata(headers),
        content_type: Some(content_type(headers.content_type.as_deref())),
        cache_control: headers.cache_control.clone(),
        content_disposition: headers.content_disposition.clone(),
        content_encoding: headers.content_encoding.clone(),
        content_language: headers.content_language.clone(),
        expires: headers.expires.map(timestamp),
        storage_class: headers.storage_class.clone().map(StorageClass::from),
        server_side_encryption: Some(algorithm_of(headers)),
        ssekms_key_id: headers.encryption.as_ref().and_then(|how| how.kms_key.clone()),
        parts_count: found.parts_count.map(count),
        version_id: found.version_id,
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        checksum_type: sums.kind,
        ..GetObjectOutput::default()
    }))
}

pub(crate) async fn head(
    service: &Service,
    request: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let input = request.input;
    let found = find(
        service,
        &Asked {
            bucket: &input.bucket,
            key: &input.key,
            version_id: input.version_id.as_deref(),
            range: input.range,
            part_number: input.part_number,
            condition: ReadCondition {
                if_match: input.if_match.map(tag),
                if_none_match: input.if_none_match.map(tag),
                if_modified_since: input.if_modified_since.as_ref().map(seconds),
                if_unmodified_since: input.if_unmodified_since.as_ref().map(seconds),
            },
        },
    )?;
    let sums = found.checksums(input.checksum_mode.as_ref());
    let content_range = found.content_range();
    let headers = &found.content.headers;
    Ok(S3Response::new(HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: Some(signed(found.range.end - found.range.start)),
        content_range,
        e_tag: Some(etag(&found.content.etag)),
        last_modified: Some(timestamp(found.version.modified)),
        metadata: metadata(headers),
        content_type: Some(content_type(headers.content_type.as_deref())),
        cache_control: headers.cache_control.clone(),
        content_disposition: headers.content_disposition.clone(),
        content_encoding: headers.content_encoding.clone(),
        content_language: headers.content_language.clone(),
        expires: headers.expires.map(timestamp),
        storage_class: headers.storage_class.clone().map(StorageClass::from),
        server_side_encryption: Some(algorithm_of(headers)),
        ssekms_key_id: headers.encryption.as_ref().and_then(|how| how.kms_key.clone()),
        parts_count: found.parts_count.map(count),
        version_id: found.version_id,
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        checksum_type: sums.kind,
        ..HeadObjectOutput::default()
    }))
}

/// S3 encrypts with keys of its own where nothing else was asked for (S3 User Guide, default encryption).
fn algorithm_of(headers: &Headers) -> ServerSideEncryption {
    let algorithm = headers.encryption.as_ref().map_or("AES256", |how| how.algorithm.as_str());
    ServerSideEncryption::from(algorithm.to_owned())
}

/// S3 answers `binary/octet-stream` where the writer named no type.
fn content_type(kept: Option<&str>) -> String {
    kept.unwrap_or("binary/octet-stream").to_owned()
}
