//! The object store of AWS and everything that speaks its protocol, through aws-sdk-s3.
//!
//! One instance is one bucket. The SDK's own retries are off: `retry.rs` and the upload journal
//! decide (retries that multiply turn an outage into a storm).
#[cfg(test)]
mod addresses;
mod answer;
mod begun;
#[cfg(test)]
mod busy;
mod client;
mod credentials;
mod credentials_file;
mod download;
mod ops;
mod pace;
mod payer;
mod place;
mod probe;
mod refused;
mod transport;
mod wire;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aws_sdk_s3::{Client, types::ChecksumAlgorithm};
use crc_fast::CrcAlgorithm;
use gateway_api::{BucketName, SettingsError, settings::S3Settings};

pub use client::WaitLimits;
pub use credentials::{CredentialsStanding, S3Credentials};
pub use download::{DownloadError, download};
pub use pace::SendLimits;
pub use place::{Place, basic_authorization, http_date};
pub use transport::{crypto, tls_config, trusted};

use super::{StoreMeter, pace::Paces};
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

    /// `x-amz-checksum-crc64nvme` of a body, where it is to be sent.
    fn of(self, body: &[u8]) -> Option<String> {
        match self {
            Self::Crc64Nvme => {
                let crc = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, body);
                Some(aws_smithy_types::base64::encode(crc.to_be_bytes()))
            }
            Self::PayloadSignature => None,
        }
    }
}

/// Checks what only the TLS library and the HTTP client can tell of the settings.
///
/// # Errors
/// [`SettingsError::Field`] where the CA bundle or the proxy cannot be used.
pub fn check(settings: &S3Settings) -> Result<(), SettingsError> {
    transport::client(settings).map(drop)
}

/// One bucket at one endpoint.
#[derive(Clone, Debug)]
pub struct S3Bucket {
    client: Client,
    bucket: String,
    /// Whether bodies carry a CRC64NVME; clones follow what any of them learns.
    crc64nvme: Arc<AtomicBool>,
    begun: begun::Begun,
    meter: Arc<StoreMeter>,
    limits: SendLimits,
    paces: Paces,
}

impl S3Bucket {
    /// A bucket as the settings tell, their credentials included. Sends nothing yet.
    ///
    /// # Panics
    /// Where [`check`] refuses the settings.
    pub fn new(settings: &S3Settings, bucket: &BucketName) -> Self {
        Self::open(settings, bucket, &S3Credentials::new(settings))
            .expect("the settings were checked")
    }

    /// A bucket as the settings tell, signing with `credentials`. Sends nothing yet.
    ///
    /// # Errors
    /// [`SettingsError::Field`] where the CA bundle or the proxy cannot be used.
    pub fn open(
        settings: &S3Settings,
        bucket: &BucketName,
        credentials: &S3Credentials,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            client: Client::from_conf(client::config(settings, credentials)?.build()),
            bucket: bucket.as_str().to_owned(),
            crc64nvme: Arc::new(AtomicBool::new(
                Checksums::of_endpoint(&settings.endpoint) == Checksums::Crc64Nvme,
            )),
            begun: begun::Begun::default(),
            meter: Arc::default(),
            limits: SendLimits::default(),
            paces: Paces::default(),
        })
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
        Self { crc64nvme: Arc::new(AtomicBool::new(checksums == Checksums::Crc64Nvme)), ..self }
    }

    /// The same bucket, with bodies moving no faster than `paces`.
    #[must_use]
    pub fn at_pace(self, paces: Paces) -> Self {
        Self { paces, ..self }
    }

    /// The same bucket, counting in `meter` what it asks by itself, beside what the port is asked for
    /// (which a [`super::MeteredStore`] counts).
    #[must_use]
    pub fn with_meter(self, meter: Arc<StoreMeter>) -> Self {
        Self { meter, ..self }
    }

    /// The same bucket with other patience for bodies that do not move.
    #[must_use]
    pub fn with_send_limits(self, limits: SendLimits) -> Self {
        Self { limits, ..self }
    }

    /// The same bucket with other patience for a store that does not answer.
    #[must_use]
    pub fn with_wait_limits(self, limits: WaitLimits) -> Self {
        let config = client::waiting(self.client.config().to_builder(), limits);
        Self { client: Client::from_conf(config.build()), ..self }
    }

    /// Sends these checksums from the next request on, from every clone.
    pub fn use_checksums(&self, checksums: Checksums) {
        self.crc64nvme.store(checksums == Checksums::Crc64Nvme, Ordering::Relaxed);
    }

    /// The checksums that are sent.
    pub fn checksums(&self) -> Checksums {
        if self.crc64nvme.load(Ordering::Relaxed) {
            Checksums::Crc64Nvme
        } else {
            Checksums::PayloadSignature
        }
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
