//! The semantic core: what S3 promises about buckets, keys, versions, conditions and uploads, as plain data.
//!
//! Decisions return a [`Change`] or a [`Refused`]; applying a change cannot fail. Nothing here reads a clock, a disk
//! or a socket: bodies are an opaque type parameter `B`, so that the journal can carry the same changes by reference.

mod bucket;
mod catalog;
mod checksum;
mod condition;
mod listing;
mod multipart;
mod object;
mod refused;

pub(crate) use bucket::{Bucket, Deletion, Versioning};
pub(crate) use catalog::{Catalog, Change};
pub(crate) use checksum::{
    Algorithm, Checksum, ChecksumKind, Digests, combine_parts, decode_base64, encode_base64,
};
pub(crate) use condition::{ReadCondition, Tag, WriteCondition};
pub(crate) use listing::{Entry, ListQuery, VersionQuery, list_uploads};
pub(crate) use multipart::{NamedPart, Part, Upload};
pub(crate) use object::{
    Content, Encryption, Headers, NULL_VERSION, Version, mix, upload_id, version_id,
};
pub(crate) use refused::Refused;

/// The most keys, versions, uploads or parts that one listing answers (S3 ListObjectsV2, max-keys).
pub(crate) const LISTING_ENTRIES_MAX: usize = 1000;
/// The longest object key in bytes of UTF-8 (S3 User Guide, object key names).
pub(crate) const KEY_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests;
