//! Multipart uploads: parts in progress and the decision that completes one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Algorithm, Checksum, ChecksumKind, Headers, Refused, combine_parts, upload_id};

/// The least size of every part but the last (S3 multipart upload limits).
const PART_BYTES_MIN: u64 = 5 << 20;

/// An upload in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload<B> {
    pub(crate) id: String,
    pub(crate) key: String,
    /// Grows with every change of the store; orders uploads of one key by their start.
    pub(crate) sequence: u64,
    /// Seconds since 1970.
    pub(crate) initiated: i64,
    pub(crate) headers: Headers,
    pub(crate) algorithm: Algorithm,
    pub(crate) kind: ChecksumKind,
    /// Whether the client named the checksum (else it is S3's default and not shown in listings).
    pub(crate) algorithm_named: bool,
    pub(crate) parts: BTreeMap<u16, Part<B>>,
}

/// One part that was received whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part<B> {
    pub(crate) body: B,
    pub(crate) size: u64,
    pub(crate) md5: [u8; 16],
    /// Of the upload's algorithm.
    pub(crate) checksum: Checksum,
    /// Seconds since 1970.
    pub(crate) modified: i64,
}

/// One `<Part>` of CompleteMultipartUpload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedPart {
    pub(crate) number: u16,
    /// Without quotes.
    pub(crate) etag: Option<String>,
    /// Base64 of the upload's algorithm, where the client sends it.
    pub(crate) checksum: Option<String>,
}

/// What CompleteMultipartUpload will make: the parts in order and what describes the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadPlan<B> {
    pub(crate) bodies: Vec<B>,
    pub(crate) part_sizes: Vec<u64>,
    pub(crate) etag: String,
    pub(crate) checksum: Checksum,
}

impl<B: Clone> Upload<B> {
    /// One without parts, whose client named nothing but the key.
    pub(crate) fn new(key: &str, sequence: u64, initiated: i64) -> Self {
        let algorithm = Algorithm::Crc64Nvme;
        Self {
            id: upload_id(sequence),
            key: key.to_owned(),
            sequence,
            initiated,
            headers: Headers::default(),
            algorithm,
            kind: algorithm.default_kind(),
            algorithm_named: false,
            parts: BTreeMap::new(),
        }
    }

    /// Decides the completed object from the parts the client names (S3 CompleteMultipartUpload).
    ///
    /// # Errors
    /// `MalformedXml` for no parts, `InvalidPartOrder`, `InvalidPart`, `EntityTooSmall`, `BadDigest` where
    /// `expected` (the whole object's checksum) differs.
    pub(crate) fn plan(
        &self,
        named: &[NamedPart],
        expected: Option<&str>,
    ) -> Result<UploadPlan<B>, Refused> {
        if named.is_empty() {
            return Err(Refused::MalformedXml("no parts are named"));
        }
        if named.windows(2).any(|pair| pair[0].number >= pair[1].number) {
            return Err(Refused::InvalidPartOrder);
        }
        let mut parts = Vec::with_capacity(named.len());
        for name in named {
            let wrong = Refused::InvalidPart { number: name.number };
            let part = self.parts.get(&name.number).ok_or_else(|| wrong.clone())?;
            if name.etag.as_ref().is_some_and(|etag| *etag != crate::hex(&part.md5)) {
                return Err(wrong);
            }
            if name.checksum.as_ref().is_some_and(|sum| *sum != part.checksum.value) {
                return Err(wrong);
            }
            parts.push(part);
        }
        let before_last = &named[..named.len() - 1];
        if let Some((name, _)) =
            before_last.iter().zip(&parts).find(|(_, part)| part.size < PART_BYTES_MIN)
        {
            return Err(Refused::EntityTooSmall { number: name.number });
        }
        let sums: Vec<(&Checksum, u64)> =
            parts.iter().map(|part| (&part.checksum, part.size)).collect();
        let checksum = combine_parts(self.algorithm, self.kind, &sums)?;
        if expected.is_some_and(|value| value != checksum.value) {
            return Err(Refused::BadDigest("checksum of the whole object"));
        }
        let all_md5: Vec<u8> = parts.iter().flat_map(|part| part.md5).collect();
        Ok(UploadPlan {
            etag: format!("{}-{}", crate::hex(&super::Digests::md5_of(&all_md5)), parts.len()),
            part_sizes: parts.iter().map(|part| part.size).collect(),
            bodies: parts.iter().map(|part| part.body.clone()).collect(),
            checksum,
        })
    }
}

impl<B> Upload<B> {
    /// The same upload with another kind of body.
    pub(crate) fn with_body<C, E>(
        self,
        mut convert: impl FnMut(B) -> Result<C, E>,
    ) -> Result<Upload<C>, E> {
        let parts = self
            .parts
            .into_iter()
            .map(|(number, part)| Ok((number, part.with_body(&mut convert)?)));
        Ok(Upload {
            parts: parts.collect::<Result<_, E>>()?,
            id: self.id,
            key: self.key,
            sequence: self.sequence,
            initiated: self.initiated,
            headers: self.headers,
            algorithm: self.algorithm,
            kind: self.kind,
            algorithm_named: self.algorithm_named,
        })
    }
}

impl<B> Part<B> {
    /// The same part with another kind of body.
    pub(crate) fn with_body<C, E>(
        self,
        convert: &mut impl FnMut(B) -> Result<C, E>,
    ) -> Result<Part<C>, E> {
        Ok(Part {
            body: convert(self.body)?,
            size: self.size,
            md5: self.md5,
            checksum: self.checksum,
            modified: self.modified,
        })
    }
}
