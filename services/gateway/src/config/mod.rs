//! The configuration: TOML text -> [`model`] as written -> [`Config`], which is valid.

pub mod load;
pub mod model;
mod source;
mod validate;

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::HeaderValue;
use quartet_common::net::TrustedProxies;

use crate::routing::RouteTable;
pub use source::Diagnostic;

/// Every setting with its default and its documentation.
pub const DEFAULTS: &str = include_str!("../../default.toml");

/// A valid configuration. References between its parts are indices.
#[derive(Debug)]
pub struct Config {
    /// As written, for settings that need no validation beyond their type.
    pub model: model::Model,
    pub trusted_proxies: TrustedProxies,
    pub upstreams: Vec<UpstreamConfig>,
    pub limits: Vec<Limit>,
    pub(crate) routes: RouteTable,
}

/// A set of replicas, and how they are connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    pub name: Arc<str>,
    pub targets: Vec<Target>,
    /// The `Host` header for replicas; `None` keeps the client's.
    pub host: Option<HeaderValue>,
    pub connect_timeout: Duration,
    pub idle_timeout: Duration,
    pub retries: u32,
    pub retry_budget_percent: u32,
    pub eject_min: Duration,
    pub eject_max: Duration,
    pub openapi: Option<String>,
}

/// One configured address, literal or to be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub host: Host,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Ip(IpAddr),
    Name(String),
}

/// At most `requests` in any `window`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub name: Arc<str>,
    pub requests: u32,
    pub window: Duration,
}
