//! Multipart uploads.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::Service;
use super::headers::{
    ChecksumFields, checksum_type, content_encoding, copy_source, count, encryption, etag, seconds,
    signed, storage_class, tag, timestamp, user_meta, write_condition,
};
use super::incoming::{Incoming, rehash};
use crate::blob::Body;
use crate::model::{
    Algorithm, Change, ChecksumKind, Content, Headers, LISTING_ENTRIES_MAX, NamedPart,
    ReadCondition, Refused, Upload, upload_id,
};
use crate::storage::now;

/// The highest part number (S3 multipart upload limits).
const PART_NUMBER_MAX: u16 = 10_000;

fn part_number(asked: i32) -> Result<u16, Refused> {
    let number = u16::try_from(asked).ok().filter(|number| (1..=PART_NUMBER_MAX).contains(number));
    number.ok_or_else(|| Refused::InvalidArgument("part number must be from 1 to 10000".to_owned()))
}

pub(super) async fn create(
    service: &Service,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let input = request.input;
    let asked = input
        .checksum_algorithm
        .as_ref()
        .map(|name| {
            Algorithm::parse(name.as_str())
                .ok_or(Refused::InvalidDigest("x-amz-checksum-algorithm"))
        })
        .transpose()?;
    let algorithm = asked.unwrap_or(Algorithm::Crc64Nvme);
    let kind = match input.checksum_type.as_ref().map(|kind| kind.as_str()) {
        None => algorithm.default_kind(),
        Some("FULL_OBJECT") => ChecksumKind::FullObject,
        Some("COMPOSITE") => ChecksumKind::Composite,
        Some(_) => {
            return Err(Refused::InvalidArgument("unknown x-amz-checksum-type".to_owned()).into());
        }
    };
    if !algorithm.allows(kind) {
        return Err(Refused::InvalidRequest(format!(
            "{} does not offer this checksum type",
            algorithm.name()
        ))
        .into());
    }
    let headers = Headers {
        content_type: input.content_type,
        cache_control: input.cache_control,
        content_disposition: input.content_disposition,
        content_encoding: content_encoding(input.content_encoding),
        content_language: input.content_language,
        expires: input.expires.as_ref().map(seconds),
        storage_class: storage_class(input.storage_class.as_ref().map(|class| class.as_str()))?,
        encryption: encryption(
            input.server_side_encryption.as_ref().map(|algorithm| algorithm.as_str()),
            input.ssekms_key_id,
        )?,
        acl: input.acl.as_ref().map(|acl| acl.as_str().to_owned()),
        user_meta: user_meta(input.metadata)?,
    };
    let id = service.storage.commit(|catalog, at| {
        catalog.bucket(&input.bucket)?;
        let upload = Upload {
            id: upload_id(at.sequence),
            key: input.key.clone(),
            sequence: at.sequence,
            initiated: at.now,
            headers,
            algorithm,
            kind,
            algorithm_named: asked.is_some(),
            parts: std::collections::BTreeMap::new(),
        };
        let id = upload.id.clone();
        Ok((Some(Change::CreateUpload { bucket: input.bucket.clone(), upload }), id))
    })?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        checksum_algorithm: asked.map(|algorithm| ChecksumAlgorithm::from_static(algorithm.name())),
        checksum_type: asked.map(|_| checksum_type(kind)),
        ..CreateMultipartUploadOutput::default()
    }))
}

fn find_algorithm(
    service: &Service,
    bucket: &str,
    key: &str,
    id: &str,
) -> Result<Algorithm, Refused> {
    service.storage.read(|catalog| Ok(catalog.bucket(bucket)?.upload(key, id)?.algorithm))
}

fn keep_part(
    service: &Service,
    place: (&str, &str, &str),
    number: u16,
    part: crate::model::Part<Body>,
) -> Result<(), Refused> {
    let (bucket, key, id) = place;
    service.storage.commit(|catalog, _| {
        catalog.bucket(bucket)?.upload(key, id)?;
        Ok((
            Some(Change::PutPart {
                bucket: bucket.to_owned(),
                upload_id: id.to_owned(),
                number,
                part,
            }),
            (),
        ))
    })
}

