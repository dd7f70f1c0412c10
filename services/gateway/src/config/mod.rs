//! The configuration: TOML text -> [`model`] as written -> [`Config`], which is valid.

pub(crate) mod acme;
pub(crate) mod addresses;
pub(crate) mod admin;
pub(crate) mod load;
pub(crate) mod logins;
pub(crate) mod lookups;
pub(crate) mod model;
pub(crate) mod overlay;
mod redis;
pub(crate) mod restart;
pub(crate) mod shown;
pub(crate) mod tls;
mod upstreams;
mod validate;

use std::{sync::Arc, time::Duration};

use http::HeaderName;
use quartet_auth::jwt::IssuerSettings;
use quartet_common::{config::Settings, net::TrustedProxies};
use secrecy::SecretString;

use crate::{
    cache::CacheSettings,
    routing::{ClaimHeader, OnStoreError, RouteTable, SecurityHeaders},
    site::SiteSettings,
};
use acme::AcmeConfig;
use admin::AdminConfig;
use logins::LoginConfig;
use lookups::LookupConfig;
use redis::is_same;
pub(crate) use redis::{RedisConfig, StorePlace, StoreServer};
use tls::TlsConfig;
pub(crate) use upstreams::{
    Balancing, ClientIdentity, HashBy, HealthCheck, HealthProbe, Host, LoadLimits, MAX_WEIGHT,
    ServicePort, Tls, UpstreamConfig, UpstreamTarget,
};

/// Every setting with its default and its documentation.
pub const DEFAULTS: &str = include_str!("../../default.toml");

/// A valid configuration. References between its parts are indices.
#[derive(Debug)]
pub(crate) struct Config {
    /// As written, for settings that need no validation beyond their type.
    pub(crate) model: model::Model,
    /// Every setting, to find those that a reload changes.
    pub(crate) settings: Settings,
    /// Of the settings, to compare replicas.
    pub(crate) hash: Arc<str>,
    pub(crate) admin: AdminConfig,
    /// `None`: no certificate is ordered.
    pub(crate) acme: Option<AcmeConfig>,
    pub(crate) tls: TlsConfig,
    pub(crate) trusted_proxies: TrustedProxies,
    /// `[jwt]` first, if it is used.
    pub(crate) issuers: Vec<IssuerConfig>,
    pub(crate) upstreams: Vec<UpstreamConfig>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) logins: Vec<LoginConfig>,
    pub(crate) lookups: Vec<LookupConfig>,
    /// Of responses to requests that match no route.
    pub(crate) security_headers: Option<Arc<SecurityHeaders>>,
    /// `None`: every process counts for itself.
    pub(crate) limit_store: Option<StoreConfig>,
    pub(crate) caches: Vec<CacheSettings>,
    pub(crate) sites: Vec<SiteSettings>,
    pub(crate) routes: RouteTable,
}

/// An issuer of access tokens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IssuerConfig {
    /// `jwt`, or the name of its table.
    pub(crate) name: Arc<str>,
    pub(crate) settings: IssuerSettings,
    /// Headers that upstreams get of its tokens.
    pub(crate) headers: Vec<ClaimHeader>,
}

impl IssuerConfig {
    /// Whether this is `[jwt]`, whose sessions core knows.
    pub(crate) fn is_default(&self) -> bool {
        *self.name == *"jwt"
    }
}

/// At most `requests` in any `window`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) name: Arc<str>,
    pub(crate) requests: u32,
    pub(crate) window: Duration,
    /// Maximum number at once; `None`: all of them.
    pub(crate) burst: Option<u32>,
    /// The first that a request has says whose it is.
    pub(crate) keys: Arc<[LimitKey]>,
    /// Routes do not share the counter.
    pub(crate) is_per_route: bool,
    pub(crate) on_store_error: OnStoreError,
}

/// What says whose a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LimitKey {
    User,
    /// The session of the token, or the token.
    Token,
    /// The client that the token was issued to.
    ApiKey,
    ClientIp,
    Header(HeaderName),
}

/// A Redis or Valkey in which the replicas of the gateway count together.
#[derive(Clone, Debug)]
pub(crate) struct StoreConfig {
    pub(crate) redis: RedisConfig,
    pub(crate) key_prefix: String,
    pub(crate) key_secret: Option<SecretString>,
    /// After this number in a row, the store is not asked any more.
    pub(crate) max_failures: u32,
    pub(crate) max_denied_keys: usize,
}

impl StoreConfig {
    /// Whether both count under the same keys, and remember as much of that.
    pub(crate) fn counts_as(&self, other: &Self) -> bool {
        self.redis.is_same_server(&other.redis)
            && self.key_prefix == other.key_prefix
            && is_same(self.key_secret.as_ref(), other.key_secret.as_ref())
            && self.max_denied_keys == other.max_denied_keys
    }
}
