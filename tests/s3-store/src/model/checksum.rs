//! MD5 and S3's five additional checksums: computed while bytes pass by, compared, and combined over parts.
//!
//! Source: S3 User Guide "Checking object integrity"; FULL_OBJECT joins CRCs, COMPOSITE hashes the parts' sums.

use crc_fast::{CrcAlgorithm, checksum_combine};
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use serde::{Deserialize, Serialize};

use super::Refused;

/// The algorithms of `x-amz-checksum-*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// `x-amz-checksum-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChecksumKind {
    FullObject,
    Composite,
}

/// One checksum as S3 shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksum {
    pub(crate) algorithm: Algorithm,
    pub(crate) kind: ChecksumKind,
    /// Base64, with `-N` appended for a composite of N parts.
    pub(crate) value: String,
}

impl Algorithm {
    /// Every algorithm with its name in `x-amz-checksum-algorithm`.
    pub(crate) const NAMED: [(Self, &'static str); 5] = [
        (Self::Crc32, "CRC32"),
        (Self::Crc32c, "CRC32C"),
        (Self::Crc64Nvme, "CRC64NVME"),
        (Self::Sha1, "SHA1"),
        (Self::Sha256, "SHA256"),
    ];

    /// Reads a name in any case.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::NAMED
            .into_iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map(|(algorithm, _)| algorithm)
    }

    /// The name as in `x-amz-checksum-algorithm`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header that carries a value.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The kind that a multipart upload has when the client names none.
    pub(crate) fn default_kind(self) -> ChecksumKind {
        match self {
            Self::Crc64Nvme => ChecksumKind::FullObject,
            Self::Crc32 | Self::Crc32c | Self::Sha1 | Self::Sha256 => ChecksumKind::Composite,
        }
    }

    /// Whether S3 offers this kind for multipart uploads.
    pub(crate) fn allows(self, kind: ChecksumKind) -> bool {
        match (self, kind) {
            (Self::Crc32 | Self::Crc32c, _) => true,
            (Self::Crc64Nvme, kind) => kind == ChecksumKind::FullObject,
            (Self::Sha1 | Self::Sha256, kind) => kind == ChecksumKind::Composite,
        }
    }
}

enum Hasher {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Box<Sha1>),
    Sha256(Box<Sha256>),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc32 => Self::Crc32(Crc32::new()),
            Algorithm::Crc32c => Self::Crc32c(Crc32c::new()),
            Algorithm::Crc64Nvme => Self::Crc64Nvme(Crc64Nvme::new()),
            Algorithm::Sha1 => Self::Sha1(Box::new(Sha1::new())),
            Algorithm::Sha256 => Self::Sha256(Box::new(Sha256::new())),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32(hasher) => hasher.update(bytes),
            Self::Crc32c(hasher) => hasher.update(bytes),
            Self::Crc64Nvme(hasher) => hasher.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc32(hasher) => hasher.finalize().to_vec(),
            Self::Crc32c(hasher) => hasher.finalize().to_vec(),
            Self::Crc64Nvme(hasher) => hasher.finalize().to_vec(),
            Self::Sha1(hasher) => hasher.finalize().as_ref().to_vec(),
            Self::Sha256(hasher) => hasher.finalize().as_ref().to_vec(),
        }
    }
}

/// The MD5 and one additional checksum of bytes that pass by.
pub(crate) struct Digests {
    md5: Md5,
    algorithm: Algorithm,
    hasher: Hasher,
}

impl Digests {
    /// Starts with no bytes.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self { md5: Md5::new(), algorithm, hasher: Hasher::new(algorithm) }
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.hasher.update(bytes);
    }

    /// The MD5 and the checksum of everything taken.
    pub(crate) fn finish(self) -> ([u8; 16], Checksum) {
        let checksum = Checksum {
            algorithm: self.algorithm,
            kind: ChecksumKind::FullObject,
            value: encode_base64(&self.hasher.finish()),
        };
        (self.md5.finalize(), checksum)
    }

    /// The MD5 of bytes at hand.
    pub(crate) fn md5_of(bytes: &[u8]) -> [u8; 16] {
        Md5::checksum(bytes)
    }
}