pub(super) async fn part(
    service: &Service,
    mut request: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let number = part_number(request.input.part_number)?;
    let input = &request.input;
    let algorithm = find_algorithm(service, &input.bucket, &input.key, &input.upload_id)?;
    let incoming = Incoming::new(&request, algorithm)?;
    let body = request.input.body.take();
    let input = request.input;
    let sent = incoming.algorithm;
    let received = incoming.receive(&service.storage.home, body).await?;
    // A part may be checked by another algorithm than the upload's own (clients have defaults); S3 then keeps its own.
    let checksum = if sent == algorithm {
        received.checksum.clone()
    } else {
        rehash(&received.body, algorithm).await?.1
    };
    let sums = ChecksumFields::from(&received.checksum);
    let part = crate::model::Part {
        body: received.body,
        size: received.size,
        md5: received.md5,
        checksum,
        modified: now(),
    };
    keep_part(service, (&input.bucket, &input.key, &input.upload_id), number, part)?;
    Ok(S3Response::new(UploadPartOutput {
        e_tag: Some(etag(&crate::hex(&received.md5))),
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        ..UploadPartOutput::default()
    }))
}

pub(super) async fn part_copy(
    service: &Service,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = request.input;
    let number = part_number(input.part_number)?;
    let algorithm = find_algorithm(service, &input.bucket, &input.key, &input.upload_id)?;
    let (source_bucket, source_key, source_version) = copy_source(&input.copy_source)?;
    let condition = if service.faults.ignores_part_sources() {
        ReadCondition::default()
    } else {
        ReadCondition {
            if_match: input.copy_source_if_match.clone().map(tag),
            if_none_match: input.copy_source_if_none_match.clone().map(tag),
            if_modified_since: input.copy_source_if_modified_since.as_ref().map(seconds),
            if_unmodified_since: input.copy_source_if_unmodified_since.as_ref().map(seconds),
        }
    };
    let (body, size, copy_source_version_id) = service.storage.read(|catalog| {
        let bucket = catalog.bucket(source_bucket)?;
        let (version, content) = bucket.read(source_key, source_version)?;
        condition.check_source(version, content)?;
        Ok::<_, Refused>((content.body.clone(), content.size, bucket.shown_id(&version.id)))
    })?;
    let asked =
        input.copy_source_range.as_deref().filter(|_| !service.faults.ignores_part_ranges());
    let range = match asked.map(Range::parse) {
        None => 0..size,
        // S3 takes only bytes=first-last here, both inside the source.
        Some(Ok(Range::Int { first, last: Some(last) })) if last < size => first..last + 1,
        Some(Ok(Range::Int { .. } | Range::Suffix { .. }) | Err(_)) => {
            let message =
                format!("x-amz-copy-source-range must be bytes=first-last within {size} bytes");
            return Err(Refused::InvalidArgument(message).into());
        }
    };
    let body = body.slice(range.clone());
    let (md5, checksum) = rehash(&body, algorithm).await?;
    let sums = ChecksumFields::from(&checksum);
    let modified = now();
    let part = crate::model::Part { body, size: range.end - range.start, md5, checksum, modified };
    keep_part(service, (&input.bucket, &input.key, &input.upload_id), number, part)?;
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(CopyPartResult {
            e_tag: Some(etag(&crate::hex(&md5))),
            last_modified: Some(timestamp(modified)),
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
        }),
        copy_source_version_id,
        ..UploadPartCopyOutput::default()
    }))
}

fn named_parts(
    asked: Option<CompletedMultipartUpload>,
    algorithm: Algorithm,
) -> Result<Vec<NamedPart>, Refused> {
    let parts = asked.and_then(|upload| upload.parts).unwrap_or_default();
    let named = parts.into_iter().map(|part| {
        let number = part.part_number.ok_or(Refused::MalformedXml("a part has no PartNumber"))?;
        let checksum = match algorithm {
            Algorithm::Crc32 => part.checksum_crc32,
            Algorithm::Crc32c => part.checksum_crc32c,
            Algorithm::Crc64Nvme => part.checksum_crc64nvme,
            Algorithm::Sha1 => part.checksum_sha1,
            Algorithm::Sha256 => part.checksum_sha256,
        };
        let etag = part.e_tag.map(ETag::into_value);
        Ok(NamedPart { number: part_number(number)?, etag, checksum })
    });
    named.collect()
}

