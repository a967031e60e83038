//! PutObject.

use s3s::dto::{PutObjectInput, PutObjectOutput};
use s3s::{S3Request, S3Response, S3Result};

use crate::model::{Algorithm, Change, Content, Headers};
use crate::service::Service;
use crate::service::headers::{
    ChecksumFields, content_encoding, encryption, etag, seconds, storage_class, user_meta,
    write_condition,
};
use crate::service::incoming::Incoming;

/// The whole body is received and checked before conditions are: the object is there whole or not at all.
pub(crate) async fn put(
    service: &Service,
    mut request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let incoming = Incoming::new(&request, Algorithm::Crc64Nvme)?;
    let condition = service.honoured(write_condition(&request.headers));
    let body = request.input.body.take();
    let input = request.input;
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
    service.storage.read(|catalog| catalog.bucket(&input.bucket).map(|_| ()))?;
    let received = incoming.receive(&service.storage.home, body).await?;
    let content = Content {
        body: received.body,
        size: received.size,
        etag: crate::hex(&received.md5),
        checksum: received.checksum,
        headers,
        part_sizes: Vec::new(),
    };
    let tag = content.etag.clone();
    let sums = ChecksumFields::from(&content.checksum);
    let version_id = service.storage.commit(|catalog, at| {
        let bucket = catalog.bucket(&input.bucket)?;
        bucket.check_write(&input.key, &condition)?;
        let version = bucket.next_version(Some(content), at.sequence, at.now);
        let shown = bucket.shown_id(&version.id);
        Ok((
            Some(Change::PutVersion {
                bucket: input.bucket.clone(),
                key: input.key.clone(),
                version,
            }),
            shown,
        ))
    })?;
    Ok(S3Response::new(PutObjectOutput {
        e_tag: Some(etag(&tag)),
        version_id,
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        checksum_type: sums.kind,
        ..PutObjectOutput::default()
    }))
}
