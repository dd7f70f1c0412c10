//! The configuration as written. `default.toml` documents each setting.

mod acme;
mod admin;
mod api_keys;
mod caches;
mod compression;
mod forward_auth;
mod guards;
mod health;
mod issuers;
mod kubernetes;
mod limits;
mod logins;
mod lookups;
mod mirror;
mod names;
mod object;
mod redis;
mod resilience;
mod revocations;
mod routes;
mod server;
mod sites;
mod split;
mod tls;
mod token_place;
mod upstreams;
mod validation;

use std::{collections::BTreeMap, net::SocketAddr};

use quartet_common::config::{Telemetry, empty_as_none};
use serde::Deserialize;

pub(crate) use acme::Acme;
pub(crate) use admin::Admin;
pub(crate) use api_keys::ApiKeys;
pub(crate) use caches::{Cache, ClientDirectives, SetCookie};
pub(crate) use compression::{Compress, Compression};
pub(crate) use guards::{
    AddedHeader, Cors, Fault, HeaderEdit, Maintenance, RouteSecurityHeaders, SecurityHeaderValues,
    SecurityHeaders,
};
pub(crate) use health::Health;
pub(crate) use issuers::Issuer;
pub(crate) use kubernetes::Kubernetes;
pub(crate) use limits::{Key, Limit, LimitScope, NamedKey};
pub(crate) use logins::{Login, LoginHeaders, LoginKind, LoginStore};
pub(crate) use lookups::{Lookup, Ports};
pub(crate) use mirror::Mirror;
pub(crate) use names::Names;
pub(crate) use object::{CertificateObject, RouteObject};
pub(crate) use redis::{RateLimitStore, Redis};
pub(crate) use resilience::{CircuitBreaker, HealthCheck, OutlierDetection};
pub(crate) use revocations::{OnFeedError, Revocations};
pub(crate) use routes::{Condition, Route, RouteDefaults};
pub(crate) use server::{AcceptedWith, ClientHeader, Listen, Server};
pub(crate) use sites::Site;
pub(crate) use split::{SplitPart, Sticky};
pub(crate) use tls::{Certificate, ClientAuthority, MinVersion, Tls};
pub(crate) use token_place::TokenPlace;
pub(crate) use upstreams::{
    Address, Balance, Discovery as UpstreamDiscovery, PrivateKey, Upstream,
};
pub(crate) use validation::{UnknownOperations, Validation};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// Evaluated while the layers are merged.
    #[serde(rename = "shipped_routes")]
    _shipped_routes: bool,
    pub(crate) server: Server,
    pub(crate) admin: Admin,
    pub(crate) tls: Tls,
    pub(crate) discovery: Discovery,
    pub(crate) documents: Documents,
    pub(crate) validation: Validation,
    pub(crate) jwt: Issuer,
    pub(crate) revocations: Revocations,
    pub(crate) api_keys: ApiKeys,
    pub(crate) telemetry: Telemetry,
    pub(crate) rate_limit_store: RateLimitStore,
    pub(crate) defaults: RouteDefaults,
    pub(crate) security_headers: SecurityHeaders,
    pub(crate) maintenance: Maintenance,
    pub(crate) health: Health,
    pub(crate) acme: Acme,
    pub(crate) kubernetes: Kubernetes,
    #[serde(default)]
    pub(crate) cors: BTreeMap<String, Cors>,
    #[serde(default)]
    pub(crate) issuers: BTreeMap<String, Issuer>,
    #[serde(default)]
    pub(crate) upstreams: BTreeMap<String, Upstream>,
    #[serde(default)]
    pub(crate) limits: BTreeMap<String, Limit>,
    #[serde(default)]
    pub(crate) logins: BTreeMap<String, Login>,
    #[serde(default)]
    pub(crate) lookups: BTreeMap<String, Lookup>,
    #[serde(default)]
    pub(crate) caches: BTreeMap<String, Cache>,
    #[serde(default)]
    pub(crate) sites: BTreeMap<String, Site>,
    #[serde(default)]
    pub(crate) certificates: BTreeMap<String, Certificate>,
    #[serde(default)]
    pub(crate) client_authorities: BTreeMap<String, ClientAuthority>,
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
