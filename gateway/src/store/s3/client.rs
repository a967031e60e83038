//! The SDK's client as the settings want it: where, by which way, and how long it waits.
use std::time::Duration;

use aws_sdk_s3::config::{
    BehaviorVersion, Builder, IdentityCache, Region, RequestChecksumCalculation,
    StalledStreamProtectionConfig,
    retry::RetryConfig,
    timeout::{TimeoutConfig, TimeoutConfigBuilder},
};
use gateway_api::{
    SettingsError,
    settings::{Addressing, S3Settings},
};

use super::{credentials::S3Credentials, transport};

/// Longest wait for a TCP and TLS connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest that a request may take that moves no more than one 1 MiB block: somebody waits for its
/// answer.
const QUICK_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest that the store may be busy with what it does by itself, and of which nothing can be seen
/// to move: a copy of 5 GiB at 6 MiB/s, the end of an upload of 10,000 parts.
const BUSY_TIMEOUT: Duration = Duration::from_secs(900);
/// A body of an answer that moves no byte for this long is given up.
const STALL_GRACE: Duration = Duration::from_secs(20);

/// The configuration of a client for `settings` that signs with `credentials`.
///
/// # Errors
/// [`SettingsError::Field`] where the CA bundle or the proxy cannot be used.
pub(super) fn config(
    settings: &S3Settings,
    credentials: &S3Credentials,
) -> Result<Builder, SettingsError> {
    let mut config = Builder::new()
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
        // Which checksum a request carries is decided where its body is known.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .timeout_config(timeouts().operation_attempt_timeout(QUICK_TIMEOUT).build())
        // Of answers; whether a body on its way there moves is seen to in `pace.rs`.
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .upload_enabled(false)
                .grace_period(STALL_GRACE)
                .build(),
        );
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

fn timeouts() -> TimeoutConfigBuilder {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT)
}

/// What a request has other than the rest whose body may take as long as it moves.
pub(super) fn sending() -> Builder {
    Builder::new().timeout_config(timeouts().disable_operation_attempt_timeout().build())
}

/// What a request has other than the rest that keeps the store busy.
pub(super) fn busy() -> Builder {
    Builder::new().timeout_config(timeouts().operation_attempt_timeout(BUSY_TIMEOUT).build())
}
