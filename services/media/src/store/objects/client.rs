//! The S3 client.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_credential_types::provider::future::ProvideCredentials as ProvidedCredentials;
use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Builder, Credentials, IdentityCache, ProvideCredentials, Region,
        RequestChecksumCalculation, ResponseChecksumValidation, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
};
use secrecy::ExposeSecret;
use url::Url;

use crate::config::S3;

/// The first one included. Clients retry the whole request, so more would only add up.
const MAX_ATTEMPTS: u32 = 2;

/// The key pair that signs requests from now on. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Keys(Arc<RwLock<Credentials>>);

impl Keys {
    pub(super) fn new(settings: &S3) -> Self {
        Self(Arc::new(RwLock::new(credentials(settings))))
    }

    pub(super) fn rotate(&self, settings: &S3) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = credentials(settings);
    }
}

impl ProvideCredentials for Keys {
    fn provide_credentials<'a>(&'a self) -> ProvidedCredentials<'a>
    where
        Self: 'a,
    {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        ProvidedCredentials::ready(Ok(current.clone()))
    }
}

fn credentials(settings: &S3) -> Credentials {
    let (access, secret) = (&settings.access_key, &settings.secret_key);
    Credentials::new(
        access.expose_secret(),
        secret.expose_secret(),
        None,
        None,
        "settings",
    )
}

pub(super) fn connect(settings: &S3, endpoint: &Url, keys: &Keys) -> Client {
    let timeout = Duration::from_secs(settings.timeout_seconds);
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(timeout)
        .connect_timeout(timeout)
        .build();
    let config = Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        // Without the slash, the SDK appends the bucket to the last segment of the path.
        .endpoint_url(format!("{}/", without_slash(endpoint)))
        .credentials_provider(keys.clone())
        // The key pair may change at any time, and is at hand.
        .identity_cache(IdentityCache::no_cache())
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
