//! `[upstreams.*]`.

use std::fmt;

use quartet_common::config::empty_as_none;
use serde::Deserialize;

use super::resilience::{CircuitBreaker, HealthCheck, OutlierDetection};
use crate::routing::RetryOn;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    pub(crate) addresses: Vec<Address>,
    #[serde(default)]
    pub(crate) discovery: Discovery,
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
    #[serde(default)]
    pub(crate) retry_on: RetryOn,
    #[serde(default = "retry_backoff_ms")]
    pub(crate) retry_backoff_ms: u64,
    #[serde(default)]
    pub(crate) try_timeout_ms: u64,
    #[serde(default)]
    pub(crate) idempotency_keys: bool,
    #[serde(default = "min_eject_ms")]
    pub(crate) min_eject_ms: u64,
    #[serde(default = "max_eject_ms")]
    pub(crate) max_eject_ms: u64,
    #[serde(default)]
    pub(crate) outlier_detection: Option<OutlierDetection>,
    #[serde(default)]
    pub(crate) health_check: Option<HealthCheck>,
    #[serde(default)]
    pub(crate) circuit_breaker: Option<CircuitBreaker>,
    #[serde(default)]
    pub(crate) slow_start_seconds: u64,
    #[serde(default)]
    pub(crate) max_in_flight: usize,
    #[serde(default)]
    pub(crate) max_in_flight_per_replica: usize,
    #[serde(default)]
    pub(crate) max_queue: usize,
    #[serde(default = "queue_timeout_ms")]
    pub(crate) queue_timeout_ms: u64,
    #[serde(default)]
    pub(crate) balance: Balance,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) hash_by: Option<String>,
    #[serde(default)]
    pub(crate) tls: bool,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) tls_server_name: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) tls_ca: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) tls_client_certificate: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) tls_client_key: Option<PrivateKey>,
    #[serde(default)]
    pub(crate) http2: bool,
    #[serde(default = "max_http2_streams")]
    pub(crate) max_http2_streams: usize,
    #[serde(default)]
    pub(crate) openapi: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) document: Option<String>,
    /// It is from an object of a cluster.
    #[serde(skip)]
    pub(crate) is_object: bool,
}

/// Who knows the replicas behind the addresses.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Discovery {
    #[default]
    Dns,
    /// The addresses are `service.namespace:port`.
    Kubernetes,
}

/// A private key in PEM. It is never printed.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub(crate) struct PrivateKey(pub(crate) String);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

/// Which replica a request is sent to first.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Balance {
    /// The next one, by weight.
    #[default]
    RoundRobin,
    /// Of two that are drawn by weight, the one with fewer requests in flight for its weight.
    LeastLoaded,
    /// The one of its key, by `hash_by`.
    #[serde(alias = "client_hash")]
    Hash,
}

/// `"host:port"` or `"srv+name"`, or a table of either.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(crate) enum Address {
    Plain(String),
    Weighted(WeightedAddress),
    Service(ServiceName),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct WeightedAddress {
    pub(crate) address: String,
    pub(crate) weight: u32,
}

/// Replicas that SRV records name, with their priorities and weights.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceName {
    pub(crate) srv: String,
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

fn retry_backoff_ms() -> u64 {
    25
}

fn min_eject_ms() -> u64 {
    500
}

fn max_eject_ms() -> u64 {
    15_000
}

fn queue_timeout_ms() -> u64 {
    1_000
}

fn max_http2_streams() -> usize {
    100
}