/// The checksum of a whole multipart object from the checksums and sizes of its parts.
///
/// # Errors
/// `InvalidRequest` where a part's sum is not of the upload's algorithm, or the kind is not offered for it.
pub(crate) fn combine_parts(
    algorithm: Algorithm,
    kind: ChecksumKind,
    parts: &[(&Checksum, u64)],
) -> Result<Checksum, Refused> {
    let mut sums = Vec::with_capacity(parts.len());
    for (checksum, size) in parts {
        let sum = decode_base64(&checksum.value).filter(|_| checksum.algorithm == algorithm);
        let sum = sum.ok_or_else(|| {
            Refused::InvalidRequest(format!("a part has no {} checksum", algorithm.name()))
        })?;
        sums.push((sum, *size));
    }
    let value = match (kind, algorithm) {
        (ChecksumKind::Composite, _) => {
            let mut hasher = Hasher::new(algorithm);
            sums.iter().for_each(|(sum, _)| hasher.update(sum));
            format!("{}-{}", encode_base64(&hasher.finish()), sums.len())
        }
        (ChecksumKind::FullObject, Algorithm::Crc32) => {
            join_crcs(CrcAlgorithm::Crc32IsoHdlc, 4, &sums)
        }
        (ChecksumKind::FullObject, Algorithm::Crc32c) => {
            join_crcs(CrcAlgorithm::Crc32Iscsi, 4, &sums)
        }
        (ChecksumKind::FullObject, Algorithm::Crc64Nvme) => {
            join_crcs(CrcAlgorithm::Crc64Nvme, 8, &sums)
        }
        (ChecksumKind::FullObject, Algorithm::Sha1 | Algorithm::Sha256) => {
            return Err(Refused::InvalidRequest(format!(
                "{} has no FULL_OBJECT type",
                algorithm.name()
            )));
        }
    };
    Ok(Checksum { algorithm, kind, value })
}

fn join_crcs(algorithm: CrcAlgorithm, width: usize, sums: &[(Vec<u8>, u64)]) -> String {
    let number = |sum: &[u8]| sum.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let joined = sums
        .iter()
        .map(|(sum, size)| (number(sum), *size))
        .reduce(|(first, length), (second, size)| {
            (checksum_combine(algorithm, first, second, size), length + size)
        })
        .map_or(0, |(sum, _)| sum);
    encode_base64(&joined.to_be_bytes()[8 - width..])
}

/// Standard base64 with padding.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

/// `None` where `text` is not standard base64.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    base64_simd::STANDARD.decode_to_vec(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(algorithm: Algorithm, bytes: &[u8]) -> Checksum {
        let mut digests = Digests::new(algorithm);
        digests.update(bytes);
        digests.finish().1
    }

    #[test]
    fn joined_crcs_are_the_crc_of_the_whole() {
        let (first, second) = (vec![7_u8; 1000], b"and the end".to_vec());
        let whole = [first.clone(), second.clone()].concat();
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let (a, b) = (sum(algorithm, &first), sum(algorithm, &second));
            let joined =
                combine_parts(algorithm, ChecksumKind::FullObject, &[(&a, 1000), (&b, 11)])
                    .unwrap();
            assert_eq!(joined.value, sum(algorithm, &whole).value, "{algorithm:?}");
        }
    }

    #[test]
    fn a_composite_names_the_count_of_parts() {
        let a = sum(Algorithm::Sha256, b"a");
        let joined =
            combine_parts(Algorithm::Sha256, ChecksumKind::Composite, &[(&a, 1), (&a, 1)]).unwrap();
        assert!(joined.value.ends_with("-2"));
        assert!(combine_parts(Algorithm::Sha256, ChecksumKind::FullObject, &[(&a, 1)]).is_err());
    }

    #[test]
    fn known_values() {
        assert_eq!(
            sum(Algorithm::Crc32, b"123456789").value,
            encode_base64(&0xcbf4_3926_u32.to_be_bytes())
        );
        assert_eq!(crate::hex(&Digests::md5_of(b"")), "d41d8cd98f00b204e9800998ecf8427e");
    }
}
