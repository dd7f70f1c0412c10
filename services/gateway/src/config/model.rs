//! The configuration as written. `default.toml` documents each setting.

use std::{collections::BTreeMap, net::SocketAddr};

use ipnet::IpNet;
use quartet_common::config::{Jwt, Telemetry, empty_as_none, networks};
use serde::Deserialize;

use crate::routing::{Auth, GatewayPage};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// Evaluated while the layers are merged.
    #[serde(rename = "shipped_routes")]
    _shipped_routes: bool,
    pub(crate) server: Server,
    pub(crate) discovery: Discovery,
    pub(crate) documents: Documents,
    pub(crate) jwt: Jwt,
    pub(crate) telemetry: Telemetry,
    pub(crate) defaults: RouteDefaults,
    #[serde(default)]
    pub(crate) upstreams: BTreeMap<String, Upstream>,
    #[serde(default)]
    pub(crate) limits: BTreeMap<String, Limit>,
    #[serde(default)]
    pub(crate) routes: BTreeMap<String, Route>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: Vec<Listen>,
    pub(crate) http2: bool,
    pub(crate) max_http2_streams: u32,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) threads: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_client: usize,
    pub(crate) tcp_keepalive_seconds: u64,
    pub(crate) tcp_user_timeout_seconds: u64,
    pub(crate) header_timeout_seconds: u64,
    pub(crate) keepalive_timeout_seconds: u64,
    pub(crate) header_limit_bytes: usize,
    pub(crate) header_limit_count: usize,
    pub(crate) upstream_pool_size: usize,
    pub(crate) max_rate_limit_keys: usize,
    pub(crate) write_timeout_seconds: u64,
    pub(crate) page_timeout_seconds: u64,
    pub(crate) allow_underscore_headers: bool,
    pub(crate) direct_path: bool,
    pub(crate) refused_log_lines_per_second: u32,
    pub(crate) drain_delay_seconds: u64,
    pub(crate) shutdown_grace_seconds: u64,
    #[serde(deserialize_with = "networks")]
    pub(crate) trusted_proxies: Vec<IpNet>,
}

impl Server {
    pub(crate) fn worker_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    /// The address of the first listener.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listen.first().map(Listen::address)
    }
}

/// A listener: its address alone, or a table with further settings.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(
    untagged,
    expecting = "must be ip:port, or a table with `address` and, if need be, `http2`"
)]
pub(crate) enum Listen {
    Address(SocketAddr),
    Table(Listener),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    #[serde(default)]
    pub(crate) http2: Option<bool>,
}

impl Listen {
    /// Whether connections to this local address are this listener's.
    pub(crate) fn accepts(&self, local: SocketAddr) -> bool {
        let listen = self.address();
        let (ip, local_ip) = (listen.ip().to_canonical(), local.ip().to_canonical());
        listen.port() == local.port() && (ip.is_unspecified() || ip == local_ip)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Address(address) => *address,
            Self::Table(listener) => listener.address,
        }
    }

    /// `None`: as `server.http2` says.
    pub(crate) fn http2(&self) -> Option<bool> {
        match self {
            Self::Address(_) => None,
            Self::Table(listener) => listener.http2,
        }
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Discovery {
    pub(crate) interval_ms: u64,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) nameserver: Option<SocketAddr>,
    pub(crate) timeout_ms: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Documents {
    pub(crate) refresh_seconds: u64,
    pub(crate) timeout_ms: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteDefaults {
    pub(crate) body_limit_bytes: u64,
    pub(crate) body_timeout_seconds: u64,
    pub(crate) response_timeout_seconds: u64,
    pub(crate) stream_timeout_seconds: u64,
}

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

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) requests: u32,
    pub(crate) window_seconds: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    #[serde(default = "enabled")]
    pub(crate) enabled: bool,
    pub(crate) paths: Vec<String>,
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    #[serde(default)]
    pub(crate) methods: Vec<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) priority: i32,
    #[serde(default)]
    pub(crate) upstream: Option<String>,
    #[serde(default)]
    pub(crate) serve: Option<GatewayPage>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) redirect: Option<String>,
    #[serde(default)]
    pub(crate) auth: Auth,
    #[serde(default)]
    pub(crate) limit: Names,
    #[serde(default)]
    pub(crate) request_headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) response_headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) upgrade: bool,
    #[serde(default)]
    pub(crate) stream: bool,
    #[serde(default)]
    pub(crate) raw_path: bool,
    #[serde(default)]
    pub(crate) body_limit_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) body_timeout_seconds: Option<u64>,
    #[serde(default)]
    pub(crate) response_timeout_seconds: Option<u64>,
    #[serde(default)]
    pub(crate) stream_timeout_seconds: Option<u64>,
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

/// One name or several.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(crate) enum Names {
    One(String),
    Several(Vec<String>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Names {
    /// An empty name is none.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let names = match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        };
        names
            .iter()
            .map(String::as_str)
            .filter(|name| !name.is_empty())
    }
}

fn enabled() -> bool {
    true
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
