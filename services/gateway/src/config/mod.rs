//! The configuration: TOML text -> [`model`] as written -> [`Config`], which is valid.

pub(crate) mod load;
pub(crate) mod model;
pub(crate) mod restart;
mod validate;

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::HeaderValue;
use quartet_common::{config::Settings, net::TrustedProxies};

use crate::routing::RouteTable;
pub(crate) use model::Balance;

/// Every setting with its default and its documentation.
pub const DEFAULTS: &str = include_str!("../../default.toml");

/// A valid configuration. References between its parts are indices.
#[derive(Debug)]
pub(crate) struct Config {
    /// As written, for settings that need no validation beyond their type.
    pub(crate) model: model::Model,
    /// Every setting, to find those that a reload changes.
    pub(crate) settings: Settings,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) upstreams: Vec<UpstreamConfig>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) routes: RouteTable,
}

/// A set of replicas, and how they are connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamConfig {
    pub(crate) name: Arc<str>,
    pub(crate) targets: Vec<UpstreamTarget>,
    /// The `Host` header for replicas; `None` keeps the client's.
    pub(crate) host: Option<HeaderValue>,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    /// For each replica.
    pub(crate) max_idle_connections: usize,
    pub(crate) retries: u32,
    pub(crate) retry_budget_percent: u32,
    pub(crate) min_eject: Duration,
    pub(crate) max_eject: Duration,
    pub(crate) balance: Balance,
    /// `None`: connections are plain.
    pub(crate) tls: Option<Tls>,
    pub(crate) openapi: Option<String>,
}

/// How the certificate of an upstream is verified, and what is offered to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tls {
    /// That the certificate must have.
    pub(crate) server_name: String,
    /// Certificates in DER. `None`: the authorities that the system trusts.
    pub(crate) authorities: Option<Vec<Vec<u8>>>,
    /// HTTP/2 is offered beside HTTP/1.1.
    pub(crate) http2: bool,
}

/// One configured address, literal or to be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamTarget {
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// Requests that each of its replicas receives in a round.
    pub(crate) weight: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Ip(IpAddr),
    Name(String),
}

/// At most `requests` in any `window`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) name: Arc<str>,
    pub(crate) requests: u32,
    pub(crate) window: Duration,
}
