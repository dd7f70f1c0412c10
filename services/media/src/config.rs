//! The settings, read once and checked once.

use quartet_common::config::{ConfigError, Database, Jwt, Server, Telemetry, empty_as_none};
use quartet_service::Settings;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

/// Signature version 4 allows a week at most.
const MAX_TTL_SECONDS: u64 = 604_800;

/// Every setting of the service; `default.toml` says what each means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub database: Database,
    pub jwt: Jwt,
    pub telemetry: Telemetry,
    pub s3: S3,
    pub uploads: Uploads,
    pub downloads: Downloads,
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
    pub abandoned_after_seconds: u64,
    pub sweep_interval_seconds: u64,
    pub sweep_batch: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Downloads {
    pub ttl_seconds: u64,
}

impl Config {
    /// Rules that types alone do not hold.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let s3 = &self.s3;
        if s3.private_bucket == s3.public_bucket {
            let rule =
                "must differ from s3.private_bucket: what is public shows every object in it";
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
        for (key, seconds) in [
            ("uploads.ttl_seconds", self.uploads.ttl_seconds),
            ("downloads.ttl_seconds", self.downloads.ttl_seconds),
        ] {
            if !(1..=MAX_TTL_SECONDS).contains(&seconds) {
                return Err(ConfigError::invalid(key, "must be 1 to 604800"));
            }
        }
        for (key, seconds) in [
            (
                "uploads.sweep_interval_seconds",
                self.uploads.sweep_interval_seconds,
            ),
            ("uploads.sweep_batch", self.uploads.sweep_batch.into()),
            ("s3.timeout_seconds", s3.timeout_seconds),
        ] {
            if seconds == 0 {
                return Err(ConfigError::invalid(key, "must be at least 1"));
            }
        }
        Ok(())
    }
}

impl Settings for Config {
    fn server(&self) -> &Server {
        &self.server
    }

    fn database(&self) -> &Database {
        &self.database
    }

    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.validate()
    }
}
