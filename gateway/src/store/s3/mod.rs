//! The object store of AWS and everything that speaks its protocol, through aws-sdk-s3.
//!
//! One instance is one bucket. The SDK's own retries are off: `retry.rs` and the upload journal
//! decide (retries that multiply turn an outage into a storm).
mod client;
mod ops;
mod payer;
mod wire;

use aws_sdk_s3::{Client, types::ChecksumAlgorithm};
use gateway_api::{BucketName, settings::S3Settings};

use crate::object::ObjectKey;

/// How the store is to prove that it took the bytes that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// `x-amz-checksum-crc64nvme` on every body; of an upload in parts over the whole object (S3's
    /// FULL_OBJECT type), so that the object has one checksum however it was sent.
    Crc64Nvme,
    /// None but the SHA-256 that every signature covers: servers other than AWS differ in which
    /// checksums they know, and some refuse what they do not know.
    PayloadSignature,
}

impl Checksums {
    fn of_endpoint(endpoint: &str) -> Self {
        let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
        let host = host.split(['/', ':']).next().unwrap_or_default();
        let aws = ["", "amazonaws.com", "amazonaws.com.cn"];
        let is_aws =
            aws.iter().any(|domain| host == *domain || host.ends_with(&format!(".{domain}")));
        if is_aws { Self::Crc64Nvme } else { Self::PayloadSignature }
    }

    fn algorithm(self) -> Option<ChecksumAlgorithm> {
        match self {
            Self::Crc64Nvme => Some(ChecksumAlgorithm::Crc64Nvme),
            Self::PayloadSignature => None,
        }
    }
}

/// One bucket at one endpoint.
#[derive(Clone, Debug)]
pub struct S3Bucket {
    client: Client,
    bucket: String,
    checksums: Checksums,
}

impl S3Bucket {
    /// A bucket as the settings tell. Sends nothing yet.
    pub fn new(settings: &S3Settings, bucket: &BucketName) -> Self {
        Self {
            client: Client::from_conf(client::config(settings).build()),
            bucket: bucket.as_str().to_owned(),
            checksums: Checksums::of_endpoint(&settings.endpoint),
        }
    }

    /// The same bucket, with its requests paid for by this account if `pays`.
    #[must_use]
    pub fn with_requester_pays(self, pays: bool) -> Self {
        if !pays {
            return self;
        }
        let config = self.client.config().to_builder().interceptor(payer::RequesterPays);
        Self { client: Client::from_conf(config.build()), ..self }
    }

    /// The same bucket with other checksums than its endpoint's name suggests.
    #[must_use]
    pub fn with_checksums(self, checksums: Checksums) -> Self {
        Self { checksums, ..self }
    }

    fn copy_source(&self, key: &ObjectKey) -> String {
        wire::copy_source(&self.bucket, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_gets_whole_object_checksums_and_others_what_all_know() {
        for (endpoint, checksums) in [
            ("", Checksums::Crc64Nvme),
            ("https://bucket.vpce-1-2.s3.ap-northeast-2.vpce.amazonaws.com", Checksums::Crc64Nvme),
            ("https://s3.cn-north-1.amazonaws.com.cn/", Checksums::Crc64Nvme),
            ("http://127.0.0.1:9000", Checksums::PayloadSignature),
            ("https://minio.example:9000/x.amazonaws.com", Checksums::PayloadSignature),
            ("https://notamazonaws.com", Checksums::PayloadSignature),
        ] {
            assert_eq!(Checksums::of_endpoint(endpoint), checksums, "{endpoint}");
        }
    }
}
