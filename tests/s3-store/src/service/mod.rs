//! The S3 protocol over the store: s3s parses, checks signatures and writes XML; these modules translate to the
//! [model](crate::model) and back. One file per family of operations.

mod buckets;
mod error;
mod headers;
mod incoming;
mod lists;
mod objects;
mod uploads;

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

pub(crate) use error::s3_error;

use crate::faults::Faults;
use crate::model::WriteCondition;
use crate::storage::Storage;

/// The operations of one store.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) storage: Arc<Storage>,
    pub(crate) faults: Faults,
    pub(crate) region: String,
}

impl Service {
    /// A condition as asked for, or none where the store plays one that does not know conditional writes.
    fn honoured(&self, condition: WriteCondition) -> WriteCondition {
        if self.faults.ignores_write_conditions() { WriteCondition::default() } else { condition }
    }
}

/// Implements the trait's methods by a function each.
macro_rules! operations {
    ($($method:ident, $input:ident => $output:ident, $function:path;)*) => {
        #[async_trait::async_trait]
        impl S3 for Service {
            $(async fn $method(&self, req: S3Request<$input>) -> S3Result<S3Response<$output>> {
                $function(self, req).await
            })*
        }
    };
}

operations! {
    list_buckets, ListBucketsInput => ListBucketsOutput, buckets::list;
    create_bucket, CreateBucketInput => CreateBucketOutput, buckets::create;
    delete_bucket, DeleteBucketInput => DeleteBucketOutput, buckets::delete;
    head_bucket, HeadBucketInput => HeadBucketOutput, buckets::head;
    get_bucket_location, GetBucketLocationInput => GetBucketLocationOutput, buckets::location;
    get_bucket_versioning, GetBucketVersioningInput => GetBucketVersioningOutput, buckets::versioning;
    put_bucket_versioning, PutBucketVersioningInput => PutBucketVersioningOutput, buckets::put_versioning;
    put_object, PutObjectInput => PutObjectOutput, objects::put::put;
    get_object, GetObjectInput => GetObjectOutput, objects::get::get;
    head_object, HeadObjectInput => HeadObjectOutput, objects::get::head;
    copy_object, CopyObjectInput => CopyObjectOutput, objects::copy::copy;
    delete_object, DeleteObjectInput => DeleteObjectOutput, objects::delete::delete;
    delete_objects, DeleteObjectsInput => DeleteObjectsOutput, objects::delete::delete_many;
    list_objects, ListObjectsInput => ListObjectsOutput, lists::objects_v1;
    list_objects_v2, ListObjectsV2Input => ListObjectsV2Output, lists::objects_v2;
    list_object_versions, ListObjectVersionsInput => ListObjectVersionsOutput, lists::versions;
    create_multipart_upload, CreateMultipartUploadInput => CreateMultipartUploadOutput, uploads::create;
    upload_part, UploadPartInput => UploadPartOutput, uploads::part;
    upload_part_copy, UploadPartCopyInput => UploadPartCopyOutput, uploads::part_copy;
    complete_multipart_upload, CompleteMultipartUploadInput => CompleteMultipartUploadOutput, uploads::complete;
    abort_multipart_upload, AbortMultipartUploadInput => AbortMultipartUploadOutput, uploads::abort;
    list_parts, ListPartsInput => ListPartsOutput, uploads::list_parts;
    list_multipart_uploads, ListMultipartUploadsInput => ListMultipartUploadsOutput, lists::uploads;
}
