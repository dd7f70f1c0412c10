//! The configuration as written. `default.toml` documents each setting.

use std::{collections::BTreeMap, net::SocketAddr};

use ipnet::IpNet;
use quartet_common::config::{Jwt, Telemetry, empty_as_none};
use serde::Deserialize;

use crate::routing::{Auth, Serve};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub shipped_routes: bool,
    pub server: Server,
    pub discovery: Discovery,
    pub documents: Documents,
    pub jwt: Jwt,
    pub telemetry: Telemetry,
    pub defaults: RouteDefaults,
    #[serde(default)]
    pub upstreams: BTreeMap<String, Upstream>,
    #[serde(default)]
    pub limits: BTreeMap<String, Limit>,
    #[serde(default)]
    pub routes: BTreeMap<String, Route>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub threads: usize,
    pub max_connections: usize,
    pub header_timeout_seconds: u64,
    pub keepalive_timeout_seconds: u64,
    pub header_limit_bytes: usize,
    pub header_limit_count: usize,
    pub upstream_pool_size: usize,
    pub rate_limit_keys_max: usize,
    pub write_timeout_seconds: u64,
    pub drain_delay_seconds: u64,
    pub shutdown_grace_seconds: u64,
    pub trusted_proxies: Vec<IpNet>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Discovery {
    pub interval_ms: u64,
    #[serde(deserialize_with = "empty_as_none")]
    pub nameserver: Option<SocketAddr>,
    pub timeout_ms: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    pub refresh_seconds: u64,
    pub timeout_ms: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct RouteDefaults {
    pub body_limit_bytes: u64,
    pub body_timeout_seconds: u64,
    pub response_timeout_seconds: u64,
    pub stream_timeout_seconds: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    pub addresses: Vec<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub host: Option<String>,
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    #[serde(default = "idle_timeout_seconds")]
    pub idle_timeout_seconds: u64,
    #[serde(default = "retries")]
    pub retries: u32,
    #[serde(default = "retry_budget_percent")]
    pub retry_budget_percent: u32,
    #[serde(default = "eject_min_ms")]
    pub eject_min_ms: u64,
    #[serde(default = "eject_max_ms")]
    pub eject_max_ms: u64,
    #[serde(default)]
    pub openapi: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    pub requests: u32,
    pub window_seconds: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Route {
    #[serde(default = "enabled")]
    pub enabled: bool,
    pub paths: Vec<String>,
    #[serde(default)]
    pub hosts: Vec<String>,
    #[serde(default)]
    pub methods: Vec<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub priority: i32,
    #[serde(default)]
    pub upstream: Option<String>,
    #[serde(default)]
    pub serve: Option<Serve>,
    #[serde(default)]
    pub auth: Auth,
    #[serde(default)]
    pub limit: Option<String>,
    #[serde(default)]
    pub upgrade: bool,
    #[serde(default)]
    pub body_limit_bytes: Option<u64>,
    #[serde(default)]
    pub body_timeout_seconds: Option<u64>,
    #[serde(default)]
    pub response_timeout_seconds: Option<u64>,
    #[serde(default)]
    pub stream_timeout_seconds: Option<u64>,
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

fn retries() -> u32 {
    2
}

fn retry_budget_percent() -> u32 {
    20
}

fn eject_min_ms() -> u64 {
    500
}

fn eject_max_ms() -> u64 {
    15_000
}
