//! The object store.

use quartet_common::config::{ConfigError, all, empty_as_none, http, within};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

/// Of signed URLs. The limit of AWS Signature Version 4: one week.
pub(super) const MAX_TTL_SECONDS: u64 = 604_800;

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

impl S3 {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
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
