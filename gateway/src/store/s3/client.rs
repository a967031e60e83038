//! The SDK's client as the settings want it: where, by which way, and how long it waits.
use std::time::Duration;

use aws_sdk_s3::config::{
    BehaviorVersion, Builder, IdentityCache, Region, RequestChecksumCalculation,
    StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
};
use gateway_api::{
    SettingsError,
    settings::{Addressing, S3Settings},
};

use super::{answer::HeadersAreText, credentials::S3Credentials, transport};

/// How long the store may keep a request waiting that somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitLimits {
    /// For a connection, TLS included, of any request.
    pub connect: Duration,
    /// From the request to its answer, for one that moves no more than one 1 MiB block.
    pub answer: Duration,
    /// While the body of an answer moves no byte.
    pub stall: Duration,
}

impl Default for WaitLimits {
    /// Ten seconds to connect, twenty to answer or to move on: all far below an NFS client's 60 s.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(20),
            stall: Duration::from_secs(20),
        }
    }
}

/// Longest that the store may be busy with what it does by itself, and of which nothing can be seen
/// to move: a copy of 5 GiB at 6 MiB/s, the end of an upload of 10,000 parts.
const BUSY_TIMEOUT: Duration = Duration::from_secs(900);

/// The configuration of a client for `settings` that signs with `credentials`.
///
/// # Errors
/// [`SettingsError::Field`] where the CA bundle or the proxy cannot be used.
pub(super) fn config(
    settings: &S3Settings,
    credentials: &S3Credentials,
) -> Result<Builder, SettingsError> {
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(credentials.clone())
        // The credentials may be replaced at any time; asking for them costs next to nothing.
        .identity_cache(IdentityCache::no_cache())
        .force_path_style(settings.addressing == Addressing::Path)
        .use_fips(settings.fips)
        .use_dual_stack(settings.dual_stack)
        // An access point's ARN says its region, which need not be that of the settings.
        .use_arn_region(true)
        .retry_config(RetryConfig::disabled())
        .interceptor(HeadersAreText)
        // Which checksum a request carries is decided where its body is known.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    let mut config = waiting(config, WaitLimits::default());
    if !settings.endpoint.is_empty() {
        config = config.endpoint_url(endpoint_url(&settings.endpoint));
    }
    if let Some(http) = transport::client(settings)? {
        config = config.http_client(http);
    }
    Ok(config)
}

/// The SDK joins a path of the endpoint and the bucket as they are: the slash between them is the
/// endpoint's.
pub(super) fn endpoint_url(endpoint: &str) -> String {
    format!("{}/", endpoint.trim_end_matches('/'))
}

/// `config`, whose requests wait no longer than `limits`.
pub(super) fn waiting(config: Builder, limits: WaitLimits) -> Builder {
    config
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(limits.connect)
                .operation_attempt_timeout(limits.answer)
                .build(),
        )
        // Of answers; whether a body on its way there moves is seen to in `pace.rs`.
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .upload_enabled(false)
                .grace_period(limits.stall)
                .build(),
        )
}

/// What a request has other than the rest whose body may take as long as it moves. What is not said
/// here is as the client has it.
pub(super) fn sending() -> Builder {
    // Not disabled: the SDK takes a configuration without any timeout for one that disables all.
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(Duration::MAX);
    Builder::new().timeout_config(timeouts.build())
}

/// What a request has other than the rest that keeps the store busy.
pub(super) fn busy() -> Builder {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(BUSY_TIMEOUT);
    Builder::new().timeout_config(timeouts.build())
}
