//! `[limits.*]`.

use serde::Deserialize;

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
