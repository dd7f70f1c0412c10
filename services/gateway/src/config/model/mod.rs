//! The configuration as written. `default.toml` documents each setting.

mod routes;
mod server;
mod upstreams;

use std::{collections::BTreeMap, net::SocketAddr};

use quartet_common::config::{Jwt, Telemetry, empty_as_none};
use serde::Deserialize;

pub(crate) use routes::{Route, RouteDefaults};
pub(crate) use server::{Listen, Server};
pub(crate) use upstreams::{Address, Balance, Upstream};

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
pub(crate) struct Limit {
    pub(crate) requests: u32,
    pub(crate) window_seconds: u64,
}
