//! What `/status` on the admin listener says, for the page and for `top`.
//!
//! Counters are those since the start of the process; who reads them twice knows the rates. So nothing is
//! computed while no one looks, and any number of readers have time spans of their own.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::reloads::Attempt;

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    /// Name of the machine or container.
    pub(crate) host: String,
    pub(crate) at: DateTime<Utc>,
    /// Since the start; less than before: the counters began again.
    pub(crate) uptime_ms: u64,
    /// As in `/ready`, with checks and notices.
    pub(crate) state: String,
    pub(crate) checks: BTreeMap<String, String>,
    pub(crate) notices: BTreeMap<String, Vec<String>>,
    pub(crate) config: ConfigStatus,
    pub(crate) connections: ConnectionStatus,
    pub(crate) requests_in_flight: i64,
    pub(crate) routes: Vec<RouteStatus>,
    /// Upper bounds of `durations`, whose last number has none.
    pub(crate) duration_bounds_seconds: Vec<f64>,
    /// By path pattern, as in the metrics. Routes with the same pattern are counted together.
    pub(crate) traffic: Vec<TrafficStatus>,
    pub(crate) upstreams: Vec<UpstreamStatus>,
    pub(crate) limits: Vec<LimitStatus>,
    pub(crate) limit_store: Option<StoreState>,
    pub(crate) caches: Vec<CacheStatus>,
    pub(crate) certificates: Vec<CertificateStatus>,
    /// Entries that the lists above have no room for.
    pub(crate) omitted: usize,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ConfigStatus {
    pub(crate) hash: Arc<str>,
    pub(crate) in_force_since: DateTime<Utc>,
    /// Changed settings that take effect after a restart.
    pub(crate) waiting_for_restart: Vec<String>,
    pub(crate) last_reload: Option<Arc<Attempt>>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ConnectionStatus {
    pub(crate) open: i64,
    pub(crate) max: usize,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct RouteStatus {
    pub(crate) name: Arc<str>,
    pub(crate) hosts: Vec<String>,
    pub(crate) methods: Vec<String>,
    /// In words, such as `upstream core`.
    pub(crate) destination: String,
    pub(crate) auth: String,
    pub(crate) limits: Vec<Arc<str>>,
    pub(crate) cache: Option<Arc<str>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct TrafficStatus {
    pub(crate) path: String,
    /// Those that have the pattern now.
    pub(crate) routes: Vec<Arc<str>>,
    pub(crate) requests: u64,
    /// Statuses from 400 to 499.
    pub(crate) client_errors: u64,
    /// Statuses of 500 and above.
    pub(crate) server_errors: u64,
    /// Until the head of the response, without those of WebSocket.
    pub(crate) durations: Vec<u64>,
    pub(crate) duration_seconds: f64,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct UpstreamStatus {
    pub(crate) name: Arc<str>,
    pub(crate) replicas: Vec<ReplicaStatus>,
    /// Of its host names.
    pub(crate) lookup_errors: Vec<String>,
    pub(crate) queued: Option<usize>,
    pub(crate) circuit: Option<String>,
    pub(crate) connect_failures: u64,
    pub(crate) broken_responses: u64,
    pub(crate) retries: u64,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ReplicaStatus {
    pub(crate) address: SocketAddr,
    /// As in `/upstreams`.
    pub(crate) state: String,
    pub(crate) in_flight: usize,
    pub(crate) check_error: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct LimitStatus {
    pub(crate) name: Arc<str>,
    pub(crate) requests: u32,
    pub(crate) window_seconds: u64,
    /// Requests.
    pub(crate) refused: u64,
}

/// Of the store of the rate limits.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct StoreState {
    pub(crate) kind: String,
    pub(crate) is_up: Option<bool>,
    pub(crate) error: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct CacheStatus {
    pub(crate) name: Arc<str>,
    pub(crate) urls: u64,
    pub(crate) bytes: u64,
    pub(crate) max_bytes: u64,
    /// By outcome, as in the metrics.
    pub(crate) requests: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct CertificateStatus {
    /// What it is for, such as `admin listener`.
    pub(crate) of: String,
    pub(crate) subject: String,
    pub(crate) not_before: DateTime<Utc>,
    pub(crate) not_after: DateTime<Utc>,
    /// Why what is in its files is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}
