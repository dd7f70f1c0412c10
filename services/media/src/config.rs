//! Settings, read and validated once. `default.toml` documents them.

use quartet_common::config::{
    ConfigError, Database, Jwt, Server, Telemetry, Worker, all, empty_as_none, http, within,
};
use quartet_events::{Nats, Signer};
use quartet_service::Settings;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

/// Limit of AWS Signature Version 4: one week.
const MAX_TTL_SECONDS: u64 = 604_800;
/// Of S3 and R2, for a single PUT.
const MAX_PUT_BYTES: u64 = 5 << 30;

const MAX_VERIFICATION_SECONDS: u64 = 3600;
const MAX_SWEEP_BATCH: u32 = 10_000;

/// All settings of the service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub database: Database,
    pub jwt: Jwt,
    pub worker: Worker,
    pub telemetry: Telemetry,
    pub s3: S3,
    pub uploads: Uploads,
    pub downloads: Downloads,
    pub events: Events,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    pub endpoint: Url,
    #[serde(deserialize_with = "empty_as_none")]
    pub public_endpoint: Option<Url>,
    pub region: String,
    pub access_key: SecretString,
    pub secret_key: SecretString,
    pub path_style: bool,
    pub private_bucket: String,
    pub public_bucket: String,
    #[serde(deserialize_with = "empty_as_none")]
    pub public_base_url: Option<Url>,
    pub create_buckets: bool,
    pub timeout_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uploads {
    pub max_size_bytes: u64,
    pub ttl_seconds: u64,
    pub content_types: Vec<String>,
    pub verification_timeout_seconds: u64,
    pub abandoned_after_seconds: u64,
    pub sweep_batch: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Downloads {
    pub ttl_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    #[serde(deserialize_with = "empty_as_none")]
    pub secret: Option<SecretString>,
    pub previous_secrets: Vec<SecretString>,
    #[serde(deserialize_with = "empty_as_none")]
    pub nats_url: Option<SecretString>,
}

impl Settings for Config {
    quartet_service::shared_sections!();

    fn check(&self) -> Result<(), ConfigError> {
        let ttl = 1..=MAX_TTL_SECONDS;
        all([
            self.events.signer().map(drop),
            self.events.nats().map(drop),
            self.s3.check(),
            self.uploads.check(),
            within("downloads.ttl_seconds", self.downloads.ttl_seconds, ttl),
        ])
    }
}

impl S3 {
    fn check(&self) -> Result<(), ConfigError> {
        let is_set = |key, value: &SecretString| {
            let missing = value.expose_secret().is_empty();
            let error = missing.then(|| ConfigError::invalid(key, "must be set"));
            error.map_or(Ok(()), Err)
        };
        let is_http = |key, url: Option<&Url>| url.map_or(Ok(()), |url| http(key, url));
        let is_shared = self.private_bucket == self.public_bucket;
        let rule =
            "must differ from s3.private_bucket: every object in a public bucket is readable";
        let shared = is_shared.then(|| ConfigError::invalid("s3.public_bucket", rule));
        all([
            shared.map_or(Ok(()), Err),
            http("s3.endpoint", &self.endpoint),
            is_http("s3.public_endpoint", self.public_endpoint.as_ref()),
            is_http("s3.public_base_url", self.public_base_url.as_ref()),
            is_set("s3.access_key", &self.access_key),
            is_set("s3.secret_key", &self.secret_key),
            within("s3.timeout_seconds", self.timeout_seconds, 1..=3600),
        ])
    }
}

impl Uploads {
    fn check(&self) -> Result<(), ConfigError> {
        let (size, late) = (self.max_size_bytes, self.abandoned_after_seconds);
        let limit = self.verification_timeout_seconds;
        all([
            within("uploads.ttl_seconds", self.ttl_seconds, 1..=MAX_TTL_SECONDS),
            within("uploads.max_size_bytes", size, 1..=MAX_PUT_BYTES),
            within(
                "uploads.verification_timeout_seconds",
                limit,
                1..=MAX_VERIFICATION_SECONDS,
            ),
            within("uploads.abandoned_after_seconds", late, 0..=MAX_TTL_SECONDS),
            within("uploads.sweep_batch", self.sweep_batch, 1..=MAX_SWEEP_BATCH),
        ])
    }
}

impl Events {
    /// # Errors
    /// When a secret is malformed. The message does not contain it.
    pub(crate) fn signer(&self) -> Result<Option<Signer>, ConfigError> {
        quartet_events::signer(self.secret.as_ref(), &self.previous_secrets)
    }

    /// # Errors
    /// When the URL is malformed, or there is no secret. The message does not contain it.
    pub(crate) fn nats(&self) -> Result<Option<Nats>, ConfigError> {
        quartet_events::nats(self.nats_url.as_ref(), self.secret.as_ref())
    }
}
