//! Objects: one version, its content, the headers kept with it, and the ids of versions and uploads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Checksum;

/// The version id of everything written while a bucket is not versioned (S3 User Guide, versioning).
pub(crate) const NULL_VERSION: &str = "null";

/// What the writer chose and every read returns unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Headers {
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    /// As seconds since 1970.
    pub(crate) expires: Option<i64>,
    /// `None` is STANDARD.
    pub(crate) storage_class: Option<String>,
    /// As the writer asked for; `None` is the bucket's own choice.
    #[serde(default)]
    pub(crate) encryption: Option<Encryption>,
    /// The canned ACL as the writer named it.
    #[serde(default)]
    pub(crate) acl: Option<String>,
    pub(crate) user_meta: BTreeMap<String, String>,
}

/// How an object is encrypted (S3 PutObject, x-amz-server-side-encryption). Nothing is encrypted here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Encryption {
    /// `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub(crate) algorithm: String,
    /// `None` is the account's own key for S3.
    pub(crate) kms_key: Option<String>,
}

/// One version of an object, or a delete marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version<B> {
    /// [`NULL_VERSION`] where the bucket was not versioned.
    pub(crate) id: String,
    /// Grows with every change of the store.
    pub(crate) sequence: u64,
    /// Seconds since 1970: S3 keeps no finer time.
    pub(crate) modified: i64,
    /// `None` is a delete marker.
    pub(crate) content: Option<Content<B>>,
}

/// The bytes of a version and what describes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content<B> {
    pub(crate) body: B,
    pub(crate) size: u64,
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) checksum: Checksum,
    pub(crate) headers: Headers,
    /// Sizes of the parts of a multipart upload; empty for a plain PUT.
    pub(crate) part_sizes: Vec<u64>,
}

impl<B> Content<B> {
    /// The same content with another kind of body.
    pub(crate) fn with_body<C, E>(
        self,
        convert: impl FnOnce(B) -> Result<C, E>,
    ) -> Result<Content<C>, E> {
        Ok(Content {
            body: convert(self.body)?,
            size: self.size,
            etag: self.etag,
            checksum: self.checksum,
            headers: self.headers,
            part_sizes: self.part_sizes,
        })
    }

    /// Where part `number` (1 is the first) lies in the body: start, end and the count of parts.
    pub(crate) fn part_range(&self, number: u16) -> Option<(std::ops::Range<u64>, usize)> {
        let index = usize::from(number).checked_sub(1)?;
        if self.part_sizes.is_empty() {
            return (index == 0).then_some((0..self.size, 1));
        }
        let size = *self.part_sizes.get(index)?;
        let start: u64 = self.part_sizes[..index].iter().sum();
        Some((start..start + size, self.part_sizes.len()))
    }
}

impl<B> Version<B> {
    /// The same version with another kind of body.
    pub(crate) fn with_body<C, E>(
        self,
        convert: impl FnOnce(B) -> Result<C, E>,
    ) -> Result<Version<C>, E> {
        Ok(Version {
            id: self.id,
            sequence: self.sequence,
            modified: self.modified,
            content: self.content.map(|content| content.with_body(convert)).transpose()?,
        })
    }
}

/// The id of the version that change number `sequence` makes: unique, opaque, and in no order.
pub(crate) fn version_id(sequence: u64) -> String {
    opaque(sequence, 0x7665_7273_696f_6e00)
}

/// The id of the multipart upload that change number `sequence` makes.
pub(crate) fn upload_id(sequence: u64) -> String {
    opaque(sequence, 0x7570_6c6f_6164_0000)
}

fn opaque(sequence: u64, salt: u64) -> String {
    let first = mix(sequence ^ salt);
    format!("{first:016x}{:016x}", mix(first))
}

/// The finaliser of SplitMix64: a bijection, so different sequences never share an id.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
