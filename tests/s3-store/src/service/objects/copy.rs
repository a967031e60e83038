//! CopyObject: bytes are shared, not copied.

use s3s::dto::{CopyObjectInput, CopyObjectOutput, CopyObjectResult};
use s3s::{S3Request, S3Response, S3Result};

use crate::model::{Algorithm, Change, Content, Headers, ReadCondition, Refused};
use crate::service::Service;
use crate::service::headers::{
    ChecksumFields, content_encoding, copy_source, encryption, etag, needs_rehash, seconds,
    storage_class, tag, timestamp, user_meta, write_condition,
};
use crate::service::incoming::rehash;

/// The copy's ETag is the MD5 of the bytes, so the copy of a multipart object is read once.
pub(crate) async fn copy(
    service: &Service,
    request: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let condition = service.honoured(write_condition(&request.headers));
    let input = request.input;
    let (source_bucket, source_key, source_version) = copy_source(&input.copy_source)?;
    let source_condition = ReadCondition {
        if_match: input.copy_source_if_match.clone().map(tag),
        if_none_match: input.copy_source_if_none_match.clone().map(tag),
        if_modified_since: input.copy_source_if_modified_since.as_ref().map(seconds),
        if_unmodified_since: input.copy_source_if_unmodified_since.as_ref().map(seconds),
    };
    let (mut content, copy_source_version_id): (Content<_>, _) =
        service.storage.read(|catalog| {
            let bucket = catalog.bucket(source_bucket)?;
            let (version, content) = bucket.read(source_key, source_version)?;
            source_condition.check_source(version, content)?;
            Ok::<_, Refused>((content.clone(), bucket.shown_id(&version.id)))
        })?;

    let class = storage_class(input.storage_class.as_ref().map(|class| class.as_str()))?;
    let replace =
        input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == "REPLACE");
    let onto_itself =
        source_bucket == input.bucket && source_key == input.key && source_version.is_none();
    if onto_itself && !replace && class == content.headers.storage_class {
        let message = "this copy changes nothing; name another key, metadata with REPLACE, or another storage class";
        return Err(Refused::InvalidRequest(message.to_owned()).into());
    }
    if replace {
        content.headers = Headers {
            content_type: input.content_type.clone(),
            cache_control: input.cache_control.clone(),
            content_disposition: input.content_disposition.clone(),
            content_encoding: content_encoding(input.content_encoding.clone()),
            content_language: input.content_language.clone(),
            expires: input.expires.as_ref().map(seconds),
            storage_class: None,
            encryption: None,
            acl: None,
            user_meta: user_meta(input.metadata.clone())?,
        };
    }
    content.headers.storage_class = class;
    // Neither is copied with the object.
    content.headers.encryption = encryption(
        input.server_side_encryption.as_ref().map(|algorithm| algorithm.as_str()),
        input.ssekms_key_id.clone(),
    )?;
    content.headers.acl = input.acl.as_ref().map(|acl| acl.as_str().to_owned());
    let asked = input.checksum_algorithm.as_ref().and_then(|name| Algorithm::parse(name.as_str()));
    let algorithm = asked.unwrap_or(content.checksum.algorithm);
    if needs_rehash(&content) || algorithm != content.checksum.algorithm {
        let (md5, checksum) = rehash(&content.body, algorithm).await?;
        content.etag = crate::hex(&md5);
        content.checksum = checksum;
    }
    content.part_sizes = Vec::new();

    let (tag, sums) = (content.etag.clone(), ChecksumFields::from(&content.checksum));
    let (version_id, modified) = service.storage.commit(|catalog, at| {
        let bucket = catalog.bucket(&input.bucket)?;
        bucket.check_write(&input.key, &condition)?;
        let version = bucket.next_version(Some(content), at.sequence, at.now);
        let reply = (bucket.shown_id(&version.id), version.modified);
        Ok((
            Some(Change::PutVersion {
                bucket: input.bucket.clone(),
                key: input.key.clone(),
                version,
            }),
            reply,
        ))
    })?;
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(CopyObjectResult {
            e_tag: Some(etag(&tag)),
            last_modified: Some(timestamp(modified)),
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
            checksum_type: sums.kind,
        }),
        copy_source_version_id,
        version_id,
        ..CopyObjectOutput::default()
    }))
}
