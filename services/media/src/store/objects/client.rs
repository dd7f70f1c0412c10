//! The S3 client.

use std::time::Duration;

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation,
        ResponseChecksumValidation, retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use secrecy::ExposeSecret;
use url::Url;

use crate::config::S3;

/// The first one included. Clients retry the whole request, so more would only add up.
const MAX_ATTEMPTS: u32 = 2;

pub(super) fn connect(settings: &S3, endpoint: &Url) -> Client {
    let credentials = Credentials::new(
        settings.access_key.expose_secret(),
        settings.secret_key.expose_secret(),
        None,
        None,
        "settings",
    );
    let timeout = Duration::from_secs(settings.timeout_seconds);
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(timeout)
        .connect_timeout(timeout)
        .build();
    let config = Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        .endpoint_url(without_slash(endpoint))
        .credentials_provider(credentials)
        .force_path_style(settings.path_style)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
        // R2 rejects the checksums that the SDK adds by default.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    Client::from_conf(config.build())
}

pub(super) fn without_slash(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

/// For a single operation that may take as long as its object is large.
pub(super) fn patient(limit: Duration) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(limit)
        .build();
    Builder::new().timeout_config(timeouts)
}
