//! `[upstreams.*]`.

use quartet_common::config::empty_as_none;
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    pub(crate) addresses: Vec<Address>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) host: Option<String>,
    #[serde(default = "connect_timeout_ms")]
    pub(crate) connect_timeout_ms: u64,
    #[serde(default = "idle_timeout_seconds")]
    pub(crate) idle_timeout_seconds: u64,
    #[serde(default = "max_idle_connections")]
    pub(crate) max_idle_connections: usize,
    #[serde(default = "retries")]
    pub(crate) retries: u32,
    #[serde(default = "retry_budget_percent")]
    pub(crate) retry_budget_percent: u32,
    #[serde(default = "min_eject_ms")]
    pub(crate) min_eject_ms: u64,
    #[serde(default = "max_eject_ms")]
    pub(crate) max_eject_ms: u64,
    #[serde(default)]
    pub(crate) balance: Balance,
    #[serde(default)]
    pub(crate) tls: bool,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) tls_server_name: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) tls_ca: Option<String>,
    #[serde(default)]
    pub(crate) http2: bool,
    #[serde(default)]
    pub(crate) openapi: Option<String>,
}

/// Which replica a request is sent to first.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Balance {
    /// The next one, by weight.
    #[default]
    RoundRobin,
    /// The one of its user, or client IP.
    ClientHash,
}

/// `"host:port"`, or `{ address = "host:port", weight = 2 }`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(crate) enum Address {
    Plain(String),
    Weighted(WeightedAddress),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct WeightedAddress {
    pub(crate) address: String,
    pub(crate) weight: u32,
}

fn connect_timeout_ms() -> u64 {
    1_000
}

fn idle_timeout_seconds() -> u64 {
    8
}

fn max_idle_connections() -> usize {
    512
}

fn retries() -> u32 {
    2
}

fn retry_budget_percent() -> u32 {
    20
}

fn min_eject_ms() -> u64 {
    500
}

fn max_eject_ms() -> u64 {
    15_000
}
