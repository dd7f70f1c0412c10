//! `[lookups.*]`, and which of them a route uses.

use std::collections::BTreeMap;

use ipnet::IpNet;
use quartet_common::config::{empty_as_none, networks};
use secrecy::SecretString;
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lookup {
    #[serde(default)]
    pub(crate) table: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) upstream: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) path: Option<String>,
    #[serde(default)]
    pub(crate) request_headers: BTreeMap<String, SecretString>,
    #[serde(default = "timeout_ms")]
    pub(crate) timeout_ms: u64,
    #[serde(default = "ttl_seconds")]
    pub(crate) ttl_seconds: u64,
    #[serde(default = "unknown_ttl_seconds")]
    pub(crate) unknown_ttl_seconds: u64,
    #[serde(default = "stale_seconds")]
    pub(crate) stale_seconds: u64,
    #[serde(default = "max_entries")]
    pub(crate) max_entries: u64,
    #[serde(default = "max_in_flight")]
    pub(crate) max_in_flight: usize,
    #[serde(default = "connect_timeout_ms")]
    pub(crate) connect_timeout_ms: u64,
    #[serde(deserialize_with = "networks")]
    pub(crate) networks: Vec<IpNet>,
    pub(crate) ports: Vec<Ports>,
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
}

/// A port, or `"8000-8999"`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged, expecting = "must be a port, or ports such as \"8000-8999\"")]
pub(crate) enum Ports {
    One(u16),
    Range(String),
}

/// Of a route.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteLookup {
    pub(crate) name: String,
    pub(crate) segment: String,
}

fn timeout_ms() -> u64 {
    1_000
}

fn ttl_seconds() -> u64 {
    30
}

fn unknown_ttl_seconds() -> u64 {
    5
}

fn stale_seconds() -> u64 {
    300
}

fn max_entries() -> u64 {
    10_000
}

fn max_in_flight() -> usize {
    64
}

fn connect_timeout_ms() -> u64 {
    1_000
}
