//! Listings of objects, versions and uploads in progress.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::Service;
use super::headers::{checksum_type, count, etag, signed, timestamp};
use super::uploads::class_of;
use crate::blob::Body;
use crate::model::{
    self, Content, Entry, LISTING_ENTRIES_MAX, ListQuery, Refused, Version, VersionQuery,
};

/// Names in a reply: as they are, or URL-encoded where the client asked for it.
#[derive(Clone, Copy)]
struct Names {
    encoded: bool,
}

impl Names {
    fn new(encoding: Option<&EncodingType>) -> Result<Self, Refused> {
        match encoding.map(|encoding| encoding.as_str()) {
            None => Ok(Self { encoded: false }),
            Some("url") => Ok(Self { encoded: true }),
            Some(_) => Err(Refused::InvalidArgument("encoding-type must be url".to_owned())),
        }
    }

    /// S3's form of URL encoding: as in a query string, but `/` and `*` stand.
    fn show(self, name: &str) -> String {
        if !self.encoded {
            return name.to_owned();
        }
        let mut shown = String::with_capacity(name.len());
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z'
                | b'A'..=b'Z'
                | b'0'..=b'9'
                | b'-'
                | b'_'
                | b'.'
                | b'~'
                | b'/'
                | b'*' => {
                    shown.push(char::from(byte));
                }
                b' ' => shown.push('+'),
                other => shown.push_str(&format!("%{other:02X}")),
            }
        }
        shown
    }

    fn show_some(self, name: Option<&String>) -> Option<String> {
        name.filter(|name| !name.is_empty()).map(|name| self.show(name))
    }

    fn encoding(self) -> Option<EncodingType> {
        self.encoded.then(|| EncodingType::from_static("url"))
    }
}

fn page_size(asked: Option<i32>) -> Result<usize, Refused> {
    let asked = asked.unwrap_or(1000);
    let asked = usize::try_from(asked)
        .map_err(|_| Refused::InvalidArgument("max-keys is negative".to_owned()))?;
    Ok(asked.min(LISTING_ENTRIES_MAX))
}

struct ObjectPage {
    contents: Vec<Object>,
    common_prefixes: Vec<CommonPrefix>,
    more: bool,
    last: Option<String>,
}

fn object_page(
    service: &Service,
    bucket: &str,
    query: &ListQuery,
    names: Names,
) -> Result<ObjectPage, Refused> {
    service.storage.read(|catalog| {
        let (entries, more) = catalog.bucket(bucket)?.list(query);
        let last = entries.last().map(|entry| entry.name().to_owned());
        let (mut contents, mut common_prefixes) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                Entry::Item(key, (version, content)) => {
                    contents.push(object(names.show(key), version, content))
                }
                Entry::CommonPrefix(prefix) => {
                    common_prefixes.push(CommonPrefix { prefix: Some(names.show(&prefix)) });
                }
            }
        }
        Ok(ObjectPage { contents, common_prefixes, more, last })
    })
}

fn object(key: String, version: &Version<Body>, content: &Content<Body>) -> Object {
    Object {
        key: Some(key),
        e_tag: Some(etag(&content.etag)),
        size: Some(signed(content.size)),
        last_modified: Some(timestamp(version.modified)),
        storage_class: Some(ObjectStorageClass::from(class_of(&content.headers))),
        checksum_algorithm: Some(vec![ChecksumAlgorithm::from_static(
            content.checksum.algorithm.name(),
        )]),
        checksum_type: Some(checksum_type(content.checksum.kind)),
        ..Object::default()
    }
}

pub(super) async fn objects_v2(
    service: &Service,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = request.input;
    let names = Names::new(input.encoding_type.as_ref())?;
    let entries_max = page_size(input.max_keys)?;
    let after = match &input.continuation_token {
        Some(token) => {
            let name = model::decode_base64(token).and_then(|name| String::from_utf8(name).ok());
            Some(name.ok_or_else(|| {
                Refused::InvalidArgument("the continuation token is not one".to_owned())
            })?)
        }
        None => input.start_after.clone(),
    };
    let query = ListQuery {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after,
        entries_max,
    };
    let page = object_page(service, &input.bucket, &query, names)?;
    let key_count = page.contents.len() + page.common_prefixes.len();
    let owner = Owner { display_name: None, id: Some("s3-store".to_owned()) };
    let mut contents = page.contents;
    if input.fetch_owner == Some(true) {
        contents.iter_mut().for_each(|object| object.owner = Some(owner.clone()));
    }
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(names.show(&query.prefix)),
        delimiter: names.show_some(input.delimiter.as_ref()),
        start_after: names.show_some(input.start_after.as_ref()),
        max_keys: Some(count(entries_max)),
        key_count: Some(count(key_count)),
        is_truncated: Some(page.more),
        continuation_token: input.continuation_token,
        next_continuation_token: page
            .more
            .then(|| page.last.map(|last| model::encode_base64(last.as_bytes())))
            .flatten(),
        contents: Some(contents),
        common_prefixes: Some(page.common_prefixes),
        encoding_type: names.encoding(),
        ..ListObjectsV2Output::default()
    }))
}