pub(super) async fn complete(
    service: &Service,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let condition = service.honoured(write_condition(&request.headers));
    let input = request.input;
    let algorithm = find_algorithm(service, &input.bucket, &input.key, &input.upload_id)?;
    let named = named_parts(input.multipart_upload, algorithm)?;
    let expected = match algorithm {
        Algorithm::Crc32 => input.checksum_crc32,
        Algorithm::Crc32c => input.checksum_crc32c,
        Algorithm::Crc64Nvme => input.checksum_crc64nvme,
        Algorithm::Sha1 => input.checksum_sha1,
        Algorithm::Sha256 => input.checksum_sha256,
    };
    let (tag, checksum, version_id) = service.storage.commit(|catalog, at| {
        let bucket = catalog.bucket(&input.bucket)?;
        let upload = bucket.upload(&input.key, &input.upload_id)?;
        let plan = upload.plan(&named, expected.as_deref())?;
        let size: u64 = plan.part_sizes.iter().sum();
        if input.mpu_object_size.is_some_and(|asked| asked != signed(size)) {
            return Err(Refused::InvalidRequest(format!(
                "x-amz-mp-object-size is not the {size} bytes uploaded"
            )));
        }
        bucket.check_write(&input.key, &condition)?;
        let content = Content {
            body: Body::join(plan.bodies),
            size,
            etag: plan.etag,
            checksum: plan.checksum,
            headers: upload.headers.clone(),
            part_sizes: plan.part_sizes,
        };
        let reply = (content.etag.clone(), content.checksum.clone());
        let version = bucket.next_version(Some(content), at.sequence, at.now);
        let shown = bucket.shown_id(&version.id);
        let change = Change::CompleteUpload {
            bucket: input.bucket.clone(),
            upload_id: input.upload_id.clone(),
            key: input.key.clone(),
            version,
        };
        Ok((Some(change), (reply.0, reply.1, shown)))
    })?;
    let sums = ChecksumFields::from(&checksum);
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(etag(&tag)),
        version_id,
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        checksum_type: sums.kind,
        ..CompleteMultipartUploadOutput::default()
    }))
}

pub(super) async fn abort(
    service: &Service,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = request.input;
    service.storage.commit(|catalog, _| {
        catalog.bucket(&input.bucket)?.upload(&input.key, &input.upload_id)?;
        let change = Change::AbortUpload {
            bucket: input.bucket.clone(),
            upload_id: input.upload_id.clone(),
        };
        Ok((Some(change), ()))
    })?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

pub(super) async fn list_parts(
    service: &Service,
    request: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let input = request.input;
    let marker = input.part_number_marker.unwrap_or(0);
    let after = u16::try_from(marker)
        .map_err(|_| Refused::InvalidArgument("part-number-marker".to_owned()))?;
    let asked =
        input.max_parts.and_then(|most| usize::try_from(most).ok()).unwrap_or(LISTING_ENTRIES_MAX);
    let most = asked.min(LISTING_ENTRIES_MAX);
    let output = service.storage.read(|catalog| {
        let upload = catalog.bucket(&input.bucket)?.upload(&input.key, &input.upload_id)?;
        let following = || upload.parts.range(after.saturating_add(1)..);
        let parts: Vec<Part> = following()
            .take(most)
            .map(|(number, part)| {
                let sums = if upload.algorithm_named {
                    ChecksumFields::from(&part.checksum)
                } else {
                    ChecksumFields::default()
                };
                Part {
                    part_number: Some(i32::from(*number)),
                    e_tag: Some(etag(&crate::hex(&part.md5))),
                    size: Some(signed(part.size)),
                    last_modified: Some(timestamp(part.modified)),
                    checksum_crc32: sums.crc32,
                    checksum_crc32c: sums.crc32c,
                    checksum_crc64nvme: sums.crc64nvme,
                    checksum_sha1: sums.sha1,
                    checksum_sha256: sums.sha256,
                }
            })
            .collect();
        let truncated = following().nth(most).is_some();
        Ok::<_, Refused>(ListPartsOutput {
            is_truncated: Some(truncated),
            next_part_number_marker: parts.last().and_then(|part| part.part_number),
            part_number_marker: Some(i32::from(after)),
            max_parts: Some(count(most)),
            storage_class: Some(StorageClass::from(class_of(&upload.headers))),
            checksum_algorithm: upload
                .algorithm_named
                .then(|| ChecksumAlgorithm::from_static(upload.algorithm.name())),
            checksum_type: upload.algorithm_named.then(|| checksum_type(upload.kind)),
            parts: Some(parts),
            ..ListPartsOutput::default()
        })
    })?;
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        ..output
    }))
}

/// The storage class as listings show it.
pub(super) fn class_of(headers: &Headers) -> String {
    headers.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned())
}
