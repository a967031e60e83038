//! Operations on buckets.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::Service;
use super::headers::timestamp;
use crate::model::{Change, Refused, Versioning};

pub(super) async fn list(
    service: &Service,
    request: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let prefix = request.input.prefix.unwrap_or_default();
    let buckets = service.storage.read(|catalog| {
        let named = catalog.buckets().filter(|(name, _)| name.starts_with(&prefix));
        let shown = named.map(|(name, bucket)| Bucket {
            name: Some(name.clone()),
            creation_date: Some(timestamp(bucket.created)),
            bucket_region: None,
        });
        shown.collect()
    });
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(buckets),
        owner: Some(Owner { display_name: None, id: Some("s3-store".to_owned()) }),
        ..ListBucketsOutput::default()
    }))
}

pub(super) async fn create(
    service: &Service,
    request: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let name = request.input.bucket;
    service.storage.commit(|catalog, at| Ok((Some(catalog.create_bucket(&name, at.now)?), ())))?;
    Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{name}")) }))
}

pub(super) async fn delete(
    service: &Service,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    service
        .storage
        .commit(|catalog, _| Ok((Some(catalog.delete_bucket(&request.input.bucket)?), ())))?;
    Ok(S3Response::new(DeleteBucketOutput::default()))
}

pub(super) async fn head(
    service: &Service,
    request: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    service.storage.read(|catalog| catalog.bucket(&request.input.bucket).map(|_| ()))?;
    Ok(S3Response::new(HeadBucketOutput {
        bucket_region: Some(service.region.clone()),
        ..HeadBucketOutput::default()
    }))
}

pub(super) async fn location(
    service: &Service,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    service.storage.read(|catalog| catalog.bucket(&request.input.bucket).map(|_| ()))?;
    // S3 answers an empty constraint for us-east-1.
    let elsewhere = service.region != "us-east-1";
    let location_constraint =
        elsewhere.then(|| BucketLocationConstraint::from(service.region.clone()));
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
}

pub(super) async fn versioning(
    service: &Service,
    request: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    let versioning = service
        .storage
        .read(|catalog| catalog.bucket(&request.input.bucket).map(|b| b.versioning))?;
    let status = match versioning {
        Versioning::Off => None,
        Versioning::Enabled => Some(BucketVersioningStatus::from_static("Enabled")),
        Versioning::Suspended => Some(BucketVersioningStatus::from_static("Suspended")),
    };
    Ok(S3Response::new(GetBucketVersioningOutput {
        status,
        ..GetBucketVersioningOutput::default()
    }))
}

pub(super) async fn put_versioning(
    service: &Service,
    request: S3Request<PutBucketVersioningInput>,
) -> S3Result<S3Response<PutBucketVersioningOutput>> {
    let input = request.input;
    let versioning =
        match input.versioning_configuration.status.as_ref().map(|status| status.as_str()) {
            Some("Enabled") => Versioning::Enabled,
            Some("Suspended") => Versioning::Suspended,
            Some(_) | None => {
                return Err(Refused::MalformedXml("Status must be Enabled or Suspended").into());
            }
        };
    service.storage.commit(|catalog, _| {
        catalog.bucket(&input.bucket)?;
        Ok((Some(Change::SetVersioning { bucket: input.bucket.clone(), versioning }), ()))
    })?;
    Ok(S3Response::new(PutBucketVersioningOutput::default()))
}