pub(super) async fn objects_v1(
    service: &Service,
    request: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = request.input;
    let names = Names::new(input.encoding_type.as_ref())?;
    let entries_max = page_size(input.max_keys)?;
    let query = ListQuery {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after: input.marker.clone().filter(|marker| !marker.is_empty()),
        entries_max,
    };
    let page = object_page(service, &input.bucket, &query, names)?;
    // S3 gives NextMarker only with a delimiter; without one the last key is the next marker.
    let next = page.more && !query.delimiter.is_empty();
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(names.show(&query.prefix)),
        marker: Some(names.show(query.after.as_deref().unwrap_or_default())),
        delimiter: names.show_some(input.delimiter.as_ref()),
        max_keys: Some(count(entries_max)),
        is_truncated: Some(page.more),
        next_marker: next.then(|| page.last.map(|last| names.show(&last))).flatten(),
        contents: Some(page.contents),
        common_prefixes: Some(page.common_prefixes),
        encoding_type: names.encoding(),
        ..ListObjectsOutput::default()
    }))
}

pub(super) async fn versions(
    service: &Service,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let input = request.input;
    let names = Names::new(input.encoding_type.as_ref())?;
    let entries_max = page_size(input.max_keys)?;
    let query = VersionQuery {
        list: ListQuery {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            after: input.key_marker.clone().filter(|marker| !marker.is_empty()),
            entries_max,
        },
        after_version: input.version_id_marker.clone().filter(|marker| !marker.is_empty()),
    };
    let output = service.storage.read(|catalog| {
        let (entries, more) = catalog.bucket(&input.bucket)?.list_versions(&query);
        let mut output = ListObjectVersionsOutput {
            is_truncated: Some(more),
            ..ListObjectVersionsOutput::default()
        };
        if let Some(last) = entries.last().filter(|_| more) {
            output.next_key_marker = Some(names.show(last.name()));
            output.next_version_id_marker = match last {
                Entry::Item(_, (version, _)) => Some(version.id.clone()),
                Entry::CommonPrefix(_) => None,
            };
        }
        let (mut versions, mut markers, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                Entry::Item(key, (version, newest)) => match &version.content {
                    Some(content) => {
                        versions.push(object_version(names.show(key), version, content, newest))
                    }
                    None => markers.push(DeleteMarkerEntry {
                        key: Some(names.show(key)),
                        version_id: Some(version.id.clone()),
                        is_latest: Some(newest),
                        last_modified: Some(timestamp(version.modified)),
                        owner: None,
                    }),
                },
                Entry::CommonPrefix(prefix) => {
                    prefixes.push(CommonPrefix { prefix: Some(names.show(&prefix)) })
                }
            }
        }
        output.versions = Some(versions);
        output.delete_markers = Some(markers);
        output.common_prefixes = Some(prefixes);
        Ok::<_, Refused>(output)
    })?;
    Ok(S3Response::new(ListObjectVersionsOutput {
        name: Some(input.bucket),
        prefix: Some(names.show(&query.list.prefix)),
        delimiter: names.show_some(input.delimiter.as_ref()),
        key_marker: Some(names.show(query.list.after.as_deref().unwrap_or_default())),
        version_id_marker: query.after_version,
        max_keys: Some(count(entries_max)),
        encoding_type: names.encoding(),
        ..output
    }))
}

fn object_version(
    key: String,
    version: &Version<Body>,
    content: &Content<Body>,
    newest: bool,
) -> ObjectVersion {
    ObjectVersion {
        key: Some(key),
        version_id: Some(version.id.clone()),
        is_latest: Some(newest),
        e_tag: Some(etag(&content.etag)),
        size: Some(signed(content.size)),
        last_modified: Some(timestamp(version.modified)),
        storage_class: Some(ObjectVersionStorageClass::from(class_of(&content.headers))),
        ..ObjectVersion::default()
    }
}

pub(super) async fn uploads(
    service: &Service,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = request.input;
    let names = Names::new(input.encoding_type.as_ref())?;
    let entries_max = page_size(input.max_uploads)?;
    let query = ListQuery {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after: input.key_marker.clone().filter(|marker| !marker.is_empty()),
        entries_max,
    };
    let marker =
        input.upload_id_marker.clone().filter(|marker| !marker.is_empty() && query.after.is_some());
    let output = service.storage.read(|catalog| {
        let bucket = catalog.bucket(&input.bucket)?;
        let (entries, more) = model::list_uploads(bucket, &query, marker.as_deref());
        let mut output = ListMultipartUploadsOutput {
            is_truncated: Some(more),
            ..ListMultipartUploadsOutput::default()
        };
        if let Some(last) = entries.last().filter(|_| more) {
            output.next_key_marker = Some(names.show(last.name()));
            output.next_upload_id_marker = match last {
                Entry::Item(_, upload) => Some(upload.id.clone()),
                Entry::CommonPrefix(_) => None,
            };
        }
        let (mut uploads, mut prefixes) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                Entry::Item(key, upload) => uploads.push(MultipartUpload {
                    key: Some(names.show(key)),
                    upload_id: Some(upload.id.clone()),
                    initiated: Some(timestamp(upload.initiated)),
                    storage_class: Some(StorageClass::from(class_of(&upload.headers))),
                    checksum_algorithm: upload
                        .algorithm_named
                        .then(|| ChecksumAlgorithm::from_static(upload.algorithm.name())),
                    checksum_type: upload.algorithm_named.then(|| checksum_type(upload.kind)),
                    ..MultipartUpload::default()
                }),
                Entry::CommonPrefix(prefix) => {
                    prefixes.push(CommonPrefix { prefix: Some(names.show(&prefix)) })
                }
            }
        }
        output.uploads = Some(uploads);
        output.common_prefixes = Some(prefixes);
        Ok::<_, Refused>(output)
    })?;
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: Some(names.show(&query.prefix)),
        delimiter: names.show_some(input.delimiter.as_ref()),
        key_marker: Some(names.show(query.after.as_deref().unwrap_or_default())),
        upload_id_marker: marker,
        max_uploads: Some(count(entries_max)),
        encoding_type: names.encoding(),
        ..output
    }))
}
