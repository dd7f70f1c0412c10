//! Settings, read and validated once. `default.toml` documents them.

use quartet_common::config::{
    ConfigError, Database, Jwt, Server, Telemetry, Worker, empty_as_none, within,
};
use quartet_events::{Nats, Secrets, Signer};
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
        self.events.signer()?;
        self.events.nats()?;
        let s3 = &self.s3;
        if s3.private_bucket == s3.public_bucket {
            let rule =
                "must differ from s3.private_bucket: every object in a public bucket is readable";
            return Err(ConfigError::invalid("s3.public_bucket", rule));
        }
        for (key, value) in [
            ("s3.access_key", &s3.access_key),
            ("s3.secret_key", &s3.secret_key),
        ] {
            if value.expose_secret().is_empty() {
                return Err(ConfigError::invalid(key, "must be set"));
            }
        }
        let ttl = 1..=MAX_TTL_SECONDS;
        within("uploads.ttl_seconds", self.uploads.ttl_seconds, ttl.clone())?;
        within("downloads.ttl_seconds", self.downloads.ttl_seconds, ttl)?;
        let uploads = &self.uploads;
        let max_size = uploads.max_size_bytes;
        within("uploads.max_size_bytes", max_size, 1..=MAX_PUT_BYTES)?;
        let limit = uploads.verification_timeout_seconds;
        within(
            "uploads.verification_timeout_seconds",
            limit,
            1..=MAX_VERIFICATION_SECONDS,
        )?;
        let late = uploads.abandoned_after_seconds;
        within("uploads.abandoned_after_seconds", late, 0..=MAX_TTL_SECONDS)?;
        let batch = uploads.sweep_batch;
        within("uploads.sweep_batch", batch, 1..=MAX_SWEEP_BATCH)?;
        within("s3.timeout_seconds", s3.timeout_seconds, 1..=3600)
    }
}

impl Events {
    /// # Errors
    /// When a secret is malformed. The message does not contain it.
    pub(crate) fn signer(&self) -> Result<Option<Signer>, ConfigError> {
        self.secrets().signer()
    }

    /// # Errors
    /// When the URL is malformed, or there is no secret. The message does not contain it.
    pub(crate) fn nats(&self) -> Result<Option<Nats>, ConfigError> {
        self.secrets().nats(self.nats_url.as_ref())
    }

    fn secrets(&self) -> Secrets<'_> {
        Secrets {
            secret: self.secret.as_ref(),
            previous: &self.previous_secrets,
        }
    }
}
