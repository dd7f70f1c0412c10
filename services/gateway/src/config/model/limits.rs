//! `[limits.*]`, and the store that they may be counted in.

use quartet_common::config::empty_as_none;
use secrecy::SecretString;
use serde::Deserialize;

use super::Redis;
use crate::routing::OnStoreError;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) requests: u32,
    pub(crate) window_seconds: u64,
    #[serde(default)]
    pub(crate) burst: Option<u32>,
    #[serde(default)]
    pub(crate) key: Keys,
    #[serde(default)]
    pub(crate) scope: LimitScope,
    #[serde(default)]
    pub(crate) on_store_error: OnStoreError,
}

/// One key or several; the first that a request has counts.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(
    untagged,
    expecting = "must be \"user\", \"token\", \"api_key\", \"client_ip\" or { header = \"Name\" }, or a list of these"
)]
pub(crate) enum Keys {
    One(Key),
    Several(Vec<Key>),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(crate) enum Key {
    Named(NamedKey),
    Header(HeaderKey),
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NamedKey {
    User,
    Token,
    ApiKey,
    ClientIp,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderKey {
    pub(crate) header: String,
}

impl Default for Keys {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Keys {
    pub(crate) fn as_slice(&self) -> &[Key] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Several(keys) => keys,
        }
    }
}

/// What the routes of a limit have in common.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LimitScope {
    /// One counter.
    #[default]
    Shared,
    /// Nothing but the settings: each route counts for itself.
    Route,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimitStore {
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
    pub(crate) key_prefix: String,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) key_secret: Option<SecretString>,
    pub(crate) timeout_ms: u64,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) max_failures: u32,
    pub(crate) max_denied_keys: usize,
}

impl RateLimitStore {
    /// Where it is, as other tables with a Redis say it.
    pub(crate) fn redis(&self) -> Redis {
        Redis {
            url: self.url.clone(),
            sentinels: self.sentinels.clone(),
            master_name: self.master_name.clone(),
            cluster: self.cluster.clone(),
            database: self.database,
            tls: self.tls,
            tls_ca: self.tls_ca.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            sentinel_username: self.sentinel_username.clone(),
            sentinel_password: self.sentinel_password.clone(),
            timeout_ms: self.timeout_ms,
            connect_timeout_ms: self.connect_timeout_ms,
        }
    }
}
