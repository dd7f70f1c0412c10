//! How to reach a Redis or Valkey, for the tables that name one.

use quartet_common::config::empty_as_none;
use secrecy::SecretString;
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redis {
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) url: Option<String>,
    pub(crate) sentinels: Vec<String>,
    pub(crate) master_name: String,
    pub(crate) cluster: Vec<String>,
    pub(crate) database: u32,
    pub(crate) tls: bool,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) tls_ca: Option<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) username: Option<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) password: Option<SecretString>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) sentinel_username: Option<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) sentinel_password: Option<SecretString>,
    pub(crate) timeout_ms: u64,
    pub(crate) connect_timeout_ms: u64,
}

impl Redis {
    /// Whether a server is named at all.
    pub(crate) fn is_set(&self) -> bool {
        self.url.is_some() || !self.sentinels.is_empty() || !self.cluster.is_empty()
    }
}
