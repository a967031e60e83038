//! DeleteObject and DeleteObjects.

use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    ObjectIdentifier,
};
use s3s::{S3Error, S3Request, S3Response, S3Result};

use crate::model::{Deletion, KEY_BYTES_MAX, LISTING_ENTRIES_MAX, Refused, Tag, WriteCondition};
use crate::service::Service;
use crate::service::headers::write_condition;

fn remove(
    service: &Service,
    bucket_name: &str,
    key: &str,
    version_id: Option<&str>,
    if_match: Option<Tag>,
) -> Result<Deletion, Refused> {
    let if_match = service.honoured(WriteCondition { if_match, if_none_match: None }).if_match;
    service.storage.commit(|catalog, at| {
        let bucket = catalog.bucket(bucket_name)?;
        bucket.delete(bucket_name, key, version_id, if_match.as_ref(), (at.sequence, at.now))
    })
}

pub(crate) async fn delete(
    service: &Service,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let if_match = write_condition(&request.headers).if_match;
    let input = request.input;
    let deletion =
        remove(service, &input.bucket, &input.key, input.version_id.as_deref(), if_match)?;
    Ok(S3Response::new(DeleteObjectOutput {
        delete_marker: deletion.delete_marker.then_some(true),
        version_id: deletion.version_id,
        ..DeleteObjectOutput::default()
    }))
}

pub(crate) async fn delete_many(
    service: &Service,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let input = request.input;
    let objects = input.delete.objects;
    if objects.is_empty() || objects.len() > LISTING_ENTRIES_MAX {
        return Err(Refused::MalformedXml("1 to 1000 keys can be deleted at once").into());
    }
    service.storage.read(|catalog| catalog.bucket(&input.bucket).map(|_| ()))?;
    let quiet = input.delete.quiet.unwrap_or(false);
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for ObjectIdentifier { key, version_id, e_tag, .. } in objects {
        let outcome = if key.len() > KEY_BYTES_MAX {
            Err(Refused::KeyTooLong { bytes: key.len() })
        } else {
            let if_match = e_tag.map(|etag| Tag::parse(etag.value()));
            remove(service, &input.bucket, &key, version_id.as_deref(), if_match)
        };
        match outcome {
            Ok(_) if quiet => {}
            Ok(deletion) => deleted.push(DeletedObject {
                key: Some(key),
                delete_marker: deletion.delete_marker.then_some(true),
                delete_marker_version_id: deletion
                    .delete_marker
                    .then(|| deletion.version_id.clone())
                    .flatten(),
                version_id,
            }),
            Err(refused) => {
                let error = S3Error::from(refused);
                errors.push(s3s::dto::Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(key),
                    message: error.message().map(str::to_owned),
                    version_id,
                });
            }
        }
    }
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: (!deleted.is_empty()).then_some(deleted),
        errors: (!errors.is_empty()).then_some(errors),
        ..DeleteObjectsOutput::default()
    }))
}
