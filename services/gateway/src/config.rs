//! Settings: TOML text -> [`model`] as written -> [`Config`] that is known to be right.

pub mod load;
pub mod model;
mod source;
mod validate;

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use http::HeaderValue;
use quartet_common::net::TrustedProxies;

use crate::routing::RouteTable;
pub use source::Diagnostic;

/// The reference of all settings, and their defaults.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// Settings without a contradiction. Everything names everything else by index.
#[derive(Debug)]
pub struct Config {
    /// As written, for what needs no checking beyond its type.
    pub model: model::Model,
    pub trusted_proxies: TrustedProxies,
    pub upstreams: Vec<UpstreamConfig>,
    pub limits: Vec<Limit>,
    pub(crate) routes: RouteTable,
    /// The file, if there is one, for reloading it.
    pub file: Option<PathBuf>,
}

/// Who answers, and how hard it is tried to reach them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    pub name: Arc<str>,
    pub targets: Vec<Target>,
    /// The `Host` that replicas are told instead of the client's.
    pub host: Option<HeaderValue>,
    pub connect_timeout: Duration,
    pub idle_timeout: Duration,
    pub retries: u32,
    pub retry_budget_percent: u32,
    pub eject_min: Duration,
    pub eject_max: Duration,
    pub openapi: Option<String>,
}

/// One configured address: known, or to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub host: Host,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Address(IpAddr),
    Name(String),
}

/// Never more than `requests` in any `window`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub name: Arc<str>,
    pub requests: u32,
    pub window: Duration,
}
