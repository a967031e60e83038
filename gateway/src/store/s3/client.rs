//! The SDK's client as the settings want it: where, as whom, and how long it waits.
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Region, RequestChecksumCalculation, StalledStreamProtectionConfig,
    retry::RetryConfig, timeout::TimeoutConfig,
};
use gateway_api::settings::{Addressing, S3Settings};

/// Longest wait for a TCP and TLS connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest that one request may take, body included: a 16 MiB part at 64 KiB/s, a copy of 5 GiB
/// within the store.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(300);
/// The same for requests that move no more than one 1 MiB block: somebody waits for their answer.
const QUICK_TIMEOUT: Duration = Duration::from_secs(20);
/// A body that moves no byte for this long is given up.
const STALL_GRACE: Duration = Duration::from_secs(20);

/// The configuration of a client for `settings`.
pub(super) fn config(settings: &S3Settings) -> Builder {
    let token = settings.session_token.expose();
    let credentials = Credentials::new(
        &settings.access_key_id,
        settings.secret_access_key.expose(),
        (!token.is_empty()).then(|| token.to_owned()),
        None,
        "settings",
    );
    let mut config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(credentials)
        .force_path_style(settings.addressing == Addressing::Path)
        .retry_config(RetryConfig::disabled())
        // Where a checksum is wanted, the request names it.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .timeout_config(timeouts(ATTEMPT_TIMEOUT))
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled().grace_period(STALL_GRACE).build(),
        );
    if !settings.endpoint.is_empty() {
        config = config.endpoint_url(&settings.endpoint);
    }
    config
}

fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(attempt)
        .build()
}

/// What a quick request has other than the rest.
pub(super) fn quick() -> Builder {
    Builder::new().timeout_config(timeouts(QUICK_TIMEOUT))
}
